//! Which interests every text of a digest speaks for, and what all of them say together.
//!
//! A small model that reads a whole digest names what single lines suggest and does not add them up. So it is
//! asked about each text alone as well, and code adds up the answers.

use std::collections::{BTreeSet, HashMap};

use lm::{Completion, LanguageModel, LmError, Prompt, Request};
use types::{Digest, normalise_text};

use crate::clean::plain;
use crate::prompt::quotable;

/// Most tokens of one answer.
const MAX_TOKENS: usize = 48;

/// Interests of one answer that count.
const MOST_INTERESTS: usize = 6;

/// The question to the built-in model which interests a product or a query speaks for; the answer is
/// `interest;interest`, those that most people with such a product hold first.
#[must_use]
pub fn association_question(text: &str) -> String {
    format!("<|query|>interests: {}\n<|answer|>", plain(text))
}

/// The answer that names these interests.
#[must_use]
pub fn write_association(interests: &[&str]) -> String {
    let names: Vec<String> = interests.iter().map(|name| plain(name)).collect();
    names[..names.len().min(MOST_INTERESTS)].join(";")
}

fn parse_association(answer: &str) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let names = answer.split(';').map(str::trim).filter(|name| !name.is_empty());
    let names = names.filter(|name| seen.insert(normalise_text(name)));
    names.take(MOST_INTERESTS).map(str::to_owned).collect()
}

/// What the texts of one digest say for one interest.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Evidence {
    pub(crate) interest: String,
    /// Over the texts that speak for it, the sum of one over the interests that each speaks for.
    pub(crate) strength: f64,
    /// Those texts, in the digest's order.
    pub(crate) texts: Vec<String>,
}

/// The answers about the texts of some digests.
#[derive(Debug, Default)]
pub(crate) struct Associations {
    of: HashMap<String, Vec<String>>,
}

impl Associations {
    /// Asks about every text of the digests once; the tokens are those of the first digest that holds a text.
    pub(crate) fn ask(
        model: &dyn LanguageModel,
        digests: &[&Digest],
        mut read: impl FnMut(usize, &Completion),
    ) -> Result<Self, LmError> {
        let mut asked: Vec<(usize, String)> = Vec::new();
        let mut seen = BTreeSet::new();
        for (row, digest) in digests.iter().enumerate() {
            let new = quotable(digest).into_iter().filter(|text| seen.insert(text.clone()));
            asked.extend(new.map(|text| (row, text)));
        }
        let request = |(_, text): &(usize, String)| {
            Request::greedy(Prompt::user(association_question(text)), MAX_TOKENS)
        };
        let requests: Vec<Request> = asked.iter().map(request).collect();
        let mut of = HashMap::new();
        for ((row, text), reply) in asked.into_iter().zip(model.generate(&requests)) {
            let completion = reply?;
            read(row, &completion);
            of.insert(text, parse_association(&completion.text));
        }
        Ok(Self { of })
    }

    /// Everything that some text of the digest speaks for, in the digest's order.
    pub(crate) fn add_up(&self, digest: &Digest) -> Vec<Evidence> {
        let mut found: Vec<Evidence> = Vec::new();
        let mut row_of: HashMap<String, usize> = HashMap::new();
        for text in quotable(digest) {
            let interests = self.of.get(&text).map_or(&[][..], Vec::as_slice);
            for interest in interests {
                let row = *row_of.entry(normalise_text(interest)).or_insert_with(|| {
                    let interest = interest.clone();
                    found.push(Evidence { interest, strength: 0.0, texts: Vec::new() });
                    found.len() - 1
                });
                found[row].strength += 1.0 / interests.len() as f64;
                found[row].texts.push(text.clone());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::{parse_association, write_association};

    #[test]
    fn answers_read_back_as_they_were_written() {
        let check = |answer: &str, expect: &[&str]| assert_eq!(parse_association(answer), expect);
        check("hiking; camping", &["hiking", "camping"]);
        check("", &[]);
        check(";;hiking;Hiking", &["hiking"]);
        check(&write_association(&["hiking", "a;b"]), &["hiking", "a b"]);
        check(
            &write_association(&["a", "b", "c", "d", "e", "f", "g"]),
            &["a", "b", "c", "d", "e", "f"],
        );
    }
}
