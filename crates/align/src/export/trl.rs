//! TRL: `messages` for `SFTTrainer`, `prompt`, `chosen`, `rejected` for `DPOTrainer`, and `prompt` with
//! columns that a reward function is given for `GRPOTrainer`.

use lm::Message;
use serde_json::json;

use super::folder::{Folder, demonstrations, preferences, problems};
use super::record::{ExportRecord, Split};
use crate::error::AlignError;

pub(super) fn write(records: &[ExportRecord], folder: &mut Folder) -> Result<(), AlignError> {
    for split in Split::ALL {
        let name = split.name();
        let sft = demonstrations(records, split)
            .map(|r| json!({ "id": r.id, "task": r.task, "messages": r.messages }));
        folder.write_jsonl(&format!("sft_{name}.jsonl"), sft)?;
        let answer = |text: &str| [Message::new("assistant", text)];
        let pairs = preferences(records, split).map(|(r, chosen, rejected)| {
            json!({
                "id": r.id,
                "task": r.task,
                "prompt": r.messages,
                "chosen": answer(chosen),
                "rejected": answer(rejected),
            })
        });
        folder.write_jsonl(&format!("preference_{name}.jsonl"), pairs)?;
        let rl = problems(records, split).map(|(r, truth)| {
            json!({ "id": r.id, "task": r.task, "prompt": r.prompt(), "ground_truth": truth })
        });
        folder.write_jsonl(&format!("rl_{name}.jsonl"), rl)?;
    }
    Ok(())
}
