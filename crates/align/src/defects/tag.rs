//! Tags: what users need, and tags that are irrelevant, inconsistent, unspecific or invalid.

use intent::judge::{Questions, Rubric, TagContext};
use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_pcg::Pcg64Mcg;
use types::{CategoryId, Tag, normalise_text};

use super::shop::{PoolInterest, holds};
use super::twist::{Draft, invalid, personal, seasonal, unspecific};
use super::{CaseSubject, Defect, DefectOptions, JudgeCase, JudgeShop, JudgeUser, labels};
use crate::truth::{needed_tags, supported_profile};

/// Share of the bad tags with a second defect.
const TWICE: f64 = 0.25;

/// Share of the good tags that say a season or a person, rightly.
const RIGHT_WORDS: f64 = 0.2;

/// Share of the groups about an interest that the user does not hold in which it stands among the
/// user's interests, as one that was mined wrongly would.
const WRONGLY_MINED: f64 = 0.5;

const KINDS: [Defect; 4] =
    [Defect::Irrelevant, Defect::Inconsistent, Defect::Unspecific, Defect::Invalid];

struct Source<'u, 'a> {
    user: &'u JudgeUser<'a>,
    shop: &'u JudgeShop<'u>,
    /// Categories of all interests that hold, and of all needs.
    wanted: Vec<CategoryId>,
    tags: &'u [Tag],
}

pub(super) fn cases(
    user: &JudgeUser<'_>,
    shop: &JudgeShop<'_>,
    options: &DefectOptions,
    rng: &mut Pcg64Mcg,
) -> Vec<JudgeCase> {
    let profile = supported_profile(user.digest, user.truth, shop.truth);
    let tags = needed_tags(user.digest, user.truth, &profile, shop.truth);
    let source = Source { user, shop, wanted: wanted(user, shop), tags: &tags };
    let questions = Questions::new(user.user, user.digest);
    let names: Vec<&str> = profile.interests.iter().map(|i| i.text.as_str()).collect();
    let mut cases = Vec::new();
    for interest in &names {
        let mut own: Vec<&Tag> = tags.iter().filter(|tag| tag.interest == *interest).collect();
        own.shuffle(rng);
        // Groups of all sizes, so that the size tells nothing.
        let n_good = rng.random_range(1..=options.tags.max(1));
        let mut drafts: Vec<Draft> =
            own.iter().take(n_good).map(|tag| source.good(tag, rng)).collect();
        if drafts.is_empty() {
            continue;
        }
        let n_bad = options.n_bad(drafts.len());
        drafts.extend((0..n_bad).filter_map(|_| source.bad(interest, &own, rng)));
        drafts.shuffle(rng);
        let context = questions.tag_context(&names, interest);
        cases.extend(drafts.into_iter().map(|draft| source.case(&context, draft)));
    }
    // Tags of interests that the user does not hold need groups of their own: one per four.
    for _ in 0..names.len().div_ceil(4) {
        if let Some((stranger, drafts)) = source.foreign(options, rng) {
            let mut names = names.clone();
            if rng.random_bool(WRONGLY_MINED) {
                names.insert(rng.random_range(0..=names.len()), &stranger.text);
            }
            let context = questions.tag_context(&names, &stranger.text);
            cases.extend(drafts.into_iter().map(|draft| source.case(&context, draft)));
        }
    }
    cases
}

