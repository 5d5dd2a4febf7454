//! Stage 1 of alignment: sixteen subtasks in three levels (RECGPT.md 1.1), each a question of one line
//! and a short answer.
//!
//! A subtask has a level, prerequisites, a published number of samples, a metric and a generator that
//! draws one question at a time from [`CurriculumSources`]; real text is read where there is some.

mod advanced;
mod foundation;
mod intermediate;
mod order;
mod score;
mod sources;

use std::collections::{BTreeMap, HashSet};

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

pub use self::order::topological_order;
pub use self::score::{CurriculumScore, SubtaskScore, evaluate};
pub use self::sources::{CurriculumSources, Product};
use crate::generic::query_sample;
use crate::sample::Sample;

/// How hard a subtask is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// What words and categories mean.
    Foundation,
    /// What serves an interest.
    Intermediate,
    /// Conclusions from several facts.
    Advanced,
}

impl Level {
    /// In order.
    pub const ALL: [Self; 3] = [Self::Foundation, Self::Intermediate, Self::Advanced];

    /// The name in folders and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Foundation => "foundation",
            Self::Intermediate => "intermediate",
            Self::Advanced => "advanced",
        }
    }
}

/// How an answer is held against the expected one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The same words: 1 or 0.
    ExactMatch,
    /// F1 of the words, for answers that list.
    TokenF1,
}

/// A question and its answer, drawn once; none where the draw found nothing to ask.
type Generate = fn(&CurriculumSources<'_>, &mut Pcg64Mcg) -> Option<(String, String)>;

/// A kind of question.
#[derive(Clone, Copy)]
pub struct Subtask {
    /// Its name in samples and reports.
    pub name: &'static str,
    /// How hard.
    pub level: Level,
    /// Subtasks that come before it.
    pub prerequisites: &'static [&'static str],
    /// Samples in the published curriculum.
    pub published: usize,
    /// How its answers are measured.
    pub metric: Metric,
    generate: Generate,
}

/// The sixteen subtasks, in the order of the published table.
pub const SUBTASKS: [Subtask; 16] = {
    use Level::{Advanced, Foundation, Intermediate};
    use Metric::{ExactMatch, TokenF1};
    const fn subtask(
        (name, level): (&'static str, Level),
        prerequisites: &'static [&'static str],
        published: usize,
        metric: Metric,
        generate: Generate,
    ) -> Subtask {
        Subtask { name, level, prerequisites, published, metric, generate }
    }
    [
        subtask(("query_category", Foundation), &[], 34, ExactMatch, foundation::query_category),
        subtask(
            ("query_item_relevance", Foundation),
            &["query_category"],
            100,
            ExactMatch,
            foundation::query_item_relevance,
        ),
        subtask(("key_information", Foundation), &[], 200, TokenF1, foundation::key_information),
        subtask(
            ("key_points", Foundation),
            &["key_information"],
            100,
            TokenF1,
            foundation::key_points,
        ),
        subtask(
            ("what_to_buy", Intermediate),
            &["query_category", "key_information"],
            13_300,
            TokenF1,
            intermediate::what_to_buy,
        ),
        subtask(
            ("concept_explanation", Intermediate),
            &["query_category"],
            200,
            TokenF1,
            intermediate::concept_explanation,
        ),
        subtask(
            ("selling_point", Intermediate),
            &["key_points"],
            200,
            ExactMatch,
            intermediate::selling_point,
        ),
        subtask(
            ("query_correction", Intermediate),
            &[],
            44,
            TokenF1,
            intermediate::query_correction,
        ),
        subtask(
            ("query_rewriting", Intermediate),
            &["query_correction"],
            108,
            TokenF1,
            intermediate::query_rewriting,
        ),
        subtask(
            ("recommendation", Advanced),
            &["what_to_buy", "query_item_relevance"],
            300,
            TokenF1,
            advanced::recommendation,
        ),
        subtask(
            ("keyword_extraction", Advanced),
            &["key_information"],
            300,
            TokenF1,
            advanced::keyword_extraction,
        ),
        subtask(("sentiment", Advanced), &["key_points"], 300, ExactMatch, advanced::sentiment),
        subtask(
            ("text_classification", Advanced),
            &["query_category"],
            300,
            ExactMatch,
            advanced::text_classification,
        ),
        subtask(
            ("inductive_reasoning", Advanced),
            &["what_to_buy", "concept_explanation"],
            300,
            ExactMatch,
            advanced::inductive_reasoning,
        ),
        subtask(
            ("deductive_reasoning", Advanced),
            &["what_to_buy"],
            212,
            ExactMatch,
            advanced::deductive_reasoning,
        ),
        subtask(
            ("references", Advanced),
            &["inductive_reasoning"],
            300,
            ExactMatch,
            advanced::references,
        ),
    ]
};

