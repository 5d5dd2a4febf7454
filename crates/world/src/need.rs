//! Needs: how strongly a person wants a thing of each leaf at a moment, and why, in words.
//!
//! One function gives the rates that both the simulated behaviour and the truth are made from. It
//! reads the person's traits and their past, never their future.

use types::{DAY_MS, Season, Timestamp};

use crate::dice::mix;
use crate::person::{Holding, Person};
use crate::shop::{Leaf, Shop, taste};
use crate::source::{Buy, InterestLeaf, source};

/// A purchase that later needs follow from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bought {
    pub(crate) at: i64,
    pub(crate) leaf: usize,
    pub(crate) core: u8,
    /// Row of the interest behind it; none for a necessity or a whim.
    pub(crate) interest: Option<usize>,
}

/// What a person's own past has left behind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    /// Last purchase by leaf.
    pub(crate) last: Vec<Option<Bought>>,
    /// Purchases, newest last.
    pub(crate) bought: Vec<Bought>,
    /// Moment of the last deliberate act by leaf.
    pub(crate) touched: Vec<Option<i64>>,
}

impl Memory {
    pub(crate) fn new(n_leaves: usize) -> Self {
        Self { last: vec![None; n_leaves], bought: Vec::new(), touched: vec![None; n_leaves] }
    }
}

/// Why a thing is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Loves,
    NextStep,
    RunningLow(u8),
    GoesWith(usize, u8),
    Life(&'static str),
    Season(Season),
    Necessity,
}

/// A want at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    pub(crate) leaf: usize,
    /// Row of the interest it serves; none for a necessity.
    pub(crate) interest: Option<usize>,
    pub(crate) why: Why,
    /// Relative strength.
    pub(crate) rate: f32,
    pub(crate) until: Option<i64>,
}

/// Days in which the pull of a complement falls by the factor e.
const COMPLEMENT_DAYS: f32 = 45.0;
/// Pull of a complement right after the purchase; an interest's leaf pulls about 0.5.
const COMPLEMENT: f32 = 1.2;
/// What is left of that pull where the complement has been tried.
const TRIED_COMPLEMENT: f32 = 0.5;
/// Pull of a leaf that an event of life asks for.
const LIFE: f32 = 2.0;
/// Days for which an act on one leaf of an interest makes the others its next step.
const FRESH_DAYS: i64 = 75;
/// What is left of an interest's pull to a leaf that it has tried: it moves on to others.
const TRIED: f32 = 0.12;

/// One look at a person: what they want at a moment, as far as another moment can know it.
#[derive(Clone, Copy)]
pub(crate) struct Look<'a> {
    pub(crate) shop: &'a Shop,
    pub(crate) person: &'a Person,
    pub(crate) memory: &'a Memory,
    /// The moment wanted.
    pub(crate) at: i64,
    /// Interests and events of life that start later are not seen.
    pub(crate) known: i64,
}

