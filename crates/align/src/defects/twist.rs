//! Changes of a tag's words that break one criterion, or look as if they did.

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_pcg::Pcg64Mcg;
use types::{Season, Tag, Timestamp, User};

use super::shop::parent;
use super::{Defect, JudgeShop};

/// Modifiers that narrow nothing.
const VAGUE: [&str; 8] =
    ["fashion", "stylish", "quality", "practical", "premium", "popular", "nice", "multifunctional"];

/// Nouns for whole departments.
const HEADS: [&str; 6] = ["equipment", "gear", "products", "accessories", "supplies", "items"];

/// Modifiers that are asked of products which nobody makes so; used only where no product has them.
const GADGETS: [&str; 10] = [
    "smart",
    "app-controlled",
    "self-cleaning",
    "holographic",
    "voice-activated",
    "edible",
    "inflatable",
    "solar-powered",
    "transparent",
    "magnetic-levitating",
];

/// Words for an age, with the ages that they fit.
const AGES: [(&str, u32, u32); 3] = [("kids", 0, 12), ("teen", 13, 19), ("senior", 60, 120)];

/// Words for a person of a gender.
const GENDERS: [&str; 2] = ["women's", "men's"];

/// Whether a modifier says a season, a person or nothing: that no title has it makes no product
/// impossible.
pub(super) fn is_beside_the_product(modifier: &str) -> bool {
    let is_person = GENDERS.contains(&modifier) || AGES.iter().any(|(word, ..)| *word == modifier);
    is_person || VAGUE.contains(&modifier) || intent::season_of(modifier).is_some()
}

/// A tag with what is known to be right of it.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) tag: Tag,
    /// Relevance, consistency, specificity, validity.
    pub(super) labels: [bool; 4],
    pub(super) defects: Vec<Defect>,
}

impl Draft {
    pub(super) fn good(tag: &Tag) -> Self {
        Self { tag: tag.clone(), labels: [true; 4], defects: Vec::new() }
    }

    fn breaks(mut self, criterion: usize, defect: Defect) -> Self {
        self.labels[criterion] = false;
        if !self.defects.contains(&defect) {
            self.defects.push(defect);
        }
        self
    }
}

/// The core alone, with an empty modifier, or a whole department for it.
pub(super) fn unspecific(mut draft: Draft, shop: &JudgeShop<'_>, rng: &mut Pcg64Mcg) -> Draft {
    let taxonomy = shop.truth.taxonomy;
    let group = draft.tag.category.and_then(|category| parent(taxonomy, category));
    let group = group.map(|group| intent::plain(&taxonomy.name(group).to_lowercase()));
    let mut word = |words: &[&'static str]| words.choose(rng).copied().unwrap_or_default();
    let (vague, head) = (word(&VAGUE), word(&HEADS));
    let core = &draft.tag.core;
    draft.tag.text = match (rng.random_range(0..5_u32), group) {
        (0 | 1, _) | (_, None) => core.clone(),
        (2, _) => format!("{vague} {core}"),
        (3, Some(group)) => format!("{vague} {group} {head}"),
        (_, Some(group)) => format!("{group} {head}"),
    };
    draft.breaks(2, Defect::Unspecific)
}

/// A modifier that no product of this core has, instead of the first or before all.
pub(super) fn invalid(mut draft: Draft, shop: &JudgeShop<'_>, rng: &mut Pcg64Mcg) -> Option<Draft> {
    let core = draft.tag.core.clone();
    let strange = shop.strange_modifiers(&core, draft.tag.category?);
    let gadgets = GADGETS.iter().filter(|g| !shop.is_sold(&[(**g).to_owned()], &core));
    let gadgets: Vec<&str> = gadgets.copied().collect();
    let from = if rng.random_bool(0.6) && !strange.is_empty() { &strange } else { &gadgets };
    let modifier = (*from.choose(rng)?).to_owned();
    let keeps = rng.random_range(0..draft.tag.modifiers.len().max(1));
    let mut words = vec![modifier.as_str()];
    words.extend(draft.tag.modifiers.iter().skip(1).take(keeps).map(String::as_str));
    words.push(&core);
    draft.tag.text = words.join(" ");
    Some(draft.breaks(3, Defect::Invalid))
}

/// A season before the tag: `is_right` says whether it is the present or the next one.
pub(super) fn seasonal(
    mut draft: Draft,
    now: Timestamp,
    is_right: bool,
    rng: &mut Pcg64Mcg,
) -> Draft {
    let at = Season::ALL.iter().position(|s| *s == now.season()).unwrap_or_default();
    let ahead = rng.random_range(0..2_usize) + if is_right { 0 } else { 2 };
    let season = Season::ALL[(at + ahead) % Season::ALL.len()];
    draft.tag.text = format!("{} {}", season.as_str(), draft.tag.text);
    if is_right { draft } else { draft.breaks(1, Defect::Inconsistent) }
}

/// A gender or an age before the tag that is, or is not, the user's; `None` where neither is known or
/// no word fits.
pub(super) fn personal(
    mut draft: Draft,
    user: &User,
    is_right: bool,
    rng: &mut Pcg64Mcg,
) -> Option<Draft> {
    let mut words: Vec<&str> = Vec::new();
    let gender = user.attribute("gender").or_else(|| user.attribute("sex"));
    if let Some(gender) = gender.map(str::to_lowercase) {
        let is_woman = gender.starts_with('f') || gender.starts_with('w');
        words.push(GENDERS[usize::from(is_woman != is_right)]);
    }
    if let Some(age) = user.attribute("age").and_then(|age| age.parse::<u32>().ok()) {
        let fits = AGES.iter().filter(|(_, from, to)| (*from..=*to).contains(&age) == is_right);
        words.extend(fits.map(|(word, ..)| *word));
    }
    let word = words.choose(rng)?;
    draft.tag.text = format!("{word} {}", draft.tag.text);
    Some(if is_right { draft } else { draft.breaks(1, Defect::Inconsistent) })
}
