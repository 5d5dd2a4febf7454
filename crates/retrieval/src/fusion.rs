//! Candidates from the user vector and the vectors of the user's tags (RECGPT.md 1.3, serving).
//!
//! Published: one query per tag over `beta * h_u + (1 - beta) * h_t`. The product is linear, so the
//! query scores an item `beta * (h_u . h_v) + (1 - beta) * (h_t . h_v)`; all tags are scored in one
//! product and the two parts stay known for the explanation of a slate. How the lists of many tags
//! become one is open in the reports: see [`Merge`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use types::{Candidate, CandidateSource, ItemId, Tag};

use crate::ExactIndex;
use crate::index::TopK;

/// Rank at which a first place has lost half its lead, and places of a list that count.
const RANK_OFFSET: f32 = 60.0;
const RANKED: usize = 200;

/// Items that are scored at a time.
const BLOCK: usize = 4096;

/// How the scores of many tags become one list. `u = h_u . h_v`, `s_t = h_t . h_v`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "name")]
pub enum Merge {
    /// Published: every tag brings its best `quota` items by `beta * u + (1 - beta) * s_t`; an item
    /// that several tags bring keeps its best score. Free places go to the user tower alone.
    TagQuota,
    /// `beta * u + (1 - beta) * mean_t s_t`: the product is linear, so this is one query over the mean of the
    /// tag vectors.
    MeanOfTags,
    /// `beta * u + (1 - beta) * max_t (s_t - rank_penalty * rank_t)`, over the whole catalogue;
    /// tags are given likeliest first, so a later tag has to match better.
    MaxTag {
        /// Cosine that a tag loses per place in the list, divided by the number of tags.
        rank_penalty: f32,
    },
    /// `beta * u + (1 - beta) * temperature * log(mean_t e^(s_t / temperature))`: several matching
    /// tags support each other; tends to `MaxTag` for a small temperature, `MeanOfTags` for a large.
    SoftTag {
        /// In units of cosine.
        temperature: f32,
    },
    /// Reciprocal rank fusion (Cormack, Clarke and Büttcher 2009) of the lists of user and tags:
    /// `beta / (60 + rank_u) + (1 - beta) * mean_t 1 / (60 + rank_t)`, ranks from 1; beyond the first 200
    /// places of a list an item has nothing from it.
    ReciprocalRank,
}

impl Default for Merge {
    /// At `beta` 0.6 as good as rank fusion and better than the others on two worlds and a shop, for one query
    /// instead of one per tag (docs/LOG.md).
    fn default() -> Self {
        Self::MeanOfTags
    }
}

/// One request to [`fuse`].
#[derive(Debug, Clone, Copy)]
pub struct FusionInput<'a> {
    /// The user's vectors, one per interest, `[interests, dim]`: most towers have one. An item's user
    /// score is that of the best of them and its boost, `u = max_k h_uk . h_v + boost_v`.
    pub user_vector: &'a [f32],
    /// What is added to the user scores of some items, in order of the items, not negative: see
    /// [`repeat_boosts`](crate::repeat_boosts).
    pub boosts: &'a [(ItemId, f32)],
    /// Tags with their vectors `[dim]`, likeliest first.
    pub tags: &'a [(Tag, Vec<f32>)],
    /// Weight of the user tower, 0 to 1; published 0.6.
    pub beta: f32,
    /// Items per tag for [`Merge::TagQuota`].
    pub quota: usize,
    /// How lists become one.
    pub merge: Merge,
    /// Candidates wanted.
    pub n: usize,
}

/// The best `n` candidates, best first, none twice. The tag of a candidate is the one that scores it
/// highest; an item with a boost is a repeat. Without tags the user tower answers alone.
///
/// # Panics
/// When a vector does not have the dimension of the index.
#[must_use]
pub fn fuse(
    input: &FusionInput<'_>,
    index: &ExactIndex,
    keep: &dyn Fn(ItemId) -> bool,
) -> Vec<Candidate> {
    if input.tags.is_empty() {
        return user_only(input, index, keep);
    }
    let mut scan = Scan::new(input, index.dim());
    for first in (0..index.len()).step_by(BLOCK) {
        scan.block(index, first..(first + BLOCK).min(index.len()), keep);
    }
    scan.candidates()
}

