//! Samples: what the model is taught of a truth, of a shop's log, and of language at large.

use std::collections::BTreeMap;
use std::path::Path;

use align::{
    InterestCounts, Neighbours, ReasonExample, Sample, Shop, ShopUser, TruthShop, is_held_out,
    own_sample, read_goals, samples_from_goals, samples_from_reasons, samples_from_taxonomy,
    samples_from_truth, shop_samples,
};
use intent::{CoreWords, TagLexicon, parse_interests, parse_tags};
use lm::PromptStyle::Terse;
use types::{
    Catalogue, CategoryId, Digest, DigestContext, DigestLine, DigestTokens, EventType, Interest,
    InterestProfile, InterestSource, InterestStage, Item, ItemId, Tag, Taxonomy, TimeBucket,
    Timestamp, TrueInterest, TrueNeed, User, UserTruth,
};

const PATHS: [&str; 4] =
    ["Sports > Boots", "Sports > Poles", "Kitchen > Grinders", "Kitchen > Mugs"];

fn taxonomy() -> Taxonomy {
    Taxonomy::from_paths(PATHS)
}

fn now() -> Timestamp {
    Timestamp::from_date(2026, 7, 15).expect("a date")
}

fn line(bucket: TimeBucket, act: EventType, items: &[&str], event: &str) -> DigestLine {
    DigestLine {
        contexts: vec![DigestContext { bucket, behaviours: vec![(act, None)] }],
        items: items.iter().map(|item| (*item).to_owned()).collect(),
        evidence: vec![event.to_owned()],
        n_events: 1,
    }
}

fn digest() -> Digest {
    Digest {
        user_id: "u1".to_owned(),
        now: now(),
        lines: vec![
            line(TimeBucket::Day(2), EventType::Cart, &["steel travel mug"], "e1"),
            line(
                TimeBucket::Month(3),
                EventType::Favorite,
                &["light hiking poles", "leather boots"],
                "e2",
            ),
            line(TimeBucket::Year(1), EventType::Purchase, &["warm boots", "cork board"], "e3"),
            line(TimeBucket::Year(2), EventType::Purchase, &["old boots"], "e4"),
        ],
        recent: vec!["steel travel mug".to_owned()],
        tokens: DigestTokens::default(),
        n_events: 4,
        n_dropped_behaviour: 0,
        n_dropped_budget: 0,
        n_lines_sequence: 0,
    }
}

fn user() -> User {
    User { user_id: "u1".to_owned(), attributes: vec![("age".to_owned(), "41".to_owned())] }
}

/// The category whose name the text ends with.
fn category_of(text: &str) -> Option<CategoryId> {
    let taxonomy = taxonomy();
    let word = text.rsplit(' ').next()?;
    PATHS
        .iter()
        .find(|path| {
            path.to_lowercase().trim_end_matches('s').ends_with(word.trim_end_matches('s'))
        })
        .and_then(|path| taxonomy.find(path))
}

fn interest(text: &str, categories: &[&str], until: Option<Timestamp>) -> TrueInterest {
    TrueInterest {
        text: text.to_owned(),
        stage: InterestStage::Long,
        categories: categories.iter().map(|c| (*c).to_owned()).collect(),
        modifiers: vec![],
        from: Timestamp(0),
        until,
    }
}

fn need(tag: &str, interest: &str, rationale: &str) -> TrueNeed {
    TrueNeed {
        category: PATHS[0].to_owned(),
        tag: tag.to_owned(),
        interest: interest.to_owned(),
        rationale: rationale.to_owned(),
        from: now(),
        until: now().plus_days(30),
    }
}

/// Prompt and answer segments, one after the other, marked.
fn shown(sample: &Sample) -> String {
    let mark = |loss: bool| if loss { "WRITES" } else { "READS" };
    let parts = sample.segments.iter().map(|s| format!("[{}]\n{}", mark(s.loss), s.text));
    parts.collect::<Vec<_>>().join("\n")
}

fn truth() -> UserTruth {
    UserTruth {
        user_id: "u1".to_owned(),
        interests: vec![
            interest("coffee at home", &PATHS[2..], None),
            interest("knitting", &["Sports > Poles > Needles"], None), // nothing supports it
            interest("walking", &PATHS[..2], None),
            interest("running", &PATHS[..2], Some(now())), // over
        ],
        needs: vec![
            need("wide walking boots", "walking", "loves walking"),
            need("steel travel mug", "coffee at home", "goes with grinder"), // recent
            need("quiet burr grinder", "coffee at home", "goes with mug"),
            need("snow boots", "walking", "winter"), // out of season
            need("smart boots", "walking", "loves walking"), // vague
            need("soft wool yarn", "knitting", "loves knitting"),
            need("folding trekking poles", "walking", "loves walking"),
        ],
    }
}

