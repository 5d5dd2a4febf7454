//! The five constraints on tags (RECGPT.md 1.2), checked in code after they were asked for in words.

use std::collections::{BTreeSet, HashMap, HashSet};

use types::{
    ConstraintBreach, Digest, EventType, Interest, Season, Tag, TagConstraint, TimeBucket,
    normalise_text,
};

use crate::category::TagToCategory;
use crate::lexicon::{COMMON_CODES, SEASON_WORDS, UNITS, VAGUE};
use crate::prompt::TAGS_PER_USER;
use crate::stems::stem_key;
use crate::tag_text::{CoreWords, split_tag};

/// What the checks know of a shop: the same for all its users.
#[derive(Debug, Clone, Default)]
pub struct TagLexicon {
    /// Core phrases.
    pub cores: CoreWords,
    /// Brands in the form of [`normalise_text`]; a tag must name none.
    pub brands: HashSet<String>,
}

impl TagLexicon {
    /// Learns core phrases and brands. A brand that is a known core, or a single plain vague word,
    /// would forbid ordinary tags and is passed over.
    pub fn new<'a>(cores: CoreWords, brands: impl IntoIterator<Item = &'a str>) -> Self {
        let brands = brands.into_iter().map(normalise_text);
        let brands = brands.filter(|b| b.chars().count() > 1 && !cores.contains(b)).collect();
        Self { cores, brands }
    }
}

/// What the checks know of one user at a time.
pub struct TagRules<'a> {
    /// Of the shop.
    pub lexicon: &'a TagLexicon,
    /// The user's interests; a tag must serve one of them, word for word.
    pub interests: &'a [Interest],
    /// Stem sets of all that was clicked, bought or searched in the past month.
    pub recent: HashSet<String>,
    /// Stem sets of the cores that were bought in the past month.
    pub bought: HashSet<String>,
    /// The season of the date.
    pub season: Season,
    /// Fewest tags.
    pub min_tags: usize,
    /// Fewest categories.
    pub min_categories: usize,
    /// Gives every kept tag its category; without it categories are not counted.
    pub categories: Option<&'a TagToCategory>,
}

impl<'a> TagRules<'a> {
    /// The rules for a digest at its time: at least 50 tags over 8 categories.
    #[must_use]
    pub fn new(
        digest: &Digest,
        interests: &'a [Interest],
        lexicon: &'a TagLexicon,
        categories: Option<&'a TagToCategory>,
    ) -> Self {
        let bought = digest.lines.iter().filter(|line| {
            line.contexts.iter().any(|c| {
                matches!(c.bucket, TimeBucket::Day(_))
                    && c.behaviours.iter().any(|(b, _)| *b == EventType::Purchase)
            })
        });
        let core = |text: &String| {
            stem_key(
                &split_tag(text, &lexicon.cores).map_or_else(|| text.clone(), |(_, core)| core),
            )
        };
        let bought = bought.flat_map(|line| line.items.iter().map(core)).collect();
        Self {
            lexicon,
            interests,
            recent: digest.recent.iter().map(|text| stem_key(text)).collect(),
            bought,
            season: digest.now.season(),
            min_tags: TAGS_PER_USER.0,
            min_categories: TAGS_PER_USER.1,
            categories,
        }
    }
}

/// Keeps the tags that hold all constraints, in their order and with their categories, and lists every
/// breach: one per refused tag (the first that was found), and of the whole list where the kept tags or
/// their categories are too few.
#[must_use]
pub fn check_tags(tags: Vec<Tag>, rules: &TagRules<'_>) -> (Vec<Tag>, Vec<ConstraintBreach>) {
    let interests: HashSet<String> =
        rules.interests.iter().map(|i| normalise_text(&i.text)).collect();
    let mut kept: Vec<Tag> = Vec::new();
    let mut breaches = Vec::new();
    let mut seen: HashMap<String, String> = HashMap::new();
    for mut tag in tags {
        let key = stem_key(&tag.text);
        let breach = if !interests.contains(&normalise_text(&tag.interest)) {
            let detail = format!("the user has no interest {:?}", tag.interest);
            Some((TagConstraint::InterestConsistency, detail))
        } else if let Some(first) = seen.get(&key) {
            Some((TagConstraint::Diversity, format!("says the same as {first:?}")))
        } else {
            imprecise(&tag, rules.lexicon)
                .map(|detail| (TagConstraint::SemanticPrecision, detail))
                .or_else(|| stale(&tag, &key, rules).map(|d| (TagConstraint::Freshness, d)))
                .or_else(|| out_of_season(&tag, rules.season).map(|d| (TagConstraint::Season, d)))
        };
        match breach {
            Some((constraint, detail)) => {
                breaches.push(ConstraintBreach { tag: tag.text, constraint, detail });
            }
            None => {
                if tag.category.is_none() {
                    let model = rules.categories;
                    tag.category = model.and_then(|m| m.predict(&tag.text)).map(|(c, _)| c);
                }
                seen.insert(key, tag.text.clone());
                kept.push(tag);
            }
        }
    }
    breaches.extend(too_few(&kept, rules));
    (kept, breaches)
}

