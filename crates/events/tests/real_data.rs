//! The real sets beside the project go through import, store and digest; figures are printed.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use events::import::{Preset, SourceConfig};
use events::{
    DigestConfig, Digester, EventStore, EventsError, ImportConfig, ImportReport, ItemCores,
    ItemsImport, assign_categories, import_events, import_items, import_taxonomy, taxonomy_of,
};
use types::{Catalogue, Digest, EventType, Taxonomy};

/// The folder of the data; `None`, with one line, where this checkout stands alone.
#[expect(clippy::print_stderr, reason = "a test says that it skips")]
fn data() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is missing", path.display());
    None
}

#[expect(clippy::print_stderr, reason = "figures are for the reader of a test run")]
fn say(text: &str) {
    eprintln!("{text}");
}

struct Set {
    dir: tempfile::TempDir,
    report: ImportReport,
    items: ItemsImport,
}

fn import(preset: Preset, events: PathBuf, items: Option<PathBuf>) -> Set {
    let dir = tempfile::tempdir().unwrap();
    let source = |files| SourceConfig { files, ..SourceConfig::default() };
    let config = ImportConfig {
        preset,
        events: source(vec![events]),
        items: source(items.into_iter().collect()),
        ..ImportConfig::default()
    };
    let start = Instant::now();
    let quarantine = dir.path().join("quarantine.parquet");
    let report =
        import_events(&config, &dir.path().join("events"), &quarantine, &|_, _| ()).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    say(&format!("{preset:?}: {:.0} rows/s; {report:#?}", report.rows as f64 / seconds));
    let items = import_items(&config, &|_, _| ()).unwrap();
    say(&format!("{:#?}", items.report));
    Set { dir, report, items }
}

fn digests(set: &Set, taxonomy: &Taxonomy, budget: usize) -> Vec<Digest> {
    let store = EventStore::open(&set.dir.path().join("events")).unwrap();
    let catalogue = Catalogue::new(set.items.items.clone()).unwrap();
    let cores = ItemCores::new(&catalogue, taxonomy);
    let words = |text: &str| text.split_whitespace().count();
    let now = store.manifest().last.unwrap().plus_days(1);
    let digester = Digester::new(&cores, &catalogue, DigestConfig::new(now, budget), &words);
    let start = Instant::now();
    let digests = store.fold_all(|history| digester.digest(&history)).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let sum = |of: fn(&Digest) -> usize| digests.iter().map(of).sum::<usize>();
    say(&format!(
        "budget {budget}: {} users, {:.0} events/s; words per level {} {} {} {} {}; dropped {}; longest {}",
        digests.len(),
        set.report.accepted as f64 / seconds,
        sum(|d| d.tokens.raw),
        sum(|d| d.tokens.item),
        sum(|d| d.tokens.behaviour),
        sum(|d| d.tokens.sequence),
        sum(|d| d.tokens.budget),
        digests.iter().map(|d| d.n_dropped_budget).sum::<u64>(),
        digests.iter().map(|d| d.tokens.sequence).max().unwrap_or_default(),
    ));
    assert!(digests.iter().all(|d| d.tokens.budget <= budget));
    digests
}

#[test]
fn uci_online_retail() {
    let Some(data) = data() else { return };
    let set = import(
        Preset::UciOnlineRetail,
        data.join("uci_online_retail/events_until_2011-09.csv"),
        None,
    );
    let report = &set.report;
    assert_eq!((report.rows, report.rejected), (370_931, 0));
    assert_eq!(report.skipped["no user"], 98_056);
    let skipped: u64 = report.skipped.values().sum();
    assert_eq!(report.accepted + report.duplicates + skipped, report.rows);
    assert!((3600..3659).contains(&report.users), "{}", report.users);
    assert!(report.event_types[&EventType::Return] > 5000);
    let items = &set.items.items;
    assert!((3500..3900).contains(&items.len()), "{}", items.len());
    let heart = items.iter().find(|i| i.item_id == "85123A").unwrap();
    assert_eq!(heart.title, "WHITE HANGING HEART T-LIGHT HOLDER");
    assert!(items.iter().all(|i| i.item_id != "POST" && !i.title.is_empty()));

    let whole = digests(&set, &Taxonomy::default(), 128_000);
    assert!(whole.iter().all(|d| d.n_dropped_budget == 0));
    let small = digests(&set, &Taxonomy::default(), 300);
    say(&small[100].text());
}

