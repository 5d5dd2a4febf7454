//! From the names of a request's filter to rows of the catalogue.

use std::collections::HashSet;

use retrieval::SlateFilter;
use types::{CategoryId, Item, ItemId, Taxonomy};

use crate::ServeError;
use crate::request::{RequestFilter, refusal};
use crate::shelf::Shelf;

/// Items up to which all that pass a filter are scored one by one.
const FEW: usize = 20_000;

/// The filter in rows, with `exclude`; a name that the catalogue does not have is refused.
pub(crate) fn resolve(
    filter: &RequestFilter,
    exclude: HashSet<ItemId>,
    shelf: &Shelf,
) -> Result<SlateFilter, ServeError> {
    let mut categories = HashSet::new();
    for path in &filter.categories {
        let root =
            shelf.taxonomy().find(path).ok_or_else(|| no_category(path, shelf.taxonomy()))?;
        categories.extend(shelf.taxonomy().subtree(root));
    }
    for merchant in &filter.merchants {
        if !shelf.has_merchant(merchant) {
            return Err(refusal("merchant", merchant, "a merchant_id of the catalogue"));
        }
    }
    Ok(SlateFilter {
        exclude,
        categories,
        merchants: filter.merchants.iter().cloned().collect(),
        min_price: filter.min_price,
        max_price: filter.max_price,
    })
}

/// All items that pass, ascending, where a filter is set and few pass it.
pub(crate) fn few(filter: &SlateFilter, items: &[Item]) -> Option<Vec<ItemId>> {
    let SlateFilter { categories, merchants, min_price, max_price, exclude: _ } = filter;
    let is_open = categories.is_empty() && merchants.is_empty();
    if is_open && min_price.is_none() && max_price.is_none() {
        return None;
    }
    let ids = (0..items.len()).map(ItemId::from_idx);
    let passing = ids.filter(|&id| filter.allows(id, &items[id.idx()]));
    let found: Vec<ItemId> = passing.take(FEW + 1).collect();
    (found.len() <= FEW).then_some(found)
}

/// Names a category that was perhaps meant: one whose last name is that of the path.
fn no_category(path: &str, taxonomy: &Taxonomy) -> ServeError {
    let name = path.rsplit('>').next().unwrap_or(path).trim().to_lowercase();
    let meant = (0..taxonomy.len())
        .map(CategoryId::from_idx)
        .find(|&c| taxonomy.name(c).to_lowercase() == name)
        .map(|c| format!(", perhaps {:?}", taxonomy.path(c)));
    let expected = format!("a category path of the catalogue{}", meant.unwrap_or_default());
    refusal("category", path, &expected)
}