fn truth_sample() -> Vec<Sample> {
    let (taxonomy, lexicon) = (taxonomy(), TagLexicon::new(CoreWords::new(["boots"]), []));
    let counts = InterestCounts::new(&[truth()]);
    let shop = TruthShop {
        taxonomy: &taxonomy,
        lexicon: &lexicon,
        category_of_core: &category_of,
        counts: &counts,
        max_tags: 64,
    };
    samples_from_truth(&user(), &digest(), &truth(), &shop)
}

#[test]
fn a_truth_teaches_what_the_digest_supports() {
    let samples = truth_sample();
    assert_eq!(samples.len(), 1);
    insta::assert_snapshot!("truth", shown(&samples[0]));
}

#[test]
fn answers_of_samples_parse_without_issues() {
    let samples = truth_sample();
    let (interests, issues) = parse_interests(Terse, &samples[0].segments[1].text, &digest(), &[]);
    assert_eq!((interests.len(), issues.len()), (2, 0));
    assert_eq!(interests[0].evidence, ["e1"]);
    assert_eq!(interests[1].evidence, ["e2", "e3"]);
    let (tags, issues) = parse_tags(Terse, &samples[0].segments[3].text, &CoreWords::default());
    assert_eq!((tags.len(), issues.len()), (3, 0));
}

#[test]
fn a_user_without_support_teaches_nothing() {
    let (taxonomy, lexicon) = (taxonomy(), TagLexicon::default());
    let shop = TruthShop {
        taxonomy: &taxonomy,
        lexicon: &lexicon,
        category_of_core: &|_| None,
        counts: &InterestCounts::default(),
        max_tags: 64,
    };
    assert_eq!(samples_from_truth(&user(), &digest(), &truth(), &shop), []);
}

#[test]
fn a_shop_teaches_its_own_words() {
    let taxonomy = taxonomy();
    let titles = [
        "leather boots",
        "warm boots",
        "folding poles",
        "light hiking poles",
        "steel travel mug",
        "burr coffee grinder",
        "wide boots",
    ];
    let item = |(row, title): (usize, &&str)| Item {
        item_id: row.to_string(),
        title: (*title).to_owned(),
        category: category_of(title),
        ..Item::default()
    };
    let catalogue = Catalogue::new(titles.iter().enumerate().map(item).collect()).expect("unique");
    let cores: Vec<String> = titles.iter().map(|t| (*t).to_owned()).collect();
    let ids = |rows: &[u32]| rows.iter().map(|&row| ItemId(row)).collect::<Vec<_>>();
    // Boots 0 and poles 2 go together; 5 is as common but alone.
    let histories = [ids(&[0, 2]), ids(&[0, 2, 1]), ids(&[5]), ids(&[5]), ids(&[4]), ids(&[3])];
    let neighbours = Neighbours::new(&histories, titles.len(), 5);
    assert_eq!(neighbours.of(ItemId(0)), [ItemId(2)]);
    assert_eq!(neighbours.of(ItemId(5)), []);
    let lexicon = TagLexicon::new(CoreWords::new(["boots", "poles"]), []);
    let shop = Shop {
        catalogue: &catalogue,
        taxonomy: &taxonomy,
        cores: &cores,
        lexicon: &lexicon,
        neighbours: &neighbours,
        max_tags: 64,
    };
    let (user, digest) = (user(), digest());
    let (before, after) = (ids(&[1, 0, 3]), ids(&[6, 4, 5]));
    let users = [ShopUser { user: &user, digest: &digest, before: &before, after: &after }];
    let samples = shop_samples(&users, &shop);
    assert_eq!(samples.len(), 1);
    insta::assert_snapshot!("shop", shown(&samples[0]));
}

