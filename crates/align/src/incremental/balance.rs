//! Balancing: so many tags per user at random, then so many per category.

use std::cmp::Reverse;
use std::collections::HashMap;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use types::{CategoryId, Tag, fnv1a64};

use super::IncrementalConfig;
use super::complete::Weighed;
use super::report::{DropReason, IncrementalReport, IncrementalStep};

/// The user's share at random, then of each category the weightiest acts, the earliest first; in the
/// order given. Tags whose category the model does not know count as one category. Each user draws
/// from their own stream, so that no user changes another's choice.
pub(super) fn balance(
    tags: Vec<Weighed>,
    user_id: &str,
    config: &IncrementalConfig,
    report: &mut IncrementalReport,
) -> Vec<Tag> {
    let mut rng = Pcg64Mcg::seed_from_u64(config.seed ^ fnv1a64(user_id.as_bytes()));
    let mut rows: Vec<usize> = (0..tags.len()).collect();
    rows.shuffle(&mut rng);
    rows.truncate(config.per_user);
    rows.sort_by_key(|&row| (Reverse(tags[row].act), row));
    let mut verdicts = vec![Some(DropReason::OverUser); tags.len()];
    let mut of_category: HashMap<Option<CategoryId>, usize> = HashMap::new();
    for row in rows {
        let n = of_category.entry(tags[row].tag.category).or_default();
        *n += 1;
        verdicts[row] = (*n > config.per_category).then_some(DropReason::OverCategory);
    }
    let sift = |(weighed, verdict): (Weighed, Option<DropReason>)| {
        let found = verdict.map_or(Ok(weighed.tag), Err);
        report.sift(IncrementalStep::Balancing, found)
    };
    tags.into_iter().zip(verdicts).filter_map(sift).collect()
}
