//! The catalogue of one world: which leaves, words, brands and items it has, and how popular they are.
//!
//! Popularity is a fixed trait of an item with a ramp after its listing; users do not feed it back,
//! so that every user can be simulated alone.

use std::collections::HashMap;

use types::{CategoryId, DAY_MS, Item, Taxonomy, Timestamp};

use crate::WorldConfig;
use crate::dice::{Dice, mix, unit};
use crate::source::{BrandPool, LeafSpec, Modifier, source};
use crate::text;

/// One leaf category of this world.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub(crate) spec: &'static LeafSpec,
    pub(crate) category: CategoryId,
    /// Rows of the spec's core words that this world has.
    pub(crate) cores: Vec<u8>,
    /// The modifiers that this world has, by attribute group in title order.
    pub(crate) groups: Vec<Vec<Modifier>>,
    /// Leaves of this world that go with it.
    pub(crate) goes_with: Vec<usize>,
    /// Rows of its items.
    pub(crate) items: Vec<u32>,
}

impl Leaf {
    /// The core word of row `core` of the spec.
    pub(crate) fn core(&self, core: u8) -> &'static str {
        &self.spec.cores[usize::from(core)]
    }

    /// Modifiers of group `group` that fit a core word.
    pub(crate) fn fitting(&self, group: usize, core: u8) -> impl Iterator<Item = u16> + '_ {
        self.groups[group].iter().filter(move |m| m.fits >> core & 1 == 1).map(|m| m.word)
    }
}

/// What the simulation knows of an item beyond its record.
#[derive(Debug, Clone)]
pub(crate) struct Trait {
    pub(crate) leaf: u16,
    pub(crate) core: u8,
    /// Modifiers, in title order.
    pub(crate) words: Vec<u16>,
    /// 0 the cheapest of its leaf, 1 the dearest.
    pub(crate) price_level: f32,
    pub(crate) quality: f32,
    /// Popularity once established.
    pub(crate) popularity: f32,
    pub(crate) listed_at: i64,
}

impl Trait {
    /// Popularity at a moment: 0 before the listing, then a ramp of 120 days.
    pub(crate) fn popularity_at(&self, at: i64) -> f32 {
        if at < self.listed_at {
            return 0.0;
        }
        let days = ((at - self.listed_at) / DAY_MS) as f32;
        self.popularity * (0.15 + days / 120.0).min(1.0)
    }
}

/// The catalogue of one world.
pub(crate) struct Shop {
    pub(crate) taxonomy: Taxonomy,
    pub(crate) leaves: Vec<Leaf>,
    pub(crate) items: Vec<Item>,
    pub(crate) traits: Vec<Trait>,
    /// Running sums of popularity^1.2, for draws over the whole shop.
    popularity_sums: Vec<f64>,
    /// Leaf of this world by row of [`crate::source::Source::leaves`].
    pub(crate) leaf_of_spec: Vec<Option<usize>>,
    /// Leaf by core word, for reading tags, queries and titles.
    by_core: HashMap<&'static str, (usize, u8)>,
    longest_core: usize,
}

impl Shop {
    /// Makes the catalogue; every leaf gets at least one item.
    pub(crate) fn generate(config: &WorldConfig, start: Timestamp) -> Self {
        let mut dice = Dice::new(mix(config.seed, 0x5409));
        let chosen = choose_leaves(&mut dice, config.items);
        let paths = chosen.iter().map(|&spec| source().leaves[spec].path.as_str());
        let taxonomy = Taxonomy::from_paths(paths);
        let mut leaf_of_spec = vec![None; source().leaves.len()];
        for (idx, &spec) in chosen.iter().enumerate() {
            leaf_of_spec[spec] = Some(idx);
        }
        let leaves = chosen.iter().map(|&row| {
            let spec = &source().leaves[row];
            let category = taxonomy.find(&spec.path).expect("the taxonomy was built from the path");
            let goes_with = spec.goes_with.iter().filter_map(|&with| leaf_of_spec[with]).collect();
            let groups = choose_modifiers(&mut dice, spec);
            let cores = choose_cores(&mut dice, spec, &groups);
            Leaf { spec, category, cores, groups, goes_with, items: Vec::new() }
        });
        let leaves: Vec<Leaf> = leaves.collect();
        let by_core = leaves.iter().enumerate().flat_map(|(idx, leaf)| {
            leaf.spec.cores.iter().enumerate().map(move |(row, c)| (c.as_str(), (idx, row as u8)))
        });
        let by_core: HashMap<&'static str, (usize, u8)> = by_core.collect();
        let longest_core =
            leaves.iter().flat_map(|l| &l.spec.cores).map(|c| c.split(' ').count()).max();
        let mut shop = Self {
            taxonomy,
            leaves,
            items: Vec::with_capacity(config.items),
            traits: Vec::with_capacity(config.items),
            popularity_sums: Vec::new(),
            leaf_of_spec,
            by_core,
            longest_core: longest_core.unwrap_or(1),
        };
        shop.stock(&mut dice, config, start);
        shop
    }

