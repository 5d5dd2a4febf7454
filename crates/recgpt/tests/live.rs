//! Drives the real server while its shop changes: items that come, a crash, another training, a rollback,
//! an import.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

const HEADER: &str = "event_id,event_type,user_id,item_id,timestamp\n";

/// Kinds of product: category, words of titles.
const KINDS: [(&str, &str); 6] = [
    ("Sports > Hiking > Boots", "waterproof hiking boots"),
    ("Sports > Hiking > Tents", "light hiking tent"),
    ("Kitchen > Coffee", "gooseneck coffee kettle"),
    ("Baby > Bath", "baby bath thermometer"),
    ("Games > Board", "wooden chess board"),
    ("Music > Strings", "acoustic guitar strings"),
];

/// Items of each kind.
const EACH: usize = 15;

/// Everybody likes the items of one kind.
fn rows(from: usize, n: usize) -> String {
    (from..from + n)
        .map(|n| {
            let (user, turn) = (n % 48, n / 48);
            let item = (user * 7 + turn * 5) % EACH * KINDS.len() + user % KINDS.len();
            let (day, second) = (turn % 28 + 1, n % 60);
            format!("e{n},purchase,u{user},i{item},2025-01-{day:02}T00:00:{second:02}Z\n")
        })
        .collect()
}

/// A folder with a shop's files and configuration.
struct Shop {
    dir: tempfile::TempDir,
}

impl Shop {
    fn new() -> Self {
        let shop = Self { dir: tempfile::tempdir().unwrap() };
        let items: String = (0..KINDS.len() * EACH)
            .map(|row| {
                let (category, words) = KINDS[row % KINDS.len()];
                let (merchant, price) = (row % 4, 10 + row);
                format!("{{\"item_id\":\"i{row}\",\"title\":\"{words} no {row}\",\"category\":\"{category}\",\"merchant_id\":\"m{merchant}\",\"price\":{price}}}\n")
            })
            .collect();
        fs::write(shop.path("items.jsonl"), items).unwrap();
        fs::write(shop.path("log.csv"), format!("{HEADER}{}", rows(0, 1200))).unwrap();
        let config = format!(
            "name = \"t\"\nworkspace = {:?}\n[import]\nn_buckets = 4\n[import.items]\nfiles = [\"items.jsonl\"]\n\
             [import.events]\nfiles = [\"log.csv\"]\n[intent]\nusers = 2\nmine_rounds = 1\nrounds = 1\n\
             [towers]\nepochs = 3\nmax_steps = 60\n",
            shop.path("ws")
        );
        fs::write(shop.path("c.toml"), config).unwrap();
        shop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_recgpt"));
        command.args(args).current_dir(self.dir.path());
        command
    }

    /// Runs a command, and gives what it says.
    #[track_caller]
    fn check(&self, args: &[&str], code: i32, expect: &str) -> String {
        check_command(self.command(args), code, expect)
    }

    /// Trains the towers anew and makes their index: a release.
    fn train_again(&self) {
        for step in ["train", "index"] {
            let mut command = self.command(&[step, "--workspace", "ws"]);
            command.env("RECGPT__TOWERS__EPOCHS", "4");
            check_command(command, 0, step);
        }
    }
}

#[track_caller]
fn check_command(mut command: Command, code: i32, expect: &str) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(expect), "{expect:?} is not in: {text}");
    text
}

/// A running server.
struct Server {
    child: Child,
    base: String,
}

