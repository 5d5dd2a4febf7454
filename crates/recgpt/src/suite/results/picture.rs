//! One panel per view: a bar per model with its interval.

use std::fmt::Write as _;

use eval::Estimate;

use super::{Row, short, views};
use crate::suite::ModelName;

/// Size of one panel, and where its bars begin.
const PANEL: (f64, f64) = (300.0, 200.0);
const BARS: f64 = 110.0;
const PER_LINE: usize = 3;

/// The picture of all views, as SVG.
pub(super) fn bars(rows: &[Row]) -> String {
    let views = views(rows);
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
