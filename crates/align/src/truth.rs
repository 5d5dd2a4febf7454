//! Samples from simulated users: what their truth says, as far as the digest supports it.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use intent::{Lang, QuoteIndex, TagLexicon, TagRules, check_tags, split_tag, terse};
use lm::PromptStyle;
use types::{
    CategoryId, Digest, Interest, InterestProfile, InterestSource, Tag, Taxonomy, TrueInterest,
    User, UserTruth, normalise_text,
};

use crate::acts::acts_of;
use crate::interest_counts::InterestCounts;
use crate::sample::{Sample, Segment};
use crate::support::{Support, supports};

/// What the samples of one world share.
pub struct TruthShop<'a> {
    /// The world's tree, in which the truth's category paths are found.
    pub taxonomy: &'a Taxonomy,
    /// Core phrases and brands, as at inference.
    pub lexicon: &'a TagLexicon,
    /// The category of an item's core words or of a query.
    pub category_of_core: &'a (dyn Fn(&str) -> Option<CategoryId> + Sync),
    /// What acts in a category say for an interest.
    pub counts: &'a InterestCounts,
    /// Most tags of one answer.
    pub max_tags: usize,
}

/// Interests quote at most this many texts.
const MAX_QUOTES: usize = 2;

/// Interests whose acts speak less for them than this are weakly supported (RECGPT.md 1.1,
/// reasonableness): nobody who reads the digest could tell that the user holds them. One act in a category
/// that a third of its people visit for this interest suffices.
pub(crate) const MIN_STRENGTH: f64 = 0.3;

/// Tags of one category that come before further ones of any category are taken.
const PER_CATEGORY: usize = 3;

/// One sample that teaches mining and tagging together, the digest being read once: prompt, interests,
/// recent texts, tags. Interests are those of the truth that hold at the digest's time and that at
/// least one line supports, in the order of their evidence in the digest; tags are the truth's needs
/// that serve such an interest and hold the five constraints, likeliest first, grouped by interest and rationale.
///
/// Empty where no interest has support: such a user teaches nothing.
#[must_use]
pub fn samples_from_truth(
    user: &User,
    digest: &Digest,
    truth: &UserTruth,
    shop: &TruthShop<'_>,
) -> Vec<Sample> {
    let profile = supported_profile(digest, truth, shop);
    if profile.interests.is_empty() {
        return Vec::new();
    }
    let tags = needed_tags(digest, truth, &profile, shop);
    vec![mine_tag_sample("mine_tag", user, digest, &profile, &tags)]
}

/// The interests that a digest supports strongly, in the order of their evidence, as mining should answer
/// them: reading on down the digest, the model never has to remember which interests it has named.
#[must_use]
pub fn supported_profile(
    digest: &Digest,
    truth: &UserTruth,
    shop: &TruthShop<'_>,
) -> InterestProfile {
    let index = QuoteIndex::new(digest);
    let supports = supports(digest, shop.category_of_core);
    let strengths = strengths(&supports, shop);
    let now = digest.now;
    let current = |i: &&TrueInterest| i.from <= now && i.until.is_none_or(|until| until > now);
    let strong = |i: &&TrueInterest| strengths.get(&i.text).is_some_and(|s| *s >= MIN_STRENGTH);
    let held = truth.interests.iter().filter(current).filter(strong);
    let mut found: Vec<(&TrueInterest, Vec<Support<'_>>)> = held
        .filter_map(|interest| {
            let own = spoken_for(interest, &supports, shop);
            (!own.is_empty()).then_some((interest, own))
        })
        .collect();
    found.sort_by_key(|(_, own)| place_of_first(&best(own))); // stable: the truth's order breaks ties
    let interests = found.iter().enumerate().map(|(row, (interest, own))| {
        let quotes: Vec<&str> = best(own).iter().map(|s| s.text).collect();
        let lines: Vec<usize> =
            quotes.iter().flat_map(|q| index.lines(q).iter().copied()).collect();
        Interest {
            id: format!("interest_{:02}", row + 1),
            text: intent::plain(&interest.text),
            stage: interest.stage,
            source: InterestSource::Listed,
            reason: index.reason(&quotes),
            evidence: index.evidence(&lines),
        }
    });
    InterestProfile { user_id: digest.user_id.clone(), now, interests: interests.collect() }
}

/// How strongly all the acts of a digest speak for each interest.
fn strengths(supports: &[Support<'_>], shop: &TruthShop<'_>) -> HashMap<String, f64> {
    let acts = acts_of(supports, shop.taxonomy);
    shop.counts.rank(&acts).into_iter().map(|(name, s)| (name.to_owned(), s)).collect()
}

/// The acts within the interest's categories; one that speaks for many interests weighs less.
fn spoken_for<'a>(
    interest: &TrueInterest,
    supports: &[Support<'a>],
    shop: &TruthShop<'_>,
) -> Vec<Support<'a>> {
    let roots: Vec<CategoryId> =
        interest.categories.iter().filter_map(|path| shop.taxonomy.find(path)).collect();
    let within =
        |s: &&Support<'a>| roots.iter().any(|&root| shop.taxonomy.is_within(s.category, root));
    let weighed = |s: &Support<'a>| {
        let share = shop.counts.share(shop.taxonomy.path(s.category), &interest.text);
        Support { weight: (s.weight as f64 * share * 1000.0) as u64, ..s.clone() }
    };
    supports.iter().filter(within).map(weighed).collect()
}

