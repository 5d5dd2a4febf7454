//! Raw files to the event store, the catalogue, the users and the taxonomy.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use events::import::{Forgotten, ImportMode, ImportTarget, expand_files, stage_events};
use events::{
    ImportConfig, ImportReport, assign_categories, import_items, import_taxonomy, import_users,
    tables, taxonomy_of,
};
use intent::TagToCategory;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use types::{Catalogue, Item, Taxonomy, User};

use super::added;
use super::sources::{RawFile, SOURCES, Sources};
use super::{Context, SETTINGS, Step};
use crate::machine::peak_memory_bytes;
use crate::progress::Progress;
use crate::settings::Settings;
use crate::workspace::{Stamp, hash_inputs, stage, stage_json, stage_stamp};

/// What the import found; `reports/parts/import.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ImportPart {
    pub(crate) events: ImportReport,
    pub(crate) items: events::import::ItemsReport,
    pub(crate) categories: usize,
    /// Items that the Tag-to-Category model placed.
    pub(crate) items_categorised: usize,
    pub(crate) items_without_category: usize,
    pub(crate) users_with_attributes: usize,
    pub(crate) users_rejected: usize,
}

pub(crate) const PART: &str = "reports/parts/import.json";

pub(crate) const ITEMS: &str = "items.parquet";
pub(crate) const USERS: &str = "users.parquet";
pub(crate) const TAXONOMY: &str = "taxonomy.parquet";
pub(crate) const QUARANTINE: &str = "quarantine.parquet";

/// Who asked to be forgotten.
pub(crate) const FORGOTTEN: &str = "forgotten.json";

/// How much is read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum How<'a> {
    /// The configuration's files are everything.
    Whole,
    /// As [`How::Whole`], and what was appended beside them is dropped.
    Replace,
    /// These files are added; none are those of the configuration that are new or have changed.
    Append(&'a [PathBuf]),
}

/// What is read, and how it is noted.
struct Plan {
    config: ImportConfig,
    mode: ImportMode,
    sources: Sources,
}

/// The catalogue as it will be.
struct Tables {
    items: Vec<Item>,
    report: events::import::ItemsReport,
    taxonomy: Taxonomy,
    placed: usize,
    users: Vec<User>,
    users_rejected: usize,
    /// How far the journal of added items was read.
    added_until: u64,
}

/// Reads and stages everything, and makes it the state of the workspace at once.
pub(crate) fn run(ctx: &Context, how: How<'_>, bar: &Progress) -> Result<String> {
    let start = Instant::now();
    let mut staging = ctx.ws.begin()?;
    let Some(plan) = plan(ctx, how)? else { return Ok("no file is new".to_owned()) };
    let is_replaced = matches!(how, How::Replace);
    let show = |done, total| bar.set(done, total);
    let tables = read_tables(ctx, &plan, is_replaced, &show)?;
    let forgotten = Forgotten::read(&ctx.ws.path(FORGOTTEN))?;
    let target = ImportTarget { store: Path::new("events"), quarantine: Path::new(QUARANTINE) };
    let how = (plan.mode, &forgotten);
    let events = stage_events(&plan.config, target, how, &mut staging, &show)?;
    let (line, part) = (line(&events, tables.items.len()), part(events, &tables));
    stage_json(&mut staging, PART, &part)?;
    stage_json(&mut staging, SOURCES, &plan.sources)?;
    stage(&mut staging, SETTINGS, ctx.settings.to_toml()?.as_bytes())?;
    let users: Vec<User> =
        tables.users.iter().filter(|u| !forgotten.contains(&u.user_id)).cloned().collect();
    match is_replaced {
        true => added::stage_none(&mut staging),
        false => added::stage_folded(&mut staging, tables.added_until)?,
    }
    tables::write_items(&staging.file(ITEMS)?, &tables.items)?;
    tables::write_taxonomy(&staging.file(TAXONOMY)?, &tables.taxonomy)?;
    tables::write_users(&staging.file(USERS)?, &users)?;
    let content = hash_inputs(&(&part.events.content_hash, &tables.items, &users), &[])?;
    let stamp = Stamp {
        inputs: Step::Import.inputs(ctx)?,
        seconds: start.elapsed().as_secs_f64(),
        peak_memory_bytes: peak_memory_bytes(),
        content: Some(content),
    };
    stage_stamp(&mut staging, Step::Import.name(), &stamp)?;
    staging.commit()?;
    Ok(line)
}

/// What to read; none where every file was read before.
fn plan(ctx: &Context, how: How<'_>) -> Result<Option<Plan>> {
    let mut config = ctx.settings.import.clone();
    let mut sources = Sources::read(&ctx.ws)?;
    let named = raw_files(&config.events.files)?;
    let How::Append(extra) = how else {
        if matches!(how, How::Whole) {
            sources.check_whole(&named)?;
        }
        let sources = Sources { files: named, appended: Vec::new() };
        return Ok(Some(Plan { config, mode: ImportMode::Replace, sources }));
    };
    let files = if extra.is_empty() { named.clone() } else { raw_files(extra)? };
    let new: Vec<RawFile> = files.into_iter().filter(|file| !sources.has(file)).collect();
    if new.is_empty() {
        return Ok(None);
    }
    config.events.files = new.iter().map(|file| file.path.clone()).collect();
    sources.append(&new, &named);
    Ok(Some(Plan { config, mode: ImportMode::Append, sources }))
}

fn raw_files(entries: &[PathBuf]) -> Result<Vec<RawFile>> {
    let files = expand_files("events", entries)?;
    Ok(files.iter().map(|path| RawFile::now(path)).collect())
}

