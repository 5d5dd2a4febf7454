//! The real server over loopback.

#[expect(clippy::unwrap_used, reason = "a test stops where its support does")]
mod shop;

use std::thread;
use std::time::{Duration, Instant};

use intent::ReasonInput;
use serve::{ReasonFn, Reasoner, ServeError};
use shop::{Shop, request};

fn open() -> Shop {
    Shop::open(None, |_| ())
}

/// Takes its time for every reason.
fn slow(millis: u64) -> Box<dyn Reasoner> {
    Box::new(ReasonFn(move |_: &ReasonInput<'_>| {
        thread::sleep(Duration::from_millis(millis));
        None
    }))
}

#[test]
fn a_slate_over_http() {
    let shop = open();
    let reply = shop.get("/api/v1/recommend/ann%2F1?n=3&explain=true");
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.items("item_id")[0], "kettle");
    let json = reply.json();
    assert_eq!(
        (json["user_id"].as_str(), json["model_version"].as_str()),
        (Some("ann/1"), Some("test-1"))
    );
    assert_eq!(json["request_id"].as_str(), reply.header("x-request-id"));
    assert!(json.get("fallback").is_none());
    let first = &json["items"][0];
    assert_eq!(first["channel"], "tag");
    assert_eq!(
        (&first["tag"], &first["interest"]),
        (&"gooseneck kettle".into(), &"coffee at home".into())
    );
    assert_eq!(first["category"], "Kitchen > Coffee");
    assert_eq!(first["reason"], "For your interest in coffee at home: goes with coffee");
    let unknown = shop.get("/api/v1/recommend/nobody?n=1");
    assert_eq!((unknown.status, unknown.json()["fallback"].as_str()), (200, Some("unknown_user")));
    assert_eq!(unknown.json()["items"][0]["channel"], "popular");
}

#[test]
fn query_parameters_do_what_they_say() {
    let shop = open();
    for (query, expect) in [
        ("?n=2", vec!["tent", "poles"]),
        ("?n=2&include_seen=true", vec!["boots", "tent"]),
        ("?n=2&exclude=tent", vec!["poles", "kettle"]),
        ("?n=1&exclude=tent,poles", vec!["kettle"]),
        ("?n=1&exclude=tent&exclude=poles", vec!["kettle"]),
    ] {
        let reply = shop.get(&format!("/api/v1/recommend/bob{query}"));
        assert_eq!(
            (reply.status, reply.items("item_id")),
            (200, expect.into_iter().map(str::to_owned).collect()),
            "{query}"
        );
    }
    let odd = shop.get("/api/v1/recommend/bob?n=200&exclude=a,b");
    assert!(!odd.items("item_id").contains(&"a,b".to_owned()), "an id with a comma");
    let name = shop.get("/api/v1/recommend/%E5%90%8D%E5%89%8D?n=1");
    assert_eq!((name.status, name.json()["user_id"].as_str()), (200, Some("名前")));
}

#[test]
fn wrong_parameters_are_named() {
    let shop = open();
    for (target, status, code, part) in [
        ("/api/v1/recommend/bob?n=0", 400, "invalid_parameter", "from 1 to 200"),
        ("/api/v1/recommend/bob?n=201", 400, "invalid_parameter", "from 1 to 200"),
        ("/api/v1/recommend/bob?n=many", 400, "invalid_parameter", "\"many\""),
        ("/api/v1/recommend/bob?beta=1.01", 400, "invalid_parameter", "from 0 to 1"),
        ("/api/v1/recommend/bob?beta=NaN", 400, "invalid_parameter", "from 0 to 1"),
        ("/api/v1/recommend/bob?explain=maybe", 400, "invalid_parameter", "true or false"),
        ("/api/v1/recommend/bob?N=3", 400, "invalid_parameter", "one of n, beta"),
        ("/api/v1/recommend/bob?n=3&n=4", 400, "invalid_parameter", "given once"),
        ("/api/v1/recommend/%ff", 400, "invalid_parameter", "UTF-8"),
        ("/api/v1/recommend/a%00b", 400, "invalid_parameter", "none of control"),
        ("/api/v1/users/nobody/interests", 404, "unknown_user", "\"nobody\""),
        ("/users/nobody/tags", 404, "unknown_user", "\"nobody\""),
        ("/api/v1/nothing", 404, "unknown_route", "/api/v1/openapi.json"),
        ("/api/v1/recommend/bob?category=Nowhere", 400, "invalid_parameter", "category path"),
        ("/api/v1/recommend/bob?category=hiking", 400, "invalid_parameter", "Sports > Hiking"),
        ("/api/v1/recommend/bob?merchant=Nobody", 400, "invalid_parameter", "merchant_id"),
        ("/api/v1/recommend/bob?min_price=-1", 400, "invalid_parameter", "0 or more"),
        ("/api/v1/recommend/bob?max_price=NaN", 400, "invalid_parameter", "0 or more"),
        (
            "/api/v1/recommend/bob?min_price=30&max_price=20",
            400,
            "invalid_parameter",
            "which is 20",
        ),
        ("/api/v1/recommend/bob?new_places=11", 400, "invalid_parameter", "from 0 to 10"),
        ("/api/v1/recommend/bob?per_category=few", 400, "invalid_parameter", "\"few\""),
        ("/api/v1/recommend/bob?text=%20-%20", 400, "invalid_parameter", "what is wanted"),
        ("/api/v1/recommend/a/b", 404, "unknown_route", "/api/v1/recommend/a/b"),
    ] {
        let reply = shop.get(target);
        let (got, message) = reply.error();
        assert_eq!((reply.status, got.as_str()), (status, code), "{target}");
        assert!(message.contains(part), "{target}: {message}");
    }
    let posted = request(shop.addr, "POST", "/metrics", "content-length: 0\r\n").unwrap();
    assert_eq!((posted.status, posted.error().0.as_str()), (405, "method_not_allowed"));
}

