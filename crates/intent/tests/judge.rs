//! What a judge is asked, and what its answers say.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{digest, interest, user};
use intent::{
    JudgeInput, JudgeOptions, Lang, ParseIssueKind, Rubric, SUBJECTS_PER_REQUEST, Subjects,
    judge_batch, judge_request, parse_verdicts, pass_probabilities, passes, write_verdicts,
};
use lm::{PromptStyle, Scripted};
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
        insta::assert_snapshot!(names[0], shown(style, lang, Subjects::Interests(&interests)));
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
        let subjects = Subjects::Interests(&interests);
        let (judgements, found) = parse_verdicts(style, text, &digest(), subjects, &model());
        let got: Vec<(&str, bool)> =
            judgements.iter().map(|j| (j.label.as_str(), j.passes)).collect();
        assert_eq!((got.as_slice(), found.len()), (expect, issues), "{text}");
    };
    let good = [("spontaneity", true), ("strong", true)];
    let bad = [("necessity", false), ("weak", false)];
    check(PromptStyle::Terse, "f s;d w", &[good, bad].concat(), 0);
    check(PromptStyle::Terse, "f s;d x", &good, 1);
    check(PromptStyle::Terse, "f s", &good, 1);
    check(PromptStyle::Terse, "", &[], 2);
    check(PromptStyle::Terse, "f s;d w;f s", &[good, bad].concat(), 1);
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
    let tags = [tag("trail running", "wide trail shoes"), tag("trail running", "nice things")];
    let subjects = Subjects::Tags(&tags);
    let (judgements, issues) =
        parse_verdicts(PromptStyle::Terse, "y y y y;y y n y", &digest(), subjects, &model());
    assert_eq!((judgements.len(), issues.len()), (8, 0));
    assert!(passes(&judgements[..4]) && !passes(&judgements[4..]) && !passes(&[]));
}

#[test]
fn many_users_are_judged_in_requests_of_a_bounded_size() {
    let (user, digest, interests) = (user(), digest(), interests());
    let tags = vec![tag("trail running", "wide trail shoes"); SUBJECTS_PER_REQUEST + 3];
    let input = JudgeInput { user: &user, digest: &digest, interests: &interests, tags: &tags };
    let model = Scripted::new(|request| {
        let asked = request.prompt.user.rsplit("judge ").next().unwrap().to_owned();
        let n = asked.matches(';').count() + 1;
        let group = if asked.starts_with("tags") { "y y y y" } else { "f s" };
        Ok(vec![group; n].join(";"))
    });
    let options = JudgeOptions { lang: Lang::En, chunk: 2 };
    let judged = judge_batch(&model, &[input; 3], &options, &|_, _| {});
    assert_eq!(model.asked().len(), 9);
    for user in &judged {
        assert_eq!((user.interests.len(), user.tags.len()), (2, SUBJECTS_PER_REQUEST + 3));
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
fn who_finds_all_answers_alike_passes_by_the_share_of_answers_that_pass() {
    // The scripted model prefers short answers, and all groups of codes are of one length.
    let (user, digest, model) = (user(), digest(), Scripted::new(|_| Ok(String::new())));
    let check = |subjects: Subjects<'_>, expect: f64| {
        let p = pass_probabilities(&model, (&user, &digest), subjects).unwrap();
        assert_eq!(p.len(), subjects.len());
        assert!(p.iter().all(|p| (p - expect).abs() < 1e-9), "{p:?}");
    };
    check(Subjects::Interests(&interests()), 1.0 / 8.0);
    check(Subjects::Tags(&[tag("trail running", "wide trail shoes")]), 1.0 / 16.0);
    check(Subjects::Tags(&[]), 0.0);
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
    fn what_is_written_reads_back(rows in prop::collection::vec((0..2usize, 0..4usize), 1..16)) {
        let rubric = Rubric::interests();
        let name = |criterion: usize, label: usize| {
            rubric.criteria[criterion].labels[label].name.as_str()
        };
        let labels: Vec<Vec<&str>> =
            rows.iter().map(|&(a, b)| vec![name(0, a), name(1, b)]).collect();
        let text = write_verdicts(rubric, &labels);
        let subjects = vec![interests()[0].clone(); rows.len()];
        let read = parse_verdicts(
            PromptStyle::Terse, &text, &digest(), Subjects::Interests(&subjects), &model(),
        );
        let got: Vec<&str> = read.0.iter().map(|j| j.label.as_str()).collect();
        prop_assert_eq!(got, labels.concat());
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
