//! What the evidence of an interest speaks for: kinds of product, categories, modifiers.

use std::collections::{BTreeSet, HashSet};

use intent::{QuoteIndex, TagLexicon, plain, split_tag, stem_key, terse};
use types::{CategoryId, Digest, Interest, Taxonomy};

/// A catalogue's knowledge that scopes and chains are made with.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    /// The tree of categories.
    pub taxonomy: &'a Taxonomy,
    /// Core phrases and brands.
    pub lexicon: &'a TagLexicon,
    /// The category of an item's core words.
    pub category_of_core: &'a (dyn Fn(&str) -> Option<CategoryId> + Sync),
}

/// How directly the evidence speaks for a product; the nearest comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Closeness {
    /// The same core word.
    SameCore,
    /// The category of a piece of evidence, or one below it.
    SameCategory,
    /// A category beside one of the evidence.
    Neighbour,
}

/// The evidence of one interest.
pub(crate) struct Scope {
    /// Its texts, newest first.
    pub texts: Vec<String>,
    /// Modifiers of the texts.
    pub modifiers: BTreeSet<String>,
    cores: HashSet<String>,
    categories: Vec<CategoryId>,
    areas: Vec<CategoryId>,
}

impl Scope {
    /// Reads the texts that the interest quotes, or all items of the lines that hold its events where it
    /// quotes none of the digest's.
    pub(crate) fn new(interest: &Interest, digest: &Digest, ground: &Ground<'_>) -> Self {
        let texts = evidence_texts(interest, digest);
        let split = texts.iter().filter_map(|text| split_tag(text, &ground.lexicon.cores));
        let (modifiers, cores): (Vec<Vec<String>>, Vec<String>) = split.unzip();
        let categories: BTreeSet<CategoryId> =
            texts.iter().filter_map(|text| (ground.category_of_core)(text)).collect();
        let categories: Vec<CategoryId> = categories.into_iter().collect();
        Self {
            modifiers: modifiers.into_iter().flatten().collect(),
            cores: cores.iter().map(|core| stem_key(core)).collect(),
            areas: areas(&categories, ground.taxonomy),
            categories,
            texts,
        }
    }

    /// How directly the evidence speaks for a product; `None` where it does not.
    pub(crate) fn closeness(
        &self,
        core: &str,
        category: Option<CategoryId>,
        taxonomy: &Taxonomy,
    ) -> Option<Closeness> {
        if self.cores.contains(&stem_key(core)) {
            return Some(Closeness::SameCore);
        }
        let category = category?;
        let below = |&root: &CategoryId| {
            // A whole department is too wide to be a kind of product.
            root == category
                || parent(root, taxonomy).is_some() && taxonomy.is_within(category, root)
        };
        if self.categories.iter().any(below) {
            return Some(Closeness::SameCategory);
        }
        let near = self.areas.iter().any(|&area| taxonomy.is_within(category, area));
        near.then_some(Closeness::Neighbour)
    }
}

/// Texts of the digest that support the interest, in the digest's order, none twice.
pub(crate) fn evidence_texts(interest: &Interest, digest: &Digest) -> Vec<String> {
    let index = QuoteIndex::new(digest);
    let mut quoted: Vec<(usize, String)> = terse::quotes(&interest.reason)
        .into_iter()
        .filter_map(|quote| Some((*index.lines(quote).first()?, plain(quote))))
        .collect();
    quoted.sort_by_key(|(line, _)| *line); // stable
    let mut texts: Vec<String> = quoted.into_iter().map(|(_, text)| text).collect();
    if texts.is_empty() {
        let held = |ids: &[String]| ids.iter().any(|id| interest.evidence.contains(id));
        let lines = digest.lines.iter().filter(|line| held(&line.evidence));
        texts = lines.flat_map(|line| line.items.iter().map(|item| plain(item))).collect();
    }
    let mut seen = HashSet::new();
    texts.retain(|text| !text.is_empty() && seen.insert(stem_key(text)));
    texts
}

/// Nodes whose whole subtrees are close: the node above each category, unless that is a department, and
/// the lowest node above each two categories, be it a department.
fn areas(categories: &[CategoryId], taxonomy: &Taxonomy) -> Vec<CategoryId> {
    let mut areas: BTreeSet<CategoryId> = BTreeSet::new();
    for (row, &a) in categories.iter().enumerate() {
        areas.extend(parent(a, taxonomy).filter(|&above| parent(above, taxonomy).is_some()));
        for &b in &categories[row + 1..] {
            let mut node = Some(a);
            while let Some(at) = node.filter(|&at| !taxonomy.is_within(b, at)) {
                node = parent(at, taxonomy);
            }
            // One of the two being the department itself says nothing new.
            areas.extend(node.filter(|&at| at != a && at != b));
        }
    }
    areas.into_iter().collect()
}

fn parent(node: CategoryId, taxonomy: &Taxonomy) -> Option<CategoryId> {
    taxonomy.categories()[node.idx()].parent
}

#[cfg(test)]
mod tests {
    use types::{CategoryId, Taxonomy};

    use super::areas;

    #[test]
    fn areas_lie_above_the_evidence_but_a_department_needs_two_pieces() {
        let taxonomy = Taxonomy::from_paths([
            "Sports > Hiking > Boots",
            "Sports > Hiking > Poles",
            "Sports > Balls",
            "Home > Mugs",
        ]);
        let check = |categories: &[&str], want: &[&str]| {
            let ids: Vec<CategoryId> =
                categories.iter().map(|path| taxonomy.find(path).expect("a path")).collect();
            let got: Vec<&str> =
                areas(&ids, &taxonomy).into_iter().map(|area| taxonomy.path(area)).collect();
            assert_eq!(got, want, "{categories:?}");
        };
        check(&["Sports > Hiking > Boots"], &["Sports > Hiking"]);
        check(&["Sports > Balls"], &[]);
        check(&["Sports > Balls", "Home > Mugs"], &[]);
        check(&["Sports > Balls", "Sports > Hiking > Poles"], &["Sports", "Sports > Hiking"]);
        check(&["Sports", "Sports > Balls"], &[]);
    }
}
