//! The judge: what it reads, what it may answer, and what becomes of its answers.
#![expect(clippy::unwrap_used, reason = "a test may stop where a value is missing")]

mod common;

use common::{digest, interest, profile, user};
use intent::judge::{
    Asked, JudgeInput, JudgeOptions, JudgeSubject, Questions, Rubric, TagQuestion, judge_batch,
    judge_request, judgements_grammar, judgements_schema, parse_judgements, pass_probabilities,
    passes,
};
use intent::{Lang, ParseIssueKind};
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::ApproximateTokEnv;
use llguidance::{Matcher, ParserFactory};
use lm::{Completion, Constraint, LanguageModel, LmError, Prompt, PromptStyle, Request, Scripted};
use types::{Interest, Judge, Judgement, Tag};

const STYLES: [(&str, PromptStyle, Lang); 3] = [
    ("terse", PromptStyle::Terse, Lang::En),
    ("prose_en", PromptStyle::Prose, Lang::En),
    ("prose_zh", PromptStyle::Prose, Lang::Zh),
];

fn tag(text: &str, interest: &str) -> Tag {
    Tag {
        text: text.to_owned(),
        modifiers: vec![],
        core: String::new(),
        interest: interest.to_owned(),
        rationale: "loves hiking".to_owned(),
        category: None,
    }
}

/// Quotes the shoes that were put into the cart and bought.
fn hiking() -> Interest {
    interest("hiking and trekking", "put into the cart “trail shoes” 3 days ago")
}

fn shown(request: &Request) -> String {
    let system = request.prompt.system.as_deref().unwrap_or("(none)");
    format!("--- system\n{system}\n--- user\n{}", request.prompt.user)
}

#[test]
fn prompts_to_judges() {
    let (user, digest, interest) = (user(), digest(), hiking());
    let questions = Questions::new(&user, &digest);
    let question = questions.interest(&interest).unwrap();
    let tags = [tag("folding trekking poles", "hiking and trekking"), tag("a|b;c", "hiking")];
    let tags: Vec<&Tag> = tags.iter().collect();
    let context = questions.tag_context(&["hiking and trekking", "coffee"], "hiking and trekking");
    let about_tags =
        TagQuestion { context, tags: tags.iter().map(|tag| tag.text.clone()).collect() };
    for (name, style, lang) in STYLES {
        let subject = JudgeSubject::Interest(&interest, &question);
        let request = judge_request(style, lang, (&user, &digest), &subject, 99);
        insta::assert_snapshot!(format!("judge_interest_{name}"), shown(&request));
        let subject = JudgeSubject::Tags(&tags, &about_tags);
        let request = judge_request(style, lang, (&user, &digest), &subject, 99);
        insta::assert_snapshot!(format!("judge_tag_{name}"), shown(&request));
        assert_eq!(request.max_tokens, 99);
        let is_terse = matches!(request.constraint, Some(Constraint::Lark(_)));
        assert_eq!(is_terse, style == PromptStyle::Terse);
    }
}

#[test]
fn evidence_that_does_not_exist_is_found_in_code() {
    let (user, digest) = (user(), digest());
    let questions = Questions::new(&user, &digest);
    let check = |reason: &str, evidence: &[&str], want: Result<&str, &str>| {
        let mut interest = interest("hiking", reason);
        interest.evidence = evidence.iter().map(|id| (*id).to_owned()).collect();
        let got = questions.interest(&interest).map(|q| q.quotes.join(";"));
        let got = got.map_err(|missing| missing.0.join(";"));
        assert_eq!(got, want.map(str::to_owned).map_err(str::to_owned), "{reason}");
    };
    check("“trail shoes”", &[], Ok("trail shoes(3d cart search,2y buy)"));
    check("bought “Burr Coffee Grinder”", &[], Ok("Burr Coffee Grinder(9d buy)"));
    check("“red enamel mug”", &[], Ok("red enamel mug")); // a recent click, without acts
    check("“trail shoes”; “life jacket”", &["e1"], Err("life jacket"));
    check("looked at shoes", &["e4"], Ok("burr coffee grinder(9d buy)"));
    check("looked at shoes", &["e99"], Err("e99"));
}

