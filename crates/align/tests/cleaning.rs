//! Teacher answers, kept or rejected with a reason.

use std::collections::BTreeMap;

use align::{
    Cleaned, CleaningLevel, CleaningRules, RejectReason, Taught, TeacherAnswer, clean,
    mine_tag_sample,
};
use intent::{CoreWords, ParseIssue, ParseIssueKind, QuoteIndex, TagLexicon, TagToCategory};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
use types::EventType::{Cart, Click, DetailView, Purchase};
use types::TimeBucket::{Day, Month, Year};
use types::{
    CategoryId, ConstraintBreach, Criterion, Digest, DigestContext, DigestLine, DigestTokens,
    EventType, Interest, InterestProfile, InterestSource, InterestStage, Judge, Judgement, Tag,
    TagConstraint, TimeBucket, Timestamp, User,
};

fn line(contexts: &[(TimeBucket, EventType)], items: &[&str], event: &str) -> DigestLine {
    let context = |&(bucket, act): &(TimeBucket, EventType)| DigestContext {
        bucket,
        behaviours: vec![(act, None)],
    };
    DigestLine {
        contexts: contexts.iter().map(context).collect(),
        items: items.iter().map(|item| (*item).to_owned()).collect(),
        evidence: vec![event.to_owned()],
        n_events: 1,
    }
}

fn digest() -> Digest {
    Digest {
        user_id: "u1".to_owned(),
        now: Timestamp::from_date(2026, 7, 15).expect("a date"),
        lines: vec![
            line(&[(Day(1), Click)], &["garden gnome", "garden lamp"], "e1"),
            line(&[(Day(2), Cart), (Month(4), Purchase)], &["trail shoes", "wool socks"], "e2"),
            line(&[(Day(4), DetailView)], &["burr coffee grinder"], "e3"),
            line(&[(Day(5), Purchase)], &["toilet paper rolls", "dish soap refill"], "e4"),
            line(&[(Month(2), Purchase)], &["women's silk scarf"], "e5"),
            line(&[(Month(3), Purchase), (Year(1), Purchase)], &["men's shaving brush"], "e6"),
            line(&[(Month(5), Purchase)], &["chess clock"], "e7"),
            line(&[(Month(6), Cart), (Month(9), Purchase)], &["women's yoga mat"], "e8"),
        ],
        recent: vec![],
        tokens: DigestTokens::default(),
        n_events: 9,
        n_dropped_behaviour: 0,
        n_dropped_budget: 0,
        n_lines_sequence: 0,
    }
}

fn user() -> User {
    User { user_id: "u1".to_owned(), attributes: vec![("gender".to_owned(), "m".to_owned())] }
}

/// An interest that quotes these texts of the digest.
fn interest(text: &str, quotes: &[&str]) -> Interest {
    let digest = digest();
    let index = QuoteIndex::new(&digest);
    let lines: Vec<usize> = quotes.iter().flat_map(|q| index.lines(q).to_vec()).collect();
    Interest {
        id: String::new(),
        text: text.to_owned(),
        stage: InterestStage::Long,
        source: InterestSource::Listed,
        reason: index.reason(quotes),
        evidence: index.evidence(&lines),
    }
}

fn tag(text: &str, interest: &str, category: u32) -> Tag {
    let (modifier, core) = text.split_once(' ').expect("a tag");
    Tag {
        text: text.to_owned(),
        modifiers: vec![modifier.to_owned()],
        core: core.to_owned(),
        interest: interest.to_owned(),
        rationale: "loves it".to_owned(),
        category: Some(CategoryId(category)),
    }
}

fn answer(interests: Vec<Interest>, tags: Vec<Tag>) -> TeacherAnswer {
    let digest = digest();
    TeacherAnswer {
        profile: InterestProfile { user_id: digest.user_id, now: digest.now, interests },
        interest_issues: vec![],
        tags,
        breaches: vec![],
        tag_issues: vec![],
    }
}

/// One interest that holds, two tags of two categories.
fn good() -> TeacherAnswer {
    let tags = vec![tag("wide running vest", "running", 0), tag("light head torch", "running", 1)];
    answer(vec![interest("running", &["trail shoes", "wool socks"])], tags)
}

fn judgement(subject: &str, criterion: Criterion, passes: bool) -> Judgement {
    Judgement {
        user_id: "u1".to_owned(),
        subject: subject.to_owned(),
        criterion,
        label: "weak".to_owned(),
        passes,
        judge: Judge::Model("test".to_owned()),
    }
}

