//! What the cases of one world share: all interests that somebody holds, what everybody must buy, and
//! which modifiers go with which products.

use std::collections::{BTreeMap, BTreeSet};

use intent::{split_tag, stems};
use types::{CategoryId, InterestStage, Tag, Taxonomy, TrueInterest, UserTruth, normalise_text};

use super::JudgeUser;
use crate::support::supports;
use crate::truth::TruthShop;

/// A category that no interest reaches is a necessity when at least one user in so many has it.
const NECESSITY_SHARE: usize = 10;

/// What the cases of one world share.
pub struct JudgeShop<'a> {
    /// The world.
    pub truth: &'a TruthShop<'a>,
    /// By normalised text.
    pub(super) pool: BTreeMap<String, PoolInterest>,
    /// Categories of daily consumables.
    pub(super) necessities: BTreeSet<CategoryId>,
    /// Titles, and the needs: a small catalogue does not hold every pair that goes together.
    products: Products,
    /// Texts of all needs.
    needed: BTreeSet<String>,
    /// Modifiers of the truth's needs, each with the departments in which they occur.
    departments_of: BTreeMap<String, BTreeSet<CategoryId>>,
}

/// An interest that some user of the world holds.
#[derive(Debug, Clone)]
pub(super) struct PoolInterest {
    pub(super) text: String,
    pub(super) stage: InterestStage,
    /// The categories that it draws from.
    pub(super) roots: Vec<CategoryId>,
    /// What its holders need, none twice.
    pub(super) tags: Vec<Tag>,
}

impl<'a> JudgeShop<'a> {
    /// Learns a world from users (other users' interests and needs are what in-batch defects are made
    /// of; a few dozen give a pool worth the name) and from the titles of everything on sale.
    #[must_use]
    pub fn new<'p>(
        truth: &'a TruthShop<'a>,
        users: &[JudgeUser<'_>],
        titles: impl IntoIterator<Item = &'p str>,
    ) -> Self {
        let truths: Vec<&UserTruth> = users.iter().map(|user| user.truth).collect();
        let pool = pool(&truths, truth);
        let mut departments_of: BTreeMap<String, BTreeSet<CategoryId>> = BTreeMap::new();
        for tag in pool.values().flat_map(|interest| &interest.tags) {
            let Some(category) = tag.category else { continue };
            let department = truth.taxonomy.department(category);
            for modifier in &tag.modifiers {
                departments_of.entry(modifier.clone()).or_default().insert(department);
            }
        }
        let needed = pool.values().flat_map(|i| &i.tags).map(|tag| tag.text.as_str());
        let needed: BTreeSet<String> = needed.map(str::to_owned).collect();
        let mut products = Products::default();
        titles.into_iter().for_each(|title| products.add(title));
        needed.iter().for_each(|text| products.add(text));
        let necessities = necessities(users, &pool, truth);
        Self { truth, pool, necessities, products, needed, departments_of }
    }

    /// Whether every modifier of a text stands beside its core in some title.
    pub(super) fn is_sold(&self, modifiers: &[String], core: &str) -> bool {
        let titles = self.products.titles_with(core);
        !titles.is_empty() && modifiers.iter().all(|m| self.products.is_among(&titles, m))
    }

    /// Modifiers that stand neither beside the core nor anywhere in its department.
    pub(super) fn strange_modifiers(&self, core: &str, category: CategoryId) -> Vec<&str> {
        let department = self.truth.taxonomy.department(category);
        let titles = self.products.titles_with(core);
        let strange = self.departments_of.iter().filter(|(modifier, departments)| {
            !departments.contains(&department) && !self.products.is_among(&titles, modifier)
        });
        strange.map(|(modifier, _)| modifier.as_str()).collect()
    }

    /// Whether somebody of the world needs exactly this.
    pub(super) fn is_needed(&self, text: &str) -> bool {
        self.needed.contains(text)
    }

    /// The interest of a text, if somebody holds it.
    pub(super) fn interest(&self, text: &str) -> Option<&PoolInterest> {
        self.pool.get(&normalise_text(text))
    }

    /// Whether a category lies in one of the roots.
    pub(super) fn serves(&self, roots: &[CategoryId], category: CategoryId) -> bool {
        roots.iter().any(|&root| self.truth.taxonomy.is_within(category, root))
    }

