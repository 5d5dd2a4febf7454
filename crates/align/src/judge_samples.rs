//! What a judge learns from: outputs of worlds' users with the labels that the truth gives them, good ones
//! and generated defects of every kind (RECGPT.md 1.1, 1.2, 1.5).

mod interests;
mod rebalance;
mod tags;

use std::collections::{BTreeSet, HashSet};

use intent::{Lang, Subjects, judge_questions, mine_request, write_verdict};
use lm::PromptStyle;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use types::{CategoryId, Digest, Interest, Tag, User, UserTruth};

pub use self::rebalance::rebalanced;
use crate::interest_counts::InterestCounts;
use crate::sample::Sample;
use crate::truth::TruthShop;

/// Most cases of one user and kind.
const CASES: usize = 16;

/// An output and its labels, one per criterion of its rubric in the rubric's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled<T> {
    /// What is judged.
    pub subject: T,
    /// Names of labels.
    pub labels: Vec<&'static str>,
}

impl<T> Labelled<T> {
    /// Whether every label passes; `rubric` is the subject's.
    #[must_use]
    pub fn passes(&self, rubric: &intent::Rubric) -> bool {
        self.passes_each(rubric).into_iter().all(|passes| passes)
    }

    /// Whether the label of each criterion passes.
    #[must_use]
    pub fn passes_each(&self, rubric: &intent::Rubric) -> Vec<bool> {
        let passes = |(criterion, name): (&intent::CriterionRubric, &&str)| {
            criterion.labels.iter().any(|label| label.name == **name && label.passes)
        };
        rubric.criteria.iter().zip(&self.labels).map(passes).collect()
    }
}

/// What labels are read from.
pub struct JudgeWorld<'a> {
    /// As for the samples of mining and tagging.
    pub shop: TruthShop<'a>,
    /// Modifiers that the products of a category have.
    pub modifiers: &'a ModifierIndex,
    /// What all users of the world want: the outputs of others are a user's defects.
    pub truths: &'a [UserTruth],
}

/// Which modifiers go with which categories in a catalogue.
#[derive(Debug, Clone, Default)]
pub struct ModifierIndex {
    known: HashSet<(CategoryId, String)>,
    all: Vec<String>,
}

impl ModifierIndex {
    /// Of products given as (core words, category).
    #[must_use]
    pub fn new(products: &[(&str, CategoryId)], cores: &intent::CoreWords) -> Self {
        let (mut known, mut all) = (HashSet::new(), BTreeSet::new());
        for (core, category) in products {
            let Some((modifiers, _)) = intent::split_tag(core, cores) else { continue };
            for modifier in modifiers {
                known.insert((*category, modifier.clone()));
                all.insert(modifier);
            }
        }
        Self { known, all: all.into_iter().collect() }
    }

    /// Whether some product of the category has all of these.
    fn go_together(&self, category: CategoryId, modifiers: &[String]) -> bool {
        modifiers.iter().all(|m| self.known.contains(&(category, m.clone())))
    }
}

impl JudgeWorld<'_> {
    fn counts(&self) -> &InterestCounts {
        self.shop.counts
    }

    /// Up to sixteen interests of one user with their labels, in drawn order: true ones, those that the
    /// behaviour would explain but that the user does not hold, another user's, necessities.
    #[must_use]
    pub fn interest_cases(
        &self,
        digest: &Digest,
        truth: &UserTruth,
        rng: &mut Pcg64Mcg,
    ) -> Vec<Labelled<Interest>> {
        let mut cases = interests::cases(self, digest, truth, rng);
        cases.shuffle(rng);
        cases.truncate(CASES);
        cases
    }

    /// The labels of interests that a model wrote.
    #[must_use]
    pub fn label_interests(
        &self,
        digest: &Digest,
        truth: &UserTruth,
        mined: &[Interest],
    ) -> Vec<Labelled<Interest>> {
        let evidence = interests::Evidence::new(self, digest);
        let label = |interest: &Interest| Labelled {
            subject: interest.clone(),
            labels: evidence.labels(digest, truth, &interest.text),
        };
        mined.iter().map(label).collect()
    }

    /// Up to sixteen tags of one user with their labels: needed ones, and defects of every kind.
    #[must_use]
    pub fn tag_cases(
        &self,
        digest: &Digest,
        truth: &UserTruth,
        rng: &mut Pcg64Mcg,
    ) -> Vec<Labelled<Tag>> {
        let mut cases = tags::cases(self, digest, truth, rng);
        cases.shuffle(rng);
        cases.truncate(CASES);
        cases
    }

    /// The labels of tags that a model wrote.
    #[must_use]
    pub fn label_tags(
        &self,
        digest: &Digest,
        truth: &UserTruth,
        predicted: &[Tag],
    ) -> Vec<Labelled<Tag>> {
        let label = |tag: &Tag| Labelled {
            subject: tag.clone(),
            labels: tags::labels(self, digest, truth, tag),
        };
        predicted.iter().map(label).collect()
    }
}

/// The questions to the built-in judge about interests of one user, side by side; none without cases.
#[must_use]
pub fn interest_judge_sample(
    user: &User,
    digest: &Digest,
    cases: &[Labelled<Interest>],
) -> Option<Sample> {
    let subjects: Vec<Interest> = cases.iter().map(|c| c.subject.clone()).collect();
    let labels = cases.iter().map(|c| c.labels.as_slice());
    sample("judge_interests", (user, digest), Subjects::Interests(&subjects), labels)
}

/// The same about tags.
#[must_use]
pub fn tag_judge_sample(user: &User, digest: &Digest, cases: &[Labelled<Tag>]) -> Option<Sample> {
    let subjects: Vec<Tag> = cases.iter().map(|c| c.subject.clone()).collect();
    let labels = cases.iter().map(|c| c.labels.as_slice());
    sample("judge_tags", (user, digest), Subjects::Tags(&subjects), labels)
}

fn sample<'a>(
    task: &str,
    (user, digest): (&User, &Digest),
    subjects: Subjects<'_>,
    labels: impl Iterator<Item = &'a [&'static str]>,
) -> Option<Sample> {
    if subjects.is_empty() {
        return None;
    }
    let mine = mine_request(PromptStyle::Terse, Lang::En, user, digest, &[], 0).prompt.user;
    let answers = labels.map(|labels| write_verdict(subjects.rubric(), labels));
    let questions = judge_questions(subjects).into_iter().zip(answers).collect();
    Some(Sample::branched(task, mine, questions))
}
