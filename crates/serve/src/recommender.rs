//! The online pipeline: user id to slate, over loaded artefacts.
//!
//! A request always gets a slate. Known users with tags: fusion of user tower and tags. Without tags: the
//! user tower. Unknown users: what is popular. The slate says which. The same request gives the same
//! bytes.

use std::collections::{BTreeMap, HashMap, HashSet};

use retrieval::{FusionInput, ItemIndex, Merge, Popularity, retrieve};
use types::{
    Candidate, CandidateSource, Catalogue, Fallback, Interaction, InterestProfile, ItemId, Slate,
    SlateItem, Tag, Taxonomy, Timestamp, UserId,
};

use crate::reasons::explain;
use crate::{Encoder, Reasoner, ServeError};

/// Items of a slate where the request names no number.
pub const DEFAULT_N: usize = 20;

/// Most items of a slate.
pub const MAX_N: usize = 200;

/// How candidates of user and tags become one list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fusion {
    /// Weight of the user tower where the request names none.
    pub beta: f32,
    /// Items per tag, for [`Merge::TagQuota`].
    pub quota: usize,
    /// The rule.
    pub merge: Merge,
    /// Items of one category on ten places of a slate; 0 for no limit.
    pub per_category: usize,
}

/// Everything that answers are made of.
pub struct Artefacts {
    /// The items.
    pub catalogue: Catalogue,
    /// Names of categories.
    pub taxonomy: Taxonomy,
    /// The towers.
    pub encoder: Box<dyn Encoder>,
    /// Item vectors, rows as in `catalogue`.
    pub index: ItemIndex,
    /// User ids, sorted; a [`UserId`] is a row.
    pub user_ids: Vec<String>,
    /// Histories, sorted by (user, time).
    pub histories: Vec<Interaction>,
    /// Mined interests of the users who have them.
    pub interests: BTreeMap<UserId, InterestProfile>,
    /// Tags of the users who have them, likeliest first.
    pub tags: BTreeMap<UserId, Vec<Tag>>,
    /// What is popular, rows as in `catalogue`.
    pub popularity: Popularity,
    /// How to fuse.
    pub fusion: Fusion,
    /// The moment that answers are made for.
    pub now: Timestamp,
    /// Stands in every reply.
    pub model_version: String,
}

/// Whether items that the user has met before may come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Left out: every item of the user's history, as in evaluation.
    Exclude,
    /// Allowed: for shops where people buy the same again.
    Include,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct RecommendRequest {
    /// For whom.
    pub user_id: String,
    /// How many items, 1 to [`MAX_N`].
    pub n: usize,
    /// Weight of the user tower, 0 to 1; the configured one when absent.
    pub beta: Option<f32>,
    /// Item ids to leave out; ids outside the catalogue have no effect.
    pub exclude: Vec<String>,
    /// Items of the user's history.
    pub seen: Seen,
    /// Whether to write reasons.
    pub explain: bool,
}

impl RecommendRequest {
    /// [`DEFAULT_N`] items with configured beta, nothing seen before, without reasons.
    #[must_use]
    pub fn new(user_id: &str) -> Self {
        Self {
            user_id: user_id.to_owned(),
            n: DEFAULT_N,
            beta: None,
            exclude: Vec::new(),
            seen: Seen::Exclude,
            explain: false,
        }
    }

