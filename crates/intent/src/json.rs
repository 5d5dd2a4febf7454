//! The JSON answers of large models.

use std::collections::HashSet;

use serde_json::Value;
use types::{Digest, Interest, InterestStage, Tag, normalise_text};

use crate::clean::plain;
use crate::evidence::QuoteIndex;
use crate::issue::{ParseIssue, ParseIssueKind};
use crate::tag_text::{CoreWords, split_tag};
use crate::terse::{interest_id, source};

pub(crate) fn parse_interests(
    text: &str,
    digest: &Digest,
    pool: &HashSet<String>,
) -> (Vec<Interest>, Vec<ParseIssue>) {
    let (elements, mut issues) = elements(text, "interests");
    let index = QuoteIndex::new(digest);
    let mut interests: Vec<Interest> = Vec::new();
    let mut seen = HashSet::new();
    for (row, element) in elements.iter().enumerate() {
        let line = row + 1;
        let (Some(name), Some(reason), Some(numbers)) = (
            string(element, "interest"),
            string(element, "reason"),
            element.get("evidence").and_then(Value::as_array),
        ) else {
            issues.push(ParseIssue::new(line, ParseIssueKind::Malformed, &element.to_string()));
            continue;
        };
        let stage = match element.get("stage").and_then(Value::as_str) {
            Some("long") => InterestStage::Long,
            Some("short") => InterestStage::Short,
            _ => {
                let found = element.to_string();
                issues.push(ParseIssue::new(line, ParseIssueKind::UnknownStage, &found));
                continue;
            }
        };
        let mut lines = Vec::new();
        for number in numbers {
            match number.as_u64().and_then(|n| usize::try_from(n).ok()) {
                Some(n) if (1..=digest.lines.len()).contains(&n) => lines.push(n - 1),
                _ => issues.push(ParseIssue::new(
                    line,
                    ParseIssueKind::HallucinatedEvidence,
                    &number.to_string(),
                )),
            }
        }
        let evidence = index.evidence(&lines);
        if evidence.is_empty() {
            issues.push(ParseIssue::new(line, ParseIssueKind::NoEvidence, &name));
        } else if !seen.insert(normalise_text(&name)) {
            issues.push(ParseIssue::new(line, ParseIssueKind::Duplicate, &name));
        } else {
            interests.push(Interest {
                id: interest_id(interests.len()),
                source: source(&name, pool),
                text: name,
                stage,
                reason,
                evidence,
            });
        }
    }
    (interests, issues)
}

pub(crate) fn parse_tags(text: &str, cores: &CoreWords) -> (Vec<Tag>, Vec<ParseIssue>) {
    let (elements, mut issues) = elements(text, "tags");
    let mut tags = Vec::new();
    for (row, element) in elements.iter().enumerate() {
        let fields =
            (string(element, "tag"), string(element, "interest"), string(element, "rationale"));
        let (Some(text), Some(interest), Some(rationale)) = fields else {
            issues.push(ParseIssue::new(row + 1, ParseIssueKind::Malformed, &element.to_string()));
            continue;
        };
        match split_tag(&text, cores) {
            Some((modifiers, core)) => {
                tags.push(Tag { text, modifiers, core, interest, rationale, category: None });
            }
            None => issues.push(ParseIssue::new(row + 1, ParseIssueKind::NoModifier, &text)),
        }
    }
    (tags, issues)
}

/// The value of `{"explanation": "..."}`.
pub(crate) fn explanation(text: &str) -> Option<String> {
    let (body, _) = body(text);
    string(&serde_json::from_str(body).ok()?, "explanation")
}

/// A field that is a string with something in it, as one plain line.
fn string(element: &Value, name: &str) -> Option<String> {
    element.get(name).and_then(Value::as_str).map(plain).filter(|text| !text.is_empty())
}

/// Elements of the array under `name`; of broken JSON the complete elements, with an issue.
pub(crate) fn elements(text: &str, name: &str) -> (Vec<Value>, Vec<ParseIssue>) {
    let mut issues = Vec::new();
    if text.trim().is_empty() {
        return (Vec::new(), vec![ParseIssue::new(0, ParseIssueKind::Empty, text)]);
    }
    let (body, around) = body(text);
    if let Some(around) = around {
        issues.push(ParseIssue::new(0, ParseIssueKind::AroundJson, around));
    }
    let elements = match serde_json::from_str::<Value>(body) {
        Ok(Value::Object(mut object)) => match object.remove(name) {
            Some(Value::Array(elements)) => elements,
            _ => {
                issues.push(ParseIssue::new(0, ParseIssueKind::Malformed, body));
                return (Vec::new(), issues);
            }
        },
        Ok(_) => {
            issues.push(ParseIssue::new(0, ParseIssueKind::Malformed, body));
            return (Vec::new(), issues);
        }
        Err(error) => {
            let found = format!("{error}: {body}");
            issues.push(ParseIssue::new(0, ParseIssueKind::BrokenJson, &found));
            complete_elements(body)
        }
    };
    if elements.is_empty() && issues.is_empty() {
        issues.push(ParseIssue::new(0, ParseIssueKind::Empty, text));
    }
    (elements, issues)
}

/// The part from the first `{` to the last `}` (to the end where there is none), and what stands
/// around it, if anything does.
fn body(text: &str) -> (&str, Option<&str>) {
    let trimmed = text.trim();
    let Some(start) = trimmed.find('{') else { return (trimmed, None) };
    let end = trimmed.rfind('}').map_or(trimmed.len(), |at| at + 1).max(start);
    if start > 0 {
        return (&trimmed[start..end], Some(&trimmed[..start]));
    }
    let rest = trimmed[end..].trim();
    let fenced = rest.starts_with("```");
    (if fenced { &trimmed[..end] } else { trimmed }, fenced.then_some(rest))
}

/// Objects that follow the first `[`, until one does not parse.
fn complete_elements(body: &str) -> Vec<Value> {
    let mut elements = Vec::new();
    let mut rest = body.find('[').map_or("", |at| &body[at + 1..]);
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n', ',']);
        if !rest.starts_with('{') {
            return elements;
        }
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let Some(Ok(element)) = stream.next() else { return elements };
        rest = &rest[stream.byte_offset()..];
        elements.push(element);
    }
}
