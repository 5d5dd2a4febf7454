//! Texts of strangers (titles, queries, ids) made fit for a line of a digest.
//!
//! Nothing that a shop or a user wrote can end a line, open a context, or look like a token of a chat
//! template: separators and brackets become spaces, invisible characters go, and every text is short.

use std::borrow::Cow;

/// Characters of a query, or of an id that stands for an item, at most.
const MOST_CHARS: usize = 160;
const MOST_QUERY_WORDS: usize = 12;

/// The words of a query as a line writes them; empty where nothing is left.
pub(super) fn query_words(query: &str) -> String {
    if is_ready(query) { query.to_owned() } else { cleaned(query) }
}

/// Whether [`cleaned`] would leave a query as it is; most are lower-case words already.
fn is_ready(query: &str) -> bool {
    let (mut n_words, mut in_word) = (0, false);
    for &byte in query.as_bytes() {
        match byte {
            b' ' if in_word => in_word = false,
            b' ' => return false,
            _ if !byte.is_ascii_graphic() || byte.is_ascii_uppercase() => return false,
            _ if is_separator(char::from(byte)) => return false,
            _ => {
                n_words += usize::from(!in_word);
                in_word = true;
            }
        }
    }
    in_word && n_words <= MOST_QUERY_WORDS && query.len() <= MOST_CHARS
}

fn cleaned(query: &str) -> String {
    let words = plain(query);
    let words = words.split(' ').take(MOST_QUERY_WORDS);
    let mut short = String::new();
    for word in words {
        if !short.is_empty() {
            short.push(' ');
        }
        short.push_str(word);
    }
    shorten(&mut short);
    short
}

/// An id as a line writes it, where the catalogue lacks the item.
pub(super) fn id_text(item_id: &str) -> Cow<'_, str> {
    let harmless = |c: char| !(is_invisible(c) || is_separator(c) || c.is_whitespace());
    if item_id.len() <= MOST_CHARS && !item_id.is_empty() && item_id.chars().all(harmless) {
        return Cow::Borrowed(item_id);
    }
    let mut text = words_of(item_id);
    shorten(&mut text);
    Cow::Owned(if text.is_empty() { "?".to_owned() } else { text })
}

/// Without the characters that separate in a digest line; one space between words, lower case.
pub(super) fn plain(text: &str) -> String {
    words_of(text).to_lowercase()
}

/// Words with one space between, without what [`is_separator`] and [`is_invisible`] name.
fn words_of(text: &str) -> String {
    // far more than is kept, so that a text of megabytes costs no more than a page
    let text: String = text
        .chars()
        .take(64 * MOST_CHARS)
        .filter(|&c| !is_invisible(c))
        .map(|c| if is_separator(c) { ' ' } else { c })
        .collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What separates in a line, and what opens a tag or token of a chat template.
pub(super) fn is_separator(c: char) -> bool {
    c.is_control()
        || matches!(c, ',' | ';' | '|' | '(' | ')' | '<' | '>' | '[' | ']' | '{' | '}' | '`')
}

/// Characters without a shape of their own that turn the order of writing round or hide text: marks
/// of direction, zero-width spaces, byte-order marks, tags.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

fn shorten(text: &mut String) {
    if let Some((at, _)) = text.char_indices().nth(MOST_CHARS) {
        text.truncate(at);
        text.truncate(text.trim_end().len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{cleaned, is_ready};

    proptest! {
        #[test]
        fn a_query_that_is_ready_is_what_cleaning_leaves(query in r"([a-z0-9'.-]{1,6} ?){0,15}|[ -~é]{0,40}") {
            if is_ready(&query) {
                prop_assert_eq!(cleaned(&query), query);
            }
        }
    }

    #[test]
    fn plain_words_are_ready() {
        assert!(
            is_ready("hiking boots size-42")
                && !is_ready("Boots")
                && !is_ready("boots ")
                && !is_ready("")
        );
    }
}
