//! The judge's data buffer (RECGPT.md 1.5): majority labels thinned, recent rounds first; minority labels
//! kept from all rounds.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};
use types::Criterion;

use crate::defects::JudgeCase;

/// How a buffer is balanced.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RebalanceOptions {
    /// Cases of a majority verdict per case of the next largest verdict, at most; 1 makes them equal.
    pub ratio: f64,
    /// What a round's share of the majority is multiplied with per round of age, 0 to 1.
    pub decay: f64,
    /// Seed of the draw.
    pub seed: u64,
}

impl RebalanceOptions {
    /// As many majority cases as of the next largest verdict; each older round gives half.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { ratio: 1.0, decay: 0.5, seed }
    }
}

/// How many cases of a verdict every round had and has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictCount {
    /// Labels in the rubric's order, such as `yes yes no yes`.
    pub verdict: String,
    /// By round, oldest first.
    pub before: Vec<usize>,
    /// By round, oldest first.
    pub after: Vec<usize>,
}

/// One buffer from the cases of all rounds, oldest first. The largest verdict (all labels of a case
/// together) of interests, and that of tags, is thinned to `ratio` times the next largest; round `r` of
/// `n` gives it a share in proportion to `decay^(n - 1 - r)`, what a round lacks being made up by the
/// others, the most recent first. All other cases stay. Cases keep the order of rounds and their order
/// within.
#[must_use]
pub fn rebalance(
    rounds: &[Vec<JudgeCase>],
    options: &RebalanceOptions,
) -> (Vec<JudgeCase>, Vec<VerdictCount>) {
    let before = count(rounds);
    let mut rng = Pcg64Mcg::seed_from_u64(options.seed);
    let mut left: BTreeMap<&Key, Vec<usize>> = BTreeMap::new();
    for key in majorities(&before) {
        let all = &before[key];
        let next = before.iter().filter(|(k, _)| k.0 == key.0 && *k != key);
        let next: usize = next.map(|(_, by_round)| by_round.iter().sum()).max().unwrap_or(0);
        if next > 0 {
            let most = (next as f64 * options.ratio.max(0.0)).ceil() as usize;
            left.insert(key, quotas(all, most, options.decay.clamp(0.0, 1.0)));
        }
    }
    let mut kept: Vec<Vec<JudgeCase>> = Vec::with_capacity(rounds.len());
    for (round, cases) in rounds.iter().enumerate() {
        let mut is_kept = vec![true; cases.len()];
        for (key, quotas) in &left {
            let mut rows: Vec<usize> =
                (0..cases.len()).filter(|&row| key_of(&cases[row]) == **key).collect();
            rows.shuffle(&mut rng);
            for &row in rows.iter().skip(quotas[round]) {
                is_kept[row] = false;
            }
        }
        let cases = cases.iter().zip(is_kept).filter(|(_, is_kept)| *is_kept);
        kept.push(cases.map(|(case, _)| case.clone()).collect());
    }
    let after = count(&kept);
    let none = vec![0; rounds.len()];
    let counts = before.iter().map(|(key, before)| VerdictCount {
        verdict: key.1.clone(),
        before: before.clone(),
        after: after.get(key).unwrap_or(&none).clone(),
    });
    let counts = counts.collect();
    (kept.into_iter().flatten().collect(), counts)
}

/// The first criterion of a case's rubric, and its labels.
type Key = (Criterion, String);

fn key_of(case: &JudgeCase) -> Key {
    let labels: Vec<&str> = case.labels.iter().map(|(_, label)| label.as_str()).collect();
    (case.rubric().criteria[0].name, labels.join(" "))
}

/// Cases by verdict and round.
fn count(rounds: &[Vec<JudgeCase>]) -> BTreeMap<Key, Vec<usize>> {
    let mut counts: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
    for (round, cases) in rounds.iter().enumerate() {
        for case in cases {
            counts.entry(key_of(case)).or_insert_with(|| vec![0; rounds.len()])[round] += 1;
        }
    }
    counts
}

/// The largest verdict of every rubric.
fn majorities(counts: &BTreeMap<Key, Vec<usize>>) -> Vec<&Key> {
    let mut largest: BTreeMap<Criterion, (usize, &Key)> = BTreeMap::new();
    for (key, by_round) in counts {
        let n = by_round.iter().sum();
        let entry = largest.entry(key.0).or_insert((n, key));
        if n > entry.0 {
            *entry = (n, key);
        }
    }
    largest.into_values().map(|(_, key)| key).collect()
}

