//! TF-IDF vectors of items.

use std::collections::BTreeMap;

use types::Item;

use crate::features;

/// Per item its words with their weights, sorted by word; length 1 or nothing.
pub(super) type TextVectors = Vec<Vec<(u32, f32)>>;

/// Vectors over the words of title, attributes and category path.
pub(super) fn tf_idf(items: &[Item]) -> TextVectors {
    let mut numbers: BTreeMap<String, (u32, f32)> = BTreeMap::new();
    let text = |item: &Item| {
        let mut words = features::item_words(item);
        words.extend(features::words(&item.category_path));
        words
    };
    let texts: Vec<Vec<String>> = items.iter().map(text).collect();
    for text in &texts {
        let mut words: Vec<&String> = text.iter().collect();
        words.sort_unstable();
        words.dedup();
        for word in words {
            let next = numbers.len() as u32;
            numbers.entry(word.clone()).or_insert((next, 0.0)).1 += 1.0;
        }
    }
    let n = items.len() as f32;
    let vector = |text: Vec<String>| {
        let mut words: BTreeMap<u32, f32> = BTreeMap::new();
        for word in text {
            let (number, count) = numbers[&word];
            *words.entry(number).or_default() += (n / count).ln();
        }
        let length = words.values().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        words.into_iter().map(|(word, x)| (word, x / length)).collect()
    };
    texts.into_iter().map(vector).collect()
}
