//! Items and users from raw files.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde::{Deserialize, Serialize};
use types::{Item, Taxonomy, User};

use super::config::{ColumnRef, Format, ImportConfig, Source, fault};
use super::derive;
use super::files::expand_files;
use super::mapper::{bad_number, check_id, missing, unknown_column};
use super::rows::{BadRow, Names, Row, each_file, read_file, total_bytes};
use super::sequences;
use crate::tables::{RejectReason, RejectedRow};
use crate::{EventsError, Progress};

/// The canonical columns of an item; every other column becomes an attribute.
const FIELDS: [&str; 8] = [
    "item_id",
    "title",
    "category_path",
    "brand",
    "merchant_id",
    "price",
    "listed_at",
    "description",
];

/// What an import of items found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ItemsReport {
    /// Rows read.
    pub rows: u64,
    /// Items kept.
    pub items: u64,
    /// Rows refused.
    pub rejected: u64,
    /// Refused rows per reason code.
    pub rejected_by_reason: BTreeMap<String, u64>,
    /// Items whose id an earlier one had; the first is kept.
    pub duplicates: u64,
    /// Items kept without a title.
    pub without_title: u64,
    /// Rows (or, when derived, items) left out on purpose, per reason.
    pub skipped: BTreeMap<String, u64>,
    /// Made from the log.
    pub derived: bool,
    /// What the owner of the data should know.
    pub warnings: Vec<String>,
}

/// Items, and what was found on the way.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ItemsImport {
    /// In the order of the files; derived ones by id.
    pub items: Vec<Item>,
    /// Counts.
    pub report: ItemsReport,
    /// Refused rows.
    pub rejected: Vec<RejectedRow>,
}

/// Users, and the rows that were refused.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct UsersImport {
    /// In the order of the files.
    pub users: Vec<User>,
    /// Rows read.
    pub rows: u64,
    /// Users whose id an earlier one had; the first is kept.
    pub duplicates: u64,
    /// Refused rows.
    pub rejected: Vec<RejectedRow>,
    /// What the owner of the files should look at.
    pub warnings: Vec<String>,
}

/// Reads the catalogue, or derives it from the log where the preset says so. `progress` counts
/// files.
///
/// # Errors
/// [`EventsError`] for a missing, empty or unreadable file, an unknown column, a wrong configuration,
/// or too many refused rows.
pub fn import_items(
    config: &ImportConfig,
    progress: &Progress<'_>,
) -> Result<ItemsImport, EventsError> {
    let mut source = config.items_source()?;
    let mut import = ItemsImport::default();
    if source.config.files.is_empty() {
        if source.config.derive != Some(true) {
            return Err(fault("import.items.files", "names no file, and this preset derives none"));
        }
        source.config.files = expand_files("events", &config.events.files)?;
        import = derive::items(&source, progress)?;
    } else {
        total_bytes(&source)?;
        let n_files = source.config.files.len() as u64;
        let empty = each_file(&source.config.files, &mut |idx, path| {
            progress(idx as u64, n_files);
            read_items(path, &source, &mut import)
        })?;
        import.report.warnings.extend(empty);
        progress(n_files, n_files);
    }
    finish(&source, import)
}

/// Reads the users; no file gives no users. `progress` counts files.
///
/// # Errors
/// As [`import_items`].
pub fn import_users(
    config: &ImportConfig,
    progress: &Progress<'_>,
) -> Result<UsersImport, EventsError> {
    let source = config.users_source()?;
    total_bytes(&source)?;
    let mut import = UsersImport::default();
    let mut seen = HashSet::new();
    let n_files = source.config.files.len() as u64;
    let empty = each_file(&source.config.files, &mut |idx, path| {
        progress(idx as u64, n_files);
        import.rows += each_row(path, &source, &["user_id"], &mut |names, row| match row
            .and_then(|row| user(names, row, &source))
        {
            Ok(user) if seen.insert(user.user_id.clone()) => import.users.push(user),
            Ok(_) => import.duplicates += 1,
            Err(bad) => import.rejected.push(bad.at(path)),
        })?;
        Ok(())
    })?;
    import.warnings.extend(empty);
    progress(n_files, n_files);
    check_rate(&source, import.rows, &import.rejected)?;
    Ok(import)
}