#[test]
fn queries_categories_and_reasons() {
    let samples = samples_from_taxonomy(&taxonomy());
    assert_eq!(samples.len(), 4);
    assert_eq!(
        shown(&samples[0]),
        "[READS]\n<|query|>category: Grinders\n<|answer|>\n[WRITES]\nKitchen > Grinders"
    );
    let example = |sentence: &str| ReasonExample {
        interest: "walking".to_owned(),
        rationale: "loves walking".to_owned(),
        title: "wide leather boots".to_owned(),
        sentence: sentence.to_owned(),
    };
    let (samples, refused) = samples_from_reasons(
        &[example("Wide boots for your next walk"), example("Waterproof boots, buy now")],
        now(),
    );
    assert_eq!(refused, 1);
    assert_eq!(
        shown(&samples[0]),
        "[READS]\n<|reason|>walking|loves walking|wide leather boots\n<|answer|>\n\
         [WRITES]\nWide boots for your next walk"
    );
}

#[test]
fn goals_of_shoppers_become_query_samples() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/shopping_goals/goal_query_map.json");
    if !file.exists() {
        #[expect(clippy::print_stderr, reason = "a skipped test says so")]
        {
            eprintln!("skipped: {} is missing", file.display());
        }
        return;
    }
    let samples = samples_from_goals(&file).expect("the shared file");
    let goals = read_goals(&file).expect("the shared file");
    assert_eq!(goals.len(), 1506);
    let n_known = goals.iter().filter(|(goal, _)| !is_held_out(&intent::plain(goal))).count();
    assert!((1350..1450).contains(&n_known), "one in sixteen is held out: {n_known}");
    let by_task: BTreeMap<&str, usize> = samples.iter().fold(BTreeMap::new(), |mut all, sample| {
        *all.entry(sample.task.as_str()).or_default() += 1;
        all
    });
    assert_eq!(by_task, BTreeMap::from([("query", n_known)]));
}

#[test]
fn bad_goal_files_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("goals.json");
    let check = |text: &str, want: &str| {
        std::fs::write(&file, text).expect("a file");
        let error = samples_from_goals(&file).expect_err("a bad file").to_string();
        assert!(error.contains("goals.json") && error.contains(want), "{error}");
    };
    check("[1]", "expected an object");
    check("{\"a\": []}", "goal \"a\" has no query");
    check("{\"a\":", "line 1");
    let missing = samples_from_goals(&folder.path().join("none.json"));
    assert!(missing.expect_err("no file").to_string().contains("none.json"));
}

/// An answer of two interests and four tags, `+` before what passes; what of it is learnt.
#[test]
fn of_an_own_answer_is_learnt_what_passed() {
    let check = |interests: [&str; 2], tags: [(&str, &str); 4], expect: &str| {
        let pass = |text: &str| text.starts_with('+');
        let plain = |text: &str| text.trim_start_matches('+').to_owned();
        let mined = interests.map(|text| Interest {
            id: String::new(),
            text: plain(text),
            stage: InterestStage::Long,
            source: InterestSource::Extended,
            reason: String::new(),
            evidence: Vec::new(),
        });
        let profile =
            InterestProfile { user_id: "u1".to_owned(), now: now(), interests: mined.into() };
        let predicted = tags.map(|(interest, text)| Tag {
            text: plain(text),
            modifiers: Vec::new(),
            core: String::new(),
            interest: interest.to_owned(),
            rationale: "why".to_owned(),
            category: None,
        });
        let passes = (interests.map(pass), tags.map(|(_, text)| pass(text)));
        let sample =
            own_sample((&user(), &digest()), (&profile, &predicted), (&passes.0, &passes.1));
        let mut learnt = String::new();
        for (row, segment) in sample.segments.iter().enumerate().filter(|(_, s)| s.loss) {
            let mut bytes = segment.text.clone().into_bytes();
            for part in sample.rejected.iter().filter(|part| part.segment == row) {
                bytes[part.bytes.clone()].fill(b'.');
            }
            learnt.push_str(&String::from_utf8(bytes).unwrap());
        }
        assert_eq!(learnt.replace("..", "").replace('.', ""), expect);
    };
    check(
        ["+tea", "golf"],
        [("tea", "+green mug"), ("tea", "blue pot"), ("tea", "+tin"), ("golf", "+tee")],
        "tea|tea|long\ntea|why|green mug;tin\n",
    );
    check(
        ["+tea", "+golf"],
        [("tea", "mug"), ("tea", "pot"), ("golf", "club"), ("golf", "+long tee")],
        "tea|tea|long\ngolf|golf|long\ngolf|why|long tee\n",
    );
    check(["tea", "golf"], [("tea", "+a"), ("tea", "+b"), ("golf", "+c"), ("golf", "+d")], "");
}
