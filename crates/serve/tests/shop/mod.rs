//! A shop of eight items with hand-made vectors, and a client that speaks HTTP over a plain socket.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use retrieval::{IndexKind, ItemIndex, Merge, Popularity};
use serde_json::Value;
use serve::{
    Artefacts, Encoder, Fusion, Live, Reasoner, Recommender, RunningServer, Seen, ServeConfig,
};
use types::{
    Catalogue, EventType, Interaction, Interest, InterestProfile, InterestSource, InterestStage,
    Item, ItemId, Tag, Taxonomy, Timestamp, UserId,
};

/// Dimension 0: hiking, 1: coffee, 2: baby, 3: games.
struct Script;

impl Encoder for Script {
    fn user_vector(&self, _: UserId, history: &[Interaction]) -> Vec<f32> {
        // the history decides: hiking when there is one
        if history.is_empty() { vec![0.0, 0.0, 0.0, 1.0] } else { vec![1.0, 0.1, 0.0, 0.0] }
    }

    fn tag_vector(&self, tag: &str) -> Vec<f32> {
        match tag {
            "gooseneck kettle" => vec![0.0, 1.0, 0.0, 0.0],
            "baby bath thermometer" => vec![0.0, 0.0, 1.0, 0.0],
            "games for two" => vec![0.0, 0.0, 0.0, 1.0],
            _ => vec![0.0; 4],
        }
    }

    fn item_vector(&self, item: &Item) -> Vec<f32> {
        let topics = ["hiking", "coffee", "baby", "games"];
        topics.map(|topic| f32::from(item.title.contains(topic))).to_vec()
    }

    fn push_item(&mut self, _: &Item) {}
}

/// Users: `ann/1` with interests and tags, `bob` without, `名前` with a history of one event.
pub(crate) fn parts() -> Artefacts {
    let items = [
        ("boots", "Trail Boots", "Sports > Hiking", [1.0, 0.0, 0.0, 0.0]),
        ("tent", "Light Tent", "Sports > Hiking", [0.9, 0.0, 0.0, 0.0]),
        ("poles", "Trekking Poles", "Sports > Hiking", [0.8, 0.0, 0.0, 0.0]),
        ("kettle", "Gooseneck Kettle", "Kitchen > Coffee", [0.0, 0.9, 0.0, 0.0]),
        ("beans", "Whole Bean Coffee", "Kitchen > Coffee", [0.0, 0.7, 0.0, 0.0]),
        ("bath", "Bath Thermometer", "Baby", [0.0, 0.0, 0.9, 0.0]),
        ("chess", "Chess Board", "Games", [0.0, 0.0, 0.0, 1.0]),
        ("a,b", "Odd Id", "Games", [0.0, 0.0, 0.0, 0.9]),
    ];
    let taxonomy = Taxonomy::from_paths(items.iter().map(|i| i.2));
    let vectors = items.iter().flat_map(|i| i.3).collect();
    let merchants = ["Peak", "Peak", "Dale", "Roast", "Roast", "Kin", "Play", "Play"];
    let mut rows = 0..;
    let catalogue = items.map(|(item_id, title, path, _)| {
        let row = rows.next().unwrap();
        Item {
            merchant_id: Some(merchants[row].to_owned()),
            price: (row > 0).then_some(10.0 * row as f64),

            item_id: item_id.to_owned(),
            title: title.to_owned(),
            category_path: path.to_owned(),
            category: taxonomy.find(path),
            ..Item::default()
        }
    });
    let row = |user, day, item, event_type| Interaction {
        user: UserId(user),
        timestamp: Timestamp(0).plus_days(day),
        item: ItemId(item),
        event_type,
    };
    let histories = vec![
        row(0, 1, 0, EventType::Purchase),
        row(0, 2, 4, EventType::Click),
        row(1, 1, 6, EventType::Click),
        row(1, 2, 0, EventType::Click),
        row(2, 3, 6, EventType::Click),
    ];
    let now = Timestamp(0).plus_days(10);
    Artefacts {
        popularity: Popularity::new(&histories, items.len(), now, None),
        catalogue: Catalogue::new(catalogue.to_vec()).unwrap(),
        taxonomy,
        encoder: Box::new(Script),
        index: ItemIndex::build(vectors, 4, IndexKind::Exact).unwrap(),
        user_ids: ["ann/1", "bob", "名前"].map(str::to_owned).to_vec(),
        histories,
        interests: BTreeMap::from([(UserId(0), profile(now))]),
        tags: BTreeMap::from([(UserId(0), tags())]),
        fusion: fusion(),
        now,
        model_version: "test-1".to_owned(),
    }
}

