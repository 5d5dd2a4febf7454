//! Raw files to the event store, the catalogue, the users and the taxonomy.

use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use events::{
    ImportReport, assign_categories, import_events, import_items, import_taxonomy, import_users,
    tables, taxonomy_of,
};
use intent::TagToCategory;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use types::{Catalogue, Item, Taxonomy};

use super::Context;
use crate::progress::Progress;
use crate::settings::Settings;

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

pub(crate) fn run(ctx: &Context, bar: &Progress) -> Result<String> {
    let config = &ctx.settings.import;
    let show = |done, total| bar.set(done, total);
    let items = import_items(config, &show)?;
    let users = import_users(config, &show)?;
    let (taxonomy, catalogue, placed) = categorise(items.items, config.taxonomy.as_ref())?;
    let quarantine = ctx.ws.path_for_writing("quarantine.parquet")?;
    let events = import_events(config, &ctx.ws.path("events"), &quarantine, &show)?;
    tables::write_items(&ctx.ws.path_for_writing("items.parquet")?, catalogue.items())?;
    tables::write_taxonomy(&ctx.ws.path("taxonomy.parquet"), &taxonomy)?;
    tables::write_users(&ctx.ws.path("users.parquet"), &users.users)?;
    let part = ImportPart {
        events,
        items: items.report,
        categories: taxonomy.len(),
        items_categorised: placed,
        items_without_category: catalogue.items().iter().filter(|i| i.category.is_none()).count(),
        users_with_attributes: users.users.len(),
        users_rejected: users.rejected.len(),
    };
    ctx.ws.write_json(PART, &part)?;
    let e = &part.events;
    Ok(format!(
        "{} events of {} users on {} items; {} rows refused, {} skipped, {} duplicates",
        e.accepted,
        e.users,
        catalogue.len(),
        e.rejected,
        e.skipped.values().sum::<u64>(),
        e.duplicates
    ))
}

/// Files with their sizes and times of change, so that changed input is imported again.
pub(crate) fn fingerprints(settings: &Settings) -> Vec<(PathBuf, u64, u128)> {
    let import = &settings.import;
    let files = [&import.events, &import.items, &import.users];
    let files = files.into_iter().flat_map(|s| &s.files).chain(&import.taxonomy);
    let of = |path: &PathBuf| {
        let meta = std::fs::metadata(path).ok();
        let changed = meta.as_ref().and_then(|m| m.modified().ok());
        let changed = changed.and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
        (path.clone(), meta.map_or(0, |m| m.len()), changed.map_or(0, |d| d.as_nanos()))
    };
    files.map(of).collect()
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
