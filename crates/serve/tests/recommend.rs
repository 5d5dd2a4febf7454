//! The online pipeline in process: who gets what, from which channel, and why.

#[expect(dead_code, reason = "the HTTP tests use the rest")]
#[expect(clippy::unwrap_used, reason = "a test stops where its support does")]
mod shop;

use intent::ReasonInput;
use serve::{ReasonFn, RecommendRequest, Recommender, Seen, ServeError};
use shop::parts;
use types::{CandidateSource, Fallback, Slate};

fn shop() -> Recommender {
    Recommender::new(parts()).expect("one shop")
}

fn ids(slate: &Slate) -> Vec<&str> {
    slate.items.iter().map(|i| i.item_id.as_str()).collect()
}

/// The first `n` item ids for a user, after `change`, and the fallback.
fn check(
    user: &str,
    n: usize,
    change: impl FnOnce(&mut RecommendRequest),
    expect: &[&str],
    fallback: Option<Fallback>,
) {
    let mut request = RecommendRequest { n, ..RecommendRequest::new(user) };
    change(&mut request);
    let shop = shop();
    let slate = shop.recommend(&request, None).expect("a fair request");
    assert_eq!((ids(&slate).as_slice(), slate.fallback), (expect, fallback), "{request:?}");
    let again = shop.recommend(&request, None).expect("a fair request");
    assert_eq!(slate, again, "the same request, the same slate");
}

#[test]
fn every_kind_of_user_gets_a_slate() {
    // ann knows boots and beans. kettle: (0.09 + 0.9) / 2, tent 0.9 / 2, bath 0.9 / 2, poles 0.8 / 2
    check("ann/1", 2, |_| (), &["kettle", "tent"], None);
    // beta 1: the user tower alone, and no tag is missed
    check("ann/1", 2, |r| r.beta = Some(1.0), &["tent", "poles"], None);
    // beta 0: the tags alone; tag by tag the best, then by score
    check("ann/1", 2, |r| r.beta = Some(0.0), &["kettle", "bath"], None);
    // bob has no tags: the user tower; he knows chess and boots
    check("bob", 2, |_| (), &["tent", "poles"], Some(Fallback::NoTags));
    check("bob", 2, |r| r.seen = Some(Seen::Include), &["boots", "tent"], Some(Fallback::NoTags));
    // nobody: popular items, boots (2) and chess (2), then kettle (0)
    check("nobody", 2, |_| (), &["boots", "chess"], Some(Fallback::UnknownUser));
    check(
        "",
        2,
        |r| r.exclude = vec!["boots".to_owned()],
        &["chess", "beans"],
        Some(Fallback::UnknownUser),
    );
    // an id outside the catalogue excludes nothing
    check("bob", 1, |r| r.exclude = vec!["x".to_owned()], &["tent"], Some(Fallback::NoTags));
}

#[test]
fn what_is_taken_again_comes_where_the_shop_lets_it() {
    let mut parts = parts();
    (parts.fusion.seen, parts.fusion.repeat_weight) = (Seen::Include, 1.0);
    let shop = Recommender::new(parts).expect("one shop");
    let slate = |change: &dyn Fn(&mut RecommendRequest)| {
        let mut request =
            RecommendRequest { n: 3, explain: true, ..RecommendRequest::new("ann/1") };
        change(&mut request);
        let slate = shop.recommend(&request, None).expect("a fair request");
        let line = |i: types::SlateItem| (i.item_id, i.source == CandidateSource::Repeat, i.reason);
        slate.items.into_iter().map(line).collect::<Vec<_>>()
    };
    // ann bought boots (day 1) and looked at beans (day 2): the user score grows by .95 and 1
    let found = slate(&|r| r.beta = Some(1.0));
    let again = |id: &str, reason: &str| (id.to_owned(), true, Some(reason.to_owned()));
    assert_eq!(
        found[..2],
        [again("boots", "You bought this before"), again("beans", "You chose this before")]
    );
    assert!(!found[2].1 && found[2].0 == "tent", "{found:?}");
    // no habits where seen items are not wanted, and none beside a wish
    assert!(slate(&|r| r.seen = Some(Seen::Exclude)).iter().all(|line| !line.1));
    assert!(slate(&|r| r.wishes = vec!["games for two".to_owned()]).iter().all(|line| !line.1));
}

