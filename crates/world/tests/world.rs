//! What a world promises, over whole worlds.

#![allow(clippy::unwrap_used, reason = "the helpers of these tests may unwrap as tests do")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use proptest::prelude::*;
use types::{CategoryId, Event, EventType, Item, Timestamp, TrueNeed, UserTruth};
use world::{World, WorldConfig};

fn config(users: usize, items: usize, seed: u64) -> WorldConfig {
    WorldConfig {
        users,
        items,
        seed,
        years: 3,
        holdout_days: 21,
        events_per_user: 250,
        heavy_user_events: None,
        end: Timestamp::from_date(2025, 12, 8).unwrap(),
    }
}

fn world(users: usize, items: usize, seed: u64) -> World {
    World::generate(&config(users, items, seed), &|_, _| {})
}

// ---- sameness -----------------------------------------------------------------------------------

fn raw_bytes(config: &WorldConfig, threads: usize) -> Vec<(String, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        World::generate(config, &|_, _| {}).write_raw(dir.path(), &|_, _| {}).unwrap();
    });
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|f| f.unwrap().path())
        .map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(p).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn the_same_seed_gives_the_same_bytes_whatever_the_threads() {
    let one = raw_bytes(&config(90, 600, 5), 1);
    let names: Vec<&str> = one.iter().map(|(name, _)| name.as_str()).collect();
    let expect = [
        "events.csv",
        "interests.txt",
        "items.jsonl",
        "taxonomy.json",
        "truth.jsonl",
        "users.jsonl",
    ];
    assert_eq!(names, expect);
    assert!(one == raw_bytes(&config(90, 600, 5), 3));
    let other = raw_bytes(&config(90, 600, 6), 1);
    assert!(one.iter().zip(&other).all(|(a, b)| a.1 != b.1));
}

#[test]
fn worlds_of_two_seeds_share_only_part_of_their_catalogues() {
    let (a, b) = (world(1, 5000, 1), world(1, 5000, 2));
    let titles = |w: &World| w.items().iter().map(|i| i.title.clone()).collect::<BTreeSet<_>>();
    let leaves = |w: &World| {
        w.taxonomy().leaves().map(|l| w.taxonomy().path(l).to_owned()).collect::<BTreeSet<_>>()
    };
    let common_titles = titles(&a).intersection(&titles(&b)).count();
    assert!(common_titles < 250, "{common_titles}");
    let common_leaves = leaves(&a).intersection(&leaves(&b)).count();
    assert!(common_leaves < 140, "{common_leaves}");
}

// ---- catalogue ----------------------------------------------------------------------------------

#[test]
fn the_catalogue_has_its_departments_leaves_merchants_and_new_items() {
    for seed in 1..6 {
        let w = world(1, 5000, seed);
        let t = w.taxonomy();
        let departments: BTreeSet<CategoryId> = t.leaves().map(|l| t.department(l)).collect();
        let leaves = t.leaves().count();
        assert_eq!((departments.len(), w.items().len()), (12, 5000));
        assert!((150..=180).contains(&leaves), "{leaves}");
        assert!((150..=220).contains(&w.interest_pool().len()), "{}", w.interest_pool().len());
        let mut by_merchant: BTreeMap<&str, usize> = BTreeMap::new();
        for item in w.items() {
            *by_merchant.entry(item.merchant_id.as_deref().unwrap()).or_default() += 1;
        }
        let mut counts: Vec<usize> = by_merchant.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let top: usize = counts.iter().take(30).sum();
        assert!(counts.len() > 250 && (2000..4500).contains(&top), "{} {top}", counts.len());
        let late = w.config().end.plus_days(-90);
        let n_new = w.items().iter().filter(|i| i.listed_at.unwrap() >= late).count();
        assert!((100..300).contains(&n_new), "{n_new}");
    }
}

