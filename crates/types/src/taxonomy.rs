//! The tree of categories, with subtree tests in constant time (Euler tour).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::CategoryId;

/// One node of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Category {
    /// Name of this node alone.
    pub name: String,
    /// The node above; none for a department.
    pub parent: Option<CategoryId>,
}

/// What is wrong with a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaxonomyError {
    /// A parent does not come before its child.
    #[error("category {child} ({name:?}) names parent {parent}, which does not come before it")]
    ParentAfterChild {
        /// Row of the child.
        child: usize,
        /// Name of the child.
        name: String,
        /// Row of the parent.
        parent: usize,
    },
    /// Two children of one node carry the same name.
    #[error("category path {0:?} occurs twice")]
    DuplicatePath(String),
}

/// A forest of departments; a [`CategoryId`] is a row of it, parents before children.
#[derive(Debug, Clone, Default)]
pub struct Taxonomy {
    categories: Vec<Category>,
    paths: Vec<String>,
    interval: Vec<(u32, u32)>, // pre-order number, last number of the subtree
    has_child: Vec<bool>,
    by_path: HashMap<String, CategoryId>,
}

impl Taxonomy {
    /// Separates the names of a path.
    pub const SEPARATOR: &'static str = " > ";

    /// Builds the tree; rows keep their numbers.
    ///
    /// # Errors
    /// [`TaxonomyError`] when a parent comes after its child, or a path occurs twice.
    pub fn new(categories: Vec<Category>) -> Result<Self, TaxonomyError> {
        let mut paths: Vec<String> = Vec::with_capacity(categories.len());
        let mut by_path = HashMap::with_capacity(categories.len());
        let mut has_child = vec![false; categories.len()];
        for (idx, category) in categories.iter().enumerate() {
            let path = match category.parent {
                None => category.name.clone(),
                Some(parent) if parent.idx() < idx => {
                    has_child[parent.idx()] = true;
                    format!("{}{}{}", paths[parent.idx()], Self::SEPARATOR, category.name)
                }
                Some(parent) => {
                    return Err(TaxonomyError::ParentAfterChild {
                        child: idx,
                        name: category.name.clone(),
                        parent: parent.idx(),
                    });
                }
            };
            if by_path.insert(path.clone(), CategoryId::from_idx(idx)).is_some() {
                return Err(TaxonomyError::DuplicatePath(path));
            }
            paths.push(path);
        }
        let interval = euler_tour(&categories);
        Ok(Self { categories, paths, interval, has_child, by_path })
    }

    /// Builds the tree of all paths and their prefixes, in sorted order.
    #[must_use]
    pub fn from_paths<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all = std::collections::BTreeSet::new();
        for path in paths {
            let names: Vec<&str> = split_path(path);
            for depth in 1..=names.len() {
                all.insert(names[..depth].iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
            }
        }
        let row: HashMap<&[String], usize> =
            all.iter().enumerate().map(|(idx, names)| (names.as_slice(), idx)).collect();
        let categories = all
            .iter()
            .map(|names| Category {
                name: names[names.len() - 1].clone(),
                parent: row.get(&names[..names.len() - 1]).map(|&idx| CategoryId::from_idx(idx)),
            })
            .collect();
        Self::new(categories).expect("a sorted set of prefixes has parents first and no path twice")
    }

    /// The tree with the nodes of `path` that it lacks behind its own, which keep their numbers; and
    /// the node of the path, none for an empty one.
    #[must_use]
    pub fn with_path(&self, path: &str) -> (Self, Option<CategoryId>) {
        let mut categories = self.categories.clone();
        let (mut node, mut prefix) = (None, String::new());
        for name in split_path(path) {
            if node.is_some() {
                prefix.push_str(Self::SEPARATOR);
            }
            prefix.push_str(name);
            node = Some(self.by_path.get(&prefix).copied().unwrap_or_else(|| {
                categories.push(Category { name: name.to_owned(), parent: node });
                CategoryId::from_idx(categories.len() - 1)
            }));
        }
        let tree = Self::new(categories).expect("new nodes come after their parents, none twice");
        (tree, node)
    }

