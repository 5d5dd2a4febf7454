//! A life of behaviour compressed until a language model can read it (RECGPT.md 1.1).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{EventType, Timestamp};

/// Counts the tokens of a text, as the language model that will read it does.
pub type TokenCounter<'a> = dyn Fn(&str) -> usize + Sync + 'a;

/// A span of time relative to the digest's `now` (a day within a month, a month within a year, a year
/// beyond; smaller is nearer), or by the calendar where lines stand in a stable order (smaller is older).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeBucket {
    /// This many days ago, 0 to 29.
    Day(u16),
    /// This many months of 30 days ago, 1 to 12.
    Month(u16),
    /// This many years of 365 days ago, from 1.
    Year(u16),
    /// A year of the calendar.
    CalendarYear(i16),
    /// A month of the calendar: year, month from 1.
    CalendarMonth(i16, i8),
    /// A day of the calendar: year, month and day from 1.
    CalendarDay(i16, i8, i8),
}

impl fmt::Display for TimeBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day(n) => write!(f, "{n}d"),
            Self::Month(n) => write!(f, "{n}mo"),
            Self::Year(n) => write!(f, "{n}y"),
            Self::CalendarYear(year) => write!(f, "{year:04}"),
            Self::CalendarMonth(year, month) => write!(f, "{year:04}-{month:02}"),
            Self::CalendarDay(year, month, day) => write!(f, "{year:04}-{month:02}-{day:02}"),
        }
    }
}

/// One time and what was done then.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DigestContext {
    /// When.
    pub bucket: TimeBucket,
    /// How, in order of [`EventType`]; a search carries the query that led to the items.
    pub behaviours: Vec<(EventType, Option<String>)>,
}

/// Items that share all their contexts; prints as `3d(search:running shoes,cart),2y(purchase)|A;B`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestLine {
    /// Nearest first.
    pub contexts: Vec<DigestContext>,
    /// Core words of the items, or the query itself of a search that led nowhere.
    pub items: Vec<String>,
    /// Events behind the line, newest first, at most 16 of them.
    pub evidence: Vec<String>,
    /// How many events the line stands for.
    pub n_events: u32,
}

impl fmt::Display for DigestLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, context) in self.contexts.iter().enumerate() {
            if idx > 0 {
                f.write_str(",")?;
            }
            write!(f, "{}(", context.bucket)?;
            for (idx, (behaviour, query)) in context.behaviours.iter().enumerate() {
                if idx > 0 {
                    f.write_str(",")?;
                }
                f.write_str(behaviour.digest_word())?;
                if let Some(query) = query {
                    write!(f, ":{query}")?;
                }
            }
            f.write_str(")")?;
        }
        write!(f, "|{}", self.items.join(";"))
    }
}

/// The text is no line of a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no line of a digest: {0:?}; expected contexts, a bar and items, such as 3d(cart),2y(buy)|boots;socks"
)]
pub struct NoDigestLine(pub String);

impl FromStr for TimeBucket {
    type Err = NoDigestLine;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, NoDigestLine> {
        let fault = || NoDigestLine(text.to_owned());
        let ago = |suffix: &str| text.strip_suffix(suffix).and_then(|n| n.parse().ok());
        if let Some(bucket) = ago("d")
            .map(Self::Day)
            .or_else(|| ago("mo").map(Self::Month))
            .or_else(|| ago("y").map(Self::Year))
        {
            return Ok(bucket);
        }
        let mut parts = text.split('-');
        let year: i16 = parts.next().and_then(|y| y.parse().ok()).ok_or_else(fault)?;
        let rest: Vec<i8> =
            parts.map(|p| p.parse().map_err(|_| fault())).collect::<Result<_, _>>()?;
        match rest[..] {
            [] => Ok(Self::CalendarYear(year)),
            [month] => Ok(Self::CalendarMonth(year, month)),
            [month, day] => Ok(Self::CalendarDay(year, month, day)),
            _ => Err(fault()),
        }
    }
}