pub(crate) fn fusion() -> Fusion {
    Fusion {
        beta: 0.5,
        wish_beta: 0.25,
        seen: Seen::Exclude,
        repeat_weight: 0.0,
        quota: 2,
        merge: Merge::TagQuota,
        per_category: 0,
        per_merchant: 0,
        new_places: 0,
        new_days: 14,
    }
}

fn profile(now: Timestamp) -> InterestProfile {
    let interest = Interest {
        id: "interest_01".to_owned(),
        text: "coffee at home".to_owned(),
        stage: InterestStage::Long,
        source: InterestSource::Extended,
        reason: "whole bean coffee".to_owned(),
        evidence: vec!["e2".to_owned()],
    };
    InterestProfile { user_id: "ann/1".to_owned(), now, interests: vec![interest] }
}

fn tags() -> Vec<Tag> {
    [
        ("gooseneck kettle", "coffee at home", "goes with coffee"),
        ("baby bath thermometer", "new baby", "new baby"),
    ]
    .map(|(text, interest, rationale)| Tag {
        text: text.to_owned(),
        modifiers: vec![],
        core: text.to_owned(),
        interest: interest.to_owned(),
        rationale: rationale.to_owned(),
        category: None,
    })
    .to_vec()
}

/// A server of the shop on a port of its own.
pub(crate) struct Shop {
    runtime: tokio::runtime::Runtime,
    pub(crate) server: Option<RunningServer>,
    pub(crate) addr: SocketAddr,
}

impl Shop {
    pub(crate) fn open(
        reasoner: Option<Box<dyn Reasoner>>,
        change: impl FnOnce(&mut ServeConfig),
    ) -> Self {
        let mut cfg = ServeConfig::new("127.0.0.1:0".parse().unwrap(), 0xabc);
        change(&mut cfg);
        let live = Live::fixed(Recommender::new(parts()).unwrap());
        Self::start(live, reasoner, cfg)
    }

    /// A server of anything.
    pub(crate) fn start(live: Live, reasoner: Option<Box<dyn Reasoner>>, cfg: ServeConfig) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let server = runtime.block_on(serve::start(live, reasoner, cfg)).unwrap();
        Self { addr: server.addr(), server: Some(server), runtime }
    }

    pub(crate) fn get(&self, target: &str) -> Reply {
        request(self.addr, "GET", target, "").unwrap()
    }

    pub(crate) fn post(&self, target: &str, body: &str) -> Reply {
        let head = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        exchange(self.addr, "POST", target, &head, body).unwrap()
    }

    pub(crate) fn close(&mut self) -> Result<(), serve::ServeError> {
        self.runtime.block_on(self.server.take().unwrap().shutdown())
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|l| l.split_once(": "))
            .find(|(n, _)| *n == name)
            .map(|(_, v)| v)
    }

    /// Texts at `pointer` of every entry of the array `items`.
    pub(crate) fn items(&self, field: &str) -> Vec<String> {
        let json = self.json();
        let text = |item: &Value| item[field].as_str().unwrap_or("").to_owned();
        json["items"].as_array().unwrap().iter().map(text).collect()
    }

    /// (code, message) of an error; its request id is that of the header.
    pub(crate) fn error(&self) -> (String, String) {
        let error = &self.json()["error"];
        assert_eq!(error["request_id"].as_str(), self.header("x-request-id"), "{self:?}");
        let text = |name: &str| error[name].as_str().unwrap().to_owned();
        (text("code"), text("message"))
    }
}

/// One request on a connection of its own; `headers` end with CRLF each.
pub(crate) fn request(
    addr: SocketAddr,
    method: &str,
    target: &str,
    headers: &str,
) -> std::io::Result<Reply> {
    exchange(addr, method, target, headers, "")
}

fn exchange(
    addr: SocketAddr,
    method: &str,
    target: &str,
    headers: &str,
    body: &str,
) -> std::io::Result<Reply> {
    let mut socket = TcpStream::connect(addr)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        socket,
        "{method} {target} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n{headers}\r\n{body}"
    )?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    let broken = || std::io::Error::other(format!("no HTTP reply: {text:?}"));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(broken)?;
    Ok(Reply { status, head: head.to_owned(), body: body.to_owned() })
}