#[test]
fn wishes_sessions_and_filters_in_query_and_body() {
    let shop = open();
    let query = "n=2&text=games%20for%20two&session=kettle,x&category=Games&max_price=70";
    let got = shop.get(&format!("/api/v1/recommend/nobody?{query}"));
    let body = r#"{"user_id": "nobody", "n": 2, "texts": ["games for two"],
        "session": [{"item_id": "kettle", "event_type": "click", "timestamp": 864000}, {"item_id": "x"}],
        "filters": {"categories": ["Games"], "max_price": 70}}"#;
    let posted = shop.post("/api/v1/recommend", body);
    for reply in [got, posted] {
        assert_eq!(
            (reply.status, reply.items("item_id")),
            (200, vec!["chess".into(), "a,b".into()])
        );
        assert_eq!(reply.items("channel"), ["wish", "wish"]);
        let json = reply.json();
        assert_eq!(json["signals"], serde_json::json!(["session", "wishes"]), "{json}");
        assert_eq!(json["missing_ids"], serde_json::json!(["x"]));
        assert_eq!((json["fallback"].as_str(), json["beta"].as_f64()), (None, Some(0.25)));
    }
    let nobody = shop.post("/api/v1/recommend", r#"{"n": 1}"#).json();
    assert_eq!(
        (nobody["fallback"].as_str(), nobody["user_id"].as_str()),
        (Some("unknown_user"), Some(""))
    );
    for (body, code, part) in [
        (r#"{"n": 0}"#, "invalid_parameter", "from 1 to 200"),
        (r#"{"m": 1}"#, "invalid_body", "unknown field `m`"),
        (r#"{"filters": {"min_price": "a"}}"#, "invalid_body", "filters.min_price"),
        (
            r#"{"session": [{"item_id": "boots", "event_type": "glance"}]}"#,
            "invalid_parameter",
            "glance",
        ),
        (r#"{"n": 1} x"#, "invalid_body", "line 1"),
        ("", "invalid_body", "EOF"),
    ] {
        let reply = shop.post("/api/v1/recommend", body);
        let (got, message) = reply.error();
        assert_eq!((reply.status, got.as_str()), (400, code), "{body}");
        assert!(message.contains(part), "{body}: {message}");
    }
    let fixed = shop.post("/api/v1/items", r#"{"item_id": "x", "title": "y"}"#);
    assert_eq!((fixed.status, fixed.error().0.as_str()), (409, "fixed"));
}

#[test]
fn interests_and_tags_under_both_paths() {
    let shop = open();
    for prefix in ["/api/v1", ""] {
        let interests = shop.get(&format!("{prefix}/users/ann%2F1/interests")).json();
        assert_eq!(interests["mined_at"], "1970-01-11T00:00:00Z");
        assert_eq!(interests["interests"][0]["text"], "coffee at home");
        assert_eq!(interests["interests"][0]["evidence"][0], "e2");
        let tags = shop.get(&format!("{prefix}/users/ann%2F1/tags")).json();
        assert_eq!(tags["tags"][0]["text"], "gooseneck kettle");
        assert_eq!(tags["tags"][0]["rationale"], "goes with coffee");
    }
    let none = shop.get("/api/v1/users/bob/interests");
    assert_eq!((none.status, none.json()["interests"].as_array().unwrap().len()), (200, 0));
}

#[test]
fn request_ids_are_taken_or_made() {
    let shop = open();
    let id = |header: &str| {
        let reply = request(shop.addr, "GET", "/health/live", header).unwrap();
        reply.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(id("x-request-id: from-client_7\r\n"), "from-client_7");
    assert_eq!(id(""), "00000abc-00000000");
    assert_eq!(id("x-request-id: has space\r\n"), "00000abc-00000001", "not taken");
    assert_eq!(
        id(&format!("x-request-id: {}\r\n", "x".repeat(129))),
        "00000abc-00000002",
        "too long"
    );
}

#[test]
fn health_metrics_and_the_document() {
    let shop = open();
    for path in ["/health/live", "/api/health/live", "/health/ready", "/api/health/ready"] {
        assert_eq!(shop.get(path).status, 200, "{path}");
    }
    shop.get("/api/v1/recommend/bob?n=2");
    shop.get("/api/v1/recommend/nobody?n=2");
    shop.get("/nowhere/bob");
    let metrics = shop.get("/metrics").body;
    for line in [
        "recgpt_recommend_requests_total{fallback=\"no_tags\"} 1",
        "recgpt_recommend_requests_total{fallback=\"unknown_user\"} 1",
        "recgpt_recommend_items_total{channel=\"user\"} 2",
        "recgpt_rest_api_request_seconds_count{api=\"/api/v1/recommend/{user}\"} 2",
        "recgpt_rest_api_requests_total{api=\"unknown\",status=\"404\"} 1",
        "# TYPE recgpt_rest_api_request_seconds histogram",
    ] {
        assert!(metrics.contains(line), "{line} not in\n{metrics}");
    }
    let document = shop.get("/api/v1/openapi.json");
    assert_eq!(document.header("content-type"), Some("application/json"));
    assert_eq!(document.body, serve::openapi_json());
    insta::assert_snapshot!("openapi", document.body);
}

#[test]
fn a_panic_a_timeout_and_a_crowd_are_typed_errors_and_the_server_lives_on() {
    let panics =
        ReasonFn(|_: &ReasonInput<'_>| -> Option<String> { panic!("a fault in the writer") });
    let shop = Shop::open(Some(Box::new(panics)), |_| ());
    let reply = shop.get("/api/v1/recommend/ann%2F1?explain=1");
    let (code, message) = reply.error();
    assert_eq!((reply.status, code.as_str()), (500, "internal"));
    assert!(!message.contains("writer"), "nothing inner leaks: {message}");
    assert_eq!(shop.get("/api/v1/recommend/ann%2F1").status, 200);

    let shop = Shop::open(Some(slow(300)), |cfg| cfg.request_timeout = Duration::from_millis(50));
    let reply = shop.get("/api/v1/recommend/ann%2F1?explain=1");
    assert_eq!((reply.status, reply.error().0.as_str()), (503, "timeout"));
    assert_eq!(reply.header("retry-after"), Some("1"));

    let shop = Shop::open(Some(slow(300)), |cfg| cfg.max_concurrent = 1);
    let addr = shop.addr;
    let busy =
        thread::spawn(move || request(addr, "GET", "/api/v1/recommend/ann%2F1?explain=1", ""));
    thread::sleep(Duration::from_millis(100));
    let refused = shop.get("/api/v1/recommend/bob");
    assert_eq!((refused.status, refused.error().0.as_str()), (503, "overloaded"));
    assert_eq!(shop.get("/health/live").status, 200);
    assert_eq!(busy.join().unwrap().unwrap().status, 200);
    assert_eq!(shop.get("/api/v1/recommend/bob").status, 200);
}

#[test]
fn a_stop_drains_readiness_first_then_connections() {
    let mut shop = Shop::open(Some(slow(400)), |cfg| cfg.drain_delay = Duration::from_millis(300));
    let addr = shop.addr;
    let open_request =
        thread::spawn(move || request(addr, "GET", "/api/v1/recommend/ann%2F1?explain=1", ""));
    let probe = thread::spawn(move || {
        thread::sleep(Duration::from_millis(150));
        (
            request(addr, "GET", "/health/ready", "").unwrap(),
            request(addr, "GET", "/health/live", "").unwrap(),
        )
    });
    thread::sleep(Duration::from_millis(50));
    let began = Instant::now();
    shop.close().unwrap();
    let (ready, live) = probe.join().unwrap();
    assert_eq!((ready.status, ready.json()["status"].as_str()), (503, Some("draining")));
    assert_eq!(live.status, 200, "the process still lives");
    assert_eq!(open_request.join().unwrap().unwrap().status, 200, "the open request is answered");
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(request(addr, "GET", "/health/live", "").is_err(), "nobody listens any more");
}

#[test]
fn a_request_that_outlives_the_drain_is_cut_off_and_said_so() {
    let mut shop =
        Shop::open(Some(slow(1500)), |cfg| cfg.drain_timeout = Duration::from_millis(100));
    let addr = shop.addr;
    let stuck =
        thread::spawn(move || request(addr, "GET", "/api/v1/recommend/ann%2F1?explain=1", ""));
    thread::sleep(Duration::from_millis(100));
    assert!(matches!(shop.close(), Err(ServeError::NotDrained(_))));
    drop(stuck.join().unwrap());
}

#[test]
fn a_taken_port_is_named() {
    let shop = open();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cfg = serve::ServeConfig::new(shop.addr, 1);
    let again = serve::Live::fixed(serve::Recommender::new(shop::parts()).unwrap());
    let refused = runtime.block_on(serve::start(again, None, cfg)).err().unwrap();
    assert!(refused.to_string().contains(&shop.addr.to_string()), "{refused}");
    assert!(matches!(refused, ServeError::Listen { .. }));
}
