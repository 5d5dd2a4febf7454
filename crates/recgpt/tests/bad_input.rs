//! What a person sees when files, settings or servers are bad: the exit code, the place, the mend.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::Command;

mod common;

use common::check;

const ITEMS: &str = "{\"item_id\":\"i1\",\"title\":\"Waterproof hiking boots\",\"category\":\"Sports > Boots\"}\n{\"item_id\":\"i2\",\"title\":\"Wool hiking socks\",\"category\":\"Sports > Socks\"}\n";
const HEADER: &str = "event_id,event_type,user_id,item_id,timestamp\n";

/// Runs `import` on these events with these lines in `[import.events]`; exit code and message.
fn import(events: &[u8], settings: &str) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("events.csv"), events).unwrap();
    fs::write(folder.path().join("items.jsonl"), ITEMS).unwrap();
    run(folder.path(), "import", settings, "")
}

fn run(folder: &Path, command: &str, events: &str, rest: &str) -> (i32, String) {
    let ws = folder.join("ws");
    let files = if events.contains("files") { "" } else { "files = [\"events.csv\"]\n" };
    let config = format!(
        "name = \"t\"\nworkspace = {ws:?}\n{rest}\n[import.items]\nfiles = [\"items.jsonl\"]\n\
         [import.events]\n{files}{events}\n"
    );
    fs::write(folder.join("c.toml"), config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_recgpt"))
        .args([command, "--config"])
        .arg(folder.join("c.toml"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or(-1), text)
}

#[test]
fn good_rows_pass_and_few_bad_ones_go_to_quarantine() {
    let mut rows = HEADER.to_owned();
    for n in 0..40 {
        rows += &format!("e{n},click,u{},i1,2025-01-01T00:00:{n:02}Z\n", n % 4);
    }
    rows += "e40,frobnicate,u1,i1,2025-01-01T00:00:00Z\n";
    check(import(rows.as_bytes(), ""), 0, &["40 events of 4 users", "1 rows refused"]);
}

#[test]
fn too_many_bad_rows_stop_the_run_with_code_3_the_line_and_the_mend() {
    let rows = format!("{HEADER}e1,click,u1,i1,2025-01-01T00:00:00Z\ne2,click,u1,i1,yesterday\n");
    check(import(rows.as_bytes(), ""), 3, &["events.csv:3", "max_reject_rate"]);
}

#[test]
fn an_unknown_column_is_named_with_those_that_exist() {
    let rows = format!("{HEADER}e1,click,u1,i1,2025-01-01T00:00:00Z\n");
    let got = import(rows.as_bytes(), "[import.events.columns]\nuser_id = \"customer\"\n");
    check(got, 2, &["customer", "user_id", "events.csv"]);
}

#[test]
fn empty_and_missing_files_are_named() {
    check(import(b"", ""), 3, &["events.csv", "no rows"]);
    check(import(b"", "files = [\"nowhere.csv\"]\n"), 1, &["nowhere.csv", "cannot open"]);
}

#[test]
fn invalid_utf8_refuses_the_row() {
    let mut rows = HEADER.as_bytes().to_vec();
    rows.extend_from_slice(b"e1,click,u\xff1,i1,2025-01-01T00:00:00Z\n");
    check(import(&rows, ""), 3, &["events.csv:2"]);
}

#[test]
fn a_wrong_key_or_value_of_the_configuration_is_code_2_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("events.csv"), HEADER).unwrap();
    fs::write(folder.path().join("items.jsonl"), ITEMS).unwrap();
    check(
        run(folder.path(), "import", "", "[fusion]\nbetta = 1\n"),
        2,
        &["c.toml", "betta", "line"],
    );
    check(run(folder.path(), "import", "", "[fusion]\nbeta = \"x\"\n"), 2, &["c.toml", "beta"]);
}

#[test]
fn a_missing_configuration_and_a_missing_workspace_are_code_2() {
    let folder = tempfile::tempdir().unwrap();
    for args in [["run", "--config", "none.toml"], ["digest", "--workspace", "none"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_recgpt"))
            .args(args)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("none"), "{text}");
    }
}

#[test]
fn a_parquet_file_cut_short_is_named() {
    let (whole, folder) = (small_shop(), tempfile::tempdir().unwrap());
    check(run(whole.path(), "import", "", ""), 0, &[]);
    let bytes = fs::read(whole.path().join("ws/items.parquet")).unwrap();
    fs::write(folder.path().join("e.parquet"), &bytes[..bytes.len() / 2]).unwrap();
    fs::write(folder.path().join("items.jsonl"), ITEMS).unwrap();
    let got = run(folder.path(), "import", "files = [\"e.parquet\"]\n", "");
    check(got, 1, &["e.parquet", "may be truncated"]);
}

