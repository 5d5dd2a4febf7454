//! What a run prints at its end: the table, the floors, and the next commands.

use anyhow::Result;
use comfy_table::{Table, presets};
use serde_json::Value;

use crate::progress::print as out;
use crate::steps::Context;

/// Columns of the table.
const METRICS: [&str; 8] = [
    "recall@10",
    "recall@20",
    "ndcg@10",
    "new_category_hit_rate@10",
    "coverage@10",
    "gini@10",
    "category_diversity@10",
    "tail_share@10",
];

const SYSTEMS: [&str; 5] = ["popularity", "itemknn", "personal_frequency", "user_tower", "recgpt"];

/// Parts of the users or of their truth that have a table of their own, and what their figures begin with.
const SEGMENTS: [(&str, &str); 3] =
    [("users with tags", "users_with_tags."), ("new items", "new_items."), ("repeats", "repeats.")];

/// The summary of a finished run; with `json` the figures alone.
pub(crate) fn print(ctx: &Context, json: bool) -> Result<()> {
    let report: Value = ctx.ws.read_json("reports/report.json")?;
    let figures = &report["figures"];
    if json {
        out(&serde_json::to_string_pretty(figures)?);
        return Ok(());
    }
    out(&format!("\n{}", table(figures, "")));
    for (name, prefix) in SEGMENTS {
        if is_there(figures, prefix, "recgpt") {
            out(&format!("\n{name}\n{}", table(figures, prefix)));
        }
    }
    for name in [
        "intent.interests_per_user",
        "intent.tags_per_user",
        "intent.categories_per_user",
        "intent.interest_precision",
        "intent.interest_recall",
        "tag.hr@30",
        "tag.hr@30_new_categories",
    ] {
        if let Some(value) = figures[name].as_f64() {
            out(&format!("{name:32} {value:.4}"));
        }
    }
    if let Some(why) = report["intent"]["absent_because"].as_str() {
        out(&format!("no interests and tags: {why}"));
    }
    floors(ctx, figures);
    out(&format!("\nreport: {}", ctx.ws.path("reports/report.html").display()));
    for command in report["next_commands"].as_array().into_iter().flatten() {
        out(&format!("try: {}", command.as_str().unwrap_or_default()));
    }
    Ok(())
}

/// What one step found.
pub(crate) fn print_part(ctx: &Context, part: &str, json: bool) -> Result<()> {
    if json && ctx.ws.path(part).exists() {
        let value: Value = ctx.ws.read_json(part)?;
        out(&serde_json::to_string_pretty(&value)?);
    }
    Ok(())
}

fn is_there(figures: &Value, prefix: &str, system: &str) -> bool {
    figures.get(format!("{prefix}{system}.recall@10")).is_some()
}

fn table(figures: &Value, prefix: &str) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(std::iter::once("system").chain(METRICS));
    for system in SYSTEMS.into_iter().filter(|system| is_there(figures, prefix, system)) {
        let cell = |metric: &str| match figures[format!("{prefix}{system}.{metric}")].as_f64() {
            Some(value) => format!("{value:.4}"),
            None => "-".to_owned(),
        };
        table.add_row(
            std::iter::once(system.to_owned()).chain(METRICS.iter().map(|metric| cell(metric))),
        );
    }
    table.to_string()
}

fn floors(ctx: &Context, figures: &Value) {
    for floor in &ctx.settings.floors {
        let ours = figures[format!("recgpt.{}", floor.metric)].as_f64().unwrap_or(f64::NAN);
        let verdict = if ours >= floor.value { "reached" } else { "below" };
        out(&format!(
            "floor {} {}: {:.4}; recgpt {ours:.4} ({verdict})",
            floor.system, floor.metric, floor.value
        ));
    }
}