    fn check(&self) -> Result<(), ServeError> {
        let refuse = |name: &str, got: String, expected: &str| {
            let (name, expected) = (name.to_owned(), expected.to_owned());
            Err(ServeError::Parameter { name, got, expected })
        };
        if !(1..=MAX_N).contains(&self.n) {
            return refuse("n", self.n.to_string(), "a whole number from 1 to 200");
        }
        match self.beta {
            Some(beta) if !(0.0..=1.0).contains(&beta) => {
                refuse("beta", beta.to_string(), "a number from 0 to 1")
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Answers requests; see the module.
pub struct Recommender {
    parts: Artefacts,
    rows: HashMap<String, UserId>,
    spans: Vec<(usize, usize)>, // history of a user: from, to
}

impl Recommender {
    /// Checks that the artefacts are of one workspace.
    ///
    /// # Errors
    /// [`ServeError::Artefacts`] with the table that does not fit.
    pub fn new(parts: Artefacts) -> Result<Self, ServeError> {
        check_rows("index", parts.catalogue.len(), parts.index.len())?;
        check_rows("popularity", parts.catalogue.len(), parts.popularity.counts().len())?;
        let rows: HashMap<String, UserId> = parts
            .user_ids
            .iter()
            .enumerate()
            .map(|(idx, id)| (id.clone(), UserId::from_idx(idx)))
            .collect();
        check_rows("distinct user ids", parts.user_ids.len(), rows.len())?;
        let spans = spans(&parts)?;
        Ok(Self { parts, rows, spans })
    }

    /// The slate for a request.
    ///
    /// # Errors
    /// [`ServeError::Parameter`] when `n` or `beta` is outside its range; never for a lack of data.
    pub fn recommend(
        &self,
        request: &RecommendRequest,
        reasoner: Option<&dyn Reasoner>,
    ) -> Result<Slate, ServeError> {
        request.check()?;
        let user = self.rows.get(&request.user_id).copied();
        let history = user.map_or(&[][..], |user| self.history(user));
        let hidden = self.hidden(request, history);
        let keep = |item: ItemId| !hidden.contains(&item);
        let (mut candidates, fallback, beta) = match user {
            Some(user) => self.fused(user, history, request, &keep),
            None => (Vec::new(), Some(Fallback::UnknownUser), self.beta(request)),
        };
        self.fill_popular(&mut candidates, request.n, &keep);
        let reasons = if request.explain {
            let tags =
                user.and_then(|user| self.parts.tags.get(&user)).map_or(&[][..], Vec::as_slice);
            explain(&candidates, tags, history, &self.parts, reasoner)
        } else {
            vec![None; candidates.len()]
        };
        let items = candidates.into_iter().zip(reasons);
        Ok(Slate {
            user_id: request.user_id.clone(),
            items: items.map(|(candidate, reason)| self.slate_item(candidate, reason)).collect(),
            fallback,
            beta,
        })
    }

    /// The mined interests of a user; `None` when nothing was mined for them.
    ///
    /// # Errors
    /// [`ServeError::UnknownUser`].
    pub fn interests(&self, user_id: &str) -> Result<Option<&InterestProfile>, ServeError> {
        Ok(self.parts.interests.get(&self.find(user_id)?))
    }

    /// The tags of a user, likeliest first; empty when none were predicted.
    ///
    /// # Errors
    /// [`ServeError::UnknownUser`].
    pub fn tags(&self, user_id: &str) -> Result<&[Tag], ServeError> {
        Ok(self.parts.tags.get(&self.find(user_id)?).map_or(&[], Vec::as_slice))
    }

    /// What the slates are made of.
    #[must_use]
    pub fn artefacts(&self) -> &Artefacts {
        &self.parts
    }

    /// The user's interactions, in time order.
    #[must_use]
    pub fn history(&self, user: UserId) -> &[Interaction] {
        let (from, to) = self.spans[user.idx()];
        &self.parts.histories[from..to]
    }

    /// The row of a user id of the log.
    ///
    /// # Errors
    /// [`ServeError::UnknownUser`].
    pub fn find(&self, user_id: &str) -> Result<UserId, ServeError> {
        self.rows.get(user_id).copied().ok_or_else(|| ServeError::UnknownUser(user_id.to_owned()))
    }

    fn beta(&self, request: &RecommendRequest) -> f32 {
        request.beta.unwrap_or(self.parts.fusion.beta)
    }

    fn hidden(&self, request: &RecommendRequest, history: &[Interaction]) -> HashSet<ItemId> {
        let mut hidden: HashSet<ItemId> =
            request.exclude.iter().filter_map(|id| self.parts.catalogue.find(id)).collect();
        if request.seen == Seen::Exclude {
            hidden.extend(history.iter().map(|i| i.item));
        }
        hidden
    }

    /// Candidates of a known user, the fallback, and the weight that was used.
    fn fused(
        &self,
        user: UserId,
        history: &[Interaction],
        request: &RecommendRequest,
        keep: &dyn Fn(ItemId) -> bool,
    ) -> (Vec<Candidate>, Option<Fallback>, f32) {
        let Artefacts { catalogue, encoder, index, fusion, .. } = &self.parts;
        let asked = self.beta(request);
        let tags = self.parts.tags.get(&user).map_or(&[][..], Vec::as_slice);
        // with beta = 1 no tag counts, so none is missing
        let fallback = match () {
            () if asked >= 1.0 => None,
            () if !catalogue.has_words() => Some(Fallback::NoWords),
            () if tags.is_empty() => Some(Fallback::NoTags),
            () => None,
        };
        let beta = if fallback.is_some() { 1.0 } else { asked };
        let queries: Vec<(Tag, Vec<f32>)> = if beta < 1.0 {
            tags.iter().map(|tag| (tag.clone(), encoder.tag_vector(&tag.text))).collect()
        } else {
            Vec::new()
        };
        let input = FusionInput {
            user_vector: &encoder.user_vector(user, history),
            tags: &queries,
            beta,
            quota: fusion.quota,
            merge: fusion.merge,
            n: request.n,
        };
        let category_of = |item: ItemId| catalogue.item(item).category;
        let found = retrieve(&input, index, keep, &category_of, fusion.per_category);
        (found, fallback, beta)
    }

    /// Popular items on the places that retrieval left empty.
    fn fill_popular(
        &self,
        candidates: &mut Vec<Candidate>,
        n: usize,
        keep: &dyn Fn(ItemId) -> bool,
    ) {
        let free = n.saturating_sub(candidates.len());
        if free == 0 {
            return;
        }
        let taken: HashSet<ItemId> = candidates.iter().map(|c| c.item).collect();
        let allowed = |item: ItemId| !taken.contains(&item) && keep(item);
        let popular = self.parts.popularity.recommend(&[], free, &allowed);
        candidates.extend(popular.into_iter().map(|(item, score)| Candidate {
            item,
            score,
            user_score: 0.0,
            tag_score: None,
            source: CandidateSource::Popular,
        }));
    }

    fn slate_item(&self, candidate: Candidate, reason: Option<String>) -> SlateItem {
        let item = self.parts.catalogue.item(candidate.item);
        let category = item
            .category
            .map_or(item.category_path.as_str(), |category| self.parts.taxonomy.path(category));
        SlateItem {
            item_id: item.item_id.clone(),
            title: item.title.clone(),
            category: category.to_owned(),
            score: candidate.score,
            source: candidate.source,
            reason,
        }
    }
}

fn check_rows(table: &'static str, expected: usize, got: usize) -> Result<(), ServeError> {
    if expected == got {
        return Ok(());
    }
    let (expected, got) = (format!("{expected} rows"), format!("{got} rows"));
    Err(ServeError::Artefacts { table, expected, got })
}

/// Where each user's history lies, with order and ranges checked.
fn spans(parts: &Artefacts) -> Result<Vec<(usize, usize)>, ServeError> {
    let wrong = |row: usize, expected: &str| ServeError::Artefacts {
        table: "histories",
        expected: expected.to_owned(),
        got: format!("{:?} in row {row}", parts.histories[row]),
    };
    let mut spans = vec![(0, 0); parts.user_ids.len()];
    for (row, i) in parts.histories.iter().enumerate() {
        if i.item.idx() >= parts.catalogue.len() {
            return Err(wrong(row, "items of the catalogue"));
        }
        if row > 0 {
            let before = &parts.histories[row - 1];
            if (i.user, i.timestamp) < (before.user, before.timestamp) {
                return Err(wrong(row, "the order (user, time)"));
            }
        }
        let span = spans.get_mut(i.user.idx()).ok_or_else(|| wrong(row, "known users"))?;
        if span.1 == 0 {
            span.0 = row;
        }
        span.1 = row + 1;
    }
    if let Some(user) =
        parts.interests.keys().chain(parts.tags.keys()).find(|u| u.idx() >= spans.len())
    {
        return Err(ServeError::Artefacts {
            table: "interests and tags",
            expected: format!("users 0 to {}", spans.len()),
            got: format!("{user:?}"),
        });
    }
    if let Some(category) = parts
        .catalogue
        .items()
        .iter()
        .filter_map(|item| item.category)
        .find(|c| c.idx() >= parts.taxonomy.len())
    {
        return Err(ServeError::Artefacts {
            table: "catalogue",
            expected: format!("{} categories", parts.taxonomy.len()),
            got: format!("{category:?}"),
        });
    }
    Ok(spans)
}
