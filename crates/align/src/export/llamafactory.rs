//! LLaMA-Factory: `messages` in its `sharegpt` formatting, preferences with `ranking`, and the
//! `dataset_info.json` that names them `recgpt_sft_train` and so on.

use lm::Message;
use serde_json::{Map, Value, json};

use super::folder::{Folder, demonstrations, preferences};
use super::record::{ExportRecord, Split};
use crate::error::AlignError;

pub(super) fn write(records: &[ExportRecord], folder: &mut Folder) -> Result<(), AlignError> {
    let mut info = Map::new();
    for split in Split::ALL {
        let split_name = split.name();
        let sft = demonstrations(records, split).map(|r| json!({ "messages": r.messages }));
        let file = format!("sft_{split_name}.jsonl");
        if folder.write_jsonl(&file, sft)? {
            info.insert(format!("recgpt_sft_{split_name}"), dataset(&file, false));
        }
        let pairs = preferences(records, split).map(|(r, chosen, rejected)| {
            let answer = |text: &str| Message::new("assistant", text);
            json!({ "messages": r.messages, "chosen": answer(chosen), "rejected": answer(rejected) })
        });
        let file = format!("preference_{split_name}.jsonl");
        if folder.write_jsonl(&file, pairs)? {
            info.insert(format!("recgpt_preference_{split_name}"), dataset(&file, true));
        }
    }
    let problems_only = |r: &&ExportRecord| !r.is_demonstration() && r.preference().is_none();
    folder.leave_out(
        "a prompt with a ground truth alone: LLaMA-Factory trains on no rewards",
        records.iter().filter(problems_only).count(),
    );
    let text = format!("{:#}\n", Value::Object(info.clone()));
    folder.write("dataset_info.json", info.len(), text.as_bytes())?;
    Ok(())
}

fn dataset(file: &str, ranking: bool) -> Value {
    let mut entry = json!({
        "file_name": file,
        "formatting": "sharegpt",
        "columns": { "messages": "messages" },
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    });
    if ranking {
        entry["ranking"] = json!(true);
        entry["columns"]["chosen"] = json!("chosen");
        entry["columns"]["rejected"] = json!("rejected");
    }
    entry
}
