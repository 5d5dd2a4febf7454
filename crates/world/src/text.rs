//! Words of the market: titles, descriptions, and one-line reasons from the grammars of `data/`.

use types::Item;

use crate::dice::Dice;
use crate::shop::Shop;
use crate::source::source;

/// Longest reason, in words.
pub(crate) const REASON_WORDS: usize = 12;

/// Fills the slots `{name}` of a sentence; `None` when one is unknown or empty.
pub(crate) fn fill(sentence: &str, slots: &[(&str, &str)]) -> Option<String> {
    let mut text = String::with_capacity(sentence.len() + 32);
    let mut rest = sentence;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, tail) = after.split_once('}')?;
        let value = slots.iter().find(|(n, v)| *n == name && !v.is_empty())?.1;
        text.push_str(before);
        text.push_str(value);
        rest = tail;
    }
    text.push_str(rest);
    Some(text)
}

/// The first letter in upper case.
pub(crate) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// "a" or "an" before the vowel that follows it, as English wants it.
fn with_articles(text: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    let words: Vec<&str> = text.split(' ').collect();
    for (idx, word) in words.iter().enumerate() {
        let next = words.get(idx + 1).and_then(|w| w.chars().next());
        let is_vowel = next.is_some_and(|c| "aeiouAEIOU".contains(c));
        out.push(match (*word, is_vowel) {
            ("a", true) => "an",
            ("A", true) => "An",
            (other, _) => other,
        });
    }
    out.join(" ")
}

/// Which section of the grammar explains a rationale, and what it is about.
fn section(rationale: &str) -> (&'static str, &str) {
    let kinds = [
        ("goes with ", "goes"),
        ("running low on ", "low"),
        ("next step in ", "next"),
        ("loves ", "loves"),
    ];
    for (prefix, name) in kinds {
        if let Some(rest) = rationale.strip_prefix(prefix) {
            return (name, rest);
        }
    }
    if types::Season::ALL.iter().any(|s| s.as_str() == rationale) {
        return ("season", rationale);
    }
    // "new baby" is told as "the baby": the short name of the interest that the event starts
    let event = source().life.iter().find(|l| l.name == rationale);
    let about =
        event.and_then(|l| l.interests.first()).map(|&i| source().interests[i].short.as_str());
    about.map_or(("plain", rationale), |short| ("life", short))
}

/// One sentence of at most [`REASON_WORDS`] words that links an interest and an item.
pub(crate) fn reason(
    shop: &Shop,
    interest: &str,
    rationale: &str,
    item: &Item,
    seed: u64,
) -> String {
    let mut dice = Dice::new(seed ^ types::fnv1a64(item.title.as_bytes()));
    let (name, about) = section(rationale);
    let (modifiers, core) = shop.split_text(&item.title).unwrap_or_default();
    let spec = source().interest(interest);
    let moment = spec.map_or("", |s| dice.pick(&source().themes[s.theme].moments).as_str());
    let short = spec.map_or(interest, |s| s.short.as_str());
    let chosen = if modifiers.is_empty() { "" } else { dice.pick(&modifiers).as_str() };
    let slots = [
        ("mods", modifiers.join(" ")),
        ("m1", chosen.to_owned()),
        ("core", core),
        ("moment", moment.to_owned()),
        ("short", short.to_owned()),
        ("interest", interest.to_owned()),
        ("thing", about.to_owned()),
        ("why", about.to_owned()),
    ];
    let slots: Vec<(&str, &str)> = slots.iter().map(|(n, v)| (*n, v.as_str())).collect();
    for section in [name, "plain", "fallback"] {
        let mut sentences: Vec<&String> = source().list(section).iter().collect();
        dice.shuffle(&mut sentences);
        let fitting = sentences
            .into_iter()
            .filter_map(|s| fill(s, &slots))
            .find(|s| s.split_whitespace().count() <= REASON_WORDS);
        if let Some(sentence) = fitting {
            return capitalised(&with_articles(&sentence));
        }
    }
    String::new()
}

/// Two or three sentences about an item.
pub(crate) fn description(
    dice: &mut Dice,
    brand: &str,
    modifiers: &[&str],
    core: &str,
    attributes: &[(String, String)],
) -> String {
    let mods = modifiers.join(", ");
    let m1 = modifiers.first().copied().unwrap_or("plain");
    let slots = [("brand", brand), ("mods", &mods), ("m1", m1), ("core", core)];
    let mut sentences: Vec<String> = Vec::new();
    sentences.extend(fill(dice.pick(source().list("open")).as_str(), &slots));
    if !attributes.is_empty() && dice.chance(0.8) {
        let (group, value) = dice.pick(attributes);
        let slots = [("group", group.as_str()), ("value", value.as_str())];
        sentences.extend(fill(dice.pick(source().list("detail")).as_str(), &slots));
    }
    if dice.chance(0.7) {
        sentences.extend(fill(dice.pick(source().list("close")).as_str(), &slots));
    }
    sentences.iter().map(|s| capitalised(&with_articles(s))).collect::<Vec<_>>().join(" ")
}
