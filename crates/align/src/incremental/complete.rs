//! Completion: the item's words as a tag, the interest behind it, and a chain of reasons.

use std::collections::{BTreeSet, HashMap, HashSet};

use intent::{TagRules, check_tags, split_tag, stem_key};
use types::{Tag, TagConstraint};

use super::purify::Kept;
use super::report::{DropReason, IncrementalReport, IncrementalStep};
use super::{IncrementalConfig, IncrementalShop, WindowUser};
use crate::chain::{Link, clauses, rationale};
use crate::precise::precise;
use crate::scope::Scope;

/// A tag and the weight of the act that it comes from.
pub(super) struct Weighed {
    pub tag: Tag,
    pub act: u8,
}

/// Tags that hold the constraints, in order of time. The season is that of the day of the act: a
/// window reaches into the next season, and what is bought there is no breach. Whether the list as a
/// whole is long enough is not asked.
pub(super) fn complete(
    kept: Vec<Kept<'_>>,
    user: &WindowUser<'_>,
    scopes: &[Scope],
    (shop, config): (&IncrementalShop<'_>, &IncrementalConfig),
    report: &mut IncrementalReport,
) -> Vec<Weighed> {
    let interests = &user.profile.interests;
    let categories = Some(shop.to_category);
    let mut rules = TagRules::new(user.digest, interests, shop.lexicon, categories);
    (rules.min_tags, rules.min_categories) = (0, 0);
    let had = had_cores(user, shop);
    let mut seen = HashSet::new();
    let tag = |kept: Kept<'_>| {
        rules.season = kept.candidate.first.season();
        let act = kept.candidate.act;
        let new = |tag: Tag| {
            if seen.insert(stem_key(&tag.text)) { Ok(tag) } else { Err(DropReason::SameTag) }
        };
        let tag = precise(kept.candidate.text, shop.lexicon)
            .ok_or(DropReason::NoTag)
            .map(|parts| tag(&kept, parts, (user, scopes), &had, (shop, config)))
            .and_then(new)
            .and_then(|tag| checked(tag, &rules));
        report.sift(IncrementalStep::Completion, tag.map(|tag| Weighed { tag, act }))
    };
    kept.into_iter().filter_map(tag).collect()
}

/// The tag with the interest and the chain behind it.
fn tag(
    kept: &Kept<'_>,
    (text, modifiers, core): (String, Vec<String>, String),
    (user, scopes): (&WindowUser<'_>, &[Scope]),
    had: &HashMap<String, usize>,
    (shop, config): (&IncrementalShop<'_>, &IncrementalConfig),
) -> Tag {
    let words = kept.candidate.text;
    let interest = user.profile.interests[kept.interest].text.clone();
    let scope = &scopes[kept.interest];
    let goes_with = scope.texts.iter().find(|had| (shop.goes_with)(had, words));
    let link = Link {
        text: &text,
        modifiers: &modifiers,
        interest: &interest,
        often: had.get(&stem_key(&core)).is_some_and(|&n| n > 1),
        closeness: kept.closeness,
        goes_with: goes_with.map(String::as_str),
    };
    let rationale = rationale(clauses(&link, scope, &shop.ground()), config.clauses);
    Tag { text, modifiers, core, interest, rationale, category: None }
}

/// How many different texts of the digest have each core, by stems.
fn had_cores(user: &WindowUser<'_>, shop: &IncrementalShop<'_>) -> HashMap<String, usize> {
    let texts: BTreeSet<&String> = user.digest.lines.iter().flat_map(|line| &line.items).collect();
    let mut had = HashMap::new();
    for (_, core) in texts.into_iter().filter_map(|text| split_tag(text, &shop.lexicon.cores)) {
        *had.entry(stem_key(&core)).or_insert(0) += 1;
    }
    had
}

/// The tag with its category, or the constraint that it breaks.
fn checked(tag: Tag, rules: &TagRules<'_>) -> Result<Tag, DropReason> {
    let (mut kept, breaches) = check_tags(vec![tag], rules);
    if let Some(tag) = kept.pop() {
        return Ok(tag);
    }
    Err(match breaches.first().map(|breach| breach.constraint) {
        Some(TagConstraint::InterestConsistency) => DropReason::OffInterest,
        Some(TagConstraint::Diversity) => DropReason::SameTag,
        Some(TagConstraint::Freshness) => DropReason::Stale,
        Some(TagConstraint::Season) => DropReason::OutOfSeason,
        Some(TagConstraint::SemanticPrecision) | None => DropReason::Imprecise,
    })
}
