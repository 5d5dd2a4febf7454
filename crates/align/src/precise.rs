//! A product's real words in the form of a tag: what the precision constraint refuses is left out.

use std::collections::HashSet;

use intent::{TagLexicon, TagRules, check_tags, plain, split_tag};
use types::{Interest, InterestSource, InterestStage, Season, Tag, TagConstraint};

/// Longest brand that is looked for, in words.
const LONGEST_BRAND: usize = 4;

/// Words that join two parts and mean nothing where one of them is gone.
const HANGING: [&str; 10] = ["of", "for", "with", "in", "by", "and", "&", "-", "from", "to"];

/// The text without brands, model numbers and vague words, in lower case, with its modifiers and its
/// core; `None` where no modifier and core are left.
///
/// Real titles name them; a tag must not, and dropping every such title would teach of few products.
pub(crate) fn precise(text: &str, lexicon: &TagLexicon) -> Option<(String, Vec<String>, String)> {
    let interests = [nobody()];
    let rules = &words_alone(lexicon, &interests);
    let lower = plain(&text.to_lowercase());
    let mut words: Vec<&str> = lower.split(' ').filter(|word| !word.is_empty()).collect();
    words.retain(|word| !is_refused(word, rules));
    // Shorter runs first: a longer one that holds a brand would take more than the brand away.
    for n in 2..=LONGEST_BRAND {
        while let Some(at) = words.windows(n).position(|run| is_refused(&run.join(" "), rules)) {
            words.drain(at..at + n);
        }
    }
    // "set of 6 bags" leaves "6 bags".
    let hangs = |word: &&str| HANGING.contains(word);
    let from = words.iter().position(|word| !hangs(word)).unwrap_or(words.len());
    let until = words.iter().rposition(|word| !hangs(word)).map_or(from, |at| at + 1);
    let text = words[from..until].join(" ");
    let (modifiers, core) = split_tag(&text, &lexicon.cores)?;
    Some((text, modifiers, core))
}

/// Whether the precision constraint refuses these words wherever they stand.
fn is_refused(words: &str, rules: &TagRules<'_>) -> bool {
    let probe = Tag {
        text: words.to_owned(),
        modifiers: vec![words.to_owned()],
        core: String::new(),
        interest: PROBE.to_owned(),
        rationale: String::new(),
        category: None,
    };
    let (_, breaches) = check_tags(vec![probe], rules);
    breaches.iter().any(|breach| breach.constraint == TagConstraint::SemanticPrecision)
}

/// Words are asked about as a tag of this interest, so that only they can be refused.
const PROBE: &str = "probe";

fn nobody() -> Interest {
    Interest {
        id: String::new(),
        text: PROBE.to_owned(),
        stage: InterestStage::Long,
        source: InterestSource::Extended,
        reason: String::new(),
        evidence: Vec::new(),
    }
}

/// The constraints on words alone, of no user and no time.
fn words_alone<'a>(lexicon: &'a TagLexicon, interests: &'a [Interest]) -> TagRules<'a> {
    TagRules {
        lexicon,
        interests,
        recent: HashSet::new(),
        bought: HashSet::new(),
        season: Season::Spring,
        min_tags: 0,
        min_categories: 0,
        categories: None,
    }
}

#[cfg(test)]
mod tests {
    use intent::{CoreWords, TagLexicon};

    use super::precise;

    #[test]
    fn real_words_become_a_tag() {
        let lexicon = TagLexicon::new(CoreWords::new(["light holder"]), ["Norvik", "Old Oak"]);
        let check = |text: &str, want: Option<&str>| {
            let got = precise(text, &lexicon).map(|(text, _, core)| format!("{text}|{core}"));
            assert_eq!(got.as_deref(), want, "{text:?}");
        };
        check("WHITE HANGING LIGHT HOLDER", Some("white hanging light holder|light holder"));
        check("old oak white mug", Some("white mug|mug"));
        check("Norvik WH-1000XM4 steel mug", Some("steel mug|mug"));
        check("premium cutlery set", None); // one word is left
        check("red cutlery set", Some("red cutlery|cutlery"));
        check("SET OF 6 paper bags with accessories", Some("6 paper bags|bags"));
        check("snow boots", Some("snow boots|boots")); // the season is not asked here
        check("", None);
    }
}
