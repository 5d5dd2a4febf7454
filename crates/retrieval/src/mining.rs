//! Hard negatives: items that the towers of the last epoch would recommend in error (ANCE, Xiong et al.
//! 2021, arXiv 2007.00808), mixed with those of the batch and uniform ones (Yang et al. 2020).
//!
//! Such draws have no known law, and logQ leaves them out: a streaming estimate of their expected
//! number (Yi et al. 2019) made training worse (docs/LOG.md).

use types::{Interaction, ItemId};

use crate::batch::Sampler;
use crate::chance::Chance;
use crate::sequences::Example;
use crate::step::Weights;
use crate::towers::{encode_users, item_vectors, sums};
use crate::{IndexKind, ItemIndex, RetrievalError, TowerConfig};

/// A user's best items of which one is drawn.
const DEPTH: usize = 20;

/// The items as they were when the epoch began.
pub(crate) struct Miner {
    index: ItemIndex,
    history: Vec<f32>, // [items, dim]
    drawn: Vec<u32>,   // of the last step
}

impl Miner {
    /// Encodes and indexes all items.
    ///
    /// # Errors
    /// [`RetrievalError::NotFinite`] when training has diverged.
    pub(crate) fn new(weights: &Weights, sampler: &Sampler<'_>) -> Result<Self, RetrievalError> {
        let vectors = item_vectors(weights, &sampler.items);
        let index = ItemIndex::build(vectors, weights.network.dim, IndexKind::Auto)?;
        let history = sums(weights, &sampler.items.history);
        Ok(Self { index, history, drawn: Vec::new() })
    }

    /// Draws the negatives of a step: for `config.mined_negatives` of its examples one of the best
    /// items for the user, none that the user ever takes.
    pub(crate) fn draw(
        &mut self,
        (weights, sampler, config): (&Weights, &Sampler<'_>, &TowerConfig),
        (examples, log): (&[Example], &[Interaction]),
        step: u64,
    ) {
        let mut chance = Chance::new(config.seed, 0x314e, step);
        let n = config.mined_negatives.min(examples.len());
        let mut places: Vec<usize> = (0..examples.len()).collect();
        chance.shuffle(&mut places);
        let asked: Vec<Example> = places[..n].iter().map(|&place| examples[place]).collect();
        let users: Vec<_> = asked.iter().map(|example| sampler.whole_user(example)).collect();
        let vectors = encode_users(weights, &self.history, &users);
        let (dim, interests) = (weights.network.dim, weights.n_interests());
        let queries: Vec<f32> = vectors
            .chunks(interests * dim)
            .flat_map(|user| user[chance.below(interests) * dim..][..dim].to_vec())
            .collect();
        let taken: Vec<Vec<ItemId>> = asked.iter().map(|example| taken(log, example)).collect();
        let keep = |user: usize, item: ItemId| taken[user].binary_search(&item).is_err();
        let found = self.index.search_many(&queries, DEPTH, &keep);
        self.drawn.clear();
        for list in found.iter().filter(|list| !list.is_empty()) {
            self.drawn.push(list[chance.below(list.len())].0.0);
        }
    }

    /// The negatives of the last step.
    pub(crate) fn drawn(&self) -> &[u32] {
        &self.drawn
    }
}

/// All items of the example's user, sorted.
fn taken(log: &[Interaction], example: &Example) -> Vec<ItemId> {
    let user = log[example.target as usize].user;
    let own = log[example.first as usize..].iter().take_while(|i| i.user == user);
    let mut items: Vec<ItemId> = own.map(|i| i.item).collect();
    items.sort_unstable();
    items.dedup();
    items
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use types::{Catalogue, EventType, Interaction, Item, ItemId, Taxonomy, Timestamp, UserId};

    use super::Miner;
    use crate::TowerConfig;
    use crate::batch::Sampler;
    use crate::features::Features;
    use crate::sequences::{TowerData, examples};
    use crate::train::initial_weights;

    #[test]
    fn mined_items_are_of_the_nearest_that_the_user_never_takes() {
        let items = (0..200).map(|i| Item { item_id: i.to_string(), ..Item::default() });
        let catalogue = Catalogue::new(items.collect()).unwrap();
        let taxonomy = Taxonomy::default();
        let log: Vec<Interaction> = (0..8)
            .flat_map(|user| (0..4).map(move |time| (user, time)))
            .map(|(user, time)| Interaction {
                user: UserId(user),
                timestamp: Timestamp(time),
                item: ItemId(user * 4 + time as u32),
                event_type: EventType::Click,
            })
            .collect();
        let data = TowerData {
            catalogue: &catalogue,
            taxonomy: &taxonomy,
            n_users: 8,
            interactions: &log,
            now: Timestamp(9),
        };
        let config = TowerConfig {
            dim: 8,
            validation_users: 0,
            full_softmax_items: 0,
            mined_negatives: 5,
            ..TowerConfig::default()
        };
        let training = examples(&log, &config).training;
        let features = Features::new(&catalogue, &taxonomy, 8, &config);
        let sampler = Sampler::new((&data, &[]), &features, &config, (&log, &training));
        let weights = initial_weights(&config, &features);
        let mut miner = Miner::new(&weights, &sampler).unwrap();
        let of_one_user = &training[3];
        let mut drawn = BTreeSet::new();
        for step in 0..30 {
            miner.draw((&weights, &sampler, &config), (of_one_user, &log), step);
            assert_eq!(
                miner.drawn().len(),
                3,
                "one per example, as there are fewer than asked for"
            );
            assert!(miner.drawn().iter().all(|item| item / 4 != 3), "{:?}", miner.drawn());
            drawn.extend(miner.drawn().to_vec());
        }
        assert!((10..=60).contains(&drawn.len()), "of the nearest, not of all: {drawn:?}");
    }
}
