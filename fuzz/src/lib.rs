//! What a fuzz target does with its bytes; the tests of the `events` crate run the same on the corpus and
//! on changes of it. A body returns, or it has found something.

use std::path::Path;

use events::import::{Preset, Preview, SourceConfig, TimeFormat, preview, preview_bytes};
use events::{EventStore, EventsError, ImportConfig};

/// The first byte chooses the preset and the options, the others are a CSV file.
pub fn csv(data: &[u8]) {
    text("t.csv", data);
}

/// The first byte chooses the preset and the options, the others are a JSONL file.
pub fn jsonl(data: &[u8]) {
    text("t.jsonl", data);
}

fn text(name: &str, data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else { return };
    // The last preset reads files only.
    let preset = Preset::ALL[usize::from(first) % (Preset::ALL.len() - 1)];
    let events = SourceConfig {
        encoding: (first & 0x80 != 0).then_some(events::import::Encoding::Latin1),
        has_header: (first & 0x40 != 0).then_some(true),
        ..SourceConfig::default()
    };
    let config = ImportConfig { preset, events, ..ImportConfig::default() };
    if let Ok(preview) = preview_bytes(&config, Path::new(name), bytes) {
        check(&preview);
    }
}

/// A Parquet file whose columns are named as the fields of an event.
pub fn parquet(data: &[u8]) {
    file("t.parquet", Preset::Recgpt, data);
}

/// The first byte says whether the others are an object from user to items in JSON, or lines of text.
pub fn sequences(data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else { return };
    let name = if first & 1 == 0 { "t.json" } else { "t.txt" };
    file(name, Preset::AmazonSequences, bytes);
}

fn file(name: &str, preset: Preset, bytes: &[u8]) {
    let dir = tempfile::tempdir().expect("a folder for the file");
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).expect("the file");
    let events = SourceConfig { files: vec![path.clone()], ..SourceConfig::default() };
    let config = ImportConfig { preset, events, ..ImportConfig::default() };
    if let Ok(preview) = preview(&config, &path) {
        check(&preview);
    }
}

/// Every row is accounted for, refusals have a place, and ids can be shown.
fn check(preview: &Preview) {
    let refused = preview.rejected.len() as u64;
    assert_eq!(preview.rows, preview.accepted + preview.skipped + refused);
    assert!(preview.rejected.is_sorted_by_key(|row| row.line));
    for row in &preview.rejected {
        assert!(row.line > 0 && row.raw.chars().count() <= 1000 && !row.message.is_empty());
    }
    for event in &preview.events {
        let ids = [Some(&event.user_id), Some(&event.event_id), event.item_id.as_ref()];
        for id in ids.into_iter().flatten() {
            assert!(
                !id.is_empty() && id.len() <= 300 && !id.chars().any(char::is_control),
                "{id:?}"
            );
        }
        assert!(event.value.is_none_or(f64::is_finite));
    }
}

/// A way to write time, a line feed, and a text.
pub fn time(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (format, value) = text.split_once('\n').unwrap_or(("auto", text));
    let Ok(format) = TimeFormat::try_from(format.to_owned()) else { return };
    if let Ok(time) = format.parse(value) {
        assert!(time.0.abs() < 1 << 60, "{value:?} is {time:?}");
    }
}

/// The first byte says whether the others are the manifest of a store or the only file of its bucket.
pub fn store(data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else { return };
    let dir = tempfile::tempdir().expect("a folder for the store");
    let store = dir.path().join("events");
    let bucket = store.join("bucket=0000");
    std::fs::create_dir_all(&bucket).expect("a folder");
    let manifest: &[u8] = if first & 1 == 0 { bytes } else { MANIFEST.as_bytes() };
    let part: &[u8] = if first & 1 == 0 { b"" } else { bytes };
    std::fs::write(store.join("manifest.json"), manifest).expect("a manifest");
    std::fs::write(bucket.join("part.parquet"), part).expect("a part");
    let Ok(store) = EventStore::open(&store) else { return };
    let mut last: Option<String> = None;
    let _ = store.fold(0, &mut |history| {
        assert!(last.as_ref().is_none_or(|last| *last < history.user_id), "users out of order");
        assert!(history.events.is_sorted_by_key(|e| (e.timestamp, e.event_id.clone())));
        last = Some(history.user_id);
        Ok::<(), EventsError>(())
    });
    if store.n_buckets() < 100 {
        let _ = store.user_ids();
    }
}

/// Of a store with one bucket that another program wrote.
const MANIFEST: &str = r#"{"schema_version":1,"hash":"fnv1a64","n_buckets":1,"rows":0,"users":0,
"content_hash":"","ordered_only":false,"first":null,"last":null,"event_types":{}}"#;
