//! What a judge is asked, and what its answers say.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{digest, interest, user};
use intent::{
    JudgeInput, JudgeOptions, Lang, ParseIssueKind, Rubric, Subjects, criterion_probabilities,
    judge_batch, judge_request, parse_verdicts, pass_probabilities, passes, subjects_per_request,
    write_verdict,
};
use lm::{LanguageModel, PromptStyle, Scripted};
use proptest::prelude::*;
use types::{Interest, Judge, Tag};

fn tag(interest: &str, text: &str) -> Tag {
    let (modifiers, core) = text.rsplit_once(' ').unwrap();
    Tag {
        text: text.to_owned(),
        modifiers: vec![modifiers.to_owned()],
        core: core.to_owned(),
        interest: interest.to_owned(),
        rationale: "loves it".to_owned(),
        category: None,
    }
}

fn interests() -> Vec<Interest> {
    let quoting = "put into the cart “trail shoes” 3 days ago";
    vec![interest("trail running", quoting), interest("coffee; at home|", quoting)]
}

fn model() -> Judge {
    Judge::Model("test".to_owned())
}

/// System and user message of a judge's request, one after the other.
fn shown(style: PromptStyle, lang: Lang, subjects: Subjects<'_>) -> String {
    let request = judge_request(style, lang, (&user(), &digest()), subjects);
    let system = request.prompt.system.as_deref().unwrap_or("(none)");
    format!("--- system\n{system}\n--- user\n{}", request.prompt.user)
}

#[test]
fn judge_prompts() {
    let (tags, interests) = ([tag("trail running", "wide trail shoes")], interests());
    let check = |names: [&str; 2], style, lang| {
        let interests = &interests[..subjects_per_request(style).min(2)];
        insta::assert_snapshot!(names[0], shown(style, lang, Subjects::Interests(interests)));
        insta::assert_snapshot!(names[1], shown(style, lang, Subjects::Tags(&tags)));
    };
    check(["judge_interests_terse", "judge_tags_terse"], PromptStyle::Terse, Lang::En);
    check(["judge_interests_prose_en", "judge_tags_prose_en"], PromptStyle::Prose, Lang::En);
    check(["judge_interests_prose_zh", "judge_tags_prose_zh"], PromptStyle::Prose, Lang::Zh);
}

#[test]
fn answers_become_judgements() {
    let check = |style, text: &str, expect: &[(&str, bool)], issues: usize| {
        let interests = interests();
        let subjects = Subjects::Interests(&interests[..subjects_per_request(style).min(2)]);
        let (judgements, found) = parse_verdicts(style, text, &digest(), subjects, &model());
        let got: Vec<(&str, bool)> =
            judgements.iter().map(|j| (j.label.as_str(), j.passes)).collect();
        assert_eq!((got.as_slice(), found.len()), (expect, issues), "{text}");
    };
    let good = [("spontaneity", true), ("strong", true)];
    let bad = [("necessity", false), ("weak", false)];
    check(PromptStyle::Terse, "f s", &good, 0);
    check(PromptStyle::Terse, " d w\n", &bad, 0);
    check(PromptStyle::Terse, "f x", &[], 1);
    check(PromptStyle::Terse, "f s s", &[], 1);
    check(PromptStyle::Terse, "", &[], 1);
    let json = r#"{"verdicts": [{"willingness": "spontaneity", "reasonableness": "strong"},
                   {"willingness": "necessity", "reasonableness": "weak"}]}"#;
    check(PromptStyle::Prose, json, &[good, bad].concat(), 0);
    let strange = r#"{"verdicts": [{"willingness": "perhaps", "reasonableness": "strong"},
                      {"willingness": "necessity", "reasonableness": "weak"}]}"#;
    check(PromptStyle::Prose, strange, &bad, 1);
}

#[test]
fn a_quote_that_the_digest_does_not_hold_is_hallucinated_whatever_the_judge_says() {
    let invented = [interest("sailing", "bought “a wetsuit” 3 days ago")];
    let subjects = Subjects::Interests(&invented);
    let (judgements, _) = parse_verdicts(PromptStyle::Terse, "f s", &digest(), subjects, &model());
    assert_eq!(judgements[1].label, "hallucinated");
    assert!(!passes(&judgements));
}

#[test]
fn only_what_passes_every_criterion_passes() {
    let tags = [tag("trail running", "wide trail shoes")];
    for (answer, expect) in [("y y y y", true), ("y y n y", false)] {
        let subjects = Subjects::Tags(&tags);
        let (judgements, issues) =
            parse_verdicts(PromptStyle::Terse, answer, &digest(), subjects, &model());
        assert_eq!((judgements.len(), issues.len()), (4, 0));
        assert_eq!(passes(&judgements), expect);
    }
    assert!(!passes(&[]));
}

