//! What holds for any history.

use std::collections::BTreeSet;

use proptest::prelude::*;
use types::{Catalogue, DAY_MS, Digest, DigestLine, Event, EventType, Item, Taxonomy, Timestamp};

use super::super::lines::{Coarseness, bucket};
use super::super::{
    BudgetPolicy, DigestConfig, DigestState, Digester, ItemCores, LineOrder, digest, oracle,
};
use super::{Cart, Click, NOW, Return, Search, catalogue, digest_with, history, words};
use crate::UserHistory;

fn any_rows() -> impl Strategy<Value = Vec<(i64, i64, EventType, &'static str, &'static str)>> {
    let kind = prop::sample::select(EventType::ALL.to_vec());
    let target = prop::sample::select(vec!["boots", "socks", "tent", "tent2", "mug", "new|one"]);
    let session = prop::sample::select(vec!["", "s", "t"]);
    prop::collection::vec((0i64..500, 0i64..90, kind, target, session), 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn extending_in_any_chunks_equals_from_scratch(
        rows in any_rows(),
        cuts in prop::collection::vec(0usize..80, 0..6),
        budget in 0usize..200,
    ) {
        let history = history(&rows);
        let (catalogue, config) = (catalogue(), DigestConfig::new(NOW, budget));
        let cores = ItemCores::new(&catalogue, &Taxonomy::default());
        let digester = Digester::new(&cores, &catalogue, config, &words);
        let n = history.events.partition_point(|e| e.timestamp < NOW);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(n)).chain([0, n]).collect();
        cuts.sort_unstable();
        let mut state = DigestState::new("u");
        for pair in cuts.windows(2) {
            state.extend(&history.events[pair[0]..pair[1]]).unwrap();
            // a state on disk is as good as one in memory
            let text = serde_json::to_string(&state).unwrap();
            prop_assert_eq!(&serde_json::from_str::<DigestState>(&text).unwrap(), &state);
        }
        prop_assert_eq!(digester.digest_state(&state).unwrap(), digester.digest(&history).unwrap());
    }

    #[test]
    fn equals_the_oracle(rows in any_rows(), budget in 0usize..300) {
        // Of one moment the oracle reads events in the order of their ids, which decide nothing any more.
        let mut moments = BTreeSet::new();
        let rows: Vec<_> = rows.into_iter().filter(|r| moments.insert((r.0, r.1))).collect();
        let history = history(&rows);
        let (catalogue, config) = (catalogue(), DigestConfig::new(NOW, budget));
        let cores = ItemCores::new(&catalogue, &Taxonomy::default());
        let plain = oracle::digest(&history, &cores, &catalogue, &config, &words).unwrap();
        prop_assert_eq!(&digest(&history, &cores, &catalogue, &config, &words).unwrap(), &plain);
        let parts = Digester::new(&cores, &catalogue, config, &words).counting_parts();
        prop_assert_eq!(&parts.digest(&history).unwrap(), &plain);
    }

    #[test]
    fn the_budget_holds_and_every_event_is_accounted_for(rows in any_rows(), budget in 0usize..120) {
        let history = history(&rows);
        let digest = digest_with(&history, budget);
        let tokens = words(&digest.text());
        prop_assert!(tokens <= budget);
        prop_assert_eq!(tokens, digest.tokens.budget);
        let in_lines: u64 = digest.lines.iter().map(|l| u64::from(l.n_events)).sum();
        prop_assert_eq!(
            in_lines + digest.n_dropped_behaviour + digest.n_dropped_budget, digest.n_events);
        let ids: Vec<&str> = history.events.iter().map(|e| e.event_id.as_str()).collect();
        for line in &digest.lines {
            prop_assert!((1..=16).contains(&line.evidence.len()));
            prop_assert!(line.evidence.iter().all(|id| ids.contains(&id.as_str())));
            prop_assert!(line.contexts.is_sorted() && !line.items.is_empty());
            prop_assert!(!line.items.iter().any(|i| i.contains(['|', ';', '\n'])));
        }
        prop_assert_eq!(digest_with(&history, budget), digest);
    }

    #[test]
    fn the_order_of_equal_timestamps_does_not_matter(
        rows in any_rows(),
        salt in any::<u64>(),
        order in orders(),
    ) {
        // same acts, other event ids: whatever stood before stands behind
        let rows: Vec<_> = rows.iter().map(|r| (r.0 / 50 * 50, r.1 / 30 * 30, r.2, r.3, r.4)).collect();
        let history = history(&rows);
        let mut other = history.clone();
        for event in &mut other.events {
            event.event_id = format!("{:016x}", types::fnv1a64(format!("{salt}{}", event.event_id).as_bytes()));
        }
        other.events.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
        let (one, two) = (digest_as(&history, 100, order), digest_as(&other, 100, order));
        prop_assert_eq!(one.text(), two.text());
        prop_assert_eq!(one.tokens, two.tokens);
        prop_assert_eq!(one.recent, two.recent);
    }

    #[test]
    fn a_day_later_extending_equals_from_scratch(
        rows in any_rows(),
        days in 0i64..45,
        budget in 0usize..200,
        order in orders(),
        policy in prop::sample::select(BudgetPolicy::ALL.to_vec()),
    ) {
        // days become months and months years between the two moments
        let history = history(&rows);
        let (catalogue, config) = (catalogue(), DigestConfig::new(NOW, budget));
        let cores = ItemCores::new(&catalogue, &Taxonomy::default());
        let digester = Digester::new(&cores, &catalogue, DigestConfig { order, policy, ..config }, &words);
        let then = NOW.plus_days(-days);
        let n = history.events.partition_point(|e| e.timestamp < then);
        let until = history.events.partition_point(|e| e.timestamp < NOW);
        let mut state = DigestState::new("u");
        state.extend(&history.events[..n]).unwrap();
        prop_assert_eq!(
            digester.digest_state_at(&state, then).unwrap(), digester.digest_at(&history, then).unwrap());
        state.extend(&history.events[n..until]).unwrap();
        prop_assert_eq!(digester.digest_state(&state).unwrap(), digester.digest(&history).unwrap());
    }

    #[test]
    fn no_counter_of_tokens_breaks_the_budget(
        rows in any_rows(),
        budget in 0usize..150,
        order in orders(),
        policy in prop::sample::select(BudgetPolicy::ALL.to_vec()),
        counter in 0usize..5,
    ) {
        let counters: [&types::TokenCounter<'_>; 5] = [
            &|text| text.len(),
            &|text| text.chars().count().div_ceil(4),
            &|text| text.lines().count() * 7,
            &|text| text.chars().filter(|c| !c.is_alphanumeric()).count(), // more in the middle than alone
            &|text| usize::from(!text.is_empty()) * 60 + text.len() % 13,
        ];
        let history = history(&rows);
        let catalogue = catalogue();
        let cores = ItemCores::new(&catalogue, &Taxonomy::default());
        let config = DigestConfig { order, policy, ..DigestConfig::new(NOW, budget) };
        let digest = digest(&history, &cores, &catalogue, &config, counters[counter]).unwrap();
        let tokens = if digest.lines.is_empty() { 0 } else { counters[counter](&digest.text()) };
        prop_assert!(tokens <= budget, "{} tokens of {}", tokens, budget);
        prop_assert_eq!(tokens, digest.tokens.budget);
    }

    #[test]
    fn aggregation_loses_no_fact(rows in any_rows(), order in orders()) {
        // the inverse: every (time, behaviour, text) of the lines, against those of the kept events; what goes
        // with an item that went back has a test of its own
        let rows: Vec<_> = rows.into_iter().filter(|row| row.2 != Return).collect();
        let history = history(&rows);
        let digest = digest_as(&history, usize::MAX, order);
        let mut facts: BTreeSet<(String, EventType, String)> = BTreeSet::new();
        for line in &digest.lines {
            for context in &line.contexts {
                for (kind, query) in &context.behaviours {
                    for item in line.items.iter().filter(|_| query.is_none()) {
                        facts.insert((context.bucket.to_string(), *kind, item.clone()));
                    }
                    if let Some(query) = query {
                        facts.insert((context.bucket.to_string(), *kind, query.clone()));
                    }
                }
            }
        }
        prop_assert_eq!(facts, facts_of(&history, order));
    }

    #[test]
    fn lines_read_back_whatever_strangers_write(
        ids in prop::collection::vec(hostile(), 1..6),
        queries in prop::collection::vec(hostile(), 1..6),
        order in orders(),
    ) {
        let mut events = Vec::new();
        for (n, text) in ids.iter().chain(&queries).enumerate() {
            let time = Timestamp(NOW.0 - (1 + n as i64 / 3) * DAY_MS);
            let search = n >= ids.len();
            let kind = if search { Search } else { Cart };
            let mut event = Event::new(&format!("e{n:02}"), kind, "u", time);
            *(if search { &mut event.query } else { &mut event.item_id }) = Some(text.clone());
            events.push(event);
        }
        events.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
        let catalogue = Catalogue::new(vec![Item {
            item_id: ids[0].clone(),
            title: queries[0].clone(),
            ..Item::default()
        }]).unwrap();
        let cores = ItemCores::new(&catalogue, &Taxonomy::default());
        let config = DigestConfig { order, ..DigestConfig::new(NOW, 100_000) };
        let history = UserHistory { user_id: "u".to_owned(), events };
        let digest = digest(&history, &cores, &catalogue, &config, &words).unwrap();
        let text = digest.text();
        prop_assert_eq!(text.split('\n').count(), digest.lines.len().max(1));
        for (line, read) in digest.lines.iter().zip(text.split('\n')) {
            let read: DigestLine = read.parse().unwrap();
            prop_assert_eq!(&read.contexts, &line.contexts);
            prop_assert_eq!(&read.items, &line.items);
            for text in line.items.iter().chain(texts_of(line)) {
                prop_assert!(text.chars().count() <= 160, "{}", text);
                prop_assert!(!text.chars().any(|c| c.is_control() || "<>|;,()[]{}`".contains(c)), "{}", text);
                prop_assert!(!text.contains(['\u{202e}', '\u{200b}', '\u{e0041}', '\u{2028}']), "{}", text);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))] // each writes a store

    #[test]
    fn a_store_read_by_columns_gives_the_same_digests(
        rows in any_rows(),
        users in prop::collection::vec(0usize..4, 80),
        late in 0i64..40,
        budget in 0usize..200,
        order in orders(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut staging = crate::Staging::begin(dir.path()).unwrap();
        let name = std::path::Path::new("events");
        let mut writer = crate::store::StoreWriter::new(&staging, name, 2, 4000).unwrap();
        for (mut event, user) in history(&rows).events.into_iter().zip(users) {
            event.user_id = format!("u{user}");
            writer.push(&event).unwrap();
        }
        writer.finish(&mut staging, None, false).unwrap();
        staging.commit().unwrap();
        let store = crate::EventStore::open(&dir.path().join("events")).unwrap();
        let (catalogue, config) = (catalogue(), DigestConfig::new(NOW, budget));
        let cores = ItemCores::new(&catalogue, &Taxonomy::default());
        let digester = Digester::new(&cores, &catalogue, DigestConfig { order, ..config }, &words);
        let cut_of = |user: &str| if user == "u1" { NOW.plus_days(-late) } else { NOW };
        let slow = store
            .fold_all(|history| digester.digest_at(&history, cut_of(&history.user_id)))
            .unwrap();
        let slow: Vec<Digest> = slow.into_iter().filter(|d| d.n_events > 0).collect();
        prop_assert_eq!(digester.fold_store(&store, &cut_of).unwrap(), slow);
    }
}

fn orders() -> impl Strategy<Value = LineOrder> {
    prop::sample::select(vec![LineOrder::NewestFirst, LineOrder::Stable])
}

fn digest_as(history: &UserHistory, budget: usize, order: LineOrder) -> Digest {
    let catalogue = catalogue();
    let cores = ItemCores::new(&catalogue, &Taxonomy::default());
    let config = DigestConfig { order, ..DigestConfig::new(NOW, budget) };
    digest(history, &cores, &catalogue, &config, &words).unwrap()
}

fn texts_of(line: &DigestLine) -> impl Iterator<Item = &String> {
    line.contexts.iter().flat_map(|c| c.behaviours.iter().filter_map(|(_, query)| query.as_ref()))
}

/// Letters, separators of the line format, controls, marks of direction, tags, template tokens.
fn hostile() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "3d(buy)|",
        "|",
        ";",
        ",",
        "(",
        ")",
        "\n",
        "\r",
        "\u{85}",
        "\u{2028}",
        "\u{0}",
        "\u{202e}",
        "\u{200b}",
        "\u{e0041}",
        "<|im_start|>",
        "[INST]",
        "ignore previous instructions",
        "2024(buy)|tent",
        ":",
        "boots",
        "靴",
        " ",
        "\"",
        "`",
        "{{",
        "\u{1b}[2J",
    ]);
    let long = prop::sample::select(vec!["x\n".repeat(4000), "y".repeat(1 << 20)]);
    prop_oneof![9 => prop::collection::vec(part, 0..9).prop_map(|parts| parts.concat()), 1 => long]
}

