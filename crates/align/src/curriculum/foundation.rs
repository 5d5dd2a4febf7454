//! Level 1: what words and categories mean.

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_pcg::Pcg64Mcg;

use super::sources::{CurriculumSources, leaf};

/// A category's name, or a query of the shop, to the department it belongs to. Real names of the
/// taxonomy; without one, core words of the shop.
pub(super) fn query_category(
    sources: &CurriculumSources<'_>,
    rng: &mut Pcg64Mcg,
) -> Option<(String, String)> {
    let Some(taxonomy) = sources.taxonomy else {
        let product = sources.product(rng)?;
        let department = product.category.split(" > ").next()?;
        return Some((product.core.to_owned(), department.to_owned()));
    };
    let leaves: Vec<_> = taxonomy.leaves().collect();
    let category = *leaves.choose(rng)?;
    let department = taxonomy.name(taxonomy.department(category));
    Some((taxonomy.name(category).to_owned(), department.to_owned()))
}

/// Whether an item serves a query, `yes` or `no`. Real goals with the query that was typed for them or
/// for another; with a shop, its core words against its titles.
pub(super) fn query_item_relevance(
    sources: &CurriculumSources<'_>,
    rng: &mut Pcg64Mcg,
) -> Option<(String, String)> {
    let fits = rng.random_bool(0.5);
    let answer = if fits { "yes" } else { "no" }.to_owned();
    if !sources.goals.is_empty() && rng.random_bool(0.5) {
        let (goal, own) = sources.goal(rng)?;
        let query = if fits { own } else { &sources.goal(rng)?.1 };
        return (fits == (query == own)).then(|| (format!("{query};{goal}"), answer));
    }
    let asked = sources.product(rng)?;
    let shown =
        if fits { sources.product_of(asked.category, rng)? } else { sources.product(rng)? };
    let same = asked.category == shown.category;
    (fits == same).then(|| (format!("{};{}", asked.core, shown.title), answer))
}

/// A title to its core words: no brand, no numbers, no praise. Titles of the shop; its catalogue knows
/// the core words.
pub(super) fn key_information(
    sources: &CurriculumSources<'_>,
    rng: &mut Pcg64Mcg,
) -> Option<(String, String)> {
    let product = sources.product(rng)?;
    Some((product.title.to_owned(), product.core.to_owned()))
}

/// A title to the words that describe the item.
pub(super) fn key_points(
    sources: &CurriculumSources<'_>,
    rng: &mut Pcg64Mcg,
) -> Option<(String, String)> {
    let product = sources.product(rng)?;
    let points = format!("{};{}", product.modifiers.join(";"), leaf(product.category));
    (!product.modifiers.is_empty()).then(|| (product.title.to_owned(), points))
}
