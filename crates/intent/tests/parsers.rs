//! Answers of models, good and bad.

mod common;

use common::digest;
use intent::{CoreWords, ParseIssueKind, parse_interests, parse_tags, split_tag, terse};
use lm::PromptStyle::{Prose, Terse};
use proptest::prelude::*;
use types::{Interest, InterestSource, InterestStage, Tag};

fn check_interests(
    style: lm::PromptStyle,
    answer: &str,
    want: &[(&str, &str)],
    issues: &[(usize, ParseIssueKind)],
) {
    let pool = ["Hiking".to_owned()];
    let (got, found) = parse_interests(style, answer, &digest(), &pool);
    let got: Vec<(String, String)> =
        got.into_iter().map(|i| (i.text, i.evidence.join(","))).collect();
    let got: Vec<(&str, &str)> = got.iter().map(|(t, e)| (t.as_str(), e.as_str())).collect();
    assert_eq!(got, want, "{answer:?}");
    let found: Vec<(usize, ParseIssueKind)> = found.iter().map(|i| (i.line, i.kind)).collect();
    assert_eq!(found, issues, "{answer:?}");
}

#[test]
fn terse_interests() {
    use ParseIssueKind as K;
    let check =
        |answer: &str, want: &[_], issues: &[_]| check_interests(Terse, answer, want, issues);
    check("Trail Shoes;running shoes|hiking|long\n", &[("hiking", "e1,e2")], &[]);
    check(
        "trail shoes|hiking|long\nburr coffee grinder;wool socks|coffee|short",
        &[("hiking", "e1,e2"), ("coffee", "e3,e4,e1,e2")],
        &[],
    );
    // The digest's third line is shown cleaned; the cleaned words are what can be quoted.
    check("tent x y < endoftext > z|camping|long\n", &[("camping", "e5,e6")], &[]);
    check("", &[], &[(0, K::Empty)]);
    check("hiking|long\n", &[], &[(1, K::Malformed)]);
    check("trail shoes|hiking|long|x\n", &[], &[(1, K::Malformed)]);
    check("trail shoes|hiking|ever\n", &[], &[(1, K::UnknownStage)]);
    check(
        "snow boots|skiing|long\nsnow boots;trail shoes|hiking|long\n",
        &[("hiking", "e1,e2")],
        &[(1, K::HallucinatedEvidence), (1, K::NoEvidence), (2, K::HallucinatedEvidence)],
    );
    check("red enamel mug|mugs|long\n", &[], &[(1, K::QuoteWithoutEvents), (1, K::NoEvidence)]);
    check(
        "trail shoes|hiking|long\nwool socks|Hiking!|long\n",
        &[("hiking", "e1,e2")],
        &[(2, K::Duplicate)],
    );
}

#[test]
fn terse_reasons_name_quotes_and_times() {
    let answer = "trail shoes;running shoes;burr coffee grinder|hiking|long\n";
    let (interests, _) = parse_interests(Terse, answer, &digest(), &["hiking".to_owned()]);
    assert_eq!(
        interests[0].reason,
        "bought “trail shoes” 2 years ago; searched “running shoes” 3 days ago; \
         bought “burr coffee grinder” 9 days ago"
    );
    assert_eq!(interests[0].id, "interest_01");
    assert_eq!(interests[0].source, InterestSource::Listed);
}