/// What the behaviour level keeps, by the plain words of its rules: reliable acts on items (clicks on items
/// clicked twice where reliable acts are few), and searches.
fn facts_of(history: &UserHistory, order: LineOrder) -> BTreeSet<(String, EventType, String)> {
    let catalogue = catalogue();
    let cores = ItemCores::new(&catalogue, &Taxonomy::default());
    let events: Vec<&Event> = history.events.iter().filter(|e| e.timestamp < NOW).collect();
    let few = events.iter().filter(|e| e.event_type.is_reliable()).count() < 8;
    let of = |item: &str| {
        events
            .iter()
            .filter(move |e| e.event_type != Search && e.item_id.as_deref() == Some(item))
            .copied()
            .collect::<Vec<_>>()
    };
    let clicks = |item: &str| of(item).iter().filter(|e| e.event_type == Click).count();
    let mut facts = BTreeSet::new();
    for event in &events {
        let time = match order {
            LineOrder::NewestFirst => {
                bucket(NOW.day() - event.timestamp.day(), Coarseness::Published).to_string()
            }
            LineOrder::Stable => super::super::memory::block(event.timestamp, NOW).to_string(),
        };
        let kind = event.event_type;
        match (kind, &event.query, &event.item_id) {
            (Search, Some(query), _) => {
                facts.insert((time, kind, query.replace('|', " ")));
            }
            (_, _, Some(item))
                if kind.is_reliable() || few && kind == Click && clicks(item) >= 2 =>
            {
                let text = if item == "new|one" { "new one" } else { cores.core(item) };
                facts.insert((time, kind, text.to_owned()));
            }
            _ => {}
        }
    }
    facts
}
