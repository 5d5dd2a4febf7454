//! A chat-completions server for tests: a closure from the request's JSON to a reply, good or bad.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// What the stub does with one request.
pub(crate) enum Reply {
    /// Status, further header lines, body.
    Http(u16, String, String),
    /// Reads the request, then says nothing for a while.
    Stall(Duration),
    /// Closes the connection without an answer.
    HangUp,
    /// Promises a body, sends this part of it and closes the connection.
    Cut(String),
}

impl Reply {
    pub(crate) fn status(status: u16, body: &str) -> Self {
        Self::Http(status, String::new(), body.to_owned())
    }

    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        match self {
            Self::Http(status, headers, body) => {
                Self::Http(status, format!("{headers}{name}: {value}\r\n"), body)
            }
            Self::Stall(_) | Self::HangUp | Self::Cut(_) => self,
        }
    }
}

/// A well-formed reply that counts 3 prompt tokens and one completion token per word.
pub(crate) fn chat_reply(text: &str, finish: &str) -> Reply {
    let usage = json!({ "prompt_tokens": 3, "completion_tokens": text.split_whitespace().count() });
    let choice = json!({ "index": 0, "message": { "role": "assistant", "content": text },
        "finish_reason": finish });
    Reply::status(200, &json!({ "choices": [choice], "usage": usage }).to_string())
}

type Answer = dyn Fn(&Value) -> Reply + Send + Sync;

struct Shared {
    answer: Box<Answer>,
    n_requests: AtomicUsize,
    last_head: Mutex<String>,
}

/// A server on a free port of 127.0.0.1 that lives as long as the test process.
pub(crate) struct StubServer {
    shared: Arc<Shared>,
    port: u16,
}

impl StubServer {
    pub(crate) fn start(answer: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            n_requests: AtomicUsize::new(0),
            last_head: Mutex::default(),
        });
        let for_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&for_thread);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { shared, port }
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    pub(crate) fn n_requests(&self) -> usize {
        self.shared.n_requests.load(Ordering::SeqCst)
    }

    /// Request line and headers of the last request.
    pub(crate) fn last_head(&self) -> String {
        self.shared.last_head.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let length =
        |line: &str| line.to_lowercase().strip_prefix("content-length:").map(str::to_owned);
    let length = head.lines().find_map(length).map_or(0, |n| n.trim().parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    shared.n_requests.fetch_add(1, Ordering::SeqCst);
    *shared.last_head.lock().unwrap() = head;
    match (shared.answer)(&serde_json::from_slice(&body).unwrap()) {
        Reply::Http(status, headers, body) => {
            let reply = format!(
                "HTTP/1.1 {status} Stub\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                 Connection: close\r\n{headers}\r\n{body}",
                body.len()
            );
            // The client may have gone away after its time-out.
            let _ = stream.write_all(reply.as_bytes());
        }
        Reply::Stall(pause) => std::thread::sleep(pause),
        Reply::HangUp => {}
        Reply::Cut(part) => {
            let reply = format!(
                "HTTP/1.1 200 Stub\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{part}",
                part.len() + 100
            );
            let _ = stream.write_all(reply.as_bytes());
        }
    }
}
