//! A server whose artefacts change while it answers.

#![expect(clippy::unwrap_used, reason = "a test stops where its support does")]

#[expect(dead_code, reason = "the other HTTP tests use the rest")]
mod shop;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serve::{Keeper, KeeperError, Live, Loaded, Recommender, ServeConfig};
use shop::{Shop, parts, request};
use types::Item;

/// Versions and items in memory, as a workspace would hold them.
#[derive(Default)]
struct Disk {
    version: String,
    kept: Vec<Item>,
    is_full: bool,
}

struct Memory(Arc<Mutex<Disk>>);

impl Keeper for Memory {
    fn mark(&self) -> Result<String, KeeperError> {
        Ok(self.0.lock().unwrap().version.clone())
    }

    fn load(&self) -> Result<Loaded, KeeperError> {
        let disk = self.0.lock().unwrap();
        let (mark, position) = (disk.version.clone(), disk.kept.len() as u64);
        if mark.starts_with("broken") {
            return Err("a table is damaged".into());
        }
        let recommender =
            Recommender::new(serve::Artefacts { model_version: mark.clone(), ..parts() })?;
        recommender.put_items(disk.kept.clone())?;
        Ok(Loaded { recommender, mark, position })
    }

    fn keep(&self, items: &[Item]) -> Result<(), KeeperError> {
        let mut disk = self.0.lock().unwrap();
        if disk.is_full {
            return Err("no space left".into());
        }
        disk.kept.extend_from_slice(items);
        Ok(())
    }

    fn kept_since(&self, position: u64) -> Result<(Vec<Item>, u64), KeeperError> {
        let kept = &self.0.lock().unwrap().kept;
        Ok((kept[position as usize..].to_vec(), kept.len() as u64))
    }
}

fn open() -> (Shop, Arc<Mutex<Disk>>) {
    let disk = Arc::new(Mutex::new(Disk { version: "v1".to_owned(), ..Disk::default() }));
    let live = Live::open(Box::new(Memory(Arc::clone(&disk)))).unwrap();
    let mut cfg = ServeConfig::new("127.0.0.1:0".parse().unwrap(), 0xabc);
    cfg.refresh_every = Duration::from_millis(20);
    (Shop::start(live, None, cfg), disk)
}

fn version(shop: &Shop) -> String {
    let slate = shop.get("/api/v1/recommend/bob?n=1").json();
    slate["model_version"].as_str().unwrap().to_owned()
}

fn wait_for(shop: &Shop, expect: &str) {
    let began = Instant::now();
    while version(shop) != expect {
        assert!(began.elapsed() < Duration::from_secs(10), "{expect} never answers");
        thread::sleep(Duration::from_millis(5));
    }
}

const GO: &str = r#"[{"item_id": "go", "title": "games of go", "category": "Games>Board", "price": 30,
    "listed_at": "2026-11-25T22:00:00Z", "attributes": {"players": "two"}}]"#;

#[test]
fn an_item_is_kept_and_found_when_its_reply_comes() {
    let (shop, disk) = open();
    let wanted = "/api/v1/recommend/new?n=1&text=games%20for%20two&category=Games%20%3E%20Board";
    assert_eq!(shop.get(wanted).status, 400, "no such category yet");
    let reply = shop.post("/api/v1/items", GO);
    assert_eq!((reply.status, reply.json()["added"].as_u64()), (200, Some(1)), "{reply:?}");
    assert_eq!(shop.get(wanted).items("item_id"), ["go"]);
    assert_eq!(disk.lock().unwrap().kept.len(), 1);
    // the same again is no news; alone instead of in a list
    let reply = shop.post("/api/v1/items", GO.trim_matches(['[', ']']));
    assert_eq!(
        (reply.json()["added"].as_u64(), reply.json()["updated"].as_u64()),
        (Some(0), Some(0))
    );

    disk.lock().unwrap().is_full = true;
    let other = GO.replace("\"go\"", "\"other\"");
    let refused = shop.post("/api/v1/items", &other);
    assert_eq!((refused.status, refused.error().0.as_str()), (503, "not_kept"));
    assert_eq!(shop.get("/api/v1/recommend/new?exclude=other").json()["missing_ids"][0], "other");
    disk.lock().unwrap().is_full = false;

    // what another program keeps comes by itself
    let items =
        vec![Item { item_id: "late".to_owned(), title: "games".to_owned(), ..Item::default() }];
    disk.lock().unwrap().kept.extend(items);
    let began = Instant::now();
    while shop.get("/api/v1/recommend/new?exclude=late").json()["missing_ids"].is_array() {
        assert!(began.elapsed() < Duration::from_secs(10), "it never comes");
    }
}

