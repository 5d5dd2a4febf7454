//! What an item must be to go on sale.

use types::Item;

use crate::ServeError;

/// Most characters of an id, and of a title.
const MAX_ID_CHARS: usize = 512;
const MAX_TITLE_CHARS: usize = 2_000;

/// Refuses an item that could not be found, or not be written down.
///
/// # Errors
/// [`ServeError::Item`] with what is wrong and the mend.
pub fn check_item(item: &Item) -> Result<(), ServeError> {
    let wrong = |detail: &str| {
        let item_id = item.item_id.chars().filter(|c| !c.is_control()).take(40).collect();
        Err(ServeError::Item { item_id, detail: detail.to_owned() })
    };
    let id = &item.item_id;
    if id.trim().is_empty() || id.chars().count() > MAX_ID_CHARS || id.chars().any(char::is_control)
    {
        return wrong("needs an id of 1 to 512 characters, none of control");
    }
    if item.title.chars().count() > MAX_TITLE_CHARS {
        return wrong("has a title of more than 2,000 characters; shorten it");
    }
    if item.price.is_some_and(|price| !price.is_finite() || price < 0.0) {
        return wrong("has a price that is no number of 0 or more");
    }
    let says = |text: &str| text.chars().any(char::is_alphanumeric);
    let attributes = item.attributes.iter().any(|(_, value)| says(value));
    if !says(&item.title) && !says(&item.category_path) && !attributes {
        return wrong("needs a title, a category or attributes, so that it can be found");
    }
    Ok(())
}