#[test]
fn titles_are_brand_modifiers_core_and_name_their_category() {
    let w = world(1, 5000, 9);
    let mut n_modifiers = [0usize; 5];
    for item in w.items() {
        let (modifiers, core) = w.split_tag(&item.title).expect(&item.title);
        let brand = item.brand.as_deref().unwrap();
        let expect = format!("{brand} {} {core}", modifiers.join(" "));
        assert!(item.title.starts_with(&expect), "{:?} {expect:?}", item.title);
        assert_eq!(w.category_of_core(&item.title), item.category, "{}", item.title);
        assert_eq!(w.taxonomy().find(&item.category_path), item.category);
        let attributes: BTreeSet<&str> = item.attributes.iter().map(|(_, v)| v.as_str()).collect();
        assert!(modifiers.iter().all(|m| attributes.contains(m.as_str())), "{}", item.title);
        assert!(item.price.unwrap() > 0.0 && item.description.len() > 20);
        n_modifiers[modifiers.len().min(4)] += 1;
    }
    assert!(n_modifiers[0] < 25 && n_modifiers[4] == 0, "{n_modifiers:?}");
    let descriptions: BTreeSet<&str> = w.items().iter().map(|i| i.description.as_str()).collect();
    assert!(descriptions.len() > 4500, "{}", descriptions.len());
}

// ---- behaviour ----------------------------------------------------------------------------------

#[derive(Default)]
struct Figures {
    sizes: Vec<usize>,
    by_type: BTreeMap<&'static str, usize>,
    dropped: f64,
    clicks: f64,
    /// Active users: mean share of held-out reliable acts in categories met before in any way.
    met: f64,
    /// The same, counting only categories with a reliable act before.
    used: f64,
    held_out_users: usize,
}

/// Category of an event: of its item, or of its query.
fn leaf_of(w: &World, by_id: &HashMap<&str, CategoryId>, e: &Event) -> Option<CategoryId> {
    match (&e.item_id, &e.query) {
        (Some(id), _) => by_id.get(id.as_str()).copied(),
        (None, Some(query)) => w.category_of_core(query),
        (None, None) => None,
    }
}

fn category_by_item(w: &World) -> HashMap<&str, CategoryId> {
    w.items().iter().map(|i| (i.item_id.as_str(), i.category.unwrap())).collect()
}

fn figures(w: &World) -> Figures {
    let by_id = category_by_item(w);
    let mut f = Figures::default();
    let (mut n, mut n_dropped) = (0, 0);
    for idx in 0..w.users().len() {
        let events = w.events(idx);
        f.sizes.push(events.len());
        n += events.len();
        let (mut met, mut used) = (BTreeSet::new(), BTreeSet::new());
        let (mut held, mut in_met, mut in_used) = (0, 0, 0);
        for e in &events {
            *f.by_type.entry(e.event_type.as_str()).or_insert(0) += 1;
            n_dropped += usize::from(!e.event_type.is_reliable());
            let Some(leaf) = leaf_of(w, &by_id, e) else { continue };
            if e.timestamp < w.cut() {
                met.insert(leaf);
                if e.event_type.is_reliable() {
                    used.insert(leaf);
                }
            } else if e.event_type.is_reliable() && events.len() >= 150 {
                held += 1;
                in_met += i32::from(met.contains(&leaf));
                in_used += i32::from(used.contains(&leaf));
            }
        }
        if held > 0 {
            f.held_out_users += 1;
            f.met += f64::from(in_met) / f64::from(held);
            f.used += f64::from(in_used) / f64::from(held);
        }
    }
    f.met /= f.held_out_users.max(1) as f64;
    f.used /= f.held_out_users.max(1) as f64;
    f.dropped = n_dropped as f64 / n as f64;
    f.clicks = f.by_type["click"] as f64 / n as f64;
    f
}

