//! The scorecards of all stages as one table, a column for each stage.

use std::collections::BTreeSet;

use align::SUBTASKS;
use eval::{Estimate, JudgeReport};
use serde::Serialize;

use crate::alignment::folder::StageRecord;
use crate::alignment::scorecard::{JudgeCard, Scorecard};

/// Rows that belong together.
#[derive(Debug, Serialize)]
pub(super) struct Group {
    title: &'static str,
    rows: Vec<Row>,
}

/// One figure in all stages.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    note: String,
    /// In the order of the stages; none where a stage did not measure it.
    cells: Vec<Option<Cell>>,
}

/// A figure, and what stands below it.
#[derive(Debug, Serialize)]
struct Cell {
    text: String,
    small: String,
}

type Figure<'a> = &'a dyn Fn(&Scorecard) -> Option<Cell>;

/// Every figure of every stage.
pub(super) fn groups(records: &[StageRecord]) -> Vec<Group> {
    let table = Table(records);
    vec![
        Group { title: "All", rows: table.whole() },
        Group { title: "Interests", rows: table.interests() },
        Group { title: "Tags", rows: table.tags() },
        Group { title: "Judge of interests", rows: table.judge(&|judge| &judge.interests) },
        Group { title: "Judge of tags", rows: table.judge(&|judge| &judge.tags) },
        Group { title: "Curriculum", rows: table.curriculum() },
    ]
}

struct Table<'a>(&'a [StageRecord]);

impl Table<'_> {
    fn row(&self, name: &str, note: &str, figure: Figure<'_>) -> Row {
        let cells = self.0.iter().map(|record| figure(&record.scorecard)).collect();
        Row { name: name.to_owned(), note: note.to_owned(), cells }
    }

    fn whole(&self) -> Vec<Row> {
        let tokens = |c: &Scorecard| plain(format!("{:.0}", c.completion_tokens_per_second));
        vec![
            self.row("score", "mean of curriculum, F1 of interests, valid tags, HR@30", &|c| {
                share(c.score)
            }),
            self.row("purchase intention", "chance .25", &|c| share(c.intention_accuracy?)),
            self.row("parse issues", "over lines of both answers", &|c| share(c.parse_issue_rate)),
            self.row("tokens per second", "of answers", &tokens),
            self.row("users", "of unseen worlds", &|c| plain(c.users.to_string())),
        ]
    }

    fn interests(&self) -> Vec<Row> {
        let precision = |c: &Scorecard| {
            let small =
                format!("chance {:.3}, counts {:.3}", c.chance_precision, c.counts_precision);
            below(c.interest_precision, small)
        };
        let recall = |c: &Scorecard| {
            let small = format!(
                "counts {:.3}, of those supported {:.3}",
                c.counts_recall, c.interest_recall_supported
            );
            below(c.interest_recall, small)
        };
        vec![
            self.row("precision", "", &precision),
            self.row("recall", "", &recall),
            self.row("per user", "", &|c| plain(format!("{:.1}", c.interests_per_user))),
            self.row("different texts", "", &|c| plain(c.distinct_interests.to_string())),
        ]
    }

    fn tags(&self) -> Vec<Row> {
        let mut rows = vec![
            self.row("HR@30", "95% interval over users", &|c| interval(c.hr30)),
            self.row("HR@30, new categories", "", &|c| interval(c.hr30_new_categories)),
            self.row("valid share", "hold all constraints", &|c| share(c.tag_valid_share)),
        ];
        let constraints: BTreeSet<&String> =
            self.0.iter().flat_map(|r| r.scorecard.tag_valid_by_constraint.keys()).collect();
        rows.extend(constraints.into_iter().map(|name| {
            let held = |c: &Scorecard| share(*c.tag_valid_by_constraint.get(name)?);
            self.row(&format!("valid: {}", name.replace('_', " ")), "", &held)
        }));
        rows.extend([
            self.row("category precision", "tags in a category that is needed", &|c| {
                share(c.tag_category_precision)
            }),
            self.row("category recall", "needed categories that are named", &|c| {
                share(c.tag_category_recall)
            }),
            self.row("per user", "", &|c| plain(format!("{:.1}", c.tags_per_user))),
            self.row("categories per user", "", &|c| {
                plain(format!("{:.1}", c.categories_per_user))
            }),
            self.row("different texts", "", &|c| plain(c.distinct_tags.to_string())),
        ]);
        rows
    }

    /// One of the judge's two reports.
    fn judge(&self, part: &dyn Fn(&JudgeCard) -> &JudgeReport) -> Vec<Row> {
        let of = |name: &str, note: &str, figure: &dyn Fn(&JudgeReport) -> Option<Cell>| {
            self.row(name, note, &|card| figure(part(card.judge.as_ref()?)))
        };
        let rejected = |r: &JudgeReport| {
            let (bad, good) = (r.reject_rate_bad, r.reject_rate_good);
            below(r.reject_rate, format!("of bad {bad:.3}, of good {good:.3}"))
        };
        vec![
            of("accuracy", "", &|r| share(r.accuracy)),
            of("precision", "", &|r| below(r.precision, format!("base rate {:.3}", r.base_rate))),
            of("recall", "", &|r| share(r.recall)),
            of("F1", "", &|r| below(r.f1, format!("passing all {:.3}", r.f1_pass_all))),
            of("reject rate", "", &rejected),
            of("agreement beyond chance", "Cohen's kappa", &|r| share(r.kappa)),
            of("area under the ROC curve", "chance .5", &|r| share(r.auc)),
            of("threshold", "passes from this probability on", &|r| share(r.threshold)),
            of("calibration error", "", &|r| share(r.calibration_error)),
            of("subjects", "", &|r| plain(r.n.to_string())),
        ]
    }

    fn curriculum(&self) -> Vec<Row> {
        let mean = |c: &Scorecard| share(c.curriculum.as_ref()?.macro_mean);
        let mut rows = vec![self.row("mean of subtasks", "", &mean)];
        rows.extend(SUBTASKS.iter().map(|subtask| {
            let score = |c: &Scorecard| {
                let score = c.curriculum.as_ref()?.subtasks.get(subtask.name)?;
                below(score.score, format!("{} asked", score.n))
            };
            self.row(&subtask.name.replace('_', " "), subtask.level.as_str(), &score)
        }));
        rows
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "a figure that is always there, among those that may not be"
)]
fn plain(text: String) -> Option<Cell> {
    Some(Cell { text, small: String::new() })
}

fn share(value: f64) -> Option<Cell> {
    below(value, String::new())
}

#[expect(clippy::unnecessary_wraps, reason = "as `plain`")]
fn below(value: f64, small: String) -> Option<Cell> {
    // An empty sum of floats is minus zero.
    Some(Cell { text: format!("{:.3}", value + 0.0), small })
}

fn interval(estimate: Option<Estimate>) -> Option<Cell> {
    let e = estimate?;
    below(e.mean, format!("{:.3}–{:.3}, {} users", e.low, e.high, e.n))
}
