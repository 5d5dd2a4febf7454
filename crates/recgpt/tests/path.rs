//! Drives the real binary: the whole path in miniature, twice; slates; the server; an increment.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod increment;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn recgpt(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_recgpt")).args(args).output().unwrap()
}

/// The demo in miniature.
fn demo_command(out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_recgpt"));
    command
        .args(["demo", "--users", "120", "--items", "600", "--seed", "7"])
        .args(["--heavy-user-events", "900", "--intent-users", "6", "--out"])
        .arg(out);
    command
}

fn demo(out: &Path) -> Output {
    demo_command(out).output().unwrap()
}

fn report(workspace: &Path) -> Value {
    let text = std::fs::read_to_string(workspace.join("reports/report.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn without_timings(mut report: Value) -> Value {
    report["timings"] = Value::Null;
    let figures = report["figures"].as_object_mut().unwrap();
    figures.retain(|name, _| !name.starts_with("time.") && !name.starts_with("memory."));
    report["input"]["files"] = Value::Null;
    report["next_commands"] = Value::Null;
    report
}

#[test]
fn the_marketplace_alone_can_be_imported_and_digested() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("w");
    let mut command = Command::new(env!("CARGO_BIN_EXE_recgpt"));
    command
        .args(["demo", "--users", "12", "--items", "200", "--events-per-user", "2000"])
        .args(["--heavy-user-events", "0", "--world-only", "--out"])
        .arg(&out);
    assert!(command.output().unwrap().status.success());
    assert!(out.join("raw/events.csv").exists() && !out.join("events").exists());
    let (workspace, config) = (out.to_str().unwrap(), out.join("recgpt.toml"));
    assert!(recgpt(&["import", "--config", config.to_str().unwrap()]).status.success());
    let output = recgpt(&["--json", "digest", "--report", "--workspace", workspace]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let n_events = report["figures"]["digest.events_mean"].as_f64().unwrap();
    assert!((500.0..8000.0).contains(&n_events), "{n_events}");
}

#[test]
fn the_demo_runs_to_a_report_and_a_second_run_gives_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("a"), folder.path().join("b"));
    let stopped = stopped_in_the_middle(&folder.path().join("c"));
    let output = demo(&first);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    let report_a = report(&first);
    for figure in [
        "events.rows",
        "events.rejected",
        "digest.events_max",
        "digest.tokens_raw_mean",
        "digest.tokens_mean",
        "digest.reduction_behaviour",
        "digest.reduction_sequence",
        "digest.within_128k_raw",
        "digest.within_128k",
        "intent.interests_per_user",
        "intent.tags_per_user",
        "intent.categories_per_user",
        "intent.parse_issue_rate",
        "intent.interest_precision",
        "intent.interest_recall",
        "popularity.recall@10",
        "itemknn.ndcg@10",
        "user_tower.coverage@10",
        "recgpt.gini@10",
        "recgpt.tail_share@10",
        "recgpt.category_diversity@10",
        "time.mine_seconds",
        "memory.peak_bytes",
    ] {
        assert!(report_a["figures"][figure].is_number(), "{figure} is missing");
    }
    assert_eq!(report_a["figures"]["digest.events_max"].as_f64().map(|n| n > 800.0), Some(true));
    let html = std::fs::read_to_string(first.join("reports/report.html")).unwrap();
    assert!(
        !html.contains("http://") || !html.contains("<script src"),
        "the page is self-contained"
    );

    assert!(demo(&second).status.success());
    let report_a = without_timings(report_a);
    assert_eq!(report_a, without_timings(report(&second)));
    assert!(demo(&stopped).status.success());
    assert_eq!(report_a, without_timings(report(&stopped)), "a stopped run continues");

    let again = demo(&first);
    let stderr = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(
        stderr.contains("mine         done before"),
        "a finished step is not done again: {stderr}"
    );

    slates(&first);
    digests(&first);
    server(&first);
    increment::learns_and_goes_back(&second);
    increment::a_fit_goes_when_it_is_turned_off(&second);
}

/// A workspace whose demo was killed as soon as it had its digests.
fn stopped_in_the_middle(workspace: &Path) -> std::path::PathBuf {
    let mut child = demo_command(workspace).stderr(Stdio::null()).spawn().unwrap();
    while !workspace.join("steps/digest.json").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the demo ended before it could be stopped");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    workspace.to_owned()
}

