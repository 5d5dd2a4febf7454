//! The table of docs/import.md and the reasons in the code are the same, and every example is refused
//! for its reason.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::path::Path;

use events::ImportConfig;
use events::import::preview_bytes;
use events::tables::RejectReason;

/// Reason, example and mend of every row of the table.
fn table() -> BTreeMap<String, (String, String)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/import.md");
    let text = std::fs::read_to_string(page).unwrap();
    let (_, behind) = text.split_once("## Why a row is refused").unwrap();
    let rows = behind.lines().filter(|l| l.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let code = |cell: &str| cell.trim_matches('`').to_owned();
        (code(cells[0]), (code(cells[1]), cells[2].trim_end_matches('|').trim().to_owned()))
    })
    .collect()
}

/// The bytes that an example stands for.
fn bytes(example: &str) -> Vec<u8> {
    let mut pieces = example.split("\\x");
    let mut out = pieces.next().unwrap().as_bytes().to_vec();
    for piece in pieces {
        out.push(u8::from_str_radix(&piece[..2], 16).unwrap());
        out.extend_from_slice(&piece.as_bytes()[2..]);
    }
    out
}

#[test]
fn every_reason_is_in_the_page_and_its_example_is_refused_for_it() {
    let table = table();
    let reasons: Vec<&str> = RejectReason::ALL.iter().map(|r| r.as_str()).collect();
    assert_eq!(table.len(), reasons.len(), "{:?}", table.keys());
    for reason in RejectReason::ALL {
        let (example, mend) = table.get(reason.as_str()).unwrap_or_else(|| panic!("{reason:?}"));
        assert_eq!(mend, reason.mend(), "{reason:?}");
        let (name, mut file) = if example.starts_with('{') {
            ("t.jsonl", Vec::new())
        } else {
            ("t.csv", b"event_id,event_type,user_id,item_id,timestamp,value,query\n".to_vec())
        };
        file.extend(bytes(example));
        let preview = preview_bytes(&ImportConfig::default(), Path::new(name), &file).unwrap();
        let got: Vec<RejectReason> = preview.rejected.iter().map(|r| r.reason).collect();
        assert_eq!(got, [reason], "{example}");
    }
}
