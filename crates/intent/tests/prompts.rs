//! What the models read: one readable snapshot per prompt.

mod common;

use common::{digest, profile, user};
use intent::{Lang, ReasonInput, mine_request, reason_request, tag_request};
use lm::{PromptStyle, Request};

/// System and user message, one after the other.
fn shown(request: &Request) -> String {
    let system = request.prompt.system.as_deref().unwrap_or("(none)");
    format!("--- system\n{system}\n--- user\n{}", request.prompt.user)
}

const STYLES: [(&str, PromptStyle, Lang); 3] = [
    ("terse", PromptStyle::Terse, Lang::En),
    ("prose_en", PromptStyle::Prose, Lang::En),
    ("prose_zh", PromptStyle::Prose, Lang::Zh),
];

#[test]
fn mining_prompts() {
    let pool = ["hiking and trekking".to_owned(), "coffee|at home".to_owned()];
    for (name, style, lang) in STYLES {
        let request = mine_request(style, lang, &user(), &digest(), &pool, 400);
        insta::assert_snapshot!(format!("mine_{name}"), shown(&request));
    }
}

#[test]
fn tag_prompts() {
    let profile = profile(&["hiking and trekking", "coffee at home"]);
    for (name, style, lang) in STYLES {
        let request = tag_request(style, lang, &user(), &digest(), &profile, 900);
        insta::assert_snapshot!(format!("tag_{name}"), shown(&request));
    }
}

#[test]
fn reason_prompts() {
    let digest = digest();
    let input = ReasonInput {
        interest: "coffee at home",
        rationale: "goes with burr coffee grinder",
        title: "Norvik <|pad|> insulated steel mug",
        now: digest.now,
    };
    for (name, style, lang) in STYLES {
        let request = reason_request(style, lang, &input, 30);
        insta::assert_snapshot!(format!("reason_{name}"), shown(&request));
    }
}

#[test]
fn a_terse_tag_prompt_continues_the_mining_prompt_and_its_answer() {
    let (style, lang) = (PromptStyle::Terse, Lang::En);
    let mine = mine_request(style, lang, &user(), &digest(), &[], 1).prompt.user;
    let answer = "trail shoes;running shoes|hiking|long\nburr coffee grinder|coffee|long\n";
    let (interests, issues) = intent::parse_interests(style, answer, &digest(), &[]);
    assert_eq!(issues, []);
    let mut profile = profile(&[]);
    profile.interests = interests;
    let tag = tag_request(style, lang, &user(), &digest(), &profile, 1).prompt.user;
    assert!(tag.starts_with(&format!("{mine}{answer}<|endoftext|><|recent|>")), "{tag}");
}

#[test]
fn an_empty_user_still_gets_a_prompt() {
    let user = types::User::default();
    let digest = types::Digest { lines: vec![], recent: vec![], ..digest() };
    for (_, style, lang) in STYLES {
        assert!(!mine_request(style, lang, &user, &digest, &[], 1).prompt.user.is_empty());
        let profile = profile(&[]);
        assert!(!tag_request(style, lang, &user, &digest, &profile, 1).prompt.user.is_empty());
    }
}
