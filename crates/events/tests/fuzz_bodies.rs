//! The bodies of the fuzz targets on their corpus, on changes of it, and on any bytes.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::path::Path;

use proptest::prelude::*;

#[path = "../../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "a library of its own beside the fuzz targets")]
mod bodies;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// A file of the corpus with some bytes changed, and cut short.
fn changed(target: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let files = corpus(target);
    assert!(!files.is_empty(), "{target} has no corpus");
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (prop::sample::select(files), changes, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(mut bytes, changes, end, cut)| {
            for (at, byte) in changes {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            if cut {
                bytes.truncate(end.index(bytes.len() + 1));
            }
            bytes
        },
    )
}

fn check(target: &str, body: fn(&[u8]), cases: u32) {
    for file in corpus(target) {
        body(&file);
    }
    let any_bytes = prop::collection::vec(any::<u8>(), 0..200);
    let default = ProptestConfig::default(); // `PROPTEST_CASES` asks for more
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: cases.max(default.cases),
        failure_persistence: None,
        ..default
    });
    let either = prop_oneof![3 => changed(target), 1 => any_bytes];
    runner
        .run(&either, |bytes| {
            body(&bytes);
            Ok(())
        })
        .unwrap();
}

#[test]
fn csv() {
    check("csv", bodies::csv, 400);
}

#[test]
fn jsonl() {
    check("jsonl", bodies::jsonl, 400);
}

#[test]
fn time() {
    check("time", bodies::time, 1000);
}

#[test]
fn store() {
    check("store", bodies::store, 150);
}

#[test]
fn parquet() {
    check("parquet", bodies::parquet, 150);
}

#[test]
fn sequences() {
    check("sequences", bodies::sequences, 300);
}