#[test]
fn behaviour_keeps_its_distributions() {
    let w = world(600, 5000, 7);
    let mut f = figures(&w);
    f.sizes.sort_unstable();
    let mean = f.sizes.iter().sum::<usize>() as f64 / 600.0;
    assert!((210.0..290.0).contains(&mean), "mean {mean}");
    assert!(f.sizes[300] < 190 && f.sizes[599] > 1200, "{} {}", f.sizes[300], f.sizes[599]);
    assert!((0.3..0.5).contains(&f.dropped), "dropped {}", f.dropped);
    let most = f.by_type.iter().max_by_key(|(_, n)| **n).unwrap();
    assert_eq!(*most.0, "click");
    assert!((0.4..0.6).contains(&f.used), "used {}", f.used);
    assert!((0.5..0.75).contains(&f.met), "met {}", f.met);
    assert!(f.held_out_users > 130, "{}", f.held_out_users);
    assert!(!f.by_type.contains_key("impression"));
}

#[test]
fn the_heavy_user_has_exactly_so_many_events_over_the_years() {
    let mut c = config(3, 800, 4);
    c.heavy_user_events = Some(37_000);
    let w = World::generate(&c, &|_, _| {});
    let events = w.events(0);
    let start = c.end.plus_days(-3 * 365);
    assert_eq!(events.len(), 37_000);
    for year in 0..3 {
        let (from, to) = (start.plus_days(365 * year), start.plus_days(365 * (year + 1)));
        let n = events.iter().filter(|e| (from..to).contains(&e.timestamp)).count();
        assert!(n > 4_000, "year {year}: {n}");
    }
}

#[test]
fn a_search_and_the_clicks_that_follow_share_the_session() {
    let w = world(20, 3000, 13);
    let by_id = category_by_item(&w);
    let (mut n, mut n_same) = (0, 0);
    for idx in 0..20 {
        let events = w.events(idx);
        for pair in events.windows(2).filter(|p| p[0].event_type == EventType::Search) {
            if pair[0].session_id == pair[1].session_id && pair[1].item_id.is_some() {
                n += 1;
                let query = w.category_of_core(pair[0].query.as_deref().unwrap());
                let is_gift = pair[0].query.as_deref().unwrap().starts_with("gift");
                n_same += usize::from(is_gift || query == leaf_of(&w, &by_id, &pair[1]));
            }
        }
    }
    assert!(n > 100 && n_same * 100 > n * 97, "{n_same} of {n}");
}

#[test]
fn the_feed_shows_both_ills() {
    let ills = world(300, 5000, 7).ills();
    assert!(ills.feed_in_clicked > 1.8 * ills.needs_in_clicked, "{ills:?}");
    assert!(ills.top_20_percent > 0.55 && ills.gini > 0.55, "{ills:?}");
    assert!(ills.top_1_percent > 0.07 && ills.new_to_established < 0.9, "{ills:?}");
    let of = |name: &str| ills.exposure_by_group.iter().find(|(n, _)| n == name).unwrap().1;
    assert!(of("top 1%") > 5.0 && of("below 50%") < 0.4, "{ills:?}");
}

// ---- truth --------------------------------------------------------------------------------------

#[test]
fn the_truth_names_what_the_world_has() {
    let w = world(150, 5000, 21);
    let pool: BTreeSet<&str> = w.interest_pool().iter().map(String::as_str).collect();
    let (mut n_interests, mut n_active) = (0, 0);
    for idx in 0..150 {
        let (events, truth) = w.life(idx, w.cut());
        assert_eq!(truth, w.truth(idx, w.cut()));
        assert_eq!(events, w.events(idx));
        for interest in &truth.interests {
            assert!(pool.contains(interest.text.as_str()), "{}", interest.text);
            assert!(interest.categories.iter().all(|c| w.taxonomy().find(c).is_some()));
            assert!(interest.from <= w.cut() && interest.until.is_none_or(|u| u > w.cut()));
        }
        let tags: BTreeSet<&str> = truth.needs.iter().map(|n| n.tag.as_str()).collect();
        assert_eq!(tags.len(), truth.needs.len());
        truth.needs.iter().for_each(|need| check_need(&w, need, &pool));
        if events.iter().filter(|e| e.timestamp < w.cut()).count() >= 150 {
            let categories: BTreeSet<&str> =
                truth.needs.iter().map(|n| n.category.as_str()).collect();
            n_active += 1;
            n_interests += truth.interests.len();
            assert!(tags.len() >= 60, "{idx}: {} tags", tags.len());
            assert!(categories.len() >= 8, "{idx}: {} categories", categories.len());
            assert!((5..=26).contains(&truth.interests.len()), "{}", truth.interests.len());
        }
    }
    let mean = f64::from(n_interests as u32) / f64::from(n_active as u32);
    assert!((10.0..16.0).contains(&mean), "{mean} interests");
}

