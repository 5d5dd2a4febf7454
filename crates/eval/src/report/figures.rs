//! The flat map of figures: which section gives which name.

use std::collections::BTreeMap;

use super::Report;
use super::sections::{CompressionSection, InputSection, IntentSection};

/// Figures of all sections that are there.
pub(super) fn of_sections(report: &Report) -> BTreeMap<String, f64> {
    let mut figures = Figures(BTreeMap::new());
    if let Some(input) = &report.input {
        figures.input(input);
    }
    if let Some(compression) = &report.compression {
        figures.compression(compression);
    }
    if let Some(intent) = &report.intent {
        figures.intent(intent);
    }
    if let Some(evaluation) = &report.evaluation {
        figures.put("eval.users", evaluation.main.n_users as f64);
        figures.put("eval.users_new_category", evaluation.main.n_users_new_category as f64);
        figures.0.extend(evaluation.main.figures());
        for segment in &evaluation.segments {
            let slug = slug(&segment.name);
            let own = segment.evaluation.figures().into_iter();
            figures.0.extend(own.map(|(name, value)| (format!("{slug}.{name}"), value)));
        }
    }
    for curve in &report.training {
        if let Some(&(_, last)) = curve.points.last() {
            figures.put(&format!("train.{}.last", slug(&curve.name)), last);
        }
    }
    for step in &report.timings.steps {
        figures.put(&format!("time.{}_seconds", step.step), step.seconds);
    }
    if !report.timings.steps.is_empty() {
        figures.put("time.total_seconds", report.timings.steps.iter().map(|s| s.seconds).sum());
    }
    if let Some(bytes) = report.timings.peak_memory_bytes {
        figures.put("memory.peak_bytes", bytes as f64);
    }
    figures.0
}

struct Figures(BTreeMap<String, f64>);

impl Figures {
    fn put(&mut self, name: &str, value: f64) {
        self.0.insert(name.to_owned(), value);
    }

    fn input(&mut self, input: &InputSection) {
        self.put("events.rows", input.events as f64);
        self.put("events.rejected", input.rejected as f64);
        self.put("events.users", input.users as f64);
        self.put("events.items", input.items as f64);
    }

    fn compression(&mut self, compression: &CompressionSection) {
        self.put("digest.users", compression.n_users as f64);
        self.put("digest.events_max", compression.events_max as f64);
        self.put("digest.within_128k_raw", compression.within_128k_raw);
        self.put("digest.within_128k", compression.within_128k);
        for level in &compression.levels {
            if level.level != "raw" {
                self.put(&format!("digest.reduction_{}", level.level), level.reduction);
            }
        }
        if let Some(raw) = compression.levels.first() {
            self.put("digest.tokens_raw_mean", raw.mean);
        }
        if let Some(last) = compression.levels.last() {
            self.put("digest.tokens_mean", last.mean);
            self.put("digest.tokens_max", last.max as f64);
        }
    }

    fn intent(&mut self, intent: &IntentSection) {
        self.put("intent.users", intent.n_users as f64);
        if intent.n_users > 0 {
            self.put("intent.interests_per_user", intent.interests_per_user);
            self.put("intent.tags_per_user", intent.tags_per_user);
            self.put("intent.categories_per_user", intent.categories_per_user);
            self.put("intent.parse_issue_rate", intent.parse_issue_rate);
        }
        if let Some(truth) = &intent.truth {
            self.put("intent.interest_precision", truth.precision);
            self.put("intent.interest_recall", truth.recall);
            self.put_some("intent.interest_precision_chance", truth.chance_precision);
            self.put_some("intent.interest_recall_chance", truth.chance_recall);
        }
        if let Some(hits) = &intent.hit_rate {
            let k = hits.k;
            self.put("tag.categories_per_user", hits.categories_per_user);
            let mean = |e: &Option<crate::Estimate>| e.as_ref().map(|e| e.mean);
            self.put_some(&format!("tag.hr@{k}"), mean(&hits.tags));
            self.put_some(&format!("tag.hr@{k}_popular"), mean(&hits.popular));
            self.put_some(&format!("tag.hr@{k}_recent"), mean(&hits.recent));
            self.put_some(&format!("tag.hr@{k}_new_categories"), mean(&hits.tags_new));
            self.put_some(&format!("tag.hr@{k}_new_categories_popular"), mean(&hits.popular_new));
        }
    }

    fn put_some(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }
}

/// Lower case, words joined by `_`.
fn slug(name: &str) -> String {
    let lower = name.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty());
    words.collect::<Vec<_>>().join("_")
}
