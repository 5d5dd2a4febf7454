//! Labels that are rare are kept from every round; common ones are thinned, older rounds more.

use rand::RngExt;
use rand_pcg::Pcg64Mcg;

/// Cases of several rounds, the oldest first, balanced (RECGPT.md 1.5): those for which `is_minority` holds
/// are all kept; of the others, each round keeps a part that falls by `decay` per round of age, so many
/// that in all there are about as many as of the minority.
#[must_use]
pub fn rebalanced<T: Clone>(
    rounds: &[Vec<T>],
    is_minority: &dyn Fn(&T) -> bool,
    decay: f64,
    rng: &mut Pcg64Mcg,
) -> Vec<T> {
    let n_minority = rounds.iter().flatten().filter(|case| is_minority(case)).count();
    let age = |row: usize| decay.powi((rounds.len() - 1 - row) as i32);
    let weight: f64 = rounds
        .iter()
        .enumerate()
        .map(|(row, cases)| age(row) * cases.iter().filter(|c| !is_minority(c)).count() as f64)
        .sum();
    let mut kept = Vec::new();
    for (row, cases) in rounds.iter().enumerate() {
        let part = (n_minority as f64 * age(row) / weight.max(1e-9)).min(1.0);
        for case in cases {
            if is_minority(case) || rng.random_bool(part) {
                kept.push(case.clone());
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::rebalanced;

    #[test]
    fn minorities_stay_and_majorities_are_thinned_by_age() {
        let round = |n_bad: usize, n_good: usize, row: usize| -> Vec<(usize, bool)> {
            (0..n_bad + n_good).map(|i| (row, i < n_bad)).collect()
        };
        let rounds = [round(200, 2000, 0), round(100, 2000, 1)];
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        let kept = rebalanced(&rounds, &|(_, bad)| *bad, 0.5, &mut rng);
        let count = |row, bad| kept.iter().filter(|case| **case == (row, bad)).count();
        assert_eq!((count(0, true), count(1, true)), (200, 100));
        let (old, new) = (count(0, false), count(1, false));
        assert!((80..120).contains(&old) && (170..230).contains(&new), "{old}, {new}");
    }
}
