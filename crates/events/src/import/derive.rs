//! Items out of a log that carries their names in every row.
//!
//! Per item: the most frequent title among rows with a positive price (a correction of stock has
//! none), the median price, the most frequent category. An item that was never sold is left out.

use std::collections::BTreeMap;

use types::Item;

use super::catalogue::{ItemsImport, each_row, prefixed, price, value};
use super::config::Source;
use super::mapper::{check_id, skips};
use super::rows::{BadRow, Names, Row, each_file};
use crate::{EventsError, Progress};

#[derive(Default)]
struct Facts {
    titles: BTreeMap<String, u64>,
    categories: BTreeMap<String, u64>,
    prices: BTreeMap<u64, u64>, // bits of a positive price sort as the price does
    n_rows: u64,
}

enum Kept {
    Yes,
    Skipped(&'static str),
}

/// Reads the event files again, for the items alone.
pub(super) fn items(source: &Source, progress: &Progress<'_>) -> Result<ItemsImport, EventsError> {
    let mut facts: BTreeMap<String, Facts> = BTreeMap::new();
    let mut import = ItemsImport::default();
    import.report.derived = true;
    let n_files = source.config.files.len() as u64;
    each_file(&source.config.files, &mut |idx, path| {
        progress(idx as u64, n_files);
        import.report.rows += each_row(path, source, &["item_id"], &mut |names, row| match row
            .and_then(|row| take(names, row, source, &mut facts))
        {
            Ok(Kept::Yes) => {}
            Ok(Kept::Skipped(why)) => {
                *import.report.skipped.entry(why.to_owned()).or_default() += 1;
            }
            Err(bad) => import.rejected.push(bad.at(path)),
        })?;
        Ok(())
    })?;
    progress(n_files, n_files);
    for (item_id, facts) in facts {
        if facts.n_rows == 0 {
            *import.report.skipped.entry("items never sold".to_owned()).or_default() += 1;
            continue;
        }
        import.items.push(Item {
            item_id,
            title: most_frequent(&facts.titles),
            category_path: most_frequent(&facts.categories),
            price: median(&facts.prices),
            ..Item::default()
        });
    }
    Ok(import)
}

fn take(
    names: &Names,
    row: &Row,
    source: &Source,
    facts: &mut BTreeMap<String, Facts>,
) -> Result<Kept, BadRow> {
    let text = |field: &str| value(source, names, row, field);
    // A search has no item; whether this row should have one is told by the import of events.
    let Some(id) = text("item_id") else { return Ok(Kept::Skipped("row without an item")) };
    check_id(row, "item_id", id)?;
    let upper = source.config.upper_item_ids == Some(true);
    let id = if upper { id.to_uppercase() } else { id.to_owned() };
    if skips(&source.config.skip_items, &id) {
        return Ok(Kept::Skipped("item is no product (skip_items)"));
    }
    let facts = facts.entry(id).or_default();
    if source.config.columns.contains_key("price") {
        let bits = match text("price") {
            Some(text) if !text.starts_with('-') => price(row, text)?.to_bits(),
            _ => 0,
        };
        if bits == 0 {
            return Ok(Kept::Skipped("row without a price"));
        }
        *facts.prices.entry(bits).or_default() += 1;
    }
    facts.n_rows += 1;
    if let Some(title) = text("title").filter(|t| t.chars().any(char::is_alphabetic)) {
        let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
        *facts.titles.entry(title).or_default() += 1;
    }
    if let Some(category) = text("category_path") {
        *facts.categories.entry(prefixed(source, category)).or_default() += 1;
    }
    Ok(Kept::Yes)
}

/// The first in order among the most frequent.
fn most_frequent(counts: &BTreeMap<String, u64>) -> String {
    let best = counts.iter().rev().max_by_key(|(_, n)| **n);
    best.map(|(text, _)| text.clone()).unwrap_or_default()
}

/// The lower median.
fn median(counts: &BTreeMap<u64, u64>) -> Option<f64> {
    let half = counts.values().sum::<u64>().div_ceil(2);
    let mut seen = 0;
    counts
        .iter()
        .find(|(_, n)| {
            seen += **n;
            seen >= half
        })
        .map(|(bits, _)| f64::from_bits(*bits))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{median, most_frequent};

    #[test]
    fn ties_and_medians_are_fixed() {
        let counts = |pairs: &[(&str, u64)]| {
            pairs.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(most_frequent(&counts(&[("b", 2), ("a", 2), ("c", 1)])), "a");
        assert_eq!(most_frequent(&counts(&[])), "");
        let prices = |pairs: &[(f64, u64)]| pairs.iter().map(|(p, n)| (p.to_bits(), *n)).collect();
        assert_eq!(median(&prices(&[(1.0, 1), (2.0, 1), (9.0, 1)])), Some(2.0));
        assert_eq!(median(&prices(&[(1.0, 1), (9.0, 1)])), Some(1.0));
        assert_eq!(median(&prices(&[(1.0, 1), (0.5, 5)])), Some(0.5));
        assert_eq!(median(&prices(&[])), None);
    }
}
