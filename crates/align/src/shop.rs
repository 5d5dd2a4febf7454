//! The embedded teacher: samples from a shop's own log, where nobody wrote down what users want.
//!
//! Interests are the categories that a digest supports again and again; tags are what users really
//! turned to next, and what goes with what they had. Reads nothing past the times that it is given.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use intent::{QuoteIndex, TagLexicon, TagRules, check_tags, plain, season_of, split_tag};
use types::{
    Catalogue, CategoryId, Digest, Interest, InterestProfile, InterestSource, InterestStage,
    ItemId, Tag, Taxonomy, TimeBucket, User,
};

use crate::sample::Sample;
use crate::support::{Support, supports};
use crate::truth::{best_supports, mine_tag_sample, place_of_first, varied};

/// What the samples of one shop share.
pub struct Shop<'a> {
    /// Its items; those without a category serve no tag.
    pub catalogue: &'a Catalogue,
    /// Its categories.
    pub taxonomy: &'a Taxonomy,
    /// Core words per item, as the digests write them, by [`ItemId`].
    pub cores: &'a [String],
    /// Core phrases and brands, as at inference.
    pub lexicon: &'a TagLexicon,
    /// What goes with what.
    pub neighbours: &'a Neighbours,
    /// Most tags of one answer.
    pub max_tags: usize,
}

/// One user at a time before the cut.
pub struct ShopUser<'a> {
    /// Who.
    pub user: &'a User,
    /// The digest at that time.
    pub digest: &'a Digest,
    /// Items before that time, oldest first.
    pub before: &'a [ItemId],
    /// Items between that time and the cut, oldest first.
    pub after: &'a [ItemId],
}

/// An interest needs so many digest texts of its category.
const MIN_SUPPORT: usize = 2;

/// Most interests of one answer.
const MAX_INTERESTS: usize = 14;

/// How many of the latest items ask for their neighbours.
const SOURCES: usize = 30;

