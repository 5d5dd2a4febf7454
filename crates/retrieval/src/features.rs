//! From an item or a tag to rows of the embedding table.
//!
//! One table holds everything: item ids, categories, brands, merchants, price buckets, words, users,
//! and the rows of the history side. Knows which row means what; knows no numbers in them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use types::{Catalogue, Item, Taxonomy, fnv1a64};

use crate::{HistorySide, TowerConfig};

/// Price buckets: half octaves around 1, and one row each for "below" and "above".
const PRICE_ROWS: usize = 48;
/// Words of attribute values that count.
const ATTRIBUTE_WORDS: usize = 24;

/// Which part of the model looks an item up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Item,
    History,
}

/// Names and numbers of the rows. Saved with the towers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Features {
    n_items: usize,
    n_users: usize,
    history_side: HistorySide,
    categories: Vec<(String, Option<u32>)>, // path, parent
    brands: Vec<String>,                    // sorted
    merchants: Vec<String>,                 // sorted
    words: Vec<String>,                     // sorted; pairs as "a b"
    word_hash_rows: usize,
    #[serde(skip)]
    lookup: Lookup,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Lookup {
    categories: HashMap<String, u32>,
    brands: HashMap<String, u32>,
    merchants: HashMap<String, u32>,
    words: HashMap<String, u32>,
}

/// First rows of the fields.
struct Layout {
    items: usize,
    categories: usize,
    brands: usize,
    merchants: usize,
    prices: usize,
    words: usize,
    end: usize,
}

/// Rows of an item with their weights; the id row comes first where there is one.
pub(crate) type Rows = Vec<(u32, f32)>;

impl Features {
    /// The vocabulary of a catalogue.
    pub(crate) fn new(
        catalogue: &Catalogue,
        taxonomy: &Taxonomy,
        n_users: usize,
        config: &TowerConfig,
    ) -> Self {
        let mut brands = BTreeSet::new();
        let mut merchants = BTreeSet::new();
        let (mut word_counts, mut pair_counts) = (BTreeMap::new(), BTreeMap::new());
        for item in catalogue.items() {
            brands.extend(item.brand.iter().filter(|b| !b.is_empty()).cloned());
            merchants.extend(item.merchant_id.iter().filter(|m| !m.is_empty()).cloned());
            let words = title_words(item);
            let distinct: BTreeSet<&String> = words.iter().collect();
            for word in distinct {
                *word_counts.entry(word.clone()).or_insert(0usize) += 1;
            }
            let pairs: BTreeSet<String> = words.windows(2).map(pair).collect();
            for pair in pairs {
                *pair_counts.entry(pair).or_insert(0usize) += 1;
            }
        }
        let often = |counts: BTreeMap<String, usize>, least: usize| {
            counts.into_iter().filter(move |(_, n)| least > 0 && *n >= least).map(|(word, _)| word)
        };
        let mut words: Vec<String> = often(word_counts, config.min_word_count.max(1)).collect();
        words.extend(often(pair_counts, config.min_bigram_count));
        words.sort_unstable();
        let categories = (0..taxonomy.len()).map(types::CategoryId::from_idx).map(|id| {
            let parent = taxonomy.categories()[id.idx()].parent.map(|p| p.0);
            (taxonomy.path(id).to_owned(), parent)
        });
        Self {
            n_items: catalogue.len(),
            n_users,
            history_side: config.history_side,
            categories: categories.collect(),
            brands: brands.into_iter().collect(),
            merchants: merchants.into_iter().collect(),
            words,
            word_hash_rows: config.word_hash_rows,
            lookup: Lookup::default(),
        }
        .with_lookup()
    }

    /// Rebuilds what is not saved.
    pub(crate) fn with_lookup(mut self) -> Self {
        let number = |names: &[String]| (0..).zip(names).map(|(i, n)| (n.clone(), i)).collect();
        self.lookup = Lookup {
            categories: (0..).zip(&self.categories).map(|(i, (n, _))| (n.clone(), i)).collect(),
            brands: number(&self.brands),
            merchants: number(&self.merchants),
            words: number(&self.words),
        };
        self
    }

    pub(crate) fn n_items(&self) -> usize {
        self.n_items
    }

    pub(crate) fn n_users(&self) -> usize {
        self.n_users
    }

    /// Rows of the whole table.
    pub(crate) fn n_rows(&self) -> usize {
        self.users_from() + self.n_users
    }

    /// Pairs (row of the history side, row of the item side) that stand for the same thing.
    pub(crate) fn twins(&self) -> Vec<(usize, usize)> {
        let item = self.layout(Side::Item);
        let history = self.layout(Side::History);
        match self.history_side {
            HistorySide::Shared => Vec::new(),
            HistorySide::OwnIds => (0..self.n_items).map(|i| (history.items + i, i)).collect(),
            HistorySide::Own => (0..item.end).map(|i| (history.items + i, i)).collect(),
        }
    }

