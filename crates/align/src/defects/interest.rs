//! Interests: those that a user holds and shows, and necessities, weak, missing and invented support.

use std::collections::BTreeSet;

use intent::QuoteIndex;
use intent::judge::{Questions, Rubric};
use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_pcg::Pcg64Mcg;
use types::{CategoryId, Interest, InterestSource, InterestStage, normalise_text};

use super::shop::{PoolInterest, holds, parent};
use super::{CaseSubject, Defect, DefectOptions, JudgeCase, JudgeShop, JudgeUser, labels};
use crate::support::{Support, supports};
use crate::truth::{best_supports, supported_profile};

/// Share of the good interests that are named after a category, as necessities are: the words of a
/// name alone must not tell one from the other.
const PLAIN_NAMES: f64 = 0.2;

/// Share of the bad interests with a second defect.
const TWICE: f64 = 0.2;

const KINDS: [Defect; 4] =
    [Defect::Necessity, Defect::Weak, Defect::NoSupport, Defect::Hallucinated];

/// What is drawn from.
struct Source<'u, 'a> {
    user: &'u JudgeUser<'a>,
    shop: &'u JudgeShop<'u>,
    supports: Vec<Support<'a>>,
    index: QuoteIndex<'a>,
    questions: Questions<'a>,
    /// Normalised texts of the interests that hold.
    held: BTreeSet<String>,
}

/// An interest before it is asked about.
struct Draft {
    text: String,
    stage: InterestStage,
    quotes: Vec<String>,
    /// Willingness and reasonableness.
    labels: [&'static str; 2],
    defects: Vec<Defect>,
}

pub(super) fn cases(
    user: &JudgeUser<'_>,
    shop: &JudgeShop<'_>,
    options: &DefectOptions,
    rng: &mut Pcg64Mcg,
) -> Vec<JudgeCase> {
    let now = user.digest.now;
    let held = user.truth.interests.iter().filter(|i| holds(i, now));
    let source = Source {
        user,
        shop,
        supports: supports(user.digest, shop.truth.category_of_core),
        index: QuoteIndex::new(user.digest),
        questions: Questions::new(user.user, user.digest),
        held: held.map(|i| normalise_text(&i.text)).collect(),
    };
    let mut good = supported_profile(user.digest, user.truth, shop.truth).interests;
    good.shuffle(rng);
    good.truncate(options.interests);
    let mut drafts: Vec<Draft> = good.iter().map(|i| source.good(i, rng)).collect();
    let mut kinds: Vec<Defect> = Vec::new();
    while kinds.len() < options.n_bad(good.len()) {
        let mut round = KINDS;
        round.shuffle(rng);
        kinds.extend(round);
    }
    kinds.truncate(options.n_bad(good.len()));
    drafts.extend(kinds.into_iter().filter_map(|kind| source.bad(kind, rng)));
    drafts.shuffle(rng);
    drafts.into_iter().map(|draft| source.case(draft)).collect()
}

impl Draft {
    fn stranger(
        interest: &PoolInterest,
        quotes: Vec<String>,
        label: &'static str,
        defect: Defect,
    ) -> Self {
        Self {
            text: interest.text.clone(),
            stage: interest.stage,
            quotes,
            labels: ["spontaneity", label],
            defects: vec![defect],
        }
    }
}

impl<'a> Source<'_, 'a> {
    fn good(&self, interest: &Interest, rng: &mut Pcg64Mcg) -> Draft {
        let quotes: Vec<String> =
            intent::terse::quotes(&interest.reason).into_iter().map(str::to_owned).collect();
        let mut text = interest.text.clone();
        if rng.random_bool(PLAIN_NAMES) {
            let first = quotes.first().and_then(|q| (self.shop.truth.category_of_core)(q));
            text = first.map_or(text, |category| self.category_name(category, rng));
        }
        Draft {
            text,
            stage: interest.stage,
            quotes,
            labels: ["spontaneity", "strong"],
            defects: Vec::new(),
        }
    }

    /// `None` where this user offers nothing to make the defect of.
    fn bad(&self, kind: Defect, rng: &mut Pcg64Mcg) -> Option<Draft> {
        let mut draft = match kind {
            Defect::Necessity => self.necessity(rng),
            Defect::Weak => self.weak(rng),
            Defect::NoSupport => self.unsupported(rng),
            Defect::Hallucinated => self.hallucinated(rng),
            Defect::Irrelevant | Defect::Inconsistent | Defect::Unspecific | Defect::Invalid => {
                None
            }
        }?;
        if kind == Defect::Necessity && rng.random_bool(TWICE) {
            let roots: Vec<CategoryId> = self.shop.necessities.iter().copied().collect();
            draft.quotes = self.strange_quotes(&roots, rng)?;
            draft.labels[1] = "none";
            draft.defects.push(Defect::NoSupport);
        }
        Some(draft)
    }

    fn necessity(&self, rng: &mut Pcg64Mcg) -> Option<Draft> {
        let categories: BTreeSet<CategoryId> = self
            .supports
            .iter()
            .map(|s| s.category)
            .filter(|category| self.shop.necessities.contains(category))
            .collect();
        let categories: Vec<CategoryId> = categories.into_iter().collect();
        let &category = categories.choose(rng)?;
        Some(Draft {
            text: self.category_name(category, rng),
            stage: InterestStage::Long,
            quotes: self.quotes(|s| s.category == category),
            labels: ["necessity", "strong"],
            defects: vec![Defect::Necessity],
        })
    }