fn user_only(
    input: &FusionInput<'_>,
    index: &ExactIndex,
    keep: &dyn Fn(ItemId) -> bool,
) -> Vec<Candidate> {
    // the best n by the maximum are among the best n of each interest
    let mut best = BTreeMap::new();
    for vector in input.user_vector.chunks(index.dim()) {
        for (item, score) in index.search(vector, input.n, keep) {
            let known = best.entry(item).or_insert(score);
            *known = score.max(*known);
        }
    }
    for &(item, boost) in input.boosts {
        if index.holds(item) && keep(item) {
            let vectors = input.user_vector.chunks(index.dim());
            let scores = vectors.map(|vector| nn::dot(vector, index.vector(item)));
            best.insert(item, scores.fold(f32::NEG_INFINITY, f32::max) + boost);
        }
    }
    let mut list = TopK::new(input.n);
    best.into_iter().for_each(|(item, score)| list.push(item, score));
    list.into_sorted()
        .into_iter()
        .map(|(item, score)| Candidate {
            item,
            score,
            user_score: score,
            tag_score: None,
            source: match input.lifts(item) {
                true => CandidateSource::Repeat,
                false => CandidateSource::User,
            },
        })
        .collect()
}

impl FusionInput<'_> {
    /// Whether an item has a boost.
    fn lifts(&self, item: ItemId) -> bool {
        self.boosts.binary_search_by_key(&item, |boost| boost.0).is_ok()
    }
}

/// An item's parts: user score, best tag and its score.
#[derive(Debug, Clone, Copy)]
struct Parts {
    user: f32,
    tag: usize,
    tag_score: f32,
}

/// The state of one pass over the catalogue.
struct Scan<'a> {
    input: &'a FusionInput<'a>,
    queries: Vec<f32>, // [interests + tags, dim]
    interests: usize,
    overall: TopK, // by the merged score; for TagQuota and ReciprocalRank: by the user tower
    per_tag: Vec<TopK>, // TagQuota and ReciprocalRank only
    parts: std::collections::HashMap<ItemId, Parts>, // of everything that entered a TopK
}

impl<'a> Scan<'a> {
    fn new(input: &'a FusionInput<'a>, dim: usize) -> Self {
        let mut queries = input.user_vector.to_vec();
        input.tags.iter().for_each(|(_, vector)| queries.extend_from_slice(vector));
        let interests = input.user_vector.len() / dim;
        let is_whole = interests > 0 && queries.len() == (interests + input.tags.len()) * dim;
        assert!(is_whole, "vectors have the index's dimension");
        let (lists, of_tag, of_user) = match input.merge {
            Merge::TagQuota => (input.tags.len(), input.quota, input.n),
            Merge::ReciprocalRank => (input.tags.len(), RANKED, RANKED),
            Merge::MeanOfTags | Merge::MaxTag { .. } | Merge::SoftTag { .. } => (0, 0, input.n),
        };
        Self {
            input,
            queries,
            interests,
            overall: TopK::new(of_user),
            per_tag: (0..lists).map(|_| TopK::new(of_tag)).collect(),
            parts: std::collections::HashMap::new(),
        }
    }

    fn block(
        &mut self,
        index: &ExactIndex,
        items: std::ops::Range<usize>,
        keep: &dyn Fn(ItemId) -> bool,
    ) {
        let n = self.interests + self.input.tags.len();
        let first = items.start;
        let boosts = self.input.boosts;
        let mut boosts = boosts[boosts.partition_point(|b| b.0.idx() < first)..].iter().peekable();
        let scores = index.scores_of(items, &self.queries);
        for (row, scores) in scores.chunks(n).enumerate() {
            let item = ItemId::from_idx(first + row);
            let boost = boosts.next_if(|boost| boost.0 == item).map_or(0.0, |boost| boost.1);
            let (users, tags) = scores.split_at(self.interests);
            let user = users.iter().copied().fold(f32::NEG_INFINITY, f32::max) + boost;
            if self.wants(item, user, tags) && keep(item) {
                self.take(item, user, tags);
            }
        }
    }

    fn fused(&self, user: f32, tag_score: f32) -> f32 {
        self.input.beta * user + (1.0 - self.input.beta) * tag_score
    }

    /// What orders a tag's own list.
    fn of_tag(&self, user: f32, tag_score: f32) -> f32 {
        if self.input.merge == Merge::ReciprocalRank {
            tag_score
        } else {
            self.fused(user, tag_score)
        }
    }

