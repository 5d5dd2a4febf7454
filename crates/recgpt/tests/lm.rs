//! Drives the real binary as a server of its language model, and its other commands on models.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

const PROMPT: &str = "<|mine|>2026-11 autumn|34,female,Lyon,flat\n3d(cart,search:trail shoes)|trail \
                      running shoes\n<|interests|>";

fn recgpt(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_recgpt")).args(args).output().unwrap()
}

/// `recgpt lm serve` on a free port; ended when dropped.
struct Server {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    url: String,
}

impl Server {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_recgpt"))
            .args(["lm", "serve", "--listen", "127.0.0.1:0"])
            .args(args)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("listening on ") {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "the server ended early");
        }
        let url = line["listening on ".len()..].split(';').next().unwrap().to_owned();
        Self { child, stderr, url }
    }

    fn complete(&self, model: &str) -> Value {
        let ask = json!({ "model": model, "prompt": PROMPT, "temperature": 0, "max_tokens": 20 });
        let mut reply = ureq::post(format!("{}/completions", self.url)).send_json(&ask).unwrap();
        reply.body_mut().read_json().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn the_built_in_model_is_served_until_a_signal() {
    let mut server = Server::start(&["--name", "shop-lm"]);
    let reply = server.complete("shop-lm");
    assert_eq!(reply["usage"]["completion_tokens"], 20, "{reply}");
    let pid = server.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(server.child.wait().unwrap().success(), "SIGTERM drains and ends it");
    let mut rest = String::new();
    server.stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

/// The `openai` package of `python3` (or of `RECGPT_PYTHON`) against the real server.
#[test]
#[expect(clippy::print_stderr, reason = "says that it is skipped")]
#[expect(clippy::disallowed_methods, reason = "the interpreter is the choice of who runs the test")]
fn the_openai_package_understands_the_server() {
    let python = std::env::var("RECGPT_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let there = Command::new(&python).args(["-c", "import openai"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: {python} has no package openai");
        return;
    }
    let server = Server::start(&[]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/openai_client.py");
    let output = Command::new(&python).arg(script).arg(&server.url).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_model_in_eight_bits_is_smaller_and_served_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small");
    let builtin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/builtin");
    let builtin = builtin.to_str().unwrap();
    let output = recgpt(&["lm", "quantize", builtin, small.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let size = |dir: &Path| std::fs::metadata(dir.join("model.safetensors")).unwrap().len();
    assert!(size(&small) * 10 < size(Path::new(builtin)) * 7);
    let server = Server::start(&["--model", small.to_str().unwrap()]);
    let text = server.complete("small")["choices"][0]["text"].as_str().unwrap().to_owned();
    let exact = Server::start(&["--model", builtin, "--weights", "f32", "--kv", "f32"]);
    let want = exact.complete("builtin")["choices"][0]["text"].as_str().unwrap().to_owned();
    let same = text.bytes().zip(want.bytes()).take_while(|(a, b)| a == b).count();
    assert!(same >= 8, "{text:?} begins as {want:?}");
}

#[test]
fn wrong_usage_is_told_before_anything_starts() {
    let check = |args: &[&str], code: i32, part: &str| {
        let output = recgpt(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(part), "{part:?} is missing in {stderr:?}");
    };
    check(&["lm", "serve", "--listen", "0.0.0.0:0"], 2, "--api-key-env");
    check(&["lm", "serve", "--api-key-env", "RECGPT_NO_SUCH_KEY"], 2, "RECGPT_NO_SUCH_KEY");
    check(&["lm", "serve", "--model", "/nowhere/model"], 1, "/nowhere/model/tokenizer.json");
    check(&["lm", "serve", "--weights", "int3"], 2, "fp8");
    check(&["lm", "quantize", "a", "a"], 2, "the one to read");
}
