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
