//! Words and their stems: how texts are compared where their grammar does not matter.

use rust_stemmers::{Algorithm, Stemmer};
use types::normalise_text;

/// Whether a character belongs to a script that is written without spaces.
pub(crate) fn is_cjk(c: char) -> bool {
    matches!(u32::from(c), 0x3040..=0x30FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x2FA1F)
}

/// The words of a text in lower case; runs of Chinese or Japanese are cut into single characters.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut word = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() && !is_cjk(c) {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            out.push(std::mem::take(&mut word));
        }
        if is_cjk(c) {
            out.push(c.to_string());
        }
    }
    if !word.is_empty() {
        out.push(word);
    }
    out
}

/// English stems (Snowball) of the words of a text, in order; words of other scripts stay.
#[must_use]
pub fn stems(text: &str) -> Vec<String> {
    let stemmer = Stemmer::create(Algorithm::English);
    words(text).iter().map(|w| stemmer.stem(w).into_owned()).collect()
}

/// The set of stems as one string, sorted: equal for texts of the same words in any order and number.
#[must_use]
pub fn stem_key(text: &str) -> String {
    let mut stems = stems(&normalise_text(text));
    stems.sort_unstable();
    stems.dedup();
    stems.join(" ")
}

#[cfg(test)]
mod tests {
    use super::{stem_key, stems};

    #[test]
    fn texts_compare_by_stems() {
        assert_eq!(stems("Non-slip Hiking Boots"), ["non", "slip", "hike", "boot"]);
        assert_eq!(stem_key("hiking boots, non-slip"), stem_key("Non-Slip hiking boot"));
        assert_eq!(stems("登山鞋 x"), ["登", "山", "鞋", "x"]);
        assert_eq!(stem_key(" - "), "");
    }
}
