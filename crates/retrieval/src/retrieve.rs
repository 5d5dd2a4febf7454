//! Candidates from an index of any kind.

use types::{Candidate, CategoryId, ItemId};

use crate::fusion::{FusionInput, Merge};
use crate::index::ItemIndex;
use crate::slate::{CANDIDATES_PER_PLACE, SlateRules, fuse_slate};

/// Least items that each query brings from a large catalogue before they are fused.
const LEAST: usize = 200;

/// [`fuse_spread`](crate::fuse_spread) over the items that `index` holds and `keep` allows: as
/// [`retrieve_slate`] with a limit per category alone.
///
/// # Panics
/// When a vector does not have the dimension of the index.
#[must_use]
pub fn retrieve(
    input: &FusionInput<'_>,
    index: &ItemIndex,
    keep: &dyn Fn(ItemId) -> bool,
    category_of: &dyn Fn(ItemId) -> Option<CategoryId>,
    most: usize,
) -> Vec<Candidate> {
    let rules = SlateRules::per_category(category_of, most);
    retrieve_slate(input, index, Allowed { keep, few: None }, &rules)
}

/// Which items may be shown.
#[derive(Clone, Copy)]
pub struct Allowed<'a> {
    /// The filter.
    pub keep: &'a dyn Fn(ItemId) -> bool,
    /// All items that pass, ascending, where the caller knows that they are few.
    pub few: Option<&'a [ItemId]>,
}

/// [`fuse_slate`] over the items that `index` holds and `allowed` lets pass.
///
/// A scan leaves nothing out, and neither does a filter that few items pass: all of them are scored.
/// With inverted lists and many items the slate is made of those that one of the user's vectors, or one of the
/// published queries `beta * h_u + (1 - beta) * h_t`, finds among its best; their number goes with `n`. Of
/// several interests the query of a tag takes the one that is nearest to the tag. [`Merge::MeanOfTags`] asks once per
/// interest, for all tags. Items with a boost are always looked at.
///
/// # Panics
/// When a vector does not have the dimension of the index.
#[must_use]
pub fn retrieve_slate(
    input: &FusionInput<'_>,
    index: &ItemIndex,
    allowed: Allowed<'_>,
    rules: &SlateRules<'_>,
) -> Vec<Candidate> {
    let keep = |item: ItemId| index.exact().holds(item) && (allowed.keep)(item);
    let items = match allowed.few {
        Some(few) => Some(few.iter().copied().filter(|&item| keep(item)).collect()),
        None => narrowed(input, index, &keep, rules),
    };
    let Some(items) = items else { return fuse_slate(input, index.exact(), &keep, rules) };
    let part = index.exact().part(&items);
    let item_of = |row: ItemId| items[row.idx()];
    let rules = SlateRules {
        category_of: &|row| (rules.category_of)(item_of(row)),
        merchant_of: &|row| (rules.merchant_of)(item_of(row)),
        is_new: &|row| (rules.is_new)(item_of(row)),
        ..*rules
    };
    let of_item = |&(item, boost): &(ItemId, f32)| {
        items.binary_search(&item).ok().map(|row| (ItemId::from_idx(row), boost))
    };
    let boosts: Vec<(ItemId, f32)> = input.boosts.iter().filter_map(of_item).collect();
    let input = FusionInput { boosts: &boosts, ..*input };
    let mut found = fuse_slate(&input, &part, &|_| true, &rules);
    found.iter_mut().for_each(|candidate| candidate.item = item_of(candidate.item));
    found
}

/// What each query finds among its best, of all items and of new ones; none from a scan.
fn narrowed(
    input: &FusionInput<'_>,
    index: &ItemIndex,
    keep: &dyn Fn(ItemId) -> bool,
    rules: &SlateRules<'_>,
) -> Option<Vec<ItemId>> {
    let per_query = (input.n * CANDIDATES_PER_PLACE).max(input.quota).max(LEAST);
    let queries = queries(input, index.dim());
    let mut items = index.best_of(&queries, per_query, keep)?;
    if rules.new_places > 0 {
        let new = |item: ItemId| keep(item) && (rules.is_new)(item);
        items.extend(index.best_of(&queries, per_query, &new)?);
    }
    items.extend(input.boosts.iter().map(|boost| boost.0).filter(|&item| keep(item)));
    items.sort_unstable();
    items.dedup();
    Some(items)
}

