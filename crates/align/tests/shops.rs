//! The embedded teacher on a catalogue of bare titles.

use align::{Neighbours, Shop, ShopUser, shop_samples};
use intent::{CoreWords, TagLexicon, parse_tags};
use lm::PromptStyle::Terse;
use types::{
    Catalogue, Digest, DigestContext, DigestLine, DigestTokens, EventType, Item, ItemId, Taxonomy,
    TimeBucket, Timestamp, User,
};

/// Title and category; the first three are what the user had.
const ITEMS: [(&str, &str); 12] = [
    ("red retrospot lunch bag", "Home > Bags"),
    ("pink retrospot jumbo bag", "Home > Bags"),
    ("white metal lantern", "Home > Lights"),
    ("SET OF 6 retrospot apple bags", "Home > Bags"),
    ("norvik woven shopper bag", "Home > Bags"),
    ("blue retrospot cake case", "Home > Baking"),
    ("plain paper cake case", "Home > Baking"),
    ("retrospot garden spade", "Garden > Tools"),
    ("oak handle spade", "Garden > Tools"),
    ("snow charm bag", "Home > Bags"),
    ("elegant bag", "Home > Bags"),
    ("dotted shopper bag", "Home > Bags"),
];

/// Tag lines that the user is taught, with at most so many tags.
fn taught(max_tags: usize, after: &[u32]) -> Vec<String> {
    let taxonomy = Taxonomy::from_paths(ITEMS.iter().map(|(_, path)| *path));
    let item = |(row, (title, path)): (usize, &(&str, &str))| Item {
        item_id: row.to_string(),
        title: (*title).to_owned(),
        category: taxonomy.find(path),
        ..Item::default()
    };
    let catalogue = Catalogue::new(ITEMS.iter().enumerate().map(item).collect()).expect("unique");
    let cores: Vec<String> = ITEMS.iter().map(|(title, _)| (*title).to_owned()).collect();
    let lexicon = TagLexicon::new(CoreWords::new(["cake case"]), ["Norvik"]);
    let neighbours = Neighbours::new(&[], ITEMS.len(), 5);
    let digest = Digest {
        user_id: "u1".to_owned(),
        now: Timestamp::from_date(2026, 7, 15).expect("a date"),
        lines: vec![DigestLine {
            contexts: vec![DigestContext {
                bucket: TimeBucket::Month(2),
                behaviours: vec![(EventType::Purchase, None)],
            }],
            items: cores[..3].to_vec(),
            evidence: vec!["e1".to_owned()],
            n_events: 3,
        }],
        recent: vec![],
        tokens: DigestTokens::default(),
        n_events: 3,
        n_dropped_behaviour: 0,
        n_dropped_budget: 0,
        n_lines_sequence: 0,
    };
    let user = User { user_id: "u1".to_owned(), attributes: vec![] };
    let before: Vec<ItemId> = (0..3).map(ItemId).collect();
    let after: Vec<ItemId> = after.iter().copied().map(ItemId).collect();
    let users = [ShopUser { user: &user, digest: &digest, before: &before, after: &after }];
    let shop = Shop {
        catalogue: &catalogue,
        taxonomy: &taxonomy,
        cores: &cores,
        lexicon: &lexicon,
        neighbours: &neighbours,
        max_tags,
    };
    let samples = shop_samples(&users, &shop);
    let answer = samples[0].segments.last().expect("an answer").text.clone();
    let (tags, issues) = parse_tags(Terse, &answer, &lexicon.cores);
    assert_eq!(issues, []);
    tags.iter().map(|t| format!("{}|{}|{}", t.interest, t.rationale, t.text)).collect()
}

#[test]
fn shelves_fill_what_the_log_leaves_open() {
    assert_eq!(
        taught(64, &[]),
        [
            "bags|likes retrospot|6 retrospot apple bags",
            "bags|likes retrospot|blue retrospot cake case", // beside, with a liked modifier
            "bags|buys often|woven shopper bag",
            "bags|buys often|dotted shopper bag",
        ],
        "no snow in July, nothing that is only elegant, no department without an interest"
    );
}

#[test]
fn what_came_next_has_the_first_places() {
    assert_eq!(taught(1, &[11]), ["bags|buys often|dotted shopper bag"]);
    assert_eq!(taught(2, &[11]).len(), 2);
}
