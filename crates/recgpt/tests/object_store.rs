//! Imports from URLs with the real binary. Built with `--features object-store` it reads them; without,
//! it says how to build it.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::fs;
use std::path::Path;
use std::process::Command;

mod common;

use common::check;

const HEADER: &str = "event_id,event_type,user_id,item_id,timestamp\n";
const ITEMS: &str =
    "{\"item_id\":\"i1\",\"title\":\"Hiking boots\",\"category\":\"Sports > Boots\"}\n";

/// Runs `import` on these entries of `files`; exit code and message.
fn import(folder: &Path, files: &str, environment: &[(&str, &str)]) -> (i32, String) {
    fs::write(folder.join("items.jsonl"), ITEMS).unwrap();
    let config = format!(
        "name = \"t\"\nworkspace = \"ws\"\n[import.items]\nfiles = [\"items.jsonl\"]\n\
         [import.events]\nfiles = {files}\n"
    );
    fs::write(folder.join("c.toml"), config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_recgpt"))
        .args(["import", "--config", "c.toml"])
        .envs(environment.iter().copied())
        .current_dir(folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or(-1), text)
}

/// Events `from..to` as CSV.
fn rows(from: usize, to: usize) -> String {
    let row = |n: usize| format!("e{n},click,u{},i1,2025-01-01T00:00:{n:02}Z\n", n % 4);
    format!("{HEADER}{}", (from..to).map(row).collect::<String>())
}

#[cfg(not(feature = "object-store"))]
#[test]
fn a_url_is_refused_with_the_feature_that_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("1.csv"), rows(0, 4)).unwrap();
    for url in ["s3://bucket/log/*.csv", "https://host/1.csv", "file:///tmp/1.csv"] {
        let files = format!("[\"1.csv\", \"{url}\"]");
        check(import(folder.path(), &files, &[]), 2, &[url, "--features object-store"]);
    }
}

