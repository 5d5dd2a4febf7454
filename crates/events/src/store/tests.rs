//! The store keeps its promises, and fails loudly where a foreign writer broke them.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use types::{Catalogue, Event, EventType, Item, ItemId, Timestamp};

use super::{Counts, EventStore, Manifest, StoreWriter, UserHistory, bucket_folder, rows};
use crate::tables::columns::ParquetFile;
use crate::{EventsError, Staging};

fn event(user: &str, id: &str, time: i64) -> Event {
    let mut e = Event::new(id, EventType::Click, user, Timestamp(time));
    e.item_id = Some(format!("item-{id}"));
    e
}

/// Stages these events onto the store where `append`; the staging is not committed.
fn stage(
    dir: &Path,
    n_buckets: u32,
    events: &[Event],
    append: bool,
) -> (Staging, Manifest, Counts) {
    let mut staging = Staging::begin(dir.parent().unwrap()).unwrap();
    let base = append.then(|| EventStore::open(dir).unwrap());
    let name = Path::new(dir.file_name().unwrap());
    let mut writer = StoreWriter::new(&staging, name, n_buckets, 4000).unwrap();
    for e in events {
        writer.push(e).unwrap();
    }
    let (manifest, counts) = writer.finish(&mut staging, base.as_ref(), false).unwrap();
    (staging, manifest, counts)
}

fn write(dir: &Path, n_buckets: u32, events: &[Event]) -> Manifest {
    let (staging, manifest, _) = stage(dir, n_buckets, events, false);
    staging.commit().unwrap();
    manifest
}

fn append(dir: &Path, n_buckets: u32, events: &[Event]) -> (Manifest, Counts) {
    let (staging, manifest, counts) = stage(dir, n_buckets, events, true);
    staging.commit().unwrap();
    (manifest, counts)
}

/// Every file below a folder with its bytes.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().display().to_string();
                found.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
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
    let before = files(&store);
    stage(&store, 2, &[event("new", "1", 1)], false).0.die();
    assert_eq!(EventStore::open(&store).unwrap().user_ids().unwrap(), ["old"]);
    assert_eq!(files(&store), before);
    write(&store, 2, &[event("new", "1", 1)]);
    assert_eq!(EventStore::open(&store).unwrap().user_ids().unwrap(), ["new"]);
    assert_eq!(files(&store).len(), 3, "two buckets and the manifest; nothing of the old store");
}

#[test]
fn appending_touches_the_buckets_concerned_and_puts_late_events_in_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("events");
    let users: Vec<String> = (0..20).map(|n| format!("u{n}")).collect();
    let first: Vec<Event> =
        users.iter().flat_map(|u| [event(u, "1", 10), event(u, "3", 30)]).collect();
    write(&store, 8, &first);
    let before = files(&store);
    let late = [event("u7", "2", 20), event("u7", "3", 30)];
    let (manifest, counts) = append(&store, 8, &late);
    assert_eq!(counts, Counts { duplicates: 1, buckets_written: 1 });
    assert_eq!((manifest.rows, manifest.users), (41, 20));
    let changed: Vec<String> =
        files(&store).into_iter().filter(|f| !before.contains(f)).map(|f| f.0).collect();
    let bucket = bucket_folder(super::bucket_of("u7", 8)).display().to_string();
    assert!(changed.len() == 2 && changed[0].starts_with(&bucket), "{changed:?}");
    let opened = EventStore::open(&store).unwrap();
    let ids: Vec<String> =
        opened.history("u7").unwrap().unwrap().events.into_iter().map(|e| e.event_id).collect();
    assert_eq!(ids, ["1", "2", "3"]);
    let again = append(&store, 8, &late);
    assert_eq!((again.0, again.1.duplicates), (manifest, 2), "once more, and nothing doubles");
}

