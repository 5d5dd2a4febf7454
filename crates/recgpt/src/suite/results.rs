//! The table of the suite as JSON, Markdown and a picture.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::Command;

use anyhow::Result;
use eval::{BootstrapConfig, Estimate, PairedDifference};
use serde::Serialize;
use serde_json::json;

use super::measure::Columns;
use super::models::{ModelName, Recipe};
use super::sets::SetName;
use super::{Part, path_of};
use crate::cli::EvaluateArgs;
use crate::progress::{print, say};
use crate::workspace::Workspace;

/// One model on one view, over its seeds.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(skip)]
    set: SetName,
    view: String,
    model: ModelName,
    seeds: Vec<u64>,
    /// Seeds that were asked for and are not there yet.
    missing_seeds: usize,
    metrics: BTreeMap<String, Estimate>,
    /// Mean recall by seed.
    by_seed: Vec<f64>,
    seconds: f64,
    /// What was checked out when the parts were measured, where it was noted.
    commits: BTreeSet<String>,
    chosen: Recipe,
    /// Recall on validation of everything that was tried.
    tried: Vec<(Recipe, f64)>,
    #[serde(skip)]
    per_user: BTreeMap<String, Vec<f64>>,
}

/// recgpt against the baseline with the largest recall on the test (which favours the baselines).
#[derive(Debug, Serialize)]
struct Contest {
    view: String,
    metric: String,
    best_baseline: ModelName,
    /// Mean of recgpt over mean of the baseline.
    ratio: Estimate,
    /// Mean of the difference per user.
    difference: PairedDifference,
}

/// Mean of what is there.
pub(super) fn mean(values: &[Option<f64>]) -> f64 {
    let n = values.iter().flatten().count();
    values.iter().flatten().sum::<f64>() / n as f64
}

/// Reads all finished parts, and writes `suite.json`, `suite.md` and `suite.svg`.
pub(super) fn write(ws: &Workspace, args: &EvaluateArgs, print_json: bool) -> Result<()> {
    let rows = rows(ws, args.seeds);
    let contests = contests(&rows);
    let mut figures: BTreeMap<String, f64> = BTreeMap::new();
    for row in &rows {
        for (metric, estimate) in &row.metrics {
            let name = format!("{}.{}.{metric}", row.view, row.model.as_str());
            figures.insert(format!("{name}.low"), estimate.low);
            figures.insert(format!("{name}.high"), estimate.high);
            figures.insert(name, estimate.mean);
        }
    }
    for contest in contests.iter().filter(|c| c.metric.starts_with("recall@")) {
        let name = format!("{}.recgpt.vs_best_baseline", contest.view);
        figures.insert(format!("{name}.low"), contest.ratio.low);
        figures.insert(format!("{name}.high"), contest.ratio.high);
        figures.insert(name, contest.ratio.mean);
    }
    let views: BTreeSet<&str> = rows.iter().map(|r| r.view.as_str()).collect();
    let missing: Vec<&str> = VIEWS.into_iter().filter(|v| !views.contains(v)).collect();
    let short = rows.iter().filter(|r| r.missing_seeds > 0);
    let short: Vec<String> = short
        .map(|r| format!("{}.{}: {} seeds", r.view, r.model.as_str(), r.seeds.len()))
        .collect();
    let report = json!({
        "commit": commit(),
        "command": "recgpt evaluate --suite --data DIR",
        "partial": { "views_missing": missing, "fewer_seeds": short },
        "seeds": args.seeds,
        "minutes": minutes(&rows),
        "settings": {
            "protocol": PROTOCOL,
            "intervals": "95%, percentile bootstrap over users, 1000 resamples; per-user values are means over seeds",
            "vs_best_baseline": "ratio of mean recall, recgpt over the baseline with the largest test recall; users resampled in pairs",
        },
        "figures": figures,
        "rows": rows,
        "contests": contests,
    });
    let results = Workspace::new(&args.results);
    results.write_json("suite.json", &report)?;
    let table = markdown(&rows, &contests);
    results.write("suite.md", table.as_bytes())?;
    results.write("suite.svg", picture(&rows).as_bytes())?;
    say(&format!("{} rows in {}", rows.len(), args.results.join("suite.md").display()));
    if print_json {
        print(&format!("{:#}", json!({ "figures": figures })));
    }
    Ok(())
}

const VIEWS: [&str; 9] = [
    "beauty",
    "office",
    "video_games",
    "uci_repeat",
    "uci_new",
    "taobao_all",
    "taobao_new",
    "world",
    "world_cold",
];

const PROTOCOL: &str = "Full ranking over all items; equal scores by item number. Amazon: last item of a \
user is the test, the one before validation; models learn from what is before both, the test reads the \
validation item as history; items of one day keep the order of the file. UCI: first basket of a customer \
in the last 30 days; Taobao: categories of the last day; world: reliable acts of the last 14 days on items \
new to the user; settings chosen on as many days before, then learned anew up to the cut. Settings of the \
first seed serve the others. new: items seen before are left out of list and truth; repeat: truth of items \
seen before; world_cold: items without any interaction before the cut, ranked among themselves.";