impl Look<'_> {
    /// Everything the person wants, in a fixed order; a leaf may come more than once.
    pub(crate) fn needs(&self) -> Vec<Need> {
        let mut all = Vec::with_capacity(64);
        for holding in &self.person.holdings {
            if holding.from <= self.known && holding.is_active(self.at) {
                self.own_needs(holding, &mut all);
            }
        }
        self.complement_needs(&mut all);
        self.life_needs(&mut all);
        for (leaf, shelf) in self.shop.leaves.iter().enumerate() {
            if shelf.spec.is_necessity {
                let liking = 0.5 + self.person.trait_of(0x1ec_0000 + leaf as u64);
                let rate = 0.16 * liking * self.appetite(leaf) * self.season_factor(leaf);
                all.push(Need { leaf, interest: None, why: Why::Necessity, rate, until: None });
            }
        }
        all.retain(|need| need.rate > 1e-3);
        all
    }

    fn season(&self) -> Season {
        Timestamp(self.at).season()
    }

    fn season_factor(&self, leaf: usize) -> f32 {
        self.shop.leaves[leaf].spec.season[self.season() as usize]
    }

    fn own_needs(&self, holding: &Holding, all: &mut Vec<Need>) {
        // busy with the interest lately: an untried leaf of it is the next step
        let is_fresh = holding.spec().leaves.iter().any(|entry| {
            let last = self.shop.leaf_of_spec[entry.leaf].and_then(|l| self.memory.touched[l]);
            last.is_some_and(|at| self.at - at < FRESH_DAYS * DAY_MS)
        });
        for entry in &holding.spec().leaves {
            let Some(leaf) = self.shop.leaf_of_spec[entry.leaf] else { continue };
            let liking = self.person.trait_of(mix(holding.interest as u64, leaf as u64));
            let hunger = self.appetite(leaf);
            let factor = self.season_factor(leaf);
            let is_touched = self.memory.touched[leaf].is_some();
            let why = match (self.shop.leaves[leaf].spec.buy, self.memory.last[leaf]) {
                (Buy::Repeats(_), Some(last)) if hunger > 1.2 => Why::RunningLow(last.core),
                _ if factor >= 2.0 => Why::Season(self.season()),
                _ if !is_touched && is_fresh => Why::NextStep,
                _ => Why::Loves,
            };
            let curiosity = if is_touched && hunger <= 1.2 { TRIED } else { 1.0 };
            all.push(Need {
                leaf,
                interest: Some(holding.interest),
                why,
                rate: holding.weight * (0.35 + 0.65 * liking) * hunger * factor * curiosity,
                until: holding.until,
            });
        }
    }

    fn complement_needs(&self, all: &mut Vec<Need>) {
        for bought in self.memory.bought.iter().rev() {
            let days = (self.at - bought.at) as f32 / DAY_MS as f32;
            if days > 3.0 * COMPLEMENT_DAYS {
                break;
            }
            let Some(interest) = bought.interest else { continue };
            let decay = (-days / COMPLEMENT_DAYS).exp();
            for &leaf in &self.shop.leaves[bought.leaf].goes_with {
                all.push(Need {
                    leaf,
                    interest: Some(interest),
                    why: Why::GoesWith(bought.leaf, bought.core),
                    rate: COMPLEMENT
                        * decay
                        * if self.memory.touched[leaf].is_some() { TRIED_COMPLEMENT } else { 1.0 }
                        * self.season_factor(leaf).min(1.5)
                        * self.appetite(leaf),
                    until: Some(bought.at + (2.0 * COMPLEMENT_DAYS) as i64 * DAY_MS),
                });
            }
        }
    }

    fn life_needs(&self, all: &mut Vec<Need>) {
        let happenings = self.person.happenings.iter();
        for happening in happenings.filter(|h| h.from <= self.known.min(self.at)) {
            let day = (self.at - happening.from) / DAY_MS;
            for (from, to, leaves) in &happening.spec.phases {
                if !(*from..*to).contains(&day) {
                    continue;
                }
                for leaf in leaves.iter().filter_map(|&l| self.shop.leaf_of_spec[l]) {
                    all.push(Need {
                        leaf,
                        interest: Some(happening.interest),
                        why: Why::Life(&happening.spec.name),
                        rate: LIFE * self.appetite(leaf),
                        until: Some(happening.from + to * DAY_MS),
                    });
                }
            }
        }
    }

    /// What the last purchase of a leaf leaves of the need for another.
    pub(crate) fn appetite(&self, leaf: usize) -> f32 {
        let Some(last) = self.memory.last[leaf] else { return 1.0 };
        let days = (self.at - last.at) as f32 / DAY_MS as f32;
        match self.shop.leaves[leaf].spec.buy {
            Buy::Repeats(period) => match days / period {
                x if x < 0.5 => 0.12,
                x if x < 0.8 => 0.7,
                x if x < 1.6 => 2.2,
                _ => 1.2,
            },
            Buy::Lasts(period) => match days / period {
                x if x < 0.5 => 0.02,
                x if x < 0.85 => 0.2,
                _ => 1.0,
            },
            Buy::NowAndThen(period) => match days / period {
                x if x < 0.25 => 0.2,
                x if x < 1.0 => 0.7,
                _ => 1.0,
            },
        }
    }
}

