//! The grammars of the terse lines, run by the library that constrains the built-in model.

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::ApproximateTokEnv;
use llguidance::{Matcher, ParserFactory};

/// Whether the grammar takes the whole text and may stop there.
fn accepts(grammar: &str, text: &str) -> bool {
    let env = ApproximateTokEnv::single_byte_env();
    let factory = ParserFactory::new_simple(&env).expect("a vocabulary of bytes");
    let parser = factory.create_parser(TopLevelGrammar::from_lark(grammar.to_owned()));
    let mut matcher = Matcher::new(parser);
    assert_eq!(matcher.get_error(), None);
    let tokens: Vec<u32> = text.bytes().map(u32::from).collect();
    matcher.try_consume_tokens(&tokens).unwrap_or(0) == tokens.len()
        && matcher.is_accepting().unwrap_or(false)
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

#[test]
fn quotes_are_those_of_the_digest_in_its_order() {
    let grammar = intent::grounded_interests_grammar(&owned(&["c++ book (2nd)", "socks", "trail"]));
    let same = "socks|a|long\n";
    let cases = [
        ("c++ book (2nd);trail|coding|long\nsocks|hiking|short\n".to_owned(), true),
        (same.repeat(3), true), // a text may speak for several interests
        (same.repeat(4), false),
        ("trail|a|long\nsocks|b|long\n".to_owned(), false), // backwards
        ("trails|a|long\n".to_owned(), false),
        ("trail;boots|a|long\n".to_owned(), false),
        ("trail;socks;trail|a|long\n".to_owned(), false),
        ("trail||long\n".to_owned(), false),
    ];
    for (text, want) in cases {
        assert_eq!(accepts(&grammar, &text), want, "{text:?}");
    }
}

#[test]
fn tags_serve_the_interests_in_their_order() {
    let grammar = intent::grounded_tags_grammar(&owned(&["hiking", "tea + cake"]));
    let tags = |n: usize| vec!["steel flask"; n].join(";");
    let cases = [
        ("hiking|winter|steel flask;wool hat\ntea + cake|gift|fine cup\n".to_owned(), true),
        ("tea + cake|gift|fine cup\n".to_owned(), true),
        ("tea + cake|gift|fine cup\nhiking|winter|wool hat\n".to_owned(), false), // backwards
        ("sailing|winter|wool hat\n".to_owned(), false),
        ("hiking|winter|wool hat\n".repeat(3), true),
        ("hiking|winter|wool hat\n".repeat(4), false),
        (format!("hiking|winter|{}\n", tags(12)), true),
        (format!("hiking|winter|{}\n", tags(13)), false),
    ];
    for (text, want) in cases {
        assert_eq!(accepts(&grammar, &text), want, "{text:?}");
    }
}

#[test]
fn only_well_formed_lines_pass() {
    let interests = intent::interests_grammar();
    let tags = intent::tags_grammar();
    let cases = [
        (&interests, "trail shoes;socks|hiking and trekking|long\n", true),
        (&interests, "b|a|short\n望远镜|观鸟|long\n", true),
        (&interests, "b|a|short", false),
        (&interests, "b|a|ever\n", false),
        (&interests, "|a|long\n", false),
        (&interests, "b;|a|long\n", false),
        (&interests, "\n", false),
        (&tags, "hiking|loves hiking|steel flask;wool hat\n", true),
        (&tags, "hiking|loves hiking|steel flask;;wool hat\n", false),
        (&tags, "hiking|steel flask\n", false),
        (&tags, " hiking|x|steel flask\n", false),
    ];
    for (grammar, text, want) in cases {
        assert_eq!(accepts(grammar, text), want, "{text:?}");
    }
}