/// Breaches of the whole list.
fn too_few(kept: &[Tag], rules: &TagRules<'_>) -> Vec<ConstraintBreach> {
    let breach = |detail: String| ConstraintBreach {
        tag: String::new(),
        constraint: TagConstraint::Diversity,
        detail,
    };
    let mut breaches = Vec::new();
    if kept.len() < rules.min_tags {
        breaches.push(breach(format!("{} tags, {} wanted", kept.len(), rules.min_tags)));
    }
    let n_categories = kept.iter().filter_map(|t| t.category).collect::<BTreeSet<_>>().len();
    if rules.categories.is_some() && n_categories < rules.min_categories {
        let wanted = rules.min_categories;
        breaches.push(breach(format!("{n_categories} categories, {wanted} wanted")));
    }
    breaches
}

fn imprecise(tag: &Tag, lexicon: &TagLexicon) -> Option<String> {
    if tag.modifiers.is_empty() {
        return Some("no modifier".to_owned());
    }
    let normalised = normalise_text(&tag.text);
    let words: Vec<&str> = normalised.split(' ').collect();
    if let Some(word) = words.iter().find(|word| VAGUE.contains(**word)) {
        return Some(format!("vague word {word:?}"));
    }
    if let Some(word) = words.iter().find(|word| is_model_number(word)) {
        return Some(format!("model number {word:?}"));
    }
    for n in 1..=words.len().min(4) {
        let brand = words.windows(n).map(|w| w.join(" ")).find(|w| lexicon.brands.contains(w));
        if let Some(brand) = brand {
            return Some(format!("brand {brand:?}"));
        }
    }
    None
}

/// Words that a number follows after a hyphen without making a model number.
const MEASURES: [&str; 9] =
    ["size", "omega", "level", "type", "grade", "stage", "class", "vitamin", "grit"];

/// Letters and digits mixed, and neither a quantity with its unit ("500ml", "27-inch", "3-piece") nor
/// a common code ("usb3", "a4").
fn is_model_number(word: &str) -> bool {
    let has_digit = word.chars().any(|c| c.is_ascii_digit());
    let has_letter = word.chars().any(char::is_alphabetic);
    if !has_digit || !has_letter || COMMON_CODES.contains(word) {
        return false;
    }
    let quantity = |part: &str| {
        let unit = part.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | ','));
        unit.is_empty()
            || UNITS.contains(unit)
            || !unit.chars().any(|c| c.is_ascii_digit()) && unit.len() == part.len()
    };
    let parts: Vec<&str> = word.split(['-', 'x', '/']).filter(|p| !p.is_empty()).collect();
    let unit =
        word.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '-'));
    if unit.len() < word.len() && UNITS.contains(unit) {
        return false;
    }
    // "size-3", "spf-30": a plain word of measure and its number.
    if let Some((name, number)) = word.split_once('-')
        && number.chars().all(|c| c.is_ascii_digit())
        && (UNITS.contains(name) || MEASURES.contains(&name))
    {
        return false;
    }
    // "wh-1000xm4" fails on its second part; "1080p-hdmi" and "10x12" pass.
    let starts_with_number = word.starts_with(|c: char| c.is_ascii_digit());
    !(starts_with_number && parts.iter().all(|part| quantity(part)))
}

fn stale(tag: &Tag, key: &str, rules: &TagRules<'_>) -> Option<String> {
    if rules.recent.contains(key) {
        return Some("clicked, bought or searched in the past month".to_owned());
    }
    rules
        .bought
        .contains(&stem_key(&tag.core))
        .then(|| format!("{:?} was bought in the past month", tag.core))
}

/// The season that a word of the text belongs to, if any does.
#[must_use]
pub fn season_of(text: &str) -> Option<Season> {
    season_words(&normalise_text(text)).next().map(|(_, season)| season)
}

fn season_words(normalised: &str) -> impl Iterator<Item = (&str, Season)> {
    // "winter-weight" is for winter; "gas-spring" is not for spring.
    let first_parts = normalised.split(' ').filter_map(|word| word.split('-').next());
    let parts = normalised.split(' ').chain(first_parts);
    parts.filter_map(|word| SEASON_WORDS.get(word).map(|&season| (word, season)))
}

/// A word of a season that is neither the present one nor the next.
fn out_of_season(tag: &Tag, now: Season) -> Option<String> {
    let next = match now {
        Season::Spring => Season::Summer,
        Season::Summer => Season::Autumn,
        Season::Autumn => Season::Winter,
        Season::Winter => Season::Spring,
    };
    let normalised = normalise_text(&tag.text);
    let mut strange = season_words(&normalised).filter(|&(_, s)| s != now && s != next);
    strange.next().map(|(word, season)| {
        format!("{word:?} is for {}, it is {}", season.as_str(), now.as_str())
    })
}