    /// Fills the shop with items and sums their popularity.
    fn stock(&mut self, dice: &mut Dice, config: &WorldConfig, start: Timestamp) {
        let brands: Vec<Vec<String>> =
            source().pools.iter().map(|pool| choose_brands(dice, pool)).collect();
        let merchants = merchants(dice);
        let sizes: Vec<f32> = self.leaves.iter().map(|_| (0.5 * dice.normal()).exp()).collect();
        for idx in 0..config.items {
            // the first round gives every leaf an item that is on sale from the start
            let is_first = idx < self.leaves.len();
            let leaf = if is_first {
                idx
            } else {
                dice.weighted(sizes.iter().copied()).unwrap_or_default()
            };
            let listed = if is_first || dice.chance(0.55) {
                start.plus_days(-dice.between(1, 500))
            } else {
                let span = (config.end.0 - start.0).max(1) as f64;
                Timestamp(start.0 + (f64::from(dice.unit()) * span * 0.999) as i64)
            };
            let brand = dice.pick(&brands[self.leaves[leaf].spec.pool]).clone();
            let merchant = heavy_tail(dice, merchants.len());
            self.add_item(dice, leaf, brand, merchants[merchant].clone(), listed);
        }
        let mut sum = 0.0;
        for item in &self.traits {
            sum += f64::from(item.popularity).powf(1.2);
            self.popularity_sums.push(sum);
        }
    }

    fn add_item(
        &mut self,
        dice: &mut Dice,
        leaf: usize,
        brand: String,
        merchant: String,
        listed_at: Timestamp,
    ) {
        let row = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        let shelf = &mut self.leaves[leaf];
        shelf.items.push(row);
        let core = *dice.pick(&shelf.cores);
        let per_group: Vec<Option<u16>> = (0..shelf.groups.len())
            .map(|group| {
                let fitting: Vec<u16> = shelf.fitting(group, core).collect();
                (!fitting.is_empty()).then(|| *dice.pick(&fitting))
            })
            .collect();
        let named = |(group, word): (usize, &Option<u16>)| {
            let name = &shelf.spec.groups[group].0;
            word.map(|w| (name.clone(), source().words[usize::from(w)].clone()))
        };
        let attributes: Vec<(String, String)> =
            per_group.iter().enumerate().filter_map(named).collect();
        let mut words: Vec<u16> = per_group.into_iter().flatten().collect();
        while words.len() > 1 && dice.chance(0.3) {
            words.remove(dice.below(words.len()));
        }
        let quality = dice.unit();
        let price_level = (0.55 * dice.unit() + 0.25 * quality + 0.2 * dice.unit()).min(1.0);
        let (low, high) = shelf.spec.price;
        let price = f64::from(low * (high / low).powf(price_level));
        let texts: Vec<&str> =
            words.iter().map(|&w| source().words[usize::from(w)].as_str()).collect();
        let core_text = shelf.core(core);
        let mut title = format!("{brand} {} {core_text}", texts.join(" "));
        if dice.chance(0.18) {
            let letter = char::from(b'A' + dice.below(26) as u8);
            title.push_str(&format!(" {letter}{}", dice.between(10, 990)));
        }
        let description = text::description(dice, &brand, &texts, core_text, &attributes);
        self.items.push(Item {
            item_id: format!("i{row:06}"),
            title,
            category_path: shelf.spec.path.clone(),
            category: Some(shelf.category),
            brand: Some(brand),
            merchant_id: Some(merchant),
            price: Some((price * 100.0).round() / 100.0),
            listed_at: Some(listed_at),
            attributes,
            description,
        });
        let popularity = (1.35 * dice.normal() + 0.8 * quality).exp();
        self.traits.push(Trait {
            leaf: leaf as u16,
            core,
            words,
            price_level,
            quality,
            popularity,
            listed_at: listed_at.0,
        });
    }

    /// An item on sale at `at`, drawn by popularity over the whole shop.
    pub(crate) fn draw_popular(&self, dice: &mut Dice, at: i64) -> Option<u32> {
        let sum = *self.popularity_sums.last()?;
        for _ in 0..12 {
            let target = f64::from(dice.unit()) * sum;
            let row = self.popularity_sums.partition_point(|s| *s <= target);
            let row = row.min(self.traits.len() - 1);
            let item = &self.traits[row];
            if dice.unit() * item.popularity < item.popularity_at(at) {
                return Some(row as u32);
            }
        }
        // the first item of every leaf is on sale from the start
        Some(dice.below(self.leaves.len()) as u32)
    }

