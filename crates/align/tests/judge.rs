//! Cases for the judge: what their labels say, by the truth of a small world made by hand.
#![expect(clippy::unwrap_used, reason = "a test may stop where a value is missing")]

use std::collections::{BTreeMap, BTreeSet};

use align::{
    CaseSubject, Defect, DefectOptions, JudgeCase, JudgeShop, JudgeUser, TruthShop,
    cases_from_truth, judge_cases, label_with_truth, samples_from_cases, supported_profile,
};
use intent::judge::{Rubric, TAGS_PER_QUESTION};
use intent::{CoreWords, TagLexicon, split_tag};
use lm::Scripted;
use types::{
    CategoryId, Criterion, Digest, DigestContext, DigestLine, DigestTokens, EventType,
    InterestStage, Tag, Taxonomy, TimeBucket, Timestamp, TrueInterest, TrueNeed, User, UserTruth,
};

/// Interest, its category, its neighbour, and what stands in the histories of its holders.
const HOBBIES: [(&str, &str, &str); 6] = [
    ("hiking", "Outdoor > Walking > Boots", "boots"),
    ("nordic walking", "Outdoor > Walking > Poles", "poles"),
    ("coffee at home", "Kitchen > Coffee > Grinders", "grinder"),
    ("tea tasting", "Kitchen > Tea > Teapots", "teapot"),
    ("sewing", "Crafts > Textile > Needles", "needles"),
    ("sketching", "Crafts > Art > Pencils", "pencils"),
];

const NECESSITY: (&str, &str) = ("Home > Household > Sponges", "sponges");

/// Two modifiers per hobby; those of one department go with nothing of another.
const MODIFIERS: [[&str; 2]; 6] = [
    ["leather", "ankle-high"],
    ["folding", "carbon"],
    ["burr", "quiet"],
    ["porcelain", "cast-iron"],
    ["curved", "golden"],
    ["watercolour", "charcoal"],
];

fn paths() -> Vec<&'static str> {
    HOBBIES.iter().map(|h| h.1).chain([NECESSITY.0]).collect()
}

fn category_of(text: &str) -> Option<CategoryId> {
    let taxonomy = Taxonomy::from_paths(paths());
    let ends = |core: &str| text.to_lowercase().ends_with(core);
    let hobby = HOBBIES.iter().find(|h| ends(h.2)).map(|h| h.1);
    taxonomy.find(hobby.or_else(|| ends(NECESSITY.1).then_some(NECESSITY.0))?)
}

fn line(text: &str, at: u16) -> DigestLine {
    let behaviours = vec![(EventType::DetailView, None), (EventType::Purchase, None)];
    DigestLine {
        contexts: vec![DigestContext { bucket: TimeBucket::Month(at), behaviours }],
        items: vec![text.to_owned()],
        evidence: vec![format!("event of {text}")],
        n_events: 2,
    }
}

/// Holds hobbies `first` and the next but one; has bought things of both, sponges, and a thing of the
/// hobby after `first`.
fn person(idx: usize) -> (User, Digest, UserTruth) {
    let user_id = format!("u{idx}");
    let now = Timestamp::from_date(2026, 7, 15).unwrap();
    let (first, second, other) = (idx % 6, (idx + 2) % 6, (idx + 1) % 6);
    let text = |hobby: usize| format!("plain {}", HOBBIES[hobby].2);
    let lines = [text(first), text(second), text(other), "plain sponges".to_owned()];
    let digest = Digest {
        user_id: user_id.clone(),
        now,
        lines: lines.iter().zip(2..).map(|(text, at)| line(text, at)).collect(),
        recent: vec![],
        tokens: DigestTokens::default(),
        n_events: 8,
        n_dropped_behaviour: 0,
        n_dropped_budget: 0,
    };
    let interest = |hobby: usize| TrueInterest {
        text: HOBBIES[hobby].0.to_owned(),
        stage: InterestStage::Long,
        categories: vec![HOBBIES[hobby].1.to_owned()],
        modifiers: vec![],
        from: Timestamp(0),
        until: None,
    };
    let needs = [first, second].into_iter().flat_map(|hobby| {
        let (name, category, core) = HOBBIES[hobby];
        let [a, b] = MODIFIERS[hobby];
        [format!("{a} {core}"), format!("{b} {core}"), format!("{a} {b} {core}")].map(|tag| {
            TrueNeed {
                category: category.to_owned(),
                tag,
                interest: name.to_owned(),
                rationale: format!("loves {name}"),
                from: now,
                until: now.plus_days(30),
            }
        })
    });
    let needs = needs.collect();
    let truth = UserTruth {
        user_id: user_id.clone(),
        interests: vec![interest(first), interest(second)],
        needs,
    };
    let gender = if idx.is_multiple_of(2) { "female" } else { "male" };
    let attributes = [("age", "34"), ("gender", gender)];
    let attributes = attributes.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec();
    (User { user_id, attributes }, digest, truth)
}