    /// The score for `overall`.
    fn merged(&self, user: f32, tags: &[f32]) -> f32 {
        match self.input.merge {
            Merge::TagQuota | Merge::ReciprocalRank => user,
            Merge::MeanOfTags => self.fused(user, tags.iter().sum::<f32>() / tags.len() as f32),
            Merge::MaxTag { rank_penalty } => {
                let step = rank_penalty / tags.len() as f32;
                let best = tags.iter().enumerate().map(|(rank, s)| s - step * rank as f32);
                self.fused(user, best.fold(f32::NEG_INFINITY, f32::max))
            }
            Merge::SoftTag { temperature } => {
                let largest = tags.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let mean = tags.iter().map(|s| ((s - largest) / temperature).exp()).sum::<f32>()
                    / tags.len() as f32;
                self.fused(user, largest + temperature * mean.ln())
            }
        }
    }

    fn wants(&self, item: ItemId, user: f32, tags: &[f32]) -> bool {
        self.overall.admits(item, self.merged(user, tags))
            || self
                .per_tag
                .iter()
                .zip(tags)
                .any(|(list, &score)| list.admits(item, self.of_tag(user, score)))
    }

    fn take(&mut self, item: ItemId, user: f32, tags: &[f32]) {
        let step = match self.input.merge {
            Merge::MaxTag { rank_penalty } => rank_penalty / tags.len() as f32,
            Merge::TagQuota | Merge::MeanOfTags | Merge::SoftTag { .. } | Merge::ReciprocalRank => {
                0.0
            }
        };
        let mut best = (0, f32::NEG_INFINITY);
        for (tag, &score) in tags.iter().enumerate() {
            let adjusted = score - step * tag as f32;
            if adjusted > best.1 {
                best = (tag, adjusted);
            }
        }
        self.parts.insert(item, Parts { user, tag: best.0, tag_score: tags[best.0] });
        self.overall.push(item, self.merged(user, tags));
        for (tag, &score) in tags.iter().enumerate().take(self.per_tag.len()) {
            let score = self.of_tag(user, score);
            self.per_tag[tag].push(item, score);
        }
    }

    fn candidates(self) -> Vec<Candidate> {
        let Self { input, overall, per_tag, parts, .. } = self;
        let candidate = |item: ItemId, score: f32, by_tag: bool| {
            let Parts { user, tag, tag_score } = parts[&item];
            let tag = &input.tags[tag].0;
            Candidate {
                item,
                score,
                user_score: user,
                tag_score: by_tag.then_some(tag_score),
                source: match () {
                    () if input.lifts(item) => CandidateSource::Repeat,
                    () if by_tag => CandidateSource::Tag {
                        tag: tag.text.clone(),
                        interest: tag.interest.clone(),
                    },
                    () => CandidateSource::User,
                },
            }
        };
        if input.merge == Merge::ReciprocalRank {
            let by_tag = input.beta < 1.0;
            let ranked = by_rank(input, overall, per_tag);
            return ranked.into_iter().map(|(i, s)| candidate(i, s, by_tag)).collect();
        }
        if input.merge != Merge::TagQuota {
            let by_tag = input.beta < 1.0;
            return overall
                .into_sorted()
                .into_iter()
                .map(|(i, s)| candidate(i, s, by_tag))
                .collect();
        }
        let mut brought: Vec<ItemId> =
            per_tag.into_iter().flat_map(TopK::into_sorted).map(|(item, _)| item).collect();
        brought.sort_unstable();
        brought.dedup();
        let mut list = TopK::new(input.n);
        for &item in &brought {
            let Parts { user, tag_score, .. } = parts[&item];
            list.push(item, input.beta * user + (1.0 - input.beta) * tag_score);
        }
        let mut out: Vec<Candidate> =
            list.into_sorted().into_iter().map(|(i, s)| candidate(i, s, true)).collect();
        let free = input.n.saturating_sub(out.len());
        let fill =
            overall.into_sorted().into_iter().filter(|(i, _)| brought.binary_search(i).is_err());
        out.extend(fill.take(free).map(|(item, user)| candidate(item, input.beta * user, false)));
        out
    }
}

