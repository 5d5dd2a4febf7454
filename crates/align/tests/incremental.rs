//! What the last days of a log teach, step by step.

use std::collections::BTreeMap;

use align::{
    DropReason, Incremental, IncrementalConfig, IncrementalShop, IncrementalStep, WindowEvent,
    WindowUser, incremental_samples,
};
use intent::{CoreWords, QuoteIndex, TagLexicon, TagToCategory};
use types::EventType::{
    Cart, Click, DetailView, Dislike, Dwell, Impression, Purchase, Return, Search,
};
use types::{
    CategoryId, Digest, DigestContext, DigestLine, DigestTokens, EventType, Interest,
    InterestProfile, InterestSource, InterestStage, TimeBucket, Timestamp, User,
};

const PATHS: [&str; 5] = [
    "Sports > Hiking > Boots",
    "Sports > Hiking > Poles",
    "Sports > Balls > Football",
    "Kitchen > Coffee > Grinders",
    "Kitchen > Coffee > Mugs",
];

fn taxonomy() -> types::Taxonomy {
    types::Taxonomy::from_paths(PATHS)
}

/// The category whose name the text ends with.
fn category_of(text: &str) -> Option<CategoryId> {
    let word = text.rsplit(' ').next()?.trim_end_matches('s').to_owned();
    let named = |path: &&&str| path.to_lowercase().trim_end_matches('s').ends_with(&word);
    PATHS.iter().find(named).and_then(|path| taxonomy().find(path))
}

/// Midsummer: autumn is next.
fn from() -> Timestamp {
    Timestamp::from_date(2026, 8, 25).expect("a date")
}

fn digest() -> Digest {
    let line = |bucket, act, items: &[&str], event: &str| DigestLine {
        contexts: vec![DigestContext { bucket, behaviours: vec![(act, None)] }],
        items: items.iter().map(|item| (*item).to_owned()).collect(),
        evidence: vec![event.to_owned()],
        n_events: 1,
    };
    Digest {
        user_id: "u1".to_owned(),
        now: from(),
        lines: vec![
            line(TimeBucket::Day(3), Cart, &["steel travel mug"], "e1"),
            line(
                TimeBucket::Month(5),
                Purchase,
                &["leather boots", "cork board", "old boots"],
                "e2",
            ),
        ],
        recent: vec!["steel travel mug".to_owned()],
        tokens: DigestTokens::default(),
        n_events: 3,
        n_dropped_behaviour: 0,
        n_dropped_budget: 0,
        n_lines_sequence: 0,
    }
}

fn profile(digest: &Digest) -> InterestProfile {
    let index = QuoteIndex::new(digest);
    let interest = |(text, quote): (&str, &str)| Interest {
        id: String::new(),
        text: text.to_owned(),
        stage: InterestStage::Long,
        source: InterestSource::Listed,
        reason: index.reason(&[quote]),
        evidence: index.evidence(index.lines(quote)),
    };
    let interests = [("coffee at home", "steel travel mug"), ("walking", "leather boots")];
    InterestProfile {
        user_id: digest.user_id.clone(),
        now: digest.now,
        interests: interests.into_iter().map(interest).collect(),
    }
}

/// Day of the window, what was done, and the core words of the item, which are its id too.
type Act<'a> = (i64, EventType, &'a str);

