//! A shop's products as tags, shelf by shelf: what stands beside what a user had, and shares its words.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use intent::TagLexicon;
use types::{Catalogue, CategoryId, ItemId, Taxonomy};

use crate::precise::precise;

/// Text, modifiers and core of a product as a tag.
pub(crate) type Words = (String, Vec<String>, String);

/// A modifier is liked when its share of the user's products is so many times its share of all.
const LIKED_LIFT: f64 = 1.5;

/// What is learnt once of a shop.
pub(crate) struct Shelves {
    words: Vec<Option<Words>>,
    popularity: Vec<u32>,
    of_category: BTreeMap<CategoryId, Vec<ItemId>>,
    with_modifier: HashMap<String, u32>,
}

impl Shelves {
    /// Reads the core words of all items; `histories` say which are common.
    pub(crate) fn new<'h>(
        catalogue: &Catalogue,
        cores: &[String],
        lexicon: &TagLexicon,
        histories: impl Iterator<Item = &'h [ItemId]>,
    ) -> Self {
        let words: Vec<Option<Words>> = (0..catalogue.len())
            .map(|row| cores.get(row).and_then(|core| precise(core, lexicon)))
            .collect();
        let mut popularity = vec![0; catalogue.len()];
        for item in histories.flat_map(|h| h.iter().copied().collect::<BTreeSet<ItemId>>()) {
            popularity[item.idx()] += 1;
        }
        let mut with_modifier: HashMap<String, u32> = HashMap::new();
        for (_, modifiers, _) in words.iter().flatten() {
            for word in modifiers.iter().collect::<BTreeSet<_>>() {
                *with_modifier.entry(word.clone()).or_insert(0) += 1;
            }
        }
        let mut of_category: BTreeMap<CategoryId, Vec<ItemId>> = BTreeMap::new();
        for (row, item) in catalogue.items().iter().enumerate() {
            if let (Some(category), Some(_)) = (item.category, &words[row]) {
                of_category.entry(category).or_default().push(ItemId::from_idx(row));
            }
        }
        for items in of_category.values_mut() {
            items.sort_by_key(|item| (Reverse(popularity[item.idx()]), *item));
        }
        Self { words, popularity, of_category, with_modifier }
    }

    /// The item as a tag; `None` where its words make none.
    pub(crate) fn words(&self, item: ItemId) -> Option<&Words> {
        self.words.get(item.idx())?.as_ref()
    }

    /// Modifiers that at least two of these items share, more often than chance.
    pub(crate) fn liked(&self, items: &[ItemId]) -> HashSet<&str> {
        let items: BTreeSet<ItemId> = items.iter().copied().collect();
        let own: Vec<&Words> = items.iter().filter_map(|&item| self.words(item)).collect();
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for (_, modifiers, _) in &own {
            for word in modifiers.iter().collect::<BTreeSet<_>>() {
                *counts.entry(word).or_insert(0) += 1;
            }
        }
        let share = |n: u32, of: usize| f64::from(n) / of.max(1) as f64;
        let liked = counts.into_iter().filter(|&(word, n)| {
            let all = self.with_modifier.get(word).copied().unwrap_or(0);
            n >= 2 && share(n, own.len()) > LIKED_LIFT * share(all, self.words.len())
        });
        liked.map(|(word, _)| word).collect()
    }

    /// At most `most` items of a category, those with liked modifiers first, then those that most
    /// histories hold; and half as many of the categories beside it, which must have a liked modifier.
    pub(crate) fn beside(
        &self,
        category: CategoryId,
        taxonomy: &Taxonomy,
        liked: &HashSet<&str>,
        most: usize,
    ) -> Vec<ItemId> {
        let above = taxonomy.categories()[category.idx()].parent;
        let is_beside = |other: CategoryId| {
            other != category && above.is_some_and(|above| taxonomy.is_within(other, above))
        };
        let shelves = self.of_category.iter().filter(|(other, _)| is_beside(**other));
        let shared = |item: &&ItemId| self.n_liked(**item, liked) > 0;
        let others = shelves.flat_map(|(_, items)| items.iter().filter(shared).copied());
        let own = self.of_category.get(&category).cloned().unwrap_or_default();
        let (own, others) = (self.ranked(own, liked), self.ranked(others.collect(), liked));
        own.into_iter().take(most).chain(others.into_iter().take(most / 2)).collect()
    }

    fn ranked(&self, mut items: Vec<ItemId>, liked: &HashSet<&str>) -> Vec<ItemId> {
        items.sort_by_cached_key(|&item| {
            (Reverse(self.n_liked(item, liked)), Reverse(self.popularity[item.idx()]), item)
        });
        items
    }

    fn n_liked(&self, item: ItemId, liked: &HashSet<&str>) -> usize {
        let modifiers = self.words(item).map(|(_, modifiers, _)| modifiers.as_slice());
        modifiers.unwrap_or_default().iter().filter(|w| liked.contains(w.as_str())).count()
    }
}
