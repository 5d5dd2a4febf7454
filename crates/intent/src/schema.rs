//! The form that an answer must have: JSON schemas for large models, grammars for the built-in one.

use serde_json::{Value, json};

/// Schema of `{"interests": [{interest, stage, reason, evidence}]}`.
#[must_use]
pub fn interests_schema() -> Value {
    let element = object(&json!({
        "interest": {"type": "string"},
        "stage": {"type": "string", "enum": ["long", "short"]},
        "reason": {"type": "string"},
        "evidence": {"type": "array", "items": {"type": "integer"}},
    }));
    object(&json!({"interests": {"type": "array", "items": element}}))
}

/// Schema of `{"tags": [{tag, interest, rationale}]}`.
#[must_use]
pub fn tags_schema() -> Value {
    let element = object(&json!({
        "tag": {"type": "string"},
        "interest": {"type": "string"},
        "rationale": {"type": "string"},
    }));
    object(&json!({"tags": {"type": "array", "items": element}}))
}

/// Schema of `{"explanation": "..."}`.
#[must_use]
pub fn reason_schema() -> Value {
    object(&json!({"explanation": {"type": "string"}}))
}

/// An object that has exactly these properties, all required, as strict structured output asks.
pub(crate) fn object(properties: &Value) -> Value {
    let names: Vec<&String> =
        properties.as_object().map(|map| map.keys().collect()).unwrap_or_default();
    json!({
        "type": "object",
        "properties": properties,
        "required": names,
        "additionalProperties": false,
    })
}

/// Lark grammar of the interest lines `quote;quote|interest|stage`. Each line is one lexeme, so that the
/// mask of a step is one lookup in the lexer's automaton.
#[must_use]
pub fn interests_grammar() -> String {
    let field = FIELD;
    format!("start: LINE+\nLINE: /{field}(;{field})*\\|{field}\\|(long|short)\\n/\n")
}

/// Lines of one answer that may begin with the same quote: a text can speak for several interests.
const LINES_PER_QUOTE: usize = 3;

/// Tag lines of one interest, each with a rationale of its own.
const LINES_PER_INTEREST: usize = 3;

/// Tags of one line.
const TAGS_PER_LINE: usize = 12;

/// As [`interests_grammar`], with quotes held to the given texts and lines to their order, so that a
/// small model can only cite what its digest says and cannot go round in circles: no text begins more
/// than three lines, and none a line after one that begins with a later text. Without
/// texts the quotes are free.
#[must_use]
pub fn grounded_interests_grammar(quotes: &[String]) -> String {
    if quotes.is_empty() {
        return interests_grammar();
    }
    let field = FIELD;
    let any = quotes.iter().map(|q| escaped(q)).collect::<Vec<_>>().join("|");
    let tail = format!("TAIL: /(;({any}))?\\|{field}\\|(long|short)\\n/\n");
    let firsts = quotes.iter().enumerate().map(|(row, quote)| {
        format!("line_{row}: QUOTE_{row} TAIL\nQUOTE_{row}: /{}/\n", escaped(quote))
    });
    let lines = |row: usize| format!("line_{row}? ").repeat(LINES_PER_QUOTE);
    let start: String = (0..quotes.len()).map(lines).collect();
    format!("start: {}\n{}{tail}", start.trim_end(), firsts.collect::<String>())
}

/// As [`tags_grammar`], for the given interests in their order, each on at most three
/// lines of at most twelve tags. Without interests they are free.
#[must_use]
pub fn grounded_tags_grammar(interests: &[String]) -> String {
    if interests.is_empty() {
        return tags_grammar();
    }
    let field = FIELD;
    let more = TAGS_PER_LINE - 1;
    let lines = interests.iter().enumerate().map(|(row, interest)| {
        let name = escaped(interest);
        format!("LINE_{row}: /{name}\\|{field}\\|{field}(;{field}){{0,{more}}}\\n/\n")
    });
    let of_interest = |row: usize| format!("LINE_{row}? ").repeat(LINES_PER_INTEREST);
    let start: String = (0..interests.len()).map(of_interest).collect();
    format!("start: {}\n{}", start.trim_end(), lines.collect::<String>())
}

/// A text as a regular expression that matches itself, within the slashes of a Lark terminal.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii_punctuation() && !matches!(c, '<' | '>' | ',' | '\'' | '"' | '_' | '%' | '@')
        {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Lark grammar of the tag lines `interest|rationale|tag;tag`.
#[must_use]
pub fn tags_grammar() -> String {
    let field = FIELD;
    format!("start: LINE+\nLINE: /{field}\\|{field}\\|{field}(;{field})*\\n/\n")
}

/// A field starts and ends with something other than a space.
const FIELD: &str = r"[^|;\n\s]([^|;\n]*[^|;\n\s])?";

#[cfg(test)]
mod tests {
    use super::{interests_schema, tags_grammar};

    #[test]
    fn schemas_are_strict() {
        let schema = interests_schema();
        assert_eq!(schema["required"], serde_json::json!(["interests"]));
        let element = &schema["properties"]["interests"]["items"];
        assert_eq!(element["additionalProperties"], false);
        assert_eq!(element["required"].as_array().map(Vec::len), Some(4));
        assert!(tags_grammar().starts_with("start: LINE+"));
    }
}
