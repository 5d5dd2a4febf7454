//! From a quote to the events behind it.

use std::collections::{BTreeSet, HashMap};

use types::{
    Digest, DigestContext, DigestLine, EventType, InterestStage, TimeBucket, normalise_text,
};

use crate::clean::plain;

/// Finds the lines of a digest that hold a text as item or query.
pub struct QuoteIndex<'a> {
    digest: &'a Digest,
    lines_of: HashMap<String, Vec<usize>>,
    recent: Vec<String>,
}

/// How the form of a text that quotes are compared by is made.
fn key(text: &str) -> String {
    normalise_text(&plain(text))
}

impl<'a> QuoteIndex<'a> {
    /// Indexes the items and queries of every line.
    #[must_use]
    pub fn new(digest: &'a Digest) -> Self {
        let mut lines_of: HashMap<String, Vec<usize>> = HashMap::new();
        for (idx, line) in digest.lines.iter().enumerate() {
            for text in texts(line) {
                let lines = lines_of.entry(key(text)).or_default();
                if lines.last() != Some(&idx) {
                    lines.push(idx);
                }
            }
        }
        lines_of.remove("");
        Self { digest, lines_of, recent: digest.recent.iter().map(|text| key(text)).collect() }
    }

    /// Rows of the digest's lines that hold `quote`; empty where none does.
    #[must_use]
    pub fn lines(&self, quote: &str) -> &[usize] {
        self.lines_of.get(&key(quote)).map_or(&[], Vec::as_slice)
    }

    /// Where the digest first holds `quote`: its line, and its place among the line's texts.
    pub(crate) fn place(&self, quote: &str) -> Option<(usize, usize)> {
        let (line, key) = (*self.lines(quote).first()?, key(quote));
        let place = texts(&self.digest.lines[line]).position(|text| self::key(text) == key);
        Some((line, place.unwrap_or(usize::MAX)))
    }

    /// Whether an interest that these lines support lasts: they spread over at least two buckets of time
    /// beyond the last month.
    #[must_use]
    pub fn stage(&self, lines: &[usize]) -> InterestStage {
        let contexts = lines.iter().flat_map(|&line| &self.digest.lines[line].contexts);
        let buckets: BTreeSet<TimeBucket> = contexts
            .map(|context| context.bucket)
            .filter(|bucket| !matches!(bucket, TimeBucket::Day(_)))
            .collect();
        if buckets.len() >= 2 { InterestStage::Long } else { InterestStage::Short }
    }

    /// Whether `quote` stands among the recent texts of the digest.
    #[must_use]
    pub fn is_recent(&self, quote: &str) -> bool {
        let key = key(quote);
        !key.is_empty() && self.recent.contains(&key)
    }

    /// Event ids of the lines, in the order given, no id twice.
    #[must_use]
    pub fn evidence(&self, lines: &[usize]) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        let lines = lines.iter().filter_map(|&idx| self.digest.lines.get(idx));
        for id in lines.flat_map(|line| &line.evidence) {
            if !ids.contains(id) {
                ids.push(id.clone());
            }
        }
        ids
    }

    /// One clause per quote, `bought “trail shoes” 3 days ago`, joined by `; `. The quotes stand
    /// between typographic quotation marks, where [`crate::terse::write_interests`] finds them.
    #[must_use]
    pub fn reason(&self, quotes: &[&str]) -> String {
        let clauses = quotes.iter().map(|quote| {
            let text = plain(quote);
            match self.lines(quote).first() {
                Some(&idx) => {
                    let (verb, bucket) = act_on(&self.digest.lines[idx], &key(quote));
                    format!("{verb} “{text}” {}", ago(bucket))
                }
                None => format!("“{text}”"),
            }
        });
        clauses.collect::<Vec<_>>().join("; ")
    }
}

/// Items, then queries of a line.
pub(crate) fn texts(line: &DigestLine) -> impl Iterator<Item = &str> {
    let behaviours = line.contexts.iter().flat_map(|c| &c.behaviours);
    let queries = behaviours.filter_map(|(_, query)| query.as_deref());
    line.items.iter().map(String::as_str).chain(queries)
}

/// What was done with a text on its line, and when: the weightiest behaviour on an item, the nearest
/// such time; for a query, when it was last searched.
fn act_on(line: &DigestLine, key_of_quote: &str) -> (&'static str, TimeBucket) {
    let nearest = line.contexts.first().map_or(TimeBucket::Day(0), |c| c.bucket);
    if line.items.iter().any(|item| key(item) == key_of_quote) {
        let weightiest =
            line.contexts.iter().max_by_key(|c| (strength(c), std::cmp::Reverse(c.bucket)));
        return weightiest.map_or(("saw", nearest), |c| (verb(c), c.bucket));
    }
    let searched = line.contexts.iter().find(|c| {
        c.behaviours.iter().any(|(_, q)| q.as_deref().is_some_and(|q| key(q) == key_of_quote))
    });
    ("searched", searched.map_or(nearest, |c| c.bucket))
}

/// The weightiest behaviour of a context.
fn strength(context: &DigestContext) -> u8 {
    context.behaviours.iter().map(|(behaviour, _)| rank(*behaviour)).max().unwrap_or(0)
}

fn rank(behaviour: EventType) -> u8 {
    match behaviour {
        EventType::Purchase => 6,
        EventType::Cart => 5,
        EventType::Favorite => 4,
        EventType::Search => 3,
        EventType::ReviewRead => 2,
        EventType::DetailView | EventType::Share => 1,
        EventType::Impression
        | EventType::Click
        | EventType::Return
        | EventType::Dislike
        | EventType::Dwell => 0,
    }
}

fn verb(context: &DigestContext) -> &'static str {
    match strength(context) {
        6 => "bought",
        5 => "put into the cart",
        4 => "saved",
        3 => "searched",
        2 => "read reviews of",
        1 => "looked at",
        _ => "clicked",
    }
}

fn ago(bucket: TimeBucket) -> String {
    let (n, unit) = match bucket {
        TimeBucket::Day(0) => return "today".to_owned(),
        TimeBucket::Day(n) => (n, "day"),
        TimeBucket::Month(n) => (n, "month"),
        TimeBucket::Year(n) => (n, "year"),
        TimeBucket::CalendarYear(_) | TimeBucket::CalendarMonth(..) => {
            return format!("in {bucket}");
        }
        TimeBucket::CalendarDay(..) => return format!("on {bucket}"),
    };
    format!("{n} {unit}{} ago", if n == 1 { "" } else { "s" })
}