fn check_need(w: &World, need: &TrueNeed, pool: &BTreeSet<&str>) {
    let category = w.taxonomy().find(&need.category);
    assert!(category.is_some() && w.category_of_core(&need.tag) == category, "{}", need.tag);
    let (modifiers, core) = w.split_tag(&need.tag).unwrap();
    assert!((1..=3).contains(&modifiers.len()), "{}", need.tag);
    assert_eq!(need.tag, format!("{} {core}", modifiers.join(" ")));
    assert!(pool.contains(need.interest.as_str()) && !need.rationale.is_empty());
    assert!(need.from == w.cut() && need.until > need.from);
}

#[test]
fn the_truth_is_likelier_than_habit_to_name_what_comes_next() {
    let w = world(800, 5000, 7);
    let by_id = category_by_item(&w);
    let (mut n, mut by_truth, mut by_habit) = (0, 0, 0);
    for idx in 0..800 {
        let (events, truth) = w.life(idx, w.cut());
        let mut counts: BTreeMap<CategoryId, i32> = BTreeMap::new();
        for e in events.iter().filter(|e| e.timestamp < w.cut()) {
            leaf_of(&w, &by_id, e)
                .into_iter()
                .for_each(|leaf| *counts.entry(leaf).or_default() -= 1);
        }
        let is_next = |e: &&Event| e.timestamp >= w.cut() && e.event_type.is_reliable();
        let next = events.iter().find(is_next).and_then(|e| leaf_of(&w, &by_id, e));
        let Some(next) = next else { continue };
        let told: BTreeSet<&str> =
            truth.needs.iter().take(30).map(|n| n.category.as_str()).collect();
        let mut habits: Vec<(i32, CategoryId)> = counts.into_iter().map(|(c, n)| (n, c)).collect();
        habits.sort_unstable();
        n += 1;
        by_truth += usize::from(told.contains(w.taxonomy().path(next)));
        by_habit += usize::from(habits.iter().take(told.len()).any(|h| h.1 == next));
    }
    // neither is sure: the future is drawn from the needs, not copied from them
    assert!(n > 200 && by_truth * 10 > n * 4 && by_truth * 10 < n * 8, "{by_truth} of {n}");
    assert!(by_truth > by_habit, "{by_truth} {by_habit}");
}

// ---- reasons ------------------------------------------------------------------------------------

fn needs_and_items(w: &World) -> Vec<(TrueNeed, Item)> {
    let mut all = Vec::new();
    for idx in 0..w.users().len() {
        for (n, need) in w.truth(idx, w.cut()).needs.into_iter().step_by(9).enumerate() {
            let mut items = w.items().iter().filter(|i| i.category_path == need.category);
            all.extend(items.nth(n % 5).map(|item| (need, item.clone())));
        }
    }
    all
}

