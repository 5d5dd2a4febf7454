//! Reasons that may be shown, and those that may not.

use intent::{ReasonInput, ReasonIssue, parse_reason, template_reason};
use lm::PromptStyle::{Prose, Terse};
use types::Timestamp;

const INPUT: ReasonInput<'static> = ReasonInput {
    interest: "coffee at home",
    rationale: "goes with burr coffee grinder",
    title: "Norvik double-wall insulated steel mug 350ml",
    now: Timestamp(0),
};

#[test]
fn one_reason_after_the_other() {
    let invented = |word: &str| Err(ReasonIssue::InventedWord(word.to_owned()));
    let pushes = |phrase: &str| Err(ReasonIssue::HardSell(phrase.to_owned()));
    let good = "Keeps what you've ground at home warm: a steel mug for your coffee";
    let cases = [
        (
            "Steel mug that goes with your grinder",
            Ok("Steel mug that goes with your grinder".to_owned()),
        ),
        ("keeps your coffee warm at home\nmore", Ok("keeps your coffee warm at home".to_owned())),
        (good, invented("ground")),
        ("A titanium mug for your coffee", invented("titanium")),
        ("", Err(ReasonIssue::Empty)),
        (" -- \n", Err(ReasonIssue::Empty)),
        ("a a a a a a a a a a a a a a a", Err(ReasonIssue::TooLong(15))),
        ("Norvik double-wall insulated steel mug", Err(ReasonIssue::CopiesTitle)),
        ("Buy now: steel mug for coffee", pushes("buy now")),
        ("100% steel mug", pushes("100%")),
        ("For you: me@home", Err(ReasonIssue::Personal("me@home".to_owned()))),
    ];
    for (text, want) in cases {
        assert_eq!(parse_reason(Terse, text, &INPUT), want, "{text:?}");
    }
}

#[test]
fn json_and_chinese() {
    let json = r#"{"explanation": "A warm mug for your coffee at home"}"#;
    assert_eq!(
        parse_reason(Prose, json, &INPUT).as_deref(),
        Ok("A warm mug for your coffee at home")
    );
    assert_eq!(parse_reason(Prose, "A warm mug", &INPUT), Err(ReasonIssue::Empty));
    assert_eq!(
        parse_reason(Prose, r#"{"explanation": "在家也能慢慢喝"}"#, &INPUT).as_deref(),
        Ok("在家也能慢慢喝")
    );
    let long = format!(r#"{{"explanation": "{}"}}"#, "好".repeat(25));
    assert_eq!(parse_reason(Prose, &long, &INPUT), Err(ReasonIssue::TooLong(25)));
}

#[test]
fn the_fallback_is_marked() {
    let reason = template_reason(&INPUT);
    assert!(reason.fallback);
    assert_eq!(reason.text, "For your interest in coffee at home: goes with burr coffee grinder");
}
