//! What is known of earlier prompts and answers: a radix tree over tokens whose edges hold pages of keys
//! and values (Zheng et al. 2024, RadixAttention).
//!
//! Reuse is by equal tokens only and changes no result: the kernels give the same keys and values
//! whatever goes beside them. The part used longest ago goes first.

use std::collections::BTreeMap;

/// A tree of token sequences; `P` is a shared page of `page` tokens.
#[derive(Debug)]
pub(super) struct PrefixTree<P> {
    root: Node<P>,
    page: usize,
    clock: u64,
}

#[derive(Debug)]
struct Node<P> {
    /// Tokens of the edge to this node.
    tokens: Vec<u32>,
    /// Tokens before the edge.
    start: usize,
    /// The pages that hold the edge's tokens; the first may begin with tokens of the nodes above.
    pages: Vec<P>,
    /// By the first token of their edges.
    children: BTreeMap<u32, Node<P>>,
    used: u64,
}

impl<P: Clone> PrefixTree<P> {
    /// An empty tree of pages of `page` tokens.
    pub(super) fn new(page: usize) -> Self {
        Self { root: Node::new(Vec::new(), 0, Vec::new()), page, clock: 0 }
    }

    /// The pages of the longest known beginning, and how many of the tokens that is.
    pub(super) fn find(&mut self, tokens: &[u32]) -> (Vec<P>, usize) {
        self.clock += 1;
        let (mut pages, mut known) = (Vec::new(), 0);
        let mut node = &mut self.root;
        while let Some(child) = tokens.get(known).and_then(|next| node.children.get_mut(next)) {
            let shared = common_prefix(&child.tokens, &tokens[known..]);
            child.used = self.clock;
            let first = child.start / self.page;
            // A page that begins above holds what is known of it up to here.
            pages.truncate(first);
            known += shared;
            pages.extend_from_slice(&child.pages[..known.div_ceil(self.page) - first]);
            if shared < child.tokens.len() {
                break;
            }
            node = child;
        }
        (pages, known)
    }

    /// Keeps a sequence whose tokens lie in `pages`; what is known of it already stays as it is.
    pub(super) fn insert(&mut self, tokens: &[u32], pages: &[P]) {
        self.clock += 1;
        let (page, clock) = (self.page, self.clock);
        let (mut node, mut at) = (&mut self.root, 0);
        while at < tokens.len() {
            let leaf = || {
                let pages = pages[at / page..tokens.len().div_ceil(page)].to_vec();
                Node { used: clock, ..Node::new(tokens[at..].to_vec(), at, pages) }
            };
            let child = node.children.entry(tokens[at]).or_insert_with(leaf);
            child.used = clock;
            let shared = common_prefix(&child.tokens, &tokens[at..]);
            at += shared;
            if shared < child.tokens.len() && at < tokens.len() {
                child.split(shared, page);
            }
            node = child;
        }
    }

    /// Forgets the end of the sequence used longest ago; false if nothing is left.
    pub(super) fn evict(&mut self) -> bool {
        let mut path = Vec::new();
        let mut best = (u64::MAX, Vec::new());
        self.root.oldest_leaf(&mut path, &mut best);
        let Some((last, above)) = best.1.split_last() else { return false };
        let mut node = &mut self.root;
        for next in above {
            let child = node.children.get_mut(next);
            node = child.expect("the path was found in this tree");
        }
        node.children.remove(last).is_some()
    }
}

impl<P: Clone> Node<P> {
    fn new(tokens: Vec<u32>, start: usize, pages: Vec<P>) -> Self {
        Self { tokens, start, pages, children: BTreeMap::new(), used: 0 }
    }

