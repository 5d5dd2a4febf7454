//! Losses over the steps of a stage.

use align::{TrainLog, TrainRecord};
use anyhow::Result;
use eval::Series;

use super::Chart;
use crate::alignment::folder::Folder;

/// A chart for each training run of a stage; the curriculum has one per level.
pub(super) fn charts(folder: &Folder, stage: &str) -> Result<Vec<Chart>> {
    let mut charts = Vec::new();
    for run in folder.parts_of(stage) {
        let log = TrainLog::read(&folder.path(&run))?;
        if !log.records.is_empty() {
            charts.push(chart(run, &log));
        }
    }
    Ok(charts)
}

fn chart(title: String, log: &TrainLog) -> Chart {
    let series = |name: &str, colour: &str, loss: &dyn Fn(&TrainRecord) -> Option<f64>| Series {
        name: name.to_owned(),
        colour: colour.to_owned(),
        points: log.records.iter().filter_map(|r| Some((r.step as f64, loss(r)?))).collect(),
    };
    let (train, held_out) = (
        series("trained on", "s0", &|r| Some(r.loss)),
        series("held out", "own", &|r| r.held_out_loss),
    );
    Chart { title, x: "step", y: "loss in nats", series: vec![train, held_out] }
}