/// Categories that the user wants something of.
pub(super) fn wanted(user: &JudgeUser<'_>, shop: &JudgeShop<'_>) -> Vec<CategoryId> {
    let now = user.digest.now;
    let held = user.truth.interests.iter().filter(|i| holds(i, now));
    let paths =
        held.flat_map(|i| &i.categories).chain(user.truth.needs.iter().map(|n| &n.category));
    let mut wanted: Vec<CategoryId> =
        paths.filter_map(|path| shop.truth.taxonomy.find(path)).collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

impl Source<'_, '_> {
    fn good(&self, tag: &Tag, rng: &mut Pcg64Mcg) -> Draft {
        let draft = Draft::good(tag);
        if !rng.random_bool(RIGHT_WORDS) || intent::season_of(&tag.text).is_some() {
            return draft;
        }
        let said = match rng.random_bool(0.5) {
            true => personal(draft.clone(), self.user.user, true, rng),
            false => Some(seasonal(draft.clone(), self.user.digest.now, true, rng)),
        };
        said.unwrap_or(draft)
    }

    fn bad(&self, interest: &str, own: &[&Tag], rng: &mut Pcg64Mcg) -> Option<Draft> {
        let kind = *KINDS.choose(rng)?;
        let mut draft = Draft::good(own.choose(rng)?);
        let is_twice = rng.random_bool(TWICE);
        if kind == Defect::Irrelevant || is_twice && rng.random_bool(0.3) {
            draft = self.irrelevant(interest, rng)?;
        }
        let second = *[Defect::Unspecific, Defect::Invalid, Defect::Inconsistent].choose(rng)?;
        let mut twists = vec![kind];
        if is_twice && second != kind {
            twists.push(second);
        }
        // The others write the tag anew, so words of a season or a person are added last.
        twists.sort_by_key(|twist| *twist == Defect::Inconsistent);
        for twist in twists {
            draft = match twist {
                Defect::Unspecific if !draft.defects.contains(&Defect::Invalid) => {
                    unspecific(draft, self.shop, rng)
                }
                Defect::Invalid if !draft.defects.contains(&Defect::Unspecific) => {
                    invalid(draft, self.shop, rng)?
                }
                Defect::Inconsistent if intent::season_of(&draft.tag.text).is_none() => {
                    self.contradicting(draft, rng)
                }
                Defect::Unspecific
                | Defect::Invalid
                | Defect::Inconsistent
                | Defect::Irrelevant
                | Defect::Necessity
                | Defect::Weak
                | Defect::NoSupport
                | Defect::Hallucinated => draft,
            };
        }
        (!draft.defects.is_empty()).then_some(draft)
    }

    fn contradicting(&self, draft: Draft, rng: &mut Pcg64Mcg) -> Draft {
        let said = match rng.random_bool(0.5) {
            true => personal(draft.clone(), self.user.user, false, rng),
            false => None,
        };
        said.unwrap_or_else(|| seasonal(draft, self.user.digest.now, false, rng))
    }

    /// A tag of another interest, of the same user or of somebody else.
    fn irrelevant(&self, interest: &str, rng: &mut Pcg64Mcg) -> Option<Draft> {
        let served = self.shop.interest(interest)?;
        let serves = |tag: &Tag| self.serves(served, tag);
        let own: Vec<&Tag> = self.tags.iter().filter(|tag| !serves(tag)).collect();
        let others = self.shop.pool.values().filter(|i| i.text != interest);
        let others: Vec<&PoolInterest> = others.collect();
        let chosen = match rng.random_bool(0.5) && !own.is_empty() {
            true => own.choose(rng).copied(),
            false => others.choose(rng).and_then(|other| other.tags.choose(rng)),
        };
        let tag = chosen.filter(|tag| !serves(tag))?;
        let mut draft = Draft::good(tag);
        draft.tag.interest = interest.to_owned();
        draft.labels[0] = false;
        draft.defects.push(Defect::Irrelevant);
        if !self.is_wanted(tag) {
            draft.labels[1] = false;
            draft.defects.push(Defect::Inconsistent);
        }
        Some(draft)
    }

    /// An interest that others hold and this user does not, with tags of categories that this user does
    /// not want.
    fn foreign(
        &self,
        options: &DefectOptions,
        rng: &mut Pcg64Mcg,
    ) -> Option<(&PoolInterest, Vec<Draft>)> {
        let now = self.user.digest.now;
        let held = self.user.truth.interests.iter().filter(|i| holds(i, now));
        let held: Vec<String> = held.map(|i| normalise_text(&i.text)).collect();
        let strangers = self.shop.pool.iter().filter(|(name, _)| !held.contains(name));
        let strangers: Vec<&PoolInterest> = strangers.map(|(_, interest)| interest).collect();
        let stranger = *strangers.choose(rng)?;
        let mut tags: Vec<&Tag> = stranger.tags.iter().filter(|tag| !self.is_wanted(tag)).collect();
        tags.shuffle(rng);
        let strange = |tag: &&Tag| {
            let mut draft = Draft::good(tag);
            draft.labels[1] = false;
            draft.defects.push(Defect::Inconsistent);
            draft
        };
        let n_whole = rng.random_range(1..=options.tags.max(1));
        let mut drafts: Vec<Draft> = tags.iter().take(n_whole).map(strange).collect();
        for _ in 0..options.n_bad(drafts.len()) {
            let base = tags.choose(rng).map(strange);
            drafts.extend(match rng.random_range(0..3_u32) {
                0 => base.map(|draft| unspecific(draft, self.shop, rng)),
                1 => base.and_then(|draft| invalid(draft, self.shop, rng)),
                _ => self.irrelevant(&stranger.text, rng),
            });
        }
        drafts.shuffle(rng);
        (!drafts.is_empty()).then_some((stranger, drafts))
    }

    fn is_wanted(&self, tag: &Tag) -> bool {
        tag.category.is_some_and(|category| self.shop.serves(&self.wanted, category))
    }

    fn serves(&self, interest: &PoolInterest, tag: &Tag) -> bool {
        tag.category.is_none_or(|category| serves(self.shop, interest, category))
    }

    fn case(&self, context: &TagContext, draft: Draft) -> JudgeCase {
        let names = draft.labels.map(|is_right| if is_right { "yes" } else { "no" });
        JudgeCase {
            user_id: self.user.digest.user_id.clone(),
            subject: CaseSubject::Tag { context: context.clone(), tag: draft.tag.text },
            labels: labels(Rubric::tag(), &names),
            defects: draft.defects,
        }
    }
}

/// Whether products of a category serve an interest: it draws from the category, or somebody needs such
/// a product for it.
pub(super) fn serves(shop: &JudgeShop<'_>, interest: &PoolInterest, category: CategoryId) -> bool {
    shop.serves(&interest.roots, category)
        || interest.tags.iter().any(|tag| tag.category == Some(category))
}
