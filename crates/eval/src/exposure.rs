//! Who gets shown: coverage, Gini, exposure by popularity group, share of the tail.

use serde::{Deserialize, Serialize};
use types::ItemId;

use crate::EvalError;

/// Group of an item by its popularity rank in the training log (RECGPT.md 1.6, Figure 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PopularityGroup {
    /// The most popular 1%.
    Top1,
    /// Ranks between 1% and 10%.
    From1To10,
    /// Ranks between 10% and 30%.
    From10To30,
    /// Ranks between 30% and 50%.
    From30To50,
    /// The less popular half.
    Below50,
}

impl PopularityGroup {
    /// All groups, most popular first.
    pub const ALL: [Self; 5] =
        [Self::Top1, Self::From1To10, Self::From10To30, Self::From30To50, Self::Below50];

    /// The name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Top1 => "top 1%",
            Self::From1To10 => "1-10%",
            Self::From10To30 => "10-30%",
            Self::From30To50 => "30-50%",
            Self::Below50 => "below 50%",
        }
    }

    /// Share of the catalogue up to and with this group, in percent.
    fn upper_percent(self) -> usize {
        match self {
            Self::Top1 => 1,
            Self::From1To10 => 10,
            Self::From10To30 => 30,
            Self::From30To50 => 50,
            Self::Below50 => 100,
        }
    }
}

/// Items ordered by training popularity: count descending, equal counts by item id.
#[derive(Debug, Clone)]
pub struct PopularityRanking {
    rank: Vec<u32>,
}

impl PopularityRanking {
    /// Percent of the catalogue that is head; everything below is tail.
    pub const HEAD_PERCENT: usize = 20;

    /// Ranks items by `counts` (positive interactions before the cut, one entry per catalogue item).
    #[must_use]
    pub fn new(counts: &[u64]) -> Self {
        let mut order: Vec<usize> = (0..counts.len()).collect();
        order.sort_by_key(|&idx| (std::cmp::Reverse(counts[idx]), idx));
        let mut rank = vec![0; counts.len()];
        for (place, idx) in order.into_iter().enumerate() {
            rank[idx] = u32::try_from(place).expect("tables hold fewer than 2^32 rows");
        }
        Self { rank }
    }

    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rank.len()
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rank.is_empty()
    }

    /// Group of an item; a boundary at p% lies after `ceil(n_items * p / 100)` items.
    #[must_use]
    pub fn group(&self, item: ItemId) -> PopularityGroup {
        let rank = self.rank[item.idx()] as usize;
        PopularityGroup::ALL
            .into_iter()
            .find(|g| rank < (self.len() * g.upper_percent()).div_ceil(100))
            .expect("the last group ends at 100%")
    }

    /// Whether an item is tail: its rank lies below the top 20% of the catalogue by training
    /// popularity (the first `ceil(0.2 n_items)` items are head; ties by item id).
    #[must_use]
    pub fn is_tail(&self, item: ItemId) -> bool {
        self.rank[item.idx()] as usize >= (self.len() * Self::HEAD_PERCENT).div_ceil(100)
    }
}

/// What one group of items got.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GroupExposure {
    /// Which group.
    pub group: PopularityGroup,
    /// Catalogue items in it.
    pub n_items: usize,
    /// Slots given to it.
    pub slots: u64,
    /// Of all slots; 0 when there is none.
    pub share: f64,
    /// Share of slots over share of the catalogue: 1 is exposure in proportion.
    pub lift: f64,
}

/// How often each catalogue item stands in the first `k` places of the lists.
///
/// # Errors
/// [`EvalError::Rows`] when a list names an item that the catalogue does not hold.
pub fn count_exposure<'a>(
    k: usize,
    n_items: usize,
    lists: impl IntoIterator<Item = &'a [ItemId]>,
) -> Result<Vec<u64>, EvalError> {
    let mut exposure = vec![0; n_items];
    for item in lists.into_iter().flat_map(|list| list.iter().take(k)) {
        *exposure.get_mut(item.idx()).ok_or(EvalError::Rows {
            table: "exposure",
            expected: n_items,
            got: item.idx() + 1,
        })? += 1;
    }
    Ok(exposure)
}

/// Share of catalogue items shown at least once.
#[must_use]
pub fn coverage(exposure: &[u64]) -> f64 {
    if exposure.is_empty() {
        return 0.0;
    }
    exposure.iter().filter(|&&n| n > 0).count() as f64 / exposure.len() as f64
}

/// Gini index over all catalogue items, zeros included: with `x` ascending and `i` from 1,
/// `sum_i (2 i - n - 1) x_i / (n sum_i x_i)`; 0 when all items are shown alike, `(n - 1) / n` when one
/// gets everything, 0 when nothing was shown.
#[must_use]
pub fn gini(exposure: &[u64]) -> f64 {
    let mut sorted = exposure.to_vec();
    sorted.sort_unstable();
    let total: u64 = sorted.iter().sum();
    if total == 0 {
        return 0.0;
    }
    let n = sorted.len() as f64;
    let weighted: f64 = sorted
        .iter()
        .enumerate()
        .map(|(idx, &x)| (2.0 * (idx as f64 + 1.0) - n - 1.0) * x as f64)
        .sum();
    weighted / (n * total as f64)
}

