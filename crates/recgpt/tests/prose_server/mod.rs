//! A chat server that reads our prompts in prose and answers as a large model might: interests that cite lines,
//! tags from what it has seen of all users, verdicts of which some refuse.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// Interests and tags of one answer.
const INTERESTS: usize = 6;
const TAGS: usize = 58;

#[derive(Default)]
struct Shared {
    n_requests: AtomicUsize,
    items: Mutex<BTreeSet<String>>,
}

/// On a free port of 127.0.0.1, as long as the test process lives.
pub(crate) struct ProseServer {
    shared: Arc<Shared>,
    port: u16,
}

impl ProseServer {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&own);
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self { shared, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    pub(crate) fn n_requests(&self) -> usize {
        self.shared.n_requests.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap();
        let mut body = vec![0; length.trim().parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        self.n_requests.fetch_add(1, Ordering::SeqCst);
        let text = self.answer(&serde_json::from_slice(&body).unwrap()).to_string();
        let choice = json!({ "index": 0, "finish_reason": "stop",
            "message": { "role": "assistant", "content": text } });
        let usage = json!({ "prompt_tokens": 700, "completion_tokens": 300 });
        let body = json!({ "choices": [choice], "usage": usage }).to_string();
        let reply = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        // The client may have gone away.
        drop(stream.write_all(reply.as_bytes()));
    }

    fn answer(&self, ask: &Value) -> Value {
        let message = |idx: usize| ask["messages"][idx]["content"].as_str().unwrap();
        let (system, user) = (message(0), message(1));
        if system.starts_with("You judge") {
            return judge(system, user);
        }
        if system.contains("name the kinds of product") { self.tags(user) } else { self.mine(user) }
    }

    /// Each interest cites three lines of behaviour and names what stands on them.
    fn mine(&self, user: &str) -> Value {
        let lines: Vec<&str> = numbered(user).collect();
        let known = user.split("List of known interests: ").nth(1).unwrap().trim();
        for line in &lines {
            self.items.lock().unwrap().extend(items(line).map(str::to_owned));
        }
        let interest = |(row, name): (usize, &str)| {
            let cited = (0..3).map(|i| (row + i * INTERESTS) % lines.len());
            let (named, numbers): (Vec<&str>, Vec<usize>) =
                cited.map(|at| (lines[at], at + 1)).unzip();
            json!({ "interest": name, "stage": "long", "evidence": numbers,
                "reason": format!("chose {}", named.join(", ")) })
        };
        let interests: Vec<Value> =
            known.split("; ").take(INTERESTS).enumerate().map(interest).collect();
        json!({ "interests": interests })
    }

    /// Kinds of product that all users together have met, but not this one in the past month.
    fn tags(&self, user: &str) -> Value {
        let names: Vec<&str> = section(user, "Interests\n")
            .filter_map(|line| line.strip_prefix("- ")?.split(" (long)").next())
            .collect();
        let recent = user.split("in the past month: ").nth(1).unwrap();
        let items = self.items.lock().unwrap();
        let fresh: Vec<&String> =
            items.iter().filter(|item| item.contains(' ') && !recent.contains(*item)).collect();
        let step = (fresh.len() / TAGS).max(1);
        let tag = |(row, text): (usize, &&String)| json!({ "tag": text, "interest": names[row % names.len()], "rationale": "would like it" });
        let tags: Vec<Value> = fresh.iter().step_by(step).take(TAGS).enumerate().map(tag).collect();
        json!({ "tags": tags })
    }
}

/// Everything passes but the first tag of a request.
fn judge(system: &str, user: &str) -> Value {
    let n = section(user, "Subjects:\n").count();
    let verdict = |row: usize| {
        if system.contains("willingness:") {
            return json!({ "willingness": "spontaneity", "reasonableness": "strong" });
        }
        let relevance = if row == 0 { "no" } else { "yes" };
        json!({ "relevance": relevance, "consistency": "yes", "specificity": "yes", "validity": "yes" })
    };
    json!({ "verdicts": (0..n).map(verdict).collect::<Vec<_>>() })
}

/// Lines from a heading to the next empty line.
fn section<'a>(text: &'a str, heading: &str) -> impl Iterator<Item = &'a str> {
    let rest = text.split(heading).nth(1).unwrap_or_default();
    rest.lines().take_while(|line| !line.is_empty())
}

/// Numbered lines without their numbers.
fn numbered(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let (number, rest) = line.split_once(". ")?;
        number.parse::<usize>().ok().map(|_| rest)
    })
}

fn items(line: &str) -> impl Iterator<Item = &str> {
    line.rsplit_once('|').map_or("", |(_, items)| items).split(';')
}