    /// The node and all below it.
    pub fn subtree(&self, root: CategoryId) -> impl Iterator<Item = CategoryId> + '_ {
        (0..self.len()).map(CategoryId::from_idx).filter(move |&node| self.is_within(node, root))
    }

    /// All nodes, by [`CategoryId`].
    #[must_use]
    pub fn categories(&self) -> &[Category] {
        &self.categories
    }

    /// Number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.categories.len()
    }

    /// Whether there is no node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.categories.is_empty()
    }

    /// Name of one node.
    #[must_use]
    pub fn name(&self, id: CategoryId) -> &str {
        &self.categories[id.idx()].name
    }

    /// The whole path of one node, `"Sports > Hiking > Boots"`.
    #[must_use]
    pub fn path(&self, id: CategoryId) -> &str {
        &self.paths[id.idx()]
    }

    /// The node of a path; spaces around the separator do not matter.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<CategoryId> {
        self.by_path
            .get(path)
            .or_else(|| self.by_path.get(&split_path(path).join(Self::SEPARATOR)))
            .copied()
    }

    /// Whether `node` lies in the subtree of `root` (a node lies in its own).
    #[must_use]
    pub fn is_within(&self, node: CategoryId, root: CategoryId) -> bool {
        let (first, last) = self.interval[root.idx()];
        (first..=last).contains(&self.interval[node.idx()].0)
    }

    /// Nodes without children.
    pub fn leaves(&self) -> impl Iterator<Item = CategoryId> + '_ {
        (0..self.len()).filter(|&idx| !self.has_child[idx]).map(CategoryId::from_idx)
    }

    /// The department (root) above a node.
    #[must_use]
    pub fn department(&self, id: CategoryId) -> CategoryId {
        let mut node = id;
        while let Some(parent) = self.categories[node.idx()].parent {
            node = parent;
        }
        node
    }
}

fn split_path(path: &str) -> Vec<&str> {
    path.split('>').map(str::trim).filter(|n| !n.is_empty()).collect()
}

fn euler_tour(categories: &[Category]) -> Vec<(u32, u32)> {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); categories.len()];
    for (idx, category) in categories.iter().enumerate() {
        if let Some(parent) = category.parent {
            children[parent.idx()].push(idx);
        }
    }
    let mut interval = vec![(0, 0); categories.len()];
    let mut next = 0;
    for root in (0..categories.len()).filter(|&idx| categories[idx].parent.is_none()) {
        let mut stack = vec![(root, false)];
        while let Some((idx, done)) = stack.pop() {
            if done {
                interval[idx].1 = next - 1;
                continue;
            }
            interval[idx].0 = next;
            next += 1;
            stack.push((idx, true));
            stack.extend(children[idx].iter().rev().map(|&child| (child, false)));
        }
    }
    interval
}

#[cfg(test)]
mod tests {
    use super::{Category, Taxonomy, TaxonomyError};
    use crate::CategoryId;

    #[test]
    fn paths_build_a_tree_with_subtree_tests() {
        let t = Taxonomy::from_paths(["Sports > Hiking > Boots", "Home>Kitchen", "Sports > Run"]);
        let find = |p: &str| t.find(p).expect(p);
        assert_eq!(t.len(), 6);
        assert!(t.is_within(find("Sports>Hiking > Boots"), find("Sports")));
        assert!(t.is_within(find("Sports"), find("Sports")));
        assert!(!t.is_within(find("Home > Kitchen"), find("Sports")));
        assert!(!t.is_within(find("Sports > Run"), find("Sports > Hiking")));
        assert_eq!(t.department(find("Sports > Hiking > Boots")), find("Sports"));
        let leaves: Vec<&str> = t.leaves().map(|c| t.path(c)).collect();
        assert_eq!(leaves, ["Home > Kitchen", "Sports > Hiking > Boots", "Sports > Run"]);
    }

    #[test]
    fn a_new_path_goes_behind_the_nodes_that_are_there() {
        let t = Taxonomy::from_paths(["Sports > Hiking > Boots", "Home > Kitchen"]);
        let (more, node) = t.with_path("Sports>Hiking > Poles > Carbon");
        let node = node.expect("a path");
        assert_eq!(
            (more.path(node), more.len()),
            ("Sports > Hiking > Poles > Carbon", t.len() + 2)
        );
        assert_eq!(more.categories()[..t.len()], *t.categories());
        let hiking = more.find("Sports > Hiking").expect("old");
        let below: Vec<&str> = more.subtree(hiking).map(|c| more.name(c)).collect();
        assert_eq!(below, ["Hiking", "Boots", "Poles", "Carbon"]);
        let (same, known) = t.with_path("Home > Kitchen");
        assert_eq!((same.len(), known), (t.len(), t.find("Home > Kitchen")));
        assert_eq!(t.with_path(" > ").1, None);
    }

    #[test]
    fn bad_trees_are_refused() {
        let node = |name: &str, parent| Category {
            name: name.to_owned(),
            parent: Option::map(parent, CategoryId),
        };
        let late = Taxonomy::new(vec![node("a", Some(1)), node("b", None)]);
        assert!(matches!(late, Err(TaxonomyError::ParentAfterChild { child: 0, .. })));
        let twice = Taxonomy::new(vec![node("a", None), node("a", None)]);
        assert_eq!(twice.err(), Some(TaxonomyError::DuplicatePath("a".to_owned())));
    }
}
