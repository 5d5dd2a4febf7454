//! Hard negatives: items that the towers of the last epoch would recommend in error (ANCE, Xiong et al.
//! 2021, arXiv 2007.00808), mixed with those of the batch and uniform ones (Yang et al. 2020).
//!
//! Such draws have no known law, so their expected number per step, which logQ needs, is the mean over
//! the steps of the epoch so far (streaming estimate, Yi et al. 2019).

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
    history: Vec<f32>,  // [items, dim]
    draws: Vec<u32>,    // per item, in this epoch
    steps: u32,
    drawn: Vec<u32>, // of the last step
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
        let draws = vec![0; index.len()];
        Ok(Self { index, history, draws, steps: 0, drawn: Vec::new() })
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
            let item = list[chance.below(list.len())].0.0;
            self.draws[item as usize] += 1;
            self.drawn.push(item);
        }
        self.steps += 1;
    }

    /// The negatives of the last step.
    pub(crate) fn drawn(&self) -> &[u32] {
        &self.drawn
    }

    /// Expected draws of an item in a step.
    pub(crate) fn expected(&self, item: u32) -> f32 {
        self.draws[item as usize] as f32 / self.steps.max(1) as f32
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
