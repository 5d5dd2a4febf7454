//! Draws the batches: users' examples, negatives with their expected counts, tags.

use std::collections::BTreeSet;

use nn::{Bags, ContrastiveRow};
use rayon::prelude::*;
use types::{Interaction, Item, ItemId};

use crate::TowerConfig;
use crate::chance::Chance;
use crate::features::{self, Features, Rows, Side};
use crate::mining::Miner;
use crate::sequences::{Example, History, N_POOLS, Token, TowerData, read_history};
use crate::step::Batch;
use crate::towers::ItemRows;

/// Most title words that tags are drawn from.
const TITLE_WORDS: usize = 16;
/// An item's leaf category where it has none.
const NO_CATEGORY: u32 = u32::MAX;

/// What batches are drawn from.
pub(crate) struct Sampler<'a> {
    config: &'a TowerConfig,
    features: &'a Features,
    log: &'a [Interaction],
    pub(crate) items: ItemRows,
    trained: Vec<bool>,          // has an id row
    titles: Vec<u32>,            // items of one title share a number
    categories: Vec<u32>,        // leaf
    members: Vec<Vec<u32>>,      // items by leaf
    positives: Vec<f32>,         // share of an item among the examples
    category_share: Vec<f32>,    // share of a leaf among the examples
    tag_words: Vec<TagWords>,    // per item
    tag_pairs: Vec<(Rows, u32)>, // given texts with their items
    has_words: bool,
}

/// Words that an item's tags are made of.
struct TagWords {
    title: Vec<String>, // without the brand
    leaf: Vec<String>,
}

/// Items, none twice, and the position of each.
#[derive(Default)]
struct Columns {
    items: Vec<u32>,
    slots: Vec<u32>, // a table of positions, open addressing; u32::MAX: empty
}

