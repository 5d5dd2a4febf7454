//! Level 2: what serves an interest, and queries as people type them.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_pcg::Pcg64Mcg;

use types::CategoryId;

use super::sources::{CurriculumSources, leaf, some};

/// Tags of an answer, each of another category.
const MAX_TAGS: usize = 5;

/// An interest, a person's taste and sometimes a reason, to tags of different categories. The bulk of
/// the curriculum: it says what mining and tagging have to know. Worlds alone know such truths.
pub(super) fn what_to_buy(
    sources: &CurriculumSources<'_>,
    rng: &mut Pcg64Mcg,
) -> Option<(String, String)> {
    let truth = sources.truth(rng)?;
    let interest = truth.interests.choose(rng)?;
    let own: Vec<_> = truth.needs.iter().filter(|n| n.interest == interest.text).collect();
    let asked = own.choose(rng)?;
    let with_reason = rng.random_bool(0.5);
    let mut tags: BTreeMap<&str, &str> = BTreeMap::new();
    for need in own.iter().filter(|n| !with_reason || n.rationale == asked.rationale) {
        tags.entry(&need.category).or_insert(&need.tag);
    }
    let tags: Vec<&str> = tags.into_values().take(MAX_TAGS).collect();
    let taste: Vec<&str> = interest.modifiers.iter().take(3).map(String::as_str).collect();
    let reason = if with_reason { format!(";{}", asked.rationale) } else { String::new() };
    Some((format!("{};likes {}{reason}", interest.text, taste.join(" ")), tags.join(";")))
}

/// A category to the kinds that it holds (the real taxonomy), or an interest to the kinds of product
/// that it needs (worlds).
pub(super) fn concept_explanation(
    sources: &CurriculumSources<'_>,
    rng: &mut Pcg64Mcg,
) -> Option<(String, String)> {
    let Some(taxonomy) = sources.taxonomy.filter(|_| rng.random_bool(0.5)) else {
        let interest = sources.interest(2, rng)?;
        let kinds: Vec<String> = interest.categories.iter().take(6).map(|c| leaf(c)).collect();
        return Some((interest.text.clone(), kinds.join(";")));
    };
    let row = rng.random_range(0..taxonomy.len().max(1));
    let (id, parent) = (CategoryId::from_idx(row), taxonomy.categories().get(row)?);
    let children = taxonomy.categories().iter().filter(|c| c.parent == Some(id));
    let kinds: Vec<String> = children.take(6).map(|c| c.name.to_lowercase()).collect();
    (kinds.len() >= 2).then(|| (parent.name.to_lowercase(), kinds.join(";")))
}

/// A title and two others of its category, to what only the first has. Determined by the question.
pub(super) fn selling_point(
    sources: &CurriculumSources<'_>,
    rng: &mut Pcg64Mcg,
) -> Option<(String, String)> {
    let product = sources.product(rng)?;
    let others = [sources.product_of(product.category, rng)?, sources.product(rng)?];
    let unique = product
        .modifiers
        .iter()
        .find(|m| others.iter().all(|other| !other.modifiers.contains(m)))?;
    let [a, b] = others.map(|o| o.core);
    Some((format!("{}, not {a}, not {b}", product.core), unique.clone()))
}

/// A real query with one or two slips of the finger, to the query.
pub(super) fn query_correction(
    sources: &CurriculumSources<'_>,
    rng: &mut Pcg64Mcg,
) -> Option<(String, String)> {
    let query = match sources.goal(rng) {
        Some((_, query)) => query.as_str(),
        None => sources.product(rng)?.core,
    };
    let mut letters: Vec<char> = query.chars().collect();
    for _ in 0..rng.random_range(1..3) {
        let n = letters.len();
        if n < 5 {
            return None;
        }
        let at = rng.random_range(1..n - 1);
        match rng.random_range(0..3) {
            0 => letters.swap(at, at - 1),
            1 => letters.insert(at, letters[at]),
            _ => drop(letters.remove(at)),
        }
    }
    let slipped: String = letters.into_iter().collect();
    (slipped != query).then(|| (slipped, query.to_owned()))
}

/// What a person says they look for, to the query that was typed for it (real); without goals, scrambled
/// core words to the core words.
pub(super) fn query_rewriting(
    sources: &CurriculumSources<'_>,
    rng: &mut Pcg64Mcg,
) -> Option<(String, String)> {
    if let Some((goal, query)) = sources.goal(rng) {
        return Some((goal.clone(), query.clone()));
    }
    let product = sources.product(rng)?;
    let words: Vec<&str> = product.core.split(' ').collect();
    let mixed: Vec<&str> = some(&words, words.len(), rng).into_iter().copied().collect();
    Some((format!("i want {}", mixed.join(" ")), product.core.to_owned()))
}
