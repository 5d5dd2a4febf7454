//! Drives the real binary from samples to the files of other engines, and those engines on them.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

const FORMATS: [&str; 4] = ["trl", "llamafactory", "verl", "roll"];

fn recgpt(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_recgpt")).args(args).output().unwrap()
}

fn done(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn repository(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join(path).to_str().unwrap().to_owned()
}

/// Samples of the recipe in miniature, and preferences.
struct Inputs {
    folder: tempfile::TempDir,
    samples: String,
    records: String,
}

impl Inputs {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (samples, records) = (path("samples.jsonl"), path("records.jsonl"));
        let (run, from) = (path("run"), repository("models/builtin"));
        done(&recgpt(&[
            "align", "--recipe", "tiny", "--out", &run, "--from", &from, "--export", &samples,
        ]));
        let pair = |i: usize| {
            let user = json!({ "role": "user", "content": format!("Tag digest {i}.") });
            json!({
                "id": format!("pair-{i}"),
                "messages": [{ "role": "system", "content": "You tag." }, user],
                "chosen": "warm socks",
                "rejected": "a car",
                "task": "tag",
                "provenance": "judge",
                "split": "train",
            })
        };
        let lines: Vec<String> = (0..4).map(|i| pair(i).to_string()).collect();
        std::fs::write(&records, lines.join("\n")).unwrap();
        Self { folder, samples, records }
    }

    /// Exports into a folder named as the format; returns the folder and what the command printed.
    fn export(&self, format: &str, more: &[&str]) -> (PathBuf, Value) {
        let out = self.folder.path().join(format);
        let to = out.to_str().unwrap();
        let mut args = vec!["export", "--json", "--format", format, "--out", to];
        args.extend(["--samples", &self.samples, "--records", &self.records]);
        args.extend(more);
        let output = recgpt(&args);
        done(&output);
        (out, serde_json::from_slice(&output.stdout).unwrap())
    }
}

#[test]
fn every_sample_is_in_one_file_of_its_kind() {
    let inputs = Inputs::make();
    let n_samples = std::fs::read_to_string(&inputs.samples).unwrap().lines().count();
    for format in FORMATS {
        let (_, summary) = inputs.export(format, &["--test-percent", "20"]);
        let rows = |kind: &str| -> u64 {
            let files = summary["files"].as_array().unwrap().iter();
            let of_kind = files.filter(|f| f["name"].as_str().unwrap().starts_with(kind));
            of_kind.map(|f| f["n_rows"].as_u64().unwrap()).sum()
        };
        let test_rows = rows("sft_test") as f64;
        assert!(test_rows > 0.05 * n_samples as f64, "{format}: {summary}");
        match format {
            // A row for every answer: mining and tagging are two.
            "roll" => assert!(rows("sft") > n_samples as u64, "{summary}"),
            _ => assert_eq!(rows("sft"), n_samples as u64, "{format}: {summary}"),
        }
        assert_eq!(rows("preference"), if format == "verl" { 0 } else { 4 }, "{summary}");
        assert_eq!(rows("rl"), if format == "llamafactory" { 0 } else { n_samples as u64 });
    }
}

/// `python3` (or `RECGPT_PYTHON`) with TRL loads all files, and sees the tokens of our trainer.
#[test]
#[expect(clippy::print_stderr, reason = "says that it is skipped")]
#[expect(clippy::disallowed_methods, reason = "the interpreter is the choice of who runs the test")]
fn the_engines_load_their_files() {
    let python = std::env::var("RECGPT_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let there = Command::new(&python).args(["-c", "import torch, trl"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: {python} has no package trl");
        return;
    }
    let inputs = Inputs::make();
    let tokenizer = repository("models/builtin/tokenizer.json");
    for format in FORMATS {
        inputs.export(format, &["--tokenizer", &tokenizer]);
    }
    let python = |args: &[&str]| {
        let cache = inputs.folder.path().join("cache");
        let mut command = Command::new(&python);
        command.env("HF_HOME", &cache).env("HF_HUB_OFFLINE", "1");
        done(&command.args(args).output().unwrap());
    };
    let folder = inputs.folder.path().to_str().unwrap();
    let script = repository("crates/recgpt/tests/python/load_exports.py");
    python(&[&script, folder, &tokenizer]);
    let (data, model) = (inputs.folder.path().join("trl"), repository("models/builtin"));
    let script = repository("scripts/train_trl.py");
    python(&[&script, "--data", data.to_str().unwrap(), "--model", &model, "--check"]);
}

#[test]
fn wrong_usage_and_broken_files_are_named_with_their_mend() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.jsonl");
    std::fs::write(&broken, "\n{\"segments\": 3}\n").unwrap();
    let (broken, out) = (broken.to_str().unwrap(), folder.path().join("out"));
    let out = out.to_str().unwrap();
    let check = |format: &str, files: &[&str], code: i32, parts: &[&str]| {
        let output = recgpt(&[&["export", "--format", format, "--out", out], files].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(parts.iter().all(|part| stderr.contains(part)), "{parts:?}: {stderr:?}");
    };
    check("trl", &["--samples", broken], 1, &["broken.jsonl", "line 2", "recgpt align --export"]);
    check("trl", &["--samples", "/nowhere/s.jsonl"], 1, &["/nowhere/s.jsonl"]);
    check("trl", &[], 2, &["--samples"]);
    check("csv", &["--samples", broken], 2, &["trl, llamafactory, verl, roll"]);
    assert!(!Path::new(out).exists());
}