/// Seeds that a model on a set should have, and its finished parts; later seeds whose grid is not that of
/// the first one's part are of another time and left out.
fn parts(ws: &Workspace, set: SetName, model: ModelName, seeds: u64) -> (u64, Vec<Part>) {
    let wanted = if model.is_random() { seeds } else { 1 };
    let read = |seed| ws.read_json(&path_of(set, model, seed)).ok();
    let mut parts: Vec<Part> = (1..=wanted).filter_map(read).collect();
    let grid = parts.first().map(|part| part.inputs);
    parts.retain(|part| Some(part.inputs) == grid);
    (wanted, parts)
}

/// Minutes that each set took, tuning and all seeds together; the views of a set share their parts.
fn minutes(rows: &[Row]) -> BTreeMap<&'static str, f64> {
    let of_model: BTreeMap<(&'static str, ModelName), f64> =
        rows.iter().map(|row| ((row.set.as_str(), row.model), row.seconds)).collect();
    let mut minutes = BTreeMap::new();
    for ((set, _), seconds) in of_model {
        *minutes.entry(set).or_insert(0.0) += seconds / 60.0;
    }
    minutes
}

fn rows(ws: &Workspace, seeds: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for set in SetName::ALL {
        for model in ModelName::ALL {
            let (wanted, parts) = parts(ws, set, model, seeds);
            let Some(first) = parts.first() else { continue };
            for (view, one) in &first.views {
                let columns: Vec<&Columns> =
                    parts.iter().filter_map(|p| Some(&p.views.get(view)?.columns)).collect();
                let per_user = over_seeds(&columns);
                let metrics = per_user.iter().filter_map(|(metric, values)| {
                    let estimate = eval::bootstrap_mean(values, &BootstrapConfig::new(1))?;
                    Some((metric.clone(), estimate))
                });
                let recall = |columns: &&&Columns| {
                    columns
                        .iter()
                        .find(|(name, _)| name.starts_with("recall@"))
                        .map(|(_, v)| mean(v))
                };
                rows.push(Row {
                    set,
                    view: view.clone(),
                    model,
                    seeds: parts.iter().map(|p| p.seed).collect(),
                    missing_seeds: wanted as usize - parts.len(),
                    metrics: metrics.collect(),
                    by_seed: columns.iter().filter_map(|c| recall(&c)).collect(),
                    seconds: parts.iter().map(|p| p.seconds).sum(),
                    commits: parts
                        .iter()
                        .map(|p| p.commit.clone())
                        .filter(|c| !c.is_empty())
                        .collect(),
                    chosen: one.chosen.clone(),
                    tried: one.tried.clone(),
                    per_user,
                });
            }
        }
    }
    let place = |row: &Row| VIEWS.iter().position(|v| *v == row.view);
    rows.sort_by_key(|row| (place(row), row.model));
    rows
}