    /// Whether a category has the same parent as one of the roots.
    pub(super) fn is_beside(&self, roots: &[CategoryId], category: CategoryId) -> bool {
        let parent = |id: CategoryId| parent(self.truth.taxonomy, id);
        let own = parent(category);
        own.is_some() && roots.iter().any(|&root| parent(root) == own)
    }
}

/// Texts of products by the stems of their words.
#[derive(Default)]
struct Products {
    rows_of: BTreeMap<String, BTreeSet<usize>>,
    n_texts: usize,
}

impl Products {
    fn add(&mut self, text: &str) {
        for stem in stems(text) {
            self.rows_of.entry(stem).or_default().insert(self.n_texts);
        }
        self.n_texts += 1;
    }

    /// Rows of the titles that hold every word of a text.
    fn titles_with(&self, text: &str) -> BTreeSet<usize> {
        let mut found: Option<BTreeSet<usize>> = None;
        for stem in stems(text) {
            let rows = self.rows_of.get(&stem).cloned().unwrap_or_default();
            found = Some(match found {
                Some(found) => found.intersection(&rows).copied().collect(),
                None => rows,
            });
        }
        found.unwrap_or_default()
    }

    /// Whether one of the rows holds every word of a text.
    fn is_among(&self, rows: &BTreeSet<usize>, text: &str) -> bool {
        self.titles_with(text).intersection(rows).next().is_some()
    }
}

/// The node above, if there is one.
pub(super) fn parent(taxonomy: &Taxonomy, id: CategoryId) -> Option<CategoryId> {
    taxonomy.categories()[id.idx()].parent
}

/// Whether an interest holds at a moment.
pub(super) fn holds(interest: &TrueInterest, now: types::Timestamp) -> bool {
    interest.from <= now && interest.until.is_none_or(|until| until > now)
}

fn pool(truths: &[&UserTruth], shop: &TruthShop<'_>) -> BTreeMap<String, PoolInterest> {
    let mut pool: BTreeMap<String, PoolInterest> = BTreeMap::new();
    for interest in truths.iter().flat_map(|truth| &truth.interests) {
        let text = intent::plain(&interest.text);
        let entry = pool.entry(normalise_text(&text)).or_insert_with(|| PoolInterest {
            text,
            stage: interest.stage,
            roots: Vec::new(),
            tags: Vec::new(),
        });
        entry.roots.extend(interest.categories.iter().filter_map(|c| shop.taxonomy.find(c)));
        entry.roots.sort_unstable();
        entry.roots.dedup();
    }
    let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
    for need in truths.iter().flat_map(|truth| &truth.needs) {
        let name = normalise_text(&need.interest);
        let Some(entry) = pool.get_mut(&name) else { continue };
        let text = intent::plain(&need.tag);
        let Some((modifiers, core)) = split_tag(&text, &shop.lexicon.cores) else { continue };
        if seen.insert((name, text.clone())) {
            entry.tags.push(Tag {
                modifiers,
                core,
                interest: entry.text.clone(),
                rationale: intent::plain(&need.rationale),
                category: shop.taxonomy.find(&need.category),
                text,
            });
        }
    }
    pool
}

/// Categories of texts that many users have and that no interest or need reaches.
fn necessities(
    users: &[JudgeUser<'_>],
    pool: &BTreeMap<String, PoolInterest>,
    shop: &TruthShop<'_>,
) -> BTreeSet<CategoryId> {
    let mut n_users: BTreeMap<CategoryId, usize> = BTreeMap::new();
    for user in users {
        let found = supports(user.digest, shop.category_of_core);
        for category in found.iter().map(|s| s.category).collect::<BTreeSet<_>>() {
            *n_users.entry(category).or_default() += 1;
        }
    }
    let is_reached = |category: CategoryId| {
        let roots = pool.values().flat_map(|i| &i.roots);
        let needed = pool.values().flat_map(|i| &i.tags).filter_map(|tag| tag.category);
        roots.copied().chain(needed).any(|root| shop.taxonomy.is_within(category, root))
    };
    let often = n_users.into_iter().filter(|(_, n)| n * NECESSITY_SHARE >= users.len());
    often.map(|(category, _)| category).filter(|&category| !is_reached(category)).collect()
}
