//! Learning from the last days of a workspace: what is read, what is kept, and the way back.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn recgpt(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_recgpt")).args(args).output().unwrap()
}

/// Few users and steps: the measurement mines and tags all of them twice.
fn align(workspace: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_recgpt"));
    command.args(["align", "--workspace", workspace.to_str().unwrap()]).args(more);
    command.env("RECGPT__INCREMENTAL__STEPS", "2").env("RECGPT__INTENT__USERS", "3");
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn learn(workspace: &Path, more: &[&str]) -> Value {
    let output = align(workspace, &[&["--incremental", "--json"], more].concat());
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Weights below `models/`.
fn weights(workspace: &Path, model: &str) -> Vec<u8> {
    fs::read(workspace.join("models").join(model).join("model.safetensors")).unwrap()
}

/// One increment on a finished workspace, and back.
pub(crate) fn learns_and_goes_back(workspace: &Path) {
    let part = learn(workspace, &["--measure"]);
    let steps = &part["report"]["steps"];
    for step in ["intake", "purification", "completion", "balancing"] {
        assert!(steps[step]["seen"].as_u64() >= steps[step]["kept"].as_u64(), "{part:#}");
    }
    let n_samples = part["report"]["samples"].as_u64().unwrap();
    let samples = workspace.join("models/versions/incremental_1/samples.jsonl");
    assert_eq!(fs::read_to_string(samples).unwrap().lines().count() as u64, n_samples);
    assert!(part["measured"]["users"].as_u64().unwrap() > 0, "{part:#}");
    assert_eq!((&part["version"], &part["before"]), (&"incremental_1".into(), &"builtin_1".into()));
    assert_ne!(weights(workspace, "lm"), weights(workspace, "versions/builtin_1"));
    assert_eq!(weights(workspace, "lm"), weights(workspace, "versions/incremental_1"));
    nothing_behind_the_cut_is_read(workspace, &part);
    goes_back(workspace);
    let long = align(workspace, &["--incremental", "--days", "3000"]);
    assert_eq!(long.status.code(), Some(2));
    assert!(said(&long).contains("the log begins at"), "{}", said(&long));
}

/// A log that lacks all behind the cut but its last event teaches the same, to the last bit.
fn nothing_behind_the_cut_is_read(workspace: &Path, part: &Value) {
    let cut = part["window"]["until"].as_str().unwrap();
    assert!(part["window"]["last"].as_str().unwrap() < cut);
    let folder = tempfile::tempdir().unwrap();
    let rows = fs::read_to_string(workspace.join("raw/events.csv")).unwrap();
    let time = |row: &&str| row.split(',').nth(4).unwrap_or_default().to_owned();
    let last = rows.lines().skip(1).max_by_key(time).unwrap();
    let header = rows.lines().next().unwrap();
    let early = rows.lines().skip(1).filter(|row| time(row).as_str() < cut);
    let kept: Vec<&str> = std::iter::once(header).chain(early).chain([last]).collect();
    assert!(kept.len() < rows.lines().count());
    fs::write(folder.path().join("events.csv"), kept.join("\n") + "\n").unwrap();
    let settings = fs::read_to_string(workspace.join("recgpt.toml")).unwrap();
    let all = workspace.join("raw/events.csv");
    let settings = settings.replace(all.to_str().unwrap(), "events.csv");
    fs::write(folder.path().join("c.toml"), settings).unwrap();
    let (config, other) = (folder.path().join("c.toml"), folder.path().join("ws"));
    let config = ["import", "--config", config.to_str().unwrap()];
    let imported = recgpt(&[&config[..], &["--workspace", other.to_str().unwrap()]].concat());
    assert!(imported.status.success(), "{}", said(&imported));
    let short = learn(&other, &[]);
    for key in ["window", "mined", "report", "training"] {
        assert_eq!(short[key], part[key], "{key}");
    }
    assert_eq!(weights(&other, "lm"), weights(workspace, "lm"));
}

/// The version before gives its bytes back, and what was mined with it counts again.
fn goes_back(workspace: &Path) {
    let ws = workspace.to_str().unwrap();
    let mine = || said(&recgpt(&["mine", "--workspace", ws]));
    let back = align(workspace, &["--rollback", "builtin_1"]);
    assert!(back.status.success(), "{}", said(&back));
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/builtin");
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        let was = fs::read(shipped.join(file)).unwrap();
        assert_eq!(fs::read(workspace.join("models/lm").join(file)).unwrap(), was, "{file}");
    }
    assert!(mine().contains("done before"));
    assert!(align(workspace, &["--rollback", "incremental_1"]).status.success());
    assert!(!mine().contains("done before"), "another model answers");
    let unknown = align(workspace, &["--rollback", "incremental_7"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(said(&unknown).contains("builtin_1, incremental_1"), "{}", said(&unknown));
}

/// A fit that is turned off is taken out of service; a model that no fit made stays.
pub(crate) fn a_fit_goes_when_it_is_turned_off(workspace: &Path) {
    let fit = |enabled: &str, trial_users: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_recgpt"));
        command.args(["fit", "--workspace", workspace.to_str().unwrap()]);
        command.env("RECGPT__LM__FIT__ENABLED", enabled).env("RECGPT__LM__FIT__STEPS", "2");
        command.env("RECGPT__LM__FIT__TRIAL_USERS", trial_users);
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}", said(&done));
        said(&done)
    };
    let model = workspace.join("models/lm");
    let incremental = weights(workspace, "lm");
    assert!(fit("false", "0").contains("no fit made"), "an increment stays");
    assert_eq!(weights(workspace, "lm"), incremental);
    assert!(fit("true", "0").contains("loss"));
    assert_ne!(weights(workspace, "lm"), incremental);
    assert!(fit("false", "0").contains("the fit of before is removed"));
    assert!(!model.exists() && !workspace.join("reports/parts/fit.json").exists());
    let said = fit("true", "2");
    let part = fs::read_to_string(workspace.join("reports/parts/fit.json")).unwrap();
    let trial = serde_json::from_str::<Value>(&part).unwrap()["trial"].clone();
    let is_won = trial["difference"]["low"].as_f64().unwrap() > 0.0;
    assert_eq!((trial["users"].as_u64(), model.exists()), (Some(2), is_won), "{trial:#}");
    assert_eq!(said.contains("; used: of the categories"), is_won, "{said}");
    assert!(!workspace.join("models/trial").exists());
}
