//! The online pipeline: user id to slate, over loaded artefacts.
//!
//! A request always gets a slate. What it says is wanted is answered by the tag tower, alone or with the
//! user tower; without that, known users with tags get the fusion of both towers, without tags the user
//! tower, and so does whoever brings a session. Only of whom nothing is known gets what is popular. The
//! slate says which. The same request gives the same bytes, until an item comes or changes.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use retrieval::{
    Allowed, FusionInput, SlateFilter, SlateRules, repeat_boosts, retrieve_slate, slate_of,
};
use types::{
    Candidate, CandidateSource, CategoryId, Fallback, Interaction, InterestProfile, Item, ItemId,
    Signal, Slate, SlateItem, Tag, Timestamp, UserId,
};

use crate::artefacts::{Artefacts, Fusion, check_names, check_rows, spans};
use crate::filter::{few, resolve};
use crate::reasons::{Draft, draft, write};
use crate::request::{RecommendRequest, Seen};
use crate::shelf::{Put, Shelf};
use crate::{Reasoner, ServeError};

/// The row of a user whom the log does not know.
const NOBODY: UserId = UserId(u32::MAX);

/// Answers requests; see the module.
pub struct Recommender {
    rows: HashMap<String, UserId>,
    histories: Vec<Interaction>,
    spans: Vec<(usize, usize)>, // history of a user: from, to
    interests: BTreeMap<UserId, InterestProfile>,
    tags: BTreeMap<UserId, Vec<Tag>>,
    fusion: Fusion,
    now: Timestamp,
    model_version: String,
    shelf: RwLock<Shelf>, // held while candidates are found, not while reasons are written
}

/// How many items were new, and of how many something was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ItemsPut {
    /// New items.
    pub added: usize,
    /// Items that were there, and changed.
    pub updated: usize,
}

/// The user as a request sees them.
struct Asker<'a> {
    user: Option<UserId>,
    /// With the session at its end.
    history: Cow<'a, [Interaction]>,
    /// Zero where nothing is known.
    vector: Vec<f32>,
    /// Item ids of the request that the catalogue lacks.
    missing_ids: Vec<String>,
}

/// What the tag tower is asked.
struct Wanted {
    tags: Vec<(Tag, Vec<f32>)>,
    are_wishes: bool,
    beta: f32,
    fallback: Option<Fallback>,
}