impl Server {
    fn start(shop: &Shop) -> Self {
        let mut child = shop
            .command(&["serve", "--workspace", "ws", "--listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines.find(|l| l.as_ref().is_ok_and(|l| l.contains("listening"))).unwrap();
        let line = line.unwrap();
        let base = line.split_whitespace().find(|w| w.starts_with("http://")).unwrap();
        let base = base.trim_end_matches(';').to_owned();
        thread::spawn(move || lines.count()); // what it says later goes nowhere
        Self { child, base }
    }

    fn get(&self, path: &str) -> Value {
        get(&self.base, path)
    }

    fn post(&self, path: &str, body: &str) -> Value {
        let request = ureq::post(format!("{}{path}", self.base));
        let mut reply = request.header("content-type", "application/json").send(body).unwrap();
        serde_json::from_str(&reply.body_mut().read_to_string().unwrap()).unwrap()
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    fn version(&self) -> String {
        self.get("/api/v1/recommend/u1?n=1")["model_version"].as_str().unwrap().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn wait(what: &str, is_so: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
    began.elapsed()
}

fn get(base: &str, path: &str) -> Value {
    let mut reply = ureq::get(format!("{base}{path}")).call().unwrap();
    serde_json::from_str(&reply.body_mut().read_to_string().unwrap()).unwrap()
}

fn ids(slate: &Value) -> Vec<&str> {
    slate["items"].as_array().unwrap().iter().map(|i| i["item_id"].as_str().unwrap()).collect()
}

const KETTLES: &str = "/api/v1/recommend/somebody?n=20&per_category=0&text=gooseneck+coffee+kettle";

#[test]
#[expect(clippy::print_stderr, reason = "figures are for the reader of a test run")]
fn a_shop_changes_while_its_server_answers() {
    let shop = Shop::new();
    shop.check(&["run", "--config", "c.toml"], 0, "release      0001-");
    let mut server = Server::start(&shop);
    requests_of_all_kinds(&shop, &server);

    let item = r#"{"item_id": "fresh", "title": "gooseneck coffee kettle of copper",
        "category": "Kitchen > Coffee > Kettles", "price": 70, "merchant_id": "m9"}"#;
    assert!(!ids(&server.get(KETTLES)).contains(&"fresh"));
    let began = Instant::now();
    let reply = server.post("/api/v1/items", item);
    let found = ids(&server.get(KETTLES)).contains(&"fresh");
    let took = began.elapsed();
    eprintln!(
        "an item is found {took:?} after it was posted; the server needed {} ms",
        reply["took_millis"]
    );
    assert!(found && took < Duration::from_secs(10), "{reply} {took:?}");

    server.signal("-KILL");
    server.child.wait().unwrap();
    server = Server::start(&shop);
    assert!(ids(&server.get(KETTLES)).contains(&"fresh"), "it outlives a crash");

    fs::write(shop.path("late.jsonl"), item.replace("fresh", "late").replace('\n', " ")).unwrap();
    shop.check(&["items", "add", "--workspace", "ws", "late.jsonl"], 0, "1 items kept");
    let took = wait("the item of another program", || ids(&server.get(KETTLES)).contains(&"late"));
    eprintln!("an item of another program is found {took:?} after it was kept");
    let slate = shop.check(
        &["recommend", "--workspace", "ws", "--json", "--text", "coffee kettle"],
        0,
        "late",
    );
    assert!(slate.contains("\"wishes\""), "{slate}");

    versions_change_under_load(&shop, &server);

    // the next import makes them part of the catalogue, and the server goes on with it
    fs::write(
        shop.path("more.csv"),
        format!("{HEADER}{}x,purchase,newcomer,i0,2025-02-01T00:00:00Z\n", rows(1200, 40)),
    )
    .unwrap();
    shop.check(&["import", "--config", "c.toml", "--append", "more.csv"], 0, "on 92 items");
    wait("the newcomer's history", || {
        server.get("/api/v1/recommend/newcomer?n=1")["signals"] == serde_json::json!(["history"])
    });
    assert!(ids(&server.get(KETTLES)).contains(&"fresh"));
    server.signal("-TERM");
    assert!(server.child.wait().unwrap().success(), "SIGTERM drains and ends well");
}

/// The same requests by HTTP and by command.
fn requests_of_all_kinds(shop: &Shop, server: &Server) {
    let by_text =
        server.get("/api/v1/recommend/somebody?n=5&per_category=0&text=waterproof+hiking+boots");
    let titles: Vec<&str> =
        by_text["items"].as_array().unwrap().iter().map(|i| i["title"].as_str().unwrap()).collect();
    assert!(titles.iter().all(|title| title.contains("hiking boots")), "{titles:?}");
    let filtered =
        "/api/v1/recommend/u1?n=20&category=Sports&merchant=m1&min_price=20&max_price=90";
    for item in server.get(filtered)["items"].as_array().unwrap() {
        assert!(item["category"].as_str().unwrap().starts_with("Sports > Hiking"), "{item}");
        let row: usize = item["item_id"].as_str().unwrap()[1..].parse().unwrap();
        assert!(row % 4 == 1 && (20..=90).contains(&(10 + row)), "{item}");
    }
    let session = server.get("/api/v1/recommend/somebody?n=5&session=i4,i10");
    assert_eq!(session["signals"], serde_json::json!(["session"]));
    assert_eq!(server.get("/api/v1/recommend/somebody?n=5")["fallback"], "unknown_user");
    let slate = |args: &[&str]| -> Value {
        let base = ["recommend", "--workspace", "ws", "--json", "--n", "5"];
        let output = shop.command(&[&base, args].concat()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let again = slate(&["--text", "waterproof hiking boots", "--per-category", "0"]);
    assert_eq!(ids(&again), ids(&by_text));
    assert_eq!(ids(&slate(&["--session", "i4,i10"])), ids(&session));
    let recommend = ["recommend", "--workspace", "ws"];
    for (args, expect) in [
        (&["--user", "u1", "--category", "Boots"][..], "perhaps \"Sports > Hiking > Boots\""),
        (&["--user", "u1", "--min-price", "9", "--max-price", "8"], "at most max_price"),
        (&["--user", "u1", "--beta", "1.5"], "from 0 to 1"),
        (&[], "--user"),
    ] {
        shop.check(&[&recommend[..], args].concat(), 2, expect);
    }
}

/// Requests in a loop while another training comes into service, goes, and comes back: every reply is
/// whole, and all of one version are the same.
#[expect(clippy::print_stderr, reason = "figures are for the reader of a test run")]
fn versions_change_under_load(shop: &Shop, server: &Server) {
    let stop = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> = (0..2)
        .map(|_| {
            let (stop, base) = (Arc::clone(&stop), server.base.clone());
            thread::spawn(move || {
                let (mut slates, mut n) = (BTreeMap::<String, Value>::new(), 0);
                while !stop.load(Ordering::SeqCst) {
                    let slate =
                        get(&base, "/api/v1/recommend/u3?n=10&text=gooseneck+coffee+kettle");
                    let version = slate["model_version"].as_str().unwrap().to_owned();
                    let items = slate["items"].clone();
                    assert_eq!(items.as_array().unwrap().len(), 10, "{slate}");
                    assert_eq!(slates.entry(version).or_insert_with(|| items.clone()), &items);
                    n += 1;
                }
                (slates, n)
            })
        })
        .collect();
    let first = server.version();
    shop.train_again();
    wait("the new release", || server.version().starts_with("0002-"));
    let second = server.version();
    shop.check(&["rollback", "--workspace", "ws"], 0, &format!("release {first} answers"));
    let took = wait("the release before", || server.version() == first);
    eprintln!("the release before answers {took:?} after the rollback");
    shop.check(&["rollback", "--workspace", "ws"], 2, "none before the one that answers");
    shop.check(&["rollback", "--workspace", "ws", "--to", "9"], 2, &second);
    shop.check(&["rollback", "--workspace", "ws", "--to", &second], 0, "answers instead of");
    server.signal("-HUP");
    wait("the new release again", || server.version() == second);
    let kept = shop.check(&["rollback", "--workspace", "ws", "--list"], 0, &first);
    assert!(kept.contains(&format!("{second}  answers")), "{kept}");
    stop.store(true, Ordering::SeqCst);
    let mut n_replies = 0;
    for asking in asking {
        let (slates, n) = asking.join().expect("every reply is whole and of one version");
        assert_eq!(slates.keys().collect::<Vec<_>>(), [&first, &second]);
        assert_ne!(slates[&first], slates[&second], "the releases differ");
        n_replies += n;
    }
    eprintln!("{n_replies} replies while the versions changed three times");
}
