//! The grammar of tags: modifiers and a core word, "waterproof non-slip" + "hiking boots".

use std::collections::HashSet;

use types::normalise_text;

use crate::stems::{is_cjk, stems};

/// Core phrases that are known, such as names of leaf categories or head nouns of a catalogue.
/// Phrases compare by their stems in order, so "hiking boot" is "hiking boots".
#[derive(Debug, Clone, Default)]
pub struct CoreWords {
    phrases: HashSet<String>,
    longest: usize,
}

impl CoreWords {
    /// Learns phrases; empty ones are passed over.
    pub fn new<'a>(phrases: impl IntoIterator<Item = &'a str>) -> Self {
        let mut cores = Self::default();
        for phrase in phrases {
            let stems = stems(phrase);
            if !stems.is_empty() {
                cores.longest = cores.longest.max(stems.len());
                cores.phrases.insert(stems.join(" "));
            }
        }
        cores
    }

    /// Whether the words of a phrase are a known core.
    #[must_use]
    pub fn contains(&self, phrase: &str) -> bool {
        self.phrases.contains(&stems(phrase).join(" "))
    }
}

/// Words after which the head of an English noun phrase is over.
const PREPOSITIONS: [&str; 11] =
    ["for", "with", "without", "of", "in", "to", "from", "by", "on", "at", "and"];

/// Splits a tag into modifiers and core, both in lower case.
///
/// The core is the longest known phrase that ends the tag; else the longest that ends the part before
/// the first preposition; else the last word of that part (of Chinese without spaces, the last two
/// characters). `None` where no modifier is left: such a text is no tag.
#[must_use]
pub fn split_tag(text: &str, cores: &CoreWords) -> Option<(Vec<String>, String)> {
    let normalised = normalise_text(text);
    let words: Vec<&str> = normalised.split(' ').filter(|w| !w.is_empty()).collect();
    if let [word] = words[..] {
        return split_unspaced(word, cores);
    }
    if words.is_empty() {
        return None;
    }
    let head_len = words
        .iter()
        .skip(1)
        .position(|word| PREPOSITIONS.contains(word))
        .map_or(words.len(), |at| at + 1);
    let (modifiers, core): (Vec<&str>, &[&str]) = if let Some(n) = known_suffix(&words, cores) {
        let (modifiers, core) = words.split_at(words.len() - n);
        (modifiers.to_vec(), core)
    } else {
        let head = &words[..head_len];
        let n = known_suffix(head, cores).unwrap_or(1);
        let (modifiers, core) = head.split_at(head.len() - n);
        let after = words[head_len..].iter().filter(|w| !PREPOSITIONS.contains(w));
        (modifiers.iter().chain(after).copied().collect(), core)
    };
    if modifiers.is_empty() {
        return None;
    }
    Some((modifiers.into_iter().map(str::to_owned).collect(), core.join(" ")))
}

/// How many words at the end are a known core, at least one word being left before it.
fn known_suffix(words: &[&str], cores: &CoreWords) -> Option<usize> {
    let longest = words.len().saturating_sub(1).min(cores.longest.max(1));
    (1..=longest).rev().find(|&n| cores.contains(&words[words.len() - n..].join(" ")))
}

/// A tag of a script without spaces.
fn split_unspaced(word: &str, cores: &CoreWords) -> Option<(Vec<String>, String)> {
    let chars: Vec<char> = word.chars().collect();
    if !chars.iter().any(|&c| is_cjk(c)) || chars.len() < 3 {
        return None;
    }
    let suffix = |n: usize| chars[chars.len() - n..].iter().collect::<String>();
    let n = (1..chars.len()).rev().find(|&n| cores.contains(&suffix(n))).unwrap_or(2);
    Some((vec![chars[..chars.len() - n].iter().collect()], suffix(n)))
}

#[cfg(test)]
mod tests {
    use super::{CoreWords, split_tag};

    /// `want`: modifiers, each with a comma after it, then the core; none for no tag.
    fn check(text: &str, want: Option<&str>) {
        let cores = CoreWords::new(["Hiking Boots", "登山鞋", "chest of drawers", "jacket"]);
        let got = split_tag(text, &cores).map(|(mut parts, core)| {
            parts.push(core);
            parts.join(", ")
        });
        assert_eq!(got.as_deref(), want, "{text:?}");
    }

    #[test]
    fn tags_split_into_modifiers_and_core() {
        check("Outdoor waterproof hiking boot", Some("outdoor, waterproof, hiking boot"));
        check("red boots", Some("red, boots"));
        check("boots", None);
        check("hiking boots", Some("hiking, boots")); // a core alone keeps its last word
        check("waterproof jacket with hood", Some("waterproof, hood, jacket"));
        check("jacket for men", Some("men, jacket"));
        check("oak chest of drawers", Some("oak, chest of drawers"));
        check("户外防滑登山鞋", Some("户外防滑, 登山鞋"));
        check(" ; ", None);
    }
}