/// One way to say (and search) a need.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wish {
    /// In title order.
    pub(crate) words: Vec<u16>,
    pub(crate) core: u8,
    /// Among the wishes of the need.
    pub(crate) share: f32,
}

/// One way to build a wish: the core word, (group, which of its modifiers by liking), its share.
type Plan = (u8, &'static [(usize, usize)], f32);

/// How a person likes a modifier, given the interest that asks.
pub(crate) fn liking(person: &Person, entry: Option<&InterestLeaf>, word: u16) -> f32 {
    let fits = entry.is_some_and(|e| e.words.contains(&word));
    taste(person.seed, word) + if fits { 0.7 } else { 0.0 }
}

/// What an interest says of a leaf.
pub(crate) fn entry_of(
    shop: &Shop,
    interest: Option<usize>,
    leaf: usize,
) -> Option<&'static InterestLeaf> {
    let spec = &source().interests[interest?];
    spec.leaves.iter().find(|l| shop.leaf_of_spec[l.leaf] == Some(leaf))
}

/// The wishes of a person for a leaf, likeliest first: one to three preferred modifiers and a core
/// word each, the same every time they are asked for.
pub(crate) fn wishes(
    shop: &Shop,
    person: &Person,
    interest: Option<usize>,
    leaf: usize,
) -> Vec<Wish> {
    let shelf = &shop.leaves[leaf];
    let entry = entry_of(shop, interest, leaf);
    let mut cores = shelf.cores.clone();
    let core_liking = |core: u8| {
        let fits = entry.is_some_and(|e| e.cores >> core & 1 == 1);
        person.trait_of(mix(0xc04e, (leaf as u64) << 8 | u64::from(core)))
            + f32::from(u8::from(fits))
    };
    cores.sort_by(|a, b| core_liking(*b).total_cmp(&core_liking(*a)));
    let (a, b, c) = (cores[0], cores[1 % cores.len()], cores[2 % cores.len()]);
    let plans: [Plan; 7] = [
        (a, &[(0, 0), (1, 0)], 0.28),
        (a, &[(0, 0)], 0.2),
        (b, &[(1, 0)], 0.16),
        (b, &[(0, 0), (2, 0)], 0.12),
        (a, &[(1, 0), (2, 0)], 0.1),
        (c, &[(0, 1)], 0.08),
        (c, &[(0, 0), (1, 0), (2, 0)], 0.06),
    ];
    let first = (person.trait_of(0x9209_0000 + leaf as u64) * shelf.groups.len() as f32) as usize;
    let mut all: Vec<Wish> = Vec::with_capacity(plans.len());
    for (core, plan, share) in plans {
        let words = plan_words(shelf, person, entry, (core, plan), first);
        match all.iter_mut().find(|w| w.core == core && w.words == words) {
            _ if words.is_empty() => {}
            Some(same) => same.share += share,
            None => all.push(Wish { words, core, share }),
        }
    }
    all
}

/// The modifiers of one plan, in title order.
fn plan_words(
    shelf: &Leaf,
    person: &Person,
    entry: Option<&InterestLeaf>,
    (core, plan): (u8, &[(usize, usize)]),
    first: usize,
) -> Vec<u16> {
    let n_groups = shelf.groups.len();
    let mut words: Vec<(usize, u16)> = Vec::with_capacity(plan.len());
    for (group, rank) in plan.iter().filter(|(g, _)| *g < n_groups) {
        let group = (group + first) % n_groups;
        let mut fitting: Vec<u16> = shelf.fitting(group, core).collect();
        fitting.sort_by(|x, y| liking(person, entry, *y).total_cmp(&liking(person, entry, *x)));
        let chosen = fitting.get(*rank).or(fitting.first());
        words.extend(chosen.map(|&word| (group, word)));
    }
    words.sort_unstable();
    words.into_iter().map(|(_, word)| word).collect()
}

/// A wish in words: modifiers and core word.
pub(crate) fn wish_text(shelf: &Leaf, words: &[u16], core: u8) -> String {
    let mut text = String::new();
    for &word in words {
        text.push_str(&source().words[usize::from(word)]);
        text.push(' ');
    }
    text.push_str(shelf.core(core));
    text
}
