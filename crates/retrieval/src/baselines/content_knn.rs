//! Items whose text is like that of the last items of a history.

use types::{Interaction, Item, UserId};

use super::item_knn::last_items;
use super::text::{TextVectors, tf_idf};
use super::{ItemKnnConfig, Scorer};

/// `score(i) = sum_k decay^k cos(text(last_k), text(i))` over TF-IDF vectors of titles, attributes and
/// category names. Reads no interaction but the history, so a new item counts at once.
#[derive(Debug, Clone)]
pub struct ContentKnn {
    config: ItemKnnConfig,
    texts: TextVectors,
    holders: Vec<Vec<(u32, f32)>>, // items by word
}

impl ContentKnn {
    /// Reads the texts; `last` and `decay` of `config` count.
    #[must_use]
    pub fn new(items: &[Item], config: ItemKnnConfig) -> Self {
        let texts = tf_idf(items);
        let n_words = texts.iter().flatten().map(|(word, _)| *word as usize + 1).max();
        let mut holders = vec![Vec::new(); n_words.unwrap_or(0)];
        for (item, words) in (0..).zip(&texts) {
            words.iter().for_each(|&(word, value)| holders[word as usize].push((item, value)));
        }
        Self { config, texts, holders }
    }
}

impl Scorer for ContentKnn {
    fn n_items(&self) -> usize {
        self.texts.len()
    }

    fn scores(&self, users: &[(UserId, &[Interaction])], out: &mut [f32]) {
        out.fill(0.0);
        for ((_, history), row) in users.iter().zip(out.chunks_mut(self.texts.len().max(1))) {
            let mut weight = 1.0;
            for item in last_items(history, self.config.last) {
                for &(word, value) in self.texts.get(item.idx()).into_iter().flatten() {
                    for &(other, of_other) in &self.holders[word as usize] {
                        row[other as usize] += weight * value * of_other;
                    }
                }
                weight *= self.config.decay;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use types::{Item, UserId};

    use super::ContentKnn;
    use crate::baselines::testing::{letters, log};
    use crate::baselines::{ItemKnnConfig, Scorer as _, top_of};

    #[test]
    fn shared_words_rank_and_rare_ones_count_more() {
        let titles = ["red trail boot", "red trail shoe", "red lamp", "blue desk"];
        let item = |title: &&str| Item {
            item_id: (*title).to_owned(),
            title: (*title).to_owned(),
            ..Item::default()
        };
        let items: Vec<Item> = titles.iter().map(item).collect();
        let model = ContentKnn::new(&items, ItemKnnConfig::default());
        let history = log(&["a"]);
        let mut scores = vec![0.0; 4];
        model.scores(&[(UserId(0), &history)], &mut scores);
        assert!((scores[0] - 1.0).abs() < 1e-5 && scores[3] == 0.0, "{scores:?}");
        assert_eq!(letters(&top_of(&scores, 3, &|_| true)), "abc");
    }
}
