//! Labelled cases for the judge: what a world's truth says is right, and defects of every kind.
//!
//! One principle decides every label, of generated cases and of a model's own outputs alike
//! ([`label_with_truth`]): an interest is strongly supported when the user holds it and the quotes are
//! of its categories, weakly when they are of its categories or next to them but the user does not hold
//! it, and not at all otherwise; a tag is relevant when its category serves the stated interest,
//! consistent when it serves an interest that the user holds and contradicts neither season nor person.

mod interest;
mod own;
mod shop;
mod tag;
mod twist;

use intent::judge::{InterestQuestion, Rubric, TagContext};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};
use types::{Criterion, Digest, Interest, User, UserTruth, fnv1a64};

pub use self::own::label_with_truth;
pub use self::shop::JudgeShop;

/// What is wrong with a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Defect {
    /// Interest: daily consumables, bought because they must be.
    Necessity,
    /// Interest: not held; the quotes fit it, or its neighbours, as well as what is held.
    Weak,
    /// Interest: of somebody else, with this user's quotes.
    NoSupport,
    /// Interest: quotes that the digest does not hold.
    Hallucinated,
    /// Tag: of another interest.
    Irrelevant,
    /// Tag: for an interest that the user does not hold, another season, age or gender.
    Inconsistent,
    /// Tag: modifiers dropped, or a vague head.
    Unspecific,
    /// Tag: modifier and core of no product.
    Invalid,
}

/// What is judged, as the judge reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum CaseSubject {
    /// An interest.
    Interest {
        /// With its reason and events.
        interest: Interest,
        /// What a model is asked; absent where code finds the evidence missing.
        question: Option<InterestQuestion>,
    },
    /// A tag.
    Tag {
        /// What it has in common with the other tags of its interest.
        context: TagContext,
        /// Its text.
        tag: String,
    },
}

/// One subject with its true labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgeCase {
    /// Whose.
    pub user_id: String,
    /// What is judged.
    pub subject: CaseSubject,
    /// The right label of every criterion, in the rubric's order.
    pub labels: Vec<(Criterion, String)>,
    /// What was done to it; empty for good cases and for a model's own outputs.
    pub defects: Vec<Defect>,
}

impl JudgeCase {
    /// The rubric of its kind.
    #[must_use]
    pub fn rubric(&self) -> &'static Rubric {
        match self.subject {
            CaseSubject::Interest { .. } => Rubric::interest(),
            CaseSubject::Tag { .. } => Rubric::tag(),
        }
    }

    /// Whether the label of a criterion passes; `None` for a criterion of the other kind.
    #[must_use]
    pub fn passes_on(&self, criterion: Criterion) -> Option<bool> {
        let (_, label) = self.labels.iter().find(|(c, _)| *c == criterion)?;
        Some(self.rubric().criterion(criterion)?.label(label)?.passes)
    }

    /// Whether all labels pass.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.labels.iter().all(|(criterion, _)| self.passes_on(*criterion) == Some(true))
    }
}

/// One simulated user.
#[derive(Debug, Clone, Copy)]
pub struct JudgeUser<'a> {
    /// Who.
    pub user: &'a User,
    /// What they did.
    pub digest: &'a Digest,
    /// What they want, at the digest's time.
    pub truth: &'a UserTruth,
}

/// How many cases are made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DefectOptions {
    /// Share of the cases that carry a defect, below 1.
    pub bad_share: f64,
    /// Most good interests of one user.
    pub interests: usize,
    /// Most good tags of one user and interest.
    pub tags: usize,
    /// Seed of all draws.
    pub seed: u64,
}

impl DefectOptions {
    /// Half of the cases bad, at most 8 good interests per user and 4 good tags per interest.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { bad_share: 0.5, interests: 8, tags: 4, seed }
    }

    /// Bad cases that belong to so many good ones.
    fn n_bad(&self, n_good: usize) -> usize {
        let share = self.bad_share.clamp(0.0, 0.95);
        (n_good as f64 * share / (1.0 - share)).round() as usize
    }
}

/// Good cases and generated defects of all users, in their order. Users whose interests have no support
/// give none. A user's cases depend on the seed, on the user and on the users that `shop` was made of.
#[must_use]
pub fn cases_from_truth(
    users: &[JudgeUser<'_>],
    shop: &JudgeShop<'_>,
    options: &DefectOptions,
) -> Vec<JudgeCase> {
    let mut cases = Vec::new();
    for user in users {
        let seed = options.seed ^ fnv1a64(user.digest.user_id.as_bytes());
        let mut rng = Pcg64Mcg::seed_from_u64(seed ^ user.digest.now.0.cast_unsigned());
        cases.extend(interest::cases(user, shop, options, &mut rng));
        cases.extend(tag::cases(user, shop, options, &mut rng));
    }
    cases
}

/// Labels in the rubric's order.
fn labels(rubric: &Rubric, names: &[&str]) -> Vec<(Criterion, String)> {
    let criteria = rubric.criteria.iter().map(|c| c.name);
    criteria.zip(names.iter().map(|name| (*name).to_owned())).collect()
}
