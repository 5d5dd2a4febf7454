//! The store keeps its promises, and fails loudly where a foreign writer broke them.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use types::{Catalogue, Event, EventType, Item, ItemId, Timestamp};

use super::{EventStore, StoreWriter, UserHistory, bucket_dir, rows};
use crate::EventsError;
use crate::tables::columns::ParquetFile;

fn event(user: &str, id: &str, time: i64) -> Event {
    let mut e = Event::new(id, EventType::Click, user, Timestamp(time));
    e.item_id = Some(format!("item-{id}"));
    e
}

fn write(dir: &Path, n_buckets: u32, events: &[Event]) -> super::Manifest {
    let mut writer = StoreWriter::create(dir, n_buckets).unwrap();
    for e in events {
        writer.push(e).unwrap();
    }
    writer.finish(false).unwrap().0
}

fn histories(store: &EventStore) -> Vec<UserHistory> {
    store.fold_all(Ok::<_, EventsError>).unwrap()
}

#[test]
fn users_come_whole_and_sorted_and_repeats_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("events");
    let events =
        [event("b", "2", 20), event("a", "1", 5), event("b", "1", 10), event("b", "2", 30)];
    let manifest = write(&dir, 4, &events);
    assert_eq!((manifest.rows, manifest.users), (3, 2));
    assert_eq!((manifest.first, manifest.last), (Some(Timestamp(5)), Some(Timestamp(20))));
    let store = EventStore::open(&dir).unwrap();
    assert_eq!(store.manifest(), &manifest);
    assert_eq!(store.user_ids().unwrap(), ["a", "b"]);
    let b = store.history("b").unwrap().unwrap();
    assert_eq!(b.events, [event("b", "1", 10), event("b", "2", 20)]);
    assert_eq!(store.history("nobody").unwrap(), None);

    let item = |id: &str| Item { item_id: id.to_owned(), ..Item::default() };
    let catalogue = Catalogue::new(vec![item("item-2"), item("item-1")]).unwrap();
    let rows =
        store.interactions(&catalogue, &["a".to_owned(), "b".to_owned()], Timestamp(20)).unwrap();
    let got: Vec<_> = rows.iter().map(|i| (i.user.0, i.timestamp.0, i.item)).collect();
    assert_eq!(got, [(0, 5, ItemId(1)), (1, 10, ItemId(1))]);
}

#[test]
fn the_content_hash_knows_content_not_input_order() {
    let dir = tempfile::tempdir().unwrap();
    let one = write(&dir.path().join("a"), 3, &[event("u", "1", 1), event("v", "2", 2)]);
    let two = write(&dir.path().join("b"), 3, &[event("v", "2", 2), event("u", "1", 1)]);
    let three = write(&dir.path().join("c"), 3, &[event("v", "2", 3), event("u", "1", 1)]);
    assert_eq!(one, two);
    assert_ne!(one.content_hash, three.content_hash);
}

#[test]
fn a_stopped_import_leaves_the_old_store_and_can_run_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("events");
    write(&store, 2, &[event("old", "1", 1)]);
    let mut stopped = StoreWriter::create(&store, 2).unwrap();
    stopped.push(&event("new", "1", 1)).unwrap();
    drop(stopped); // the process dies here
    assert_eq!(EventStore::open(&store).unwrap().user_ids().unwrap(), ["old"]);
    // dies between the two renames: the old store stands aside, none in place
    fs::rename(&store, dir.path().join(".events.old")).unwrap();
    assert_eq!(EventStore::open(&store).unwrap().user_ids().unwrap(), ["old"]);
    write(&store, 2, &[event("new", "1", 1)]);
    assert_eq!(EventStore::open(&store).unwrap().user_ids().unwrap(), ["new"]);
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["events"]);
}

#[test]
fn a_foreign_writer_that_breaks_the_order_is_caught() {
    let check = |events: &[Event], bucket: u32, row: u64, word: &str| {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("events");
        write(&dir, 2, &[]);
        let part = bucket_dir(&dir, bucket).join("part-0.parquet");
        let mut file = ParquetFile::create(&part, rows::batch_of(&[]).schema()).unwrap();
        file.write(&rows::batch_of(events)).unwrap();
        file.finish().unwrap();
        let store = EventStore::open(&dir).unwrap();
        let error = store.fold(bucket, &mut |_| Ok::<(), EventsError>(())).unwrap_err();
        let EventsError::WrongOrder { row: got, ref detail, .. } = error else {
            panic!("{error}");
        };
        assert!(got == row && detail.contains(word), "{error}");
    };
    let home = super::bucket_of("m", 2);
    let mates: Vec<String> =
        (0..50).map(|n| format!("n{n:02}")).filter(|u| super::bucket_of(u, 2) == home).collect();
    let mate = &mates[0];
    check(&[event("m", "1", 5), event("m", "2", 4)], home, 1, "order of (time");
    check(&[event("m", "1", 5), event("m", "1", 5)], home, 1, "order of (time");
    check(&[event("m", "1", 5), event(mate, "2", 4), event("m", "3", 9)], home, 2, "split");
    check(&[event("m", "1", 5)], 1 - home, 0, "another bucket");
}

#[test]
fn an_error_of_the_caller_comes_through() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("events");
    write(&dir, 1, &[event("a", "1", 1), event("b", "1", 1)]);
    #[derive(Debug, PartialEq)]
    struct Mine(String);
    impl From<EventsError> for Mine {
        fn from(e: EventsError) -> Self {
            Self(e.to_string())
        }
    }
    let store = EventStore::open(&dir).unwrap();
    let outcome = store.fold(0, &mut |h| Err(Mine(h.user_id)));
    assert_eq!(outcome, Err(Mine("a".to_owned())));
}

#[test]
fn a_manifest_of_another_kind_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("events");
    write(&dir, 1, &[]);
    let path = dir.join("manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    for (from, to) in [("fnv1a64", "md5"), ("\"schema_version\": 1", "\"schema_version\": 9")] {
        fs::write(&path, text.replace(from, to)).unwrap();
        assert!(matches!(EventStore::open(&dir), Err(EventsError::Manifest { .. })), "{to}");
    }
    assert!(matches!(EventStore::open(&dir.join("no")), Err(EventsError::Io { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_log_folds_to_its_users(
        rows in prop::collection::vec((0u8..6, 0u8..40, 0i64..50), 0..60),
        n_buckets in 1u32..9,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("events");
        let events: Vec<Event> =
            rows.iter().map(|&(u, id, t)| event(&format!("u{u}"), &format!("{id}"), t)).collect();
        write(&dir, n_buckets, &events);
        let mut want: std::collections::BTreeMap<(String, String), Event> = Default::default();
        for e in events {
            want.entry((e.user_id.clone(), e.event_id.clone())).or_insert(e);
        }
        let mut want: Vec<Event> = want.into_values().collect();
        want.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
        let got: Vec<Event> = histories(&EventStore::open(&dir).unwrap())
            .into_iter()
            .flat_map(|h| h.events)
            .collect();
        prop_assert_eq!(got, want);
    }
}
