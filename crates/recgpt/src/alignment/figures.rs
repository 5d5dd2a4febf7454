//! The figures of an alignment under their names in `scorecard.json` and `recgpt bench align`.

use serde_json::{Map, Value, json};

use super::folder::{StageRecord, Stages};
use super::scorecard::JudgeCard;
use super::{Scorecard, curriculum, judge, reasoning, self_training};

/// Every figure that the stages done give; what a stage did not measure is left out.
pub(super) fn figures(stages: &Stages) -> Map<String, Value> {
    let mut figures = Map::new();
    let mut set = |name: &str, value: Option<f64>| {
        if let Some(value) = value {
            figures.insert(name.to_owned(), json!(value));
        }
    };
    let of = |name: &str| stages.get(name);
    let score = |record: Option<&StageRecord>| record.map(|r| r.scorecard.score);
    set("align.stage1.score", score(of(curriculum::NAME)));
    set("align.stage2.score", score(of(reasoning::NAME)));
    set("align.stage3.score", score(best_round(stages)));
    let chosen = stages.chosen.as_deref().and_then(of);
    figures.extend(chosen.map(|record| of_card(&record.scorecard)).unwrap_or_default());
    // The judge that is used, where it is a model of its own.
    let judge = of(judge::NAME).and_then(|record| record.scorecard.judge.as_ref());
    figures.extend(judge.map(of_judge).unwrap_or_default());
    figures
}

/// The figures that one scorecard gives.
pub(super) fn of_card(card: &Scorecard) -> Map<String, Value> {
    let mut figures = Map::new();
    let mut set = |name: &str, value: Option<f64>| {
        if let Some(value) = value {
            figures.insert(name.to_owned(), json!(value));
        }
    };
    set("intent.interest_precision", Some(card.interest_precision));
    set("intent.interest_recall", Some(card.interest_recall));
    set("tag.valid_share", Some(card.tag_valid_share));
    set("tag.hr@30", card.hr30.map(|e| e.mean));
    set("tag.hr@30_new_categories", card.hr30_new_categories.map(|e| e.mean));
    set("intention.accuracy", card.intention_accuracy);
    figures.extend(card.judge.as_ref().map(of_judge).unwrap_or_default());
    figures
}

fn of_judge(card: &JudgeCard) -> Map<String, Value> {
    let figures = [
        ("judge.interest_f1", card.interests.f1),
        ("judge.tag_f1", card.tags.f1),
        ("judge.reject_rate", card.tags.reject_rate),
    ];
    figures.map(|(name, value)| (name.to_owned(), json!(value))).into_iter().collect()
}

/// The round of self-training with the highest score.
fn best_round(stages: &Stages) -> Option<&StageRecord> {
    let rounds = stages.done.iter().filter(|s| s.stage.starts_with(self_training::NAME));
    rounds.max_by(|a, b| a.scorecard.score.total_cmp(&b.scorecard.score))
}