/// Takes out of the manifest what only our own writer states.
fn as_another_program_writes(dir: &Path) {
    let path = dir.join("manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    manifest.as_object_mut().unwrap().remove("buckets");
    fs::write(&path, manifest.to_string()).unwrap();
}

#[test]
fn a_foreign_store_is_appended_to_and_forgets() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, foreign) = (dir.path().join("ours"), dir.path().join("foreign"));
    let events = [event("a", "1", 1), event("b", "1", 1), event("c", "1", 1)];
    write(&ours, 3, &[&events[1..], &[event("d", "1", 1)]].concat());
    write(&foreign, 3, &events);
    as_another_program_writes(&foreign);
    append(&foreign, 3, &[event("d", "1", 1)]);
    as_another_program_writes(&foreign);
    let mut staging = Staging::begin(dir.path()).unwrap();
    let store = EventStore::open(&foreign).unwrap();
    assert_eq!(store.stage_without("a", Path::new("foreign"), &mut staging).unwrap(), 1);
    staging.commit().unwrap();
    assert!(files(&foreign) == files(&ours));
}

#[test]
fn one_user_can_be_taken_out() {
    let dir = tempfile::tempdir().unwrap();
    let (with, without) = (dir.path().join("with"), dir.path().join("without"));
    let rest = [event("b", "1", 1), event("c", "1", 1), event("c", "2", 5)];
    write(&without, 2, &rest);
    write(&with, 2, &[&rest[..], &[event("a", "1", 9), event("a", "2", 8)]].concat());
    let remove = |user: &str| {
        let mut staging = Staging::begin(dir.path()).unwrap();
        let store = EventStore::open(&with).unwrap();
        let n = store.stage_without(user, Path::new("with"), &mut staging).unwrap();
        staging.commit().unwrap();
        n
    };
    assert_eq!((remove("a"), remove("a"), remove("nobody")), (2, 0, 0));
    assert_eq!(files(&with), files(&without), "as if they had never been there");
}

#[test]
fn hostile_texts_are_carried() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("events");
    let mut events = Vec::new();
    for (n, text) in
        ["\u{0}\u{1}\u{7f}", "\u{202e}cod\u{202c}", "a\nb\r\n\tc", "\u{feff}"].iter().enumerate()
    {
        let mut e = event(&format!("u{text}"), &format!("{text}{n}"), 1);
        e.query = Some((*text).to_owned());
        e.fields.insert((*text).to_owned(), (*text).to_owned());
        events.push(e);
    }
    for n in 0..40 {
        let mut e = event("long", &n.to_string(), n);
        e.query = Some("x".repeat(1 << 20)); // equal, so that the file holds them once
        events.push(e);
    }
    write(&store, 1, &events);
    let got: Vec<Event> =
        histories(&EventStore::open(&store).unwrap()).into_iter().flat_map(|h| h.events).collect();
    events.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
    assert!(got == events, "texts changed on the way");
}

#[test]
fn a_foreign_writer_that_breaks_the_order_is_caught() {
    let check = |events: &[Event], bucket: u32, row: u64, word: &str| {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("events");
        write(&dir, 2, &[]);
        as_another_program_writes(&dir);
        let folder = dir.join(bucket_folder(bucket));
        fs::remove_dir_all(&folder).unwrap();
        let part = folder.join("part-00000-spark.parquet");
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
        let mut want = events.clone();
        want.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
        let mut seen = std::collections::HashSet::new();
        want.retain(|e| seen.insert((e.user_id.clone(), e.event_id.clone())));
        let got: Vec<Event> = histories(&EventStore::open(&dir).unwrap())
            .into_iter()
            .flat_map(|h| h.events)
            .collect();
        prop_assert_eq!(got, want);
    }

    #[test]
    fn bytes_depend_on_the_events_not_on_how_they_came(
        rows in prop::collection::vec((0u8..6, 0u8..40, 0i64..5, 0u8..2), 0..60),
        cut in 0usize..60,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut events: Vec<Event> = rows
            .iter()
            .map(|&(u, id, t, item)| {
                let mut e = event(&format!("u{u}"), &format!("{id}"), t);
                e.item_id = Some(format!("i{item}")); // one id may come with two contents
                e
            })
            .collect();
        let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
        write(&whole, 3, &events);
        events.reverse();
        let cut = cut.min(events.len());
        write(&parts, 3, &events[..cut]);
        append(&parts, 3, &events[cut..]);
        prop_assert!(files(&whole) == files(&parts));
    }
}
