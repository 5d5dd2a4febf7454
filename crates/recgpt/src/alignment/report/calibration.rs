//! How sure a judge is, and how often it is right then.

use eval::{JudgeReport, Series};

use super::Chart;
use crate::alignment::folder::StageRecord;

/// The calibration curve of every stage that has a judge, beside that of a perfect one.
pub(super) fn charts(records: &[StageRecord]) -> Vec<Chart> {
    let judged = records.iter().filter_map(|r| Some((&r.stage, r.scorecard.judge.as_ref()?)));
    let chart = |(stage, judge): (&String, &crate::alignment::scorecard::JudgeCard)| Chart {
        title: stage.clone(),
        x: "probability that it passes, as the judge says",
        y: "share that passes",
        series: vec![
            series("perfect", "s0", vec![(0.0, 0.0), (1.0, 1.0)]),
            series("interests", "own", points(&judge.interests)),
            series("tags", "s1", points(&judge.tags)),
        ],
    };
    judged.map(chart).collect()
}

fn points(report: &JudgeReport) -> Vec<(f64, f64)> {
    report.calibration.iter().map(|bin| (bin.predicted, bin.observed)).collect()
}

fn series(name: &str, colour: &str, points: Vec<(f64, f64)>) -> Series {
    Series { name: name.to_owned(), colour: colour.to_owned(), points }
}