/// A slate but for its reasons.
struct Found {
    slate: Slate,
    drafts: Vec<Draft>,
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
        check_names(&parts)?;
        let shelf = Shelf::new(
            (parts.catalogue, parts.taxonomy),
            parts.encoder,
            parts.index,
            parts.popularity,
            &parts.histories,
        );
        Ok(Self {
            rows,
            histories: parts.histories,
            spans,
            interests: parts.interests,
            tags: parts.tags,
            fusion: parts.fusion,
            now: parts.now,
            model_version: parts.model_version,
            shelf: RwLock::new(shelf),
        })
    }

    /// The slate for a request.
    ///
    /// # Errors
    /// [`ServeError::Parameter`] when a parameter is outside its range or names a category or merchant
    /// that the catalogue lacks; never for a lack of data.
    pub fn recommend(
        &self,
        request: &RecommendRequest,
        reasoner: Option<&dyn Reasoner>,
    ) -> Result<Slate, ServeError> {
        request.check()?;
        let Found { mut slate, drafts } = self.find_slate(request)?;
        if request.explain {
            let reasons = write(&drafts, self.now, reasoner);
            slate.items.iter_mut().zip(reasons).for_each(|(item, r)| item.reason = Some(r));
        }
        Ok(slate)
    }

    /// Puts items on sale, or changes what is known of them; the next request finds them.
    ///
    /// # Errors
    /// [`ServeError::Item`] with the item that cannot be put; those before it are there.
    pub fn put_items(&self, items: Vec<Item>) -> Result<ItemsPut, ServeError> {
        let mut done = ItemsPut::default();
        for item in items {
            // one by one, so that requests come in between
            match self.shelf.write().unwrap_or_else(PoisonError::into_inner).put(item)? {
                Put::Added => done.added += 1,
                Put::Updated => done.updated += 1,
                Put::Known => {}
            }
        }
        Ok(done)
    }

    /// The mined interests of a user; `None` when nothing was mined for them.
    ///
    /// # Errors
    /// [`ServeError::UnknownUser`].
    pub fn interests(&self, user_id: &str) -> Result<Option<&InterestProfile>, ServeError> {
        Ok(self.interests.get(&self.find(user_id)?))
    }

    /// The tags of a user, likeliest first; empty when none were predicted.
    ///
    /// # Errors
    /// [`ServeError::UnknownUser`].
    pub fn tags(&self, user_id: &str) -> Result<&[Tag], ServeError> {
        Ok(self.tags_of(self.find(user_id)?))
    }

    /// The version of the artefacts.
    #[must_use]
    pub fn model_version(&self) -> &str {
        &self.model_version
    }

    /// Whether the catalogue has an item of this id.
    #[must_use]
    pub fn has_item(&self, item_id: &str) -> bool {
        self.shelf().catalogue().find(item_id).is_some()
    }

    /// The path of a category of the catalogue.
    #[must_use]
    pub fn category_path(&self, category: CategoryId) -> Option<String> {
        let shelf = self.shelf();
        let known = category.idx() < shelf.taxonomy().len();
        known.then(|| shelf.taxonomy().path(category).to_owned())
    }

    /// The row of a user id of the log.
    ///
    /// # Errors
    /// [`ServeError::UnknownUser`].
    pub fn find(&self, user_id: &str) -> Result<UserId, ServeError> {
        self.rows.get(user_id).copied().ok_or_else(|| ServeError::UnknownUser(user_id.to_owned()))
    }

    /// A panic elsewhere does not close the shop: a change of the shelf ends in steps that do not fail.
    fn shelf(&self) -> RwLockReadGuard<'_, Shelf> {
        self.shelf.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The user's interactions, in time order.
    fn history(&self, user: UserId) -> &[Interaction] {
        let (from, to) = self.spans[user.idx()];
        &self.histories[from..to]
    }

    /// Whether items of history and session may come.
    fn seen(&self, request: &RecommendRequest) -> Seen {
        request.seen.unwrap_or(self.fusion.seen)
    }

    fn tags_of(&self, user: UserId) -> &[Tag] {
        self.tags.get(&user).map_or(&[], Vec::as_slice)
    }

    fn find_slate(&self, request: &RecommendRequest) -> Result<Found, ServeError> {
        let shelf = self.shelf();
        let asker = self.asker(&shelf, request);
        let hidden = hidden(&shelf, request, &asker, self.seen(request));
        let filter = resolve(&request.filter, hidden, &shelf)?;
        let wanted = self.wanted(&shelf, request, &asker);
        let candidates = self.candidates(&shelf, request, &filter, (&asker, &wanted));
        let tags: Vec<&Tag> = wanted.tags.iter().map(|(tag, _)| tag).collect();
        let drafts = match request.explain {
            true => draft(&candidates, &tags, &asker.history, &shelf),
            false => Vec::new(),
        };
        let slate = Slate {
            user_id: request.user_id.clone(),
            signals: signals(request, &asker, &wanted, &candidates),
            items: candidates.into_iter().map(|c| slate_item(&shelf, c)).collect(),
            fallback: wanted.fallback,
            beta: wanted.beta,
            missing_ids: asker.missing_ids,
            model_version: self.model_version.clone(),
        };
        Ok(Found { slate, drafts })
    }

    /// The user's history with the session behind it, and the vector of both.
    fn asker(&self, shelf: &Shelf, request: &RecommendRequest) -> Asker<'_> {
        let user = self.rows.get(&request.user_id).copied();
        let before = user.map_or(&[][..], |user| self.history(user));
        let (mut session, mut missing_ids) = (Vec::new(), Vec::new());
        for event in &request.session {
            match shelf.catalogue().find(&event.item_id) {
                None => missing_ids.push(event.item_id.clone()),
                Some(item) => session.push(Interaction {
                    user: user.unwrap_or(NOBODY),
                    timestamp: event.timestamp.unwrap_or(self.now),
                    item,
                    event_type: event.event_type,
                }),
            }
        }
        let excluded = request.exclude.iter();
        missing_ids.extend(excluded.filter(|id| shelf.catalogue().find(id).is_none()).cloned());
        let history = match session.is_empty() {
            true => Cow::Borrowed(before),
            false => Cow::Owned([before, &session].concat()),
        };
        let vector = match user.is_none() && history.is_empty() {
            true => vec![0.0; shelf.index().dim()],
            false => shelf.encoder().user_vector(user.unwrap_or(NOBODY), &history),
        };
        Asker { user, history, vector, missing_ids }
    }

    /// The queries of the tag tower, the weight of the user tower beside them, and what is missing.
    fn wanted(&self, shelf: &Shelf, request: &RecommendRequest, asker: &Asker<'_>) -> Wanted {
        let encode = |tag: Tag| {
            let vector = shelf.encoder().tag_vector(&tag.text);
            (tag, vector)
        };
        let wishes: Vec<(Tag, Vec<f32>)> = request
            .wishes
            .iter()
            .map(|text| encode(wish_tag(text)))
            .filter(|(_, vector)| is_known(vector))
            .collect();
        if !wishes.is_empty() {
            let asked = request.beta.unwrap_or(self.fusion.wish_beta);
            let beta = if is_known(&asker.vector) { asked } else { 0.0 };
            let tags = if beta < 1.0 { wishes } else { Vec::new() };
            return Wanted { tags, are_wishes: true, beta, fallback: None };
        }
        let asked = request.beta.unwrap_or(self.fusion.beta);
        let tags = asker.user.map_or(&[][..], |user| self.tags_of(user));
        // with beta = 1 no tag counts, so none is missing
        let missing = match () {
            () if !is_known(&asker.vector) && (tags.is_empty() || asked >= 1.0) => {
                Some(Fallback::UnknownUser)
            }
            () if asked >= 1.0 => None,
            () if !shelf.has_words() => Some(Fallback::NoWords),
            () if tags.is_empty() => Some(Fallback::NoTags),
            () => None,
        };
        let beta = match missing {
            Some(Fallback::NoTags | Fallback::NoWords) => 1.0,
            Some(Fallback::UnknownUser) | None => asked,
        };
        let used = missing.is_none() && beta < 1.0;
        let tags = if used { tags.iter().cloned().map(encode).collect() } else { Vec::new() };
        Wanted { tags, are_wishes: false, beta, fallback: missing }
    }

    fn candidates(
        &self,
        shelf: &Shelf,
        request: &RecommendRequest,
        filter: &SlateFilter,
        (asker, wanted): (&Asker<'_>, &Wanted),
    ) -> Vec<Candidate> {
        let fusion = &self.fusion;
        let since = self.now.plus_days(-i64::from(fusion.new_days));
        let rules = SlateRules {
            category_of: &|item| shelf.category_of(item),
            merchant_of: &|item| shelf.merchant_of(item),
            is_new: &|item| shelf.is_new(item, since),
            per_category: request.per_category.unwrap_or(fusion.per_category),
            per_merchant: request.per_merchant.unwrap_or(fusion.per_merchant),
            new_places: request.new_places.unwrap_or(fusion.new_places),
        };
        let catalogue = shelf.catalogue();
        let keep = |item: ItemId| {
            shelf.index().exact().holds(item) && filter.allows(item, catalogue.item(item))
        };
        if wanted.fallback == Some(Fallback::UnknownUser) {
            return popular(shelf, request.n, &keep, &rules);
        }
        // one wish may bring the whole slate
        let quota = match wanted.are_wishes {
            true => fusion.quota.max(request.n.div_ceil(wanted.tags.len().max(1))),
            false => fusion.quota,
        };
        // habits do not answer what is said to be wanted, nor a request for what is new
        let by_habit = !wanted.are_wishes && self.seen(request) == Seen::Include;
        let weight = if by_habit { fusion.repeat_weight } else { 0.0 };
        let boosts = repeat_boosts(&asker.history, weight);
        let input = FusionInput {
            user_vector: &asker.vector,
            boosts: &boosts,
            tags: &wanted.tags,
            beta: wanted.beta,
            quota,
            merge: fusion.merge,
            n: request.n,
        };
        let few = few(filter, catalogue.items());
        let allowed = Allowed { keep: &keep, few: few.as_deref() };
        let mut found = retrieve_slate(&input, shelf.index(), allowed, &rules);
        if wanted.are_wishes {
            found.iter_mut().for_each(as_wish);
        }
        let free = request.n - found.len();
        if free > 0 {
            let taken: HashSet<ItemId> = found.iter().map(|c| c.item).collect();
            let left = |item: ItemId| !taken.contains(&item) && keep(item);
            found.extend(popular(shelf, free, &left, &rules));
        }
        found
    }
}

