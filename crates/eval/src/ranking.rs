//! Metrics of one ranked list against the set of what was right.
//!
//! `truth` is a set (no entry twice); an entry that the list repeats counts once, at its first place.
//! An empty truth gives 0: whoever has nothing to find is left out before averaging.

/// `|truth ∩ ranked[..k]| / |truth|`.
#[must_use]
pub fn recall_at<T: PartialEq>(k: usize, truth: &[T], ranked: &[T]) -> f64 {
    if truth.is_empty() {
        return 0.0;
    }
    n_hits(k, truth, ranked) as f64 / truth.len() as f64
}

/// `|truth ∩ ranked[..k]| / k`; a list shorter than `k` wastes its missing places.
#[must_use]
pub fn precision_at<T: PartialEq>(k: usize, truth: &[T], ranked: &[T]) -> f64 {
    if k == 0 {
        return 0.0;
    }
    n_hits(k, truth, ranked) as f64 / k as f64
}

/// 1 when one of `ranked[..k]` is right, else 0.
#[must_use]
pub fn hit_rate_at<T: PartialEq>(k: usize, truth: &[T], ranked: &[T]) -> f64 {
    if ranked.iter().take(k).any(|entry| truth.contains(entry)) { 1.0 } else { 0.0 }
}

/// `1 / p` for the first right place `p` (from 1) among `ranked[..k]`, 0 without one.
#[must_use]
pub fn mrr<T: PartialEq>(k: usize, truth: &[T], ranked: &[T]) -> f64 {
    let first = ranked.iter().take(k).position(|entry| truth.contains(entry));
    first.map_or(0.0, |idx| 1.0 / (idx + 1) as f64)
}

/// `DCG / IDCG` with gain 1 for what is right: `DCG = sum over right places p of 1 / log2(p + 1)`, and
/// `IDCG` the same over places `1 ..= min(k, |truth|)` (Järvelin and Kekäläinen 2002).
#[must_use]
pub fn ndcg_at<T: PartialEq>(k: usize, truth: &[T], ranked: &[T]) -> f64 {
    let ideal: f64 = (0..truth.len().min(k)).map(gain).sum();
    if ideal == 0.0 {
        return 0.0;
    }
    right_places(k, truth, ranked).map(gain).sum::<f64>() / ideal
}

/// Discounted gain of a place, from 0.
fn gain(idx: usize) -> f64 {
    1.0 / ((idx + 2) as f64).log2()
}

fn n_hits<T: PartialEq>(k: usize, truth: &[T], ranked: &[T]) -> usize {
    right_places(k, truth, ranked).count()
}

/// Places from 0 that hold something right for the first time.
fn right_places<'a, T: PartialEq>(
    k: usize,
    truth: &'a [T],
    ranked: &'a [T],
) -> impl Iterator<Item = usize> + 'a {
    let shown = &ranked[..k.min(ranked.len())];
    let right =
        move |&idx: &usize| truth.contains(&shown[idx]) && !shown[..idx].contains(&shown[idx]);
    (0..shown.len()).filter(right)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{hit_rate_at, mrr, ndcg_at, precision_at, recall_at};

    /// (recall, precision, hit rate, reciprocal rank, NDCG) at `k`.
    fn check(k: usize, truth: &[u32], ranked: &[u32], expect: [f64; 5]) {
        let got = [
            recall_at(k, truth, ranked),
            precision_at(k, truth, ranked),
            hit_rate_at(k, truth, ranked),
            mrr(k, truth, ranked),
            ndcg_at(k, truth, ranked),
        ];
        for (got, expect) in got.iter().zip(expect) {
            assert!((got - expect).abs() < 1e-9, "@{k} {truth:?} {ranked:?}: {got} for {expect}");
        }
    }

    #[test]
    fn hand_computed_cases() {
        // right at places 1 and 3 of truth size 3: DCG 1 + 1/2, IDCG 1 + 1/log2(3) + 1/2
        let ideal3 = 1.0 + 1.0 / 3f64.log2() + 0.5;
        check(4, &[1, 2, 3], &[1, 9, 2, 8], [2.0 / 3.0, 0.5, 1.0, 1.0, 1.5 / ideal3]);
        // one right answer at place 2
        check(10, &[7], &[1, 7, 3], [1.0, 0.1, 1.0, 0.5, 1.0 / 3f64.log2()]);
        // beyond the cut
        check(1, &[7], &[1, 7], [0.0; 5]);
        // more truth than places: the ideal fills the k places
        check(2, &[1, 2, 3, 4], &[1, 2], [0.5, 1.0, 1.0, 1.0, 1.0]);
        // a repeated entry counts once
        check(3, &[1, 2], &[1, 1, 1], [0.5, 1.0 / 3.0, 1.0, 1.0, 1.0 / (1.0 + 1.0 / 3f64.log2())]);
        // nothing to find, nothing shown, no place
        check(3, &[], &[1], [0.0; 5]);
        check(3, &[1], &[], [0.0; 5]);
        check(0, &[1], &[1], [0.0; 5]);
    }

    proptest! {
        #[test]
        fn metrics_lie_in_the_unit_interval_and_recall_grows_with_k(
            truth in proptest::collection::btree_set(0u32..30, 0..10),
            ranked in proptest::collection::vec(0u32..30, 0..20),
            k in 0usize..20,
        ) {
            let truth: Vec<u32> = truth.into_iter().collect();
            for value in [
                recall_at(k, &truth, &ranked),
                precision_at(k, &truth, &ranked),
                hit_rate_at(k, &truth, &ranked),
                mrr(k, &truth, &ranked),
                ndcg_at(k, &truth, &ranked),
            ] {
                prop_assert!((0.0..=1.0 + 1e-12).contains(&value));
            }
            prop_assert!(recall_at(k, &truth, &ranked) <= recall_at(k + 1, &truth, &ranked));
        }
    }
}
