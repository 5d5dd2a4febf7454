//! A model's own outputs, labelled by the truth: a judge that has seen generated defects alone would
//! not know the model's own errors.

use intent::judge::{Questions, Rubric};
use intent::{TagRules, check_tags, split_tag, stem_key};
use types::{CategoryId, Interest, InterestProfile, Tag, TagConstraint, normalise_text};

use super::shop::holds;
use super::tag::{serves, wanted};
use super::twist::is_beside_the_product;
use super::{CaseSubject, JudgeCase, JudgeShop, JudgeUser, labels};

/// Which of the interests and tags that a model wrote are right by the user's truth. Interests and
/// tags about which the truth cannot tell (an interest that nobody of the world holds and that is no
/// necessity, a tag of no known category for an interest of that kind) give no case.
#[must_use]
pub fn label_with_truth(
    user: &JudgeUser<'_>,
    profile: &InterestProfile,
    tags: &[Tag],
    shop: &JudgeShop<'_>,
) -> Vec<JudgeCase> {
    let questions = Questions::new(user.user, user.digest);
    let mut cases: Vec<JudgeCase> = Vec::new();
    for interest in &profile.interests {
        let question = questions.interest(interest).ok();
        let Some(names) = interest_labels(user, interest, question.is_none(), shop) else {
            continue;
        };
        cases.push(JudgeCase {
            user_id: user.digest.user_id.clone(),
            subject: CaseSubject::Interest { interest: interest.clone(), question },
            labels: labels(Rubric::interest(), &names),
            defects: Vec::new(),
        });
    }
    let names: Vec<&str> = profile.interests.iter().map(|i| i.text.as_str()).collect();
    let mut groups: Vec<(&str, Vec<&Tag>)> = Vec::new();
    for tag in tags {
        match groups.iter_mut().find(|(interest, _)| *interest == tag.interest) {
            Some((_, group)) => group.push(tag),
            None => groups.push((&tag.interest, vec![tag])),
        }
    }
    let wanted = wanted(user, shop);
    for (interest, group) in groups {
        let context = questions.tag_context(&names, interest);
        for tag in group {
            let Some(right) = tag_labels(user, profile, tag, &wanted, shop) else { continue };
            cases.push(JudgeCase {
                user_id: user.digest.user_id.clone(),
                subject: CaseSubject::Tag { context: context.clone(), tag: tag.text.clone() },
                labels: labels(Rubric::tag(), &right.map(|is| if is { "yes" } else { "no" })),
                defects: Vec::new(),
            });
        }
    }
    cases
}

/// Willingness and reasonableness by the truth.
fn interest_labels(
    user: &JudgeUser<'_>,
    interest: &Interest,
    is_hallucinated: bool,
    shop: &JudgeShop<'_>,
) -> Option<[&'static str; 2]> {
    let quotes = intent::terse::quotes(&interest.reason);
    let categories: Vec<CategoryId> =
        quotes.iter().filter_map(|quote| (shop.truth.category_of_core)(quote)).collect();
    let key = normalise_text(&interest.text);
    let held = user.truth.interests.iter().filter(|i| holds(i, user.digest.now));
    let is_held = held.map(|i| stem_key(&i.text)).any(|text| text == stem_key(&key));
    let Some(known) = shop.interest(&key) else {
        let all_needed = !categories.is_empty()
            && categories.iter().all(|category| shop.necessities.contains(category));
        let support = if is_hallucinated { "hallucinated" } else { "strong" };
        return all_needed.then_some(["necessity", support]);
    };
    let fits = categories.iter().any(|&category| shop.serves(&known.roots, category));
    let is_near = categories.iter().any(|&category| shop.is_beside(&known.roots, category));
    let support = match (is_hallucinated, is_held && fits, fits || is_near) {
        (true, ..) => "hallucinated",
        (_, true, _) => "strong",
        (_, _, true) => "weak",
        _ => "none",
    };
    Some(["spontaneity", support])
}

/// Relevance, consistency, specificity and validity by the truth.
fn tag_labels(
    user: &JudgeUser<'_>,
    profile: &InterestProfile,
    tag: &Tag,
    wanted: &[CategoryId],
    shop: &JudgeShop<'_>,
) -> Option<[bool; 4]> {
    let interest = shop.interest(&tag.interest)?;
    let category = (shop.truth.category_of_core)(&tag.text).or(tag.category);
    let rules = TagRules::new(user.digest, &profile.interests, shop.truth.lexicon, None);
    let (_, breaches) = check_tags(vec![tag.clone()], &rules);
    let breaks =
        |constraint| breaches.iter().any(|b| !b.tag.is_empty() && b.constraint == constraint);
    let split = split_tag(&tag.text, &shop.truth.lexicon.cores);
    // Cores are learnt from titles and may swallow a modifier: what somebody needs is specific.
    let is_core = shop.truth.lexicon.cores.contains(&tag.text) && !shop.is_needed(&tag.text);
    let is_wanted = category.is_some_and(|category| shop.serves(wanted, category));
    Some([
        category.is_some_and(|category| serves(shop, interest, category)),
        is_wanted && !breaks(TagConstraint::Season),
        split.is_some() && !is_core && !breaks(TagConstraint::SemanticPrecision),
        split.is_some_and(|(mut modifiers, core)| {
            modifiers.retain(|modifier| !is_beside_the_product(modifier));
            shop.is_sold(&modifiers, &core)
        }),
    ])
}
