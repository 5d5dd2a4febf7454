//! Tags with the labels that a world's truth gives them.

use intent::{TagRules, check_tags, split_tag};
use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_pcg::Pcg64Mcg;
use types::{Digest, Tag, TagConstraint, TrueNeed, UserTruth};

use super::{JudgeWorld, Labelled};

/// Needed tags of one user's cases, and tags with each defect.
const GOOD: usize = 7;
const OF_EACH_DEFECT: usize = 2;

/// Words that name nothing.
const VAGUE: [&str; 6] = ["quality", "fashion", "new style", "multi-purpose", "premium", "modern"];

pub(super) fn cases(
    world: &JudgeWorld<'_>,
    digest: &Digest,
    truth: &UserTruth,
    rng: &mut Pcg64Mcg,
) -> Vec<Labelled<Tag>> {
    let needs: Vec<&TrueNeed> = truth.needs.iter().filter(|n| n.until > digest.now).collect();
    let mut tags: Vec<Tag> = Vec::new();
    tags.extend(needs.sample(rng, GOOD).filter_map(|n| tag(world, n, &n.interest)));
    for _ in 0..OF_EACH_DEFECT {
        // Irrelevant: what serves one interest, given for another.
        if let (Some(need), Some(other)) = (needs.choose(rng), needs.choose(rng)) {
            tags.extend(tag(world, need, &other.interest));
        }
        // Inconsistent: what somebody else wants.
        let stranger = world.truths.choose(rng).and_then(|t| t.needs.choose(rng));
        if let (Some(need), Some(own)) = (stranger, needs.choose(rng)) {
            let shared = truth.interests.iter().any(|i| i.text == need.interest);
            tags.extend(tag(world, need, if shared { &need.interest } else { &own.interest }));
        }
        // Unspecific: praise in place of modifiers.
        if let Some(good) = needs.choose(rng).and_then(|n| tag(world, n, &n.interest)) {
            let praise = VAGUE.choose(rng).copied().unwrap_or(VAGUE[0]);
            let text = format!("{praise} {}", good.core);
            tags.push(Tag { text, modifiers: vec![praise.to_owned()], ..good });
        }
        // Invalid: modifiers that no such product has.
        if let Some(good) = needs.choose(rng).and_then(|n| tag(world, n, &n.interest)) {
            tags.extend(impossible(world, good, rng));
        }
    }
    let mut seen = std::collections::HashSet::new();
    tags.retain(|tag| seen.insert((tag.interest.clone(), tag.text.clone())));
    let case = |tag: Tag| Labelled { labels: labels(world, digest, truth, &tag), subject: tag };
    tags.into_iter().map(case).collect()
}

/// Relevance, consistency, specificity, validity.
pub(super) fn labels(
    world: &JudgeWorld<'_>,
    digest: &Digest,
    truth: &UserTruth,
    tag: &Tag,
) -> Vec<&'static str> {
    let category = tag.category.or_else(|| (world.shop.category_of_core)(&tag.text));
    let path = category.map(|c| world.shop.taxonomy.path(c));
    let is_relevant = path.is_some_and(|path| world.counts().share(path, &tag.interest) > 0.0);
    let is_needed = path.is_some_and(|path| truth.needs.iter().any(|n| n.category == path));
    let is_specific = !breaks(world, digest, tag, TagConstraint::SemanticPrecision)
        && !tag.modifiers.iter().any(|m| VAGUE.contains(&m.as_str()));
    let is_fresh = !breaks(world, digest, tag, TagConstraint::Freshness)
        && !breaks(world, digest, tag, TagConstraint::Season);
    let modifiers: Vec<String> =
        tag.modifiers.iter().filter(|m| !VAGUE.contains(&m.as_str())).cloned().collect();
    let is_valid = category.is_some_and(|c| world.modifiers.go_together(c, &modifiers));
    let name = |yes: bool| if yes { "yes" } else { "no" };
    vec![name(is_relevant), name(is_needed && is_fresh), name(is_specific), name(is_valid)]
}

/// Whether the tag alone breaks a constraint.
fn breaks(world: &JudgeWorld<'_>, digest: &Digest, tag: &Tag, constraint: TagConstraint) -> bool {
    let interest = types::Interest {
        id: String::new(),
        text: tag.interest.clone(),
        stage: types::InterestStage::Long,
        source: types::InterestSource::Listed,
        reason: String::new(),
        evidence: Vec::new(),
    };
    let interests = [interest];
    let rules = TagRules::new(digest, &interests, world.shop.lexicon, None);
    let (_, breaches) = check_tags(vec![tag.clone()], &rules);
    breaches.iter().any(|b| !b.tag.is_empty() && b.constraint == constraint)
}

/// The tag of a need, given for an interest.
fn tag(world: &JudgeWorld<'_>, need: &TrueNeed, interest: &str) -> Option<Tag> {
    let text = intent::plain(&need.tag);
    let (modifiers, core) = split_tag(&text, &world.shop.lexicon.cores)?;
    Some(Tag {
        text,
        modifiers,
        core,
        interest: intent::plain(interest),
        rationale: intent::plain(&need.rationale),
        category: world.shop.taxonomy.find(&need.category),
    })
}

/// The same core word with a modifier of other categories.
fn impossible(world: &JudgeWorld<'_>, good: Tag, rng: &mut Pcg64Mcg) -> Option<Tag> {
    let category = good.category?;
    let all = &world.modifiers.all;
    for _ in 0..10 {
        let strange = all.get(rng.random_range(0..all.len().max(1)))?;
        if !world.modifiers.go_together(category, std::slice::from_ref(strange)) {
            let mut modifiers = good.modifiers.clone();
            if let Some(first) = modifiers.first_mut() {
                first.clone_from(strange);
            }
            let text = format!("{} {}", modifiers.join(" "), good.core);
            return Some(Tag { text, modifiers, ..good });
        }
    }
    None
}
