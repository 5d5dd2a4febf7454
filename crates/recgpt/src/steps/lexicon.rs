//! What a catalogue's titles say of its language: core phrases and brands.

use std::collections::{BTreeSet, HashMap};

use events::ItemCores;
use intent::{CoreWords, TagLexicon};
use types::Catalogue;

/// A phrase is a core when so many items end in it.
const MIN_ITEMS: u32 = 3;

/// A word belongs to the core behind it when it stands nowhere else in so large a share of its uses.
const BOUND_SHARE: f64 = 0.8;

/// Longest core phrase, in words.
const MAX_CORE_WORDS: usize = 3;

/// Learns core phrases from the ends of titles; brands are named by the catalogue.
///
/// The last word of a title is its head. A word in front belongs to the core ("hiking" of "waterproof
/// hiking boots") when it is bound to that place: at least 0.8 of all its uses stand right before a core
/// of that length. "Waterproof" is not: it stands before "boots", "hiking" and "lightweight" alike.
pub(crate) fn tag_lexicon(catalogue: &Catalogue, cores: &ItemCores) -> TagLexicon {
    let texts: Vec<Vec<&str>> = catalogue
        .items()
        .iter()
        .map(|item| cores.core(&item.item_id).split_whitespace().collect())
        .collect();
    let brands: BTreeSet<&str> =
        catalogue.items().iter().filter_map(|i| i.brand.as_deref()).collect();
    let phrases = core_phrases(&texts);
    TagLexicon::new(CoreWords::new(phrases.iter().map(String::as_str)), brands)
}

/// Core phrases of titles that are given as words.
fn core_phrases(texts: &[Vec<&str>]) -> BTreeSet<String> {
    let mut uses: HashMap<&str, u32> = HashMap::new();
    for word in texts.iter().flatten() {
        *uses.entry(word).or_insert(0) += 1;
    }
    let mut core_len: Vec<usize> = texts.iter().map(|words| words.len().min(1)).collect();
    for len in 1..MAX_CORE_WORDS {
        let open = |row: usize| core_len[row] == len && texts[row].len() > len + 1;
        let mut bound: HashMap<&str, u32> = HashMap::new();
        for row in (0..texts.len()).filter(|&row| open(row)) {
            *bound.entry(texts[row][texts[row].len() - len - 1]).or_insert(0) += 1;
        }
        let longer: Vec<usize> = (0..texts.len())
            .filter(|&row| open(row))
            .filter(|&row| {
                let word = texts[row][texts[row].len() - len - 1];
                let (here, all) = (bound[word], uses[word]);
                here >= MIN_ITEMS && f64::from(here) >= BOUND_SHARE * f64::from(all)
            })
            .collect();
        for row in longer {
            core_len[row] = len + 1;
        }
    }
    let mut counts: HashMap<String, u32> = HashMap::new();
    for (words, len) in texts.iter().zip(&core_len) {
        *counts.entry(words[words.len() - len..].join(" ")).or_insert(0) += 1;
    }
    counts.into_iter().filter(|(p, n)| *n >= MIN_ITEMS && !p.is_empty()).map(|(p, _)| p).collect()
}

#[cfg(test)]
mod tests {
    use super::core_phrases;

    #[test]
    fn a_bound_word_belongs_to_the_core_and_a_modifier_does_not() {
        let titles = [
            "waterproof hiking boots",
            "waterproof leather hiking boots",
            "light hiking boots",
            "black daypack",
            "waterproof daypack",
            "light black daypack",
            "steel heart rate monitor",
            "black heart rate monitor",
            "waterproof heart rate monitor",
        ];
        let words: Vec<Vec<&str>> = titles.iter().map(|t| t.split(' ').collect()).collect();
        let found: Vec<String> = core_phrases(&words).into_iter().collect();
        assert_eq!(found, ["daypack", "heart rate monitor", "hiking boots"]);
    }
}
