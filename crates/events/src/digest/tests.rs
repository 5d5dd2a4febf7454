//! Digests by hand; what holds for any history is in [`invariants`].

mod invariants;

use types::{Catalogue, DAY_MS, Digest, Event, EventType, Item, Taxonomy, TimeBucket, Timestamp};

use super::lines::{Coarseness, bucket};
use super::{DigestConfig, DigestState, Digester, ItemCores, digest};
use crate::{EventsError, UserHistory};

const NOW: Timestamp = Timestamp(20_000 * DAY_MS + 12 * 3_600_000); // noon

fn words(text: &str) -> usize {
    text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).count()
}

fn catalogue() -> Catalogue {
    let titles = [
        ("boots", "Peak trail boots"),
        ("socks", "wool socks"),
        ("tent", "Peak two-person tent"),
        ("tent2", "two-person tent 4000"),
        ("mug", "enamel mug"),
    ];
    let item = |(id, title): &(&str, &str)| Item {
        item_id: (*id).to_owned(),
        title: (*title).to_owned(),
        brand: Some("Peak".to_owned()),
        price: Some(10.0),
        ..Item::default()
    };
    Catalogue::new(titles.iter().map(item).collect()).unwrap()
}

/// `days.minutes kind target [session]`; minutes count from noon `days` ago; searches name a query.
fn history(rows: &[(i64, i64, EventType, &str, &str)]) -> UserHistory {
    let mut events: Vec<Event> = rows
        .iter()
        .enumerate()
        .map(|(n, (days, minutes, kind, target, session))| {
            let time = Timestamp(NOW.0 - days * DAY_MS + minutes * 60_000);
            let mut event = Event::new(&format!("e{n:02}"), *kind, "u", time);
            if *kind == Search {
                event.query = Some((*target).to_owned());
            } else {
                event.item_id = Some((*target).to_owned());
            }
            event.session_id = Some((*session).to_owned()).filter(|s| !s.is_empty());
            event
        })
        .collect();
    events.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
    UserHistory { user_id: "u".to_owned(), events }
}

fn digest_with(history: &UserHistory, budget: usize) -> Digest {
    let catalogue = catalogue();
    let cores = ItemCores::new(&catalogue, &Taxonomy::default());
    let config = DigestConfig::new(NOW, budget);
    digest(history, &cores, &catalogue, &config, &words).unwrap()
}

fn check(rows: &[(i64, i64, EventType, &str, &str)], want: &str) -> Digest {
    let digest = digest_with(&history(rows), 100_000);
    assert_eq!(digest.text(), want);
    digest
}

use EventType::{Cart, Click, DetailView, Impression, Purchase, Return, Search};

#[test]
fn same_contexts_become_one_line_and_items_invert() {
    let digest = check(
        &[
            (800, 0, Purchase, "boots", ""),
            (800, 1, Purchase, "socks", ""),
            (3, 0, DetailView, "boots", ""),
            (3, 1, DetailView, "socks", ""),
            (3, 2, Cart, "tent", ""),
            (40, 0, Purchase, "mug", ""),
            (40, 5, Click, "mug", ""),
        ],
        "3d(view),2y(buy)|wool socks;trail boots\n\
         3d(cart)|two-person tent\n\
         1mo(buy)|enamel mug",
    );
    let line = &digest.lines[0];
    assert_eq!(line.evidence, ["e03", "e02", "e01", "e00"]);
    assert_eq!(line.n_events, 4);
    assert_eq!((digest.n_events, digest.n_dropped_behaviour), (7, 1));
    assert_eq!(digest.recent, ["two-person tent", "wool socks", "trail boots"]);
}

#[test]
fn items_with_the_same_core_words_are_one() {
    check(
        &[(3, 0, Cart, "tent", ""), (90, 0, Purchase, "tent2", "")],
        "3d(cart),3mo(buy)|two-person tent",
    );
}

#[test]
fn a_search_goes_with_what_it_led_to() {
    // by session: the latest search before the act, however long ago within the day
    check(
        &[
            (3, 0, Search, "Tents, cheap", "s"),
            (3, 1, Search, "running shoes", "s"),
            (3, 200, Cart, "boots", "s"),
            (3, 201, DetailView, "socks", "s"),
            (3, 202, DetailView, "mug", "other"),
        ],
        "3d(view)|enamel mug\n\
         3d(view,search:running shoes)|wool socks\n\
         3d(cart,search:running shoes)|trail boots\n\
         3d(search)|tents cheap",
    );
    // without sessions: within half an hour; a click is no answer
    check(
        &[
            (3, 0, Search, "shoes", ""),
            (3, 30, Cart, "boots", ""),
            (2, 0, Search, "mugs", ""),
            (2, 5, Click, "mug", ""),
            (2, 31, Cart, "mug", ""),
        ],
        "2d(cart)|enamel mug\n2d(search)|mugs\n3d(cart,search:shoes)|trail boots",
    );
}

#[test]
fn a_search_counts_once_though_it_led_to_two_items() {
    let digest = check(
        &[(3, 0, Search, "hike", "s"), (3, 1, Cart, "boots", "s"), (3, 2, Cart, "socks", "s")],
        "3d(cart,search:hike)|wool socks;trail boots",
    );
    assert_eq!((digest.lines[0].n_events, digest.lines[0].evidence.len()), (3, 3));
}