    /// An interest that is not held and that the quotes fit, or come close to.
    fn weak(&self, rng: &mut Pcg64Mcg) -> Option<Draft> {
        let near = |i: &&PoolInterest| self.fits(i) || self.comes_close(i);
        let strangers: Vec<&PoolInterest> = self.strangers().filter(near).collect();
        let stranger = *strangers.choose(rng)?;
        let quotes = if self.fits(stranger) {
            self.quotes(|s| self.shop.serves(&stranger.roots, s.category))
        } else {
            self.quotes(|s| self.shop.is_beside(&stranger.roots, s.category))
        };
        Some(Draft::stranger(stranger, quotes, "weak", Defect::Weak))
    }

    /// An interest that nothing in the history touches, with quotes that stand there.
    fn unsupported(&self, rng: &mut Pcg64Mcg) -> Option<Draft> {
        let strangers: Vec<&PoolInterest> = self.strangers().collect();
        let stranger = *strangers.choose(rng)?;
        let quotes = self.strange_quotes(&stranger.roots, rng)?;
        Some(Draft::stranger(stranger, quotes, "none", Defect::NoSupport))
    }

    /// Quotes that fit and that the digest does not hold: needs of the interest's holders.
    fn hallucinated(&self, rng: &mut Pcg64Mcg) -> Option<Draft> {
        let all: Vec<&PoolInterest> = self.shop.pool.values().collect();
        let chosen = *all.choose(rng)?;
        let is_new = |text: &str| self.index.lines(text).is_empty() && !self.index.is_recent(text);
        let invented: Vec<&str> =
            chosen.tags.iter().map(|tag| tag.text.as_str()).filter(|text| is_new(text)).collect();
        let mut quotes = vec![(*invented.choose(rng)?).to_owned()];
        if let Some(real) = self.supports.choose(rng)
            && rng.random_bool(0.5)
        {
            quotes.push(real.text.to_owned());
        }
        Some(Draft::stranger(chosen, quotes, "hallucinated", Defect::Hallucinated))
    }

    /// Interests that others hold and this user does not.
    fn strangers(&self) -> impl Iterator<Item = &PoolInterest> {
        let pool = self.shop.pool.iter();
        pool.filter(|(name, _)| !self.held.contains(*name)).map(|(_, interest)| interest)
    }

    fn fits(&self, interest: &PoolInterest) -> bool {
        self.supports.iter().any(|s| self.shop.serves(&interest.roots, s.category))
    }

    fn comes_close(&self, interest: &PoolInterest) -> bool {
        self.supports.iter().any(|s| self.shop.is_beside(&interest.roots, s.category))
    }

    /// One or two texts of categories that are neither of the roots nor beside one.
    fn strange_quotes(&self, roots: &[CategoryId], rng: &mut Pcg64Mcg) -> Option<Vec<String>> {
        let is_far = |s: &&Support<'_>| {
            !self.shop.serves(roots, s.category) && !self.shop.is_beside(roots, s.category)
        };
        let far: Vec<&Support<'_>> = self.supports.iter().filter(is_far).collect();
        let first = far.choose(rng)?;
        let mut quotes = vec![first.text.to_owned()];
        let second = far.choose(rng)?;
        if second.text != first.text {
            quotes.push(second.text.to_owned());
        }
        Some(quotes)
    }

    fn quotes(&self, is_wanted: impl Fn(&Support<'a>) -> bool) -> Vec<String> {
        let own: Vec<&Support<'a>> = self.supports.iter().filter(|s| is_wanted(s)).collect();
        best_supports(&own).iter().map(|s| s.text.to_owned()).collect()
    }

    /// A category or the node above it as the name of an interest.
    fn category_name(&self, category: CategoryId, rng: &mut Pcg64Mcg) -> String {
        let taxonomy = self.shop.truth.taxonomy;
        let is_wide = rng.random_bool(0.25);
        let node = parent(taxonomy, category).filter(|_| is_wide).unwrap_or(category);
        let name = intent::plain(&taxonomy.name(node).to_lowercase());
        match rng.random_range(0..4_u32) {
            0 => format!("{name} supplies"),
            1 => format!("everyday {name}"),
            _ => name,
        }
    }

    fn case(&self, draft: Draft) -> JudgeCase {
        let quotes: Vec<&str> = draft.quotes.iter().map(String::as_str).collect();
        let lines: Vec<usize> =
            quotes.iter().flat_map(|quote| self.index.lines(quote).iter().copied()).collect();
        let interest = Interest {
            id: "interest_01".to_owned(),
            text: draft.text,
            stage: draft.stage,
            source: InterestSource::Extended,
            reason: self.index.reason(&quotes),
            evidence: self.index.evidence(&lines),
        };
        let question = self.questions.interest(&interest).ok();
        JudgeCase {
            user_id: self.user.digest.user_id.clone(),
            subject: CaseSubject::Interest { interest, question },
            labels: labels(Rubric::interest(), &draft.labels),
            defects: draft.defects,
        }
    }
}