#[test]
fn what_the_request_says_comes_before_what_the_log_knows() {
    let wish =
        |text: &'static str| move |r: &mut RecommendRequest| r.wishes = vec![text.to_owned()];
    let clicked = |ids: &'static [&str]| {
        move |r: &mut RecommendRequest| {
            r.session = ids.iter().map(|id| serve::SessionEvent::click(id)).collect();
        }
    };
    // a wish alone, for nobody and for somebody new
    check("", 2, wish("games for two"), &["chess", "a,b"], None);
    check("new", 2, wish("gooseneck kettle"), &["kettle", "beans"], None);
    // with a known user: a quarter of the user tower; bob has seen chess. odd .75 * .9, tent .25 * .9
    check("bob", 2, wish("games for two"), &["a,b", "tent"], None);
    // predicted tags stand back
    check("ann/1", 2, wish("games for two"), &["chess", "a,b"], None);
    // words that say nothing to the towers are as if not said
    check("bob", 1, wish("blorb"), &["tent"], Some(Fallback::NoTags));
    check("", 1, wish("blorb"), &["boots"], Some(Fallback::UnknownUser));
    // a session makes a user of somebody unknown, and what it holds is seen
    check("", 2, clicked(&["boots"]), &["tent", "poles"], Some(Fallback::NoTags));
    check("ann/1", 1, clicked(&["kettle"]), &["tent"], None);
    check("", 1, clicked(&["gone"]), &["boots"], Some(Fallback::UnknownUser));
}

#[test]
fn the_slate_says_what_it_was_made_from() {
    use types::Signal::{History, Popular, Session, Tags, Wishes};
    let check = |user: &str, session: &[&str], texts: &[&str], expect: &[types::Signal]| {
        let request = RecommendRequest {
            n: 2,
            session: session.iter().map(|id| serve::SessionEvent::click(id)).collect(),
            wishes: texts.iter().map(|text| (*text).to_owned()).collect(),
            ..RecommendRequest::new(user)
        };
        let slate = shop().recommend(&request, None).expect("a fair request");
        assert_eq!(slate.signals, expect, "{user} {session:?} {texts:?}");
    };
    check("ann/1", &[], &[], &[History, Tags]);
    check("bob", &["tent"], &[], &[History, Session]);
    check("bob", &["tent", "x"], &["games for two"], &[History, Session, Wishes]);
    check("", &["tent"], &[], &[Session]);
    check("", &[], &["games for two"], &[Wishes]);
    check("", &[], &["blorb"], &[Popular]);
}

#[test]
fn items_come_and_change_while_the_shop_is_open() {
    let shop = shop();
    let item = |id: &str, title: &str, path: &str| types::Item {
        item_id: id.to_owned(),
        title: title.to_owned(),
        category_path: path.to_owned(),
        merchant_id: Some("Fresh".to_owned()),
        price: Some(5.0),
        ..types::Item::default()
    };
    let first = |change: fn(&mut RecommendRequest)| {
        let mut request = RecommendRequest { n: 1, ..RecommendRequest::new("") };
        request.wishes = vec!["games for two".to_owned()];
        change(&mut request);
        shop.recommend(&request, None).map(|slate| slate.items[0].item_id.clone())
    };
    assert!(first(|r| r.filter.merchants = vec!["Fresh".to_owned()]).is_err(), "not there yet");
    let put = |items: Vec<types::Item>| shop.put_items(items).expect("fair items");
    let done = put(vec![item("go", "games of go", "Games > Board"), item("go", "games of go", "")]);
    assert_eq!((done.added, done.updated), (1, 1));
    let back = item("go", "games of go", "Games > Board");
    assert_eq!(put(vec![back.clone()]).updated, 1);
    assert_eq!(put(vec![back]), serve::ItemsPut::default(), "nothing new");
    for change in [
        (|r| r.filter.merchants = vec!["Fresh".to_owned()]) as fn(&mut RecommendRequest),
        |r| r.filter.categories = vec!["Games > Board".to_owned()],
        |r| (r.filter.categories, r.filter.max_price) = (vec!["Games".to_owned()], Some(9.0)),
        |r| r.new_places = Some(10),
    ] {
        assert_eq!(first(change).expect("a fair request"), "go");
    }
    // what people have touched keeps the vector of training, and gets the new price
    let cheap = types::Item { title: "coffee".to_owned(), ..item("chess", "", "Games") };
    assert_eq!(put(vec![cheap]).updated, 1);
    let found = first(|r| {
        r.filter.max_price = Some(6.0);
        r.exclude = vec!["go".to_owned()];
    });
    assert_eq!(found.expect("a fair request"), "chess");
}

#[test]
fn a_slate_never_repeats_and_ends_with_the_catalogue() {
    let shop = shop();
    let slate = shop
        .recommend(&RecommendRequest { n: 200, ..RecommendRequest::new("ann/1") }, None)
        .unwrap();
    let mut got = ids(&slate);
    got.sort_unstable();
    assert_eq!(got, ["a,b", "bath", "chess", "kettle", "poles", "tent"], "all but what was seen");
}

