//! In which categories a digest shows acts, and on how many different texts.

use std::collections::{BTreeMap, BTreeSet};

use types::{CategoryId, Digest, Taxonomy};

use crate::support::{Support, supports};

/// Paths of categories with the numbers of different items and queries of the digest that lie in each, in
/// order of the paths: what [`crate::InterestCounts::rank`] reads.
#[must_use]
pub fn acts_by_category<'a>(
    digest: &Digest,
    taxonomy: &'a Taxonomy,
    category_of: &(dyn Fn(&str) -> Option<CategoryId> + Sync),
) -> Vec<(&'a str, usize)> {
    acts_of(&supports(digest, category_of), taxonomy)
}

/// The same of texts whose categories are known.
pub(crate) fn acts_of<'a>(
    supports: &[Support<'_>],
    taxonomy: &'a Taxonomy,
) -> Vec<(&'a str, usize)> {
    let mut texts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for support in supports {
        texts.entry(taxonomy.path(support.category)).or_default().insert(support.text);
    }
    texts.into_iter().map(|(path, texts)| (path, texts.len())).collect()
}
