//! Keeps one category from filling a slate.

use std::collections::HashMap;

use types::{Candidate, CategoryId, ItemId};

use crate::fusion::{FusionInput, fuse};
use crate::index::ExactIndex;

/// Places that share one allowance.
const PAGE: usize = 10;

/// Candidates per place, from which [`spread`] can choose.
pub(crate) const CANDIDATES_PER_PLACE: usize = 10;

/// A slate: the candidates of [`fuse`], at most `most` of one category on ten places; 0 sets no limit.
///
/// # Panics
/// As [`fuse`].
#[must_use]
pub fn fuse_spread(
    input: &FusionInput<'_>,
    index: &ExactIndex,
    keep: &dyn Fn(ItemId) -> bool,
    category_of: &dyn Fn(ItemId) -> Option<CategoryId>,
    most: usize,
) -> Vec<Candidate> {
    let per_place = if most > 0 { CANDIDATES_PER_PLACE } else { 1 };
    let pool = FusionInput { n: input.n * per_place, ..*input };
    spread(fuse(&pool, index, keep), category_of, most, input.n)
}

/// The first `n` of `candidates` (best first), page by page of ten: each page takes the best that are
/// left with at most `most` of one category, and where too few categories are left, the best of the
/// others. Items without category are not limited. `most` 0 sets no limit.
fn spread(
    candidates: Vec<Candidate>,
    category_of: &dyn Fn(ItemId) -> Option<CategoryId>,
    most: usize,
    n: usize,
) -> Vec<Candidate> {
    if most == 0 {
        return candidates.into_iter().take(n).collect();
    }
    let mut left = candidates;
    let mut slate: Vec<Candidate> = Vec::with_capacity(n);
    while slate.len() < n && !left.is_empty() {
        let places = PAGE.min(n - slate.len());
        let (mut page, mut passed) = (Vec::new(), Vec::new());
        let mut of_category: HashMap<CategoryId, usize> = HashMap::new();
        for candidate in left {
            let is_allowed = category_of(candidate.item).is_none_or(|category| {
                let used = of_category.entry(category).or_default();
                *used += 1;
                *used <= most
            });
            let list = if is_allowed && page.len() < places { &mut page } else { &mut passed };
            list.push(candidate);
        }
        let n_missing = places - page.len();
        left = passed.split_off(n_missing.min(passed.len()));
        slate.extend(page);
        slate.extend(passed);
    }
    slate
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use types::{Candidate, CandidateSource, CategoryId, ItemId};

    use super::spread;

    fn candidates(n: usize) -> Vec<Candidate> {
        let candidate = |row: usize| Candidate {
            item: ItemId::from_idx(row),
            score: -(row as f32),
            user_score: 0.0,
            tag_score: None,
            source: CandidateSource::User,
        };
        (0..n).map(candidate).collect()
    }

    fn items(categories: &[u32], most: usize, n: usize) -> Vec<usize> {
        // 9 stands for no category
        let category_of =
            |item: ItemId| Some(categories[item.idx()]).filter(|&c| c != 9).map(CategoryId);
        let slate = spread(candidates(categories.len()), &category_of, most, n);
        slate.into_iter().map(|c| c.item.idx()).collect()
    }

    #[test]
    fn no_category_takes_more_than_its_share_of_a_page() {
        let check = |categories: &[u32], most, n, expect: &[usize]| {
            assert_eq!(items(categories, most, n), expect, "{categories:?} {most} {n}");
        };
        check(&[1, 1, 1, 2, 3], 2, 4, &[0, 1, 3, 4]);
        check(&[1, 1, 1, 2, 3], 0, 4, &[0, 1, 2, 3]);
        check(&[1, 1, 1, 1], 2, 3, &[0, 1, 2]); // nothing else is left
        check(&[9, 9, 9, 1], 1, 3, &[0, 1, 2]); // no category, no limit
        // the second page has an allowance of its own
        let pages = [1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6];
        check(&pages, 2, 12, &[0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 2, 11]);
    }

    proptest! {
        #[test]
        fn a_slate_is_never_shorter_and_holds_nothing_twice(
            categories in prop::collection::vec(1_u32..5, 0..60), most in 0_usize..4, n in 0_usize..40,
        ) {
            let mut found = items(&categories, most, n);
            prop_assert_eq!(found.len(), n.min(categories.len()));
            found.sort_unstable();
            found.dedup();
            prop_assert_eq!(found.len(), n.min(categories.len()));
        }
    }
}
