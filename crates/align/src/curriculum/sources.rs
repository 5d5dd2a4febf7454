//! What the subtasks read.

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_pcg::Pcg64Mcg;
use types::{Taxonomy, TrueInterest, UserTruth};

/// An item as the subtasks see it.
#[derive(Debug, Clone)]
pub struct Product<'a> {
    /// As the shop writes it.
    pub title: &'a str,
    /// Its core words.
    pub core: &'a str,
    /// Path of its leaf category.
    pub category: &'a str,
    /// Words that describe it, from its core words.
    pub modifiers: Vec<String>,
}

/// Plain data of one shop or world, and of shared sets; any of them may be empty.
#[derive(Clone, Copy)]
pub struct CurriculumSources<'a> {
    /// Items of the shop.
    pub products: &'a [Product<'a>],
    /// What people of the shop want.
    pub truths: &'a [UserTruth],
    /// A tree of real categories.
    pub taxonomy: Option<&'a Taxonomy>,
    /// Real goals with a query that was typed for them.
    pub goals: &'a [(String, String)],
}

impl<'a> CurriculumSources<'a> {
    pub(super) fn product(&self, rng: &mut Pcg64Mcg) -> Option<&'a Product<'a>> {
        self.products.choose(rng)
    }

    pub(super) fn truth(&self, rng: &mut Pcg64Mcg) -> Option<&'a UserTruth> {
        self.truths.choose(rng)
    }

    pub(super) fn goal(&self, rng: &mut Pcg64Mcg) -> Option<&'a (String, String)> {
        self.goals.choose(rng)
    }

    /// An interest of someone that reaches into at least `n` categories.
    pub(super) fn interest(&self, n: usize, rng: &mut Pcg64Mcg) -> Option<&'a TrueInterest> {
        let interest = self.truth(rng)?.interests.choose(rng)?;
        (interest.categories.len() >= n).then_some(interest)
    }

    /// An item of a category; none when ten draws from the category's neighbourhood find none.
    pub(super) fn product_of(&self, category: &str, rng: &mut Pcg64Mcg) -> Option<&'a Product<'a>> {
        let n = self.products.len();
        if n == 0 {
            return None;
        }
        let start = rng.random_range(0..n);
        (0..n).map(|i| &self.products[(start + i) % n]).find(|p| p.category == category)
    }
}

/// The last part of a path.
pub(super) fn leaf(path: &str) -> String {
    path.rsplit(" > ").next().unwrap_or(path).to_lowercase()
}

/// `n` different ones of `all`, in drawn order; fewer where there are fewer.
pub(super) fn some<'t, T>(all: &'t [T], n: usize, rng: &mut Pcg64Mcg) -> Vec<&'t T> {
    all.sample(rng, n).collect()
}