    /// Takes a user's number away; those behind it move up by one.
    pub(crate) fn remove_user(&mut self) {
        self.n_users -= 1;
    }

    /// The row of a user; none for a user unknown in training.
    pub(crate) fn user_row(&self, user: usize) -> Option<u32> {
        (user < self.n_users).then(|| (self.users_from() + user) as u32)
    }

    /// The row of an item's id.
    pub(crate) fn id_row(&self, side: Side, item: usize) -> u32 {
        (self.layout(side).items + item) as u32
    }

    /// The content rows of an item: categories, brand, merchant, price, words. A field of `n` rows
    /// gives each of them `1 / sqrt(n)`, so that every field has about the same length.
    pub(crate) fn content_rows(&self, side: Side, item: &Item) -> Rows {
        let layout = self.layout(side);
        let mut rows = Rows::new();
        let mut field = |list: Vec<usize>| {
            let weight = 1.0 / (list.len() as f32).sqrt();
            rows.extend(list.into_iter().map(|row| (row as u32, weight)));
        };
        field(self.ancestors(item).into_iter().map(|c| layout.categories + c).collect());
        let named = |name: &Option<String>, numbers: &HashMap<String, u32>, first: usize| {
            let row = name.as_ref().and_then(|name| numbers.get(name));
            row.map(|&r| first + r as usize).into_iter().collect()
        };
        field(named(&item.brand, &self.lookup.brands, layout.brands));
        field(named(&item.merchant_id, &self.lookup.merchants, layout.merchants));
        field(price_bucket(item.price).map(|b| layout.prices + b).into_iter().collect());
        let words = item_words(item);
        field(self.word_numbers(&words).into_iter().map(|w| layout.words + w).collect());
        rows
    }

    /// The rows of a tag's words (those of the item tower's titles); empty for a text without words.
    pub(crate) fn tag_rows(&self, words: &[String]) -> Rows {
        let first = self.layout(Side::Item).words;
        let numbers = self.word_numbers(words);
        let weight = 1.0 / (numbers.len().max(1) as f32).sqrt();
        numbers.into_iter().map(|n| ((first + n) as u32, weight)).collect()
    }

    /// The leaf category of an item, as a row of the taxonomy; where training did not know it, the
    /// nearest one above it.
    pub(crate) fn leaf(&self, item: &Item) -> Option<usize> {
        let known =
            item.category.map(types::CategoryId::idx).filter(|&c| c < self.categories.len());
        let mut path = item.category_path.as_str();
        known.or_else(|| {
            loop {
                match (self.lookup.categories.get(path), path.rsplit_once(Taxonomy::SEPARATOR)) {
                    (Some(&row), _) => return Some(row as usize),
                    (None, Some((above, _))) => path = above,
                    (None, None) => return None,
                }
            }
        })
    }

    fn ancestors(&self, item: &Item) -> Vec<usize> {
        let mut list = Vec::new();
        let mut next = self.leaf(item);
        while let Some(node) = next {
            list.push(node);
            next = self.categories[node].1.map(|parent| parent as usize);
        }
        list
    }

    fn word_numbers(&self, words: &[String]) -> Vec<usize> {
        let single = words.iter().map(|word| {
            self.lookup.words.get(word).map_or_else(
                || {
                    self.words.len()
                        + (fnv1a64(word.as_bytes()) % self.word_hash_rows as u64) as usize
                },
                |&n| n as usize,
            )
        });
        let pairs = words.windows(2).filter_map(|w| self.lookup.words.get(&pair(w)));
        single.chain(pairs.map(|&n| n as usize)).collect()
    }

    fn layout(&self, side: Side) -> Layout {
        let content = self.categories.len()
            + self.brands.len()
            + self.merchants.len()
            + PRICE_ROWS
            + self.words.len()
            + self.word_hash_rows;
        let item_end = self.n_items + content;
        let (items, categories) = match (side, self.history_side) {
            (Side::Item, _) | (Side::History, HistorySide::Shared) => (0, self.n_items),
            (Side::History, HistorySide::OwnIds) => (item_end, self.n_items),
            (Side::History, HistorySide::Own) => (item_end, item_end + self.n_items),
        };
        let brands = categories + self.categories.len();
        let merchants = brands + self.brands.len();
        let prices = merchants + self.merchants.len();
        let words = prices + PRICE_ROWS;
        Layout { items, categories, brands, merchants, prices, words, end: item_end }
    }

