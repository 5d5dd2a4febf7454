//! What is asked for: a user, what is wanted now, and what a slate may hold.

use types::{EventType, Timestamp};

use crate::ServeError;

/// Items of a slate where the request names no number.
pub const DEFAULT_N: usize = 20;

/// Most items of a slate.
pub const MAX_N: usize = 200;

/// Most wishes of a request, and most characters of one.
const MAX_WISHES: usize = 20;
const MAX_WISH_CHARS: usize = 500;

/// Most events of a session, and most items to leave out.
const MAX_SESSION: usize = 1_000;
const MAX_EXCLUDE: usize = 10_000;

/// Places that share one quota.
const PAGE: usize = 10;

/// Whether items that the user has met before may come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Left out: every item of the user's history and session, as in evaluation.
    Exclude,
    /// Allowed: for shops where people buy the same again.
    Include,
}

impl Seen {
    /// Whether they may come, as interfaces ask it.
    #[must_use]
    pub fn included(yes: bool) -> Self {
        if yes { Self::Include } else { Self::Exclude }
    }
}

/// Something that the user did since the log was read.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionEvent {
    /// On which item.
    pub item_id: String,
    /// What.
    pub event_type: EventType,
    /// When; the moment of the slate where it is not said.
    pub timestamp: Option<Timestamp>,
}

impl SessionEvent {
    /// A click just now.
    #[must_use]
    pub fn click(item_id: &str) -> Self {
        Self { item_id: item_id.to_owned(), event_type: EventType::Click, timestamp: None }
    }
}

/// Which items a slate may hold; empty lists and none allow everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RequestFilter {
    /// Category paths; an item lies in one of them or below.
    pub categories: Vec<String>,
    /// Merchants of which one sells it.
    pub merchants: Vec<String>,
    /// Least price; an item without price does not pass a bound.
    pub min_price: Option<f64>,
    /// Largest price.
    pub max_price: Option<f64>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct RecommendRequest {
    /// For whom; empty for nobody in particular.
    pub user_id: String,
    /// How many items, 1 to [`MAX_N`].
    pub n: usize,
    /// Weight of the user tower, 0 to 1; the configured one when absent.
    pub beta: Option<f32>,
    /// What the user says is wanted, in free text; takes the place of predicted tags.
    pub wishes: Vec<String>,
    /// The last events, oldest first; they count as the newest of the history.
    pub session: Vec<SessionEvent>,
    /// Item ids to leave out.
    pub exclude: Vec<String>,
    /// Items of history and session; as configured when absent.
    pub seen: Option<Seen>,
    /// Which items may come.
    pub filter: RequestFilter,
    /// Items of one category on ten places, 0 for no limit; the configured number when absent.
    pub per_category: Option<usize>,
    /// Items of one merchant on ten places, likewise.
    pub per_merchant: Option<usize>,
    /// The last places of every ten, for new items, 0 to 10; the configured number when absent.
    pub new_places: Option<usize>,
    /// Whether to write reasons.
    pub explain: bool,
}

impl RecommendRequest {
    /// [`DEFAULT_N`] items as configured, without reasons.
    #[must_use]
    pub fn new(user_id: &str) -> Self {
        Self {
            user_id: user_id.to_owned(),
            n: DEFAULT_N,
            beta: None,
            wishes: Vec::new(),
            session: Vec::new(),
            exclude: Vec::new(),
            seen: None,
            filter: RequestFilter::default(),
            per_category: None,
            per_merchant: None,
            new_places: None,
            explain: false,
        }
    }

    /// Refuses what is outside its range.
    pub(crate) fn check(&self) -> Result<(), ServeError> {
        let at_most = |name: &str, got: usize, most: usize| match got <= most {
            true => Ok(()),
            false => Err(refusal(name, got, &format!("at most {most}"))),
        };
        if !(1..=MAX_N).contains(&self.n) {
            return Err(refusal("n", self.n, "a whole number from 1 to 200"));
        }
        if let Some(beta) = self.beta.filter(|beta| !(0.0..=1.0).contains(beta)) {
            return Err(refusal("beta", beta, "a number from 0 to 1"));
        }
        at_most("text", self.wishes.len(), MAX_WISHES)?;
        self.wishes.iter().try_for_each(|wish| check_wish(wish))?;
        at_most("session", self.session.len(), MAX_SESSION)?;
        at_most("exclude", self.exclude.len(), MAX_EXCLUDE)?;
        if let Some(places) = self.new_places.filter(|&places| places > PAGE) {
            return Err(refusal("new_places", places, "a whole number from 0 to 10"));
        }
        self.filter.check()
    }
}

impl RequestFilter {
    fn check(&self) -> Result<(), ServeError> {
        for (name, bound) in [("min_price", self.min_price), ("max_price", self.max_price)] {
            if let Some(price) = bound.filter(|p| !p.is_finite() || *p < 0.0) {
                return Err(refusal(name, price, "a price, 0 or more"));
            }
        }
        match (self.min_price, self.max_price) {
            (Some(least), Some(most)) if least > most => {
                Err(refusal("min_price", least, &format!("at most max_price, which is {most}")))
            }
            _ => Ok(()),
        }
    }
}

fn check_wish(wish: &str) -> Result<(), ServeError> {
    if wish.chars().count() > MAX_WISH_CHARS {
        let start: String = wish.chars().take(40).collect();
        return Err(refusal("text", start, "at most 500 characters"));
    }
    if !wish.chars().any(char::is_alphanumeric) {
        return Err(refusal("text", wish, "words that say what is wanted"));
    }
    Ok(())
}

/// A parameter that is not as it must be.
pub(crate) fn refusal(name: &str, got: impl ToString, expected: &str) -> ServeError {
    ServeError::Parameter {
        name: name.to_owned(),
        got: got.to_string(),
        expected: expected.to_owned(),
    }
}
