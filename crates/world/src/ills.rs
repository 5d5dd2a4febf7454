//! Figures of the two ills that a recommender fitted to its own log brings: the feed narrows to
//! what was clicked, and exposure concentrates on few items.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use types::DAY_MS;

use crate::World;
use crate::life::{FeedPage, Life};

/// Figures of the two ills: narrowing and concentration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Ills {
    /// Slots of the feed that were shown.
    pub exposures: u64,
    /// Share of exposures of the 1% of items shown most.
    pub top_1_percent: f64,
    /// Share of exposures of the 20% of items shown most.
    pub top_20_percent: f64,
    /// Gini coefficient of exposures over items: 0 all equal, 1 one item has all.
    pub gini: f64,
    /// Share of feed slots in categories that the user clicked in the 30 days before.
    pub feed_in_clicked: f64,
    /// Share of the user's true needs, by strength, in those categories at the same moments.
    pub needs_in_clicked: f64,
    /// Exposures of the mean item of a group, by popularity, over those of the mean item.
    pub exposure_by_group: Vec<(String, f64)>,
    /// In the last 30 days: exposures of the mean item listed 30 to 120 days before the end over those
    /// of the mean item listed earlier.
    pub new_to_established: f64,
}

/// What one user's feed adds.
#[derive(Default, Clone, Copy)]
struct FeedCount {
    pages: u64,
    slots: u64,
    slots_in_clicked: u64,
    needs_in_clicked: f64,
}

/// Exposures by item: of the whole log, and of its last [`RECENT_DAYS`].
struct Shown {
    ever: Vec<u64>,
    lately: Vec<u64>,
}

impl Shown {
    fn new(n_items: usize) -> Self {
        Self { ever: vec![0; n_items], lately: vec![0; n_items] }
    }

    fn add(&mut self, other: &Self) {
        self.ever.iter_mut().zip(&other.ever).for_each(|(sum, n)| *sum += n);
        self.lately.iter_mut().zip(&other.lately).for_each(|(sum, n)| *sum += n);
    }
}

const RECENT_DAYS: i64 = 30;

/// Lives every life once more and counts what the feed showed.
pub(crate) fn count(world: &World) -> Ills {
    let n_items = world.shop.items.len();
    let users: Vec<usize> = (0..world.people.len()).collect();
    let parts: Vec<(Shown, Vec<FeedCount>)> = users
        .par_chunks(128)
        .map(|chunk| {
            let mut shown = Shown::new(n_items);
            let counts = chunk.iter().map(|&idx| count_user(world, idx, &mut shown)).collect();
            (shown, counts)
        })
        .collect();
    let mut shown = Shown::new(n_items);
    let mut total = FeedCount::default();
    // summed in the order of users, so that the figures do not depend on threads
    for (part, counts) in parts {
        shown.add(&part);
        for count in counts {
            total.pages += count.pages;
            total.slots += count.slots;
            total.slots_in_clicked += count.slots_in_clicked;
            total.needs_in_clicked += count.needs_in_clicked;
        }
    }
    let mut sorted = shown.ever.clone();
    sorted.sort_unstable();
    Ills {
        exposures: total.slots,
        top_1_percent: top_share(&sorted, 0.01),
        top_20_percent: top_share(&sorted, 0.2),
        gini: gini(&sorted),
        feed_in_clicked: total.slots_in_clicked as f64 / total.slots.max(1) as f64,
        needs_in_clicked: total.needs_in_clicked / total.pages.max(1) as f64,
        exposure_by_group: by_group(world, &shown.ever),
        new_to_established: new_to_established(world, &shown.lately),
    }
}

