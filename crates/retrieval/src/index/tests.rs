//! The index against brute force: filters, ties, inserts, deletes, drift, files.

use std::collections::BTreeSet;

use proptest::prelude::*;
use types::ItemId;

use super::rescore::dot;
use super::{ExactIndex, IndexKind, ItemIndex, recall_of};
use crate::chance::Chance;

/// Every score by hand, sorted.
fn brute_force(
    vectors: &[f32],
    query: &[f32],
    k: usize,
    keep: impl Fn(ItemId) -> bool,
) -> Vec<ItemId> {
    let dim = query.len();
    let mut all: Vec<(f32, ItemId)> = vectors
        .chunks(dim)
        .enumerate()
        .map(|(idx, v)| {
            (v.iter().zip(query).map(|(a, b)| a * b).sum::<f32>() + 0.0, ItemId::from_idx(idx))
        })
        .filter(|&(_, item)| keep(item))
        .collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    all.into_iter().take(k).map(|(_, item)| item).collect()
}

fn ids(found: &[(ItemId, f32)]) -> Vec<ItemId> {
    found.iter().map(|&(item, _)| item).collect()
}

fn floats(x: &[i8]) -> Vec<f32> {
    x.iter().map(|&x| f32::from(x)).collect()
}

/// `n` unit vectors around `clusters` centres, from cluster `first` on; neighbours overlap.
fn clustered(n: usize, dim: usize, clusters: (usize, usize), seed: u64) -> Vec<f32> {
    around(n, dim, clusters, (0.8, seed))
}

/// [`clustered`] with another share of noise.
fn around(
    n: usize,
    dim: usize,
    (first, clusters): (usize, usize),
    (noise, seed): (f32, u64),
) -> Vec<f32> {
    let mut chance = Chance::new(seed, 0xc1, 0);
    let mut vectors = Vec::with_capacity(n * dim);
    for _ in 0..n {
        let mut centre = Chance::new(5, 0xce, (first + chance.below(clusters)) as u64);
        let mut vector: Vec<f32> =
            (0..dim).map(|_| centre.normal() + noise * chance.normal()).collect();
        nn::l2_normalise(&mut vector, dim);
        vectors.extend(vector);
    }
    vectors
}

proptest! {
    // small integers, so that sums are exact and ties are many
    #[test]
    fn every_kind_equals_brute_force_under_filters_and_deletes(
        vectors in prop::collection::vec(-3i8..4, 0..400),
        queries in prop::collection::vec(-3i8..4, 12),
        k in 0usize..12,
        modulus in 1u32..4,
        removed in prop::collection::vec(0u32..100, 0..5),
        n_lists in 1usize..6,
    ) {
        let dim = 4;
        let (vectors, queries) = (floats(&vectors[..vectors.len() / dim * dim]), floats(&queries));
        for kind in [IndexKind::Exact, IndexKind::Lists(n_lists)] {
            // with an effort beyond every spread all lists are looked into
            let mut index = ItemIndex::build(vectors.clone(), dim, kind).unwrap();
            index.set_effort(1e6);
            removed.iter().for_each(|&item| { index.remove(ItemId(item)); });
            let keep = |item: ItemId| item.0.is_multiple_of(modulus);
            let allowed = |item: ItemId| keep(item) && !removed.contains(&item.0);
            let many = index.search_many(&queries, k, &|_, item| keep(item));
            for (query, many) in queries.chunks(dim).zip(&many) {
                let want = brute_force(&vectors, query, k, allowed);
                let one = index.search(query, k, &keep);
                if kind == IndexKind::Exact {
                    prop_assert_eq!(ids(&one), want, "{:?}", kind);
                } else {
                    // a list of equal items is left out where what they score is reached already
                    let score = |item: &ItemId| dot(query, &vectors[item.idx() * dim..][..dim]);
                    let want: Vec<f32> = want.iter().map(score).collect();
                    let got: Vec<f32> = one.iter().map(|(item, _)| score(item)).collect();
                    prop_assert_eq!(got, want, "{:?}", kind);
                    let distinct: BTreeSet<ItemId> = one.iter().map(|found| found.0).collect();
                    prop_assert!(distinct.len() == one.len() && distinct.into_iter().all(allowed));
                }
                prop_assert_eq!(&one, many, "{:?}: alone and with others", kind);
            }
        }
    }

    // any numbers: eight bits and blocks only decide what is scored again
    #[test]
    fn the_scan_gives_what_scoring_one_by_one_gives(
        n in 1usize..700, seed in any::<u64>(), k in 1usize..40, dim in 1usize..40,
    ) {
        let mut chance = Chance::new(seed, 0, 0);
        let mut numbers = |n: usize| -> Vec<f32> {
            (0..n).map(|_| chance.normal() * 3.0f32.powi(chance.below(9) as i32 - 4)).collect()
        };
        let (vectors, queries) = (numbers(n * dim), numbers(3 * dim));
        let index = ExactIndex::new(vectors.clone(), dim).unwrap();
        let many = index.search_many_by(true, &queries, k, &|_, _| true);
        prop_assert_eq!(&many, &index.search_many_by(false, &queries, k, &|_, _| true));
        for (query, many) in queries.chunks(dim).zip(many) {
            let mut want: Vec<(ItemId, f32)> = (0..n)
                .map(|row| (ItemId::from_idx(row), dot(query, &vectors[row * dim..][..dim]) + 0.0))
                .collect();
            want.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            want.truncate(k);
            prop_assert_eq!(&index.search(query, k, &|_| true), &want);
            prop_assert_eq!(&many, &want);
        }
    }
}