    /// Cuts the edge after `n` tokens; what followed becomes a child.
    fn split(&mut self, n: usize, page: usize) {
        let (first, cut) = (self.start / page, self.start + n);
        let mut below =
            Self::new(self.tokens.split_off(n), cut, self.pages[cut / page - first..].to_vec());
        self.pages.truncate(cut.div_ceil(page) - first);
        below.children = std::mem::take(&mut self.children);
        below.used = self.used;
        self.children.insert(below.tokens[0], below);
    }

    fn oldest_leaf(&self, path: &mut Vec<u32>, best: &mut (u64, Vec<u32>)) {
        for (&next, child) in &self.children {
            path.push(next);
            if child.children.is_empty() && child.used < best.0 {
                *best = (child.used, path.clone());
            }
            child.oldest_leaf(path, best);
            path.pop();
        }
    }
}

/// Length of the common beginning.
fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::PrefixTree;

    /// A page that tells which tokens it holds.
    type Page = Arc<Vec<u32>>;

    const PAGE: usize = 4;

    fn pages(tokens: &[u32]) -> Vec<Page> {
        tokens.chunks(PAGE).map(|page| Arc::new(page.to_vec())).collect()
    }

    fn insert(tree: &mut PrefixTree<Page>, tokens: &[u32]) {
        tree.insert(tokens, &pages(tokens));
    }

    /// How much of the tokens is known; the pages found must hold it.
    fn known(tree: &mut PrefixTree<Page>, tokens: &[u32]) -> usize {
        let (pages, known) = tree.find(tokens);
        assert_eq!(pages.len(), known.div_ceil(PAGE));
        for (page, want) in pages.iter().zip(tokens[..known].chunks(PAGE)) {
            assert!(page.starts_with(want), "{page:?} holds {want:?}");
        }
        known
    }

    #[test]
    fn the_longest_known_beginning_is_found() {
        let mut tree = PrefixTree::new(PAGE);
        insert(&mut tree, &[1, 2, 3, 4, 5, 6, 7]);
        insert(&mut tree, &[1, 2, 3, 4, 5, 9, 9, 9, 9]);
        insert(&mut tree, &[2, 2]);
        let mut check = |tokens: &[u32], want| assert_eq!(known(&mut tree, tokens), want);
        check(&[], 0);
        check(&[3], 0);
        check(&[1, 2, 9], 2);
        check(&[1, 2, 3, 4, 5, 6, 7, 8], 7);
        check(&[1, 2, 3, 4, 5, 9, 9], 7);
        check(&[1, 2, 3, 4, 5, 8], 5);
        check(&[2, 2, 2], 2);
    }

    #[test]
    fn the_end_used_longest_ago_goes_first() {
        let mut tree = PrefixTree::new(PAGE);
        insert(&mut tree, &[1, 2, 3, 4, 5]);
        insert(&mut tree, &[1, 2, 3, 4, 6]);
        insert(&mut tree, &[7, 7]);
        assert_eq!(known(&mut tree, &[1, 2, 3, 4, 5]), 5);
        assert!(tree.evict());
        assert_eq!(known(&mut tree, &[1, 2, 3, 4, 6]), 4, "the other branch and the stem stay");
        assert_eq!(known(&mut tree, &[7, 7]), 2);
        let mut left = 0;
        while tree.evict() {
            left += 1;
        }
        assert_eq!((left, known(&mut tree, &[1, 2, 3])), (3, 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]
        /// Against a list of all sequences.
        #[test]
        fn finds_what_a_list_would_find(
            sequences in prop::collection::vec(prop::collection::vec(0u32..3, 1..20), 1..12)
        ) {
            let mut tree = PrefixTree::new(PAGE);
            for (n, tokens) in sequences.iter().enumerate() {
                let shared = |other: &Vec<u32>| super::common_prefix(other, tokens);
                let want = sequences[..n].iter().map(shared).max().unwrap_or(0);
                prop_assert_eq!(known(&mut tree, tokens), want);
                insert(&mut tree, tokens);
                prop_assert_eq!(known(&mut tree, tokens), tokens.len());
            }
        }
    }
}
