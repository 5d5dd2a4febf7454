//! A configuration to start from, out of what was guessed about a file of events.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use events::ImportConfig;
use events::import::{ColumnRef, Preset, SourceConfig, is_url};
use lm::write_whole;
use serde::Serialize;

use crate::failure::Usage;

/// Adds the catalogue: a file beside that looks like one, else items derived from the log.
pub(super) fn with_items(mut config: ImportConfig, notes: &mut Vec<String>) -> ImportConfig {
    let derived_by_preset =
        matches!(config.preset, Preset::UciOnlineRetail | Preset::TaobaoBehavior | Preset::Tianchi);
    if derived_by_preset {
        config.items.format = config.events.format;
        config.items.delimiter = config.events.delimiter;
        return config;
    }
    let beside = config.events.files.first().and_then(|file| catalogue_beside(file));
    if let Some(file) = beside {
        notes.push(format!("catalogue: {}", file.display()));
        config.items.files = vec![file];
        return config;
    }
    if config.preset == Preset::AmazonSequences {
        notes.push("no catalogue beside it: name one in [import.items]".to_owned());
        return config;
    }
    notes.push(
        "no catalogue: items are derived from the log; name one in [import.items]".to_owned(),
    );
    let id = config.events.columns.get("item_id").cloned();
    let id = id.or_else(|| {
        (config.preset == Preset::Recombee)
            .then(|| ColumnRef::Names(vec!["itemId".to_owned(), "params.itemId".to_owned()]))
    });
    config.items = SourceConfig {
        derive: Some(true),
        format: config.events.format,
        delimiter: config.events.delimiter,
        columns: id.into_iter().map(|column| ("item_id".to_owned(), column)).collect(),
        ..SourceConfig::default()
    };
    config
}

/// Another file of the folder whose name says that it holds items.
fn catalogue_beside(events: &Path) -> Option<PathBuf> {
    let name = |path: &Path| path.file_name().map(|n| n.to_string_lossy().to_lowercase());
    let mut found: Vec<PathBuf> = std::fs::read_dir(events.parent()?)
        .ok()?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path != events && path.is_file())
        .filter(|path| {
            let words = [".item", "items.", "products.", "catalog", "item_"];
            name(path).is_some_and(|name| words.iter().any(|word| name.contains(word)))
        })
        .collect();
    found.sort();
    found.into_iter().next()
}

/// The shop's name and workspace, and the import.
#[derive(Serialize)]
struct Starter<'a> {
    name: &'a str,
    workspace: String,
    import: toml::Table,
}

/// Writes the configuration; `out` or a new file in the current folder.
pub(super) fn write(
    config: &ImportConfig,
    file: &Path,
    out: Option<&Path>,
    notes: &[String],
) -> Result<PathBuf> {
    let stem = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = stem.split('.').next().filter(|s| !s.is_empty()).unwrap_or("shop").to_owned();
    let path = out.map_or_else(|| PathBuf::from(format!("{stem}.toml")), Path::to_owned);
    if out.is_none() && path.exists() {
        return Err(anyhow!(Usage(format!(
            "{} is there already; say where the configuration goes with --out",
            path.display()
        ))));
    }
    let mut config = config.clone();
    for entry in config.events.files.iter_mut().chain(&mut config.items.files) {
        // The configuration may lie anywhere.
        if is_url(entry) {
            continue;
        }
        *entry = std::fs::canonicalize(&*entry).with_context(|| entry.display().to_string())?;
    }
    let mut import = toml::Table::try_from(&config).context("writing the configuration")?;
    drop_empty(&mut import);
    let starter = Starter { name: &stem, workspace: format!("workspaces/{stem}"), import };
    let mut text = String::from("# Written by `recgpt validate`; see docs/import.md.\n");
    for note in notes {
        text += &format!("# {}\n", note.replace(['\n', '\r'], " "));
    }
    text += &toml::to_string(&starter).context("writing the configuration")?;
    write_whole(&path, text.as_bytes()).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

fn drop_empty(table: &mut toml::Table) {
    for (_, value) in table.iter_mut() {
        if let toml::Value::Table(below) = value {
            drop_empty(below);
        }
    }
    table.retain(|_, value| match value {
        toml::Value::Table(below) => !below.is_empty(),
        toml::Value::Array(list) => !list.is_empty(),
        toml::Value::String(_)
        | toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_) => true,
    });
}