/// Recall at 50 of `index` against its scan.
fn recall(
    index: &ItemIndex,
    queries: &[f32],
    keep: &(dyn Fn(usize, ItemId) -> bool + Sync),
) -> f32 {
    recall_of(&index.search_many(queries, 50, keep), &index.exact().search_many(queries, 50, keep))
}

#[test]
fn lists_keep_their_recall_under_inserts_deletes_drift_and_filters() {
    let dim = 32;
    let mut index =
        ItemIndex::build(clustered(6_000, dim, (0, 60), 1), dim, IndexKind::Lists(80)).unwrap();
    let queries = clustered(100, dim, (0, 60), 2);
    let tuned = index.tune(&queries, 50, 0.95);
    assert!(tuned >= 0.95, "{tuned}");
    let check = |what: &str, index: &ItemIndex, queries: &[f32], least: f32| {
        let got = recall(index, queries, &|_, _| true);
        assert!(got >= least, "{what}: {got}");
    };
    let fresh = clustered(100, dim, (0, 60), 3);
    check("queries not tuned for", &index, &fresh, 0.93);
    for vector in clustered(2_000, dim, (0, 60), 4).chunks(dim) {
        index.insert(vector).unwrap();
    }
    check("after inserts", &index, &fresh, 0.93);
    (0..8_000).step_by(3).for_each(|item| assert!(index.remove(ItemId(item))));
    check("after deletes", &index, &fresh, 0.93);
    let found = index.search_many(&fresh, 50, &|_, _| true);
    assert!(found.iter().flatten().all(|(item, _)| item.0 % 3 != 0), "a deleted item came back");
    // drift: new items in clusters of their own that no centroid knows, and queries for them
    for vector in around(4_000, dim, (60, 6), (0.3, 6)).chunks(dim) {
        index.insert(vector).unwrap();
    }
    assert!(index.n_lists() > 80, "new items get lists of their own");
    let drifted = around(100, dim, (60, 6), (0.3, 7));
    check("new clusters", &index, &drifted, 0.93);
    check("old clusters beside them", &index, &fresh, 0.93);
    for modulus in [2, 20, 400] {
        let keep = |_: usize, item: ItemId| item.0 % modulus == 1;
        let got = recall(&index, &fresh, &keep);
        assert!(got >= 0.93, "one item in {modulus} passes: {got}");
        let many = index.search_many(&fresh, 50, &keep);
        let passing = (0..12_000).filter(|&i| keep(0, ItemId(i)) && index.exact().holds(ItemId(i)));
        let want = passing.count().min(50);
        assert!(many.iter().all(|found| found.len() == want), "{modulus}: {want} pass");
    }
}

