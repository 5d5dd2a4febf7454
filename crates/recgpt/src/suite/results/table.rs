//! The table in Markdown.

use std::fmt::Write as _;

use eval::Estimate;

use super::{Contest, Row, short as digits, views};
use crate::suite::ModelName;

/// Title and beginning of the name of a metric.
pub(super) const ACCURACY: [(&str, &str); 2] =
    [("Recall@10 (Taobao: recall@30)", "recall@"), ("NDCG, same cuts", "ndcg@")];

/// Recall, NDCG and the contests.
pub(super) fn whole(rows: &[Row], contests: &[Contest]) -> String {
    let mut text = String::from("# The suite\n\n`recgpt evaluate --suite --data DIR`\n\n");
    for (title, prefix) in ACCURACY {
        let _ = writeln!(text, "{title}; the best in bold.\n");
        text.push_str(&of_metric(rows, prefix));
        text.push('\n');
    }
    text.push_str("recgpt against the best baseline (recall, ratio of means, 95%):\n\n");
    text.push_str(&of_contests(contests));
    text
}

/// Recall, and the contests below.
pub(super) fn short(rows: &[Row], contests: &[Contest]) -> String {
    format!("{}\n{}", of_metric(rows, "recall@"), of_contests(contests))
}

fn of_metric(rows: &[Row], prefix: &str) -> String {
    let views = views(rows);
    let mut text =
        format!("| model | {} |\n|---|{}\n", views.join(" | "), "---|".repeat(views.len()));
    for model in ModelName::ALL {
        let cell = |view: &&str| match (value(rows, view, model, prefix), best(rows, view, prefix))
        {
            (Some(e), most) if e.mean == most => format!("**{}**", digits(e.mean)),
            (Some(e), _) => digits(e.mean),
            (None, _) => String::new(),
        };
        let cells: Vec<String> = views.iter().map(cell).collect();
        if cells.iter().any(|c| !c.is_empty()) {
            let _ = writeln!(text, "| {} | {} |", model.as_str(), cells.join(" | "));
        }
    }
    text
}

fn of_contests(contests: &[Contest]) -> String {
    let mut text =
        String::from("| set | users | best baseline | recgpt over it |\n|---|---|---|---|\n");
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

/// The metric of a model on a view.
pub(super) fn value(rows: &[Row], view: &str, model: ModelName, prefix: &str) -> Option<Estimate> {
    let row = rows.iter().find(|r| r.view == view && r.model == model)?;
    row.metrics.iter().find(|(name, _)| name.starts_with(prefix)).map(|(_, e)| *e)
}

/// The largest value on a view.
pub(super) fn best(rows: &[Row], view: &str, prefix: &str) -> f64 {
    let of = |model| Some(value(rows, view, model, prefix)?.mean);
    ModelName::ALL.into_iter().filter_map(of).fold(0.0, f64::max)
}