    fn users_from(&self) -> usize {
        let item_end = self.layout(Side::Item).end;
        match self.history_side {
            HistorySide::Shared => item_end,
            HistorySide::OwnIds => item_end + self.n_items,
            HistorySide::Own => item_end * 2,
        }
    }
}

/// Words of a title, in order.
pub(crate) fn title_words(item: &Item) -> Vec<String> {
    words(&item.title)
}

/// Words of everything that an item says in few words: title, attribute values.
pub(crate) fn item_words(item: &Item) -> Vec<String> {
    let mut all = title_words(item);
    let values = item.attributes.iter().flat_map(|(_, value)| words(value));
    all.extend(values.take(ATTRIBUTE_WORDS));
    all
}

/// Lower-case words without plural ending; a CJK character is a word of its own.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut word = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if is_cjk(c) {
            end_word(&mut word, &mut all);
            all.push(c.to_string());
        } else if c.is_alphanumeric() {
            word.push(c);
        } else if c != '\'' {
            end_word(&mut word, &mut all);
        }
    }
    end_word(&mut word, &mut all);
    all
}

fn end_word(word: &mut String, all: &mut Vec<String>) {
    let plural = word.len() > 3 && word.ends_with('s') && !word.ends_with("ss");
    if plural {
        word.pop();
    }
    if !word.is_empty() {
        all.push(std::mem::take(word));
    }
}

fn is_cjk(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

fn pair(words: &[String]) -> String {
    words.join(" ")
}

/// Half octaves: 0 below 2^-4, the last one above 2^19.
fn price_bucket(price: Option<f64>) -> Option<usize> {
    let price = price.filter(|p| *p > 0.0 && p.is_finite())?;
    Some(((price.log2() + 4.0) * 2.0).clamp(0.0, (PRICE_ROWS - 1) as f64) as usize)
}

#[cfg(test)]
mod tests {
    use types::{Catalogue, Item, Taxonomy};

    use super::{Features, Side, price_bucket, words};
    use crate::{HistorySide, TowerConfig};

    #[test]
    fn words_are_lower_case_singular_and_cjk_by_character() {
        assert_eq!(
            words("Hiking Boots, men's; non-slip"),
            ["hiking", "boot", "men", "non", "slip"]
        );
        assert_eq!(words("glass 户外鞋 bus"), ["glass", "户", "外", "鞋", "bus"]);
        assert!(words(" - ").is_empty());
    }

    #[test]
    fn prices_fall_into_half_octaves() {
        assert_eq!((price_bucket(Some(1.0)), price_bucket(Some(1.5))), (Some(8), Some(9)));
        assert_eq!((price_bucket(Some(1e-9)), price_bucket(Some(1e300))), (Some(0), Some(47)));
        assert_eq!(
            (price_bucket(Some(0.0)), price_bucket(Some(f64::NAN)), price_bucket(None)),
            (None, None, None)
        );
    }

    #[test]
    fn rows_of_all_fields_are_apart_and_inside_the_table() {
        let item = |id: &str, title: &str, path: &str| Item {
            item_id: id.to_owned(),
            title: title.to_owned(),
            category_path: path.to_owned(),
            brand: Some("Acme".to_owned()),
            price: Some(20.0),
            ..Item::default()
        };
        let items =
            vec![item("1", "red boots", "Sport > Boots"), item("2", "red boots", "Sport > Tents")];
        let catalogue = Catalogue::new(items).unwrap();
        let taxonomy = Taxonomy::from_paths(["Sport > Boots", "Sport > Tents"]);
        for history_side in [HistorySide::Shared, HistorySide::OwnIds, HistorySide::Own] {
            let config =
                TowerConfig { history_side, min_bigram_count: 2, ..TowerConfig::default() };
            let f = Features::new(&catalogue, &taxonomy, 3, &config);
            let rows = |side, item| f.content_rows(side, catalogue.item(types::ItemId(item)));
            // two categories, one brand, one price, two words and their pair
            assert_eq!(rows(Side::Item, 0).len(), 7);
            let (a, b) = (rows(Side::Item, 0), rows(Side::Item, 1));
            assert_eq!(a.iter().filter(|r| b.contains(r)).count(), 6, "only the leaf differs");
            let shared = rows(Side::History, 0) == a;
            assert_eq!(shared, history_side != HistorySide::Own);
            assert_eq!(f.id_row(Side::History, 1) == 1, history_side == HistorySide::Shared);
            let last = f.user_row(2).unwrap();
            assert_eq!((last as usize + 1, f.user_row(3)), (f.n_rows(), None));
            let all = rows(Side::History, 0).into_iter().chain(a);
            assert!(all.map(|(row, _)| row).all(|row| row < f.user_row(0).unwrap()));
        }
    }
}