/// Runs a test with a world of twelve users.
fn with_world(test: impl Fn(&[JudgeUser<'_>], &JudgeShop<'_>)) {
    let people: Vec<(User, Digest, UserTruth)> = (0..12).map(person).collect();
    let users: Vec<JudgeUser<'_>> =
        people.iter().map(|(user, digest, truth)| JudgeUser { user, digest, truth }).collect();
    let taxonomy = Taxonomy::from_paths(paths());
    let cores = HOBBIES.iter().map(|h| h.2).chain([NECESSITY.1]);
    let lexicon = TagLexicon::new(CoreWords::new(cores), []);
    let category_of_core = |text: &str| category_of(text);
    let shop = TruthShop {
        taxonomy: &taxonomy,
        lexicon: &lexicon,
        category_of_core: &category_of_core,
        max_tags: 20,
    };
    let titles = HOBBIES.iter().zip(MODIFIERS);
    let titles: Vec<String> =
        titles.map(|(hobby, [a, b])| format!("Brand {a} {b} {}", hobby.2)).collect();
    test(&users, &JudgeShop::new(&shop, &users, titles.iter().map(String::as_str)));
}

fn all_cases(users: &[JudgeUser<'_>], shop: &JudgeShop<'_>) -> Vec<JudgeCase> {
    let seeds = 0..20;
    seeds.flat_map(|seed| cases_from_truth(users, shop, &DefectOptions::new(seed))).collect()
}

fn label(case: &JudgeCase, criterion: Criterion) -> &str {
    &case.labels.iter().find(|(c, _)| *c == criterion).unwrap().1
}

#[test]
fn every_defect_breaks_its_own_criterion_and_good_cases_break_none() {
    with_world(|users, shop| {
        let mut seen: BTreeMap<Option<Defect>, usize> = BTreeMap::new();
        for case in all_cases(users, shop) {
            assert_eq!(case.passes(), case.defects.is_empty(), "{case:?}");
            let of_rubric: Vec<Criterion> = case.rubric().criteria.iter().map(|c| c.name).collect();
            let labelled: Vec<Criterion> = case.labels.iter().map(|(c, _)| *c).collect();
            assert_eq!(labelled, of_rubric);
            for defect in &case.defects {
                let (criterion, want) = match defect {
                    Defect::Necessity => (Criterion::Willingness, "necessity"),
                    Defect::Weak => (Criterion::Reasonableness, "weak"),
                    Defect::NoSupport => (Criterion::Reasonableness, "none"),
                    Defect::Hallucinated => (Criterion::Reasonableness, "hallucinated"),
                    Defect::Irrelevant => (Criterion::Relevance, "no"),
                    Defect::Inconsistent => (Criterion::Consistency, "no"),
                    Defect::Unspecific => (Criterion::Specificity, "no"),
                    Defect::Invalid => (Criterion::Validity, "no"),
                };
                assert_eq!(label(&case, criterion), want, "{case:?}");
                *seen.entry(Some(*defect)).or_default() += 1;
            }
            let n_failed = of_rubric.iter().filter(|&&c| case.passes_on(c) == Some(false)).count();
            assert_eq!(n_failed, case.defects.len(), "{case:?}");
            if case.defects.is_empty() {
                *seen.entry(None).or_default() += 1;
            }
        }
        assert_eq!(seen.len(), 9, "all eight kinds and good ones: {seen:?}");
        assert!(seen.values().all(|n| *n >= 20), "{seen:?}");
    });
}

#[test]
fn interests_are_what_their_labels_say() {
    with_world(|users, shop| {
        let mut checked = BTreeSet::new();
        for case in all_cases(users, shop) {
            let CaseSubject::Interest { interest, question } = &case.subject else { continue };
            let user = users.iter().find(|u| u.digest.user_id == case.user_id).unwrap();
            let reason = label(&case, Criterion::Reasonableness);
            let own = |text: &str| user.digest.lines.iter().any(|l| l.items[0] == text);
            let quotes = intent::terse::quotes(&interest.reason);
            assert_eq!(quotes.iter().all(|quote| own(quote)), reason != "hallucinated");
            assert_eq!(question.is_none(), reason == "hallucinated", "code finds it: {case:?}");
            let is_held = user.truth.interests.iter().any(|i| i.text == interest.text);
            let root = HOBBIES.iter().find(|h| h.0 == interest.text).map(|h| h.2);
            let fits = |quote: &&str| root.is_some_and(|core| quote.ends_with(core));
            match reason {
                _ if label(&case, Criterion::Willingness) == "necessity" => {
                    assert!(["sponges", "household"].iter().any(|w| interest.text.contains(w)));
                    let all_sponges = quotes.iter().all(|q| q.ends_with("sponges"));
                    assert_eq!(all_sponges, reason == "strong", "{case:?}");
                }
                "strong" if root.is_some() => assert!(is_held && quotes.iter().any(fits)),
                "weak" => assert!(!is_held),
                "none" => assert!(!is_held && !quotes.iter().any(fits)),
                _ => {}
            }
            checked.insert(reason.to_owned());
        }
        assert_eq!(checked.len(), 4);
    });
}

#[test]
fn tags_are_what_their_labels_say() {
    with_world(|users, shop| {
        for case in all_cases(users, shop) {
            let CaseSubject::Tag { context, tag } = &case.subject else { continue };
            let user = users.iter().find(|u| u.digest.user_id == case.user_id).unwrap();
            let core = HOBBIES.iter().position(|h| tag.ends_with(h.2));
            let is_specific = label(&case, Criterion::Specificity) == "yes";
            let narrows = |word: &str| MODIFIERS.as_flattened().contains(&word);
            // No modifier that narrows is left of an unspecific tag, and of some not even the core.
            assert!(is_specific || !tag.split(' ').any(narrows), "{case:?}");
            let Some(core) = core else {
                assert!(!is_specific, "{case:?}");
                continue;
            };
            let serves = HOBBIES[core].0 == context.interest;
            assert_eq!(label(&case, Criterion::Relevance) == "yes", serves, "{case:?}");
            let held = user.truth.interests.iter().any(|i| i.text == HOBBIES[core].0);
            let wrong = match user.user.attribute("gender").unwrap() {
                "female" => "men's",
                _ => "women's",
            };
            // The middle of July: spring and winter are out of season, 34 is no age of the list.
            let strange = ["spring", "winter", "kids", "teen", "senior", wrong];
            let is_consistent = held && !tag.split(' ').any(|word| strange.contains(&word));
            assert_eq!(label(&case, Criterion::Consistency) == "yes", is_consistent, "{case:?}");
            if is_specific {
                let words = ["summer", "autumn", "men's", "women's", HOBBIES[core].2];
                let known = words.iter().chain(&strange).chain(&MODIFIERS[core]);
                let known: Vec<&str> = known.copied().collect();
                let is_valid = tag.split(' ').all(|word| known.contains(&word));
                assert_eq!(label(&case, Criterion::Validity) == "yes", is_valid, "{case:?}");
            }
        }
    });
}

#[test]
fn the_same_seed_gives_the_same_cases() {
    with_world(|users, shop| {
        let make = |seed| cases_from_truth(users, shop, &DefectOptions::new(seed));
        assert_eq!(make(5), make(5));
        assert_ne!(make(5), make(6));
        let stored = serde_json::to_string(&make(5)).unwrap();
        assert_eq!(serde_json::from_str::<Vec<JudgeCase>>(&stored).unwrap(), make(5));
        // A user's cases do not hang on who else is asked about.
        let alone = cases_from_truth(&users[3..4], shop, &DefectOptions::new(5));
        let among: Vec<JudgeCase> =
            make(5).into_iter().filter(|case| case.user_id == "u3").collect();
        assert_eq!(alone, among);
    });
}

#[test]
fn the_share_of_bad_cases_is_an_option() {
    with_world(|users, shop| {
        let options = DefectOptions { bad_share: 0.0, ..DefectOptions::new(1) };
        let cases = cases_from_truth(users, shop, &options);
        let foreign = |case: &JudgeCase| case.defects == [Defect::Inconsistent];
        assert!(cases.iter().all(|case| case.passes() || foreign(case)));
        let n = |bad_share: f64| {
            let options = DefectOptions { bad_share, ..DefectOptions::new(1) };
            let cases = cases_from_truth(users, shop, &options);
            cases.iter().filter(|case| !case.passes()).count()
        };
        assert!(n(0.2) < n(0.5) && n(0.5) < n(0.8));
    });
}

#[test]
fn samples_answer_what_models_are_asked() {
    with_world(|users, shop| {
        let cases = cases_from_truth(users, shop, &DefectOptions::new(2));
        let samples = samples_from_cases(&cases);
        let mut n_rows = 0;
        for sample in &samples {
            let (prompt, answer) = (&sample.segments[0].text, &sample.segments[1].text);
            assert!(prompt.starts_with("<|query|>judge ") && prompt.ends_with("\n<|answer|>"));
            let rows = answer.lines().count();
            n_rows += rows;
            let (rubric, n_asked) = match sample.task.as_str() {
                "judge_interest" => (Rubric::interest(), 1),
                "judge_tag" => {
                    let tags = prompt.lines().next().unwrap().rsplit('|').next().unwrap();
                    (Rubric::tag(), tags.split(';').count())
                }
                other => panic!("{other}"),
            };
            assert!(rows == n_asked && rows <= TAGS_PER_QUESTION, "{prompt}{answer}");
            for line in answer.lines() {
                let labels: Vec<&str> = line.split(rubric.separator.as_str()).collect();
                let known = rubric.criteria.iter().zip(&labels);
                assert_eq!(labels.len(), rubric.criteria.len());
                assert!(known.clone().all(|(c, label)| c.terse_label(label).is_some()), "{line}");
            }
        }
        let by_code = cases.iter().filter(|c| c.defects.contains(&Defect::Hallucinated)).count();
        assert!(by_code > 0);
        assert_eq!(n_rows + by_code, cases.len(), "every other case is in one sample");
    });
}

#[test]
fn a_judge_is_asked_with_the_prompts_of_its_samples() {
    with_world(|users, shop| {
        let cases = cases_from_truth(users, shop, &DefectOptions::new(3));
        let answers: BTreeMap<String, String> = samples_from_cases(&cases)
            .into_iter()
            .map(|sample| (sample.segments[0].text.clone(), sample.segments[1].text.clone()))
            .collect();
        let model = Scripted::new(move |request| Ok(answers[&request.prompt.user].clone()));
        let judged = judge_cases(&model, &cases, 200, false).unwrap();
        assert_eq!(judged.len(), cases.len());
        for (case, judged) in cases.iter().zip(&judged) {
            assert_eq!(case.passes(), judged.passes(), "{case:?}");
        }
    });
}

#[test]
fn own_outputs_are_labelled_by_the_truth() {
    with_world(|users, shop| {
        // User 0 holds hiking and coffee at home, has bought poles and sponges.
        let user = &users[0];
        let mut profile = supported_profile(user.digest, user.truth, shop.truth);
        let written = |text: &str, quote: &str| types::Interest {
            text: text.to_owned(),
            reason: format!("bought “{quote}” 2 months ago"),
            ..profile.interests[0].clone()
        };
        profile.interests = vec![
            written("hiking", "plain boots"),
            written("Hiking", "plain sponges"),
            written("nordic walking", "plain poles"),
            written("sewing", "plain boots"),
            written("sponges", "plain sponges"),
            written("coffee at home", "silver grinder"),
            written("astronomy", "plain boots"), // of which the truth says nothing
        ];
        let tag = |text: &str, interest: &str| {
            let (modifiers, core) = split_tag(text, &shop.truth.lexicon.cores)
                .unwrap_or_else(|| (vec![], text.to_owned()));
            Tag {
                text: text.to_owned(),
                modifiers,
                core,
                interest: interest.to_owned(),
                rationale: String::new(),
                category: None,
            }
        };
        let tags = [
            tag("leather boots", "hiking"),
            tag("burr grinder", "hiking"),
            tag("curved needles", "hiking"),
            tag("winter leather boots", "hiking"),
            tag("nice boots", "hiking"),
            tag("charcoal boots", "hiking"),
            tag("leather boots", "astronomy"),
            tag("folding poles", "nordic walking"),
        ];
        let cases = label_with_truth(user, &profile, &tags, shop);
        let shown: Vec<String> = cases
            .iter()
            .map(|case| {
                let text = match &case.subject {
                    CaseSubject::Interest { interest, .. } => &interest.text,
                    CaseSubject::Tag { tag, .. } => tag,
                };
                let labels: Vec<&str> = case.labels.iter().map(|(_, l)| l.as_str()).collect();
                format!("{text}: {}", labels.join(" "))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "hiking: spontaneity strong",
                "Hiking: spontaneity none",
                "nordic walking: spontaneity weak",
                "sewing: spontaneity none",
                "sponges: necessity strong",
                "coffee at home: spontaneity hallucinated",
                "leather boots: yes yes yes yes",
                "burr grinder: no yes yes yes",
                "curved needles: no no yes yes",
                "winter leather boots: yes no yes yes",
                "nice boots: yes yes no yes",
                "charcoal boots: yes yes yes no",
                "folding poles: yes no yes yes",
            ]
        );
    });
}
