//! What the built-in judge is told of one subject: enough to decide every criterion, in few words.
//!
//! Questions are data of their own, so that a case of an earlier round can be asked again without its
//! digest.

use serde::{Deserialize, Serialize};
use types::{Digest, Interest, InterestStage, User, normalise_text};

use crate::clean::plain;
use crate::evidence::QuoteIndex;
use crate::judge::history::{History, clip};
use crate::terse::quotes;

/// Other texts of the history beside an interest.
const MOST_OTHERS: usize = 10;

/// Texts of the history beside tags.
const MOST_HISTORY: usize = 8;

/// Interests beside tags.
const MOST_INTERESTS: usize = 12;

/// Cited texts of one interest.
const MOST_QUOTES: usize = 3;

/// Attributes that a judge reads; the names of columns differ from shop to shop.
const ATTRIBUTES: [&str; 3] = ["age", "gender", "sex"];

/// Whether an interest was chosen freely, and whether the history supports it.
///
/// Willingness is decided from the text and the quotes; reasonableness from the quotes with what was
/// done, how often and when, and from the rest of the history, which may explain the quotes better.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterestQuestion {
    /// Age and gender, where known.
    pub about: Vec<String>,
    /// Other texts of the history, those with a word in common first.
    pub others: Vec<String>,
    /// The interest.
    pub text: String,
    /// How long it is said to last.
    pub stage: InterestStage,
    /// The cited texts, each with what was done.
    pub quotes: Vec<String>,
}

/// What several tags of one interest have in common.
///
/// Relevance is decided from interest and tag; consistency from date, attributes, interests and history;
/// specificity from the tag; validity from the tag and what the judge has learnt of products.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagContext {
    /// `2026-07 summer`.
    pub month: String,
    /// Age and gender, where known.
    pub about: Vec<String>,
    /// The user's interests.
    pub interests: Vec<String>,
    /// Texts of the history, those with a word in common first.
    pub history: Vec<String>,
    /// The interest that the tags are to serve.
    pub interest: String,
}

/// Whether tags serve their interest and their user, and name a product precisely that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagQuestion {
    /// What the tags have in common.
    pub context: TagContext,
    /// The tags, at most [`TAGS_PER_QUESTION`].
    pub tags: Vec<String>,
}

/// Tags of one question: more would make prompt and answer of the built-in judge too long.
pub const TAGS_PER_QUESTION: usize = 8;

/// Evidence that the digest does not hold: such an interest is judged without a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the history does not hold {0:?}")]
pub struct HallucinatedEvidence(pub Vec<String>);

/// Makes the questions of one user.
pub struct Questions<'a> {
    digest: &'a Digest,
    index: QuoteIndex<'a>,
    history: History,
    about: Vec<String>,
}

impl<'a> Questions<'a> {
    /// Reads a digest once for all questions about it.
    #[must_use]
    pub fn new(user: &User, digest: &'a Digest) -> Self {
        let known = |name: &str| ATTRIBUTES.iter().any(|a| name.eq_ignore_ascii_case(a));
        let about = user.attributes.iter().filter(|(name, _)| known(name));
        let about = about.map(|(_, value)| plain(&value.replace(',', " ")));
        Self {
            digest,
            index: QuoteIndex::new(digest),
            history: History::new(digest),
            about: about.filter(|value| !value.is_empty()).collect(),
        }
    }

    /// The question about an interest; its quotes are those of its reason or, where that quotes
    /// nothing, the texts of its events.
    ///
    /// # Errors
    /// [`HallucinatedEvidence`] when a quote, or every event, is missing from the digest.
    pub fn interest(&self, interest: &Interest) -> Result<InterestQuestion, HallucinatedEvidence> {
        let quoted = self.quoted(interest)?;
        let quotes: Vec<&str> = quoted.iter().map(String::as_str).collect();
        let about: Vec<&str> = std::iter::once(interest.text.as_str())
            .chain(quotes.iter().copied().take(MOST_QUOTES))
            .collect();
        Ok(InterestQuestion {
            about: self.about.clone(),
            others: self.history.bearing_on(&about, &quotes, MOST_OTHERS),
            text: clip(&plain(&interest.text)),
            stage: interest.stage,
            quotes: quotes.iter().take(MOST_QUOTES).map(|q| self.history.with_acts(q)).collect(),
        })
    }

    /// What tags of `interest` have in common, the user having `interests`.
    #[must_use]
    pub fn tag_context(&self, interests: &[&str], interest: &str) -> TagContext {
        let (date, season) = (self.digest.now.date(), self.digest.now.season());
        let names = interests.iter().take(MOST_INTERESTS);
        TagContext {
            month: format!("{:04}-{:02} {}", date.year(), date.month(), season.as_str()),
            about: self.about.clone(),
            interests: names.map(|text| clip(&plain(text))).collect(),
            history: self.history.bearing_on(&[interest], &[], MOST_HISTORY),
            interest: clip(&plain(interest)),
        }
    }

    /// Texts that the interest cites.
    fn quoted(&self, interest: &Interest) -> Result<Vec<String>, HallucinatedEvidence> {
        let quotes = quotes(&interest.reason);
        let missing = |quote: &&&str| {
            self.index.lines(quote).is_empty()
                && !self.index.is_recent(quote)
                && !normalise_text(&plain(quote)).is_empty()
        };
        let strange: Vec<String> =
            quotes.iter().filter(missing).map(|quote| (*quote).to_owned()).collect();
        if !strange.is_empty() {
            return Err(HallucinatedEvidence(strange));
        }
        if !quotes.is_empty() {
            return Ok(quotes.into_iter().map(str::to_owned).collect());
        }
        let of_interest = |id: &String| interest.evidence.contains(id);
        let lines = self.digest.lines.iter().filter(|l| l.evidence.iter().any(of_interest));
        let texts: Vec<String> = lines.filter_map(|line| line.items.first().cloned()).collect();
        if texts.is_empty() {
            return Err(HallucinatedEvidence(interest.evidence.clone()));
        }
        Ok(texts)
    }
}
