//! Drives the real binary through the shipped recipe in miniature.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn align(out: &Path, more: &[&str]) -> Output {
    let out = out.to_str().unwrap();
    let recipe = ["align", "--recipe", "tiny", "--out", out];
    Command::new(env!("CARGO_BIN_EXE_recgpt")).args(recipe).args(more).output().unwrap()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn every_stage_runs_once_is_measured_and_can_be_rolled_back() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("aligned");
    let done = align(&out, &[]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let stages = read(&out.join("alignment.json"));
    let names: Vec<&str> =
        stages["done"].as_array().unwrap().iter().map(|s| s["stage"].as_str().unwrap()).collect();
    assert_eq!(names, ["base", "curriculum", "reasoning", "judge", "self_training/round_1"]);
    let reasoning = &stages["done"][2];
    assert!(reasoning["samples"]["judge_tags"].as_u64().unwrap() > 0);
    assert!(reasoning["notes"]["cleaning"]["levels"]["sample"]["seen"].as_u64().unwrap() > 0);
    assert!(reasoning["scorecard"]["judge"]["tags"]["n"].as_u64().unwrap() > 0);
    let judge = &stages["done"][3];
    assert!(judge["notes"]["own_tags"]["cases"].as_u64().is_some());
    assert!(judge["scorecard"]["judge"]["criteria"]["reasonableness"]["n"].as_u64().unwrap() > 0);
    assert_eq!(judge["scorecard"]["score"], reasoning["scorecard"]["score"], "it answers nothing");
    let order = stages["done"][1]["notes"]["order"].as_array().unwrap().len();
    assert_eq!(order, 16);
    let card = read(&out.join("scorecard.json"));
    for figure in ["align.stage1.score", "align.stage2.score", "align.stage3.score", "tag.hr@30"] {
        let value = card["figures"].get(figure);
        assert!(value.is_some() || figure == "tag.hr@30", "{figure} in {card:#}");
    }
    assert!(read(&out.join("manifest.json"))["stages"].as_array().unwrap().len() == 5);

    let page = || std::fs::read_to_string(out.join("report.html")).unwrap();
    let first = page();
    assert!(
        !first.contains("<script") && first.matches("<svg").count() >= 6,
        "charts of every run"
    );
    let chart = |run: &str| format!("<figcaption>{}</figcaption>", run.replace('/', "&#x2f;"));
    let runs = ["base", "curriculum/foundation", "curriculum/advanced", "self_training/round_1"];
    for part in runs.map(chart) {
        assert!(first.contains(&part), "{part:?} is missing");
    }
    for part in
        ["HR@30, new categories", "reject rate", "what to buy", "tags kept", "Cleaning: tag"]
    {
        assert!(first.contains(part), "{part:?} is missing");
    }

    let weights = std::fs::read(out.join("self_training/round_1/model/model.safetensors")).unwrap();
    let again = align(&out, &[]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(again.status.success() && said.contains("reasoning: done before"), "{said}");
    let kept = std::fs::read(out.join("self_training/round_1/model/model.safetensors")).unwrap();
    assert_eq!(weights, kept, "what is done is not done again");

    assert!(align(&out, &["--rollback", "curriculum"]).status.success());
    let chosen = std::fs::read(out.join("model/model.safetensors")).unwrap();
    let earlier = std::fs::read(out.join("curriculum/model/model.safetensors")).unwrap();
    assert_eq!(chosen, earlier);
    assert!(page().contains("is that of <b>curriculum</b>"), "the page says what was chosen");
    assert_eq!(read(&out.join("manifest.json"))["chosen"], "curriculum");
    let unknown = align(&out, &["--rollback", "self_training/round_9"]);
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert_eq!(unknown.status.code(), Some(2));
    assert!(said.contains("self_training/round_1"), "names what there is: {said}");
}

#[test]
fn self_training_without_a_judge_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let check = |without: &str, expect: &str| {
        let done = align(folder.path(), &["--without", without]);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success() && said.contains(expect), "{said}");
    };
    check("base,curriculum,reasoning", "the judge goes on from `reasoning`");
    check("base,curriculum,reasoning,judge", "needs the judge");
}

#[test]
fn an_ablation_has_a_row_for_every_stage_left_out() {
    let folder = tempfile::tempdir().unwrap();
    // One seed of the tiny recipe; what is learnt in two steps is nothing, so that only the table is looked at.
    let done = align(folder.path(), &["--ablate", "1", "--steps", "2", "--json"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let table: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(table, read(&folder.path().join("ablation.json")));
    let rows = table["rows"].as_array().unwrap();
    let estimate = |row: usize, figure: &str| {
        let figures = rows[row]["figures"].as_array().unwrap();
        figures.iter().find(|f| f["name"] == figure).unwrap()["estimate"].clone()
    };
    let score = |run: &str, stage: &str| {
        let stages = read(&folder.path().join(format!("seed_1/{run}/alignment.json")));
        let done = stages["done"].as_array().unwrap();
        done.iter().find(|s| s["stage"] == stage).unwrap()["scorecard"]["score"].clone()
    };
    let names: Vec<&str> = rows.iter().map(|row| row["stages"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 5, "{names:?}");
    let last = "self_training/round_1";
    let expect = [
        ("all", last),
        ("without_curriculum", last),
        ("all", "curriculum"),
        ("all", "reasoning"),
        ("without_curriculum", "reasoning"),
    ];
    for (row, (run, stage)) in expect.into_iter().enumerate() {
        assert_eq!(estimate(row, "score")["mean"], score(run, stage), "{}", names[row]);
    }
    assert!(!folder.path().join("seed_1/without_curriculum/curriculum").exists());
}