#[test]
fn json_interests() {
    use ParseIssueKind as K;
    let check =
        |answer: &str, want: &[_], issues: &[_]| check_interests(Prose, answer, want, issues);
    let hiking = r#"{"interest":"hiking","stage":"long","reason":"r","evidence":[1,3]}"#;
    check(&format!(r#"{{"interests":[{hiking}]}}"#), &[("hiking", "e1,e2,e5,e6")], &[]);
    check(
        &format!("```json\n{{\"interests\":[{hiking}]}}\n```"),
        &[("hiking", "e1,e2,e5,e6")],
        &[(0, K::AroundJson)],
    );
    check(
        &format!(r#"{{"interests":[{hiking},{{"interest":"cof"#),
        &[("hiking", "e1,e2,e5,e6")],
        &[(0, K::BrokenJson)],
    );
    check(
        r#"{"interests":[{"interest":"a","stage":"long","reason":"r","evidence":[0,4,"x",2]}]}"#,
        &[("a", "e3,e4")],
        &[(1, K::HallucinatedEvidence); 3],
    );
    check(
        r#"{"interests":[{"interest":"","stage":"long","reason":"r","evidence":[1]},
            {"interest":"b","stage":"ever","reason":"r","evidence":[1]},
            {"interest":"c","stage":"long","reason":"r","evidence":[]}]}"#,
        &[],
        &[(1, K::Malformed), (2, K::UnknownStage), (3, K::NoEvidence)],
    );
    check(r#"{"interests":[]}"#, &[], &[(0, K::Empty)]);
    check(r#"[{"interest":1}]"#, &[], &[(0, K::AroundJson), (0, K::Malformed)]);
    check("I cannot help.", &[], &[(0, K::BrokenJson)]);
}

#[test]
fn tags_of_both_styles_are_the_same() {
    let cores = CoreWords::new(["hiking boots"]);
    let lines = "hiking|winter|warm hiking boots;boots;wool hat\nhiking|loves hiking|steel flask\n";
    let (terse, issues) = parse_tags(Terse, lines, &cores);
    assert_eq!(issues.len(), 1, "a tag without a modifier");
    assert_eq!((issues[0].line, issues[0].kind), (1, ParseIssueKind::NoModifier));
    let json = r#"{"tags":[{"tag":"warm hiking boots","interest":"hiking","rationale":"winter"},
        {"tag":"wool hat","interest":"hiking","rationale":"winter"},
        {"tag":"steel flask","interest":"hiking","rationale":"loves hiking"}, {"tag":"x y"}]}"#;
    let (prose, issues) = parse_tags(Prose, json, &cores);
    assert_eq!(terse, prose);
    assert_eq!((issues[0].line, issues[0].kind), (4, ParseIssueKind::Malformed));
    assert_eq!((terse[0].core.as_str(), terse[0].modifiers.len()), ("hiking boots", 1));
}

fn words(n: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = String> {
    prop::collection::vec("[a-zA-Z0-9é鞋]{1,6}", n).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn nothing_that_a_model_writes_panics(answer in "(?s).{0,200}", lines in "[a-z|;\\n\\[\\]{}\":,“”]{0,200}") {
        for text in [&answer, &lines] {
            for style in [Terse, Prose] {
                let (interests, _) = parse_interests(style, text, &digest(), &[]);
                prop_assert!(interests.iter().all(|i| !i.evidence.is_empty()));
                let _ = parse_tags(style, text, &CoreWords::default());
            }
        }
    }

    #[test]
    fn written_interests_read_back(
        texts in prop::collection::btree_set(words(1..=3).prop_map(|t| t.to_lowercase()), 1..6),
        picks in prop::collection::vec((any::<bool>(), prop::sample::subsequence(
            vec!["trail shoes", "running shoes", "wool socks", "burr coffee grinder"], 1..=3)), 6),
    ) {
        let digest = digest();
        let index = intent::QuoteIndex::new(&digest);
        let interests: Vec<Interest> = texts.into_iter().zip(picks).enumerate()
            .map(|(row, (text, (long, quotes)))| {
                let lines: Vec<usize> =
                    quotes.iter().flat_map(|q| index.lines(q).iter().copied()).collect();
                Interest {
                    id: format!("interest_{:02}", row + 1),
                    text,
                    stage: if long { InterestStage::Long } else { InterestStage::Short },
                    source: InterestSource::Extended,
                    reason: index.reason(&quotes),
                    evidence: index.evidence(&lines),
                }
            })
            .collect();
        let (read, issues) =
            parse_interests(Terse, &terse::write_interests(&interests), &digest, &[]);
        prop_assert_eq!(issues, vec![]);
        prop_assert_eq!(read, interests);
    }

    #[test]
    fn written_tags_read_back(rows in prop::collection::vec((words(2..=4), 0..3_usize, 0..3_usize), 1..30)) {
        let cores = CoreWords::default();
        let tags: Vec<Tag> = rows.into_iter().filter_map(|(text, interest, rationale)| {
            let (modifiers, core) = split_tag(&text, &cores)?;
            let interest = ["hiking", "coffee at home", "观鸟"][interest].to_owned();
            let rationale = ["winter", "goes with tent", "new baby"][rationale].to_owned();
            Some(Tag { text, modifiers, core, interest, rationale, category: None })
        }).collect();
        prop_assume!(!tags.is_empty());
        let (read, issues) = parse_tags(Terse, &terse::write_tags(&tags), &cores);
        prop_assert_eq!(issues, vec![]);
        prop_assert_eq!(read, tags);
    }
}
