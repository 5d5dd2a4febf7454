//! A product's real words in the form of a tag: what the precision constraint refuses is left out.

use intent::{TagRules, check_tags, plain, split_tag};
use types::{Tag, TagConstraint};

/// Longest brand that is looked for, in words.
const LONGEST_BRAND: usize = 4;

/// The text without brands, model numbers and vague words, in lower case, with its modifiers and its
/// core; `None` where no modifier and core are left.
///
/// Real titles name them; a tag must not, and dropping every such title would teach of few products.
pub(crate) fn precise(text: &str, rules: &TagRules<'_>) -> Option<(String, Vec<String>, String)> {
    let lower = plain(&text.to_lowercase());
    let mut words: Vec<&str> = lower.split(' ').filter(|word| !word.is_empty()).collect();
    words.retain(|word| !is_refused(word, rules));
    // Shorter runs first: a longer one that holds a brand would take more than the brand away.
    for n in 2..=LONGEST_BRAND {
        while let Some(at) = words.windows(n).position(|run| is_refused(&run.join(" "), rules)) {
            words.drain(at..at + n);
        }
    }
    let text = words.join(" ");
    let (modifiers, core) = split_tag(&text, &rules.lexicon.cores)?;
    Some((text, modifiers, core))
}

/// Whether the precision constraint refuses these words wherever they stand.
fn is_refused(words: &str, rules: &TagRules<'_>) -> bool {
    let probe = Tag {
        text: words.to_owned(),
        modifiers: vec![words.to_owned()],
        core: String::new(),
        interest: rules.interests.first().map_or_else(String::new, |i| i.text.clone()),
        rationale: String::new(),
        category: None,
    };
    let (_, breaches) = check_tags(vec![probe], rules);
    breaches.iter().any(|breach| breach.constraint == TagConstraint::SemanticPrecision)
}