/// A known user, an excluded item, an unknown user.
/// The report on compression, and one digest explained under a budget that leaves lines out.
fn digests(workspace: &Path) {
    let workspace = workspace.to_str().unwrap();
    let json = |args: &[&str]| -> Value {
        let base = ["--json", "digest", "--workspace", workspace];
        let output = recgpt(&[&base, args].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let report = json(&["--report"]);
    for figure in ["digest.reduction_sequence", "digest.within_8k_raw", "digest.within_128k"] {
        assert!(report["figures"][figure].is_number(), "{figure} is missing");
    }
    let longest = report["longest"][0]["user_id"].as_str().unwrap();
    let explained = json(&["--user", longest, "--explain", "--budget", "300"]);
    let sum = |lines: &str, field: &str| -> u64 {
        let lines = explained[lines].as_array().unwrap().iter();
        lines.map(|line| line[field].as_u64().unwrap()).sum()
    };
    let read: u64 =
        explained["events"].as_array().unwrap().iter().map(|e| e["read"].as_u64().unwrap()).sum();
    assert!(explained["tokens"]["budget"].as_u64().unwrap() <= 300);
    assert_eq!(sum("dropped", "events"), explained["dropped_by_budget"].as_u64().unwrap());
    let dropped = explained["dropped_by_behaviour"].as_u64().unwrap();
    assert_eq!(sum("kept", "events") + sum("dropped", "events") + dropped, read);
    let nobody = recgpt(&["digest", "--workspace", workspace, "--user", "nobody"]);
    assert_eq!(nobody.status.code(), Some(2));
}

fn slates(workspace: &Path) {
    let ws = workspace.to_str().unwrap();
    let users = std::fs::read_to_string(workspace.join("raw/users.jsonl")).unwrap();
    let user: Value = serde_json::from_str(users.lines().next().unwrap()).unwrap();
    let user = user["user_id"].as_str().unwrap().to_owned();
    let slate = |more: &[&str]| -> Value {
        let args = [&["recommend", "--workspace", ws, "--json", "--n", "5"], more].concat();
        let output = recgpt(&args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let first = slate(&["--user", &user, "--explain"]);
    let items = first["items"].as_array().unwrap();
    assert_eq!(items.len(), 5);
    assert!(items.iter().all(|i| i["reason"].as_str().is_some_and(|r| !r.is_empty())));
    let top = items[0]["item_id"].as_str().unwrap();
    let without = slate(&["--user", &user, "--exclude", top]);
    assert!(without["items"].as_array().unwrap().iter().all(|i| i["item_id"] != top));
    let unknown = slate(&["--user", "nobody"]);
    assert_eq!(unknown["fallback"], "unknown_user");
    assert_eq!(unknown["items"].as_array().unwrap().len(), 5);
    let refused = recgpt(&["recommend", "--workspace", ws, "--user", &user, "--beta", "1.5"]);
    assert_eq!(refused.status.code(), Some(2));
}

/// The real server over loopback answers and stops when told.
fn server(workspace: &Path) {
    let ws = workspace.to_str().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_recgpt"))
        .args(["serve", "--workspace", ws, "--listen", "127.0.0.1:0"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = lines.find(|l| l.as_ref().is_ok_and(|l| l.contains("listening"))).unwrap().unwrap();
    let base = line.split_whitespace().find(|w| w.starts_with("http://")).unwrap();
    let base = base.trim_end_matches(';');
    let get = |path: &str| -> String {
        let mut body = String::new();
        let mut reply = ureq::get(format!("{base}{path}")).call().unwrap();
        reply.body_mut().as_reader().read_to_string(&mut body).unwrap();
        body
    };
    get("/health/live");
    get("/health/ready");
    let slate: Value = serde_json::from_str(&get("/api/v1/recommend/nobody?n=3")).unwrap();
    assert!(slate.to_string().contains("unknown_user"), "{slate}");
    assert!(get("/api/v1/openapi.json").contains("/api/v1/recommend/{user}"));
    assert!(get("/metrics").contains("recgpt_"));
    let stopped = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    assert!(child.wait().unwrap().success(), "SIGTERM drains and ends well");
}