#[test]
fn reasons_are_short_varied_and_keep_to_what_is_given() {
    let w = world(60, 5000, 33);
    let all = needs_and_items(&w);
    let mut distinct = BTreeSet::new();
    let mut shapes = BTreeSet::new();
    for (seed, (need, item)) in all.iter().enumerate() {
        let reason = w.reason(&need.interest, &need.rationale, item, seed as u64);
        let n_words = reason.split_whitespace().count();
        assert!((3..=12).contains(&n_words), "{reason:?}");
        assert!(!reason.contains(['{', '}']) && reason != item.title, "{reason:?}");
        assert!(reason.chars().next().is_some_and(|c| !c.is_lowercase()), "{reason:?}");
        assert!(!reason.contains(item.brand.as_deref().unwrap()), "{reason:?}");
        assert_eq!(reason, w.reason(&need.interest, &need.rationale, item, seed as u64));
        shapes.insert(reason.split(' ').take(2).map(str::to_lowercase).collect::<Vec<_>>());
        distinct.insert(reason);
    }
    assert!(
        all.len() > 500 && distinct.len() * 10 > all.len() * 8,
        "{} {}",
        distinct.len(),
        all.len()
    );
    assert!(shapes.len() > 150, "{}", shapes.len());
    let unknown = w.reason("knitting for penguins", "a whim", &Item::default(), 1);
    assert!(unknown.split_whitespace().count() <= 12 && !unknown.is_empty(), "{unknown:?}");
}

// ---- files --------------------------------------------------------------------------------------

#[test]
fn raw_files_parse_back() {
    let mut c = config(70, 700, 8);
    c.heavy_user_events = Some(900);
    let w = World::generate(&c, &|_, _| {});
    let dir = tempfile::tempdir().unwrap();
    let calls = std::sync::Mutex::new(Vec::new());
    let summary = w
        .write_raw(&dir.path().join("new/folder"), &|done, all| {
            calls.lock().unwrap().push((done, all));
        })
        .unwrap();
    assert_eq!(*calls.lock().unwrap(), [(64, 70), (70, 70)]);
    let text =
        |name: &str| std::fs::read_to_string(dir.path().join("new/folder").join(name)).unwrap();
    let csv = text("events.csv");
    let mut rows = csv.lines();
    let head = "event_id,event_type,user_id,item_id,timestamp,value,query,session_id";
    assert_eq!(rows.next(), Some(head));
    let mut events = (0..70).flat_map(|idx| w.events(idx));
    let mut n = 0;
    for row in rows {
        let fields: Vec<&str> = row.split(',').collect();
        let e = events.next().unwrap();
        assert_eq!(fields.len(), 8, "{row}");
        assert_eq!((fields[0], fields[1]), (e.event_id.as_str(), e.event_type.as_str()));
        assert_eq!(fields[3], e.item_id.as_deref().unwrap_or(""));
        assert_eq!(fields[4], e.timestamp.rfc3339());
        assert_eq!(fields[6], e.query.as_deref().unwrap_or(""));
        n += 1;
    }
    assert!(events.next().is_none());
    assert_eq!((summary.events, summary.users, summary.items), (n, 70, 700));
    let truths: Vec<UserTruth> =
        text("truth.jsonl").lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(truths[3], w.truth(3, w.cut()));
    let items: Vec<serde_json::Value> =
        text("items.jsonl").lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(items[5]["title"], w.items()[5].title);
    assert_eq!(items[5]["category"], w.items()[5].category_path);
    let users = text("users.jsonl");
    let user: serde_json::Value = serde_json::from_str(users.lines().next().unwrap()).unwrap();
    assert_eq!(user["attributes"]["age"], w.users()[0].attribute("age").unwrap());
    let nodes: Vec<serde_json::Value> = serde_json::from_str(&text("taxonomy.json")).unwrap();
    assert_eq!(nodes.len(), w.taxonomy().len());
    assert_eq!(text("interests.txt").lines().collect::<Vec<_>>(), w.interest_pool());
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let fault = world(1, 50, 1).write_raw(&file.path().join("sub"), &|_, _| {}).unwrap_err();
    assert!(fault.to_string().contains("sub"), "{fault}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_configuration_gives_a_world(
        users in 0usize..4, items in 0usize..300, seed: u64, years in 0u32..4,
        holdout_days in 0u32..3000, events_per_user in 0usize..60, end: i64,
    ) {
        let end = if seed % 2 == 0 { Timestamp(end) } else { Timestamp(end % 2_000_000_000_000) };
        let c = WorldConfig {
            users, items, seed, years, holdout_days, events_per_user,
            heavy_user_events: (seed % 3 == 0).then_some(80), end,
        };
        let w = World::generate(&c, &|_, _| {});
        prop_assert_eq!((w.users().len(), w.items().len()), (users, items));
        for idx in 0..users {
            let (events, truth) = w.life(idx, w.cut());
            prop_assert!(events.is_sorted_by_key(|e| e.timestamp));
            prop_assert!(events.iter().all(|e| e.timestamp < w.config().end));
            prop_assert!(events.len() <= (12 * events_per_user).max(80));
            prop_assert_eq!(truth.user_id, w.users()[idx].user_id.clone());
            if idx == 0 && seed % 3 == 0 && items > 0 {
                prop_assert_eq!(events.len(), 80);
            }
        }
        let _ = w.ills();
    }
}