/// Words count as tokens.
fn rules() -> CleaningRules<'static> {
    let words = &|text: &str| text.split_whitespace().count();
    CleaningRules {
        min_interests: 1,
        min_tags: 2,
        min_categories: 2,
        ..CleaningRules::new(1000, words)
    }
}

fn cleaned(answer: &TeacherAnswer, judgements: &[Judgement], rules: &CleaningRules<'_>) -> Cleaned {
    let (user, digest) = (user(), digest());
    let taught = Taught { user: &user, digest: &digest, answer, judgements };
    clean(&[taught], rules)
}

/// What was rejected below the sample: subject and reason.
fn parts(cleaned: &Cleaned) -> Vec<(&str, RejectReason)> {
    let below = cleaned.rejections.iter().filter(|r| r.level != CleaningLevel::Sample);
    below.map(|r| (r.subject.as_str(), r.reason)).collect()
}

/// One more interest beside a good answer: kept, or rejected for a reason while the rest stays.
fn check_interest(text: &str, quotes: &[&str], want: Option<RejectReason>) {
    let mut answer = good();
    answer.profile.interests.push(interest(text, quotes));
    answer.tags.push(tag("some tagged thing", text, 2));
    let got = cleaned(&answer, &[], &rules());
    let kept = &got.kept[0];
    let n = 1 + usize::from(want.is_none());
    let n_tags = if text == "running" { 3 } else { 1 + n };
    assert_eq!((kept.profile.interests.len(), kept.tags.len()), (n, n_tags), "{text}");
    let found: Vec<RejectReason> = parts(&got).into_iter().map(|(_, reason)| reason).collect();
    let lost = (n_tags == 2).then_some(RejectReason::InterestRejected);
    assert_eq!(found, want.into_iter().chain(lost).collect::<Vec<_>>(), "{text}");
}

#[test]
fn bad_interests_are_dropped_and_the_rest_is_kept() {
    use RejectReason::{Burst, Duplicate, Gift, HallucinatedEvidence, Necessity, OneAction};
    check_interest("walking", &["wool socks"], None); // two acts at two times
    check_interest("running", &["wool socks"], Some(Duplicate));
    check_interest("flying", &["paper kite"], Some(HallucinatedEvidence));
    check_interest("chess", &["chess clock"], Some(OneAction));
    check_interest("gardening", &["garden gnome", "garden lamp"], Some(Burst));
    check_interest("gnomes and coffee", &["garden gnome", "burr coffee grinder"], None); // two kinds
    check_interest("cleaning", &["toilet paper rolls", "dish soap refill"], Some(Necessity));
    check_interest("home", &["toilet paper rolls", "chess clock"], None);
    check_interest("fashion", &["women's silk scarf"], Some(Gift));
    check_interest("shaving", &["men's shaving brush"], None); // his own
    check_interest("yoga", &["women's yoga mat"], Some(Gift));
    check_interest("board games", &["women's silk scarf", "chess clock"], None);
}

#[test]
fn what_parsers_and_constraints_refused_is_counted_with_its_reason() {
    use RejectReason as R;
    let issue = |kind, text: &str| ParseIssue::new(1, kind, text);
    let breach = |tag: &str, constraint| ConstraintBreach {
        tag: tag.to_owned(),
        constraint,
        detail: String::new(),
    };
    let answer = TeacherAnswer {
        interest_issues: vec![
            issue(ParseIssueKind::HallucinatedEvidence, "q1"),
            issue(ParseIssueKind::QuoteWithoutEvents, "q2"),
            issue(ParseIssueKind::NoEvidence, "i1"),
            issue(ParseIssueKind::Duplicate, "i2"),
            issue(ParseIssueKind::UnknownStage, "i3"),
            issue(ParseIssueKind::AroundJson, "```"),
        ],
        breaches: vec![
            breach("t1", TagConstraint::InterestConsistency),
            breach("t2", TagConstraint::Diversity),
            breach("t3", TagConstraint::SemanticPrecision),
            breach("t4", TagConstraint::Freshness),
            breach("t5", TagConstraint::Season),
            breach("", TagConstraint::Diversity), // of the whole list
        ],
        tag_issues: vec![issue(ParseIssueKind::NoModifier, "t6")],
        ..good()
    };
    let got = cleaned(&answer, &[], &rules());
    assert_eq!(
        parts(&got),
        [
            ("q1", R::HallucinatedEvidence),
            ("q2", R::NoEvents),
            ("i1", R::HallucinatedEvidence),
            ("i2", R::Duplicate),
            ("i3", R::Malformed),
            ("t1", R::ForeignInterest),
            ("t2", R::Duplicate),
            ("t3", R::Imprecise),
            ("t4", R::RecentlyBought),
            ("t5", R::Unseasonable),
            ("t6", R::Imprecise),
        ]
    );
    let level = |level| (got.report.levels[&level].seen, got.report.levels[&level].kept);
    assert_eq!(level(CleaningLevel::Quote), (4, 2));
    assert_eq!(level(CleaningLevel::Interest), (4, 1));
    assert_eq!(level(CleaningLevel::Tag), (8, 2));
    assert_eq!(got.kept.len(), 1, "the parts that hold still make a sample");
    insta::assert_snapshot!("table", got.report.to_string());
}