/// Means over seeds, user by user.
fn over_seeds(columns: &[&Columns]) -> BTreeMap<String, Vec<f64>> {
    let Some(first) = columns.first() else { return BTreeMap::new() };
    let one = |metric: &String| -> Vec<f64> {
        (0..first[metric].len())
            .filter_map(|user| {
                let values: Vec<f64> =
                    columns.iter().filter_map(|c| *c.get(metric)?.get(user)?).collect();
                (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
            })
            .collect()
    };
    first.keys().map(|metric| (metric.clone(), one(metric))).collect()
}

fn contests(rows: &[Row]) -> Vec<Contest> {
    let mut contests = Vec::new();
    for own in rows.iter().filter(|r| r.model == ModelName::Recgpt) {
        for metric in own.metrics.keys() {
            let of = |row: &&Row| row.metrics.get(metric).map_or(f64::NEG_INFINITY, |e| e.mean);
            let others = rows.iter().filter(|r| r.view == own.view && r.model != own.model);
            let Some(best) = others.max_by(|a, b| of(a).total_cmp(&of(b))) else { continue };
            let Some(other) = best.per_user.get(metric) else { continue };
            let cfg = BootstrapConfig::new(2);
            let both = eval::paired_ratio(&own.per_user[metric], other, &cfg)
                .zip(eval::paired_bootstrap(&own.per_user[metric], other, &cfg));
            if let Some((ratio, difference)) = both {
                contests.push(Contest {
                    view: own.view.clone(),
                    metric: metric.clone(),
                    best_baseline: best.model,
                    ratio,
                    difference,
                });
            }
        }
    }
    contests
}

/// The commit that is checked out where the command runs; empty where none is.
pub(super) fn commit() -> String {
    let out = Command::new("git").args(["rev-parse", "HEAD"]).output();
    let text = out.ok().filter(|o| o.status.success()).map(|o| o.stdout);
    text.map_or_else(String::new, |t| String::from_utf8_lossy(&t).trim().to_owned())
}

/// `.0123`, without the leading zero.
fn short(value: f64) -> String {
    format!("{value:.4}").trim_start_matches('0').to_owned()
}

fn markdown(rows: &[Row], contests: &[Contest]) -> String {
    let views: Vec<&str> =
        VIEWS.into_iter().filter(|v| rows.iter().any(|r| r.view == *v)).collect();
    let mut text = String::from("# The suite\n\n`recgpt evaluate --suite --data DIR`\n\n");
    for (title, prefix) in
        [("Recall@10 (Taobao: recall@30)", "recall@"), ("NDCG, same cuts", "ndcg@")]
    {
        let _ = writeln!(text, "{title}; the best in bold.\n\n| model | {} |", views.join(" | "));
        let _ = writeln!(text, "|---|{}", "---|".repeat(views.len()));
        for model in ModelName::ALL {
            let cell = |view: &&str| {
                let of = |m: ModelName| {
                    let row = rows.iter().find(|r| r.view == *view && r.model == m)?;
                    row.metrics.iter().find(|(n, _)| n.starts_with(prefix)).map(|(_, e)| e.mean)
                };
                let most = ModelName::ALL.into_iter().filter_map(of).fold(0.0, f64::max);
                match of(model) {
                    Some(value) if value == most => format!("**{}**", short(value)),
                    Some(value) => short(value),
                    None => String::new(),
                }
            };
            let cells: Vec<String> = views.iter().map(cell).collect();
            if cells.iter().any(|c| !c.is_empty()) {
                let _ = writeln!(text, "| {} | {} |", model.as_str(), cells.join(" | "));
            }
        }
        text.push('\n');
    }
    text.push_str("recgpt against the best baseline (recall, ratio of means, 95%):\n\n");
    text.push_str("| set | users | best baseline | ratio |\n|---|---|---|---|\n");
    for c in contests.iter().filter(|c| c.metric.starts_with("recall@")) {
        let (view, n, best, r) = (&c.view, c.ratio.n, c.best_baseline.as_str(), c.ratio);
        let _ = writeln!(
            text,
            "| {view} | {n} | {best} | {:.3} [{:.3}, {:.3}] |",
            r.mean, r.low, r.high
        );
    }
    text
}

/// Size of one panel, and where its bars begin.
const PANEL: (f64, f64) = (300.0, 200.0);
const BARS: f64 = 110.0;
const PER_LINE: usize = 3;

/// One panel per view: a bar per model with its interval.
fn picture(rows: &[Row]) -> String {
    let views: Vec<&str> =
        VIEWS.into_iter().filter(|v| rows.iter().any(|r| r.view == *v)).collect();
    let (width, height) = PANEL;
    let lines = views.len().div_ceil(PER_LINE);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0} {:.0}\" font-family=\"sans-serif\" \
         font-size=\"10\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
        width * PER_LINE as f64,
        height * lines as f64
    );
    for (place, view) in views.iter().enumerate() {
        let (x, y) = ((place % PER_LINE) as f64 * width, (place / PER_LINE) as f64 * height);
        let _ = write!(svg, "<g transform=\"translate({x:.0} {y:.0})\">{}</g>", panel(view, rows));
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(view: &str, rows: &[Row]) -> String {
    let recall = |row: &Row| {
        row.metrics.iter().find(|(n, _)| n.starts_with("recall@")).map(|(n, e)| (n.clone(), *e))
    };
    let mut bars: Vec<(ModelName, String, Estimate)> = rows
        .iter()
        .filter(|r| r.view == view)
        .filter_map(|r| recall(r).map(|(name, e)| (r.model, name, e)))
        .collect();
    bars.sort_by(|a, b| b.2.mean.total_cmp(&a.2.mean));
    let most = bars.iter().map(|b| b.2.high).fold(f64::MIN_POSITIVE, f64::max);
    let at = |value: f64| BARS + value / most * (PANEL.0 - BARS - 40.0);
    let metric = bars.first().map_or("recall", |b| b.1.as_str());
    let mut svg = format!("<text x=\"8\" y=\"16\" font-weight=\"bold\">{view}, {metric}</text>");
    for (place, (model, _, e)) in bars.iter().enumerate() {
        let y = 26.0 + 14.0 * place as f64;
        let colour = if *model == ModelName::Recgpt { "#c2410c" } else { "#94a3b8" };
        let (name, middle) = (model.as_str(), y + 5.0);
        let _ = write!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{name}</text>\
             <rect x=\"{BARS}\" y=\"{y:.0}\" width=\"{:.1}\" height=\"10\" fill=\"{colour}\"/>\
             <path d=\"M{:.1} {middle:.0}H{:.1}\" stroke=\"#0f172a\"/>\
             <text x=\"{:.1}\" y=\"{:.0}\">{}</text>",
            BARS - 6.0,
            y + 9.0,
            at(e.mean) - BARS,
            at(e.low),
            at(e.high),
            at(e.high) + 4.0,
            y + 9.0,
            short(e.mean)
        );
    }
    svg
}
