//! The truth of a user at a moment, from the rates of [`crate::need`]: never from sampled events.

use std::collections::HashSet;

use types::{DAY_MS, InterestStage, Timestamp, TrueInterest, TrueNeed, UserTruth};

use crate::need::{Look, Memory, Need, Why, liking, wish_text, wishes};
use crate::person::{Holding, Person};
use crate::shop::Shop;
use crate::source::source;

/// Days ahead over which rates are averaged.
const LOOKS: [i64; 4] = [1, 8, 16, 26];
/// Until when an open need is said to hold.
const HORIZON_DAYS: i64 = 60;
/// Most needs of a truth.
const MOST_NEEDS: usize = 120;
/// An appetite below this is satisfied: its leaf is left out.
const SATISFIED: f32 = 0.1;
/// A need weaker than this, relative to the strongest, is not told.
const WEAKEST: f32 = 0.0005;

/// Interests and needs of a person at `at`, given their past.
pub(crate) fn truth_of(shop: &Shop, person: &Person, memory: &Memory, at: Timestamp) -> UserTruth {
    let mut held: Vec<&Holding> = person.holdings.iter().filter(|h| h.is_active(at.0)).collect();
    held.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.interest.cmp(&b.interest)));
    let mut told = HashSet::new();
    held.retain(|h| told.insert(h.interest));
    UserTruth {
        user_id: person.user.user_id.clone(),
        interests: held.into_iter().map(|h| true_interest(shop, person, h)).collect(),
        needs: true_needs(shop, person, memory, at),
    }
}

fn true_interest(shop: &Shop, person: &Person, holding: &Holding) -> TrueInterest {
    let spec = holding.spec();
    let mut categories = Vec::new();
    let mut preferred: Vec<(f32, u16)> = Vec::new();
    for entry in &spec.leaves {
        let Some(leaf) = shop.leaf_of_spec[entry.leaf] else { continue };
        let shelf = &shop.leaves[leaf];
        categories.push(shelf.spec.path.clone());
        for group in &shelf.groups {
            let best = group
                .iter()
                .map(|m| (liking(person, Some(entry), m.word), m.word))
                .max_by(|a, b| a.0.total_cmp(&b.0));
            preferred.extend(best);
        }
    }
    preferred.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut seen = HashSet::new();
    preferred.retain(|(_, word)| seen.insert(*word));
    preferred.truncate(6);
    TrueInterest {
        text: spec.text.clone(),
        stage: if holding.is_short { InterestStage::Short } else { InterestStage::Long },
        categories,
        modifiers: preferred.iter().map(|(_, w)| source().words[usize::from(*w)].clone()).collect(),
        from: Timestamp(holding.from),
        until: holding.until.map(Timestamp),
    }
}

fn true_needs(shop: &Shop, person: &Person, memory: &Memory, at: Timestamp) -> Vec<TrueNeed> {
    let mut merged: Vec<Need> = Vec::new();
    let look = Look { shop, person, memory, at: at.0, known: at.0 };
    for days in LOOKS {
        for need in (Look { at: at.plus_days(days).0, ..look }).needs() {
            let same = |n: &&mut Need| n.leaf == need.leaf && n.interest == need.interest;
            // one reason per leaf and interest: the strongest, with the sum of the rates
            match merged.iter_mut().find(same) {
                Some(known) => {
                    if need.rate > known.rate {
                        known.why = need.why;
                        known.until = need.until;
                    }
                    known.rate += need.rate;
                }
                None => merged.push(need),
            }
        }
    }
    let soon = Look { at: at.plus_days(8).0, ..look };
    merged.retain(|need| need.interest.is_some() && soon.appetite(need.leaf) > SATISFIED);
    let mut tags: Vec<(f32, TrueNeed)> = Vec::new();
    for need in &merged {
        for wish in wishes(shop, person, need.interest, need.leaf) {
            let tag = wish_text(&shop.leaves[need.leaf], &wish.words, wish.core);
            tags.push((need.rate * wish.share, true_need(shop, need, tag, at)));
        }
    }
    tags.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.tag.cmp(&b.1.tag)));
    let strongest = tags.first().map_or(0.0, |t| t.0);
    let mut seen = HashSet::new();
    tags.retain(|(rate, need)| *rate > WEAKEST * strongest && seen.insert(need.tag.clone()));
    tags.truncate(MOST_NEEDS);
    tags.into_iter().map(|(_, need)| need).collect()
}

