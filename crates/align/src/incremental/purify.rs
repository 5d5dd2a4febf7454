//! Intake and purification: which interactions of the window speak of the user.

use std::collections::BTreeMap;

use intent::{season_of, split_tag};
use types::{CategoryId, EventType, Season, Timestamp};

use super::report::{DropReason, IncrementalReport, IncrementalStep};
use super::{IncrementalConfig, IncrementalShop, WindowEvent};
use crate::scope::{Closeness, Scope};

/// A click that is left sooner was none, in seconds.
const SHORTEST_DWELL: f64 = 3.0;

/// An item of the window with all that was done to it.
#[derive(Debug, Clone)]
pub(super) struct Candidate<'a> {
    /// Core words, or the title where there are none.
    pub text: &'a str,
    /// As the catalogue says.
    pub category: Option<CategoryId>,
    /// When it was first turned to.
    pub first: Timestamp,
    /// The weightiest act.
    pub act: u8,
    last: Timestamp,
    n_acts: usize,
    dwell: Option<f64>,
    refused: Option<Timestamp>,
}

/// A candidate with the interest behind it.
pub(super) struct Kept<'a> {
    /// Which.
    pub candidate: Candidate<'a>,
    /// Row of the interest.
    pub interest: usize,
    /// How directly its evidence speaks for the candidate; none where only co-occurrence does.
    pub closeness: Option<Closeness>,
}

/// One candidate per item that was turned to in the window, in order of time.
pub(super) fn intake<'a>(
    events: &'a [WindowEvent<'a>],
    config: &IncrementalConfig,
    report: &mut IncrementalReport,
) -> Vec<Candidate<'a>> {
    let inside = |e: &&WindowEvent<'_>| e.timestamp >= config.from && e.timestamp < config.until();
    let mut events: Vec<&WindowEvent<'_>> = events.iter().filter(inside).collect();
    events.sort_by_key(|e| (e.timestamp, e.item_id, e.event_type));
    let mut found: BTreeMap<&str, Candidate<'_>> = BTreeMap::new();
    for event in &events {
        let Some(act) = weight(event.event_type) else {
            report.drop(IncrementalStep::Intake, DropReason::NotAnInteraction);
            continue;
        };
        if let Some(known) = found.get_mut(event.item_id) {
            known.act = known.act.max(act);
            known.last = event.timestamp;
            known.n_acts += 1;
            report.drop(IncrementalStep::Intake, DropReason::SameItem);
            continue;
        }
        let text = if event.core.trim().is_empty() { event.title } else { event.core };
        let (category, first) = (event.category, event.timestamp);
        let (last, refused) = (first, None);
        let new = Candidate { text, category, first, act, last, n_acts: 1, dwell: None, refused };
        found.insert(event.item_id, new);
        report.keep(IncrementalStep::Intake);
    }
    for event in &events {
        let Some(known) = found.get_mut(event.item_id) else { continue };
        match event.event_type {
            EventType::Return | EventType::Dislike => known.refused = Some(event.timestamp),
            EventType::Dwell => {
                let seconds = event.value.unwrap_or(0.0);
                known.dwell = Some(known.dwell.map_or(seconds, |longest| longest.max(seconds)));
            }
            EventType::Impression
            | EventType::Click
            | EventType::DetailView
            | EventType::ReviewRead
            | EventType::Favorite
            | EventType::Cart
            | EventType::Purchase
            | EventType::Search
            | EventType::Share => {}
        }
    }
    let mut found: Vec<(&str, Candidate<'_>)> = found.into_iter().collect();
    found.sort_by_key(|(item_id, c)| (c.first, *item_id));
    found.into_iter().map(|(_, candidate)| candidate).collect()
}

/// Candidates that are relevant and timely, each with the interest that speaks for it most directly;
/// among equals the one that the profile names first.
pub(super) fn purify<'a>(
    candidates: Vec<Candidate<'a>>,
    scopes: &[Scope],
    shop: &IncrementalShop<'_>,
    report: &mut IncrementalReport,
) -> Vec<Kept<'a>> {
    let pure = |candidate: Candidate<'a>| {
        report.sift(IncrementalStep::Purification, pure(candidate, scopes, shop))
    };
    candidates.into_iter().filter_map(pure).collect()
}

fn pure<'a>(
    candidate: Candidate<'a>,
    scopes: &[Scope],
    shop: &IncrementalShop<'_>,
) -> Result<Kept<'a>, DropReason> {
    if candidate.refused.is_some_and(|at| at >= candidate.last) {
        return Err(DropReason::SentBack);
    }
    let lone_click = candidate.act == 1 && candidate.n_acts == 1;
    if lone_click && candidate.dwell.is_some_and(|seconds| seconds < SHORTEST_DWELL) {
        return Err(DropReason::Accidental);
    }
    let (interest, closeness) = behind(&candidate, scopes, shop).ok_or(DropReason::OffInterest)?;
    let direct = matches!(closeness, Some(Closeness::SameCore | Closeness::SameCategory));
    // A deliberate act may open a neighbouring field; one click there is chance.
    if lone_click && !direct && candidate.dwell.is_none() {
        return Err(DropReason::Accidental);
    }
    if !fits_season(candidate.text, candidate.first.season()) {
        return Err(DropReason::OutOfSeason);
    }
    Ok(Kept { candidate, interest, closeness })
}

/// The interest that explains a candidate, by its evidence or by what goes with it.
fn behind(
    candidate: &Candidate<'_>,
    scopes: &[Scope],
    shop: &IncrementalShop<'_>,
) -> Option<(usize, Option<Closeness>)> {
    let core = split_tag(candidate.text, &shop.lexicon.cores)
        .map_or_else(|| candidate.text.to_owned(), |(_, core)| core);
    let category = candidate.category.or_else(|| (shop.category_of_core)(candidate.text));
    let near = scopes.iter().enumerate().filter_map(|(row, scope)| {
        scope.closeness(&core, category, shop.taxonomy).map(|closeness| (closeness, row))
    });
    if let Some((closeness, row)) = near.min() {
        return Some((row, Some(closeness)));
    }
    let together =
        |scope: &Scope| scope.texts.iter().any(|text| (shop.goes_with)(text, candidate.text));
    scopes.iter().position(together).map(|row| (row, None))
}

/// Whether the words are for this season or the next, as the season constraint judges.
fn fits_season(text: &str, now: Season) -> bool {
    let rank = |season: Season| Season::ALL.iter().position(|s| *s == season).unwrap_or_default();
    let ahead = |season: Season| (rank(season) + Season::ALL.len() - rank(now)) % Season::ALL.len();
    season_of(text).is_none_or(|season| ahead(season) <= 1)
}

/// How much of a decision an act is; none where it is no turning to an item.
fn weight(event_type: EventType) -> Option<u8> {
    match event_type {
        EventType::Purchase => Some(5),
        EventType::Cart => Some(4),
        EventType::Favorite => Some(3),
        EventType::DetailView | EventType::ReviewRead | EventType::Share => Some(2),
        EventType::Click => Some(1),
        EventType::Impression
        | EventType::Return
        | EventType::Search
        | EventType::Dislike
        | EventType::Dwell => None,
    }
}
