//! Drives the real binary through an alignment that a model behind a server teaches.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod prose_server;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use prose_server::ProseServer;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn out(&self) -> PathBuf {
        self.0.path().join("aligned")
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// `recgpt align --recipe tiny` into the folder.
    fn align(&self, more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_recgpt"));
        command.args(["align", "--recipe", "tiny", "--out"]).arg(self.out());
        command.args(more).output().unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn lines(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of_task(samples: &[Value], task: &str) -> usize {
    samples.iter().filter(|sample| sample["task"] == task).count()
}

#[test]
fn a_model_of_prose_teaches_judges_itself_and_is_asked_once() {
    let (folder, server) = (Folder::new(), ProseServer::start());
    let lines_of =
        ["kind = \"openai\"", "model = \"wise\"", &format!("base_url = {:?}", server.url())];
    let file = folder.write("teacher.toml", &lines_of.join("\n"));
    let done =
        folder.align(&["--teacher", &file, "--without", "base,curriculum,judge,self-training"]);
    assert!(done.status.success(), "{}", said(&done));
    assert!(said(&done).contains("yield") && said(&done).contains("refused by the judge"));

    let manifest = read(&folder.out().join("manifest.json"));
    assert_eq!(manifest["teacher"]["kind"], "openai", "{manifest:#}");
    assert_eq!(manifest["teacher"]["model"], "wise");
    let stages = read(&folder.out().join("alignment.json"));
    let notes = &stages["done"][0]["notes"];
    let number = |value: &Value| value.as_u64().unwrap();
    assert!(number(&notes["teacher"]["asked"]["judged"]) > 0, "{notes:#}");
    let levels = &notes["cleaning"]["levels"];
    assert!(number(&levels["tag"]["rejected"]["refused_by_judge"]) > 0, "{levels:#}");
    let kept = number(&levels["sample"]["kept"]);
    assert!(kept > 0 && std::fs::read(folder.out().join("teacher/rejections.jsonl")).is_ok());
    let page = std::fs::read_to_string(folder.out().join("report.html")).unwrap();
    assert!(page.contains("teacher wise") && page.contains("refused by the judge"));

    let asked = server.n_requests();
    let samples = folder.0.path().join("samples.jsonl");
    let samples = samples.to_str().unwrap();
    let exported = folder.align(&["--teacher", &file, "--export", samples]);
    assert!(exported.status.success(), "{}", said(&exported));
    assert_eq!(server.n_requests(), asked, "every answer lies in the folder");
    let samples = lines(samples);
    assert_eq!(of_task(&samples, "mine_tag") as u64, kept);
    assert!(of_task(&samples, "judge_tags") > 0, "what needs no teacher is there as well");

    let other = folder.align(&["--without", "base,curriculum"]);
    assert_eq!(other.status.code(), Some(2), "{}", said(&other));
    assert!(said(&other).contains("taught by wise"), "{}", said(&other));
}

/// `recgpt lm serve` of the built-in model; ended when dropped.
struct Served {
    child: Child,
    url: String,
}

impl Served {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_recgpt"));
        command.args(["lm", "serve", "--listen", "127.0.0.1:0"]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line =
            lines.find_map(|line| line.unwrap().strip_prefix("listening on ").map(str::to_owned));
        let url = line.unwrap().split(';').next().unwrap().to_owned();
        Self { child, url }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn the_built_in_model_teaches_through_its_own_server() {
    let (folder, server) = (Folder::new(), Served::start());
    let terse = format!(
        "kind = \"openai\"\nbase_url = {:?}\nmodel = \"builtin\"\ndialect = \"vllm\"\nstyle = \"terse\"\n",
        server.url
    );
    let file = folder.write("teacher.toml", &terse);
    let path = |name: &str| folder.0.path().join(name).to_str().unwrap().to_owned();
    let (first, second) = (path("first.jsonl"), path("second.jsonl"));
    let done = folder.align(&["--teacher", &file, "--export", &first]);
    assert!(done.status.success(), "{}", said(&done));
    assert!(of_task(&lines(&first), "mine_tag") > 0, "{}", said(&done));
    drop(server);
    let again = folder.align(&["--teacher", &file, "--export", &second]);
    assert!(again.status.success(), "{}", said(&again));
    assert!(std::fs::read(&first).unwrap() == std::fs::read(&second).unwrap());
}

#[test]
fn a_teacher_that_cannot_be_reached_ends_the_command_before_anything_is_trained() {
    let folder = Folder::new();
    let nobody = "kind = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\nmodel = \"m\"\n";
    let file = folder.write("teacher.toml", nobody);
    let failed = folder.align(&["--teacher", &file]);
    assert_eq!(failed.status.code(), Some(1), "{}", said(&failed));
    for part in ["the teacher openai:m", "cannot reach", "127.0.0.1:9", "base_url"] {
        assert!(said(&failed).contains(part), "{part:?} is missing in {}", said(&failed));
    }
    assert!(!folder.out().join("base").exists() && !folder.out().join("reasoning").exists());
}

#[test]
fn a_wrong_description_of_a_teacher_is_wrong_usage() {
    let folder = Folder::new();
    let check = |text: &str, part: &str| {
        let file = folder.write("teacher.toml", text);
        let refused = folder.align(&["--teacher", &file]);
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
        assert!(said(&refused).contains(part), "{part:?} is missing in {}", said(&refused));
    };
    let start = "kind = \"openai\"\nbase_url = \"http://h/v1\"\n";
    check(start, "model");
    check(&format!("{start}model = \"m\"\ntemperture = 1\n"), "temperture");
    check(&format!("{start}model = \"m\"\nlanguage = \"fr\"\n"), "teacher.language");
    check(&format!("{start}model = \"m\"\nconcurrency = 0\n"), "concurrency");
    check(
        &format!("{start}model = \"m\"\napi_key_env = \"RECGPT_NO_SUCH_KEY\"\n"),
        "RECGPT_NO_SUCH",
    );
    check("kind = \"builtin\"\n", "recgpt lm serve");
    check("kind = ", "teacher.toml");
    let missing = folder.align(&["--teacher", "/nowhere/teacher.toml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(said(&missing).contains("/nowhere/teacher.toml"), "{}", said(&missing));
    assert!(!folder.out().join("base").exists());
}