/// The `n` best by reciprocal rank.
fn by_rank(input: &FusionInput<'_>, user: TopK, per_tag: Vec<TopK>) -> Vec<(ItemId, f32)> {
    let tag_weight = (1.0 - input.beta) / per_tag.len() as f32;
    let lists = per_tag.into_iter().map(|list| (list, tag_weight));
    let mut scores: BTreeMap<ItemId, f32> = BTreeMap::new();
    for (list, weight) in std::iter::once((user, input.beta)).chain(lists) {
        for (place, (item, _)) in list.into_sorted().into_iter().enumerate() {
            *scores.entry(item).or_default() += weight / (RANK_OFFSET + 1.0 + place as f32);
        }
    }
    let mut best = TopK::new(input.n);
    scores.into_iter().for_each(|(item, score)| best.push(item, score));
    best.into_sorted()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use types::{CandidateSource, ItemId, Tag};

    use super::{FusionInput, Merge, fuse};
    use crate::ExactIndex;

    fn tag(text: &str, vector: &[f32]) -> (Tag, Vec<f32>) {
        let tag = Tag {
            text: text.to_owned(),
            modifiers: vec![],
            core: text.to_owned(),
            interest: format!("likes {text}"),
            rationale: String::new(),
            category: None,
        };
        (tag, vector.to_vec())
    }

    /// Item 0 is the user's habit, item 1 boots, item 2 tents, item 3 a little of everything.
    fn index() -> ExactIndex {
        let vectors = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.5, 0.5, 0.5]];
        ExactIndex::new(vectors.concat(), 3).unwrap()
    }

    #[track_caller]
    fn check(merge: Merge, quota: usize, n: usize, want: &[(u32, f32, Option<&str>)]) {
        let tags = [tag("boots", &[0.0, 1.0, 0.0]), tag("tents", &[0.0, 0.0, 1.0])];
        let user_vector = &[1.0, 0.0, 0.0];
        let input =
            FusionInput { user_vector, boosts: &[], tags: &tags, beta: 0.6, quota, merge, n };
        let found = fuse(&input, &index(), &|_| true);
        let got: Vec<(u32, f32, Option<&str>)> = found
            .iter()
            .map(|c| {
                let tag = match &c.source {
                    CandidateSource::Tag { tag, interest } => {
                        assert_eq!(*interest, format!("likes {tag}"));
                        Some(tag.as_str())
                    }
                    CandidateSource::User
                    | CandidateSource::Repeat
                    | CandidateSource::Wish { .. }
                    | CandidateSource::Popular => None,
                };
                (c.item.0, (c.score * 1e4).round() / 1e4, tag)
            })
            .collect();
        assert_eq!(got, want);
    }

    #[test]
    fn every_merge_gives_the_scores_by_hand() {
        // per tag: boots scores items 0.6, 0.4, 0, 0.5; tents 0.6, 0, 0.4, 0.5
        check(Merge::TagQuota, 1, 2, &[(0, 0.6, Some("boots")), (3, 0.3, None)]);
        check(
            Merge::TagQuota,
            3,
            4,
            &[
                (0, 0.6, Some("boots")),
                (3, 0.5, Some("boots")),
                (1, 0.4, Some("boots")),
                (2, 0.4, Some("tents")),
            ],
        );
        check(
            Merge::MaxTag { rank_penalty: 0.5 }, // tents lose 0.25
            0,
            3,
            &[(0, 0.6, Some("boots")), (3, 0.5, Some("boots")), (1, 0.4, Some("boots"))],
        );
        check(Merge::MeanOfTags, 0, 2, &[(0, 0.6, Some("boots")), (3, 0.5, Some("boots"))]);
        // log mean of (1, e) = log 1.8591 = 0.6201
        let soft = Merge::SoftTag { temperature: 1.0 };
        check(
            soft,
            0,
            3,
            &[(0, 0.6, Some("boots")), (3, 0.5, Some("boots")), (1, 0.248, Some("boots"))],
        );
        // ranks of items 0 and 3: user 1, 2; boots 3, 2; tents 3, 2
        check(
            Merge::ReciprocalRank,
            0,
            2,
            &[(0, 0.0162, Some("boots")), (3, 0.0161, Some("boots"))],
        );
    }

    #[test]
    fn without_tags_the_user_tower_answers_alone() {
        let user_vector = &[1.0, 0.0, 0.0];
        let merge = Merge::TagQuota;
        let input =
            FusionInput { user_vector, boosts: &[], tags: &[], beta: 0.6, quota: 3, merge, n: 1 };
        let found = fuse(&input, &index(), &|item| item != ItemId(0));
        assert_eq!((found[0].item, found[0].score, found[0].tag_score), (ItemId(3), 0.5, None));
        assert_eq!(found[0].source, CandidateSource::User);
    }

    #[test]
    fn a_user_with_several_interests_has_the_score_of_the_best_of_them() {
        let user_vector = &[1.0, 0.0, 0.0, 0.0, 0.0, 0.8];
        let check = |tags: &[(Tag, Vec<f32>)], want: [(u32, f32); 2]| {
            let input = FusionInput {
                user_vector,
                boosts: &[],
                tags,
                beta: 0.5,
                quota: 2,
                merge: Merge::MeanOfTags,
                n: 2,
            };
            let got: Vec<(u32, f32)> =
                fuse(&input, &index(), &|_| true).iter().map(|c| (c.item.0, c.score)).collect();
            assert_eq!(got, want);
        };
        check(&[], [(0, 1.0), (2, 0.8)]);
        check(&[tag("tents", &[0.0, 0.0, 1.0])], [(2, 0.9), (0, 0.5)]);
    }

    #[test]
    fn a_boost_counts_as_the_user_towers() {
        let user_vector = &[1.0, 0.0, 0.0];
        let boosts = &[(ItemId(1), 0.25), (ItemId(2), 0.75), (ItemId(9), 5.0)];
        let check = |tags: &[(Tag, Vec<f32>)], keep: u32, want: [(u32, f32, f32); 2]| {
            let merge = Merge::MeanOfTags;
            let input = FusionInput { user_vector, boosts, tags, beta: 0.5, quota: 2, merge, n: 2 };
            let found = fuse(&input, &index(), &|item| item.0 != keep);
            let got = found.iter().map(|c| (c.item.0, c.score, c.user_score));
            assert_eq!(got.collect::<Vec<_>>(), want);
            let is_lifted = |item: ItemId| boosts.iter().any(|boost| boost.0 == item);
            for c in &found {
                assert_eq!(c.source == CandidateSource::Repeat, is_lifted(c.item), "{c:?}");
            }
        };
        check(&[], 9, [(0, 1.0, 1.0), (2, 0.75, 0.75)]);
        check(&[], 2, [(0, 1.0, 1.0), (3, 0.5, 0.5)]);
        check(&[tag("tents", &[0.0, 0.0, 1.0])], 9, [(2, 0.875, 0.75), (0, 0.5, 1.0)]);
        check(&[tag("boots", &[0.0, 1.0, 0.0])], 9, [(1, 0.625, 0.25), (0, 0.5, 1.0)]);
    }

    proptest! {
        #[test]
        fn searching_the_fused_vector_equals_the_weighted_sum_of_scores(
            numbers in prop::collection::vec(-1.0f32..1.0, 5 * 30 + 10),
            beta in 0.0f32..=1.0,
        ) {
            let (vectors, rest) = numbers.split_at(5 * 30);
            let (user, tag_vector) = rest.split_at(5);
            let index = ExactIndex::new(vectors.to_vec(), 5).unwrap();
            let fused: Vec<f32> =
                user.iter().zip(tag_vector).map(|(u, t)| beta * u + (1.0 - beta) * t).collect();
            let tags = [tag("t", tag_vector)];
            for merge in [
                Merge::TagQuota,
                Merge::MeanOfTags,
                Merge::MaxTag { rank_penalty: 0.3 },
                Merge::SoftTag { temperature: 0.1 },
            ] {
                let input =
                    FusionInput { user_vector: user, boosts: &[], tags: &tags, beta, quota: 30, merge, n: 30 };
                let keep = |item: ItemId| !item.0.is_multiple_of(3);
                let by_parts = fuse(&input, &index, &keep);
                let by_vector = index.search(&fused, 30, &keep);
                prop_assert_eq!(by_parts.len(), by_vector.len());
                for (part, vector) in by_parts.iter().zip(&by_vector) {
                    prop_assert!((part.score - vector.1).abs() < 1e-5);
                    let sum = beta * part.user_score + (1.0 - beta) * part.tag_score.unwrap_or(0.0);
                    prop_assert!((part.score - sum).abs() < 1e-5);
                }
            }
        }
    }
}
