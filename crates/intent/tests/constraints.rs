//! The five constraints, case by case.

mod common;

use common::{digest, interest};
use intent::{CoreWords, TagLexicon, TagRules, TagToCategory, check_tags, split_tag};
use types::{CategoryId, Tag, TagConstraint};

fn lexicon() -> TagLexicon {
    TagLexicon::new(CoreWords::new(["coffee grinder", "hiking boots"]), ["Norvik", "Old Oak", "x"])
}

fn tag(text: &str, interest: &str) -> Tag {
    let (modifiers, core) = split_tag(text, &lexicon().cores).expect("a tag");
    Tag {
        text: text.to_owned(),
        modifiers,
        core,
        interest: interest.to_owned(),
        rationale: "winter".to_owned(),
        category: None,
    }
}

/// The breach of one tag after another has been kept; none where it is kept too. July.
fn check(text: &str, want: Option<TagConstraint>) {
    let (digest, interests, lexicon) = (digest(), [interest("hiking", "")], lexicon());
    let mut rules = TagRules::new(&digest, &interests, &lexicon, None);
    rules.min_tags = 0;
    let tags = vec![tag("sturdy leather hiking boots", "Hiking"), tag(text, "hiking")];
    let (kept, breaches) = check_tags(tags, &rules);
    assert_eq!(breaches.first().map(|b| b.constraint), want, "{text}: {breaches:?}");
    assert_eq!(kept.len(), 1 + usize::from(want.is_none()), "{text}");
}

#[test]
fn each_tag_is_checked() {
    use TagConstraint::{Diversity, Freshness, Season, SemanticPrecision};
    check("light trekking poles", None);
    check("hiking boot, leather sturdy", Some(Diversity)); // the same words
    check("smart coaster mat", Some(SemanticPrecision));
    check("norvik trekking poles", Some(SemanticPrecision));
    check("old oak trekking poles", Some(SemanticPrecision));
    check("old oak-look trekking poles", None);
    check("black wh-1000xm4 headphones", Some(SemanticPrecision));
    check("xr500 trail camera", Some(SemanticPrecision));
    for fine in [
        "500ml steel flask",
        "27-inch bike tyre",
        "usb3 cable",
        "10x12 tent tarp",
        "2 person tent",
        "3-piece cutlery roll",
        "a5 dotted notebook",
        "spf-30 face lotion",
        "size-3 training pants",
    ] {
        check(fine, None);
    }
    check("shoes running", Some(Freshness)); // searched in the past month, other order
    check("enamel mug red", Some(Freshness));
    check("blue enamel mug", None);
    check("manual coffee grinder", Some(Freshness)); // that core was bought nine days ago
    check("breathable trail shoes", None); // bought two years ago
    check("snow walking boots", Some(Season));
    check("fleece-lined walking trousers", Some(Season));
    check("beach tote bag", None);
    check("gas-spring monitor arm", None);
    check("winter-weight walking trousers", Some(Season));
    check("autumn leaf rake", None); // the next season
}

#[test]
fn foreign_interests_and_short_lists_are_breaches() {
    let (digest, interests, lexicon) = (digest(), [interest("hiking", "")], lexicon());
    let model = TagToCategory::train([("trekking poles", CategoryId(0)), ("tent", CategoryId(1))]);
    let rules = TagRules::new(&digest, &interests, &lexicon, Some(&model));
    let tags = vec![tag("light trekking poles", "hiking"), tag("small dome tent", "camping")];
    let (kept, breaches) = check_tags(tags, &rules);
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].category, Some(CategoryId(0)));
    let found: Vec<(&str, TagConstraint, &str)> =
        breaches.iter().map(|b| (b.tag.as_str(), b.constraint, b.detail.as_str())).collect();
    assert_eq!(
        found,
        [
            (
                "small dome tent",
                TagConstraint::InterestConsistency,
                "the user has no interest \"camping\""
            ),
            ("", TagConstraint::Diversity, "1 tags, 50 wanted"),
            ("", TagConstraint::Diversity, "1 categories, 8 wanted"),
        ]
    );
}