/// The user's vectors, and one query per tag: `[interests + tags, dim]`; of the mean of tags `[interests, dim]`.
fn queries(input: &FusionInput<'_>, dim: usize) -> Vec<f32> {
    if input.merge == Merge::MeanOfTags && !input.tags.is_empty() {
        return queries_of_mean(input, dim);
    }
    let mut queries = input.user_vector.to_vec();
    for (_, tag) in input.tags {
        let near = |vector: &&[f32]| nn::dot(vector, tag);
        let user = input.user_vector.chunks(dim).max_by(|a, b| near(a).total_cmp(&near(b)));
        let both = user.unwrap_or_default().iter().zip(tag);
        queries.extend(both.map(|(u, t)| input.beta * u + (1.0 - input.beta) * t));
    }
    queries
}

/// `beta * u + (1 - beta) * mean_t s_t` as one query for each of the user's vectors.
fn queries_of_mean(input: &FusionInput<'_>, dim: usize) -> Vec<f32> {
    let mut of_tags = vec![0.0; dim];
    let share = (1.0 - input.beta) / input.tags.len() as f32;
    input.tags.iter().for_each(|(_, tag)| nn::axpy(&mut of_tags, share, tag));
    let both = |user: &[f32]| -> Vec<f32> {
        user.iter().zip(&of_tags).map(|(u, t)| input.beta * u + t).collect()
    };
    input.user_vector.chunks(dim).flat_map(both).collect()
}

#[cfg(test)]
mod tests {
    use types::{ItemId, Tag};

    use super::retrieve;
    use crate::chance::Chance;
    use crate::{FusionInput, IndexKind, ItemIndex, Merge};

    fn unit(seed: u64, row: u64, towards: Option<&[f32]>) -> Vec<f32> {
        let mut chance = Chance::new(seed, 0x7e, row);
        let mut vector: Vec<f32> = (0..24).map(|_| chance.normal()).collect();
        if let Some(centre) = towards {
            vector.iter_mut().zip(centre).for_each(|(x, c)| *x = 0.15 * *x + c);
        }
        nn::l2_normalise(&mut vector, 24);
        vector
    }

    #[test]
    fn lists_bring_nearly_the_slate_of_the_scan_and_never_what_is_removed_or_filtered() {
        let vectors: Vec<f32> =
            (0..8_000).flat_map(|row| unit(1, row, Some(&unit(2, row % 90, None)))).collect();
        let tag = |text: &str| Tag {
            text: text.to_owned(),
            modifiers: vec![],
            core: text.to_owned(),
            interest: String::new(),
            rationale: String::new(),
            category: None,
        };
        let tags: Vec<(Tag, Vec<f32>)> =
            (0..8).map(|row| (tag(&format!("tag {row}")), unit(2, row * 7, None))).collect();
        let one = unit(3, 1, Some(&unit(2, 5, None)));
        let two = [&one[..], &unit(3, 2, Some(&unit(2, 11, None)))].concat();
        // far from all that the user likes, and yet on the slate
        let far: Vec<(ItemId, f32)> = (0..3).map(|i| (ItemId(7000 + 2 * i), 2.0)).collect();
        for user in [one, two] {
            check(&vectors, &user, &tags, &[]);
            check(&vectors, &user, &tags, &far);
        }
    }

    fn check(vectors: &[f32], user: &[f32], tags: &[(Tag, Vec<f32>)], boosts: &[(ItemId, f32)]) {
        let mut slates = Vec::new();
        for kind in [IndexKind::Exact, IndexKind::Lists(120)] {
            let mut index = ItemIndex::build(vectors.to_vec(), 24, kind).unwrap();
            index.remove(ItemId(5));
            for merge in [
                Merge::MeanOfTags,
                Merge::TagQuota,
                Merge::SoftTag { temperature: 0.2 },
                Merge::MaxTag { rank_penalty: 0.1 },
            ] {
                let input = FusionInput {
                    user_vector: user,
                    boosts,
                    tags,
                    beta: 0.6,
                    quota: 5,
                    merge,
                    n: 30,
                };
                let keep = |item: ItemId| item.0 % 4 != 3;
                let found = retrieve(&input, &index, &keep, &|_| None, 0);
                assert!(found.iter().all(|c| c.item.0 % 4 != 3 && c.item != ItemId(5)));
                for boost in boosts {
                    assert!(found.iter().any(|c| c.item == boost.0), "{boost:?} in {merge:?}");
                }
                slates.push(found);
            }
        }
        let (exact, lists) = slates.split_at(4);
        for (exact, lists) in exact.iter().zip(lists) {
            let same = lists.iter().filter(|c| exact.contains(c)).count();
            assert!(exact.len() == 30 && lists.len() == 30 && same >= 28, "{same} of 30");
        }
    }
}