#[test]
fn everything_of_many_users_is_judged() {
    let (user, digest, interests) = (user(), digest(), interests());
    let tags = vec![tag("trail running", "wide trail shoes"); 5];
    let input = JudgeInput { user: &user, digest: &digest, interests: &interests, tags: &tags };
    let model = Scripted::new(|request| {
        let is_tag = request.prompt.user.contains("judge tag: ");
        Ok(if is_tag { "y y y y" } else { "f s" }.to_owned())
    });
    let options = JudgeOptions { lang: Lang::En, chunk: 2 };
    let judged = judge_batch(&model, &[input; 3], &options, &|_, _| {});
    assert_eq!(model.asked().len(), 3 * 7, "one subject a request");
    for user in &judged {
        assert_eq!((user.interests.len(), user.tags.len()), (2, 5));
        assert!(user.tags.iter().all(|judgements| passes(judgements)), "{:?}", user.issues);
    }
}

#[test]
fn an_unreadable_answer_judges_nothing() {
    let (user, digest, interests) = (user(), digest(), interests());
    let input = JudgeInput { user: &user, digest: &digest, interests: &interests, tags: &[] };
    let model = Scripted::new(|_| Ok("what?".to_owned()));
    let options = JudgeOptions { lang: Lang::En, chunk: 8 };
    let judged = judge_batch(&model, &[input], &options, &|_, _| {});
    assert!(judged[0].interests.iter().all(Vec::is_empty));
    assert_eq!(judged[0].issues[0].kind, ParseIssueKind::Malformed);
}

#[test]
fn a_subject_passes_as_likely_as_the_answer_whose_labels_all_pass() {
    let (user, digest, model) = (user(), digest(), Scripted::new(|_| Ok(String::new())));
    let check = |subjects: Subjects<'_>, answer: &str| {
        let p = pass_probabilities(&model, (&user, &digest), subjects).unwrap();
        let prompt = judge_request(PromptStyle::Terse, Lang::En, (&user, &digest), subjects).prompt;
        let expect = model.score(&prompt, &[answer]).unwrap()[0].exp();
        assert_eq!(p, vec![expect; subjects.len()]);
        let each = criterion_probabilities(&model, (&user, &digest), subjects).unwrap();
        assert!(p.iter().zip(&each).all(|(p, each)| *p == each.all), "{p:?} and {each:?}");
        assert!(each.iter().all(|p| p.each.iter().all(|one| *one >= p.all)), "{each:?}");
    };
    check(Subjects::Interests(&interests()[..1]), "f s");
    check(Subjects::Tags(&[tag("trail running", "wide trail shoes")]), "y y y y");
    check(Subjects::Tags(&[]), "");
}

#[test]
fn rubrics_say_what_is_wrong_with_them() {
    let check = |text: &str, expect: &str| {
        let error = Rubric::parse(text).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    let label = |name: &str, code: &str, passes: bool| {
        format!(
            "[[criterion.label]]\nname = \"{name}\"\ncode = \"{code}\"\npasses = {passes}\n\
             definition = \"d\"\npositive = []\nnegative = []\n"
        )
    };
    let head = "[[criterion]]\nname = \"relevance\"\ndefinition = \"d\"\n";
    check(&format!("{head}{}", label("yes", "y", true)), "labels that fail");
    let long = format!("{head}{}{}", label("yes", "yes", true), label("no", "n", false));
    check(&long, "one letter");
    check(&long.replace("relevance", "beauty"), "beauty");
    assert_eq!((Rubric::interests().criteria.len(), Rubric::tags().criteria.len()), (2, 4));
}

proptest! {
    #[test]
    fn what_is_written_reads_back((a, b) in (0..2usize, 0..4usize)) {
        let (rubric, interests) = (Rubric::interests(), interests());
        let name = |criterion: usize, label: usize| {
            rubric.criteria[criterion].labels[label].name.as_str()
        };
        let labels = [name(0, a), name(1, b)];
        let (text, subjects) = (write_verdict(rubric, &labels), Subjects::Interests(&interests[..1]));
        let read = parse_verdicts(PromptStyle::Terse, &text, &digest(), subjects, &model());
        let got: Vec<&str> = read.0.iter().map(|j| j.label.as_str()).collect();
        prop_assert_eq!(got, labels);
    }

    #[test]
    fn no_answer_panics(text in ".{0,200}") {
        let interests = interests();
        for style in [PromptStyle::Terse, PromptStyle::Prose] {
            let subjects = Subjects::Interests(&interests);
            let (judgements, _) = parse_verdicts(style, &text, &digest(), subjects, &model());
            prop_assert!(judgements.len() <= 2 * interests.len());
        }
    }
}