fn best<'s, 'a>(own: &'s [Support<'a>]) -> Vec<&'s Support<'a>> {
    best_supports(&own.iter().collect::<Vec<_>>())
}

/// The best supported texts, of different categories first, in the order of the digest.
pub(crate) fn best_supports<'s, 'a>(supports: &[&'s Support<'a>]) -> Vec<&'s Support<'a>> {
    let mut ranked: Vec<&Support<'_>> = supports.to_vec();
    ranked.sort_by_key(|s| (Reverse(s.weight), s.line, s.place));
    let mut texts: HashSet<&str> = HashSet::new();
    ranked.retain(|s| texts.insert(s.text));
    let mut of_category: HashMap<CategoryId, usize> = HashMap::new();
    let mut best: Vec<(usize, &Support<'_>)> = ranked
        .into_iter()
        .map(|s| {
            let n = of_category.entry(s.category).or_default();
            *n += 1;
            (*n, s)
        })
        .collect();
    best.sort_by_key(|(n, _)| *n); // stable: weight decides within
    let mut best: Vec<&Support<'_>> = best.into_iter().take(MAX_QUOTES).map(|(_, s)| s).collect();
    best.sort_by_key(|s| (s.line, s.place));
    best
}

/// Where in the digest the first of these texts stands.
pub(crate) fn place_of_first(best: &[&Support<'_>]) -> Option<(usize, usize)> {
    best.first().map(|s| (s.line, s.place))
}

/// Needs that serve a listed interest and hold the constraints.
fn needed_tags(
    digest: &Digest,
    truth: &UserTruth,
    profile: &InterestProfile,
    shop: &TruthShop<'_>,
) -> Vec<Tag> {
    let listed: HashMap<String, &str> =
        profile.interests.iter().map(|i| (normalise_text(&i.text), i.text.as_str())).collect();
    let needs = truth.needs.iter().filter(|need| need.until > digest.now);
    let tags = needs.filter_map(|need| {
        let interest = *listed.get(&normalise_text(&need.interest))?;
        let text = intent::plain(&need.tag);
        let (modifiers, core) = split_tag(&text, &shop.lexicon.cores)?;
        let rationale = intent::plain(&need.rationale);
        let category = shop.taxonomy.find(&need.category);
        Some(Tag { text, modifiers, core, interest: interest.to_owned(), rationale, category })
    });
    let rules = TagRules::new(digest, &profile.interests, shop.lexicon, None);
    let (kept, _) = check_tags(tags.collect(), &rules);
    varied(kept, shop.max_tags)
}

/// At most `most` tags in their order: the first few of every category before further ones of any, so
/// that the answer covers many categories.
pub(crate) fn varied(tags: Vec<Tag>, most: usize) -> Vec<Tag> {
    let mut of_category: HashMap<Option<CategoryId>, usize> = HashMap::new();
    let is_further: Vec<bool> = tags
        .iter()
        .map(|tag| {
            let n = of_category.entry(tag.category).or_default();
            *n += 1;
            *n > PER_CATEGORY
        })
        .collect();
    let mut rows: Vec<usize> = (0..tags.len()).collect();
    rows.sort_by_key(|&row| is_further[row]); // stable
    rows.truncate(most);
    let kept: HashSet<usize> = rows.into_iter().collect();
    let rows = tags.into_iter().enumerate();
    rows.filter(|(row, _)| kept.contains(row)).map(|(_, tag)| tag).collect()
}

/// A sample of both tasks, with the very prompts of inference; tags are grouped by interest (in the
/// profile's order) and rationale.
#[must_use]
pub fn mine_tag_sample(
    task: &str,
    user: &User,
    digest: &Digest,
    profile: &InterestProfile,
    tags: &[Tag],
) -> Sample {
    let style = PromptStyle::Terse;
    let mine = intent::mine_request(style, Lang::En, user, digest, &[], 0).prompt.user;
    let whole = intent::tag_request(style, Lang::En, user, digest, profile, 0).prompt.user;
    let interests = terse::write_interests(&profile.interests);
    let mut segments = vec![
        Segment { text: mine.clone(), loss: false },
        Segment { text: interests.clone(), loss: true },
    ];
    if !tags.is_empty() {
        let recent = whole
            .strip_prefix(&mine)
            .and_then(|rest| rest.strip_prefix(&interests))
            .and_then(|rest| rest.strip_prefix("<|endoftext|>"))
            .expect("the tag template continues the mining prompt and its answer");
        segments.push(Segment { text: recent.to_owned(), loss: false });
        segments.push(Segment { text: terse::write_tags(&grouped(tags, profile)), loss: true });
    }
    Sample::of_segments(task, segments)
}

/// Tags by interest in the profile's order, then by first appearance of the rationale.
fn grouped(tags: &[Tag], profile: &InterestProfile) -> Vec<Tag> {
    let rank: HashMap<&str, usize> =
        profile.interests.iter().enumerate().map(|(idx, i)| (i.text.as_str(), idx)).collect();
    let mut first: HashMap<(&str, &str), usize> = HashMap::new();
    for (idx, tag) in tags.iter().enumerate() {
        first.entry((&tag.interest, &tag.rationale)).or_insert(idx);
    }
    let mut order: Vec<&Tag> = tags.iter().collect();
    order.sort_by_key(|tag| {
        let interest = rank.get(tag.interest.as_str()).copied().unwrap_or(usize::MAX);
        (interest, first[&(tag.interest.as_str(), tag.rationale.as_str())])
    });
    order.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use types::{CategoryId, Tag};

    use super::{best_supports, varied};
    use crate::support::Support;

    #[test]
    fn many_categories_come_before_many_tags_of_one() {
        let tag = |(row, category): (usize, &u32)| Tag {
            text: row.to_string(),
            modifiers: vec![],
            core: String::new(),
            interest: String::new(),
            rationale: String::new(),
            category: Some(CategoryId(*category)),
        };
        let tags: Vec<Tag> = [7, 7, 7, 7, 7, 7, 8, 8].iter().enumerate().map(tag).collect();
        let texts = |most: usize| -> String {
            varied(tags.clone(), most).iter().map(|t| t.text.as_str()).collect()
        };
        assert_eq!(texts(5), "01267");
        assert_eq!(texts(7), "0123467");
        assert_eq!(texts(9), "01234567");
    }

    #[test]
    fn quotes_are_of_different_categories_first_and_in_the_order_of_the_digest() {
        let support = |line, text, category, weight| Support {
            line,
            place: 0,
            text,
            category: CategoryId(category),
            weight,
        };
        let all = [
            support(0, "weak b", 2, 1),
            support(1, "strong a", 1, 9),
            support(2, "strong a", 1, 9), // the same text again
            support(3, "next a", 1, 8),
            support(4, "last a", 1, 7),
        ];
        let refs: Vec<&Support<'_>> = all.iter().collect();
        let texts: Vec<&str> = best_supports(&refs).iter().map(|s| s.text).collect();
        assert_eq!(texts, ["weak b", "strong a"]);
    }
}