/// Whether the grammar takes the whole text and may stop there.
fn accepts(grammar: &str, text: &str) -> bool {
    let env = ApproximateTokEnv::single_byte_env();
    let factory = ParserFactory::new_simple(&env).unwrap();
    let mut matcher =
        Matcher::new(factory.create_parser(TopLevelGrammar::from_lark(grammar.to_owned())));
    assert_eq!(matcher.get_error(), None);
    let tokens: Vec<u32> = text.bytes().map(u32::from).collect();
    matcher.try_consume_tokens(&tokens).unwrap_or(0) == tokens.len()
        && matcher.is_accepting().unwrap_or(false)
}

#[test]
fn grammars_take_one_label_per_criterion_and_row() {
    let check = |rubric: &Rubric, n_rows: usize, text: &str, want: bool| {
        assert_eq!(accepts(&judgements_grammar(rubric, n_rows), text), want, "{text:?}");
    };
    check(Rubric::interest(), 1, "spontaneity|strong", true);
    check(Rubric::interest(), 1, "necessity|none", true);
    check(Rubric::interest(), 1, "necessity|hallucinated", false); // decided by code
    check(Rubric::interest(), 1, "strong|spontaneity", false);
    check(Rubric::interest(), 1, "spontaneity", false);
    check(Rubric::tag(), 1, "y y n y", true);
    check(Rubric::tag(), 1, "y y n", false);
    check(Rubric::tag(), 1, "yes y n y", false);
    check(Rubric::tag(), 2, "y y n y\nn n n n", true);
    check(Rubric::tag(), 2, "y y n y", false);
    check(Rubric::tag(), 2, "y y n y\nn n n n\ny y y y", false);
}

#[test]
fn schemas_offer_every_label() {
    let schema = judgements_schema(Rubric::interest());
    let element = &schema["properties"]["judgements"]["items"];
    assert_eq!(
        element["properties"]["reasonableness"]["enum"],
        serde_json::json!(["strong", "weak", "none", "hallucinated"])
    );
    assert_eq!(element["additionalProperties"], false);
    assert_eq!(element["required"].as_array().map(Vec::len), Some(4)); // row, why, two criteria
}

/// Labels of every subject, and the kinds of issues with their rows.
fn parsed(style: PromptStyle, rubric: &Rubric, n: usize, text: &str) -> (String, String) {
    let judge = Judge::Model("m".to_owned());
    let subjects = vec!["s"; n];
    let asked = Asked { user_id: "u", subjects: &subjects, judge: &judge };
    let (rows, issues) = parse_judgements(style, text, rubric, &asked);
    assert_eq!(rows.len(), n);
    let labels =
        |row: &Vec<Judgement>| row.iter().map(|j| j.label.as_str()).collect::<Vec<_>>().join(" ");
    let rows: Vec<String> = rows.iter().map(labels).collect();
    let issues: Vec<String> = issues.iter().map(|i| format!("{}{:?}", i.line, i.kind)).collect();
    (rows.join("/"), issues.join(" "))
}

#[test]
fn terse_answers_parse_strictly() {
    let check = |n: usize, text: &str, rows: &str, issues: &str| {
        let got = parsed(PromptStyle::Terse, Rubric::tag(), n, text);
        assert_eq!((got.0.as_str(), got.1.as_str()), (rows, issues), "{text:?}");
    };
    check(1, "y y n y", "yes yes no yes", "");
    check(2, "y y n y\nn n n n\n", "yes yes no yes/no no no no", "");
    check(2, "y y n y", "yes yes no yes/", "2Unjudged");
    check(2, "\ny y y y", "/yes yes yes yes", "1Malformed 1Unjudged");
    check(1, "y y n", "", "1Malformed 1Unjudged");
    check(1, "y y n y y", "", "1Malformed 1Unjudged");
    check(1, "y y n x", "", "1UnknownLabel 1Unjudged");
    check(1, "yes yes yes yes", "", "1UnknownLabel 1Unjudged");
    check(1, "y y n y\ny y y y", "yes yes no yes", "2Malformed");
    check(1, " \n", "", "0Empty 1Unjudged");
    let (rows, issues) =
        parsed(PromptStyle::Terse, Rubric::interest(), 1, "spontaneity|hallucinated");
    assert_eq!((rows.as_str(), issues.as_str()), ("", "1UnknownLabel 1Unjudged"));
}