/// One sample per user whose digest supports an interest and who has at least one tag.
#[must_use]
pub fn shop_samples(users: &[ShopUser<'_>], shop: &Shop<'_>) -> Vec<Sample> {
    let category_of_core: HashMap<&str, CategoryId> = shop
        .catalogue
        .items()
        .iter()
        .zip(shop.cores)
        .filter_map(|(item, core)| Some((core.as_str(), item.category?)))
        .collect();
    users.iter().filter_map(|user| shop_sample(user, shop, &category_of_core)).collect()
}

fn shop_sample(
    user: &ShopUser<'_>,
    shop: &Shop<'_>,
    category_of_core: &HashMap<&str, CategoryId>,
) -> Option<Sample> {
    let (profile, rows) = profile(user.digest, shop, category_of_core);
    let rules = TagRules::new(user.digest, &profile.interests, shop.lexicon, None);
    let (tags, _) = check_tags(proposed_tags(user, shop, &profile, &rows), &rules);
    let tags = varied(tags, shop.max_tags);
    let worth = !profile.interests.is_empty() && !tags.is_empty();
    worth.then(|| mine_tag_sample("shop", user.user, user.digest, &profile, &tags))
}

/// The best supported interests in the order of their evidence, and the row of each category's.
fn profile(
    digest: &Digest,
    shop: &Shop<'_>,
    category_of_core: &HashMap<&str, CategoryId>,
) -> (InterestProfile, HashMap<CategoryId, usize>) {
    let index = QuoteIndex::new(digest);
    let category_of = |text: &str| category_of_core.get(text).copied();
    let supports = supports(digest, &category_of);
    let mut by_category: BTreeMap<CategoryId, Vec<&Support<'_>>> = BTreeMap::new();
    for support in &supports {
        by_category.entry(support.category).or_default().push(support);
    }
    let distinct = |own: &[&Support<'_>]| own.iter().map(|s| s.text).collect::<HashSet<_>>().len();
    let mut found: Vec<(CategoryId, Vec<&Support<'_>>)> =
        by_category.into_iter().filter(|(_, own)| distinct(own) >= MIN_SUPPORT).collect();
    found.sort_by_key(|(_, own)| Reverse(own.iter().map(|s| s.weight).sum::<u64>()));
    found.truncate(MAX_INTERESTS);
    found.sort_by_cached_key(|(_, own)| place_of_first(&best_supports(own)));
    let rows = found.iter().enumerate().map(|(row, (category, _))| (*category, row)).collect();
    let interests = found.iter().enumerate().map(|(row, (category, own))| {
        let quotes: Vec<&str> = best_supports(own).iter().map(|s| s.text).collect();
        let lines: Vec<usize> =
            quotes.iter().flat_map(|quote| index.lines(quote).iter().copied()).collect();
        Interest {
            id: format!("interest_{:02}", row + 1),
            text: plain(&shop.taxonomy.name(*category).to_lowercase()),
            stage: stage(digest, own),
            source: InterestSource::Extended,
            reason: index.reason(&quotes),
            evidence: index.evidence(&lines),
        }
    });
    let interests = interests.collect();
    let profile = InterestProfile { user_id: digest.user_id.clone(), now: digest.now, interests };
    (profile, rows)
}

/// Lasting when the support spreads over at least two buckets of time beyond the last month.
fn stage(digest: &Digest, own: &[&Support<'_>]) -> InterestStage {
    let buckets: BTreeSet<TimeBucket> = own
        .iter()
        .flat_map(|s| digest.lines[s.line].contexts.iter().map(|c| c.bucket))
        .filter(|bucket| !matches!(bucket, TimeBucket::Day(_)))
        .collect();
    if buckets.len() >= 2 { InterestStage::Long } else { InterestStage::Short }
}

/// What came next, then what goes with what was there, every tag under the interest of its category.
fn proposed_tags(
    user: &ShopUser<'_>,
    shop: &Shop<'_>,
    profile: &InterestProfile,
    rows: &HashMap<CategoryId, usize>,
) -> Vec<Tag> {
    let had_cores: HashSet<String> = user
        .before
        .iter()
        .filter_map(|&item| split_tag(shop.core(item), &shop.lexicon.cores))
        .map(|(_, core)| core)
        .collect();
    let latest = user.before.iter().rev().take(SOURCES);
    let mut tags = Vec::new();
    let mut push = |item: ItemId, source: Option<ItemId>| {
        let text = plain(&shop.core(item).to_lowercase());
        let row = shop.row(item, rows).or_else(|| shop.row(source?, rows));
        let (Some(row), Some((modifiers, core))) = (row, split_tag(&text, &shop.lexicon.cores))
        else {
            return;
        };
        let rationale = if let Some(season) = season_of(&text) {
            season.as_str().to_owned()
        } else if had_cores.contains(&core) {
            "buys often".to_owned()
        } else if let Some(source) = source {
            format!("goes with {}", short_name(shop, source))
        } else {
            format!("likes {}", profile.interests[row].text)
        };
        let interest = profile.interests[row].text.clone();
        let category = shop.catalogue.item(item).category;
        tags.push(Tag { text, modifiers, core, interest, rationale, category });
    };
    for &item in user.after {
        let source = latest.clone().find(|&&had| shop.neighbours.of(had).contains(&item));
        push(item, source.copied());
    }
    // Nearest neighbours of all sources first, so that no source takes all places.
    for place in 0..shop.neighbours.most() {
        for &had in latest.clone() {
            if let Some(&item) = shop.neighbours.of(had).get(place) {
                push(item, Some(had));
            }
        }
    }
    tags
}

/// The core of an item's core words, or all of them where they have none.
fn short_name(shop: &Shop<'_>, item: ItemId) -> String {
    let core = shop.core(item);
    split_tag(core, &shop.lexicon.cores).map_or_else(|| plain(&core.to_lowercase()), |(_, c)| c)
}

impl Shop<'_> {
    fn core(&self, item: ItemId) -> &str {
        self.cores.get(item.idx()).map_or("", String::as_str)
    }

    /// The interest that the item's category is.
    fn row(&self, item: ItemId, rows: &HashMap<CategoryId, usize>) -> Option<usize> {
        rows.get(&self.catalogue.item(item).category?).copied()
    }
}

/// Items that stand in the same histories more often than chance, nearest first.
#[derive(Debug, Clone)]
pub struct Neighbours {
    of: Vec<Vec<ItemId>>,
    most: usize,
}

/// Only so many of the latest different items of a history are paired.
const PAIRED: usize = 60;

impl Neighbours {
    /// Counts pairs in histories (before the cut) and keeps for each item the `most` with the highest
    /// `n_ab / sqrt(n_a n_b)`, those seen together at least twice and above chance (lift over 1).
    #[must_use]
    pub fn new(histories: &[Vec<ItemId>], n_items: usize, most: usize) -> Self {
        let mut alone = vec![0_u32; n_items];
        let mut together: HashMap<(ItemId, ItemId), u32> = HashMap::new();
        for history in histories {
            let mut items: Vec<ItemId> = Vec::new();
            for &item in history.iter().rev() {
                if items.len() == PAIRED {
                    break;
                }
                if item.idx() < n_items && !items.contains(&item) {
                    items.push(item);
                }
            }
            items.sort_unstable();
            for (row, &a) in items.iter().enumerate() {
                alone[a.idx()] += 1;
                for &b in &items[row + 1..] {
                    *together.entry((a, b)).or_insert(0) += 1;
                }
            }
        }
        let n = histories.len() as f64;
        let mut pairs: Vec<((ItemId, ItemId), u32)> =
            together.into_iter().filter(|&(_, count)| count >= 2).collect();
        pairs.sort_unstable();
        let mut scored: Vec<Vec<(f64, ItemId)>> = vec![Vec::new(); n_items];
        for ((a, b), count) in pairs {
            let (n_a, n_b) = (f64::from(alone[a.idx()]), f64::from(alone[b.idx()]));
            let count = f64::from(count);
            if count * n > n_a * n_b {
                let score = count / (n_a * n_b).sqrt();
                scored[a.idx()].push((score, b));
                scored[b.idx()].push((score, a));
            }
        }
        let of = scored
            .into_iter()
            .map(|mut near| {
                near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                near.into_iter().take(most).map(|(_, item)| item).collect()
            })
            .collect();
        Self { of, most }
    }

    /// Neighbours of an item, nearest first.
    #[must_use]
    pub fn of(&self, item: ItemId) -> &[ItemId] {
        self.of.get(item.idx()).map_or(&[], Vec::as_slice)
    }

    /// Most neighbours of any item.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }
}