#[test]
fn a_judge_refuses_by_its_criteria() {
    let check = |judgements: &[Judgement], want: &[(&str, RejectReason)]| {
        let relaxed = CleaningRules { min_interests: 0, min_tags: 0, min_categories: 0, ..rules() };
        assert_eq!(parts(&cleaned(&good(), judgements, &relaxed)), want, "{judgements:?}");
    };
    let tag = ("light head torch", RejectReason::RefusedByJudge);
    check(&[judgement("light head torch", Criterion::Validity, false)], &[tag]);
    check(&[judgement("light head torch", Criterion::Validity, true)], &[]);
    check(&[judgement("Light head torch ", Criterion::Relevance, false)], &[tag]);
    check(&[judgement("light head torch", Criterion::Willingness, false)], &[]); // of interests
    let other = Judgement {
        user_id: "u2".to_owned(),
        ..judgement("light head torch", Criterion::Validity, false)
    };
    check(&[other], &[]);
    check(
        &[judgement("running", Criterion::Reasonableness, false)],
        &[
            ("running", RejectReason::RefusedByJudge),
            ("wide running vest", RejectReason::InterestRejected),
            ("light head torch", RejectReason::InterestRejected),
        ],
    );
}

#[test]
fn samples_are_judged_last() {
    use RejectReason::{NoAnswer, TooFewCategories, TooFewInterests, TooFewTags, TooLong};
    let check = |answer: &TeacherAnswer, rules: &CleaningRules<'_>, want: Option<RejectReason>| {
        let got = cleaned(answer, &[], rules);
        let of_sample = got.rejections.iter().filter(|r| r.level == CleaningLevel::Sample);
        let found: Vec<RejectReason> = of_sample.map(|r| r.reason).collect();
        assert_eq!(found, want.into_iter().collect::<Vec<_>>());
        assert_eq!(got.kept.len(), usize::from(want.is_none()));
        assert!((got.report.yield_share() - got.kept.len() as f64).abs() < 1e-12);
    };
    check(&good(), &rules(), None);
    check(&answer(vec![], vec![]), &rules(), Some(NoAnswer));
    check(&good(), &CleaningRules { min_interests: 2, ..rules() }, Some(TooFewInterests));
    check(&good(), &CleaningRules { min_tags: 3, ..rules() }, Some(TooFewTags));
    check(&good(), &CleaningRules { min_categories: 3, ..rules() }, Some(TooFewCategories));
    let kept = cleaned(&good(), &[], &rules()).kept.remove(0);
    let words = |s: &align::Segment| s.text.split_whitespace().count() + usize::from(s.loss);
    let n: usize = kept.sample.segments.iter().map(words).sum();
    check(&good(), &CleaningRules { window: n, ..rules() }, None);
    check(&good(), &CleaningRules { window: n - 1, ..rules() }, Some(TooLong));
}

#[test]
fn samples_of_an_embedded_teacher_read_as_answers() {
    let lexicon = TagLexicon::new(CoreWords::new(["vest", "torch"]), []);
    let model = TagToCategory::train([("vest", CategoryId(0)), ("torch", CategoryId(1))]);
    let (user, digest, good) = (user(), digest(), good());
    let mut tags = good.tags.clone();
    tags.push(tag("snow running boots", "running", 2)); // in July
    let sample = mine_tag_sample("mine_tag", &user, &digest, &good.profile, &tags);
    let answer = TeacherAnswer::from_sample(&sample, &digest, (&lexicon, Some(&model)));
    assert_eq!(answer.profile.interests[0].evidence, ["e2"]);
    let got = cleaned(&answer, &[], &rules());
    assert_eq!(parts(&got), [("snow running boots", RejectReason::Unseasonable)]);
    let categories: Vec<_> = got.kept[0].tags.iter().map(|tag| tag.category).collect();
    assert_eq!(categories, [Some(CategoryId(0)), Some(CategoryId(1))]);
    let want = mine_tag_sample("mine_tag", &user, &digest, &good.profile, &good.tags);
    assert_eq!(got.kept[0].sample, want);
}

