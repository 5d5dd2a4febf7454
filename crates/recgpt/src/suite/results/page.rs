//! The page: picture, tables with intervals, settings.

use anyhow::Result;
use serde::Serialize;

use super::{Contest, PROTOCOL, Row, table, views};
use crate::suite::ModelName;

const TEMPLATE: &str = include_str!("../../../templates/suite.html.j2");

#[derive(Serialize)]
struct Page<'a> {
    picture: &'a str,
    protocol: &'a str,
    views: Vec<&'static str>,
    tables: Vec<Table>,
    contests: Vec<&'a Contest>,
    rows: &'a [Row],
}

/// One metric.
#[derive(Serialize)]
struct Table {
    title: &'static str,
    models: Vec<(&'static str, Vec<Option<Cell>>)>,
}

#[derive(Serialize)]
struct Cell {
    mean: f64,
    low: f64,
    high: f64,
    is_best: bool,
}

/// What is shown beside accuracy.
const BEYOND: [(&str, &str); 2] = [
    ("Share of places that items of the tail hold", "tail_share@"),
    ("New-category hit rate", "new_category_hit_rate@"),
];

/// The suite as one self-contained page.
pub(super) fn html(rows: &[Row], contests: &[Contest], picture: &str) -> Result<String> {
    let of_metric = |(title, prefix): (&'static str, &str)| {
        let models =
            ModelName::ALL.into_iter().map(|model| (model.as_str(), cells(rows, model, prefix)));
        Table {
            title,
            models: models.filter(|(_, cells)| cells.iter().any(Option::is_some)).collect(),
        }
    };
    let page = Page {
        picture,
        protocol: PROTOCOL,
        views: views(rows),
        tables: table::ACCURACY.into_iter().chain(BEYOND).map(of_metric).collect(),
        contests: contests.iter().filter(|c| c.metric.starts_with("recall@")).collect(),
        rows,
    };
    Ok(eval::render_page(TEMPLATE, &page)?)
}

/// A model's cell in every view.
fn cells(rows: &[Row], model: ModelName, prefix: &str) -> Vec<Option<Cell>> {
    let cell = |view: &str| {
        let e = table::value(rows, view, model, prefix)?;
        let is_best = e.mean == table::best(rows, view, prefix);
        Some(Cell { mean: e.mean, low: e.low, high: e.high, is_best })
    };
    views(rows).into_iter().map(cell).collect()
}