fn true_need(shop: &Shop, need: &Need, tag: String, at: Timestamp) -> TrueNeed {
    let interest = need.interest.map(|i| &source().interests[i]);
    let (text, short) = interest.map_or(("", ""), |i| (i.text.as_str(), i.short.as_str()));
    let rationale = match need.why {
        Why::Loves | Why::Necessity => format!("loves {short}"),
        Why::NextStep => format!("next step in {short}"),
        Why::RunningLow(core) => format!("running low on {}", shop.leaves[need.leaf].core(core)),
        Why::GoesWith(leaf, core) => format!("goes with {}", shop.leaves[leaf].core(core)),
        Why::Life(name) => name.to_owned(),
        Why::Season(season) => season.as_str().to_owned(),
    };
    let horizon = at.plus_days(HORIZON_DAYS);
    let until = need.until.map_or(horizon, Timestamp).min(horizon).max(Timestamp(at.0 + DAY_MS));
    TrueNeed {
        category: shop.leaves[need.leaf].spec.path.clone(),
        tag,
        interest: text.to_owned(),
        rationale,
        from: at,
        until,
    }
}

#[cfg(test)]
mod tests {
    use types::{DAY_MS, Timestamp};

    use super::truth_of;
    use crate::life::Life;
    use crate::need::{Bought, Memory};
    use crate::source::Buy;
    use crate::{World, WorldConfig};

    fn world() -> World {
        let config = WorldConfig {
            users: 30,
            items: 1500,
            seed: 3,
            years: 2,
            holdout_days: 30,
            events_per_user: 200,
            heavy_user_events: None,
            end: Timestamp::from_date(2025, 6, 1).unwrap(),
        };
        World::generate(&config, &|_, _| {})
    }

    #[test]
    fn a_durable_purchase_ends_its_need_and_starts_those_of_its_complements() {
        let world = world();
        let (shop, at) = (&world.shop, world.cut());
        let (mut checked, mut n_goes) = (0, 0);
        for person in &world.people {
            let empty = Memory::new(shop.leaves.len());
            for need in truth_of(shop, person, &empty, at).needs {
                let leaf = shop.find_core(&need.tag).unwrap().2;
                let shelf = &shop.leaves[leaf];
                let is_durable = matches!(shelf.spec.buy, Buy::Lasts(_));
                if !is_durable || shelf.goes_with.is_empty() {
                    continue;
                }
                let interest = crate::source::source().interests.iter();
                let interest = interest.clone().position(|i| i.text == need.interest);
                let core = shelf.cores[0];
                let bought = Bought { at: at.0 - 3 * DAY_MS, leaf, core, interest };
                let mut memory = Memory::new(shop.leaves.len());
                memory.last[leaf] = Some(bought);
                memory.bought.push(bought);
                let needs = truth_of(shop, person, &memory, at).needs;
                assert!(needs.iter().all(|n| n.category != shelf.spec.path), "{}", need.tag);
                let why = format!("goes with {}", shelf.core(core));
                // a complement that a season or an interest wants more keeps that reason
                n_goes += usize::from(needs.iter().any(|n| n.rationale == why));
                checked += 1;
                break;
            }
        }
        assert!(checked >= 20 && n_goes * 10 > checked * 7, "{n_goes} of {checked}");
    }

    #[test]
    fn the_truth_reads_nothing_at_or_after_its_moment() {
        let world = world();
        let (end, cut) = (world.config.end.0, world.cut().0);
        let mut later = 0;
        for person in &world.people {
            let (acts, memory) = Life::new(&world.shop, person, None).live(end, cut);
            later += acts.iter().filter(|a| a.at >= cut).count();
            assert!(memory.bought.iter().all(|b| b.at < cut));
            assert!(memory.last.iter().flatten().all(|b| b.at < cut));
            assert!(memory.touched.iter().flatten().all(|at| *at < cut));
            let truth = truth_of(&world.shop, person, &memory, world.cut());
            assert!(truth.interests.iter().all(|i| i.from <= world.cut()));
            // told interests only: none that starts in the held-out days
            let known = |text: &str| truth.interests.iter().any(|i| i.text == text);
            let told = truth.needs.iter().filter(|n| !n.rationale.starts_with("goes with"));
            let unknown = told.filter(|n| !known(&n.interest)).count();
            let events_of_life = person.happenings.iter().filter(|h| h.from <= cut).count();
            assert!(unknown == 0 || events_of_life > 0, "{unknown}");
        }
        assert!(later > 100, "{later}");
    }
}