/// Sets the category of every item whose path the taxonomy knows, and clears the others; gives the
/// number of items set.
pub fn assign_categories(items: &mut [Item], taxonomy: &Taxonomy) -> usize {
    let mut n_set = 0;
    for item in items {
        item.category = taxonomy.find(&item.category_path);
        n_set += usize::from(item.category.is_some());
    }
    n_set
}

/// The tree of all category paths of the catalogue.
#[must_use]
pub fn taxonomy_of(items: &[Item]) -> Taxonomy {
    Taxonomy::from_paths(items.iter().map(|item| item.category_path.as_str()))
}

/// One spelling for a category: a JSON list becomes a path, spaces around `>` become one.
pub(super) fn category_path(text: &str) -> String {
    let list: Option<Vec<String>> = match text.starts_with('[') {
        true => serde_json::from_str(text).ok(),
        false => None,
    };
    let names = match &list {
        Some(names) => names.iter().map(String::as_str).collect::<Vec<_>>(),
        None => text.split('>').collect(),
    };
    let names: Vec<&str> = names.into_iter().map(str::trim).filter(|n| !n.is_empty()).collect();
    names.join(Taxonomy::SEPARATOR)
}

/// Reads a file and checks once that the needed columns are there.
pub(super) fn each_row(
    path: &Path,
    source: &Source,
    required: &[&str],
    each: &mut dyn FnMut(&Names, Result<&Row, BadRow>),
) -> Result<u64, EventsError> {
    let mut checked = false;
    read_file(path, source, &Arc::new(AtomicU64::new(0)), &mut |names, row| {
        if names.complete && !checked {
            checked = true;
            let explicit = source.explicit.iter().map(String::as_str);
            for field in required.iter().copied().chain(explicit) {
                let column = column_of(source, field);
                if names.find(&column).is_none() && !source.config.constants.contains_key(field) {
                    return Err(unknown_column(source.section, names, path, field, &column));
                }
            }
        }
        each(names, row);
        Ok(())
    })
}

/// The value of a canonical field.
pub(super) fn value<'r>(
    source: &'r Source,
    names: &Names,
    row: &'r Row,
    field: &str,
) -> Option<&'r str> {
    let cell = names.find(&column_of(source, field)).and_then(|idx| row.get(idx));
    cell.or_else(|| source.config.constants.get(field).map(String::as_str))
}

fn column_of(source: &Source, field: &str) -> ColumnRef {
    let default = || match field {
        "category_path" => {
            let names = ["category_path", "category", "categories"];
            ColumnRef::Names(names.map(str::to_owned).to_vec())
        }
        _ => ColumnRef::Name(field.to_owned()),
    };
    source.config.columns.get(field).cloned().unwrap_or_else(default)
}

fn read_items(path: &Path, source: &Source, import: &mut ItemsImport) -> Result<(), EventsError> {
    if source.format_of(path)? == Format::Sequences {
        let items = sequences::read_items(path)?;
        import.report.rows += items.len() as u64;
        import.items.extend(items);
        return Ok(());
    }
    import.report.rows += each_row(path, source, &["item_id"], &mut |names, row| match row
        .and_then(|row| item(names, row, source))
    {
        Ok(Some(item)) => import.items.push(item),
        Ok(None) => {
            let why = "no item metadata".to_owned();
            *import.report.skipped.entry(why).or_default() += 1;
        }
        Err(bad) => import.rejected.push(bad.at(path)),
    })?;
    Ok(())
}

/// One row to an item; `None` for a Metarank event of another kind.
fn item(names: &Names, row: &Row, source: &Source) -> Result<Option<Item>, BadRow> {
    let text = |field: &str| value(source, names, row, field);
    let event = names.find_name("event").and_then(|idx| row.get(idx));
    let metarank = event.is_some() && names.find_name("item").is_some();
    if metarank && event != Some("item") {
        return Ok(None);
    }
    let id = if metarank {
        names.find_name("item").and_then(|idx| row.get(idx))
    } else {
        text("item_id")
    };
    let id = id.ok_or_else(|| missing(row, "item_id"))?;
    check_id(row, "item_id", id)?;
    let field = |field: &str| {
        text(field)
            .or_else(|| names.find_name(&format!("fields.{field}")).and_then(|idx| row.get(idx)))
    };
    let mut item = Item {
        item_id: id.to_owned(),
        title: field("title").unwrap_or_default().to_owned(),
        category_path: prefixed(source, field("category_path").unwrap_or_default()),
        brand: field("brand").map(str::to_owned),
        merchant_id: field("merchant_id").map(str::to_owned),
        description: field("description").unwrap_or_default().to_owned(),
        ..Item::default()
    };
    item.price = field("price").map(|text| price(row, text)).transpose()?;
    if let Some(time) = field("listed_at") {
        let time = source.time_format.parse(time);
        item.listed_at = Some(time.map_err(|e| row.bad("listed_at", RejectReason::BadTime, e))?);
    }
    item.attributes = attributes(names, row, source, &FIELDS);
    Ok(Some(item))
}

