//! Every kind of bad input gets its reason, line and column; good rows beside it go on.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use types::{Event, EventType, Item, Taxonomy};

use super::{
    ColumnRef, ImportConfig, ImportReport, Preset, SourceConfig, assign_categories, guess,
    import_events, import_items, import_users, preview_bytes, taxonomy_of,
};
use crate::tables::{RejectReason, RejectedRow, read_quarantine, write_users};
use crate::{EventStore, EventsError};

const HEADER: &str = "event_id,event_type,user_id,item_id,timestamp,value,query";
const GOOD: &str = "e1,click,u1,i1,2024-05-01T10:00:00Z,,";

struct Run {
    dir: tempfile::TempDir,
    config: ImportConfig,
}

impl Run {
    fn new(file: &str, bytes: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(file);
        std::fs::write(&path, bytes).unwrap();
        let events = SourceConfig {
            files: vec![path],
            max_reject_rate: Some(1.0),
            ..SourceConfig::default()
        };
        let config = ImportConfig { events, n_buckets: Some(2), ..ImportConfig::default() };
        Self { dir, config }
    }

    fn preset(file: &str, text: &str, preset: Preset) -> Self {
        let mut run = Self::new(file, text.as_bytes());
        run.config.preset = preset;
        run
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn import(&self) -> Result<ImportReport, EventsError> {
        let (store, quarantine) = (self.path("ws/events"), self.path("ws/quarantine.parquet"));
        import_events(&self.config, &store, &quarantine, &|_, _| ())
    }

    fn rejected(&self) -> Vec<RejectedRow> {
        read_quarantine(&self.path("ws/quarantine.parquet")).unwrap()
    }

    fn events(&self) -> Vec<Event> {
        let store = EventStore::open(&self.path("ws/events")).unwrap();
        store.fold_all(Ok::<_, EventsError>).unwrap().into_iter().flat_map(|h| h.events).collect()
    }
}

/// One bad row after a good one: its reason, line and column.
fn check(row: &[u8], reason: RejectReason, column: &str) {
    let mut bytes = format!("{HEADER}\n{GOOD}\n").into_bytes();
    bytes.extend_from_slice(row);
    bytes.extend_from_slice(b"\ne3,click,u3,i3,1714557600,,\n");
    let run = Run::new("events.csv", &bytes);
    let report = run.import().unwrap();
    let name = String::from_utf8_lossy(row);
    let rejected = run.rejected();
    assert_eq!(rejected.len(), 1, "{name}: {rejected:?}");
    assert_eq!(
        (rejected[0].reason, rejected[0].line, rejected[0].column.as_str()),
        (reason, 3, column),
        "{name}"
    );
    assert!(rejected[0].file.ends_with("events.csv") && !rejected[0].message.is_empty());
    assert_eq!((report.rows, report.accepted, report.rejected), (3, 2, 1), "{name}");
    assert_eq!(report.rejected_by_reason[reason.as_str()], 1);
}

#[test]
fn a_bad_row_is_quarantined_with_place_and_reason() {
    check(b"e2,click,u2,i2,yesterday,,", RejectReason::BadTime, "timestamp");
    check(b"e2,click,u2,i2,1714557600,two,", RejectReason::BadNumber, "value");
    check(b"e2,click,u2,i2,1714557600,inf,", RejectReason::BadNumber, "value");
    check(b"e2,click,u2,i2,2999-01-01,,", RejectReason::ImplausibleTime, "timestamp");
    check(b"e2,click,u2,i2,0,,", RejectReason::ImplausibleTime, "timestamp");
    check(b"e2,click,u\xff,i2,1714557600,,", RejectReason::InvalidUtf8, "");
    check(b"e2,frob,u2,i2,1714557600,,", RejectReason::UnknownEventType, "event_type");
    check(b"e2,click,,i2,1714557600,,", RejectReason::MissingValue, "user_id");
    check(b"e2,click,u2,,1714557600,,", RejectReason::MissingValue, "item_id");
    check(b"e2,search,u2,,1714557600,,", RejectReason::MissingValue, "query");
    check(b"e2,click,u/2,i2,1714557600,,", RejectReason::BadId, "user_id");
    check(b"e2,click,u2,i\x072,1714557600,,", RejectReason::BadId, "item_id");
    check(b"e\x002,click,u2,i2,1714557600,,", RejectReason::BadId, "event_id");
    check(b"e2,click,u2", RejectReason::ShortRow, "");
    check(b"e2,click,u2,i2,1714557600,,,,", RejectReason::LongRow, "");
    check(b"\"e2,click,u2,i2,1714557600,,", RejectReason::UnclosedQuote, "");
}

#[test]
fn good_rows_of_every_spelling_are_kept() {
    let rows = "\u{feff}event_id,Event-Type,USER ID,item_id,timestamp,value,query,position,colour\r\n\
        e1,add-to-cart, 用户 , i1 ,1714557600,2.5,,3,red\r\n\
        ,search,u2,,2024-05-01 10:00:00,,\"shoes, red\",,\r\n";
    let run = Run::new("events.csv", rows.as_bytes());
    let report = run.import().unwrap();
    assert_eq!((report.accepted, report.users, report.items, report.rejected), (2, 2, 1, 0));
    let events = run.events();
    let (u2, cart) = (&events[0], &events[1]);
    assert_eq!((cart.user_id.as_str(), cart.item_id.as_deref()), ("用户", Some("i1")));
    assert_eq!((cart.event_type, cart.value, cart.position), (EventType::Cart, Some(2.5), Some(3)));
    assert_eq!(cart.fields["colour"], "red");
    assert_eq!((u2.query.as_deref(), u2.event_id.len()), (Some("shoes, red"), 16));
    assert_eq!(report.warnings, ["2 users have one event only"]);
}

#[test]
fn repeats_are_counted_and_a_second_import_changes_nothing() {
    let text = format!("{HEADER}\n{GOOD}\n{GOOD}\n,click,u1,i1,5e8,,\n,click,u1,i1,5e8,,\n");
    let mut run = Run::new("events.csv", text.as_bytes());
    run.config.events.min_time = Some("1980-01-01".to_owned());
    let first = run.import().unwrap();
    assert_eq!((first.rows, first.accepted, first.duplicates), (4, 2, 2));
    let manifest = EventStore::open(&run.path("ws/events")).unwrap().manifest().clone();
    assert_eq!(run.import().unwrap(), first);
    assert_eq!(EventStore::open(&run.path("ws/events")).unwrap().manifest(), &manifest);
}

#[test]
fn too_many_refusals_stop_the_run_and_keep_the_old_store() {
    let good = Run::new("events.csv", format!("{HEADER}\n{GOOD}\n").as_bytes());
    good.import().unwrap();
    let text =
        format!("{HEADER}\n{GOOD}\nx,click,u,i,noon,,\ny,click,u,i,noon,,\nz,nope,u,i,5e9,,\n");
    std::fs::write(good.path("events.csv"), text).unwrap();
    let mut run = good;
    run.config.events.max_reject_rate = Some(0.5);
    let error = run.import().unwrap_err();
    let EventsError::TooManyRejects { rejected, rows, line, reason, .. } = error else {
        panic!("{error}");
    };
    assert_eq!((rejected, rows, line, reason.as_str()), (3, 4, 3, "bad_time"));
    let message = error.to_string();
    for part in ["events.csv:3", "75.0%", "time_format", "quarantine.parquet", "\"noon\""] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(run.rejected().len(), 3);
    assert_eq!(run.events().len(), 1, "the old store stays");
    run.config.events.max_reject_rate = Some(0.75);
    assert_eq!(run.import().unwrap().accepted, 1, "a rerun goes on once mended");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let fails = |run: &Run| run.import().unwrap_err();
    let empty = fails(&Run::new("events.csv", b""));
    assert!(
        matches!(empty, EventsError::EmptyFile { .. }) && empty.to_string().contains("events.csv")
    );
    let header_only = fails(&Run::new("events.csv", HEADER.as_bytes()));
    assert!(matches!(header_only, EventsError::EmptyFile { .. }));
    let mut parts = Run::new("events.csv", format!("{HEADER}\n{GOOD}\n").as_bytes());
    std::fs::write(parts.path("part-2.csv"), HEADER).unwrap();
    parts.config.events.files.push(parts.path("part-2.csv"));
    let warnings = parts.import().unwrap().warnings;
    assert!(
        warnings
            .iter()
            .any(|w| w.contains("1 of 2 files hold no rows") && w.contains("part-2.csv"))
    );
    assert!(matches!(fails(&Run::new("events.jsonl", b"\n\n")), EventsError::EmptyFile { .. }));

    let mut missing = Run::new("events.csv", b"");
    missing.config.events.files = vec!["/no/such/file.csv".into()];
    let error = fails(&missing);
    assert!(
        matches!(error, EventsError::Io { .. }) && error.to_string().contains("/no/such/file.csv")
    );

    let dir = tempfile::tempdir().unwrap();
    write_users(&dir.path().join("u.parquet"), &[]).unwrap();
    let bytes = std::fs::read(dir.path().join("u.parquet")).unwrap();
    for cut in [0, 3, 7, bytes.len() / 2, bytes.len() - 3] {
        let error = fails(&Run::new("events.parquet", &bytes[..cut]));
        assert!(matches!(error, EventsError::Parquet { .. }), "{cut}: {error}");
        assert!(error.to_string().contains("truncated"));
    }
    assert!(matches!(fails(&Run::new("events.xyz", b"a")), EventsError::Config { .. }));
    assert!(matches!(fails(&Run::new("e.csv.gz", b"no gzip")), EventsError::Io { .. }));
}

#[test]
fn an_unknown_column_names_itself_and_what_there_is() {
    let mut run = Run::new("events.csv", format!("{HEADER}\n{GOOD}\n").as_bytes());
    run.config.events.columns.insert("user_id".to_owned(), ColumnRef::Name("customer".to_owned()));
    let message = run.import().unwrap_err().to_string();
    for part in ["events.csv", "\"customer\"", "user_id", "[import.events.columns]", "\"item_id\""]
    {
        assert!(message.contains(part), "{part}: {message}");
    }
    let mut run = Run::new("events.csv", format!("{HEADER}\n{GOOD}\n").as_bytes());
    run.config.events.columns.insert("usr".to_owned(), ColumnRef::Index(0));
    assert!(run.import().unwrap_err().to_string().contains("no such field"));
    let run = Run::new("events.csv", b"user_id,item_id,timestamp\nu,i,1714557600\n");
    assert!(run.import().unwrap_err().to_string().contains("event_type"));
}

#[test]
fn wrong_configurations_name_the_key() {
    let check = |change: fn(&mut ImportConfig), key: &str| {
        let mut run = Run::new("events.csv", format!("{HEADER}\n{GOOD}\n").as_bytes());
        change(&mut run.config);
        let error = run.import().unwrap_err();
        assert!(matches!(error, EventsError::Config { .. }), "{error}");
        assert!(error.to_string().contains(key), "{key}: {error}");
    };
    check(|c| c.n_buckets = Some(0), "import.n_buckets");
    check(|c| c.events.files.clear(), "import.events.files");
    check(|c| c.events.max_reject_rate = Some(2.0), "import.events.max_reject_rate");
    check(|c| c.events.min_time = Some("soon".to_owned()), "import.events.min_time");
    check(|c| c.events.delimiter = Some('"'), "import.events.delimiter");
    check(|c| c.events.derive = Some(true), "import.events.derive");
    check(
        |c| drop(c.events.event_types.insert("pv".to_owned(), "glance".to_owned())),
        "import.events.event_types.pv",
    );
    let unknown = serde_json::from_str::<ImportConfig>(r#"{"events":{"fils":["a.csv"]}}"#);
    assert!(unknown.unwrap_err().to_string().contains("fils"));
}

#[test]
fn every_format_gives_the_same_events() {
    let csv = format!("{HEADER}\n{GOOD}\ne2,search,u1,,1714557600,,shoes\n");
    let reference = Run::new("events.csv", csv.as_bytes());
    reference.import().unwrap();
    let want = reference.events();

    let jsonl: String =
        want.iter().map(|e| format!("{}\n", serde_json::to_string(e).unwrap())).collect();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(jsonl.as_bytes()).unwrap();
    let store = EventStore::open(&reference.path("ws/events")).unwrap();
    let parquet = &store.parts(store.bucket_of("u1")).unwrap()[0];
    let zst = zstd::encode_all(jsonl.as_bytes(), 1).unwrap();
    let cases: [(&str, Vec<u8>); 6] = [
        ("events.jsonl", jsonl.clone().into_bytes()),
        ("events.jsonl.gz", gz.finish().unwrap()),
        ("events.JSONL.zst", zst),
        ("events.csv", format!("\u{feff}{}", csv.replace('\n', "\r\n")).into_bytes()),
        ("events.tsv", csv.replace(',', "\t").into_bytes()),
        ("events.parquet", std::fs::read(parquet).unwrap()),
    ];
    for (file, bytes) in cases {
        let run = Run::new(file, &bytes);
        let report = run.import().unwrap();
        assert_eq!(report.rejected, 0, "{file}: {:?}", run.rejected());
        assert_eq!(run.events(), want, "{file}");
    }
}

#[test]
fn uci_invoice_lines_become_purchases_returns_and_items() {
    let header =
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\r\n";
    let text = [
        header,
        "536365,85123a,\"HEART, HOLDER\",6,2010-12-01 08:26:00,2.50,17850.0,UK\r\n",
        "C36366,85123A,\"HEART, HOLDER\",-6,2010-12-02 08:26:00,2.70,17850.0,UK\r\n",
        "536367,71053,LANTERN,-1,2010-12-03 08:26:00,3.39,17850.0,UK\r\n",
        "536368,POST,POSTAGE,1,2010-12-03 08:26:00,9.00,17850.0,UK\r\n",
        "536369,71053,WHITE  LANTERN ,1,2010-12-03 08:26:00,3.39,,UK\r\n",
        "536370,71053,WHITE LANTERN,1,2010-12-03 09:26:00,3.39,,UK\r\n",
        "536371,99999,damaged,-5,2010-12-03 08:26:00,0,,UK\r\n",
    ]
    .concat();
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(b"536372,22222,CAF\xc9 SIGN,1,2010-12-03 08:26:00,1.25,12346.0,UK\r\n");
    let mut run = Run::new("uci.csv", &bytes);
    run.config.preset = Preset::UciOnlineRetail;
    let report = run.import().unwrap();
    assert_eq!((report.rows, report.accepted, report.rejected, report.users), (8, 4, 0, 2));
    assert_eq!(report.skipped["no user"], 3);
    assert_eq!(report.skipped["item is no product (skip_items)"], 1);
    let events = run.events();
    let got: Vec<_> = events.iter().map(|e| (e.user_id.as_str(), e.event_type, e.value)).collect();
    let want = [
        ("12346", EventType::Purchase, Some(1.0)),
        ("17850", EventType::Purchase, Some(6.0)),
        ("17850", EventType::Return, Some(6.0)),
        ("17850", EventType::Return, Some(1.0)),
    ];
    assert_eq!(got, want);
    assert_eq!(events[1].session_id.as_deref(), Some("536365"));
    assert_eq!(events[1].fields["UnitPrice"], "2.50");

    let items = import_items(&run.config, &|_, _| ()).unwrap();
    let got: Vec<_> =
        items.items.iter().map(|i| (i.item_id.as_str(), i.title.as_str(), i.price)).collect();
    let want = [
        ("22222", "CAFÉ SIGN", Some(1.25)),
        ("71053", "WHITE LANTERN", Some(3.39)),
        ("85123A", "HEART, HOLDER", Some(2.5)),
    ];
    assert_eq!(got, want);
    assert!(items.report.derived);
    assert_eq!(items.report.skipped["items never sold"], 1);
}

/// A file under a preset: its events as user, type, item and time.
fn check_preset(file: &str, text: &str, preset: Preset, want: &[(&str, EventType, &str, i64)]) {
    let run = Run::preset(file, text, preset);
    let report = run.import().unwrap();
    assert_eq!(report.rejected, 0, "{preset:?}: {:?}", run.rejected());
    let events = run.events();
    let item = |e: &Event| e.item_id.clone().unwrap_or_default();
    let got: Vec<_> =
        events.iter().map(|e| (e.user_id.clone(), e.event_type, item(e), e.timestamp.0)).collect();
    let want: Vec<_> = want.iter().map(|w| (w.0.to_owned(), w.1, w.2.to_owned(), w.3)).collect();
    assert_eq!(got, want, "{preset:?}");
}

#[test]
fn other_presets_read_their_layouts() {
    use EventType::{Cart, Click, Favorite, Impression, Purchase};
    const T: i64 = 1_714_557_600_000;
    check_preset(
        "t.csv",
        "1,10,7,pv,1511544070\n1,11,7,buy,1511561733\n",
        Preset::TaobaoBehavior,
        &[("1", Click, "10", 1_511_544_070_000), ("1", Purchase, "11", 1_511_561_733_000)],
    );
    check_preset(
        "t.csv",
        "user_id,item_id,behavior_type,user_geohash,item_category,time\n1,10,3,,7,2014-12-06 02\n",
        Preset::Tianchi,
        &[("1", Cart, "10", 1_417_831_200_000)],
    );
    check_preset(
        "t.jsonl",
        r#"{"FeedbackType":"star","UserId":"1","ItemId":"10","Timestamp":"2024-05-01T10:00:00Z","Comment":""}"#,
        Preset::Gorse,
        &[("1", Favorite, "10", T)],
    );
    check_preset(
        "t.jsonl",
        concat!(
            r#"{"event":"item","id":"a","item":"p1","timestamp":"1714557600000","fields":[{"name":"title","value":"x"}]}"#,
            "\n",
            r#"{"event":"ranking","id":"r","user":"1","session":"s","timestamp":"1714557600000","items":[{"id":"p1"},{"id":"p2"}]}"#,
            "\n",
            r#"{"event":"interaction","id":"i","type":"click","ranking":"r","user":"1","item":"p2","timestamp":"1714557601000"}"#,
            "\n",
        )
        .replace(r#""item":"p1","timestamp""#, r#""user":"0","item":"p1","timestamp""#)
        .as_str(),
        Preset::Metarank,
        &[("1", Impression, "p1", T), ("1", Impression, "p2", T), ("1", Click, "p2", T + 1000)],
    );
    check_preset(
        "t.jsonl",
        r#"{"eventType":"conversion","eventName":"Bought","index":"shop","userToken":"1","objectIDs":["a","b"],"timestamp":1714557600000}"#,
        Preset::Algolia,
        &[("1", Purchase, "a", T), ("1", Purchase, "b", T)],
    );
    const LAST: i64 = 1_406_073_600_000; // 2014-07-23
    check_preset(
        "t.inter.json",
        r#"{"7":[3,1],"8":["x"]}"#,
        Preset::AmazonSequences,
        &[
            ("7", Purchase, "3", LAST - 86_400_000),
            ("7", Purchase, "1", LAST),
            ("8", Purchase, "x", LAST),
        ],
    );
    check_preset(
        "t.txt",
        "A1 B1 B2\n",
        Preset::AmazonSequences,
        &[("A1", Purchase, "B1", LAST - 86_400_000), ("A1", Purchase, "B2", LAST)],
    );
}

/// Found by fuzzing: an id that is blank, or nothing but what a preset strips, is no id.
#[test]
fn a_blank_id_is_refused_wherever_it_stands() {
    let check = |file: &str, text: &str, preset: Preset, column: &str| {
        let config = ImportConfig { preset, ..ImportConfig::default() };
        let preview = preview_bytes(&config, Path::new(file), text.as_bytes()).unwrap();
        let found: Vec<_> =
            preview.rejected.iter().map(|r| (r.reason, r.column.as_str())).collect();
        assert_eq!(found, [(RejectReason::MissingValue, column)], "{text}");
        assert!(preview.events.is_empty(), "{text}");
    };
    check(
        "t.jsonl",
        r#"{"eventType":"view","eventName":"x","index":"s","userToken":"1","objectIDs":["a"," "],"timestamp":1714557600000}"#,
        Preset::Algolia,
        "objectIDs",
    );
    check(
        "t.csv",
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n\
         536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,.0,UK\n",
        Preset::UciOnlineRetail,
        "user_id",
    );
}

#[test]
fn exports_of_recbole_and_recombee_are_read() {
    use EventType::{Cart, Purchase};
    const T: i64 = 1_714_557_600_000;
    check_preset(
        "t.inter",
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t10\t5\t1714557600\n",
        Preset::Recbole,
        &[("1", Purchase, "10", T)],
    );
    check_preset(
        "t.jsonl",
        concat!(
            r#"{"method":"POST","path":"/cartadditions/","params":{"userId":"1","itemId":"10","timestamp":"2024-05-01T10:00:00Z"}}"#,
            "\n",
            r#"{"path":"/ratings/","params":{"userId":"1","itemId":"10","timestamp":1714557600,"rating":-1}}"#,
        ),
        Preset::Recombee,
        &[("1", Cart, "10", T)],
    );
}

#[test]
fn sequences_say_that_they_have_no_clock_and_refuse_bad_ids() {
    let run = Run::preset("t.json", r#"{"7":[3,null,"a/b"],"8":{}}"#, Preset::AmazonSequences);
    let report = run.import().unwrap();
    assert!(report.ordered_only && report.warnings.iter().any(|w| w.contains("no clock")));
    assert!(EventStore::open(&run.path("ws/events")).unwrap().manifest().ordered_only);
    assert_eq!((report.accepted, report.rejected), (1, 3));
    let broken = Run::preset("t.json", r#"{"7":[3,"#, Preset::AmazonSequences).import();
    assert!(matches!(broken, Err(EventsError::Json { .. })));
    let empty = Run::preset("t.json", "", Preset::AmazonSequences).import();
    assert!(matches!(empty, Err(EventsError::EmptyFile { .. })));
}

fn items_of(file: &str, text: &str, preset: Preset) -> super::ItemsImport {
    let run = Run::preset(file, text, preset);
    let files = run.config.events.files.clone();
    let items = SourceConfig { files, max_reject_rate: Some(1.0), ..SourceConfig::default() };
    let config = ImportConfig { preset, items, ..ImportConfig::default() };
    import_items(&config, &|_, _| ()).unwrap()
}

#[test]
fn items_keep_attributes_and_those_without_title_are_counted() {
    let csv = "item_id,title,category_path,brand,price,listed_at,colour\n\
        a,Boots,Sports>Boots,Peak,$12.50,2024-01-01,red\nb,,,,,,\na,Again,,,,,\nc/d,x,,,,,\ne,x,,,free,,\n";
    let import = items_of("items.csv", csv, Preset::Recgpt);
    let a = &import.items[0];
    assert_eq!((a.category_path.as_str(), a.price), ("Sports > Boots", Some(12.5)));
    assert_eq!(a.attributes, [("colour".to_owned(), "red".to_owned())]);
    assert!(a.listed_at.is_some());
    let report = &import.report;
    assert_eq!((report.rows, report.items, report.duplicates, report.without_title), (5, 2, 1, 1));
    let reasons: Vec<_> = import.rejected.iter().map(|r| (r.line, r.reason)).collect();
    assert_eq!(reasons, [(5, RejectReason::BadId), (6, RejectReason::BadNumber)]);
    assert!(report.warnings[0].contains("no title"));
    let taxonomy = taxonomy_of(&import.items);
    let mut items = import.items;
    assert_eq!(assign_categories(&mut items, &taxonomy), 1);
    assert_eq!(items[0].category, taxonomy.find("Sports > Boots"));
}

#[test]
fn items_as_we_write_them_come_back() {
    let item = Item {
        item_id: "i".to_owned(),
        title: "boots".to_owned(),
        category_path: "Sports > Boots".to_owned(),
        category: Some(types::CategoryId(3)),
        brand: Some("Peak".to_owned()),
        merchant_id: Some("m1".to_owned()),
        price: Some(2.5),
        listed_at: Some(types::Timestamp(1_714_557_600_000)),
        attributes: vec![("z".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())],
        description: "for rain".to_owned(),
    };
    let import = items_of("items.jsonl", &serde_json::to_string(&item).unwrap(), Preset::Recgpt);
    assert_eq!(import.items, [Item { category: None, ..item }]);
}

#[test]
fn items_of_other_layouts() {
    let check = |file: &str, text: &str, preset: Preset, want: (&str, &str, &str)| {
        let import = items_of(file, text, preset);
        let i = &import.items[0];
        let got = (i.item_id.as_str(), i.title.as_str(), i.category_path.as_str());
        assert_eq!(got, want, "{preset:?} {:?}", import.rejected);
    };
    let gorse = r#"{"ItemId":"g","IsHidden":false,"Categories":["Sports","Boots"],"Timestamp":"2024-01-01T00:00:00Z","Labels":["x"],"Comment":"boots"}"#;
    check("i.jsonl", gorse, Preset::Gorse, ("g", "boots", "Sports > Boots"));
    let algolia = r#"{"objectID":"o","name":"boots","hierarchicalCategories":{"lvl0":"Sports","lvl1":"Sports > Boots"},"price":3}"#;
    check("i.jsonl", algolia, Preset::Algolia, ("o", "boots", "Sports > Boots"));
    let metarank = r#"{"event":"item","id":"e","item":"p1","timestamp":"1714557600000","fields":[{"name":"title","value":"boots"},{"name":"price","value":3}]}"#;
    check("i.jsonl", metarank, Preset::Metarank, ("p1", "boots", ""));
    let amazon = r#"{"2":{"title":" boots ","brand":"Peak","description":"d"}}"#;
    check("i.item.json", amazon, Preset::AmazonSequences, ("2", "boots", ""));
    check("i.txt", "B1 ceramic iron\n", Preset::AmazonSequences, ("B1", "ceramic iron", ""));
}

#[test]
fn users_keep_what_they_said() {
    let run = Run::new(
        "users.jsonl",
        b"{\"user_id\":\"u\",\"attributes\":[[\"city\",\"X\"]],\"age\":3}\n{}\n",
    );
    let users = SourceConfig { max_reject_rate: Some(0.5), ..run.config.events.clone() };
    let mut config = ImportConfig { users, ..ImportConfig::default() };
    let import = import_users(&config, &|_, _| ()).unwrap();
    assert_eq!(import.users[0].attribute("city"), Some("X"));
    assert_eq!(import.users[0].attribute("age"), Some("3"));
    assert_eq!((import.users.len(), import.rejected.len()), (1, 1));
    assert!(import_users(&ImportConfig::default(), &|_, _| ()).unwrap().users.is_empty());
    std::fs::write(run.path("more.jsonl"), "\n").unwrap();
    config.users.files.push(run.path("more.jsonl"));
    let warnings = import_users(&config, &|_, _| ()).unwrap().warnings;
    assert!(warnings[0].contains("1 of 2 files hold no rows"), "{warnings:?}");
}

#[test]
fn relative_paths_follow_the_configuration() {
    let mut config: ImportConfig = serde_json::from_str(
        r#"{"events":{"files":["a.csv","/b.csv"]},"taxonomy":"t.json","preset":"tianchi"}"#,
    )
    .unwrap();
    config.rebase(Path::new("/shop"));
    assert_eq!(config.events.files, [Path::new("/shop/a.csv"), Path::new("/b.csv")]);
    assert_eq!(config.taxonomy.as_deref(), Some(Path::new("/shop/t.json")));
    assert_eq!(Taxonomy::SEPARATOR, " > ");
}

#[test]
fn layouts_are_guessed() {
    let check = |file: &str, text: &str, preset: Preset, accepted: u64| {
        let run = Run::new(file, text.as_bytes());
        let guess = guess(&run.path(file)).unwrap();
        assert_eq!(guess.config.preset, preset, "{file}: {:?}", guess.notes);
        assert_eq!(guess.preview.accepted, accepted, "{file}: {:?}", guess.preview.rejected);
        let quarantine = run.path("ws/quarantine.parquet");
        let report =
            import_events(&guess.config, &run.path("ws/events"), &quarantine, &|_, _| ()).unwrap();
        assert!(report.accepted >= accepted, "{file}");
    };
    check("a.csv", &format!("{HEADER}\n{GOOD}\n"), Preset::Recgpt, 1);
    check("a.tsv", &format!("{HEADER}\n{GOOD}\n").replace(',', "\t"), Preset::Recgpt, 1);
    check("log", &format!("{HEADER}\n{GOOD}\n").replace(',', ";"), Preset::Recgpt, 1);
    check("a.csv", "1,10,7,pv,1511544070\n1,11,7,buy,1511561733\n", Preset::TaobaoBehavior, 2);
    check(
        "a.csv",
        "user_id,item_id,behavior_type,user_geohash,item_category,time\n1,2,3,,7,2014-12-06 02\n",
        Preset::Tianchi,
        1,
    );
    check(
        "a.inter",
        "user_id:token\titem_id:token\ttimestamp:float\n1\t2\t9e8\n",
        Preset::Recbole,
        1,
    );
    check("a.txt", "A1 B1 B2\nA2 B1\n", Preset::AmazonSequences, 3);
    check("a.json", "{\n\"7\": [3, 1],\n\"8\": [2]}", Preset::AmazonSequences, 3);
    check(
        "a.jsonl",
        r#"{"eventType":"view","index":"s","userToken":"1","objectIDs":["a"],"timestamp":1714557600000}"#,
        Preset::Algolia,
        1,
    );
    check(
        "a.jsonl",
        r#"{"FeedbackType":"star","UserId":"1","ItemId":"10","Timestamp":"2024-05-01T10:00:00Z"}"#,
        Preset::Gorse,
        1,
    );
    check(
        "a.jsonl",
        r#"{"path":"/purchases/","params":{"userId":"1","itemId":"10","timestamp":1714557600}}"#,
        Preset::Recombee,
        1,
    );
    // No preset: names, kinds and the way to write time.
    check(
        "orders_2024.csv",
        "Order ID|Visitor|SKU|created at\n1|v1|s1|31/12/2024 10:00\n2|v2|s1|01/02/2024 10:00\n",
        Preset::Recgpt,
        2,
    );
    let run = Run::new("a.csv", b"foo,bar\n1,2\n");
    let error = guess(&run.path("a.csv")).unwrap_err().to_string();
    assert!(error.contains("a.csv") && error.contains("foo"), "{error}");
}

#[test]
fn folders_and_patterns_are_read_and_an_empty_one_is_told() {
    let mut run = Run::new("events.csv", b"");
    std::fs::create_dir_all(run.path("log/day=2")).unwrap();
    for (name, row) in [("log/1.csv", "e1,click,u1,i1,1714557600,,"), ("log/day=2/2.csv", GOOD)] {
        std::fs::write(run.path(name), format!("{HEADER}\n{row}\n")).unwrap();
    }
    for (entry, n) in [("log", 2), ("log/*.csv", 1), ("log/**/*.csv", 2)] {
        run.config.events.files = vec![run.path(entry)];
        assert_eq!(run.import().unwrap().rows, n, "{entry}");
    }
    run.config.events.files = vec![run.path("log/*.xml")];
    let error = run.import().unwrap_err();
    assert!(error.is_configuration() && error.to_string().contains("*.xml"), "{error}");
}