/// Slots by popularity group, most popular group first.
///
/// # Errors
/// [`EvalError::Rows`] when `exposure` and the ranking are of different catalogues.
pub fn exposure_by_popularity_group(
    exposure: &[u64],
    ranking: &PopularityRanking,
) -> Result<Vec<GroupExposure>, EvalError> {
    if exposure.len() != ranking.len() {
        return Err(EvalError::Rows {
            table: "exposure",
            expected: ranking.len(),
            got: exposure.len(),
        });
    }
    let mut slots = [0u64; PopularityGroup::ALL.len()];
    let mut n_items = [0usize; PopularityGroup::ALL.len()];
    for (idx, &n) in exposure.iter().enumerate() {
        let group = ranking.group(ItemId::from_idx(idx)) as usize;
        slots[group] += n;
        n_items[group] += 1;
    }
    let total: u64 = slots.iter().sum();
    let row = |group: PopularityGroup| {
        let (slots, n_items) = (slots[group as usize], n_items[group as usize]);
        let share = if total == 0 { 0.0 } else { slots as f64 / total as f64 };
        let of_catalogue = n_items as f64 / exposure.len().max(1) as f64;
        let lift = if n_items == 0 { 0.0 } else { share / of_catalogue };
        GroupExposure { group, n_items, slots, share, lift }
    };
    Ok(PopularityGroup::ALL.into_iter().map(row).collect())
}

/// Share of the first `k` places that tail items hold, see [`PopularityRanking::is_tail`]; 0 for an
/// empty list.
#[must_use]
pub fn tail_share(k: usize, ranked: &[ItemId], ranking: &PopularityRanking) -> f64 {
    let shown = &ranked[..k.min(ranked.len())];
    if shown.is_empty() {
        return 0.0;
    }
    shown.iter().filter(|&&item| ranking.is_tail(item)).count() as f64 / shown.len() as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use types::ItemId;

    use super::{
        PopularityGroup, PopularityRanking, count_exposure, coverage, exposure_by_popularity_group,
        gini, tail_share,
    };

    #[test]
    fn gini_and_coverage_by_hand() {
        // (exposure, gini, coverage); 1,2,3,4: (-3 -2 +3 +12) / (4 * 10) = 0.25
        for (exposure, want_gini, want_coverage) in [
            (vec![5, 5, 5, 5], 0.0, 1.0),
            (vec![0, 0, 0, 8], 0.75, 0.25),
            (vec![4, 2, 3, 1], 0.25, 1.0),
            (vec![0, 0], 0.0, 0.0),
            (vec![], 0.0, 0.0),
        ] {
            assert!((gini(&exposure) - want_gini).abs() < 1e-12, "{exposure:?}");
            assert!((coverage(&exposure) - want_coverage).abs() < 1e-12, "{exposure:?}");
        }
    }

    #[test]
    fn groups_split_the_catalogue_by_rank() {
        // 200 items, item i has popularity 200 - i: 2, 18, 40, 40, 100 items
        let counts: Vec<u64> = (0..200).map(|i| 200 - i).collect();
        let ranking = PopularityRanking::new(&counts);
        let mut exposure = vec![1u64; 200];
        exposure[0] = 101; // 300 slots in all
        let groups = exposure_by_popularity_group(&exposure, &ranking).unwrap();
        let got: Vec<(usize, u64)> = groups.iter().map(|g| (g.n_items, g.slots)).collect();
        assert_eq!(got, [(2, 102), (18, 18), (40, 40), (40, 40), (100, 100)]);
        assert!((groups[0].share - 0.34).abs() < 1e-12);
        assert!((groups[0].lift - 34.0).abs() < 1e-12);
        assert!((groups.iter().map(|g| g.share).sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(exposure_by_popularity_group(&[1], &ranking).is_err());
    }

    #[test]
    fn equal_counts_rank_by_item_id_and_the_tail_starts_below_20_percent() {
        // popularity 3 1 3 0 0 0 0 0 0 0: order 0 2 1 3..; head = first 2 of 10
        let ranking = PopularityRanking::new(&[3, 1, 3, 0, 0, 0, 0, 0, 0, 0]);
        let tail: Vec<bool> = (0..4).map(|i| ranking.is_tail(ItemId(i))).collect();
        assert_eq!(tail, [false, true, false, true]);
        assert_eq!(ranking.group(ItemId(0)), PopularityGroup::Top1);
        assert_eq!(ranking.group(ItemId(2)), PopularityGroup::From10To30);
        let list = [ItemId(0), ItemId(1), ItemId(3), ItemId(2)];
        assert!((tail_share(4, &list, &ranking) - 0.5).abs() < 1e-12);
        assert!((tail_share(1, &list, &ranking)).abs() < 1e-12);
        assert!(tail_share(4, &[], &ranking).abs() < 1e-12);
    }

    #[test]
    fn exposure_counts_the_first_k_places() {
        let lists = [vec![ItemId(0), ItemId(1)], vec![ItemId(0), ItemId(2)]];
        let of = |k| count_exposure(k, 3, lists.iter().map(Vec::as_slice));
        assert_eq!(of(1).unwrap(), [2, 0, 0]);
        assert_eq!(of(9).unwrap(), [2, 1, 1]);
        assert!(count_exposure(9, 2, lists.iter().map(Vec::as_slice)).is_err());
    }

    proptest! {
        #[test]
        fn gini_is_scale_free_and_below_one(
            exposure in proptest::collection::vec(0u64..1000, 1..50),
        ) {
            let doubled: Vec<u64> = exposure.iter().map(|x| 2 * x).collect();
            let value = gini(&exposure);
            prop_assert!((-1e-12..1.0).contains(&value));
            prop_assert!((value - gini(&doubled)).abs() < 1e-9);
        }
    }
}
