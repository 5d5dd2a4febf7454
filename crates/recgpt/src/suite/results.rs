//! What the finished parts say: rows and contests, as JSON, a table, a picture and a page.

mod page;
mod picture;
mod readme;
mod table;

use std::collections::{BTreeMap, BTreeSet};
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

/// Reads all finished parts, and writes `suite.json`, `suite.md`, `suite.svg` and `suite.html`, and the table
/// into the README where one is named.
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
    results.write("suite.md", table::whole(&rows, &contests).as_bytes())?;
    let picture = picture::bars(&rows);
    results.write("suite.svg", picture.as_bytes())?;
    results.write("suite.html", page::html(&rows, &contests, &picture)?.as_bytes())?;
    if let Some(readme) = &args.readme {
        readme::write(readme, &table::short(&rows, &contests), &args.results.join("suite.svg"))?;
    }
    say(&format!("{} rows in {}", rows.len(), args.results.join("suite.html").display()));
    if print_json {
        print(&format!("{:#}", json!({ "figures": figures })));
    }
    Ok(())
}

/// All views, in the order of the table.
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

/// The views that have a row.
fn views(rows: &[Row]) -> Vec<&'static str> {
    VIEWS.into_iter().filter(|v| rows.iter().any(|r| r.view == *v)).collect()
}

/// `.0123`, without the leading zero.
fn short(value: f64) -> String {
    format!("{value:.4}").trim_start_matches('0').to_owned()
}