/// How many of each round are kept of `most` in all, where `have` are there.
fn quotas(have: &[usize], most: usize, decay: f64) -> Vec<usize> {
    let total: usize = have.iter().sum();
    let most = most.min(total);
    let ages = (0..have.len()).rev().map(|age| i32::try_from(age).unwrap_or(i32::MAX));
    let weights: Vec<f64> = ages.map(|age| decay.powi(age)).collect();
    let whole: f64 = weights.iter().sum();
    let share = |weight: &f64| (most as f64 * weight / whole).floor() as usize;
    let mut quotas: Vec<usize> =
        weights.iter().zip(have).map(|(weight, &have)| share(weight).min(have)).collect();
    let mut missing = most - quotas.iter().sum::<usize>();
    for (quota, &have) in quotas.iter_mut().zip(have).rev() {
        let more = missing.min(have - *quota);
        *quota += more;
        missing -= more;
    }
    quotas
}

#[cfg(test)]
mod tests {
    use intent::judge::{Rubric, TagContext};
    use types::Criterion;

    use super::{RebalanceOptions, quotas, rebalance};
    use crate::defects::{CaseSubject, JudgeCase};

    fn case(round: usize, row: usize, labels: &str) -> JudgeCase {
        let context = TagContext {
            month: String::new(),
            about: vec![],
            interests: vec![],
            history: vec![],
            interest: String::new(),
        };
        let criteria = Rubric::tag().criteria.iter().map(|c| c.name);
        let words = labels.chars().map(|c| if c == 'y' { "yes" } else { "no" }.to_owned());
        JudgeCase {
            user_id: "u".to_owned(),
            subject: CaseSubject::Tag { context, tag: format!("{round}.{row}") },
            labels: criteria.zip(words).collect::<Vec<(Criterion, String)>>(),
            defects: vec![],
        }
    }

    /// Three rounds: 40 good and 4 irrelevant, 40 and 4, 40 and 6 with 10 unspecific.
    fn rounds() -> Vec<Vec<JudgeCase>> {
        let round = |round: usize, parts: &[(usize, &str)]| {
            let labels = parts.iter().flat_map(|(n, labels)| vec![*labels; *n]);
            labels.enumerate().map(|(row, labels)| case(round, row, labels)).collect()
        };
        vec![
            round(0, &[(40, "yyyy"), (4, "nyyy")]),
            round(1, &[(40, "yyyy"), (4, "nyyy")]),
            round(2, &[(40, "yyyy"), (6, "nyyy"), (10, "yyny")]),
        ]
    }

    #[test]
    fn majority_labels_are_thinned_by_age_and_minority_labels_are_all_kept() {
        let (kept, counts) = rebalance(&rounds(), &RebalanceOptions::new(3));
        let shown: Vec<String> = counts
            .iter()
            .map(|c| format!("{}: {:?} -> {:?}", c.verdict, c.before, c.after))
            .collect();
        // 14 irrelevant ones are the next largest: of 14 good ones 2, 4 and 8 by weights 1, 2, 4.
        assert_eq!(
            shown,
            [
                "no yes yes yes: [4, 4, 6] -> [4, 4, 6]",
                "yes yes no yes: [0, 0, 10] -> [0, 0, 10]",
                "yes yes yes yes: [40, 40, 40] -> [2, 4, 8]",
            ]
        );
        assert_eq!(kept.len(), 38);
        let names = |cases: &[JudgeCase]| -> Vec<String> {
            let tag = |case: &JudgeCase| match &case.subject {
                CaseSubject::Tag { tag, .. } => tag.clone(),
                CaseSubject::Interest { .. } => String::new(),
            };
            cases.iter().map(tag).collect()
        };
        let again = rebalance(&rounds(), &RebalanceOptions::new(3)).0;
        assert_eq!(names(&kept), names(&again), "the seed decides");
        let other = rebalance(&rounds(), &RebalanceOptions::new(4)).0;
        assert_ne!(names(&kept), names(&other));
        let whole = names(&rounds().concat());
        let places: Vec<usize> =
            names(&kept).iter().map(|n| whole.iter().position(|w| w == n).unwrap()).collect();
        assert!(places.is_sorted(), "cases keep their order");
    }

    #[test]
    fn one_verdict_alone_is_not_thinned() {
        let rounds = vec![(0..5).map(|row| case(0, row, "yyyy")).collect::<Vec<_>>()];
        assert_eq!(rebalance(&rounds, &RebalanceOptions::new(1)).0.len(), 5);
        assert!(rebalance(&[], &RebalanceOptions::new(1)).0.is_empty());
    }

    #[test]
    fn rounds_that_lack_cases_are_made_up_for() {
        for (have, most, decay, want) in [
            (vec![10, 10], 6, 0.5, vec![2, 4]),
            (vec![10, 1], 6, 0.5, vec![5, 1]),
            (vec![1, 1], 6, 0.5, vec![1, 1]),
            (vec![10, 10], 6, 0.0, vec![0, 6]),
            (vec![10, 10], 6, 1.0, vec![3, 3]),
            (vec![], 6, 1.0, vec![]),
        ] {
            assert_eq!(quotas(&have, most, decay), want, "{have:?} {most} {decay}");
        }
    }
}
