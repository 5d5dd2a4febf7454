//! Tag-to-Category: from a text to a node of the taxonomy, shared by evaluation, balancing and reasons.
//!
//! Centroids of stems, pairs of stems and the head word, weighted by how few categories use them
//! (a Rocchio classifier, every category weighing the same whatever its number of items).

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use types::{CategoryId, Taxonomy};

use crate::stems::stems;

/// A saved model that does not read back.
#[derive(Debug, thiserror::Error)]
#[error("Tag-to-Category model: {0}; train it again")]
pub struct CategoryModelError(#[from] serde_json::Error);

/// From a text to a category.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub struct TagToCategory {
    categories: Vec<CategoryId>,
    /// Row of the category above, where it is a class too: set only by [`TagToCategory::from_taxonomy`].
    parents: Vec<Option<u32>>,
    features: HashMap<String, Feature>,
}

/// Inverse category frequency of a feature and its weight in the categories that have it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Feature {
    rarity: f32,
    weights: Vec<(u32, f32)>,
}

/// The stored form: features sorted, so that the same model is the same bytes.
#[derive(Serialize, Deserialize)]
struct Saved {
    categories: Vec<CategoryId>,
    parents: Vec<Option<u32>>,
    features: BTreeMap<String, Feature>,
}

impl From<TagToCategory> for Saved {
    fn from(model: TagToCategory) -> Self {
        let features = model.features.into_iter().collect();
        Self { categories: model.categories, parents: model.parents, features }
    }
}

impl From<Saved> for TagToCategory {
    fn from(saved: Saved) -> Self {
        let features = saved.features.into_iter().collect();
        Self { categories: saved.categories, parents: saved.parents, features }
    }
}

/// How sharply similarity becomes confidence; the similarities are cosines.
const SHARPNESS: f32 = 16.0;

/// Up to this, a model of a taxonomy answers with the category above.
const SURE: f32 = 0.5;

