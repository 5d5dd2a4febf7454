//! A chain of reasons behind a tag, written as its rationale.

use std::fmt;

use intent::{season_of, split_tag};
use types::Season;

use crate::scope::{Closeness, Scope};

/// One reason; the order is that of strength.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Clause {
    /// A word of the season.
    Season(Season),
    /// Stands in the same histories as this more often than chance.
    GoesWith(String),
    /// Several products of the kind stand in the user's history.
    Often,
    /// The user had products with this modifier before.
    Modifier(String),
    /// Its category lies beside that of this.
    Near(String),
    /// The interest alone.
    Interest(String),
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Season(season) => f.write_str(season.as_str()),
            Self::GoesWith(name) => write!(f, "goes with {name}"),
            Self::Often => f.write_str("buys often"),
            Self::Modifier(word) => write!(f, "likes {word}"),
            Self::Interest(text) => write!(f, "loves {text}"),
            Self::Near(name) => write!(f, "close to {name}"),
        }
    }
}

/// The strongest `most` reasons, joined by commas.
pub(crate) fn rationale(mut clauses: Vec<Clause>, most: usize) -> String {
    clauses.sort();
    clauses.dedup();
    let strongest = clauses.iter().take(most.max(1)).map(ToString::to_string);
    strongest.collect::<Vec<_>>().join(", ")
}

/// What a chain is made for.
pub(crate) struct Link<'a> {
    /// Text of the tag.
    pub text: &'a str,
    /// Its modifiers.
    pub modifiers: &'a [String],
    /// Text of the interest that it serves.
    pub interest: &'a str,
    /// Whether several products of its core stand in the history.
    pub often: bool,
    /// How directly the evidence of the interest speaks for it.
    pub closeness: Option<Closeness>,
    /// The newest text of the history that it goes with.
    pub goes_with: Option<&'a str>,
}

/// Every reason that holds, in no order.
pub(crate) fn clauses(
    link: &Link<'_>,
    scope: &Scope,
    ground: &crate::scope::Ground<'_>,
) -> Vec<Clause> {
    let short = |text: &str| {
        split_tag(text, &ground.lexicon.cores).map_or_else(|| text.to_owned(), |(_, core)| core)
    };
    let mut found = vec![Clause::Interest(link.interest.to_owned())];
    found.extend(season_of(link.text).map(Clause::Season));
    found.extend(link.goes_with.map(|text| Clause::GoesWith(short(text))));
    let shared = link.modifiers.iter().find(|word| scope.modifiers.contains(*word));
    found.extend(shared.map(|word| Clause::Modifier(word.clone())));
    if link.often {
        found.push(Clause::Often);
    }
    if link.closeness == Some(Closeness::Neighbour) {
        found.extend(scope.texts.first().map(|text| Clause::Near(short(text))));
    }
    found
}
