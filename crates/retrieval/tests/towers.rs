//! Towers on a small shop with a known law: who takes a boot takes a sock next, tents go with stoves.

use retrieval::{
    ExactIndex, FusionInput, HistorySide, Merge, RetrievalError, Scorer, TowerConfig, TowerData,
    Towers, UserEncoder, fuse, train_towers, train_towers_with_tags,
};
use types::{Catalogue, EventType, Interaction, Item, ItemId, Taxonomy, Timestamp, UserId};

const COLOURS: [&str; 10] =
    ["red", "blue", "green", "black", "white", "grey", "pink", "brown", "orange", "violet"];
const KINDS: [&str; 4] = ["boots", "socks", "tents", "stoves"];

/// Forty items: item `10 * kind + colour`.
fn shop() -> (Catalogue, Taxonomy) {
    let items = (0..40).map(|idx| Item {
        item_id: format!("i{idx}"),
        title: format!("Acme {} trail {}", COLOURS[idx % 10], KINDS[idx / 10]),
        category_path: format!("Outdoor > {}", KINDS[idx / 10]),
        brand: Some("Acme".to_owned()),
        price: Some(10.0 + idx as f64),
        ..Item::default()
    });
    let catalogue = Catalogue::new(items.collect()).expect("ids are distinct");
    let taxonomy =
        Taxonomy::from_paths(catalogue.items().iter().map(|item| item.category_path.as_str()));
    (catalogue, taxonomy)
}

fn act(user: u32, day: i64, item: usize) -> Interaction {
    Interaction {
        user: UserId(user),
        timestamp: Timestamp(0).plus_days(day),
        item: ItemId::from_idx(item),
        event_type: EventType::Click,
    }
}

/// Each user: a boot, then the sock of its colour, or a tent, then its stove; three times over.
/// Violet items (9, 19, 29, 39) are never taken.
fn log(n_users: u32) -> Vec<Interaction> {
    let mut log = Vec::new();
    for user in 0..n_users {
        for round in 0..3 {
            let colour = ((user * 7 + round * 4 + user / 9) % 9) as usize;
            let kind = ((user + round) % 2 * 2) as usize;
            log.push(act(user, i64::from(round) * 20, kind * 10 + colour));
            log.push(act(user, i64::from(round) * 20 + 1, (kind + 1) * 10 + colour));
        }
    }
    log
}

fn config() -> TowerConfig {
    TowerConfig {
        dim: 32,
        user_hidden: 32,
        tag_hidden: 32,
        batch: 64,
        tags_per_step: 32,
        validation_users: 20,
        min_bigram_count: 0,
        epochs: 12,
        ..TowerConfig::default()
    }
}

fn train(config: &TowerConfig, log: &[Interaction], now: Timestamp) -> Towers {
    let (catalogue, taxonomy) = shop();
    let data = TowerData {
        catalogue: &catalogue,
        taxonomy: &taxonomy,
        n_users: 300,
        interactions: log,
        now,
    };
    train_towers(&data, config, &|_, _| {}).expect("a good log").0
}

fn nearest(towers: &Towers, query: &[f32], k: usize) -> Vec<usize> {
    let index = ExactIndex::new(towers.item_vectors().to_vec(), towers.dim()).expect("rows of dim");
    index.search(query, k, &|_| true).into_iter().map(|(item, _)| item.idx()).collect()
}

#[test]
fn users_tags_and_new_items_find_their_place() {
    for (full_softmax_items, history_side) in [(3000, HistorySide::OwnIds), (0, HistorySide::Own)] {
        let config = TowerConfig {
            full_softmax_items,
            history_side,
            uniform_negatives: 16,
            hard_negatives: 8,
            user_encoder: UserEncoder::Pooled, // attention loses the last step here, see docs/LOG.md
            ..config()
        };
        let towers = train(&config, &log(300), Timestamp(i64::MAX));
        // an unknown user who took boot 3 wants sock 3 next, not another boot
        let mut right = 0;
        for colour in 0..9 {
            let boots = towers.user_vector(UserId(u32::MAX), &[act(0, 0, colour)]);
            let tents = towers.user_vector(UserId(u32::MAX), &[act(0, 0, 20 + colour)]);
            right += usize::from(nearest(&towers, &boots, 2).contains(&(10 + colour)));
            right += usize::from(nearest(&towers, &tents, 2).contains(&(30 + colour)));
        }
        assert!(right >= 16, "{right} of 18 followers found");
        // a tag finds its kind, and within it the word; violet ones, never taken, included
        for (kind, name) in KINDS.iter().enumerate() {
            let found = nearest(&towers, &towers.tag_vector(name), 10);
            let of_kind = found.iter().filter(|&&item| item / 10 == kind).count();
            assert!(of_kind >= 9, "{name}: {found:?}");
            let found = nearest(&towers, &towers.tag_vector(&format!("violet {name}")), 1);
            assert_eq!(found, [kind * 10 + 9], "violet {name}");
        }
        let new = Item {
            item_id: "new".to_owned(),
            title: "Zeta turquoise trail tent".to_owned(),
            category_path: "Outdoor > tents".to_owned(),
            ..Item::default()
        };
        let found = nearest(&towers, &towers.encode_item(&new), 5);
        assert!(found.iter().all(|item| item / 10 == 2), "{found:?}");
        let mut grown = towers.clone();
        assert_eq!(grown.push_item(&new), ItemId(40));
        let tents = grown.user_vector(UserId(u32::MAX), &[act(0, 0, 40)]);
        let mut found = nearest(&grown, &tents, 4);
        found.retain(|&item| item != 40); // what was seen comes too: nothing is left out here
        assert!(found.iter().all(|item| item / 10 == 3 || item / 10 == 2), "{found:?}");
    }
}