fn is_known(vector: &[f32]) -> bool {
    vector.iter().any(|x| *x != 0.0)
}

/// The request's own list, and what the user has met.
fn hidden(
    shelf: &Shelf,
    request: &RecommendRequest,
    asker: &Asker<'_>,
    seen: Seen,
) -> HashSet<ItemId> {
    let listed = request.exclude.iter().filter_map(|id| shelf.catalogue().find(id));
    let mut hidden: HashSet<ItemId> = listed.collect();
    if seen == Seen::Exclude {
        hidden.extend(asker.history.iter().map(|i| i.item));
    }
    hidden
}

/// A wish as the tag tower reads it.
fn wish_tag(text: &str) -> Tag {
    Tag {
        text: text.to_owned(),
        modifiers: Vec::new(),
        core: text.to_owned(),
        interest: String::new(),
        rationale: String::new(),
        category: None,
    }
}

fn as_wish(candidate: &mut Candidate) {
    if let CandidateSource::Tag { tag, .. } = &mut candidate.source {
        let text = std::mem::take(tag);
        candidate.source = CandidateSource::Wish { text };
    }
}

/// The most popular items that `keep` allows, under `rules`.
fn popular(
    shelf: &Shelf,
    n: usize,
    keep: &dyn Fn(ItemId) -> bool,
    rules: &SlateRules<'_>,
) -> Vec<Candidate> {
    let candidate = |(item, score): (ItemId, f32)| Candidate {
        item,
        score,
        user_score: 0.0,
        tag_score: None,
        source: CandidateSource::Popular,
    };
    let best = |n: usize, keep: &dyn Fn(ItemId) -> bool| {
        shelf.popularity().recommend(&[], n, keep).into_iter().map(candidate).collect()
    };
    slate_of(&best, (n, shelf.catalogue().len()), keep, rules)
}