/// A category with the configured prefix, in one spelling.
pub(super) fn prefixed(source: &Source, text: &str) -> String {
    match &source.config.category_prefix {
        Some(prefix) if !text.is_empty() => format!("{prefix}{text}"),
        _ => category_path(text),
    }
}

/// A price, with or without a sign of currency.
pub(super) fn price(row: &Row, text: &str) -> Result<f64, BadRow> {
    let number = text.trim_matches(|c: char| !c.is_ascii_digit() && c != '.' && c != '-');
    let price = number.parse::<f64>().ok().filter(|p| p.is_finite() && *p >= 0.0);
    price.ok_or_else(|| bad_number(row, "price", text))
}

fn user(names: &Names, row: &Row, source: &Source) -> Result<User, BadRow> {
    let id = value(source, names, row, "user_id").ok_or_else(|| missing(row, "user_id"))?;
    check_id(row, "user_id", id)?;
    let attributes = attributes(names, row, source, &["user_id"]);
    Ok(User { user_id: id.to_owned(), attributes })
}

/// Every cell that is no canonical field, in the order of the row.
fn attributes(names: &Names, row: &Row, source: &Source, fields: &[&str]) -> Vec<(String, String)> {
    let mut used: Vec<Option<usize>> =
        fields.iter().map(|field| names.find(&column_of(source, field))).collect();
    if source.section == "items" {
        used.extend(["category", "event", "item", "id"].map(|name| names.find_name(name)));
    }
    let rest = row.order.iter().filter(|idx| !used.contains(&Some(**idx)));
    rest.filter_map(|&idx| {
        let name = names.list.get(idx).cloned().unwrap_or_else(|| idx.to_string());
        let name = name.strip_prefix("attributes.").map_or(name.clone(), str::to_owned);
        Some((name, row.get(idx)?.to_owned()))
    })
    .collect()
}

fn finish(source: &Source, mut import: ItemsImport) -> Result<ItemsImport, EventsError> {
    check_rate(source, import.report.rows, &import.rejected)?;
    let mut seen = HashSet::new();
    let before = import.items.len();
    import.items.retain(|item| seen.insert(item.item_id.clone()));
    let report = &mut import.report;
    report.duplicates = (before - import.items.len()) as u64;
    report.items = import.items.len() as u64;
    report.rejected = import.rejected.len() as u64;
    report.without_title = import.items.iter().filter(|i| i.title.is_empty()).count() as u64;
    for row in &import.rejected {
        *report.rejected_by_reason.entry(row.reason.as_str().to_owned()).or_default() += 1;
    }
    let mut warn = |n: u64, text: &str| {
        if n > 0 {
            report.warnings.push(format!("{n} {text}"));
        }
    };
    warn(report.without_title, "items have no title");
    warn(report.duplicates, "items repeat an id; the first is kept");
    warn(report.rejected, "item rows were refused");
    Ok(import)
}

fn check_rate(source: &Source, rows: u64, rejected: &[RejectedRow]) -> Result<(), EventsError> {
    if rejected.len() as f64 <= source.max_reject_rate * rows as f64 {
        return Ok(());
    }
    let count = |reason| rejected.iter().filter(|r| r.reason == reason).count();
    let reason = RejectReason::ALL.into_iter().max_by_key(|r| count(*r)).expect("ALL is not empty");
    let first = rejected.iter().find(|r| r.reason == reason).expect("the most frequent one occurs");
    Err(EventsError::TooManyRejects {
        path: first.file.clone().into(),
        rejected: rejected.len() as u64,
        rows,
        limit: source.max_reject_rate,
        reason,
        line: first.line,
        message: format!("{} ({:?})", first.message, first.raw),
        quarantine: None,
    })
}
