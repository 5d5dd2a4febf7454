//! What was kept and what was rejected: of a teacher's answers, and of the rounds of self-training.

use align::CleaningReport;
use serde::Serialize;
use serde_json::Value;

use crate::alignment::folder::StageRecord;
use crate::alignment::self_training;

/// One level of cleaning.
#[derive(Debug, Serialize)]
pub(super) struct CleanedLevel {
    level: &'static str,
    seen: usize,
    kept: usize,
    /// Reasons with their numbers, most frequent first.
    rejected: Vec<(&'static str, usize)>,
}

/// The rounds of self-training side by side.
#[derive(Debug, Serialize)]
pub(super) struct Rounds {
    names: Vec<String>,
    /// Name and value of each round.
    rows: Vec<(String, Vec<String>)>,
}

/// The levels of a cleaning report; none where the notes hold none.
pub(super) fn cleaning(notes: &Value) -> Vec<CleanedLevel> {
    let Ok(report) = serde_json::from_value::<CleaningReport>(notes.clone()) else {
        return Vec::new();
    };
    let level = |(level, count): (&align::CleaningLevel, &align::LevelCount)| {
        let mut rejected: Vec<(&str, usize)> =
            count.rejected.iter().map(|(reason, n)| (reason.as_str(), *n)).collect();
        rejected.sort_by_key(|(_, n)| std::cmp::Reverse(*n)); // stable
        CleanedLevel { level: level.as_str(), seen: count.seen, kept: count.kept, rejected }
    };
    report.levels.iter().map(level).collect()
}

/// What every round asked, kept and how varied it was; none where there was no round.
pub(super) fn rounds(records: &[StageRecord]) -> Option<Rounds> {
    let rounds: Vec<&StageRecord> =
        records.iter().filter(|r| r.stage.starts_with(self_training::NAME)).collect();
    let noted: Vec<Vec<(String, String)>> = rounds.iter().map(|r| flat(&r.notes)).collect();
    let mut names: Vec<&String> = Vec::new();
    for (name, _) in noted.iter().flatten() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let value = |notes: &Vec<(String, String)>, name: &String| {
        notes.iter().find(|(n, _)| n == name).map_or("–".to_owned(), |(_, value)| value.clone())
    };
    let row = |name: &&String| ((*name).clone(), noted.iter().map(|n| value(n, name)).collect());
    let mut rows: Vec<(String, Vec<String>)> = names.iter().map(row).collect();
    let after = |of: &dyn Fn(&StageRecord) -> usize| {
        rounds.iter().map(|r| of(r).to_string()).collect::<Vec<_>>()
    };
    rows.push((
        "different interests on unseen worlds".to_owned(),
        after(&|r| r.scorecard.distinct_interests),
    ));
    rows.push((
        "different tags on unseen worlds".to_owned(),
        after(&|r| r.scorecard.distinct_tags),
    ));
    let names: Vec<String> = rounds.iter().map(|r| r.stage.clone()).collect();
    (!names.is_empty()).then_some(Rounds { names, rows })
}

/// Every number, word and truth value of nested notes, named by the words on the way to it.
pub(super) fn flat(notes: &Value) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let Value::Object(fields) = notes else { return rows };
    for (name, value) in fields {
        let name = name.replace('_', " ");
        match value {
            Value::Object(_) => {
                rows.extend(flat(value).into_iter().map(|(n, v)| (format!("{name}: {n}"), v)));
            }
            Value::Null | Value::Array(_) => {}
            Value::Bool(_) | Value::Number(_) | Value::String(_) => rows.push((name, shown(value))),
        }
    }
    rows
}

/// A value without quotes; fractions with four decimals.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(n) if !n.is_u64() && !n.is_i64() => {
            n.as_f64().map_or_else(String::new, |n| format!("{n:.4}"))
        }
        Value::Null => String::new(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            other.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::flat;

    #[test]
    fn nested_notes_become_rows() {
        let notes = json!({ "yield": { "tags_kept": 3, "share": 0.25 }, "order": [1], "by": "x" });
        let rows = flat(&notes);
        let mut shown: Vec<String> = rows.iter().map(|(n, v)| format!("{n}={v}")).collect();
        shown.sort(); // the order of an object's fields is the JSON library's
        assert_eq!(shown, ["by=x", "yield: share=0.2500", "yield: tags kept=3"]);
    }
}