/// Any mixture of interests, good and bad, and of tags that serve one of them or none.
fn any_answer() -> impl Strategy<Value = TeacherAnswer> {
    const QUOTES: [&str; 8] = [
        "garden gnome",
        "trail shoes",
        "wool socks",
        "burr coffee grinder",
        "dish soap refill",
        "women's silk scarf",
        "chess clock",
        "nothing of the kind",
    ];
    let interests = proptest::collection::vec((0..6_usize, 0..8_usize, 0..8_usize), 0..6);
    let tags = proptest::collection::vec((0..9_usize, 0..6_usize, any::<u8>()), 0..9);
    (interests, tags).prop_map(|(interests, tags)| {
        let name = |n: usize| format!("interest {}", char::from(b'a' + n as u8));
        let interests = interests
            .iter()
            .map(|&(n, a, b)| interest(&name(n), &[QUOTES[a], QUOTES[b]]))
            .collect();
        let tags = tags.iter().map(|&(word, n, category)| {
            tag(&format!("red {}", QUOTES[word % 8]), &name(n), u32::from(category))
        });
        answer(interests, tags.collect())
    })
}

proptest! {
    #[test]
    fn counts_add_up_and_kept_answers_hold(
        answers in proptest::collection::vec(any_answer(), 0..5),
    ) {
        let (user, digest) = (user(), digest());
        let taught: Vec<Taught<'_>> = answers
            .iter()
            .map(|answer| Taught { user: &user, digest: &digest, answer, judgements: &[] })
            .collect();
        let got = clean(&taught, &rules());
        let mut by_level: BTreeMap<CleaningLevel, usize> = BTreeMap::new();
        for rejection in &got.rejections {
            *by_level.entry(rejection.level).or_insert(0) += 1;
        }
        for (level, count) in &got.report.levels {
            prop_assert_eq!(count.seen - count.kept, count.rejected.values().sum::<usize>());
            prop_assert_eq!(count.seen - count.kept, by_level.get(level).copied().unwrap_or(0));
        }
        for kept in &got.kept {
            let has = |text: &str| kept.profile.interests.iter().any(|i| i.text == text);
            prop_assert!(kept.tags.len() >= 2 && kept.tags.iter().all(|tag| has(&tag.interest)));
            // Cleaning what is clean rejects nothing.
            let again = answer(kept.profile.interests.clone(), kept.tags.clone());
            let again = cleaned(&again, &[], &rules());
            prop_assert!(again.rejections.is_empty());
            prop_assert_eq!(&again.kept[0].sample, &kept.sample);
        }
    }
}

#[test]
fn an_answer_in_prose_is_taught_with_quotes_of_what_its_reason_speaks_of() {
    let digest = digest();
    let cited = |text: &str, reason: &str, evidence: &[&str]| Interest {
        reason: reason.to_owned(),
        evidence: evidence.iter().map(|id| (*id).to_owned()).collect(),
        ..interest(text, &[])
    };
    let quoted = interest("chess", &["chess clock"]);
    let interests = vec![
        cited("Trail Running", "bought Trail Shoes for the hills, then a yoga mat", &["e2", "e8"]),
        cited("coffee", "the customer likes to brew", &["e3"]),
        cited("sailing", "nothing of it is named", &["e1"]),
        quoted.clone(),
    ];
    let grounded = answer(interests, vec![tag("wide vest", "trail  running", 0)]).grounded(&digest);
    let reasons: Vec<&str> = grounded.profile.interests.iter().map(|i| i.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "bought “trail shoes” 4 months ago; bought “women's yoga mat” 9 months ago",
            "looked at “burr coffee grinder” 4 days ago",
            quoted.reason.as_str(),
        ]
    );
    assert_eq!(grounded.profile.interests[0].evidence, ["e2", "e8"]);
    assert_eq!(grounded.tags[0].interest, "Trail Running");
    let issue = &grounded.interest_issues[0];
    assert_eq!((issue.kind, issue.text.as_str()), (ParseIssueKind::NoEvidence, "sailing"));
}
