//! What is wrong with an answer, line by line.

use serde::{Deserialize, Serialize};

/// The kinds of fault that a parser lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParseIssueKind {
    /// The answer holds nothing.
    Empty,
    /// A line or element has not the fields of the format, or one of them is empty.
    Malformed,
    /// The stage is neither `long` nor `short`.
    UnknownStage,
    /// A quote or line number that the digest does not hold: evidence that does not exist.
    HallucinatedEvidence,
    /// A quote that stands only among the recent clicks, which carry no event ids.
    QuoteWithoutEvents,
    /// An interest without any valid evidence; not returned.
    NoEvidence,
    /// The same text came before; not returned again.
    Duplicate,
    /// A tag that is a single word, or otherwise no modifier and core word; not returned.
    NoModifier,
    /// Text around the JSON, such as a code fence.
    AroundJson,
    /// The JSON does not end, or is broken; complete elements before are returned.
    BrokenJson,
    /// A label that the rubric does not have; the subject stays unjudged.
    UnknownLabel,
    /// A subject that the answer does not judge.
    Unjudged,
}

/// One fault of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParseIssue {
    /// Line of a terse answer or element of a JSON array, from 1; 0 for the whole answer.
    pub line: usize,
    /// What kind.
    pub kind: ParseIssueKind,
    /// What was found, at most 200 characters of it.
    pub text: String,
}

impl ParseIssue {
    /// An issue that quotes at most 200 characters of `text`.
    #[must_use]
    pub fn new(line: usize, kind: ParseIssueKind, text: &str) -> Self {
        Self { line, kind, text: text.chars().take(200).collect() }
    }
}
