//! ROLL: one prompt and one answer per row (its default keys `instruction` and `output`), preferences
//! with `chosen` and `rejected`, and problems whose `messages` are a JSON text.
//!
//! ROLL's SFT knows one turn. A conversation in the terse form gives a row for every answer, whose
//! prompt holds the turns before it just as inference reads them; one in prose with several turns is
//! left out. ROLL also knows a `difficulty`, which nobody has measured here.

use lm::Message;
use serde_json::{Value, json};

use super::folder::{Folder, demonstrations, preferences, problems};
use super::record::{ExportRecord, Split};
use crate::error::AlignError;

/// Ends an answer within a prompt of the terse form.
const END: &str = "<|endoftext|>";

pub(super) fn write(records: &[ExportRecord], folder: &mut Folder) -> Result<(), AlignError> {
    for split in Split::ALL {
        let name = split.name();
        let sft = demonstrations(records, split).flat_map(turn_rows);
        folder.write_jsonl(&format!("sft_{name}.jsonl"), sft)?;
        let pairs = preferences(records, split).filter_map(|(r, chosen, rejected)| {
            let (system, instruction) = one_prompt(&r.messages)?;
            Some(json!({
                "id": r.id,
                "system": system,
                "instruction": instruction,
                "chosen": chosen,
                "rejected": rejected,
            }))
        });
        folder.write_jsonl(&format!("preference_{name}.jsonl"), pairs)?;
        let rl = problems(records, split).map(|(r, truth)| problem_row(r, truth));
        folder.write_jsonl(&format!("rl_{name}.jsonl"), rl)?;
    }
    let in_turns = |r: &&ExportRecord| {
        let answers = r.is_demonstration() || r.preference().is_some();
        answers && one_prompt(r.prompt()).is_none()
    };
    folder.leave_out(
        "a conversation in prose with several turns: ROLL's SFT and preferences know one turn",
        records.iter().filter(in_turns).count(),
    );
    Ok(())
}

/// A row for every answer.
fn turn_rows(record: &ExportRecord) -> Vec<Value> {
    if one_prompt(record.prompt()).is_none() {
        return Vec::new();
    }
    let answers = record.messages.iter().enumerate().filter(|(_, m)| m.role == "assistant");
    answers
        .filter_map(|(place, answer)| {
            let (system, instruction) = one_prompt(&record.messages[..place])?;
            Some(json!({
                "id": format!("{}/{place}", record.id),
                "system": system,
                "instruction": instruction,
                "output": answer.content,
            }))
        })
        .collect()
}

fn problem_row(record: &ExportRecord, truth: &str) -> Value {
    let prompt = record.prompt();
    let last = || prompt.last().map_or(String::new(), |message| message.content.clone());
    json!({
        "id": record.id,
        "messages": json!(prompt).to_string(),
        // Read where `messages` are not.
        "prompt": one_prompt(prompt).map_or_else(last, |(_, text)| text),
        "tag": record.task,
        "ground_truth": truth,
    })
}

/// The system message (empty where there is none) and all other messages as one text; none when the
/// turns of prose would have to be joined.
fn one_prompt(messages: &[Message]) -> Option<(&str, String)> {
    let (system, turns) = match messages.split_first() {
        Some((first, rest)) if first.role == "system" => (first.content.as_str(), rest),
        _ => ("", messages),
    };
    let is_terse = turns.first().is_some_and(|m| m.content.starts_with("<|"));
    if turns.len() > 1 && !is_terse {
        return None;
    }
    let text = |m: &Message| {
        let end = if m.role == "assistant" { END } else { "" };
        format!("{}{end}", m.content)
    };
    Some((system, turns.iter().map(text).collect()))
}