impl<'a> Sampler<'a> {
    pub(crate) fn new(
        (data, tag_pairs): (&TowerData<'_>, &[(String, ItemId)]),
        features: &'a Features,
        config: &'a TowerConfig,
        (log, examples): (&'a [Interaction], &[Vec<Example>]),
    ) -> Self {
        let items = data.catalogue.items();
        let n = items.len();
        let mut trained = vec![false; n];
        log.iter()
            .filter(|i| i.event_type.is_positive())
            .for_each(|i| trained[i.item.idx()] = true);
        let rows = |side: Side| -> Vec<Rows> {
            let one = |(idx, item): (usize, &Item)| {
                let id = trained[idx].then(|| (features.id_row(side, idx), 1.0));
                id.into_iter().chain(features.content_rows(side, item)).collect()
            };
            items.iter().enumerate().map(one).collect()
        };
        let item_rows = ItemRows { item: rows(Side::Item), history: rows(Side::History) };
        let leaves: Vec<Option<usize>> = items.iter().map(|i| features.leaf(i)).collect();
        let categories: Vec<u32> =
            leaves.iter().map(|leaf| leaf.map_or(NO_CATEGORY, |leaf| leaf as u32)).collect();
        let mut members = vec![Vec::new(); data.taxonomy.len()];
        let mut category_share = vec![0.0; data.taxonomy.len()];
        let mut positives = vec![0.0; n];
        let total: usize =
            examples.iter().map(|list| list.len().min(config.examples_per_user)).sum();
        for list in examples {
            // a heavy user's examples are drawn, so each counts by its chance
            let chance = config.examples_per_user.min(list.len()) as f32 / list.len() as f32;
            for example in list {
                positives[log[example.target as usize].item.idx()] += chance / total as f32;
            }
        }
        for (idx, leaf) in leaves.iter().enumerate() {
            if let Some(leaf) = *leaf {
                members[leaf].push(idx as u32);
                category_share[leaf] += positives[idx];
            }
        }
        let tag_words: Vec<TagWords> = items
            .iter()
            .zip(&leaves)
            .map(|(item, leaf)| TagWords::new(data, item, *leaf))
            .collect();
        let tag_pairs = tag_pairs
            .iter()
            .filter(|(_, item)| item.idx() < n)
            .map(|(text, item)| (features.tag_rows(&features::words(text)), item.0))
            .filter(|(rows, _)| !rows.is_empty());
        Self {
            config,
            features,
            log,
            items: item_rows,
            trained,
            titles: same_titles(items),
            categories,
            members,
            positives,
            category_share,
            tag_pairs: tag_pairs.collect(),
            has_words: tag_words.iter().any(|words| !words.title.is_empty()),
            tag_words,
        }
    }

    /// The batch of step `step` over these examples, with the negatives that were mined for it.
    pub(crate) fn batch(&self, examples: &[Example], step: u64, miner: Option<&Miner>) -> Batch {
        let mut chance = Chance::new(self.config.seed, 0xba7c, step);
        let positives: Vec<u32> =
            examples.iter().map(|e| self.log[e.target as usize].item.0).collect();
        let tags = self.draw_tags(&positives, &mut chance);
        let mut columns = self.columns(&positives, &mut chance);
        tags.iter().for_each(|(_, item)| columns.add(*item));
        let mined = miner.map_or(&[][..], Miner::drawn);
        mined.iter().for_each(|&item| columns.add(item));
        let users: Vec<(Option<u32>, History)> =
            examples.par_iter().map(|example| self.user(example, step)).collect();

        let mut batch = Batch {
            n_cols: columns.items.len(),
            n_tags: tags.len(),
            n_users: users.len(),
            tags_move_items: self.config.tags_move_items,
            step,
            log_q: columns.items.iter().map(|&i| self.log_q(i, examples.len())).collect(),
            titles: columns.items.iter().map(|&i| self.titles[i as usize]).collect(),
            categories: columns.items.iter().map(|&i| self.categories[i as usize]).collect(),
            ..Batch::default()
        };
        for &item in &columns.items {
            self.push_item(&mut batch.lookups, &self.items.item[item as usize], item, &mut chance);
        }
        let mut history = Columns::default();
        for (_, read) in &users {
            for pool in &read.pools {
                for &(item, weight) in pool {
                    history.add(item);
                    batch.pools.push(history.place(item), weight);
                }
                batch.pools.close();
            }
            read.tokens.iter().for_each(|token| history.add(token.0));
            let place = |&(item, group): &Token| (history.place(item), group);
            batch.tokens.push(read.tokens.iter().map(place).collect());
        }
        batch.n_history = history.items.len();
        for &item in &history.items {
            let rows = &self.items.history[item as usize];
            self.push_item(&mut batch.lookups, rows, item, &mut chance);
        }
        for (row, _) in &users {
            row.iter().for_each(|&row| batch.lookups.push(row, 1.0));
            batch.lookups.close();
        }
        self.push_tags(&mut batch, &tags, &columns, &mut chance);
        let weight = 1.0 / examples.len() as f32;
        let target = |&item: &u32| columns.place(item) as usize;
        batch.col_rows = positives
            .iter()
            .map(|item| ContrastiveRow { target: target(item), excluded_group: None, weight })
            .collect();
        batch
    }

    /// Row and history of a training example, with dropout; its draws are its own.
    fn user(&self, example: &Example, step: u64) -> (Option<u32>, History) {
        let key = 0x05e7 ^ (step << 16);
        let mut chance = Chance::new(self.config.seed, key, example.target.into());
        let user = self.log[example.target as usize].user.idx();
        let shown = self.config.user_ids && chance.unit() >= self.config.user_dropout;
        let row = self.features.user_row(user).filter(|_| shown);
        let history = &self.log[example.first as usize..example.end as usize];
        let drop = self.config.history_dropout;
        (row, read_history(history, self.config, &mut |_| chance.unit() >= drop))
    }

    /// Row and history of a validation example, without dropout.
    pub(crate) fn whole_user(&self, example: &Example) -> (Option<u32>, History) {
        let user = self.log[example.target as usize].user.idx();
        let row = self.features.user_row(user).filter(|_| self.config.user_ids);
        let history = &self.log[example.first as usize..example.end as usize];
        (row, read_history(history, self.config, &mut |_| true))
    }

    /// Positives, then negatives: all items, or uniform ones and some of the positives' categories.
    fn columns(&self, positives: &[u32], chance: &mut Chance) -> Columns {
        let n = self.items.item.len();
        let mut columns = Columns::default();
        if self.is_full() {
            (0..n as u32).for_each(|item| columns.add(item));
            return columns;
        }
        positives.iter().for_each(|&item| columns.add(item));
        for _ in 0..self.config.uniform_negatives {
            columns.add(chance.below(n) as u32);
        }
        for _ in 0..self.config.hard_negatives {
            let positive = positives[chance.below(positives.len())];
            let category = self.categories[positive as usize];
            if category != NO_CATEGORY {
                let members = &self.members[category as usize];
                columns.add(members[chance.below(members.len())]);
            }
        }
        columns
    }

    /// Whether all items are columns.
    pub(crate) fn is_full(&self) -> bool {
        self.items.item.len() <= self.config.full_softmax_items
    }

    /// Log of the expected number of draws of an item in a step of `batch` examples, those for tags among
    /// them, mining apart; 0 where all items are columns.
    fn log_q(&self, item: u32, batch: usize) -> f32 {
        if self.is_full() {
            return 0.0;
        }
        let n = self.items.item.len();
        let idx = item as usize;
        let uniform = self.config.uniform_negatives as f32 / n as f32;
        let hard = match self.categories[idx] {
            NO_CATEGORY => 0.0,
            leaf => {
                let share = self.category_share[leaf as usize];
                self.config.hard_negatives as f32 * share / self.members[leaf as usize].len() as f32
            }
        };
        let tags = if self.learns_tags() { self.config.tags_per_step as f32 } else { 0.0 };
        let from_all = self.config.tags_from_catalogue;
        let of_positives = batch as f32 + tags * (1.0 - from_all);
        let expected = of_positives * self.positives[idx] + uniform + hard;
        (expected + tags * from_all / n as f32).max(1e-6).ln()
    }

    fn learns_tags(&self) -> bool {
        self.has_words && self.config.semantic_weight != 0.0
    }

    /// Rows of one item; its id is hidden by chance where content remains.
    fn push_item(&self, bags: &mut Bags, rows: &Rows, item: u32, chance: &mut Chance) {
        let hidden = chance.unit() < self.config.id_dropout;
        let skip = usize::from(hidden && self.trained[item as usize] && rows.len() > 1);
        rows[skip..].iter().for_each(|&(row, weight)| bags.push(row, weight));
        bags.close();
    }

    /// Tags with their items: parts of the titles of positives and of any items, and given pairs.
    fn draw_tags(&self, positives: &[u32], chance: &mut Chance) -> Vec<(Rows, u32)> {
        let mut tags = Vec::new();
        if !self.learns_tags() {
            return tags;
        }
        for _ in 0..self.config.tags_per_step {
            if !self.tag_pairs.is_empty() && chance.unit() < 0.3 {
                tags.push(self.tag_pairs[chance.below(self.tag_pairs.len())].clone());
                continue;
            }
            let item = if chance.unit() < self.config.tags_from_catalogue {
                chance.below(self.items.item.len()) as u32
            } else {
                positives[chance.below(positives.len())]
            };
            let words = self.tag_words[item as usize].draw(chance);
            if !words.is_empty() {
                tags.push((self.features.tag_rows(&words), item));
            }
        }
        tags
    }

    fn push_tags(
        &self,
        batch: &mut Batch,
        tags: &[(Rows, u32)],
        columns: &Columns,
        chance: &mut Chance,
    ) {
        let n = tags.len().max(1) as f32;
        let (alpha, weight) = (self.config.alpha, self.config.semantic_weight / n);
        let mut by_category: std::collections::BTreeMap<u32, Vec<usize>> = Default::default();
        for (place, &item) in columns.items.iter().enumerate() {
            by_category.entry(self.categories[item as usize]).or_default().push(place);
        }
        let has_categories = by_category.keys().filter(|&&c| c != NO_CATEGORY).count() > 1;
        for (rows, item) in tags {
            rows.iter().for_each(|&(row, weight)| batch.lookups.push(row, weight));
            batch.lookups.close();
            let target = columns.place(*item) as usize;
            let excluded_group = Some(self.titles[*item as usize]);
            let share = if has_categories { alpha } else { 1.0 };
            batch.tag_rows.push(ContrastiveRow { target, excluded_group, weight: weight * share });
            if has_categories {
                let category = self.categories[*item as usize];
                let kin = &by_category[&category];
                let known = if category == NO_CATEGORY { 0.0 } else { 1.0 };
                batch.cate_rows.push(ContrastiveRow {
                    target: kin[chance.below(kin.len())],
                    excluded_group: Some(category),
                    weight: weight * (1.0 - alpha) * known,
                });
            }
        }
    }
}

impl Columns {
    fn add(&mut self, item: u32) {
        if 2 * self.items.len() >= self.slots.len() {
            self.grow();
        }
        let slot = self.slot(item);
        if self.slots[slot] == u32::MAX {
            self.slots[slot] = self.items.len() as u32;
            self.items.push(item);
        }
    }

    /// The position of an item that was added.
    fn place(&self, item: u32) -> u32 {
        self.slots[self.slot(item)]
    }

    /// Where the item is, or would be.
    fn slot(&self, item: u32) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = (item.wrapping_mul(0x9e37_79b1) >> 7) as usize & mask;
        while self.slots[slot] != u32::MAX && self.items[self.slots[slot] as usize] != item {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        self.slots = vec![u32::MAX; (2 * self.slots.len()).max(64)];
        for place in 0..self.items.len() {
            let slot = self.slot(self.items[place]);
            self.slots[slot] = place as u32;
        }
    }
}

impl TagWords {
    fn new(data: &TowerData<'_>, item: &Item, leaf: Option<usize>) -> Self {
        let brand: BTreeSet<String> =
            item.brand.iter().flat_map(|brand| features::words(brand)).collect();
        let title = features::title_words(item).into_iter().filter(|w| !brand.contains(w));
        let leaf = leaf.map(|leaf| data.taxonomy.name(types::CategoryId::from_idx(leaf)));
        Self {
            title: title.take(TITLE_WORDS).collect(),
            leaf: leaf.map(features::words).unwrap_or_default(),
        }
    }

    /// One to four words of the title in their order; every other time the leaf's name follows, as a
    /// tag's core follows its modifiers.
    fn draw(&self, chance: &mut Chance) -> Vec<String> {
        let named = !self.leaf.is_empty() && chance.unit() < 0.5;
        let most = if named { 3 } else { 4 }.min(self.title.len());
        let mut places: Vec<usize> = (0..self.title.len()).collect();
        chance.shuffle(&mut places);
        places.truncate(if most == 0 { 0 } else { 1 + chance.below(most) });
        places.sort_unstable();
        let mut words: Vec<String> = places.into_iter().map(|p| self.title[p].clone()).collect();
        if named {
            words.extend(self.leaf.iter().cloned());
        }
        words
    }
}

/// A number per distinct title; an item without title has its own.
fn same_titles(items: &[Item]) -> Vec<u32> {
    let mut numbers = std::collections::HashMap::new();
    items
        .iter()
        .enumerate()
        .map(|(idx, item)| {
            if item.title.is_empty() {
                return idx as u32;
            }
            *numbers.entry(item.title.as_str()).or_insert(idx as u32)
        })
        .collect()
}

// N_POOLS is part of the layout that `Batch::pools` promises.
const _: () = assert!(N_POOLS == 4);
