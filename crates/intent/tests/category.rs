//! The Tag-to-Category model.

use std::path::Path;
use std::time::Instant;

use intent::TagToCategory;
use types::{CategoryId, Taxonomy};

const BOOTS: CategoryId = CategoryId(0);
const GRINDERS: CategoryId = CategoryId(1);
const BEANS: CategoryId = CategoryId(2);

fn titles() -> Vec<(&'static str, CategoryId)> {
    vec![
        ("Norvik waterproof hiking boots", BOOTS),
        ("Alta leather trekking boots for women", BOOTS),
        ("Norvik burr coffee grinder", GRINDERS),
        ("Manual coffee grinder, steel", GRINDERS),
        ("Dark roast coffee beans", BEANS),
        ("Organic coffee beans 1kg", BEANS),
        ("Decaf coffee beans", BEANS),
    ]
}

#[test]
fn texts_find_their_category() {
    let model = TagToCategory::train(titles());
    let cases = [
        ("lightweight hiking boot", Some(BOOTS)),
        ("quiet coffee grinder", Some(GRINDERS)),
        ("single origin coffee bean", Some(BEANS)),
        ("grinder for coffee beans", Some(GRINDERS)), // the head decides
        ("zzz", None),
        ("", None),
    ];
    for (text, want) in cases {
        assert_eq!(model.predict(text).map(|(c, _)| c), want, "{text}");
    }
    assert_eq!(model.accuracy(titles()), 1.0);
    assert_eq!(model.accuracy([("coffee beans", BEANS), ("zzz", BEANS)]), 0.5);
    let (_, sure) = model.predict("waterproof hiking boots").expect("known words");
    assert!(sure > 0.9 && sure <= 1.0, "{sure}");
}

#[test]
fn saved_models_answer_the_same_and_are_the_same_bytes() {
    let bytes = TagToCategory::train(titles()).to_bytes();
    let model = TagToCategory::from_bytes(&bytes).expect("own bytes");
    assert_eq!(model.to_bytes(), bytes);
    let other = TagToCategory::train(titles().into_iter().rev());
    assert_eq!(other.to_bytes(), bytes, "the order of the titles does not matter");
    assert!(TagToCategory::from_bytes(b"{}").is_err());
    let broken = br#"{"categories":[0],"parents":[null],"features":{"a":{"rarity":1.0,"weights":[[7,1.0]]}}}"#;
    assert!(TagToCategory::from_bytes(broken).is_err());
}

#[test]
fn a_model_of_a_taxonomy_goes_up_where_it_is_not_sure() {
    let taxonomy = Taxonomy::from_paths([
        "Home > Kitchen > Mugs",
        "Home > Kitchen > Coffee Grinders",
        "Home > Lighting > Desk Lamps",
        "Home > Lighting > Floor Lamps",
        "Sports > Hiking > Hiking Boots",
    ]);
    let model = TagToCategory::from_taxonomy(&taxonomy);
    let path = |text: &str| model.predict(text).map(|(c, _)| taxonomy.path(c).to_owned());
    assert_eq!(path("red retro mug").as_deref(), Some("Home > Kitchen > Mugs"));
    assert_eq!(path("brass desk lamp").as_deref(), Some("Home > Lighting > Desk Lamps"));
    assert_eq!(path("brass lamp").as_deref(), Some("Home > Lighting"));
}

#[test]
fn the_product_taxonomy_answers_ten_thousand_times_a_second() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/product_taxonomy/google_products_categories.json");
    let Ok(text) = std::fs::read_to_string(&file) else {
        #[expect(clippy::print_stderr, reason = "a skipped test says so")]
        {
            eprintln!("skipped: {} is missing", file.display());
        }
        return;
    };
    let rows: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    let mut paths = std::collections::HashMap::new();
    for row in &rows {
        let title = row["title"].as_str().expect("a title").replace('>', " ");
        let above = row["parent_id"].as_u64().and_then(|id| paths.get(&id));
        let path = above.map_or(title.clone(), |above| format!("{above} > {title}"));
        paths.insert(row["id"].as_u64().expect("an id"), path);
    }
    let taxonomy = Taxonomy::from_paths(paths.values().map(String::as_str));
    let model = TagToCategory::from_taxonomy(&taxonomy);
    let texts = ["wooden jigsaw puzzle", "ceramic coffee mug", "lunch box with cutlery"];
    let paths: Vec<&str> =
        texts.iter().map(|t| taxonomy.path(model.predict(t).expect("known words").0)).collect();
    assert!(paths[0].contains("Puzzles"), "{paths:?}");
    assert!(paths[1].contains("Mugs"), "{paths:?}");
    assert!(paths[2].contains("Lunch"), "{paths:?}");
    let start = Instant::now();
    for row in 0..3_000 {
        assert!(model.predict(texts[row % 3]).is_some());
    }
    let seconds = start.elapsed().as_secs_f64();
    // A tenth of the figure that we measure on one core, since the test machine is shared.
    assert!(3_000.0 / seconds > 1_000.0, "{} per second", 3_000.0 / seconds);
}