    /// Modifiers and core word of a text that ends in (or holds) a core word of this world.
    pub(crate) fn split_text(&self, text: &str) -> Option<(Vec<String>, String)> {
        let (start, core, leaf) = self.find_core(text)?;
        let before = text[..start].trim_end();
        let mut modifiers: Vec<&str> = Vec::new();
        let mut rest = before;
        'longest: while !rest.is_empty() {
            for (_, group) in &self.leaves[leaf].spec.groups {
                for modifier in group {
                    let word = source().words[usize::from(modifier.word)].as_str();
                    let ends = rest.strip_suffix(word);
                    if let Some(left) = ends.filter(|l| l.is_empty() || l.ends_with(' ')) {
                        modifiers.push(word);
                        rest = left.trim_end();
                        continue 'longest;
                    }
                }
            }
            break;
        }
        modifiers.reverse();
        Some((modifiers.into_iter().map(str::to_owned).collect(), core.to_owned()))
    }

    /// Byte where the longest core word starts (the last of equals), the word, and its leaf.
    pub(crate) fn find_core(&self, text: &str) -> Option<(usize, &'static str, usize)> {
        let words: Vec<(usize, &str)> = text
            .split(' ')
            .scan(0, |at, word| {
                let start = *at;
                *at += word.len() + 1;
                Some((start, word))
            })
            .filter(|(_, word)| !word.is_empty())
            .collect();
        for n in (1..=self.longest_core.min(words.len())).rev() {
            for window in words.windows(n).rev() {
                let start = window[0].0;
                let end = window[n - 1].0 + window[n - 1].1.len();
                if let Some((core, &(leaf, _))) = self.by_core.get_key_value(&text[start..end]) {
                    return Some((start, core, leaf));
                }
            }
        }
        None
    }
}

/// A subset of the leaves: at most 180, at least 150 where there are items enough, all departments.
fn choose_leaves(dice: &mut Dice, n_items: usize) -> Vec<usize> {
    let n = 155 + dice.below(25);
    let n = n.min((n_items / 2).max(12)).min(n_items);
    let mut all: Vec<usize> = (0..source().leaves.len()).collect();
    dice.shuffle(&mut all);
    let department = |spec: usize| source().leaves[spec].path.split(" > ").next();
    let mut seen: Vec<Option<&str>> = Vec::new();
    // one of each department first, then whatever the shuffle gives
    let (first, rest): (Vec<usize>, Vec<usize>) = all.into_iter().partition(|&spec| {
        let is_new = !seen.contains(&department(spec));
        if is_new {
            seen.push(department(spec));
        }
        is_new
    });
    let mut chosen: Vec<usize> = first.into_iter().chain(rest).take(n).collect();
    chosen.sort_unstable();
    chosen
}

/// At least two core words, of those that keep two modifiers where there are enough of them.
fn choose_cores(dice: &mut Dice, spec: &LeafSpec, groups: &[Vec<Modifier>]) -> Vec<u8> {
    let mut cores: Vec<u8> = (0..spec.cores.len() as u8).collect();
    dice.shuffle(&mut cores);
    let n_fitting = |core: u8| groups.iter().flatten().filter(|m| m.fits >> core & 1 == 1).count();
    cores.sort_by_key(|&core| n_fitting(core) < 2);
    let n_good = cores.iter().filter(|&&core| n_fitting(core) >= 2).count().max(2);
    cores.truncate(2 + dice.below(n_good - 1));
    cores.sort_unstable();
    cores
}

/// Keeps about four fifths of the modifiers, at least two of a group.
fn choose_modifiers(dice: &mut Dice, spec: &LeafSpec) -> Vec<Vec<Modifier>> {
    spec.groups
        .iter()
        .map(|(_, all)| {
            let mut kept = all.clone();
            while kept.len() > 2 && dice.chance(0.45) {
                kept.remove(dice.below(kept.len()));
            }
            kept
        })
        .collect()
}

/// Some of the pool's brands and some that only this world has.
fn choose_brands(dice: &mut Dice, pool: &BrandPool) -> Vec<String> {
    let mut brands = pool.brands.clone();
    dice.shuffle(&mut brands);
    brands.truncate(5);
    for _ in 0..7 {
        let start = dice.pick(source().list("starts"));
        brands.push(format!("{start}{}", dice.pick(&pool.endings)));
    }
    brands.sort_unstable();
    brands.dedup();
    dice.shuffle(&mut brands);
    brands
}

/// About 300 merchants, the biggest first.
fn merchants(dice: &mut Dice) -> Vec<String> {
    (0..300)
        .map(|idx| {
            let start = dice.pick(source().list("starts"));
            format!("m{idx:03}-{start}{}", dice.pick(source().list("merchants")))
        })
        .collect()
}

/// A row of `0..n` with probability falling as one over the row.
fn heavy_tail(dice: &mut Dice, n: usize) -> usize {
    let row = ((n as f32 + 1.0).powf(dice.unit()) - 1.0) as usize;
    row.min(n.saturating_sub(1))
}

/// A fixed liking in `[0, 1)` of a person for a modifier.
pub(crate) fn taste(person: u64, word: u16) -> f32 {
    unit(person, 0xa11_0000 + u64::from(word))
}
