//! Which texts of a digest speak for which category, and how loudly.

use types::{CategoryId, Digest, DigestLine, EventType};

/// One item or query of a digest that has a category.
#[derive(Debug, Clone)]
pub(crate) struct Support<'a> {
    /// Row of the digest line.
    pub line: usize,
    /// Place of the text in its line.
    pub place: usize,
    /// The text as the digest has it.
    pub text: &'a str,
    /// Its category.
    pub category: CategoryId,
    /// Behaviours on it over all its contexts, purchases weighing most.
    pub weight: u64,
}

/// Every text of the digest that has a category, in the digest's order.
pub(crate) fn supports<'a>(
    digest: &'a Digest,
    category_of: &(dyn Fn(&str) -> Option<CategoryId> + Sync),
) -> Vec<Support<'a>> {
    let mut found = Vec::new();
    for (row, line) in digest.lines.iter().enumerate() {
        for (place, (text, weight)) in texts(line).into_iter().enumerate() {
            if intent::plain(text).is_empty() {
                continue;
            }
            if let Some(category) = category_of(text) {
                found.push(Support { line: row, place, text, category, weight });
            }
        }
    }
    found
}

/// Items with the weight of the line's behaviours, then queries with the weight of their searches.
fn texts(line: &DigestLine) -> Vec<(&str, u64)> {
    let behaviours = || line.contexts.iter().flat_map(|c| &c.behaviours);
    let weight: u64 = behaviours().map(|(behaviour, _)| weight_of(*behaviour)).sum();
    let mut texts: Vec<(&str, u64)> =
        line.items.iter().map(|item| (item.as_str(), weight.max(1))).collect();
    for query in behaviours().filter_map(|(_, query)| query.as_deref()) {
        match texts.iter_mut().find(|(text, _)| *text == query) {
            Some((_, weight)) => *weight += weight_of(EventType::Search),
            None => texts.push((query, weight_of(EventType::Search))),
        }
    }
    texts
}

fn weight_of(behaviour: EventType) -> u64 {
    match behaviour {
        EventType::Purchase => 6,
        EventType::Cart | EventType::Favorite => 4,
        EventType::Search => 3,
        EventType::DetailView | EventType::ReviewRead | EventType::Share => 2,
        EventType::Click | EventType::Dwell => 1,
        EventType::Impression | EventType::Return | EventType::Dislike => 0,
    }
}
