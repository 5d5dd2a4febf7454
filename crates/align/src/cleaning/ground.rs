//! The answers of a model of prose made fit to teach: evidence as quotes, interests under one spelling.
//!
//! Such a model cites lines of the digest and gives its reason in a sentence. The format that is taught
//! quotes texts of the digest, so each interest gets those that its lines hold and its reason speaks of;
//! one without any is refused and listed as an issue.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use intent::{ParseIssue, ParseIssueKind, QuoteIndex, plain, stem_key, stems, terse};
use types::{Digest, DigestLine, Interest, normalise_text};

use super::TeacherAnswer;

/// An interest quotes at most this many texts.
const MOST_QUOTES: usize = 3;

/// Words that say nothing of a product.
const FUNCTION_WORDS: [&str; 10] =
    ["a", "and", "for", "from", "in", "of", "on", "the", "to", "with"];

impl TeacherAnswer {
    /// The answer with quotes of the digest as evidence; an interest that quotes some already is left as it
    /// is. Tags name their interest as the profile spells it.
    #[must_use]
    pub fn grounded(mut self, digest: &Digest) -> Self {
        let index = QuoteIndex::new(digest);
        let mut kept = Vec::new();
        for interest in std::mem::take(&mut self.profile.interests) {
            if !terse::quotes(&interest.reason).is_empty() {
                kept.push(interest);
                continue;
            }
            let texts = spoken_of(&interest, digest);
            if texts.is_empty() {
                let issue = ParseIssue::new(0, ParseIssueKind::NoEvidence, &interest.text);
                self.interest_issues.push(issue);
                continue;
            }
            let quotes: Vec<&str> = texts.iter().map(String::as_str).collect();
            let lines: Vec<usize> =
                quotes.iter().flat_map(|quote| index.lines(quote).iter().copied()).collect();
            let (reason, evidence) = (index.reason(&quotes), index.evidence(&lines));
            kept.push(Interest { reason, evidence, ..interest });
        }
        let spelt: HashMap<String, &str> =
            kept.iter().map(|i| (normalise_text(&i.text), i.text.as_str())).collect();
        for tag in &mut self.tags {
            if let Some(name) = spelt.get(&normalise_text(&tag.interest)) {
                tag.interest = (*name).to_owned();
            }
        }
        self.profile.interests = kept;
        self
    }
}

/// Texts of the cited lines that the reason or the interest shares a word with, and those that stand alone
/// on their line: of different lines first, most shared words first, in the order of the digest.
fn spoken_of(interest: &Interest, digest: &Digest) -> Vec<String> {
    let said = format!("{} {}", interest.text, interest.reason);
    let (said_stems, said) = (words(&said), normalise_text(&said));
    let mut ranked: Vec<(usize, f64, usize, String)> = Vec::new();
    for (row, line) in digest.lines.iter().enumerate() {
        if !line.evidence.iter().any(|id| interest.evidence.contains(id)) {
            continue;
        }
        let texts = texts_of(line);
        let alone = texts.len() == 1;
        let scored = texts.into_iter().map(|text| (share(&text, &said_stems, &said), text));
        let mut own: Vec<(f64, String)> =
            scored.filter(|(share, _)| *share > 0.0 || alone).collect();
        own.sort_by(|a, b| b.0.total_cmp(&a.0)); // stable: the line's order breaks ties
        let own = own.into_iter().enumerate();
        ranked.extend(own.map(|(nth, (share, text))| (nth, share, row, text)));
    }
    ranked.sort_by_key(|(nth, share, row, _)| (*nth, Reverse((share * 1000.0) as u64), *row));
    let mut seen = HashSet::new();
    ranked.retain(|(_, _, _, text)| seen.insert(stem_key(text)));
    ranked.truncate(MOST_QUOTES);
    ranked.sort_by_key(|(_, _, row, _)| *row); // stable
    ranked.into_iter().map(|(_, _, _, text)| text).collect()
}

/// Items and queries of a line.
fn texts_of(line: &DigestLine) -> Vec<String> {
    let queries = line.contexts.iter().flat_map(|c| &c.behaviours).filter_map(|(_, q)| q.as_ref());
    let mut seen = HashSet::new();
    let texts = line.items.iter().chain(queries).map(|text| plain(text));
    texts.filter(|text| !text.is_empty() && seen.insert(stem_key(text))).collect()
}

/// The part of a text's words that is said.
fn share(text: &str, said_stems: &HashSet<String>, said: &str) -> f64 {
    // Scripts without spaces have no words to compare.
    if said.contains(&normalise_text(text)) {
        return 1.0;
    }
    let own = words(text);
    own.intersection(said_stems).count() as f64 / own.len().max(1) as f64
}

fn words(text: &str) -> HashSet<String> {
    let mut words: HashSet<String> = stems(text).into_iter().collect();
    words.retain(|word| !FUNCTION_WORDS.contains(&word.as_str()));
    words
}
