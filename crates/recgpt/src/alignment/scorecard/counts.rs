//! A baseline of mining without a language model: which interests the categories of a digest speak for,
//! by counts over other worlds.

use align::{InterestCounts, acts_by_category};
use anyhow::Result;
use types::Digest;

use crate::steps::worlds::{TRAINING_SEEDS, TrainingWorld};

/// Interests that are named: as many as mining keeps.
const NAMED: usize = 11;

/// People of one training world.
const PEOPLE: usize = 150;

/// Counts over `people` of training worlds.
pub(crate) fn counts(people: usize) -> Result<InterestCounts> {
    let mut truths = Vec::new();
    for idx in 0..people.div_ceil(PEOPLE) {
        let n = PEOPLE.min(people - truths.len());
        let world = TrainingWorld::new(n, TRAINING_SEEDS + (1 << 21) + idx as u64)?;
        truths.extend(world.truths().iter().cloned());
    }
    Ok(InterestCounts::new(&truths))
}

/// The interests that the different texts of the digest speak for most.
pub(crate) fn counted(
    counts: &InterestCounts,
    world: &TrainingWorld,
    digest: &Digest,
) -> Vec<String> {
    let category_of = |text: &str| world.category_of_text(text);
    let acts = acts_by_category(digest, world.world.taxonomy(), &category_of);
    let ranked = counts.rank(&acts).into_iter();
    ranked.take(NAMED).map(|(text, _)| text.to_owned()).collect()
}