fn count_user(world: &World, idx: usize, shown: &mut Shown) -> FeedCount {
    let shop = &world.shop;
    let end = world.config.end.0;
    let mut count = FeedCount::default();
    let mut watch = |page: &FeedPage<'_>| {
        count.pages += 1;
        count.slots += page.items.len() as u64;
        let is_late = page.look.at >= end - RECENT_DAYS * DAY_MS;
        for &row in page.items {
            shown.ever[row as usize] += 1;
            shown.lately[row as usize] += u64::from(is_late);
            let leaf = usize::from(shop.traits[row as usize].leaf);
            count.slots_in_clicked += u64::from(page.clicked[leaf]);
        }
        let (mut all, mut inside) = (0.0f64, 0.0f64);
        for need in page.look.needs() {
            all += f64::from(need.rate);
            if page.clicked[need.leaf] {
                inside += f64::from(need.rate);
            }
        }
        count.needs_in_clicked += inside / all.max(1e-9);
    };
    Life::new(shop, &world.people[idx], Some(&mut watch)).live(end, end);
    count
}

/// Share of the sum that the largest `share` of the numbers hold; at least one number.
fn top_share(sorted: &[u64], share: f64) -> f64 {
    let n = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1));
    let top: u64 = sorted.iter().rev().take(n).sum();
    top as f64 / sorted.iter().sum::<u64>().max(1) as f64
}

/// Gini coefficient of ascending numbers: `(2 sum(i * x_i) / (n sum(x))) - (n + 1) / n`, i from 1.
fn gini(sorted: &[u64]) -> f64 {
    let (n, sum) = (sorted.len() as f64, sorted.iter().sum::<u64>() as f64);
    if sum == 0.0 {
        return 0.0;
    }
    let ranked: f64 = sorted.iter().zip(1u64..).map(|(x, rank)| *x as f64 * rank as f64).sum();
    2.0 * ranked / (n * sum) - (n + 1.0) / n
}

fn by_group(world: &World, shown: &[u64]) -> Vec<(String, f64)> {
    let traits = &world.shop.traits;
    let mut rows: Vec<usize> = (0..traits.len()).collect();
    rows.sort_by(|a, b| traits[*b].popularity.total_cmp(&traits[*a].popularity).then(a.cmp(b)));
    let mean = shown.iter().sum::<u64>() as f64 / shown.len().max(1) as f64;
    let mean_of = |rows: &[usize]| {
        let sum: u64 = rows.iter().map(|&row| shown[row]).sum();
        sum as f64 / rows.len().max(1) as f64 / mean.max(1e-9)
    };
    let at = |share: f64| (share * rows.len() as f64).round() as usize;
    let bounds =
        [("top 1%", 0.0, 0.01), ("1-10%", 0.01, 0.1), ("10-30%", 0.1, 0.3), ("30-50%", 0.3, 0.5)];
    let mut groups: Vec<(String, f64)> = bounds
        .iter()
        .map(|(name, from, to)| ((*name).to_owned(), mean_of(&rows[at(*from)..at(*to)])))
        .collect();
    groups.push(("below 50%".to_owned(), mean_of(&rows[at(0.5)..])));
    groups
}

fn new_to_established(world: &World, lately: &[u64]) -> f64 {
    let end = world.config.end.0;
    let mean = |from: i64, to: i64| {
        let traits = world.shop.traits.iter().zip(lately);
        let shown: Vec<u64> = traits
            .filter(|(item, _)| (from..to).contains(&item.listed_at))
            .map(|(_, n)| *n)
            .collect();
        shown.iter().sum::<u64>() as f64 / shown.len().max(1) as f64
    };
    let (young, old) = (end - 30 * DAY_MS, end - 120 * DAY_MS);
    mean(old, young) / mean(i64::MIN, old).max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::{gini, top_share};

    #[test]
    fn concentration_of_hand_computed_cases() {
        assert_eq!(gini(&[5, 5, 5, 5]), 0.0);
        // 2 * (1*0 + 2*0 + 3*0 + 4*8) / (4 * 8) - 5/4
        assert!((gini(&[0, 0, 0, 8]) - 0.75).abs() < 1e-12);
        assert_eq!(gini(&[0, 0]), 0.0);
        assert_eq!(top_share(&[1, 1, 2, 6], 0.25), 0.6);
        assert_eq!(top_share(&[1, 1, 2, 6], 0.01), 0.6);
    }
}
