//! Two easy subtasks that come before mining and tagging: which interests a product speaks for, and
//! which products an interest needs. Short samples, dense in what long ones say rarely.

use std::collections::{BTreeMap, HashSet};

use intent::{association_question, write_association};
use types::{UserTruth, normalise_text};

use crate::generic::query_sample;
use crate::interest_counts::InterestCounts;
use crate::sample::Sample;

/// An interest that fewer of a category's acts speak for than this is left out.
const MIN_SHARE: f64 = 0.03;

/// Tags of one answer, each of another category.
const MAX_TAGS: usize = 10;

/// Samples of [`intent::association_question`] for products given as (core words, category path): the
/// interests that reach into the category, those that most people hold first. Products that no interest needs
/// give none.
#[must_use]
pub fn samples_from_products(products: &[(&str, &str)], counts: &InterestCounts) -> Vec<Sample> {
    let sample = |&(product, category): &(&str, &str)| {
        let interests = counts.of(category, MIN_SHARE);
        (!interests.is_empty()).then(|| association_sample(product, &interests))
    };
    products.iter().filter_map(sample).collect()
}

/// The sample that says which interests a product speaks for.
pub(crate) fn association_sample(product: &str, interests: &[&str]) -> Sample {
    Sample::new("interests", association_question(product), write_association(interests))
}

/// Samples `<|query|>needs: {interest}\n<|answer|>{tag};{tag}` for every interest that some user holds:
/// tags of different categories, as the truths rank them.
#[must_use]
pub fn samples_from_needs(truths: &[UserTruth]) -> Vec<Sample> {
    let mut needs: BTreeMap<String, (HashSet<&str>, Vec<String>)> = BTreeMap::new();
    for need in truths.iter().flat_map(|t| &t.needs) {
        let name = intent::plain(&need.interest);
        if normalise_text(&name).is_empty() {
            continue;
        }
        let (categories, tags) = needs.entry(name).or_default();
        if tags.len() < MAX_TAGS && categories.insert(&need.category) {
            tags.push(intent::plain(&need.tag));
        }
    }
    needs
        .iter()
        .map(|(name, (_, tags))| query_sample("needs", &format!("needs: {name}"), &tags.join(";")))
        .collect()
}

#[cfg(test)]
mod tests {
    use types::{InterestStage, Timestamp, TrueInterest, TrueNeed, UserTruth};

    use super::{samples_from_needs, samples_from_products};
    use crate::interest_counts::InterestCounts;
    use crate::sample::Sample;

    fn truth(interests: &[(&str, &[&str])], needs: &[(&str, &str, &str)]) -> UserTruth {
        let at = Timestamp(0);
        let interest = |(text, categories): &(&str, &[&str])| TrueInterest {
            text: (*text).to_owned(),
            stage: InterestStage::Long,
            categories: categories.iter().map(|c| (*c).to_owned()).collect(),
            modifiers: vec![],
            from: at,
            until: None,
        };
        let need = |(interest, category, tag): &(&str, &str, &str)| TrueNeed {
            category: (*category).to_owned(),
            tag: (*tag).to_owned(),
            interest: (*interest).to_owned(),
            rationale: String::new(),
            from: at,
            until: at,
        };
        UserTruth {
            user_id: String::new(),
            interests: interests.iter().map(interest).collect(),
            needs: needs.iter().map(need).collect(),
        }
    }

    fn shown(samples: &[Sample]) -> Vec<String> {
        let text = |s: &Sample| s.segments.iter().map(|part| part.text.as_str()).collect();
        samples.iter().map(text).collect()
    }

    #[test]
    fn products_speak_for_the_interests_that_most_users_hold() {
        let truths = [
            truth(&[("hiking", &["Boots", "Socks"]), ("fishing", &["Boots"])], &[]),
            truth(&[("fishing", &["Boots"])], &[]),
        ];
        let products = [("wide boots", "Boots"), ("toothpaste", "Teeth"), ("wool socks", "Socks")];
        assert_eq!(
            shown(&samples_from_products(&products, &InterestCounts::new(&truths))),
            [
                "<|query|>interests: wide boots\n<|answer|>fishing;hiking",
                "<|query|>interests: wool socks\n<|answer|>hiking"
            ]
        );
    }

    #[test]
    fn an_interest_needs_one_tag_of_every_category() {
        let needs = [
            ("hiking", "Boots", "wide boots"),
            ("hiking", "Boots", "light boots"),
            ("", "Teeth", "mint toothpaste"),
            ("hiking", "Socks", "wool socks"),
        ];
        assert_eq!(
            shown(&samples_from_needs(&[truth(&[], &needs)])),
            ["<|query|>needs: hiking\n<|answer|>wide boots;wool socks"]
        );
    }
}