#[test]
fn repeated_ids_odd_names_and_untitled_items_pass_through_the_whole_path() {
    let folder = small_shop();
    let mut rows = fs::read_to_string(folder.path().join("events.csv")).unwrap();
    rows += "e0,cart,u0,i1,2025-01-01T00:00:00Z\n"; // the first event again
    rows += "once,purchase,\"用户 1, o'Brien?\",untitled,2025-01-03T00:00:00Z\n";
    fs::write(folder.path().join("events.csv"), rows).unwrap();
    let items = format!("{ITEMS}{{\"item_id\":\"untitled\",\"category\":\"Sports > Boots\"}}\n");
    fs::write(folder.path().join("items.jsonl"), items).unwrap();
    let got = run(folder.path(), "run", "", "");
    check(got, 0, &["61 events of 6 users on 3 items", "1 duplicates"]);
    let output = Command::new(env!("CARGO_BIN_EXE_recgpt"))
        .args(["recommend", "--json", "--user", "用户 1, o'Brien?", "--workspace"])
        .arg(folder.path().join("ws"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("用户 1, o'Brien?"), "{text}");
    assert!(!text.contains("unknown_user"), "a user with one event is known: {text}");
}

const LM: &str = "[lm]\nkind = \"openai\"\nmodel = \"m\"\ntimeout_seconds = 2\n";

#[test]
fn an_unreachable_language_model_is_named_with_its_address() {
    let folder = small_shop();
    let lm = format!("{LM}base_url = \"http://127.0.0.1:9/v1\"\n");
    check(run(folder.path(), "run", "", &lm), 1, &["127.0.0.1:9", "step mine"]);
}

#[test]
fn a_language_model_that_answers_nonsense_is_reported_and_the_user_tower_serves() {
    let folder = small_shop();
    let lm = format!("{LM}base_url = \"http://{}/v1\"\n", nonsense_server());
    let got = run(folder.path(), "run", "", &lm);
    check(got, 0, &["warning: no interest in the answers", "As a language model", "report.html"]);
    let report = fs::read_to_string(folder.path().join("ws/reports/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["figures"]["intent.parse_issue_rate"], 1.0);
}

/// Learning from the last days of an imported small shop with these items and settings.
fn learn(items: &str, rest: &str, more: &[&str]) -> (i32, String) {
    let folder = small_shop();
    fs::write(folder.path().join("items.jsonl"), items).unwrap();
    check(run(folder.path(), "import", "", rest), 0, &[]);
    let output = Command::new(env!("CARGO_BIN_EXE_recgpt"))
        .args(["align", "--incremental", "--workspace"])
        .arg(folder.path().join("ws"))
        .args(more)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or(-1), text)
}

#[test]
fn a_log_that_teaches_nothing_is_told_apart_from_a_wrong_call() {
    check(learn(ITEMS, "", &[]), 2, &["14 days before the cut", "begins at 2025-01-01", "--days"]);
    let other = format!("{LM}base_url = \"http://127.0.0.1:9/v1\"\n");
    check(learn(ITEMS, &other, &["--days", "3"]), 2, &["[lm] names another"]);
    let wordless = ITEMS.replace("Waterproof hiking boots", "17").replace("Wool hiking socks", "4");
    check(learn(&wordless, "", &["--days", "3"]), 0, &["skipped: the catalogue has no words"]);
    // Everybody takes again what they had.
    check(learn(ITEMS, "", &["--days", "3"]), 1, &["nothing is left to learn", "intake"]);
}

/// A shop of two items and five users with 12 events each.
fn small_shop() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut rows = HEADER.to_owned();
    for n in 0..60 {
        let item = if n % 3 == 0 { "i2" } else { "i1" };
        rows += &format!("e{n},cart,u{},{item},2025-01-{:02}T00:00:{n:02}Z\n", n % 5, n / 3 + 1);
    }
    fs::write(folder.path().join("events.csv"), rows).unwrap();
    fs::write(folder.path().join("items.jsonl"), ITEMS).unwrap();
    folder
}

/// An OpenAI-compatible server on a free port that has nothing useful to say.
fn nonsense_server() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || while answer(&mut stream).is_some() {});
        }
    });
    address
}

/// Reads one request and answers it; none where the connection has ended.
fn answer(stream: &mut std::net::TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut length, mut line) = (0, String::new());
    while reader.read_line(&mut line).ok()? > 2 {
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        line.clear();
    }
    reader.read_exact(&mut vec![0; length]).ok()?;
    let body = r#"{"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"As a language model I cannot shop."}}],"usage":{"prompt_tokens":9,"completion_tokens":8}}"#;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length";
    write!(stream, "{head}: {}\r\n\r\n{body}", body.len()).ok()
}