/// The subtask of this name.
#[must_use]
pub fn subtask(name: &str) -> Option<&'static Subtask> {
    SUBTASKS.iter().find(|subtask| subtask.name == name)
}

/// `total` samples divided as `shares` are (the published numbers, or others): at least one each where
/// `total` allows it, and `total` in all, the largest share taking what rounding leaves.
#[must_use]
pub fn quotas(total: usize, shares: &[usize]) -> Vec<usize> {
    let sum: usize = shares.iter().sum();
    let part = |share: &usize| (total * share / sum.max(1)).max(usize::from(total >= shares.len()));
    let mut quotas: Vec<usize> = shares.iter().map(part).collect();
    let Some(largest) = (0..shares.len()).max_by_key(|&i| shares[i]) else { return quotas };
    let others: usize = quotas.iter().sum::<usize>() - quotas[largest];
    quotas[largest] = total.saturating_sub(others);
    quotas
}

/// One question in sixteen is asked and never trained on.
const HELD_OUT: u64 = 16;

/// Whether a question with this input is only asked; other samples that say the same must leave it out.
#[must_use]
pub fn is_held_out(input: &str) -> bool {
    xxh3_64(input.as_bytes()).is_multiple_of(HELD_OUT)
}

/// Samples that are trained on, and questions that are only asked; no input is in both.
#[derive(Debug, Clone, Default)]
pub struct CurriculumSamples {
    /// In the order of [`SUBTASKS`].
    pub trained: Vec<Sample>,
    /// In the same order.
    pub asked: Vec<Sample>,
}

impl CurriculumSamples {
    /// Draws up to `quotas[i]` different questions of subtask `i`, fewer where the sources have no more,
    /// and up to `asked` further ones of each that are held out.
    #[must_use]
    pub fn draw(
        sources: &CurriculumSources<'_>,
        quotas: &[usize],
        asked: usize,
        seed: u64,
    ) -> Self {
        let mut samples = Self::default();
        for (idx, (subtask, &quota)) in SUBTASKS.iter().zip(quotas).enumerate() {
            let mut rng = Pcg64Mcg::seed_from_u64(seed ^ ((idx as u64 + 1) << 40));
            samples.draw_subtask(sources, subtask, (quota, asked), &mut rng);
        }
        samples
    }

    fn draw_subtask(
        &mut self,
        sources: &CurriculumSources<'_>,
        subtask: &Subtask,
        (quota, most_asked): (usize, usize),
        rng: &mut Pcg64Mcg,
    ) {
        let (mut seen, mut n_trained, mut n_asked) = (HashSet::new(), 0, 0);
        // What has no more to ask repeats itself; a limit on draws ends that.
        for _ in 0..(quota + most_asked) * 8 {
            if n_trained >= quota && n_asked >= most_asked {
                break;
            }
            let Some((input, answer)) = (subtask.generate)(sources, rng) else { continue };
            let (input, answer) = (plain_list(&input), plain_list(&answer));
            if input.is_empty() || answer.is_empty() || !seen.insert(input.clone()) {
                continue;
            }
            let held_out = is_held_out(&input);
            let sample =
                query_sample(subtask.name, &format!("{}: {input}", title(subtask.name)), &answer);
            if held_out && n_asked < most_asked {
                n_asked += 1;
                self.asked.push(sample);
            } else if !held_out && n_trained < quota {
                n_trained += 1;
                self.trained.push(sample);
            }
        }
    }

    /// Adds the samples of other sources; what is known already is left out.
    pub fn extend(&mut self, other: Self) {
        for (own, more) in [(&mut self.trained, other.trained), (&mut self.asked, other.asked)] {
            let known: HashSet<String> = own.iter().map(|s| s.segments[0].text.clone()).collect();
            own.extend(more.into_iter().filter(|s| !known.contains(&s.segments[0].text)));
        }
    }

    /// Trained samples of every subtask.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for sample in &self.trained {
            *counts.entry(sample.task.as_str()).or_insert(0) += 1;
        }
        counts
    }
}

/// Harmless text in every part of a list; `;` goes on dividing them.
fn plain_list(text: &str) -> String {
    let parts = text.split(';').map(|part| intent::plain(part).trim().to_owned());
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(";")
}

/// The words that a question begins with.
fn title(name: &str) -> String {
    name.replace('_', " ")
}