fn event((day, event_type, core): Act<'_>) -> WindowEvent<'_> {
    WindowEvent {
        item_id: core,
        event_type,
        timestamp: from().plus_days(day),
        value: Some(1.0),
        core,
        title: "",
        category: category_of(core),
    }
}

fn learn(events: &[WindowEvent<'_>], digest: &Digest, config: &IncrementalConfig) -> Incremental {
    let taxonomy = taxonomy();
    let user = User { user_id: "u1".to_owned(), attributes: vec![] };
    let cores = CoreWords::new(["boots", "poles", "mug", "set"]);
    let lexicon = TagLexicon::new(cores, ["Norvik", "Old Oak"]);
    let words = PATHS.iter().map(|path| path.rsplit(' ').next().expect("a name"));
    let pairs: Vec<(&str, CategoryId)> =
        words.zip(PATHS).map(|(word, path)| (word, taxonomy.find(path).expect("a path"))).collect();
    let shop = IncrementalShop {
        taxonomy: &taxonomy,
        lexicon: &lexicon,
        category_of_core: &category_of,
        goes_with: &|had, new| had == "leather boots" && new.contains("wax"),
        to_category: &TagToCategory::train(pairs),
    };
    let profile = profile(digest);
    let users = [WindowUser { user: &user, digest, profile: &profile, events }];
    incremental_samples(&users, &shop, config).expect("the digest ends before the window")
}

fn config() -> IncrementalConfig {
    IncrementalConfig::new(from(), 7)
}

/// What became of the last item: `interest|rationale|tag`, or why it was dropped.
fn check(acts: &[Act<'_>], want: Result<&str, (IncrementalStep, DropReason)>) {
    let events: Vec<WindowEvent<'_>> = acts.iter().copied().map(event).collect();
    let got = learn(&events, &digest(), &config());
    let tags = got.triples.iter().flat_map(|(_, tags)| tags);
    let shown: Vec<String> =
        tags.map(|t| format!("{}|{}|{}", t.interest, t.rationale, t.text)).collect();
    match want {
        Ok(tag) => assert_eq!(shown, [tag], "{acts:?}\n{}", got.report),
        Err((step, reason)) => {
            assert!(shown.is_empty(), "{acts:?}: {shown:?}");
            let dropped = got.report.steps.get(&step).map(|count| &count.dropped);
            assert_eq!(dropped.and_then(|d| d.get(&reason)), Some(&1), "{acts:?}\n{}", got.report);
        }
    }
}

#[test]
fn interactions_are_purified_and_completed() {
    use DropReason::{
        Accidental, NoTag, NotAnInteraction, OffInterest, OutOfSeason, SentBack, Stale,
    };
    use IncrementalStep::{Completion, Intake, Purification};
    check(&[(1, Click, "wide boots")], Ok("walking|buys often, loves walking|wide boots"));
    check(
        &[(1, Purchase, "folding poles")],
        Ok("walking|close to boots, loves walking|folding poles"),
    );
    check(
        &[(1, Purchase, "leather poles")],
        Ok("walking|likes leather, close to boots|leather poles"),
    );
    check(
        &[(1, DetailView, "clear leather wax")],
        Ok("walking|goes with boots, likes leather|clear leather wax"),
    );
    check(&[(1, Impression, "wide boots")], Err((Intake, NotAnInteraction)));
    check(&[(1, Search, "wide boots")], Err((Intake, NotAnInteraction)));
    check(&[(1, Click, "folding poles")], Err((Purification, Accidental))); // a neighbour, by one click
    check(&[(1, Click, "wide boots"), (1, Dwell, "wide boots")], Err((Purification, Accidental)));
    check(
        &[(1, Click, "folding poles"), (4, Click, "folding poles")],
        Ok("walking|close to boots, loves walking|folding poles"),
    );
    check(&[(1, Purchase, "wide boots"), (9, Return, "wide boots")], Err((Purification, SentBack)));
    check(&[(1, Click, "wide boots"), (1, Dislike, "wide boots")], Err((Purification, SentBack)));
    check(&[(1, Purchase, "indoor football")], Err((Purification, OffInterest)));
    check(&[(1, Purchase, "paper napkins")], Err((Purification, OffInterest)));
    check(&[(1, Purchase, "spring boots")], Err((Purification, OutOfSeason)));
    check(&[(1, Purchase, "autumn boots")], Ok("walking|autumn, buys often|autumn boots"));
    check(&[(1, Purchase, "snow boots")], Err((Purification, OutOfSeason)));
    // Ten days on it is September, and winter is next: no breach although the digest is of August.
    check(&[(10, Purchase, "snow boots")], Ok("walking|winter, buys often|snow boots"));
    check(&[(1, Purchase, "steel travel mug")], Err((Completion, Stale)));
    check(&[(1, Purchase, "boots")], Err((Completion, NoTag)));
    check(&[(1, Purchase, "norvik boots")], Err((Completion, NoTag))); // nothing but the brand
}

#[test]
fn brands_models_and_vague_words_are_left_out_of_real_titles() {
    let taught = "walking|buys often, loves walking|wide boots";
    for title in
        ["Norvik wide boots", "old oak wide boots", "wide xr500 boots", "premium wide boots"]
    {
        check(&[(1, Purchase, title)], Ok(taught));
    }
    let titled =
        WindowEvent { core: "", title: "WIDE | BOOTS", ..event((1, Purchase, "wide boots")) };
    let got = learn(&[titled], &digest(), &config());
    assert_eq!(got.triples[0].1[0].text, "wide boots");
}

#[test]
fn an_event_outside_of_the_window_changes_nothing() {
    let inside = [event((0, Purchase, "wide boots")), event((13, Cart, "blue mug"))];
    let before = learn(&inside, &digest(), &config());
    assert_eq!(before.samples.len(), 1);
    for day in [-1, 14, 15, 400] {
        for act in [Purchase, Return, Impression] {
            for core in ["wide boots", "warm boots"] {
                let mut events = inside.to_vec();
                events.push(event((day, act, core)));
                assert_eq!(
                    learn(&events, &digest(), &config()),
                    before,
                    "day {day} {act:?} {core}"
                );
            }
        }
    }
}

#[test]
fn a_digest_that_reads_into_the_window_is_an_error() {
    let digest = Digest { now: from().plus_days(1), ..digest() };
    let profile = profile(&digest);
    let user = User { user_id: "u1".to_owned(), attributes: vec![] };
    let taxonomy = taxonomy();
    let shop = IncrementalShop {
        taxonomy: &taxonomy,
        lexicon: &TagLexicon::default(),
        category_of_core: &category_of,
        goes_with: &|_, _| false,
        to_category: &TagToCategory::train([]),
    };
    let users = [WindowUser { user: &user, digest: &digest, profile: &profile, events: &[] }];
    let error = incremental_samples(&users, &shop, &config()).expect_err("the digest is late");
    let error = error.to_string();
    assert!(error.contains("2026-08-26T00:00:00Z") && error.contains("u1"), "{error}");
}

#[test]
fn balancing_keeps_eighty_per_user_and_two_per_category() {
    let words: Vec<String> = (0..100).map(|n| format!("{} boots", letters(n))).collect();
    let mut events: Vec<WindowEvent<'_>> =
        words.iter().map(|core| event((1, Click, core))).collect();
    events.push(event((2, Purchase, "folding poles")));
    let balanced = |config: &IncrementalConfig| {
        let got = learn(&events, &digest(), config);
        let texts: Vec<String> =
            got.triples.iter().flat_map(|(_, tags)| tags).map(|t| t.text.clone()).collect();
        (texts, got.report.steps[&IncrementalStep::Balancing].dropped.clone())
    };
    let all = IncrementalConfig { per_category: usize::MAX, ..config() };
    let (texts, dropped) = balanced(&all);
    assert_eq!((texts.len(), dropped), (80, BTreeMap::from([(DropReason::OverUser, 21)])));
    assert_eq!(balanced(&all).0, texts, "the same seed keeps the same tags");
    assert_ne!(balanced(&IncrementalConfig { seed: 8, ..all }).0, texts, "another seed, others");
    let (texts, dropped) = balanced(&config());
    let of = |core: &str| texts.iter().filter(|text| text.ends_with(core)).count();
    assert_eq!((of("boots"), of("poles") <= 1), (2, true));
    assert_eq!(dropped[&DropReason::OverUser], 21);
    let (texts, _) = balanced(&IncrementalConfig { per_user: usize::MAX, ..config() });
    assert_eq!(texts.len(), 3, "two boots and the poles");
}

/// A word of its own stem, without digits, so that it is no model number.
fn letters(n: usize) -> String {
    const SYLLABLES: [&str; 10] = ["ba", "ko", "mu", "ra", "to", "vu", "zo", "na", "po", "gu"];
    [SYLLABLES[n / 10], SYLLABLES[n % 10]].concat()
}

#[test]
fn every_step_accounts_for_what_it_saw() {
    let acts: [Act<'_>; 7] = [
        (0, Impression, "wide boots"),
        (1, Click, "wide boots"),
        (2, Purchase, "wide boots"),
        (3, Click, "warm boots"),
        (3, Purchase, "paper napkins"),
        (4, Purchase, "steel travel mug"),
        (5, Cart, "blue mug"),
    ];
    let events: Vec<WindowEvent<'_>> = acts.into_iter().map(event).collect();
    let got = learn(&events, &digest(), &config());
    let steps: Vec<(usize, usize)> = got.report.steps.values().map(|s| (s.seen, s.kept)).collect();
    assert_eq!(steps, [(7, 5), (5, 4), (4, 3), (3, 3)]);
    for count in got.report.steps.values() {
        assert_eq!(count.seen - count.kept, count.dropped.values().sum::<usize>());
    }
    insta::assert_snapshot!("report", got.report.to_string());
    let parts: Vec<&str> = got.samples[0].segments.iter().map(|s| s.text.as_str()).collect();
    insta::assert_snapshot!("sample", parts.join("\n---\n"));
}