#[test]
fn a_catalogue_of_numbers_is_served_by_the_user_tower() {
    let mut parts = parts();
    let mut items = parts.catalogue.items().to_vec();
    items.iter_mut().for_each(|item| item.title = "17".to_owned());
    parts.catalogue = types::Catalogue::new(items).unwrap();
    let shop = Recommender::new(parts).unwrap();
    let request = RecommendRequest { n: 2, explain: true, ..RecommendRequest::new("ann/1") };
    let slate = shop.recommend(&request, None).expect("a fair request");
    assert_eq!(
        (ids(&slate).as_slice(), slate.fallback),
        (&["tent", "poles"][..], Some(Fallback::NoWords))
    );
    assert!((slate.beta - 1.0).abs() < 1e-6);
    assert_eq!(slate.items[0].reason.as_deref(), Some("Near to what you chose before"));
}

#[test]
fn reasons_are_true_to_the_channel() {
    let shop = shop();
    let reason = |user: &str, item: &str, reasoner: Option<&dyn serve::Reasoner>| {
        let request = RecommendRequest { explain: true, ..RecommendRequest::new(user) };
        let slate = shop.recommend(&request, reasoner).unwrap();
        slate.items.into_iter().find(|i| i.item_id == item).unwrap().reason.unwrap()
    };
    let written = ReasonFn(|input: &ReasonInput<'_>| {
        (input.title == "Gooseneck Kettle").then(|| format!("A steady pour: {}", input.rationale))
    });
    assert_eq!(reason("ann/1", "kettle", Some(&written)), "A steady pour: goes with coffee");
    assert_eq!(
        reason("ann/1", "kettle", None),
        "For your interest in coffee at home: goes with coffee"
    );
    assert_eq!(
        reason("ann/1", "bath", Some(&written)),
        "For your interest in new baby",
        "the writer is silent"
    );
    assert_eq!(reason("bob", "tent", None), "Because you looked at Trail Boots");
    assert_eq!(reason("nobody", "chess", None), "Popular with other shoppers");
    let bought =
        RecommendRequest { beta: Some(1.0), n: 1, explain: true, ..RecommendRequest::new("ann/1") };
    let slate = shop.recommend(&bought, None).unwrap();
    assert_eq!(slate.items[0].reason.as_deref(), Some("Because you bought Trail Boots"));
    assert_eq!(slate.items[0].source, CandidateSource::User);
    let silent = shop.recommend(&RecommendRequest::new("ann/1"), Some(&written)).unwrap();
    assert!(silent.items.iter().all(|i| i.reason.is_none()), "not asked for");
}

#[test]
fn parameters_outside_their_range_are_refused() {
    for (n, beta, name) in
        [(0, None, "n"), (201, None, "n"), (5, Some(1.5), "beta"), (5, Some(f32::NAN), "beta")]
    {
        let request = RecommendRequest { n, beta, ..RecommendRequest::new("bob") };
        let got = shop().recommend(&request, None);
        assert!(
            matches!(&got, Err(ServeError::Parameter { name: found, .. }) if found == name),
            "{got:?}"
        );
    }
}

#[test]
fn artefacts_of_different_workspaces_are_refused() {
    type Change = fn(&mut serve::Artefacts);
    let changes: [(&str, Change); 6] = [
        ("index", |p| {
            p.index =
                retrieval::ItemIndex::build(vec![0.0; 4], 4, retrieval::IndexKind::Exact).unwrap();
        }),
        ("popularity", |p| p.popularity = retrieval::Popularity::new(&[], 3, p.now, None)),
        ("distinct user ids", |p| p.user_ids[1] = "ann/1".to_owned()),
        ("histories", |p| p.histories.reverse()),
        ("histories", |p| p.user_ids.truncate(1)),
        ("catalogue", |p| p.taxonomy = types::Taxonomy::default()),
    ];
    for (table, change) in changes {
        let mut parts = parts();
        change(&mut parts);
        let got = Recommender::new(parts).err();
        assert!(
            matches!(&got, Some(ServeError::Artefacts { table: t, .. }) if *t == table),
            "{table}: {got:?}"
        );
    }
}

#[test]
fn interests_and_tags_are_told_apart_from_unknown_users() {
    let shop = shop();
    assert_eq!(shop.interests("ann/1").unwrap().unwrap().interests.len(), 1);
    assert_eq!(shop.tags("ann/1").unwrap().len(), 2);
    assert!(shop.interests("bob").unwrap().is_none() && shop.tags("bob").unwrap().is_empty());
    assert!(matches!(shop.tags("x"), Err(ServeError::UnknownUser(u)) if u == "x"));
}