#[test]
fn what_went_back_is_left_out_until_bought_again() {
    let rows =
        [(9, 0, Purchase, "boots", ""), (5, 0, Return, "boots", ""), (4, 0, Purchase, "mug", "")];
    let digest = check(&rows, "4d(buy)|enamel mug");
    assert_eq!(digest.n_dropped_behaviour, 2);
    let again = [rows[0], rows[1], rows[2], (1, 0, Purchase, "boots", "")];
    check(&again, "1d(buy),9d(buy)|trail boots\n4d(buy)|enamel mug");
}

#[test]
fn with_too_little_left_repeated_clicks_stay() {
    let clicks = [(3, 0, Click, "boots", ""), (2, 0, Click, "boots", ""), (2, 1, Click, "mug", "")];
    check(&clicks, "2d(click),3d(click)|trail boots");
    let mut enough = clicks.to_vec();
    enough.extend((0..8).map(|n| (10 + n, 0, Cart, "tent", "")));
    let digest = digest_with(&history(&enough), 100_000);
    assert!(!digest.text().contains("click"), "{}", digest.text());
}

#[test]
fn nothing_at_or_after_now_is_read() {
    let rows = [(3, 0, Cart, "boots", ""), (0, 0, Cart, "mug", ""), (-1, 0, Search, "x", "")];
    let digest = check(&rows, "3d(cart)|trail boots");
    let (items, later) = (catalogue(), DigestConfig::new(NOW.plus_days(9), 100_000));
    let words_of = ItemCores::new(&items, &Taxonomy::default());
    let digester = Digester::new(&words_of, &items, later, &words);
    assert_eq!(digester.digest_at(&history(&rows), NOW).unwrap(), digest);
    assert_eq!(digest.n_events, 1);
    assert_eq!(digest.recent, ["trail boots"]);
    let mut state = DigestState::new("u");
    state.extend(&history(&rows).events).unwrap();
    let (catalogue, config) = (catalogue(), DigestConfig::new(NOW, 9));
    let cores = ItemCores::new(&catalogue, &Taxonomy::default());
    let ahead = Digester::new(&cores, &catalogue, config, &words).digest_state(&state);
    assert!(matches!(ahead, Err(EventsError::StateAhead { .. })));
}

#[test]
fn recent_means_thirty_days_and_newest_first() {
    let rows = [
        (30, 0, Click, "boots", ""),
        (29, 0, Click, "socks", ""),
        (2, 0, Search, "Lamp", ""),
        (2, 1, Impression, "mug", ""),
        (1, 0, Click, "tent", ""),
        (1, 1, Click, "tent2", ""),
    ];
    let digest = digest_with(&history(&rows), 100);
    assert_eq!(digest.recent, ["two-person tent", "lamp", "wool socks"]);
}

#[test]
fn tokens_fall_from_level_to_level() {
    let mut rows: Vec<(i64, i64, EventType, &str, &str)> = Vec::new();
    for n in 1..21 {
        rows.push((n, 0, Click, "boots", ""));
        rows.push((n, 1, Cart, "mug", ""));
    }
    let tokens = digest_with(&history(&rows), 1000).tokens;
    // date (3), time (2), type (1) and the record: "Peak trail boots, Peak, 10.00" is 6 words
    assert_eq!(tokens.raw, 20 * (6 + 6) + 20 * (6 + 5));
    assert_eq!(tokens.item, 20 * (6 + 2) + 20 * (6 + 2));
    assert_eq!(tokens.behaviour, 20 * (6 + 2));
    assert_eq!(tokens.sequence, 20 * 2 + 2);
    assert_eq!(tokens.budget, tokens.sequence);
}

#[test]
fn a_small_budget_first_takes_coarser_buckets_then_drops_lines() {
    let rows = [
        (1, 0, Purchase, "boots", ""),
        (9, 0, DetailView, "socks", ""),
        (11, 0, DetailView, "mug", ""),
    ];
    let history = history(&rows);
    let at = |budget| digest_with(&history, budget);
    assert_eq!(at(12).text(), "1d(buy)|trail boots\n9d(view)|wool socks\n11d(view)|enamel mug");
    let weeks = at(11);
    assert_eq!(weeks.text(), "1d(buy)|trail boots\n7d(view)|wool socks;enamel mug");
    assert_eq!((weeks.tokens.sequence, weeks.tokens.budget, weeks.n_dropped_budget), (12, 10, 0));
    let cut = at(8);
    assert_eq!(cut.text(), "1d(buy)|trail boots");
    assert_eq!((cut.tokens.budget, cut.n_dropped_budget), (4, 2));
    let none = at(0);
    assert_eq!((none.text().as_str(), none.n_dropped_budget), ("", 3));
}

#[test]
fn buckets_follow_the_published_rule_and_coarsen() {
    use TimeBucket::{Day, Month, Year};
    let cases = [
        (0, Day(0), Day(0), Day(0)),
        (6, Day(6), Day(6), Day(6)),
        (29, Day(29), Day(28), Month(1)),
        (30, Month(1), Month(1), Month(1)),
        (89, Month(2), Month(2), Year(1)),
        (150, Month(5), Month(3), Year(1)),
        (364, Month(12), Month(12), Year(1)),
        (365, Year(1), Year(1), Year(1)),
        (4000, Year(10), Year(10), Year(3)),
    ];
    for (days, published, weeks, months) in cases {
        let got = Coarseness::ALL.map(|c| bucket(days, c));
        assert_eq!(got, [published, weeks, months], "{days}");
    }
}

#[test]
fn events_out_of_order_are_refused() {
    let mut events = history(&[(3, 0, Cart, "boots", ""), (2, 0, Cart, "boots", "")]).events;
    events.reverse();
    let mut state = DigestState::new("u");
    assert!(matches!(state.extend(&events), Err(EventsError::OutOfOrder { .. })));
}