#[test]
fn json_answers_parse_strictly() {
    let check = |n: usize, elements: &str, rows: &str, issues: &str| {
        let text = format!("{{\"judgements\": [{elements}]}}");
        let got = parsed(PromptStyle::Prose, Rubric::interest(), n, &text);
        assert_eq!((got.0.as_str(), got.1.as_str()), (rows, issues), "{text}");
    };
    let row = |row: &str, first: &str, second: &str| {
        format!(r#"{{"row":{row},"why":"w","willingness":"{first}","reasonableness":"{second}"}}"#)
    };
    let fine = row("1", "spontaneity", "weak");
    check(1, &fine, "spontaneity weak", "");
    check(2, &row("2", "necessity", "hallucinated"), "/necessity hallucinated", "1Unjudged");
    check(1, &format!("{fine},{fine}"), "spontaneity weak", "2Duplicate");
    check(1, &row("2", "necessity", "none"), "", "1Malformed 1Unjudged");
    check(1, &row("0", "necessity", "none"), "", "1Malformed 1Unjudged");
    check(1, &row("1", "spontaneity", "y"), "", "1UnknownLabel 1Unjudged");
    check(1, r#"{"row":1,"willingness":"necessity"}"#, "", "1Malformed 1Unjudged");
    check(1, "", "", "0Empty 1Unjudged");
    let broken = parsed(PromptStyle::Prose, Rubric::interest(), 1, r#"{"judgements": ["#);
    assert_eq!(broken.1, "0BrokenJson 1Unjudged");
}

#[test]
fn an_output_passes_only_when_all_criteria_pass() {
    let judge = Judge::Model("m".to_owned());
    let asked = Asked { user_id: "u", subjects: &["s"], judge: &judge };
    let check = |text: &str, want: bool| {
        let (rows, _) = parse_judgements(PromptStyle::Terse, text, Rubric::tag(), &asked);
        assert_eq!(passes(&rows[0]), want, "{text}");
    };
    check("y y y y", true);
    check("y y n y", false);
    check("nonsense", false);
}

#[test]
fn a_batch_asks_by_interest_and_judges_missing_evidence_itself() {
    let (user, digest) = (user(), digest());
    let mut profile = profile(&["hiking", "coffee at home"]);
    profile.interests.push(interest("sailing", "bought “life jacket” today"));
    // Ten tags of hiking, in two requests; one of coffee between them.
    let mut tags: Vec<Tag> = (0..10).map(|n| tag(&format!("pole {n}"), "hiking")).collect();
    tags.insert(3, tag("steel mug", "coffee at home"));
    let model = Scripted::new(|request| {
        let prompt = &request.prompt.user;
        if prompt.contains("judge interest") {
            let is_hiking = prompt.contains("|hiking|");
            return Ok(if is_hiking { "spontaneity|strong" } else { "necessity|strong" }.to_owned());
        }
        // The tag `pole 9` is bad; a mug gets an answer that cannot be read.
        let tags = prompt.split('\n').next().unwrap_or_default().rsplit('|').next();
        let line = |tag: &str| match tag {
            "pole 9" => "y y n y",
            "steel mug" => "what",
            _ => "y y y y",
        };
        Ok(tags.unwrap_or_default().split(';').map(line).collect::<Vec<_>>().join("\n"))
    });
    let input = JudgeInput { user: &user, digest: &digest, profile: &profile, tags: &tags };
    let options = JudgeOptions::new(200);
    let judged = judge_batch(&model, &[input, input], &options, &|_, _| {});
    assert_eq!(judged.len(), 2);
    let got = &judged[1];
    assert_eq!(model.asked().len(), 2 * (2 + 3), "sailing is not asked about");
    let verdicts: Vec<bool> = got.interests.iter().map(|s| s.passes()).collect();
    assert_eq!(verdicts, [true, false, false]);
    assert_eq!(got.interests[2].judgements.len(), 1);
    assert_eq!(got.interests[2].judgements[0].label, "hallucinated");
    let failed: Vec<&str> =
        got.tags.iter().filter(|s| !s.passes()).map(|s| s.text.as_str()).collect();
    assert_eq!(failed, ["steel mug", "pole 9"]);
    assert!(got.tags.iter().zip(&tags).all(|(judged, tag)| judged.text == tag.text));
    assert!(got.tags[3].judgements.is_empty() && got.tags[4].judgements.len() == 4);
    let kinds: Vec<ParseIssueKind> = got.issues.iter().map(|i| i.kind).collect();
    assert_eq!(kinds, [ParseIssueKind::Malformed, ParseIssueKind::Unjudged]);
    assert!(got.error.is_none() && got.tokens.1 > 0);
}

#[test]
fn a_failure_leaves_the_other_subjects_alone() {
    let (user, digest, profile) = (user(), digest(), profile(&["hiking", "coffee"]));
    let model = Scripted::from_map([("|hiking|", "spontaneity|weak")]);
    let input = JudgeInput { user: &user, digest: &digest, profile: &profile, tags: &[] };
    let judged = judge_batch(&model, &[input], &JudgeOptions::new(9), &|_, _| {});
    assert_eq!(judged[0].interests[0].judgements[1].label, "weak");
    assert!(judged[0].interests[1].judgements.is_empty());
    assert!(judged[0].error.is_some());
}

/// A model that scores continuations by a table of their last label.
struct Table;

impl LanguageModel for Table {
    fn name(&self) -> &str {
        "table"
    }

    fn style(&self) -> PromptStyle {
        PromptStyle::Terse
    }

    fn generate(&self, requests: &[Request]) -> Vec<Result<Completion, LmError>> {
        requests.iter().map(|_| Err(LmError::EmptyPrompt)).collect()
    }

    /// `ln 0.5` for every label before, then the table's.
    fn score(&self, _: &Prompt, continuations: &[&str]) -> Result<Vec<f64>, LmError> {
        let score = |text: &&str| {
            let labels: Vec<&str> = text.split(['|', ' ', '\n']).collect();
            let last: f64 = match labels[labels.len() - 1] {
                "spontaneity" => 0.6,
                "necessity" => 0.2, // the rest is for what is no label
                "strong" => 0.1,
                "weak" => 0.3,
                "none" => 0.4,
                "y" if labels.len() == 8 => 0.9,
                "y" => 0.5,
                "n" => 0.5,
                other => panic!("{other}"),
            };
            last.ln() + (labels.len() - 1) as f64 * 0.5_f64.ln()
        };
        Ok(continuations.iter().map(score).collect())
    }

    fn count_tokens(&self, text: &str) -> usize {
        text.len()
    }
}

#[test]
fn probabilities_are_shares_of_the_labels() {
    let judge = Judge::Model("m".to_owned());
    let check = |rubric: &Rubric, subjects: &[&str], text: &str, want: &[&[f64]]| {
        let asked = Asked { user_id: "u", subjects, judge: &judge };
        let (rows, _) = parse_judgements(PromptStyle::Terse, text, rubric, &asked);
        let got = pass_probabilities(&Table, &Prompt::user("p"), rubric, &rows).unwrap();
        assert_eq!(got.len(), want.len(), "{text}");
        for (got, want) in got.iter().zip(want) {
            assert_eq!(got.len(), want.len(), "{text}");
            assert!(got.iter().zip(*want).all(|(g, w)| (g - w).abs() < 1e-12), "{got:?}");
        }
    };
    check(Rubric::interest(), &["s"], "necessity|weak", &[&[0.75, 0.125]]);
    let even = [0.5; 4];
    let last = [0.5, 0.5, 0.5, 0.9 / 1.4];
    check(Rubric::tag(), &["a", "b"], "y n y y\nn n n n", &[&even, &last]);
    // Nothing is known behind a row that was not judged.
    check(Rubric::tag(), &["a", "b", "c"], "y n y y\nwhat\ny y y y", &[&even, &[], &[]]);
    check(Rubric::tag(), &["a"], "what", &[&[]]);
}

proptest::proptest! {
    #[test]
    fn parsers_never_panic_and_account_for_every_subject(
        text in "[yn |\\n{}\\[\\]\":a-z0-9]{0,60}",
        n in 0_usize..4,
    ) {
        let judge = Judge::Model("m".to_owned());
        let subjects = vec!["s"; n];
        let asked = Asked { user_id: "u", subjects: &subjects, judge: &judge };
        for style in [PromptStyle::Terse, PromptStyle::Prose] {
            for rubric in [Rubric::interest(), Rubric::tag()] {
                let (rows, issues) = parse_judgements(style, &text, rubric, &asked);
                assert_eq!(rows.len(), n);
                assert!(rows.iter().all(|r| r.is_empty() || r.len() == rubric.criteria.len()));
                let unjudged = issues.iter().filter(|i| i.kind == ParseIssueKind::Unjudged);
                assert_eq!(unjudged.count(), rows.iter().filter(|r| r.is_empty()).count());
            }
        }
    }
}
