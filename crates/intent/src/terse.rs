//! The terse lines of the built-in model: `quote;quote|interest|stage` and `interest|rationale|tag;tag`.
//!
//! Evidence comes before the interest that it supports, so that a small model names what it has just
//! cited instead of citing what suits a name.
//! Writers and parsers are exact inverses: what is written reads back as it was.

use std::collections::HashSet;
use std::sync::LazyLock;

use lm::Distinct;
use types::{Digest, Interest, InterestSource, InterestStage, Tag, normalise_text};

use crate::clean::plain;
use crate::evidence::QuoteIndex;
use crate::issue::{ParseIssue, ParseIssueKind};
use crate::prompt::stage_name;
use crate::tag_text::{CoreWords, split_tag};

/// The tags of [`write_tags`], among the fields of its lines.
pub(crate) static TAGS: LazyLock<Distinct> =
    LazyLock::new(|| Distinct { begins: b"|;".to_vec(), ends: b";\n".to_vec() });

/// Quotes that a reason names, in order: what stands between `“` and `”`.
#[must_use]
pub fn quotes(reason: &str) -> Vec<&str> {
    reason
        .split('“')
        .skip(1)
        .filter_map(|part| part.split_once('”'))
        .map(|(quote, _)| quote)
        .filter(|quote| !quote.is_empty())
        .collect()
}

/// One line `quote;quote|interest|stage` per interest, each with its line break. Quotes are taken from the
/// reason; an interest whose reason quotes nothing (one that a large model mined) is written with its
/// own text as quote.
#[must_use]
pub fn write_interests(interests: &[Interest]) -> String {
    let mut out = String::new();
    for interest in interests {
        let text = plain(&interest.text);
        let mut quotes: Vec<String> = quotes(&interest.reason).into_iter().map(plain).collect();
        quotes.retain(|quote| !quote.is_empty());
        if quotes.is_empty() {
            quotes.push(text.clone());
        }
        out.push_str(&format!("{}|{text}|{}\n", quotes.join(";"), stage_name(interest.stage)));
    }
    out
}

/// Lines `interest|rationale|tag;tag`, one per run of tags with the same interest and rationale.
#[must_use]
pub fn write_tags(tags: &[Tag]) -> String {
    let same = |a: &Tag, b: &Tag| a.interest == b.interest && a.rationale == b.rationale;
    tags.chunk_by(same)
        .map(|run| {
            let texts: Vec<String> = run.iter().map(|tag| plain(&tag.text)).collect();
            let head = &run[0];
            format!("{}|{}|{}\n", plain(&head.interest), plain(&head.rationale), texts.join(";"))
        })
        .collect()
}

/// Reads interest lines; ids are `interest_01` and on, reasons name quotes and times.
pub(crate) fn parse_interests(
    text: &str,
    digest: &Digest,
    pool: &HashSet<String>,
) -> (Vec<Interest>, Vec<ParseIssue>) {
    let index = QuoteIndex::new(digest);
    let mut interests: Vec<Interest> = Vec::new();
    let mut issues = Vec::new();
    let mut seen = HashSet::new();
    for (line_no, line) in numbered(text) {
        let Some([quoted, name, stage]) = fields(line) else {
            issues.push(ParseIssue::new(line_no, ParseIssueKind::Malformed, line));
            continue;
        };
        let stage = match stage {
            "long" => InterestStage::Long,
            "short" => InterestStage::Short,
            _ => {
                issues.push(ParseIssue::new(line_no, ParseIssueKind::UnknownStage, line));
                continue;
            }
        };
        let quotes = valid_quotes(&index, quoted, line_no, &mut issues);
        let lines: Vec<usize> =
            quotes.iter().flat_map(|quote| index.lines(quote).iter().copied()).collect();
        let evidence = index.evidence(&lines);
        if evidence.is_empty() {
            issues.push(ParseIssue::new(line_no, ParseIssueKind::NoEvidence, name));
        } else if !seen.insert(normalise_text(name)) {
            issues.push(ParseIssue::new(line_no, ParseIssueKind::Duplicate, name));
        } else {
            interests.push(Interest {
                id: interest_id(interests.len()),
                text: name.to_owned(),
                stage,
                source: source(name, pool),
                reason: index.reason(&quotes),
                evidence,
            });
        }
    }
    if interests.is_empty() && issues.is_empty() {
        issues.push(ParseIssue::new(0, ParseIssueKind::Empty, text));
    }
    (interests, issues)
}

/// The quotes that the digest holds, none twice.
fn valid_quotes<'t>(
    index: &QuoteIndex<'_>,
    quoted: &'t str,
    line_no: usize,
    issues: &mut Vec<ParseIssue>,
) -> Vec<&'t str> {
    let mut quotes: Vec<&str> = Vec::new();
    for quote in quoted.split(';').map(str::trim) {
        if quotes.contains(&quote) {
            continue;
        }
        if !index.lines(quote).is_empty() {
            quotes.push(quote);
            continue;
        }
        let kind = if index.is_recent(quote) {
            ParseIssueKind::QuoteWithoutEvents
        } else {
            ParseIssueKind::HallucinatedEvidence
        };
        issues.push(ParseIssue::new(line_no, kind, quote));
    }
    quotes
}

/// Reads tag lines in order. Nothing is checked against the user; [`crate::check_tags`] does that.
pub(crate) fn parse_tags(text: &str, cores: &CoreWords) -> (Vec<Tag>, Vec<ParseIssue>) {
    let mut tags = Vec::new();
    let mut issues = Vec::new();
    for (line_no, line) in numbered(text) {
        let Some([interest, rationale, texts]) = fields(line) else {
            issues.push(ParseIssue::new(line_no, ParseIssueKind::Malformed, line));
            continue;
        };
        for text in texts.split(';').map(str::trim) {
            match split_tag(text, cores) {
                Some((modifiers, core)) => tags.push(Tag {
                    text: text.to_owned(),
                    modifiers,
                    core,
                    interest: interest.to_owned(),
                    rationale: rationale.to_owned(),
                    category: None,
                }),
                None if text.is_empty() => {
                    issues.push(ParseIssue::new(line_no, ParseIssueKind::Malformed, line));
                }
                None => issues.push(ParseIssue::new(line_no, ParseIssueKind::NoModifier, text)),
            }
        }
    }
    if tags.is_empty() && issues.is_empty() {
        issues.push(ParseIssue::new(0, ParseIssueKind::Empty, text));
    }
    (tags, issues)
}

/// `interest_01` for row 0.
pub(crate) fn interest_id(row: usize) -> String {
    format!("interest_{:02}", row + 1)
}

/// Listed when the pool (of normalised texts) holds the words.
pub(crate) fn source(text: &str, pool: &HashSet<String>) -> InterestSource {
    if pool.contains(&normalise_text(text)) {
        InterestSource::Listed
    } else {
        InterestSource::Extended
    }
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(idx, line)| (idx + 1, line))
        .filter(|(_, l)| !l.trim().is_empty())
}

/// Exactly three fields, none of them empty.
fn fields(line: &str) -> Option<[&str; 3]> {
    let mut parts = line.split('|').map(str::trim);
    let fields = [parts.next()?, parts.next()?, parts.next()?];
    (parts.next().is_none() && fields.iter().all(|f| !f.is_empty())).then_some(fields)
}