#[test]
fn wrong_items_are_named_and_none_of_them_is_kept() {
    let (shop, disk) = open();
    for (body, code, part) in [
        ("[]", "invalid_body", "0 items"),
        ("3", "invalid_body", "an item or a list of items"),
        (r#"[{"title": "x"}]"#, "invalid_body", "item_id"),
        (r#"[{"item_id": "a", "price": "1"}]"#, "invalid_body", "[0].price"),
        (r#"[{"item_id": "a", "titel": "1"}]"#, "invalid_body", "titel"),
        (r#"[{"item_id": "a", "title": "ok"}, {"item_id": " "}]"#, "invalid_item", "needs an id"),
        (r#"{"item_id": "a", "title": "ok", "price": -1}"#, "invalid_item", "\"a\" has a price"),
        (r#"{"item_id": "a"}"#, "invalid_item", "needs a title"),
        (r#"{"item_id": "a", "title": "b", "listed_at": "soon"}"#, "invalid_parameter", "RFC 3339"),
    ] {
        let reply = shop.post("/api/v1/items", body);
        let (got, message) = reply.error();
        assert_eq!((reply.status, got.as_str()), (400, code), "{body}: {message}");
        assert!(message.contains(part), "{body}: {message}");
    }
    assert!(disk.lock().unwrap().kept.is_empty());
}

#[test]
fn versions_change_under_load_and_every_reply_is_whole() {
    let (shop, disk) = open();
    shop.post("/api/v1/items", GO);
    let stop = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> = (0..2)
        .map(|_| {
            let (stop, addr) = (Arc::clone(&stop), shop.addr);
            thread::spawn(move || {
                let mut versions = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    let target = "/api/v1/recommend/ann%2F1?n=4&text=games%20for%20two";
                    let reply = request(addr, "GET", target, "").expect("the server answers");
                    assert_eq!((reply.status, reply.items("item_id").len()), (200, 4), "{reply:?}");
                    assert!(reply.items("item_id").contains(&"go".to_owned()), "{reply:?}");
                    versions.push(reply.json()["model_version"].as_str().unwrap().to_owned());
                }
                versions.dedup();
                versions
            })
        })
        .collect();
    for name in ["v2", "v3", "v2", "v1"] {
        disk.lock().unwrap().version = name.to_owned();
        wait_for(&shop, name);
    }
    // what cannot be loaded leaves the old one in its place
    disk.lock().unwrap().version = "broken".to_owned();
    let refused = shop.post("/api/v1/admin/reload", "");
    assert_eq!((refused.status, refused.error().0.as_str()), (503, "not_kept"));
    assert_eq!(version(&shop), "v1");
    disk.lock().unwrap().version = "v4".to_owned();
    shop.post("/api/v1/admin/reload", "");
    assert_eq!(version(&shop), "v4");
    stop.store(true, Ordering::SeqCst);
    for asking in asking {
        let versions = asking.join().expect("no reply was wrong");
        let mut order = ["v1", "v2", "v3", "v2", "v1", "v4"].iter();
        assert!(versions.iter().all(|v| order.any(|o| o == v)), "{versions:?}");
    }
    assert!(shop.get("/metrics").body.contains("recgpt_refreshes_total{outcome=\"failed\"} 1"));
}
