//! Two easy subtasks that come before mining and tagging: which interests a product speaks for, and
//! which products an interest needs. Short samples, dense in what long ones say rarely.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use types::{UserTruth, normalise_text};

use crate::generic::query_sample;
use crate::sample::Sample;

/// Interests of one answer.
const MAX_INTERESTS: usize = 5;

/// Tags of one answer, each of another category.
const MAX_TAGS: usize = 10;

/// Samples `<|query|>interests: {product}\n<|answer|>{interest};{interest}` for products given as (core
/// words, category path): the interests that reach into the category, those that most users hold first.
/// Products that no interest needs give none.
#[must_use]
pub fn samples_from_products(products: &[(&str, &str)], truths: &[UserTruth]) -> Vec<Sample> {
    let mut holders: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for interest in truths.iter().flat_map(|t| &t.interests) {
        for category in &interest.categories {
            *holders.entry(category).or_default().entry(&interest.text).or_insert(0) += 1;
        }
    }
    let sample = |&(product, category): &(&str, &str)| {
        let mut ranked: Vec<(&str, usize)> =
            holders.get(category)?.iter().map(|(text, n)| (*text, *n)).collect();
        ranked.sort_by_key(|(_, n)| Reverse(*n)); // stable: names break ties
        let names: Vec<String> =
            ranked.iter().take(MAX_INTERESTS).map(|(text, _)| intent::plain(text)).collect();
        let question = format!("interests: {}", intent::plain(product));
        Some(query_sample("interests", &question, &names.join(";")))
    };
    products.iter().filter_map(sample).collect()
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
            shown(&samples_from_products(&products, &truths)),
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