#[cfg(feature = "object-store")]
mod built {
    use std::collections::BTreeMap;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};

    use super::{Path, check, fs, import, rows};

    /// A server on loopback: objects by path, ranges of them, and the listing of S3 below `/bucket`.
    struct Server {
        address: String,
        /// Every request line.
        asked: Arc<Mutex<Vec<String>>>,
    }

    type Objects = BTreeMap<String, Vec<u8>>;

    impl Server {
        fn new(objects: &[(&str, Vec<u8>)]) -> Self {
            let objects: Objects =
                objects.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.clone())).collect();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = format!("http://{}", listener.local_addr().unwrap());
            let asked = Arc::new(Mutex::new(Vec::new()));
            let (objects, noted) = (Arc::new(objects), Arc::clone(&asked));
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (objects, noted) = (Arc::clone(&objects), Arc::clone(&noted));
                    std::thread::spawn(
                        move || while answer(&stream, &objects, &noted).is_some() {},
                    );
                }
            });
            Self { address, asked }
        }

        fn asked(&self) -> Vec<String> {
            self.asked.lock().unwrap().clone()
        }
    }

    /// Answers one request; none where the client has gone.
    fn answer(stream: &TcpStream, objects: &Objects, noted: &Mutex<Vec<String>>) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let (mut first, mut range) = (String::new(), None);
        reader.read_line(&mut first).ok().filter(|n| *n > 0)?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            if line.trim().is_empty() {
                break;
            }
            let lower = line.to_lowercase();
            range = range.or_else(|| lower.trim().strip_prefix("range: bytes=").map(str::to_owned));
        }
        noted.lock().unwrap().push(first.trim().to_owned());
        let mut words = first.split_whitespace();
        let (method, target) = (words.next()?, words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (status, body) = if query.contains("list-type=2") {
            ("200 OK", listing(objects, query).into_bytes())
        } else {
            match (objects.get(path), range) {
                (Some(bytes), None) => ("200 OK", bytes.clone()),
                (Some(bytes), Some(range)) => {
                    let (from, to) = range.split_once('-')?;
                    let (from, to): (usize, usize) = (from.parse().ok()?, to.parse().ok()?);
                    let part = bytes[from..bytes.len().min(to + 1)].to_vec();
                    let head = format!(
                        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{}\r\n",
                        from + part.len() - 1,
                        bytes.len()
                    );
                    return send(stream, &head, &part, method);
                }
                (None, _) => ("404 Not Found", Vec::new()),
            }
        };
        send(stream, &format!("HTTP/1.1 {status}\r\n"), &body, method)
    }

    fn send(mut stream: &TcpStream, head: &str, body: &[u8], method: &str) -> Option<()> {
        let head = format!(
            "{head}Content-Length: {}\r\nETag: \"1\"\r\nLast-Modified: Wed, 01 Jan 2025 00:00:00 GMT\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        if method == "GET" { stream.write_all(body).ok() } else { Some(()) }
    }

    fn listing(objects: &Objects, query: &str) -> String {
        let prefix = query.split('&').find_map(|part| part.strip_prefix("prefix=")).unwrap_or("");
        let prefix = prefix.replace("%2F", "/");
        let object = |(path, bytes): (&String, &Vec<u8>)| {
            let key = path.strip_prefix("/bucket/").filter(|key| key.starts_with(&prefix))?;
            let key = key.replace("%20", " ").replace("%5B", "[").replace("%5D", "]");
            Some(format!(
                "<Contents><Key>{key}</Key><LastModified>2025-01-01T00:00:00.000Z</LastModified>\
                 <ETag>\"1\"</ETag><Size>{}</Size></Contents>",
                bytes.len()
            ))
        };
        let contents: String = objects.iter().filter_map(object).collect();
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult><Name>bucket</Name>\
             <IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
        )
    }

    fn packed(text: &str) -> Vec<u8> {
        zstd::encode_all(text.as_bytes(), 1).unwrap()
    }

    #[test]
    fn files_over_http_are_streamed_and_missing_ones_are_named() {
        let server = Server::new(&[
            ("/log/1.csv", rows(0, 20).into_bytes()),
            ("/log/2.csv.zst", packed(&rows(20, 40))),
        ]);
        let folder = tempfile::tempdir().unwrap();
        let run = |files: &str| import(folder.path(), files, &[]);
        let (one, two) =
            (format!("{}/log/1.csv", server.address), format!("{}/log/2.csv.zst", server.address));
        check(run(&format!("[{one:?}, {two:?}]")), 0, &["40 events of 4 users"]);
        let missing = format!("{}/log/3.csv", server.address);
        check(run(&format!("[{missing:?}]")), 1, &["cannot open", "/log/3.csv"]);
        for refused in ["/log/", "/log/*.csv", "/1.csv?signature=x"] {
            let url = format!("{}{refused}", server.address);
            check(run(&format!("[{url:?}]")), 2, &[&url, "name one file"]);
        }
        check(run("[\"ftp://host/1.csv\"]"), 2, &["ftp://host/1.csv", "s3, gs, az"]);
    }

    #[test]
    fn a_bucket_is_listed_by_folder_and_pattern() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::new(&[
            ("/bucket/log/2025-01/1.csv", rows(0, 10).into_bytes()),
            ("/bucket/log/2025-01/_SUCCESS", Vec::new()),
            ("/bucket/log/2025-02/a%20%5Bb%5D.csv.zst", packed(&rows(10, 30))),
            ("/bucket/log/2025-02/notes.txt", b"none".to_vec()),
            ("/bucket/log/2024-12/0.csv", rows(30, 40).into_bytes()),
        ]);
        let environment = [
            ("AWS_ENDPOINT", server.address.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "us-east-1"),
        ];
        let run = |files: &str| import(folder.path(), files, &environment);
        check(run("[\"s3://bucket/log/\"]"), 0, &["40 events of 4 users"]);
        check(run("[\"s3://bucket/log/2025-*/*.csv*\"]"), 0, &["30 events of 4 users"]);
        check(run("[\"s3://bucket/log/**/[01].csv\"]"), 0, &["20 events of 4 users"]);
        check(run("[\"s3://bucket/log/2025-02/a%20%5Bb%5D.csv.zst\"]"), 0, &["20 events"]);
        check(run("[\"s3://bucket/log/*.xml\"]"), 2, &["s3://bucket/log/*.xml", "holds no file"]);
        check(run("[\"s3://bucket/nowhere.csv\"]"), 1, &["cannot open", "s3://bucket/nowhere.csv"]);
        assert!(
            server.asked().iter().all(|line| line.starts_with("GET") || line.starts_with("HEAD"))
        );
        // What was imported is known by address, size and time.
        let listed = fs::read_to_string(folder.path().join("ws/imports.json")).unwrap();
        assert!(listed.contains("s3://bucket/log/2025-02/a%20%5Bb%5D.csv.zst"), "{listed}");
    }

    #[test]
    fn parquet_is_read_by_ranges() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("1.csv"), rows(0, 40)).unwrap();
        check(import(folder.path(), "[\"1.csv\"]", &[]), 0, &["40 events"]);
        let mut objects = Vec::new();
        for bucket in 0..16 {
            let part = folder.path().join(format!("ws/events/bucket={bucket:04}"));
            for entry in fs::read_dir(part).into_iter().flatten() {
                let bytes = fs::read(entry.unwrap().path()).unwrap();
                objects.push((format!("/part-{bucket}.parquet"), bytes));
            }
        }
        let objects: Vec<(&str, Vec<u8>)> =
            objects.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())).collect();
        let server = Server::new(&objects);
        let urls: Vec<String> =
            objects.iter().map(|(path, _)| format!("{}{path}", server.address)).collect();
        let other = tempfile::tempdir().unwrap();
        check(import(other.path(), &format!("{urls:?}"), &[]), 0, &["40 events of 4 users"]);
        assert_eq!(manifest(other.path()), manifest(folder.path()));
        let whole = &objects[0].1;
        let half = Server::new(&[("/half.parquet", whole[..whole.len() / 2].to_vec())]);
        let url = format!("{}/half.parquet", half.address);
        check(import(other.path(), &format!("[{url:?}]"), &[]), 1, &["not readable as Parquet"]);
    }

    fn manifest(folder: &Path) -> String {
        fs::read_to_string(folder.join("ws/events/manifest.json")).unwrap()
    }

    #[test]
    fn a_url_of_a_local_file_is_that_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a b")).unwrap();
        fs::write(folder.path().join("a b/1.csv"), rows(0, 10)).unwrap();
        fs::write(folder.path().join("a b/2.csv"), rows(10, 30)).unwrap();
        let root = format!("file://{}/a%20b", folder.path().display());
        for (entry, events) in
            [("/1.csv", "10 events"), ("/", "30 events"), ("/[2-9].csv", "20 events")]
        {
            let files = format!("[\"{root}{entry}\"]");
            check(import(folder.path(), &files, &[]), 0, &[events]);
        }
        check(import(folder.path(), "[\"file://host/1.csv\"]", &[]), 2, &["file:///"]);
    }
}
