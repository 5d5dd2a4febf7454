//! One line under a recommended item: why this, for this interest (RECGPT.md 1.4).

use std::collections::HashSet;

use lm::PromptStyle;
use serde::{Deserialize, Serialize};
use types::{Timestamp, normalise_text};

use crate::json;
use crate::lexicon::{FUNCTION_WORDS, HARD_SELL};
use crate::stems::{is_cjk, stems, words};

/// Most words of a reason; the prompt asks for two fewer.
pub const MAX_REASON_WORDS: usize = 14;

/// Most Chinese characters of a reason.
const MAX_REASON_CHARS: usize = 24;

/// What a reason is written from.
#[derive(Debug, Clone, Copy)]
pub struct ReasonInput<'a> {
    /// Text of the interest.
    pub interest: &'a str,
    /// Rationale of the tag that found the item.
    pub rationale: &'a str,
    /// Title of the item.
    pub title: &'a str,
    /// The date.
    pub now: Timestamp,
}

/// Why a text is no reason that may be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "kind", content = "found")]
pub enum ReasonIssue {
    /// Nothing was written, or no JSON with an `explanation`.
    #[error("no reason in the answer")]
    Empty,
    /// Too long.
    #[error("{0} words, at most {MAX_REASON_WORDS} (or {MAX_REASON_CHARS} Chinese characters)")]
    TooLong(usize),
    /// Nearly the title again.
    #[error("copies the title")]
    CopiesTitle,
    /// A word that stands neither in title, interest and rationale nor in the closed list.
    #[error("invents {0:?}")]
    InventedWord(String),
    /// A phrase of a hard sell, or an exaggeration.
    #[error("pushes: {0:?}")]
    HardSell(String),
    /// An address, number or id.
    #[error("personal data: {0:?}")]
    Personal(String),
}

/// A reason to show, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The line.
    pub text: String,
    /// Written by a template because the model's answer was missing or refused.
    pub fallback: bool,
}

/// Reads and checks a model's reason.
///
/// # Errors
/// [`ReasonIssue`]: the first fault found. Words of scripts without spaces are not checked for
/// invention; their length, numbers and phrases are.
pub fn parse_reason(
    style: PromptStyle,
    text: &str,
    input: &ReasonInput<'_>,
) -> Result<String, ReasonIssue> {
    let line = match style {
        PromptStyle::Terse => text.lines().next().unwrap_or("").trim().to_owned(),
        PromptStyle::Prose => json::explanation(text).unwrap_or_default(),
    };
    if !line.chars().any(char::is_alphanumeric) {
        return Err(ReasonIssue::Empty);
    }
    let n_words = line.split_whitespace().count();
    let n_chars = line.chars().filter(|&c| is_cjk(c)).count();
    if n_words > MAX_REASON_WORDS || n_chars > MAX_REASON_CHARS {
        return Err(ReasonIssue::TooLong(n_words.max(n_chars)));
    }
    let lower = line.to_lowercase();
    if let Some(phrase) = HARD_SELL.iter().find(|phrase| holds(&lower, phrase)) {
        return Err(ReasonIssue::HardSell((*phrase).to_owned()));
    }
    check_words(&line, input)?;
    if copies(&line, input.title) {
        return Err(ReasonIssue::CopiesTitle);
    }
    Ok(line)
}

/// The reason that is shown where the model has none: plain, and marked as a fallback.
#[must_use]
pub fn template_reason(input: &ReasonInput<'_>) -> Reason {
    let interest = input.interest.trim();
    let rationale = normalise_text(input.rationale);
    let text = if rationale.is_empty() || rationale == normalise_text(interest) {
        format!("For your interest in {interest}")
    } else {
        format!("For your interest in {interest}: {rationale}")
    };
    Reason { text, fallback: true }
}

/// A phrase of words stands at word boundaries; one with other signs stands anywhere.
fn holds(lower: &str, phrase: &str) -> bool {
    if !phrase.chars().all(|c| c.is_ascii_alphabetic() || c == ' ') {
        return lower.contains(phrase);
    }
    format!(" {} ", words(lower).join(" ")).contains(&format!(" {phrase} "))
}

fn check_words(line: &str, input: &ReasonInput<'_>) -> Result<(), ReasonIssue> {
    let given: HashSet<String> =
        [input.title, input.interest, input.rationale].into_iter().flat_map(stems).collect();
    for word in line.split_whitespace() {
        let n_digits = word.chars().filter(char::is_ascii_digit).count();
        if word.contains('@') || word.contains("://") || n_digits >= 7 {
            return Err(ReasonIssue::Personal(word.to_owned()));
        }
    }
    let allowed = function_stems();
    // "you're" is the words "you" and "re": the pieces after an apostrophe are grammar.
    let pieces = line.replace('’', "'");
    for word in words(&strip_contractions(&pieces)) {
        if word.chars().any(is_cjk) {
            continue;
        }
        let known = stems(&word).iter().all(|s| given.contains(s) || allowed.contains(s));
        if !known && !FUNCTION_WORDS.contains(word.as_str()) {
            return Err(ReasonIssue::InventedWord(word));
        }
    }
    Ok(())
}

fn strip_contractions(line: &str) -> String {
    let cut = |word: &str| word.split('\'').next().unwrap_or("").to_owned();
    line.split_whitespace().map(cut).collect::<Vec<_>>().join(" ")
}

fn function_stems() -> &'static HashSet<String> {
    static STEMS: std::sync::LazyLock<HashSet<String>> = std::sync::LazyLock::new(|| {
        let mut all: Vec<&str> = FUNCTION_WORDS.iter().copied().collect();
        all.sort_unstable();
        all.into_iter().flat_map(stems).collect()
    });
    &STEMS
}

/// Nearly all content words of the line are the title's, in the title's order, and they are most of
/// the title: longest common subsequence of stems over both lengths.
fn copies(line: &str, title: &str) -> bool {
    let (a, b) = (stems(line), stems(title));
    if b.len() < 2 {
        return a == b;
    }
    let mut row = vec![0_usize; b.len() + 1];
    for x in &a {
        let mut diagonal = 0;
        for (idx, y) in b.iter().enumerate() {
            let above = row[idx + 1];
            row[idx + 1] = if x == y { diagonal + 1 } else { above.max(row[idx]) };
            diagonal = above;
        }
    }
    let common = row[b.len()] as f64;
    common / b.len() as f64 >= 0.8 && common / a.len() as f64 >= 0.6
}
