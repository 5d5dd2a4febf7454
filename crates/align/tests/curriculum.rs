//! The curriculum: one question of every subtask, their order, and what no model is trained on.

use std::collections::{BTreeMap, BTreeSet};

use align::{
    CurriculumSamples, CurriculumSources, Level, Product, SUBTASKS, Subtask, evaluate, quotas,
    topological_order,
};
use lm::Scripted;
use types::{InterestStage, Taxonomy, Timestamp, TrueInterest, TrueNeed, UserTruth};

const KINDS: [(&str, &str, &[&str]); 8] = [
    ("Sports > Hiking Boots", "boots", &["wide", "leather"]),
    ("Sports > Tents", "tent", &["light", "two-person"]),
    ("Sports > Trekking Poles", "trekking poles", &["folding", "carbon"]),
    ("Sports > Rucksacks", "rucksack", &["waterproof", "small"]),
    ("Home > Yarn", "wool yarn", &["soft", "undyed"]),
    ("Home > Needles", "needles", &["round", "bamboo"]),
    ("Home > Baskets", "basket", &["woven", "large"]),
    ("Home > Patterns", "pattern book", &["illustrated", "nordic"]),
];

fn products() -> Vec<Product<'static>> {
    let mut products = Vec::new();
    for (category, core, modifiers) in KINDS {
        for modifier in modifiers {
            let core: &str = Box::leak(format!("{modifier} {core}").into_boxed_str());
            let title: &str = Box::leak(format!("Acme {core} 2025").into_boxed_str());
            let modifiers = vec![(*modifier).to_owned()];
            products.push(Product { title, core, category, modifiers });
        }
    }
    products
}

fn truth() -> UserTruth {
    let at = Timestamp(0);
    let interest = |text: &str, kinds: &[(&str, &str, &[&str])]| TrueInterest {
        text: text.to_owned(),
        stage: InterestStage::Long,
        categories: kinds.iter().map(|(category, ..)| (*category).to_owned()).collect(),
        modifiers: vec!["light".to_owned()],
        from: at,
        until: None,
    };
    let need = |interest: &str, (category, core, modifiers): (&str, &str, &[&str])| TrueNeed {
        category: category.to_owned(),
        tag: format!("{} {core}", modifiers[0]),
        interest: interest.to_owned(),
        rationale: format!("loves {interest}"),
        from: at,
        until: at,
    };
    let needs = KINDS.iter().enumerate().map(|(i, kind)| {
        let name = if i < 4 { "hiking" } else { "knitting" };
        need(name, *kind)
    });
    UserTruth {
        user_id: "u".to_owned(),
        interests: vec![interest("hiking", &KINDS[..4]), interest("knitting", &KINDS[4..])],
        needs: needs.collect(),
    }
}

fn draw(n: usize, asked: usize, seed: u64) -> CurriculumSamples {
    let (products, truths) = (products(), [truth()]);
    let paths: Vec<&str> = KINDS.iter().map(|(category, ..)| *category).collect();
    let taxonomy = Taxonomy::from_paths(paths);
    let goals: Vec<(String, String)> = (0..40)
        .map(|i| (format!("i want a red shirt in size {i}"), format!("red shirt size {i}")))
        .collect();
    let sources = CurriculumSources {
        products: &products,
        truths: &truths,
        taxonomy: Some(&taxonomy),
        goals: &goals,
    };
    CurriculumSamples::draw(&sources, &[n; 16], asked, seed)
}

#[test]
fn every_subtask_asks_and_answers_in_one_line() {
    let samples = draw(1, 0, 5);
    let shown: Vec<String> = samples
        .trained
        .iter()
        .map(|s| s.segments.iter().map(|part| part.text.replace('\n', "\\n")).collect())
        .collect();
    assert_eq!(samples.counts().len(), SUBTASKS.len());
    insta::assert_snapshot!("curriculum", shown.join("\n"));
}

#[test]
fn the_same_seed_draws_the_same_questions() {
    let texts = |samples: CurriculumSamples| -> Vec<String> {
        samples.trained.into_iter().map(|s| s.segments[0].text.clone()).collect()
    };
    assert_eq!(texts(draw(5, 2, 9)), texts(draw(5, 2, 9)));
    assert_ne!(texts(draw(5, 2, 9)), texts(draw(5, 2, 10)));
}

#[test]
fn no_question_is_both_trained_on_and_asked() {
    let mut all = draw(30, 30, 1);
    all.extend(draw(30, 30, 2));
    let texts = |samples: &[align::Sample]| -> BTreeSet<String> {
        samples.iter().map(|s| s.segments[0].text.clone()).collect()
    };
    let (trained, asked) = (texts(&all.trained), texts(&all.asked));
    assert!(asked.len() >= 10 && trained.len() >= 100, "{} {}", asked.len(), trained.len());
    assert_eq!(trained.intersection(&asked).count(), 0);
    assert_eq!(trained.len(), all.trained.len(), "none twice");
}

#[test]
fn prerequisites_come_first_and_levels_rise() {
    let order = topological_order(&SUBTASKS).unwrap();
    let place: BTreeMap<&str, usize> =
        order.iter().enumerate().map(|(i, subtask)| (subtask.name, i)).collect();
    for subtask in SUBTASKS {
        for before in subtask.prerequisites {
            assert!(place[before] < place[subtask.name], "{before}, {}", subtask.name);
        }
    }
    let levels: Vec<Level> = order.iter().map(|s| s.level).collect();
    assert!(levels.is_sorted(), "{levels:?}");
}

#[test]
fn a_circle_and_a_missing_prerequisite_are_errors() {
    let check = |change: fn(&mut [Subtask; 16]), expect: &str| {
        let mut subtasks = SUBTASKS;
        change(&mut subtasks);
        let error = topological_order(&subtasks).err().unwrap().to_string();
        assert!(error.contains(expect), "{error}");
    };
    check(|s| s[0].prerequisites = &["references"], "wait for each other");
    check(|s| s[0].prerequisites = &["riddles"], "needs \"riddles\"");
}

#[test]
fn quotas_add_up_and_leave_none_out() {
    let published: Vec<usize> = SUBTASKS.iter().map(|s| s.published).collect();
    assert_eq!(quotas(16_298, &published), published);
    for total in [16, 100, 5_000, 40_000] {
        let quotas = quotas(total, &published);
        assert_eq!(quotas.iter().sum::<usize>(), total);
        assert!(quotas.iter().all(|q| *q > 0), "{quotas:?}");
    }
}

#[test]
fn a_model_that_knows_the_answers_scores_one() {
    let asked = draw(0, 2, 3).asked;
    let known = asked.iter().map(|s| (s.segments[0].text.clone(), s.segments[1].text.clone()));
    let score = evaluate(&Scripted::from_map(known), &asked, 48).unwrap();
    assert!((score.macro_mean - 1.0).abs() < 1e-9, "{score:?}");
    let silent = Scripted::new(|_| Ok(String::new()));
    let score = evaluate(&silent, &asked, 48).unwrap();
    assert!(score.macro_mean < 1e-9, "{score:?}");
}