/// What the candidates were found by.
fn signals(
    request: &RecommendRequest,
    asker: &Asker<'_>,
    wanted: &Wanted,
    candidates: &[Candidate],
) -> Vec<Signal> {
    let n_missing = request.session.iter().filter(|e| asker.missing_ids.contains(&e.item_id));
    let n_session = request.session.len() - n_missing.count();
    let by_user = is_known(&asker.vector) && wanted.beta > 0.0;
    let popular = candidates.iter().any(|c| c.source == CandidateSource::Popular);
    [
        (Signal::History, by_user && asker.history.len() > n_session),
        (Signal::Session, by_user && n_session > 0),
        (Signal::Tags, !wanted.are_wishes && !wanted.tags.is_empty()),
        (Signal::Wishes, wanted.are_wishes && !wanted.tags.is_empty()),
        (Signal::Popular, popular),
    ]
    .into_iter()
    .filter_map(|(signal, is_used)| is_used.then_some(signal))
    .collect()
}

fn slate_item(shelf: &Shelf, candidate: Candidate) -> SlateItem {
    let item = shelf.catalogue().item(candidate.item);
    let category = item
        .category
        .map_or(item.category_path.as_str(), |category| shelf.taxonomy().path(category));
    SlateItem {
        item_id: item.item_id.clone(),
        title: item.title.clone(),
        category: category.to_owned(),
        score: candidate.score,
        source: candidate.source,
        reason: None,
    }
}