#[test]
fn changed_and_returned_items_are_found_where_they_are_now() {
    for kind in [IndexKind::Exact, IndexKind::Lists(2)] {
        let vectors = vec![1.0, 0.0, 0.0, 1.0, -1.0, 0.0];
        let mut index = ItemIndex::build(vectors, 2, kind).unwrap();
        let check = |index: &ItemIndex, want: &[u32]| {
            let found = index.search(&[0.9, 0.1], 9, &|_| true);
            assert_eq!(found.iter().map(|f| f.0.0).collect::<Vec<_>>(), want, "{kind:?}");
        };
        check(&index, &[0, 1, 2]);
        index.replace(ItemId(2), &[3.0, 0.0]).unwrap();
        check(&index, &[2, 0, 1]);
        assert!(index.remove(ItemId(2)) && !index.remove(ItemId(2)));
        check(&index, &[0, 1]);
        index.replace(ItemId(2), &[0.5, 0.0]).unwrap();
        assert_eq!(index.insert(&[2.0, 2.0]).unwrap(), ItemId(3));
        check(&index, &[3, 0, 2, 1]);
        let refused = index.replace(ItemId(9), &[0.5, 0.0]).unwrap_err().to_string();
        assert_eq!(refused, "items up to the one that changes: expected 4 numbers, got 10");
        assert!(index.replace(ItemId(0), &[f32::NAN, 0.0]).is_err());
        check(&index, &[3, 0, 2, 1]);
    }
}

#[test]
fn equal_vectors_settle_in_lists_too() {
    let mut index = ItemIndex::build(vec![1.0; 8], 2, IndexKind::Lists(1)).unwrap();
    (0..3_000).for_each(|_| {
        index.insert(&[1.0, 1.0]).unwrap();
    });
    assert_eq!(index.search(&[1.0, 0.0], 3, &|_| true).len(), 3);
}

#[test]
fn what_is_saved_comes_back() {
    for kind in [IndexKind::Exact, IndexKind::Lists(7)] {
        let mut index = ItemIndex::build(clustered(300, 8, (0, 5), 1), 8, kind).unwrap();
        index.remove(ItemId(5));
        index.insert(&[1.0; 8]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        index.save(dir.path()).unwrap();
        let loaded = ItemIndex::load(dir.path()).unwrap();
        let query = &clustered(1, 8, (0, 5), 9);
        assert_eq!(loaded.search(query, 20, &|_| true), index.search(query, 20, &|_| true));
        assert_eq!((loaded.n_lists(), loaded.len()), (index.n_lists(), 301));
        assert_eq!(&ExactIndex::load(dir.path()).unwrap(), index.exact());
    }
}

#[test]
fn wrong_shapes_numbers_and_damaged_files_are_refused() {
    let shape = ExactIndex::new(vec![1.0; 5], 2).unwrap_err().to_string();
    assert_eq!(shape, "index vectors: expected 4 numbers, got 5");
    let number = ExactIndex::new(vec![1.0, 2.0, f32::INFINITY, 1.0], 2).unwrap_err().to_string();
    assert_eq!(number, "index vector: row 1, column 0 is no finite number");
    let dir = tempfile::tempdir().unwrap();
    assert!(ExactIndex::load(dir.path()).unwrap_err().to_string().contains("vectors"));
    let index = ItemIndex::build(vec![1.0; 64], 2, IndexKind::Lists(2)).unwrap();
    index.save(dir.path()).unwrap();
    let path = dir.path().join("vectors.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let check = |bytes: &[u8], expect: &str| {
        std::fs::write(&path, bytes).unwrap();
        let message = ItemIndex::load(dir.path()).unwrap_err().to_string();
        assert!(message.contains("vectors.safetensors") && message.contains(expect), "{message}");
        assert!(message.ends_with("build the index again with `recgpt index`"), "{message}");
    };
    check(&bytes[..bytes.len() - 9], "is damaged");
    check(b"", "is damaged");
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    check(&flipped, "checksum");
    let stated = b"\"version\":\"2";
    let at = bytes.windows(stated.len()).position(|part| part == stated).unwrap();
    let mut older = bytes;
    older[at + stated.len() - 1] = b'1';
    check(&older, "is recgpt.index version 1, expected recgpt.index version 2");
}
