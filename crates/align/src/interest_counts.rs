//! Which interests an act in a category speaks for, by counts over people: the embedded teacher's
//! statistics, and a baseline of mining that reads no words.

use std::collections::BTreeMap;

use types::UserTruth;

/// For every category, the interests that reach into it, with their shares among its holders.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InterestCounts {
    shares: BTreeMap<String, BTreeMap<String, f64>>,
}

impl InterestCounts {
    /// Counts the people of one or several worlds: `share(c, i)` is the number of people who hold `i` and
    /// whose `i` reaches into `c`, over the sum of that number for all interests of `c`.
    #[must_use]
    pub fn new(truths: &[UserTruth]) -> Self {
        let mut shares: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
        for interest in truths.iter().flat_map(|truth| &truth.interests) {
            for category in &interest.categories {
                let of = shares.entry(category.clone()).or_default();
                *of.entry(interest.text.clone()).or_default() += 1.0;
            }
        }
        for of in shares.values_mut() {
            let all: f64 = of.values().sum();
            of.values_mut().for_each(|share| *share /= all);
        }
        Self { shares }
    }

    /// The share of an interest in a category (by its path): what one act there says for it.
    #[must_use]
    pub fn share(&self, category: &str, interest: &str) -> f64 {
        self.shares.get(category).and_then(|of| of.get(interest)).copied().unwrap_or(0.0)
    }

    /// The interests that reach into a category with at least this share, those with the largest first.
    #[must_use]
    pub fn of(&self, category: &str, min_share: f64) -> Vec<&str> {
        let all = self.shares.get(category).into_iter().flatten();
        let mut found: Vec<(&str, f64)> =
            all.map(|(name, share)| (name.as_str(), *share)).collect();
        found.retain(|(_, share)| *share >= min_share);
        found.sort_by(|a, b| b.1.total_cmp(&a.1)); // stable: names break ties
        found.into_iter().map(|(name, _)| name).collect()
    }

    /// Whether no interest of anyone reaches into the category: what is bought there is needed.
    #[must_use]
    pub fn is_unwanted(&self, category: &str) -> bool {
        !self.shares.contains_key(category)
    }

    /// Every interest that some act speaks for with its strength `sum over c of sqrt(n_c) share(c, i)`,
    /// strongest first; `acts` are the categories acted in with their numbers of different texts. The
    /// root: many acts in one category speak for one of its interests, not for all of them.
    #[must_use]
    pub fn rank(&self, acts: &[(&str, usize)]) -> Vec<(&str, f64)> {
        let mut strengths: BTreeMap<&str, f64> = BTreeMap::new();
        for (category, n) in acts {
            for (interest, share) in self.shares.get(*category).into_iter().flatten() {
                *strengths.entry(interest).or_default() += (*n as f64).sqrt() * share;
            }
        }
        let mut ranked: Vec<(&str, f64)> = strengths.into_iter().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1)); // stable: names break ties
        ranked
    }
}

#[cfg(test)]
mod tests {
    use types::{InterestStage, Timestamp, TrueInterest, UserTruth};

    use super::InterestCounts;

    fn person(interests: &[(&str, &[&str])]) -> UserTruth {
        let interest = |(text, categories): &(&str, &[&str])| TrueInterest {
            text: (*text).to_owned(),
            stage: InterestStage::Long,
            categories: categories.iter().map(|c| (*c).to_owned()).collect(),
            modifiers: vec![],
            from: Timestamp(0),
            until: None,
        };
        let interests = interests.iter().map(interest).collect();
        UserTruth { user_id: String::new(), interests, needs: vec![] }
    }

    #[test]
    fn acts_in_several_categories_speak_louder_than_many_in_one() {
        let hiking: (&str, &[&str]) = ("hiking", &["Boots", "Tents"]);
        let people = [person(&[hiking, ("fashion", &["Boots"])]), person(&[hiking])];
        let counts = InterestCounts::new(&people);
        assert!((counts.share("Boots", "hiking") - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(counts.share("Boots", "chess"), 0.0);
        let ranked = counts.rank(&[("Boots", 4), ("Tents", 1), ("Teeth", 9)]);
        let names: Vec<&str> = ranked.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["hiking", "fashion"]);
        assert!((ranked[0].1 - (2.0 * 2.0 / 3.0 + 1.0)).abs() < 1e-12);
    }
}
