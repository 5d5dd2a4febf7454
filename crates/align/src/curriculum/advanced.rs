//! Level 3: conclusions from several facts.

use std::collections::HashSet;

use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_pcg::Pcg64Mcg;

use super::sources::{CurriculumSources, leaf, some};

/// Some kinds of product that one interest needs, to the kinds that it needs besides.
pub(super) fn recommendation(
    sources: &CurriculumSources<'_>,
    rng: &mut Pcg64Mcg,
) -> Option<(String, String)> {
    let interest = sources.interest(4, rng)?;
    let drawn = some(&interest.categories, 3, rng);
    let had: Vec<String> = drawn.iter().map(|c| leaf(c)).collect();
    let rest = interest.categories.iter().map(|c| leaf(c)).filter(|c| !had.contains(c)).take(5);
    Some((had.join(";"), rest.collect::<Vec<_>>().join(";")))
}

/// A real goal to the words of it that were typed as a query; without goals, a title to its core words.
pub(super) fn keyword_extraction(
    sources: &CurriculumSources<'_>,
    rng: &mut Pcg64Mcg,
) -> Option<(String, String)> {
    let Some((goal, query)) = sources.goal(rng) else {
        let product = sources.product(rng)?;
        return Some((product.title.to_owned(), product.core.to_owned()));
    };
    let typed: HashSet<&str> = query.split_whitespace().collect();
    let kept: Vec<&str> = goal.split_whitespace().filter(|w| typed.contains(w)).collect();
    Some((goal.clone(), kept.join(" ")))
}

/// What people write below an item, by what they think of it.
const REVIEWS: [(&str, [&str; 8]); 3] = [
    (
        "positive",
        [
            "better than i hoped",
            "would buy it again at once",
            "works as it should every day",
            "my favourite so far",
            "worth every penny",
            "well made and still like new",
            "the whole family loves it",
            "arrived early and fits well",
        ],
    ),
    (
        "negative",
        [
            "broke after a week",
            "sent it back the same day",
            "does not do what it says",
            "too expensive for what it is",
            "the worst i ever had",
            "fell apart in my hands",
            "smells bad and feels cheap",
            "arrived late and does not fit",
        ],
    ),
    (
        "neutral",
        [
            "it is what it is",
            "neither good nor bad",
            "does its job, no more",
            "about what one pays for",
            "not sure yet what to think of it",
            "the same as the one before",
            "fine for now",
            "as shown in the picture",
        ],
    ),
];

/// A line below an item to what it says of it. Sentences are ours: there are no real reviews among what
/// may train the weights, so this teaches no more than the words of these sentences.
pub(super) fn sentiment(
    sources: &CurriculumSources<'_>,
    rng: &mut Pcg64Mcg,
) -> Option<(String, String)> {
    let (label, sentences) = REVIEWS.choose(rng)?;
    let (product, sentence) = (sources.product(rng)?, sentences.choose(rng)?);
    Some((format!("{}: {sentence}", product.core), (*label).to_owned()))
}

/// A title to its leaf category.
pub(super) fn text_classification(
    sources: &CurriculumSources<'_>,
    rng: &mut Pcg64Mcg,
) -> Option<(String, String)> {
    let product = sources.product(rng)?;
    Some((product.title.to_owned(), leaf(product.category)))
}

/// Items of different categories that one interest needs, to the interest. Few enough categories leave
/// two interests possible: the answer is the one that the person holds.
pub(super) fn inductive_reasoning(
    sources: &CurriculumSources<'_>,
    rng: &mut Pcg64Mcg,
) -> Option<(String, String)> {
    let interest = sources.interest(3, rng)?;
    let n = rng.random_range(3..=5);
    let drawn = some(&interest.categories, n, rng);
    let items: Option<Vec<&str>> =
        drawn.iter().map(|c| Some(sources.product_of(c, rng)?.core)).collect();
    Some((items?.join(";"), interest.text.clone()))
}

/// What an interest needs and what the person has, to what is missing. Determined by the question.
pub(super) fn deductive_reasoning(
    sources: &CurriculumSources<'_>,
    rng: &mut Pcg64Mcg,
) -> Option<(String, String)> {
    let interest = sources.interest(3, rng)?;
    let drawn = some(&interest.categories, 4, rng);
    let needed: Vec<String> = drawn.iter().map(|c| leaf(c)).collect();
    let mut had = needed.clone();
    had.shuffle(rng);
    let missing = had.pop()?;
    let question = format!("{} needs {}. has {}", interest.text, needed.join(";"), had.join(";"));
    Some((question, missing))
}

/// Numbered items and an interest, to the numbers of those that speak for it.
pub(super) fn references(
    sources: &CurriculumSources<'_>,
    rng: &mut Pcg64Mcg,
) -> Option<(String, String)> {
    const LINES: usize = 6;
    let interest = sources.interest(2, rng)?;
    let n_own = rng.random_range(1..=3);
    let mut lines: Vec<(&str, bool)> = Vec::new();
    for category in some(&interest.categories, n_own, rng) {
        lines.push((sources.product_of(category, rng)?.core, true));
    }
    for _ in 0..40 {
        let other = sources.product(rng)?;
        if lines.len() < LINES && interest.categories.iter().all(|c| c != other.category) {
            lines.push((other.core, false));
        }
    }
    lines.shuffle(rng);
    let numbered: Vec<String> =
        lines.iter().enumerate().map(|(i, (core, _))| format!("{} {core}", i + 1)).collect();
    let own: Vec<String> = lines
        .iter()
        .enumerate()
        .filter(|(_, (_, own))| *own)
        .map(|(i, _)| (i + 1).to_string())
        .collect();
    Some((format!("{}? {}", interest.text, numbered.join(";")), own.join(" ")))
}