#[test]
fn taobao_behavior() {
    let Some(data) = data() else { return };
    let set = import(Preset::TaobaoBehavior, data.join("taobao_behavior/events.csv"), None);
    let report = &set.report;
    assert_eq!((report.rows, report.users), (68_139, 660));
    assert_eq!(report.rejected_by_reason["implausible_time"], report.rejected);
    assert_eq!(report.accepted + report.duplicates + report.rejected, report.rows);
    assert_eq!(report.longest_history, 539);
    let mut items = set.items.items.clone();
    assert_eq!((items.len(), set.items.report.rejected), (45_465, 0));
    let taxonomy = taxonomy_of(&items);
    assert_eq!(assign_categories(&mut items, &taxonomy), items.len());
    assert!(!Catalogue::new(items).unwrap().has_words());
    let all = digests(&set, &taxonomy, 128_000);
    assert!(all.iter().any(|d| d.text().contains("|c")));
}

#[test]
fn amazon_office() {
    let Some(data) = data() else { return };
    let folder = data.join("amazon_office");
    let set = import(
        Preset::AmazonSequences,
        folder.join("Office_Products.inter.json"),
        Some(folder.join("Office_Products.item.json")),
    );
    let report = &set.report;
    assert_eq!((report.rows, report.accepted, report.rejected), (53_258, 53_258, 0));
    assert_eq!((report.users, report.items, report.ordered_only), (4905, 2420, true));
    assert_eq!((set.items.items.len(), set.items.report.without_title), (2420, 0));
    let all = digests(&set, &Taxonomy::default(), 400);
    say(&all[7].text());
    let beauty = import(
        Preset::AmazonSequences,
        data.join("amazon_beauty/user_sequence.txt"),
        Some(data.join("amazon_beauty/item_generative_indexing_phase_0.txt")),
    );
    assert_eq!((beauty.report.accepted, beauty.report.users), (198_502, 22_363));
    assert_eq!(beauty.items.items.len(), 12_101);
}

#[test]
fn the_layouts_of_the_sets_are_guessed() {
    let Some(data) = data() else { return };
    for (file, preset) in [
        ("uci_online_retail/events_until_2011-09.csv", Preset::UciOnlineRetail),
        ("taobao_behavior/events.csv", Preset::TaobaoBehavior),
        ("amazon_office/Office_Products.inter.json", Preset::AmazonSequences),
        ("amazon_beauty/user_sequence.txt", Preset::AmazonSequences),
        ("amazon_video_games/Video_Games.inter.json", Preset::AmazonSequences),
    ] {
        let guess = events::import::guess(&data.join(file)).unwrap();
        assert_eq!(guess.config.preset, preset, "{file}");
    }
}

#[test]
fn product_taxonomy() {
    let Some(data) = data() else { return };
    let path = data.join("product_taxonomy/google_products_categories.json");
    let taxonomy = import_taxonomy(&path).unwrap();
    assert_eq!(taxonomy.len(), 5595);
    assert!(taxonomy.find("Animals & Pet Supplies > Live Animals").is_some());
}

#[test]
fn two_thousand_users_and_one_of_37_000_events_take_seconds() {
    use types::{Event, Item, Timestamp};
    let items: Vec<Item> = (0..5000)
        .map(|n| Item {
            item_id: format!("i{n}"),
            title: format!("brand{} waterproof colour{} thing kind{}", n % 50, n % 31, n % 400),
            ..Item::default()
        })
        .collect();
    let catalogue = Catalogue::new(items).unwrap();
    let cores = ItemCores::new(&catalogue, &Taxonomy::default());
    let words = |text: &str| text.split_whitespace().count();
    let now = Timestamp(1_700_000_000_000);
    let digester = Digester::new(&cores, &catalogue, DigestConfig::new(now, 400), &words);
    let history = |user: u64, n: u64| {
        let mut events: Vec<Event> = (0..n)
            .map(|k| {
                let dice = types::fnv1a64(&(user * 1_000_003 + k).to_le_bytes());
                let time = Timestamp(now.0 - ((n - k) * 60_000_000_000 / n) as i64);
                let kind = EventType::ALL[(dice % 12) as usize];
                let mut event = Event::new(&format!("{k:06}"), kind, "u", time);
                event.item_id = Some(format!("i{}", (dice >> 8) % 5000));
                event.query = (kind == EventType::Search).then(|| format!("query {}", dice % 99));
                event
            })
            .collect();
        events.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
        events::UserHistory { user_id: format!("u{user}"), events }
    };
    let histories: Vec<_> =
        (0..2001).map(|user| history(user, if user == 0 { 37_000 } else { 300 })).collect();
    let n: usize = histories.iter().map(|h| h.events.len()).sum();
    let start = Instant::now();
    for history in &histories {
        let digest = digester.digest(history).map_err(|e: EventsError| e.to_string()).unwrap();
        assert!(digest.tokens.budget <= 400);
    }
    let seconds = start.elapsed().as_secs_f64();
    say(&format!("{n} events in {seconds:.2} s on one core: {:.0} events/s", n as f64 / seconds));
    assert!(seconds < 60.0, "{seconds} s, where an idle core takes 2");
}
