//! `recgpt validate`: how a file would be read, or what is wrong with the files of a configuration.
//! Nothing is imported: the store is written into a folder that is thrown away.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use comfy_table::{Table, presets};
use events::import::{Guess, ItemsReport, SEE_QUARANTINE, guess};
use events::tables::{RejectReason, RejectedRow, read_quarantine};
use events::{EventsError, ImportConfig, ImportReport, import_events, import_items, import_users};
use serde::Serialize;

use crate::cli::{RunArgs, ValidateArgs};
use crate::commands::run::settings;
use crate::failure::Usage;
use crate::progress::{Progress, print};
use crate::terminal::shown;

mod starter;

/// Characters of a cell.
const CELL: usize = 40;

pub(crate) fn run(args: &ValidateArgs, json: bool) -> Result<()> {
    match (&args.file, &args.config) {
        (Some(file), _) => file_alone(file, args.out.as_deref(), json),
        (None, Some(config)) => {
            let args = RunArgs { config: config.clone(), workspace: None };
            let found = check(&settings(&args)?.import)?;
            if json {
                return print_json(&found);
            }
            found.print();
            Ok(())
        }
        (None, None) => Err(anyhow!(Usage("name a file, or a configuration with --config".into()))),
    }
}

/// What a whole reading of the files found.
#[derive(Serialize)]
struct Found {
    events: ImportReport,
    items: ItemsReport,
    users: usize,
    users_rejected: usize,
    /// The first refused row of every reason; the others were not kept.
    examples: Vec<RejectedRow>,
}

/// What `--json` prints about a file.
#[derive(Serialize)]
struct Report {
    config: ImportConfig,
    notes: Vec<String>,
    first_events: Vec<types::Event>,
    found: Found,
    /// Where the configuration to start from was written.
    starter: PathBuf,
}

fn file_alone(file: &Path, out: Option<&Path>, json: bool) -> Result<()> {
    let Guess { config, mut notes, preview } = guess(file)?;
    let config = starter::with_items(config, &mut notes);
    let mut lenient = config.clone();
    lenient.events.max_reject_rate = Some(1.0);
    lenient.items.max_reject_rate = Some(1.0);
    let found = check(&lenient)?;
    let starter = starter::write(&config, file, out, &notes)?;
    if json {
        let first_events = preview.events;
        return print_json(&Report { config, notes, first_events, found, starter });
    }
    print(&format!("{}: {}", file.display(), notes.join("; ")));
    print(&rows(&preview.events));
    found.print();
    print(&format!("configuration to start from: {}", starter.display()));
    print(&format!("next: recgpt run --config {}", starter.display()));
    Ok(())
}

fn check(import: &ImportConfig) -> Result<Found> {
    let folder = std::env::temp_dir().join(format!("recgpt-validate-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let bar = Progress::new("validate");
    let show = |done, total| bar.set(done, total);
    let result = (|| {
        let mut items = import_items(import, &show)?.report;
        let users = import_users(import, &show)?;
        items.warnings.extend(users.warnings);
        let quarantine = folder.join("quarantine.parquet");
        let mut events = import_events(import, &folder.join("events"), &quarantine, &show)?;
        events.warnings.retain(|warning| !warning.ends_with(SEE_QUARANTINE)); // nobody will find it
        Ok::<_, EventsError>(Found {
            events,
            items,
            users: users.users.len(),
            users_rejected: users.rejected.len(),
            examples: examples(read_quarantine(&quarantine)?),
        })
    })();
    bar.finish();
    std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    Ok(result.map_err(without_quarantine)?)
}

/// The folder that held the refused rows is gone.
fn without_quarantine(mut error: EventsError) -> EventsError {
    if let EventsError::TooManyRejects { quarantine, .. } = &mut error {
        *quarantine = None;
    }
    error
}

/// The first row of every reason.
fn examples(rejected: Vec<RejectedRow>) -> Vec<RejectedRow> {
    let mut first: BTreeMap<RejectReason, RejectedRow> = BTreeMap::new();
    for row in rejected {
        first.entry(row.reason).or_insert(row);
    }
    first.into_values().collect()
}

impl Found {
    fn print(&self) {
        let (events, items) = (&self.events, &self.items);
        print(&format!(
            "events: {} rows, {} accepted, {} refused, {} duplicates; {} users, {} items",
            events.rows,
            events.accepted,
            events.rejected,
            events.duplicates,
            events.users,
            items.items
        ));
        for (reason, rows) in events.rejected_by_reason.iter().chain(&items.rejected_by_reason) {
            print(&format!("  refused, {reason}: {rows}"));
        }
        for row in &self.examples {
            print(&format!("    {}:{}: {}", row.file, row.line, row.message));
            print(&format!("      mend: {}", row.reason.mend()));
        }
        if events.rejected > 0 {
            print(
                "  the refused rows were not kept; `recgpt import` writes them to quarantine.parquet",
            );
        }
        for (reason, rows) in events.skipped.iter().chain(&items.skipped) {
            print(&format!("  left out, {reason}: {rows}"));
        }
        for warning in events.warnings.iter().chain(&items.warnings) {
            print(&format!("  warning: {warning}"));
        }
    }
}

/// The events as a table, with the columns that any of them fills.
fn rows(events: &[types::Event]) -> String {
    let cells = |e: &types::Event| {
        let number = |n: Option<f64>| n.map(|n| n.to_string());
        [
            ("user_id", Some(e.user_id.clone())),
            ("event_type", Some(e.event_type.as_str().to_owned())),
            ("item_id", e.item_id.clone()),
            ("timestamp", Some(e.timestamp.rfc3339())),
            ("value", number(e.value)),
            ("query", e.query.clone()),
            ("session_id", e.session_id.clone()),
            ("request_id", e.request_id.clone()),
            ("position", e.position.map(|p| p.to_string())),
        ]
    };
    let all: Vec<_> = events.iter().map(cells).collect();
    let used: Vec<usize> =
        (0..9).filter(|&column| all.iter().any(|row| row[column].1.is_some())).collect();
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(used.iter().map(|&c| all.first().map_or("", |row| row[c].0)));
    for row in &all {
        let shown = |c: &usize| shown(row[*c].1.as_deref().unwrap_or("-"), CELL);
        table.add_row(used.iter().map(shown));
    }
    table.to_string()
}

fn print_json<T: Serialize>(value: &T) -> Result<()> {
    print(&serde_json::to_string_pretty(value)?);
    Ok(())
}