fn read_tables(
    ctx: &Context,
    plan: &Plan,
    is_replaced: bool,
    show: &events::Progress<'_>,
) -> Result<Tables> {
    let taxonomy_file = plan.config.taxonomy.as_ref();
    let mut read = import_items(&plan.config, show)?;
    let users = import_users(&plan.config, show)?;
    read.report.warnings.extend(users.warnings);
    let users_rejected = users.rejected.len();
    let (taxonomy, catalogue, placed) = categorise(read.items, taxonomy_file)?;
    let mut items = catalogue.items().to_vec();
    let mut all_users = users.users;
    let is_append = plan.mode == ImportMode::Append && ctx.ws.path(ITEMS).exists();
    let (added, added_until) = match (is_append, is_replaced) {
        (true, _) => added::pending(&ctx.ws)?,
        (false, false) => added::since(&ctx.ws, 0)?,
        (false, true) => (Vec::new(), 0),
    };
    let is_changed = is_append || !added.is_empty();
    if is_append {
        // What is there keeps its place; a new row with the same id is the newer knowledge, unless it
        // was only put together from the log.
        let old = tables::read_items(&ctx.ws.path(ITEMS))?;
        let old = merged(old, added, |item| &item.item_id, true);
        items = merged(old, items, |item| &item.item_id, !read.report.derived);
        let old = tables::read_users(&ctx.ws.path(USERS))?;
        all_users = merged(old, all_users, |user| &user.user_id, true);
    } else {
        // The files are the newer knowledge; of one id the last that was added.
        let added = merged(Vec::new(), added, |item| &item.item_id, true);
        items = merged(items, added, |item| &item.item_id, read.report.derived);
    }
    let all_taxonomy = match is_changed && taxonomy_file.is_none() {
        true => taxonomy_of(&items),
        false => taxonomy,
    };
    if is_changed {
        assign_categories(&mut items, &all_taxonomy);
    }
    Ok(Tables {
        items,
        report: read.report,
        taxonomy: all_taxonomy,
        placed,
        users: all_users,
        users_rejected,
        added_until,
    })
}

/// The old rows and behind them the new ones; of two with one id the new one, where `newer_wins`.
fn merged<T>(old: Vec<T>, new: Vec<T>, id: impl Fn(&T) -> &String, newer_wins: bool) -> Vec<T> {
    let mut all = old;
    let mut places: HashMap<String, usize> =
        all.iter().enumerate().map(|(place, row)| (id(row).clone(), place)).collect();
    for row in new {
        match places.get(id(&row)) {
            Some(&place) if newer_wins => all[place] = row,
            Some(_) => {}
            None => {
                places.insert(id(&row).clone(), all.len());
                all.push(row);
            }
        }
    }
    all
}

fn part(events: ImportReport, tables: &Tables) -> ImportPart {
    ImportPart {
        events,
        items: tables.report.clone(),
        categories: tables.taxonomy.len(),
        items_categorised: tables.placed,
        items_without_category: tables.items.iter().filter(|i| i.category.is_none()).count(),
        users_with_attributes: tables.users.len(),
        users_rejected: tables.users_rejected,
    }
}

fn line(e: &ImportReport, items: usize) -> String {
    let added = match e.accepted == e.added {
        true => String::new(),
        false => format!(" ({} new; {} buckets written)", e.added, e.buckets_written),
    };
    format!(
        "{} events{added} of {} users on {items} items; {} rows refused, {} skipped, {} duplicates",
        e.accepted,
        e.users,
        e.rejected,
        e.skipped.values().sum::<u64>(),
        e.duplicates
    )
}

/// Files with their sizes and times of change, so that changed input is imported again.
pub(crate) fn fingerprints(settings: &Settings) -> Vec<RawFile> {
    let import = &settings.import;
    let sections = [("events", &import.events), ("items", &import.items), ("users", &import.users)];
    let mut files: Vec<PathBuf> = import.taxonomy.iter().cloned().collect();
    for (section, source) in sections {
        // What cannot be found is an error of the import itself.
        files.extend(expand_files(section, &source.files).unwrap_or_else(|_| source.files.clone()));
    }
    files.iter().map(|path| RawFile::now(path)).collect()
}

/// Gives every item its category: the one it names, else, with a taxonomy from outside and words to
/// read, the one that the Tag-to-Category model finds. Counts the items that the model placed.
pub(crate) fn categorise(
    mut items: Vec<Item>,
    taxonomy_file: Option<&PathBuf>,
) -> Result<(Taxonomy, Catalogue, usize)> {
    let named = items.iter().filter(|i| !i.category_path.is_empty()).count();
    let taxonomy = match taxonomy_file {
        Some(path) => import_taxonomy(path)?,
        None => taxonomy_of(&items),
    };
    let found = assign_categories(&mut items, &taxonomy);
    let mut placed = 0;
    if taxonomy_file.is_some() && found * 2 < items.len() {
        if named > 0 {
            return Err(anyhow!(
                "{named} items name a category, but only {found} of these paths are in the taxonomy; \
                 give the taxonomy that the catalogue uses, or leave `import.taxonomy` out"
            ));
        }
        let model = TagToCategory::from_taxonomy(&taxonomy);
        items.par_iter_mut().for_each(|item| {
            item.category = model.predict(&item.title).map(|(category, _)| category);
            if let Some(category) = item.category {
                taxonomy.path(category).clone_into(&mut item.category_path);
            }
        });
        placed = items.iter().filter(|i| i.category.is_some()).count();
    }
    let catalogue = Catalogue::new(items).context("reading the catalogue")?;
    Ok((taxonomy, catalogue, placed))
}