// ---- for a person to read -----------------------------------------------------------------------

#[test]
fn one_life_to_read() {
    let w = world(60, 5000, 11);
    let title: HashMap<&str, &str> =
        w.items().iter().map(|i| (i.item_id.as_str(), i.title.as_str())).collect();
    let idx = (0..60).find(|&i| (90..130).contains(&w.events(i).len())).unwrap();
    let (events, truth) = w.life(idx, w.cut());
    let mut text = format!("{:?}\n\ninterests\n", w.users()[idx].attributes);
    for i in &truth.interests {
        let _ = writeln!(
            text,
            "  {} ({:?} since {}): {}",
            i.text,
            i.stage,
            i.from.date(),
            i.modifiers.join(", ")
        );
    }
    text.push_str("\nlife, without ordinary clicks\n");
    for e in events.iter().filter(|e| e.event_type != EventType::Click) {
        let what = e.query.as_deref().or(e.item_id.as_deref().map(|id| title[id])).unwrap();
        let mark = if e.timestamp >= w.cut() { "held out " } else { "" };
        let session = e.session_id.as_deref().unwrap();
        let session = session.rsplit('-').next().unwrap();
        let _ = writeln!(
            text,
            "  {mark}{} {session} {}: {what}",
            e.timestamp.date(),
            e.event_type.as_str()
        );
    }
    text.push_str("\nneeds at the cut, and a reason for an item\n");
    for need in truth.needs.iter().take(40) {
        let item = w.items().iter().rfind(|i| i.category_path == need.category).unwrap();
        let reason = w.reason(&need.interest, &need.rationale, item, 5);
        let _ = writeln!(
            text,
            "  {} | {} | {} -> {}: {reason}",
            need.interest, need.rationale, need.tag, item.title
        );
    }
    insta::assert_snapshot!(text);
}

#[test]
fn figures_to_read() {
    let w = world(400, 5000, 7);
    let (mut f, ills) = (figures(&w), w.ills());
    f.sizes.sort_unstable();
    let mut text = String::new();
    let mean = f.sizes.iter().sum::<usize>() as f64 / 400.0;
    let _ = writeln!(
        text,
        "events per user: mean {mean:.0}, median {}, most {}",
        f.sizes[200], f.sizes[399]
    );
    let _ = writeln!(
        text,
        "ordinary clicks {:.2}, dropped by the behaviour level {:.2}",
        f.clicks, f.dropped
    );
    let _ = writeln!(
        text,
        "held-out reliable acts of active users in categories used before {:.2}, met before {:.2}",
        f.used, f.met
    );
    let _ = writeln!(
        text,
        "feed slots in clicked categories {:.2}, needs in them {:.2}",
        ills.feed_in_clicked, ills.needs_in_clicked
    );
    let _ = writeln!(
        text,
        "exposure: top 1% {:.2}, top 20% {:.2}, Gini {:.2}",
        ills.top_1_percent, ills.top_20_percent, ills.gini
    );
    for (name, share) in &ills.exposure_by_group {
        let _ = writeln!(text, "  {name}: {share:.2} of the mean item");
    }
    let _ = writeln!(text, "new items {:.2} of established ones", ills.new_to_established);
    insta::assert_snapshot!(text);
}