impl FromStr for DigestLine {
    type Err = NoDigestLine;

    /// Reads what `Display` writes; evidence and number of events are not in the text.
    fn from_str(text: &str) -> Result<Self, NoDigestLine> {
        let fault = || NoDigestLine(text.to_owned());
        let (head, items) = text.split_once('|').ok_or_else(fault)?;
        let mut contexts = Vec::new();
        for context in head.strip_suffix(')').ok_or_else(fault)?.split("),") {
            let (bucket, behaviours) = context.split_once('(').ok_or_else(fault)?;
            let behaviours = behaviours.split(',').map(|behaviour| {
                let (word, query) = match behaviour.split_once(':') {
                    Some((word, query)) => (word, Some(query.to_owned())),
                    None => (behaviour, None),
                };
                let kind = EventType::ALL.into_iter().find(|kind| kind.digest_word() == word);
                Ok((kind.ok_or_else(fault)?, query))
            });
            let behaviours = behaviours.collect::<Result<_, _>>()?;
            contexts.push(DigestContext { bucket: bucket.parse()?, behaviours });
        }
        if items.contains(['|', '\n']) {
            return Err(fault());
        }
        let items = items.split(';').map(str::to_owned).collect();
        Ok(Self { contexts, items, evidence: Vec::new(), n_events: 0 })
    }
}

/// Tokens before and after every level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct DigestTokens {
    /// One line per event with the item's whole record.
    pub raw: usize,
    /// After the item level: core words for records.
    pub item: usize,
    /// After the behaviour level: what shows intent.
    pub behaviour: usize,
    /// After the sequence level: buckets, grouped and inverted.
    pub sequence: usize,
    /// After the budget.
    pub budget: usize,
}

/// What the language model reads of one user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Digest {
    /// Whose.
    pub user_id: String,
    /// The moment that the buckets count back from; nothing at or after it was read.
    pub now: Timestamp,
    /// Most recent context first.
    pub lines: Vec<DigestLine>,
    /// Core words of what was clicked, bought or searched in the last 30 days, newest first, no
    /// line twice; tag prediction reads them, and the freshness constraint forbids them.
    pub recent: Vec<String>,
    /// Tokens per level.
    pub tokens: DigestTokens,
    /// Events read.
    pub n_events: u64,
    /// Events that the behaviour level dropped.
    pub n_dropped_behaviour: u64,
    /// Events whose lines the budget left out.
    pub n_dropped_budget: u64,
    /// Lines of the sequence level, before the budget.
    pub n_lines_sequence: u64,
}

impl Digest {
    /// The lines as the model reads them, one per line, without a newline at the end.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::{DigestContext, DigestLine, TimeBucket};
    use crate::EventType;

    #[test]
    fn a_line_prints_as_published() {
        let line = DigestLine {
            contexts: vec![
                DigestContext {
                    bucket: TimeBucket::Day(3),
                    behaviours: vec![
                        (EventType::Cart, None),
                        (EventType::Search, Some("running shoes".to_owned())),
                    ],
                },
                DigestContext {
                    bucket: TimeBucket::Year(2),
                    behaviours: vec![(EventType::Purchase, None)],
                },
            ],
            items: vec!["trail shoes".to_owned(), "socks".to_owned()],
            evidence: vec![],
            n_events: 4,
        };
        let text = "3d(cart,search:running shoes),2y(buy)|trail shoes;socks";
        assert_eq!(line.to_string(), text);
        assert_eq!(text.parse(), Ok(DigestLine { n_events: 0, ..line }));
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for text in ["", "boots", "3d(cart)", "3d(hug)|boots", "3x(cart)|boots", "3d(cart)|a|b"] {
            assert!(text.parse::<DigestLine>().is_err(), "{text}");
        }
        for text in ["2024(buy)|boots", "2026-03(cart)|a;b", "2026-11-22(search)|tents"] {
            assert_eq!(text.parse::<DigestLine>().map(|l| l.to_string()), Ok(text.to_owned()));
        }
    }
}
