//! The log that is measured on: long histories over five years, in sessions, from a fixed seed.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use events::import::SourceConfig;
use events::{EventStore, ImportConfig, ItemCores, import_events, scan_bucket, tables};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use types::{Catalogue, DAY_MS, EventType, Timestamp};
use world::{World, WorldConfig};

use crate::cli::BenchDigestArgs;
use crate::progress::{Progress, say};

const YEARS: i64 = 5;
/// Items that one user comes back to.
const FAVOURITES: usize = 300;
/// Events of a session, in the mean.
const SESSION: f64 = 14.0;
/// Shares of the types; what is left are clicks.
const TYPES: [(EventType, f64); 9] = [
    (EventType::Impression, 0.05),
    (EventType::DetailView, 0.22),
    (EventType::Search, 0.07),
    (EventType::Cart, 0.09),
    (EventType::Favorite, 0.06),
    (EventType::Purchase, 0.05),
    (EventType::ReviewRead, 0.04),
    (EventType::Dwell, 0.015),
    (EventType::Return, 0.005),
];

/// What lies in the folder: `events`, `items.parquet`, `taxonomy.parquet`, `cores.jsonl`.
pub(super) struct Work {
    pub(super) events: u64,
    pub(super) users: u64,
    /// Compressed bytes of the columns that a digest reads.
    pub(super) bytes: u64,
    /// `None` where the store was there already.
    pub(super) import_seconds: Option<f64>,
    /// The moment to look back from.
    pub(super) now: Timestamp,
}

impl Work {
    /// Makes the work in a folder; a store that is there already is measured as it is.
    pub(super) fn make(args: &BenchDigestArgs, dir: &Path) -> Result<Self> {
        let mut import_seconds = None;
        if !dir.join("events/manifest.json").exists() {
            std::fs::create_dir_all(dir)?;
            let start = Instant::now();
            write_log(args, dir)?;
            say(&format!("wrote the log in {:.1} s", start.elapsed().as_secs_f64()));
            import_seconds = Some(import(dir)?);
            std::fs::remove_file(dir.join("events.csv"))?;
        }
        let store = EventStore::open(&dir.join("events"))?;
        let mut bytes = 0;
        for bucket in 0..store.n_buckets() {
            bytes += scan_bucket(&store, bucket)?.bytes;
        }
        let manifest = store.manifest();
        let now = now_of(&store);
        Ok(Self { events: manifest.rows, users: manifest.users, bytes, import_seconds, now })
    }
}

/// A day after the last event.
pub(super) fn now_of(store: &EventStore) -> Timestamp {
    store.manifest().last.unwrap_or_default().plus_days(1)
}

fn import(dir: &Path) -> Result<f64> {
    let config = ImportConfig {
        events: SourceConfig { files: vec![dir.join("events.csv")], ..SourceConfig::default() },
        ..ImportConfig::default()
    };
    let bar = Progress::new("import");
    let start = Instant::now();
    import_events(&config, &dir.join("events"), &dir.join("quarantine.parquet"), &|done, all| {
        bar.set(done, all);
    })?;
    bar.finish();
    Ok(start.elapsed().as_secs_f64())
}

fn write_log(args: &BenchDigestArgs, dir: &Path) -> Result<()> {
    let end = Timestamp::from_date(2026, 11, 1).context("a date")?;
    let world = World::generate(
        &WorldConfig {
            users: 1,
            items: args.items,
            seed: args.seed,
            years: 1,
            holdout_days: 0,
            events_per_user: 1,
            heavy_user_events: None,
            end,
        },
        &|_, _| {},
    );
    let catalogue = Catalogue::new(world.items().to_vec())?;
    let cores = ItemCores::new(&catalogue, world.taxonomy());
    tables::write_items(&dir.join("items.parquet"), catalogue.items())?;
    tables::write_taxonomy(&dir.join("taxonomy.parquet"), world.taxonomy())?;
    let ids: Vec<&str> = catalogue.items().iter().map(|i| i.item_id.as_str()).collect();
    let mut file = BufWriter::new(File::create(dir.join("cores.jsonl"))?);
    for id in &ids {
        writeln!(file, "{}", serde_json::json!({ "item_id": id, "core": cores.core(id) }))?;
    }
    file.flush()?;
    let mut file = BufWriter::with_capacity(1 << 20, File::create(dir.join("events.csv"))?);
    file.write_all(b"event_id,event_type,user_id,item_id,timestamp,query,session_id\n")?;
    let mut rng = Pcg64Mcg::seed_from_u64(args.seed);
    let (mut left, mut user) = (args.events, 0);
    let bar = Progress::new("log");
    let mut rows = String::new();
    while left > 0 {
        // log-normal with sigma .8, so that some histories are several times the mean
        let scale = (0.8 * normal(&mut rng) - 0.32).exp();
        let n = ((args.mean_history as f64 * scale) as u64).clamp(20, left.max(20)).min(left);
        rows.clear();
        write_user(user, n, end, (&ids, &cores), &mut rng, &mut rows);
        file.write_all(rows.as_bytes())?;
        left -= n;
        user += 1;
        bar.set(args.events - left, args.events);
    }
    bar.finish();
    Ok(file.flush()?)
}

fn normal(rng: &mut Pcg64Mcg) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

fn write_user(
    user: u64,
    n: u64,
    end: Timestamp,
    shop: (&[&str], &ItemCores),
    rng: &mut Pcg64Mcg,
    rows: &mut String,
) {
    let (ids, cores) = shop;
    let span = YEARS * 365 * DAY_MS;
    let n_sessions = (n as f64 / SESSION).ceil() as usize;
    let mut starts: Vec<i64> = (0..n_sessions)
        .map(|_| end.0 - span + (rng.random::<f64>() * span as f64) as i64)
        .collect();
    starts.sort_unstable();
    let popular = |rng: &mut Pcg64Mcg| (rng.random::<f64>().powi(3) * ids.len() as f64) as usize;
    let favourites: Vec<usize> = (0..FAVOURITES).map(|_| popular(rng)).collect();
    let (mut time, mut written) = (i64::MIN, 0);
    for (session, start) in starts.iter().enumerate() {
        time = time.saturating_add(1000).max(*start);
        let of_session = (n - written).div_ceil((n_sessions - session) as u64);
        for _ in 0..of_session {
            time += rng.random_range(2_000..90_000);
            let item = match rng.random::<f64>() < 0.6 {
                true => favourites[(rng.random::<f64>().powi(2) * FAVOURITES as f64) as usize],
                false => popular(rng),
            };
            let mut draw: f64 = rng.random();
            let kind = TYPES.into_iter().find(|(_, share)| {
                draw -= share;
                draw < 0.0
            });
            let kind = kind.map_or(EventType::Click, |(kind, _)| kind);
            let _ = write!(rows, "e{user}-{written},{},u{user:07},", kind.as_str());
            let _ = if kind == EventType::Search {
                write!(rows, ",{time},{},s{user}-{session}", cores.core(ids[item]))
            } else {
                write!(rows, "{},{time},,s{user}-{session}", ids[item])
            };
            rows.push('\n');
            written += 1;
        }
    }
}