impl TagToCategory {
    /// Trains on titles of items (or other texts) with their categories.
    pub fn train<'a>(pairs: impl IntoIterator<Item = (&'a str, CategoryId)>) -> Self {
        let mut counts: BTreeMap<CategoryId, (f32, BTreeMap<String, f32>)> = BTreeMap::new();
        for (text, category) in pairs {
            let (n, features) = counts.entry(category).or_default();
            *n += 1.0;
            for feature in features_of(text) {
                *features.entry(feature).or_insert(0.0) += 1.0;
            }
        }
        let categories: Vec<CategoryId> = counts.keys().copied().collect();
        // Share of the category's texts that hold the feature, its root taken to lift the rare ones.
        let shares = counts
            .into_values()
            .map(|(n, features)| features.into_iter().map(|(f, c)| (f, (c / n).sqrt())).collect());
        let parents = vec![None; categories.len()];
        Self::from_shares(categories, parents, shares.collect())
    }

    /// Reads the names of a taxonomy, for a catalogue without categories: a node's own name counts
    /// fully, the names above it less and less. Answers of this model go up the tree until they are sure.
    #[must_use]
    pub fn from_taxonomy(taxonomy: &Taxonomy) -> Self {
        let categories: Vec<CategoryId> = (0..taxonomy.len()).map(CategoryId::from_idx).collect();
        let parent = |id: CategoryId| taxonomy.categories()[id.idx()].parent;
        let shares = categories.iter().map(|&id| {
            let mut features: BTreeMap<String, f32> = BTreeMap::new();
            let mut weight = 1.0;
            let mut node = Some(id);
            while let Some(at) = node {
                for feature in features_of(taxonomy.name(at)) {
                    let known = features.entry(feature).or_insert(0.0);
                    *known = known.max(weight);
                }
                weight *= 0.4;
                node = parent(at);
            }
            features
        });
        let shares = shares.collect();
        let parents = categories.iter().map(|&id| parent(id).map(|p| p.0)).collect();
        Self::from_shares(categories, parents, shares)
    }

    fn from_shares(
        categories: Vec<CategoryId>,
        parents: Vec<Option<u32>>,
        shares: Vec<BTreeMap<String, f32>>,
    ) -> Self {
        let mut spread: BTreeMap<&str, f32> = BTreeMap::new();
        for (feature, share) in shares.iter().flatten() {
            *spread.entry(feature).or_insert(0.0) += share;
        }
        let n = categories.len() as f32;
        let rarity: BTreeMap<&str, f32> =
            spread.into_iter().map(|(f, s)| (f, ((n + 1.0) / (s + 0.5)).ln().max(0.05))).collect();
        let mut features: HashMap<String, Feature> = rarity
            .iter()
            .map(|(f, &rarity)| ((*f).to_owned(), Feature { rarity, weights: Vec::new() }))
            .collect();
        for (row, shares) in (0_u32..).zip(&shares) {
            let weights = shares.iter().map(|(f, share)| (f, share * rarity[f.as_str()]));
            let norm =
                weights.clone().map(|(_, w)| w * w).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
            for (feature, weight) in weights {
                if let Some(feature) = features.get_mut(feature) {
                    feature.weights.push((row, weight / norm));
                }
            }
        }
        Self { categories, parents, features }
    }

    /// The likeliest category and how sure that is, in (0, 1]; `None` where no word is known.
    #[must_use]
    pub fn predict(&self, text: &str) -> Option<(CategoryId, f32)> {
        let known: Vec<&Feature> =
            features_of(text).iter().filter_map(|f| self.features.get(f)).collect();
        let norm = known.iter().map(|f| f.rarity * f.rarity).sum::<f32>().sqrt();
        if known.is_empty() {
            return None;
        }
        let mut scores = vec![0.0_f32; self.categories.len()];
        for feature in known {
            for &(row, weight) in &feature.weights {
                scores[row as usize] += feature.rarity * weight / norm;
            }
        }
        let best = (0..scores.len()).fold(0, |a, b| if scores[b] > scores[a] { b } else { a });
        let top = scores[best];
        // Only categories that share a word take part.
        let mut mass: Vec<f32> = scores
            .iter()
            .map(|&s| if s > 0.0 { (SHARPNESS * (s - top)).exp() } else { 0.0 })
            .collect();
        let total: f32 = mass.iter().sum();
        mass.iter_mut().for_each(|m| *m /= total);
        let (row, confidence) = self.climb(best, &mass);
        Some((self.categories[row], confidence))
    }

    /// From a row up the tree until its subtree holds enough of the mass.
    fn climb(&self, best: usize, mass: &[f32]) -> (usize, f32) {
        if mass[best] > SURE || self.parents[best].is_none() {
            return (best, mass[best]);
        }
        // Parents come before children: one sweep from the end sums the subtrees.
        let mut subtree = mass.to_vec();
        for row in (0..subtree.len()).rev() {
            if let Some(parent) = self.parents[row] {
                subtree[parent as usize] += subtree[row];
            }
        }
        let mut row = best;
        while let (true, Some(parent)) = (subtree[row] <= SURE, self.parents[row]) {
            row = parent as usize;
        }
        (row, subtree[row].min(1.0))
    }

    /// Share of texts whose category is predicted exactly; 0 for no texts.
    pub fn accuracy<'a>(&self, pairs: impl IntoIterator<Item = (&'a str, CategoryId)>) -> f64 {
        let (mut right, mut all) = (0_u64, 0_u64);
        for (text, category) in pairs {
            all += 1;
            right += u64::from(self.predict(text).is_some_and(|(c, _)| c == category));
        }
        right as f64 / all.max(1) as f64
    }

    /// Number of categories that it can answer.
    #[must_use]
    pub fn n_categories(&self) -> usize {
        self.categories.len()
    }

    /// The model as JSON.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("string keys and finite numbers are JSON")
    }

    /// Reads [`TagToCategory::to_bytes`].
    ///
    /// # Errors
    /// [`CategoryModelError`] when the bytes are not such a model.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CategoryModelError> {
        let model: Self = serde_json::from_slice(bytes)?;
        let n = model.categories.len();
        let in_range = |row: u32| (row as usize) < n;
        let sound = model.parents.len() == n
            && model
                .parents
                .iter()
                .enumerate()
                .all(|(row, p)| p.is_none_or(|p| (p as usize) < row))
            && model.features.values().all(|f| f.weights.iter().all(|&(row, _)| in_range(row)));
        if !sound {
            let error = serde::de::Error::custom("a row points outside the categories");
            return Err(CategoryModelError(error));
        }
        Ok(model)
    }
}

/// Stems, pairs of neighbours (`a_b`) and the last word before a preposition (`^a`), none twice.
fn features_of(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let head_end = [" for ", " with ", " of ", " in ", ",", " - ", "("]
        .iter()
        .filter_map(|mark| lower.find(mark))
        .filter(|&at| at > 0)
        .min()
        .unwrap_or(lower.len());
    let all = stems(&lower);
    let mut features: Vec<String> = all.windows(2).map(|w| format!("{}_{}", w[0], w[1])).collect();
    let head = stems(&lower[..head_end]);
    features.extend(
        head.iter().rev().find(|w| w.chars().any(char::is_alphabetic)).map(|w| format!("^{w}")),
    );
    features.extend(all);
    features.sort_unstable();
    features.dedup();
    features
}