#[test]
fn every_user_encoder_learns_what_follows_and_is_saved_whole() {
    for user_encoder in [UserEncoder::Pooled, UserEncoder::Attention, UserEncoder::MultiInterest] {
        let config = TowerConfig {
            history_side: HistorySide::OwnIds,
            user_encoder,
            interests: 3,
            attention_len: 8,
            ..config()
        };
        let towers = train(&config, &log(300), Timestamp(i64::MAX));
        let interests = if user_encoder == UserEncoder::MultiInterest { 3 } else { 1 };
        assert_eq!(towers.n_interests(), interests);
        let mut right = 0;
        for colour in 0..9 {
            let history = [act(0, 0, 30), act(0, 1, colour)];
            let vectors = towers.user_vector(UserId(u32::MAX), &history);
            assert_eq!(vectors.len(), interests * 32);
            let index = ExactIndex::new(towers.item_vectors().to_vec(), 32).unwrap();
            let input = FusionInput {
                user_vector: &vectors,
                boosts: &[],
                tags: &[],
                beta: 1.0,
                quota: 1,
                merge: Merge::default(),
                n: 3,
            };
            let found = fuse(&input, &index, &|item| item != ItemId::from_idx(colour));
            right += usize::from(found.iter().any(|c| c.item == ItemId::from_idx(10 + colour)));
            let mut scores = vec![0.0; 40];
            towers.scores(&[(UserId(u32::MAX), &history)], &mut scores);
            for candidate in &found {
                assert!((scores[candidate.item.idx()] - candidate.score).abs() < 1e-5);
            }
        }
        assert!(right >= 8, "{user_encoder:?}: the sock of a boot is found for {right} of 9");
        let dir = tempfile::tempdir().unwrap();
        towers.save(dir.path()).unwrap();
        assert_eq!(Towers::load(dir.path()).unwrap(), towers);
    }
}

#[test]
fn towers_of_version_1_are_read_and_those_of_a_later_version_refused() {
    let config = TowerConfig { epochs: 1, user_encoder: UserEncoder::Pooled, ..config() };
    let towers = train(&config, &log(60), Timestamp(i64::MAX));
    let dir = tempfile::tempdir().unwrap();
    towers.save(dir.path()).unwrap();
    let path = dir.path().join("config.json");
    let mut saved: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let settings = saved["config"].as_object_mut().unwrap();
    settings.retain(|key, _| {
        !(key.starts_with("attention_") || ["user_encoder", "interests"].contains(&key.as_str()))
    });
    let mut load_as = |version: u32| {
        saved["version"] = version.into();
        std::fs::write(&path, saved.to_string()).unwrap();
        Towers::load(dir.path())
    };
    assert_eq!(load_as(1).unwrap(), towers);
    let message = load_as(3).unwrap_err().to_string();
    assert!(message.contains("version 3, expected at most 2"), "{message}");
    assert!(message.contains("train the towers again"), "{message}");
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads() {
    let config = TowerConfig {
        epochs: 2,
        user_encoder: UserEncoder::MultiInterest,
        full_softmax_items: 0,
        uniform_negatives: 10,
        hard_negatives: 4,
        mined_negatives: 8,
        ..config()
    };
    let bytes = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let towers = train(&config, &log(300), Timestamp(i64::MAX));
            let dir = tempfile::tempdir().unwrap();
            towers.save(dir.path()).unwrap();
            ["config.json", "weights.safetensors"]
                .map(|name| std::fs::read(dir.path().join(name)).unwrap())
        })
    };
    let one = bytes(1);
    assert!(one == bytes(2) && one == bytes(3), "the result depends on the number of threads");
    let other = train(&TowerConfig { seed: 18, ..config.clone() }, &log(300), Timestamp(i64::MAX));
    assert_ne!(other.item_vectors(), train(&config, &log(300), Timestamp(i64::MAX)).item_vectors());
}

