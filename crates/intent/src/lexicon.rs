//! Word lists of this crate, read from `data/`, one entry per line, `#` for remarks.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use types::Season;

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'))
}

fn words(text: &'static str) -> HashSet<&'static str> {
    lines(text).flat_map(str::split_whitespace).collect()
}

/// Words that make a tag vague.
pub(crate) static VAGUE: LazyLock<HashSet<&str>> =
    LazyLock::new(|| words(include_str!("../data/vague_words.txt")));

/// Units that may follow a number.
pub(crate) static UNITS: LazyLock<HashSet<&str>> =
    LazyLock::new(|| words(include_str!("../data/units.txt")));

/// Words of letters and digits that are no model numbers.
pub(crate) static COMMON_CODES: LazyLock<HashSet<&str>> =
    LazyLock::new(|| words(include_str!("../data/common_codes.txt")));

/// Words that a reason may use besides those of its input: grammar, and words of occasions.
pub(crate) static FUNCTION_WORDS: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    let mut all = words(include_str!("../data/function_words.txt"));
    all.extend(words(include_str!("../data/occasion_words.txt")));
    all
});

/// Phrases that a reason must not hold.
pub(crate) static HARD_SELL: LazyLock<Vec<&str>> =
    LazyLock::new(|| lines(include_str!("../data/hard_sell.txt")).collect());

/// The season that a word belongs to.
pub(crate) static SEASON_WORDS: LazyLock<HashMap<&str, Season>> = LazyLock::new(|| {
    let season = |name: &str| Season::ALL.into_iter().find(|s| s.as_str() == name);
    lines(include_str!("../data/season_words.txt"))
        .filter_map(|line| {
            let (word, name) = line.rsplit_once(' ')?;
            Some((word.trim(), season(name)?))
        })
        .collect()
});

#[cfg(test)]
mod tests {
    use super::{COMMON_CODES, FUNCTION_WORDS, HARD_SELL, SEASON_WORDS, UNITS, VAGUE};

    #[test]
    fn every_list_reads() {
        assert!(VAGUE.contains("smart") && VAGUE.contains("modular") && VAGUE.contains("set"));
        assert!(UNITS.contains("ml") && COMMON_CODES.contains("usb3"));
        assert!(FUNCTION_WORDS.contains("your") && HARD_SELL.contains(&"buy now"));
        let entries = include_str!("../data/season_words.txt").lines();
        let entries = entries.filter(|l| !l.is_empty() && !l.starts_with('#')).count();
        assert_eq!(SEASON_WORDS.len(), entries, "a season word is misspelt or stands twice");
    }
}
