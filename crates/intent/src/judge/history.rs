//! The texts of a digest as a judge reads them: each with what was done, those that bear on a subject
//! first.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use types::{Digest, DigestContext, DigestLine, TimeBucket, normalise_text};

use crate::clean::plain;
use crate::evidence::strength;
use crate::stems::stems;

/// Words of one text that a terse prompt shows.
const MOST_WORDS: usize = 6;

/// Moments that are shown of one text.
const MOST_MOMENTS: usize = 3;

/// The items and queries of a digest, none twice, in its order.
pub(crate) struct History {
    texts: Vec<HistoryText>,
    row_of: HashMap<String, usize>,
}

struct HistoryText {
    text: String,
    stems: Vec<String>,
    /// Moments, nearest first, with the words of what was done.
    acts: Vec<(TimeBucket, Vec<&'static str>)>,
    weight: u64,
}

impl History {
    pub(crate) fn new(digest: &Digest) -> Self {
        let mut history = Self { texts: Vec::new(), row_of: HashMap::new() };
        for line in &digest.lines {
            for item in &line.items {
                let acts = line.contexts.iter().map(|c| (c.bucket, words(c), strength(c)));
                history.add(item, acts.collect());
            }
            for (query, bucket) in queries(line) {
                history.add(query, vec![(bucket, vec!["search"], 3)]);
            }
        }
        history
    }

    fn add(&mut self, text: &str, acts: Vec<(TimeBucket, Vec<&'static str>, u8)>) {
        let text = plain(text);
        let key = normalise_text(&text);
        if key.is_empty() {
            return;
        }
        let row = *self.row_of.entry(key).or_insert_with(|| {
            let stems = stems(&text);
            self.texts.push(HistoryText { text, stems, acts: Vec::new(), weight: 0 });
            self.texts.len() - 1
        });
        let entry = &mut self.texts[row];
        for (bucket, words, strength) in acts {
            entry.weight += u64::from(strength.max(1));
            match entry.acts.iter_mut().find(|(known, _)| *known == bucket) {
                Some((_, known)) => {
                    known.extend(words.into_iter().filter(|w| *w == "search"));
                    known.dedup();
                }
                None => entry.acts.push((bucket, words)),
            }
        }
        entry.acts.sort_by_key(|(bucket, _)| *bucket); // stable
    }

    /// A text with what was done and when, `wool socks(3d view buy,2y buy)`, at most three moments of
    /// it; the bare text where the digest's lines do not hold it.
    pub(crate) fn with_acts(&self, text: &str) -> String {
        let text = plain(text);
        let Some(&row) = self.row_of.get(&normalise_text(&text)) else { return clip(&text) };
        let moments = self.texts[row].acts.iter().take(MOST_MOMENTS);
        let acts: Vec<String> =
            moments.map(|(bucket, words)| format!("{bucket} {}", words.join(" "))).collect();
        format!("{}({})", clip(&text), acts.join(","))
    }

    /// At most `most` texts: those that share a word with one of `about` first, then those on which
    /// most was done. `without` is left out.
    pub(crate) fn bearing_on(&self, about: &[&str], without: &[&str], most: usize) -> Vec<String> {
        let about: HashSet<String> = about.iter().flat_map(|text| stems(text)).collect();
        let left_out: HashSet<String> =
            without.iter().map(|text| normalise_text(&plain(text))).collect();
        let mut texts: Vec<&HistoryText> =
            self.texts.iter().filter(|t| !left_out.contains(&normalise_text(&t.text))).collect();
        let bears = |t: &HistoryText| t.stems.iter().any(|stem| about.contains(stem));
        texts.sort_by_cached_key(|t| (Reverse(bears(t)), Reverse(t.weight))); // stable
        texts.iter().take(most).map(|t| clip(&t.text)).collect()
    }
}

/// The behaviours of a context in words, strongest last as the digest has them; queries stand for
/// themselves.
fn words(context: &DigestContext) -> Vec<&'static str> {
    let mut words: Vec<&str> = Vec::new();
    for (behaviour, _) in &context.behaviours {
        let word = behaviour.digest_word();
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

fn queries(line: &DigestLine) -> impl Iterator<Item = (&str, TimeBucket)> {
    line.contexts.iter().flat_map(|context| {
        let queries = context.behaviours.iter().filter_map(|(_, query)| query.as_deref());
        queries.map(|query| (query, context.bucket))
    })
}

/// The first few words.
pub(crate) fn clip(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().take(MOST_WORDS).collect();
    words.join(" ").chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use types::{
        Digest, DigestContext, DigestLine, DigestTokens, EventType, TimeBucket, Timestamp,
    };

    use super::History;

    type Acts<'a> = &'a [(EventType, Option<&'a str>)];

    fn line(contexts: &[(TimeBucket, Acts<'_>)], items: &[&str]) -> DigestLine {
        let context = |(bucket, acts): &(TimeBucket, Acts<'_>)| DigestContext {
            bucket: *bucket,
            behaviours: acts.iter().map(|(act, q)| (*act, q.map(str::to_owned))).collect(),
        };
        DigestLine {
            contexts: contexts.iter().map(context).collect(),
            items: items.iter().map(|item| (*item).to_owned()).collect(),
            evidence: vec![],
            n_events: 1,
        }
    }

    fn history() -> History {
        let (view, buy) = ((EventType::DetailView, None), (EventType::Purchase, None));
        let search = (EventType::Search, Some("warm socks"));
        let lines = vec![
            line(&[(TimeBucket::Day(3), &[view, buy])], &["wool socks", "one two 3 4 5 6 7"]),
            line(&[(TimeBucket::Day(9), &[view, search])], &["red mug"]),
            line(&[(TimeBucket::Year(2), &[buy])], &["Wool socks", "burr grinder"]),
        ];
        History::new(&Digest {
            user_id: "u".to_owned(),
            now: Timestamp(0),
            lines,
            recent: vec![],
            tokens: DigestTokens::default(),
            n_events: 0,
            n_dropped_behaviour: 0,
            n_dropped_budget: 0,
        })
    }

    #[test]
    fn texts_carry_what_was_done() {
        let history = history();
        for (text, want) in [
            ("wool socks", "wool socks(3d view buy,2y buy)"),
            ("warm socks", "warm socks(9d search)"),
            ("one two 3 4 5 6 7", "one two 3 4 5 6(3d view buy)"),
            ("unknown", "unknown"),
        ] {
            assert_eq!(history.with_acts(text), want);
        }
    }

    #[test]
    fn what_bears_on_the_subject_comes_first() {
        let history = history();
        let got = history.bearing_on(&["mugs for tea", "sock"], &["burr grinder"], 9);
        assert_eq!(got, ["wool socks", "red mug", "warm socks", "one two 3 4 5 6"]);
        assert_eq!(history.bearing_on(&[], &[], 1), ["wool socks"]);
    }
}