#[test]
fn nothing_at_or_after_the_cut_is_read() {
    let config = TowerConfig { epochs: 2, ..config() };
    let cut = Timestamp(0).plus_days(40);
    let whole = log(300);
    let past: Vec<Interaction> = whole.iter().filter(|i| i.timestamp < cut).copied().collect();
    assert!(past.len() < whole.len());
    assert_eq!(train(&config, &whole, cut), train(&config, &past, cut));
}

#[test]
fn towers_come_back_from_the_disk_as_they_were() {
    let mut towers = train(&TowerConfig { epochs: 1, ..config() }, &log(300), Timestamp(i64::MAX));
    towers.push_item(&Item { title: "blue stove".to_owned(), ..Item::default() });
    let dir = tempfile::tempdir().unwrap();
    towers.save(dir.path()).unwrap();
    let loaded = Towers::load(dir.path()).unwrap();
    assert_eq!(loaded, towers);
    assert_eq!(loaded.tag_vector("red tent"), towers.tag_vector("red tent"));
    let config = std::fs::read_to_string(dir.path().join("config.json")).unwrap();
    std::fs::write(dir.path().join("config.json"), config.replace("\"dim\":32", "\"dim\":16"))
        .unwrap();
    let message = Towers::load(dir.path()).unwrap_err().to_string();
    assert!(message.contains("expected") && message.contains("weights.safetensors"), "{message}");
}

#[test]
fn users_and_texts_of_which_nothing_is_known_have_the_zero_vector() {
    let towers = train(&TowerConfig { epochs: 1, ..config() }, &log(300), Timestamp(i64::MAX));
    assert!(towers.user_vector(UserId(9999), &[]).iter().all(|x| *x == 0.0));
    assert!(towers.tag_vector(" - ").iter().all(|x| *x == 0.0));
    let strange = towers.user_vector(UserId(9999), &[act(0, 0, 12345)]);
    assert!(strange.iter().all(|x| *x == 0.0));
    let length: f32 = towers.tag_vector("quux").iter().map(|x| x * x).sum();
    assert!((length - 1.0).abs() < 1e-5, "an unknown word has a hashed row: {length}");
}

#[test]
fn given_tag_pairs_teach_words_that_no_title_holds() {
    let (catalogue, taxonomy) = shop();
    let log = log(300);
    let data = TowerData {
        catalogue: &catalogue,
        taxonomy: &taxonomy,
        n_users: 300,
        interactions: &log,
        now: Timestamp(i64::MAX),
    };
    let pairs: Vec<(String, ItemId)> =
        (0..10).map(|i| ("brew outside".to_owned(), ItemId(30 + i))).collect();
    let (towers, curve) = train_towers_with_tags(&data, &pairs, &config(), &|_, _| {}).unwrap();
    let found = nearest(&towers, &towers.tag_vector("brew outside"), 5);
    assert!(found.iter().all(|item| item / 10 == 3), "{found:?}");
    assert!(curve.epochs.len() > 1 && curve.validation == 20);
}

#[test]
fn bad_input_is_refused_by_name() {
    let (catalogue, taxonomy) = shop();
    let attempt = |log: &[Interaction], config: &TowerConfig| {
        let data = TowerData {
            catalogue: &catalogue,
            taxonomy: &taxonomy,
            n_users: 2,
            interactions: log,
            now: Timestamp(i64::MAX),
        };
        train_towers(&data, config, &|_, _| {}).err().map(|e| e.to_string()).unwrap_or_default()
    };
    let good = TowerConfig { user_encoder: UserEncoder::Attention, ..config() };
    let check = |log: &[Interaction], config: &TowerConfig, want: &str| {
        let got = attempt(log, config);
        assert!(got.contains(want), "{got:?} does not say {want:?}");
    };
    check(&[act(2, 0, 0)], &good, "interaction 0: user 2 of 2");
    check(&[act(0, 0, 40)], &good, "interaction 0: item 40 of 40");
    check(&[act(1, 0, 0), act(0, 0, 0)], &good, "interaction 1: user 0");
    check(&[act(0, 1, 0), act(0, 0, 1)], &good, "interaction 1: user 0");
    check(&[act(0, 0, 0), act(1, 0, 0)], &good, "no training example");
    check(&[], &good, "no training example");
    check(&[], &TowerConfig { dim: 0, ..good.clone() }, "dim = 0");
    check(&[], &TowerConfig { id_dropout: 1.0, ..good.clone() }, "id_dropout = 1");
    check(&[], &TowerConfig { attention_heads: 5, ..good.clone() }, "attention_heads = 5");
    check(&[], &TowerConfig { interests: 0, ..good.clone() }, "interests = 0");
    let mined = TowerConfig { mined_negatives: 5, uniform_negatives: 0, ..good.clone() };
    check(&[], &mined, "mined_negatives = 5");
    assert!(matches!(Towers::load("/nonexistent".as_ref()), Err(RetrievalError::Io { .. })));
}
