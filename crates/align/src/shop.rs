//! The embedded teacher: samples from a shop's own log, where nobody wrote down what users want.
//!
//! Interests are the categories that a digest supports again and again; tags are what users really
//! turned to next, what goes with what they had, and, where that is little, what stands beside it and
//! shares its words. Reads nothing past the times that it is given.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use intent::{QuoteIndex, TagLexicon, TagRules, check_tags, plain, season_of};
use types::{
    Catalogue, CategoryId, Digest, Interest, InterestProfile, InterestSource, ItemId, Tag,
    Taxonomy, User,
};

use crate::chain::Clause;
use crate::knowledge::association_sample;
use crate::neighbours::Neighbours;
use crate::sample::Sample;
use crate::shelf::Shelves;
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
    let histories = users.iter().map(|user| user.before);
    let shelves = Shelves::new(shop.catalogue, shop.cores, shop.lexicon, histories);
    users.iter().filter_map(|user| shop_sample(user, (shop, &shelves), &category_of_core)).collect()
}

/// Samples of which interest a product speaks for, as the embedded teacher names interests: its category; of
/// `most` items, spread over the catalogue.
#[must_use]
pub fn shop_associations(shop: &Shop<'_>, most: usize) -> Vec<Sample> {
    let items = shop.catalogue.items().iter().zip(shop.cores);
    let known: Vec<Sample> = items
        .filter(|(_, core)| !plain(core).is_empty())
        .filter_map(|(item, core)| {
            let interest = interest_of(shop.taxonomy, item.category?);
            Some(association_sample(core, &[&interest]))
        })
        .collect();
    let stride = known.len().div_ceil(most.max(1)).max(1);
    known.into_iter().step_by(stride).collect()
}

/// How the embedded teacher names the interest that a category is.
fn interest_of(taxonomy: &Taxonomy, category: CategoryId) -> String {
    plain(&taxonomy.name(category).to_lowercase())
}

fn shop_sample(
    user: &ShopUser<'_>,
    (shop, shelves): (&Shop<'_>, &Shelves),
    category_of_core: &HashMap<&str, CategoryId>,
) -> Option<Sample> {
    let (profile, rows) = profile(user.digest, shop, category_of_core);
    let rules = TagRules::new(user.digest, &profile.interests, shop.lexicon, None);
    let proposer = Proposer::new(user, shop, shelves, (&profile, &rows));
    let (mut tags, _) = check_tags(proposer.followed(), &rules);
    if tags.len() < shop.max_tags {
        tags.extend(proposer.beside());
        (tags, _) = check_tags(tags, &rules);
    }
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
            text: interest_of(shop.taxonomy, *category),
            stage: index.stage(&own.iter().map(|s| s.line).collect::<Vec<_>>()),
            source: InterestSource::Extended,
            reason: index.reason(&quotes),
            evidence: index.evidence(&lines),
        }
    });
    let interests = interests.collect();
    let profile = InterestProfile { user_id: digest.user_id.clone(), now: digest.now, interests };
    (profile, rows)
}

impl Shop<'_> {
    /// The interest that the item's category is.
    fn row(&self, item: ItemId, rows: &HashMap<CategoryId, usize>) -> Option<usize> {
        rows.get(&self.catalogue.item(item).category?).copied()
    }
}

/// Proposes tags of one user.
struct Proposer<'a> {
    user: &'a ShopUser<'a>,
    shop: &'a Shop<'a>,
    shelves: &'a Shelves,
    profile: &'a InterestProfile,
    rows: &'a HashMap<CategoryId, usize>,
    had_cores: HashSet<&'a str>,
    liked: HashSet<&'a str>,
}

impl<'a> Proposer<'a> {
    fn new(
        user: &'a ShopUser<'a>,
        shop: &'a Shop<'a>,
        shelves: &'a Shelves,
        (profile, rows): (&'a InterestProfile, &'a HashMap<CategoryId, usize>),
    ) -> Self {
        let had = user.before.iter().filter_map(|&item| shelves.words(item));
        let had_cores = had.map(|(_, _, core)| core.as_str()).collect();
        let liked = shelves.liked(user.before);
        Self { user, shop, shelves, profile, rows, had_cores, liked }
    }

    /// What came next, then what goes with what was there, every tag under the interest of its category
    /// or of what it goes with.
    fn followed(&self) -> Vec<Tag> {
        let Self { user, shop, .. } = self;
        let latest = user.before.iter().rev().take(SOURCES);
        let row = |item: ItemId, source: Option<ItemId>| {
            shop.row(item, self.rows).or_else(|| shop.row(source?, self.rows))
        };
        let mut tags = Vec::new();
        for &item in user.after {
            let source = latest.clone().find(|&&had| shop.neighbours.of(had).contains(&item));
            tags.extend(self.tag(item, row(item, source.copied()), source.copied()));
        }
        // Nearest neighbours of all sources first, so that no source takes all places.
        for place in 0..shop.neighbours.most() {
            for &had in latest.clone() {
                if let Some(&item) = shop.neighbours.of(had).get(place) {
                    tags.extend(self.tag(item, row(item, Some(had)), Some(had)));
                }
            }
        }
        tags
    }

    /// What stands on the shelves of the interests and beside them, the first of every interest first.
    fn beside(&self) -> Vec<Tag> {
        let had: HashSet<ItemId> = self.user.before.iter().copied().collect();
        let mut categories: Vec<(usize, CategoryId)> =
            self.rows.iter().map(|(category, row)| (*row, *category)).collect();
        categories.sort_unstable();
        let most = self.shop.max_tags;
        let mut shelves: Vec<(usize, std::vec::IntoIter<ItemId>)> = categories
            .into_iter()
            .map(|(row, category)| {
                let items = self.shelves.beside(category, self.shop.taxonomy, &self.liked, most);
                (row, items.into_iter())
            })
            .collect();
        let mut tags = Vec::new();
        for _ in 0..most + most / 2 {
            for (row, items) in &mut shelves {
                let next = items.find(|item| !had.contains(item));
                tags.extend(next.and_then(|item| self.tag(item, Some(*row), None)));
            }
        }
        tags
    }

    /// The item as a tag of an interest.
    fn tag(&self, item: ItemId, row: Option<usize>, source: Option<ItemId>) -> Option<Tag> {
        let (text, modifiers, core) = self.shelves.words(item)?.clone();
        let interest = self.profile.interests[row?].text.clone();
        let liked = modifiers.iter().find(|word| self.liked.contains(word.as_str()));
        let rationale = if let Some(season) = season_of(&text) {
            Clause::Season(season)
        } else if self.had_cores.contains(core.as_str()) {
            Clause::Often
        } else if let Some(source) = source {
            Clause::GoesWith(self.short_name(source))
        } else if let Some(word) = liked {
            Clause::Modifier(word.clone())
        } else {
            Clause::Interest(interest.clone())
        };
        let rationale = rationale.to_string();
        let category = self.shop.catalogue.item(item).category;
        Some(Tag { text, modifiers, core, interest, rationale, category })
    }

    /// The core of an item's core words, or all of them where they have none.
    fn short_name(&self, item: ItemId) -> String {
        let all = || self.shop.cores.get(item.idx()).map_or("", String::as_str).to_lowercase();
        self.shelves.words(item).map_or_else(|| plain(&all()), |(_, _, core)| core.clone())
    }
}
