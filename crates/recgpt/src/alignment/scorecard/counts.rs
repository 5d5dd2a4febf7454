//! A baseline of mining without a language model: which interests the categories of a digest speak for,
//! by counts over other worlds.

use std::collections::{BTreeMap, BTreeSet};

use align::InterestCounts;
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
    let mut texts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in &digest.lines {
        let queries =
            line.contexts.iter().flat_map(|c| &c.behaviours).filter_map(|(_, q)| q.as_ref());
        for text in line.items.iter().chain(queries) {
            if let Some(category) = world.category_of_text(text) {
                texts.entry(world.world.taxonomy().path(category)).or_default().insert(text);
            }
        }
    }
    let acts: Vec<(&str, usize)> = texts.iter().map(|(path, texts)| (*path, texts.len())).collect();
    let ranked = counts.rank(&acts).into_iter();
    ranked.take(NAMED).map(|(text, _)| text.to_owned()).collect()
}
