//! What a user is: attributes, tastes, interests, and the events of their life, all decided before
//! the first click. Nothing here depends on what the user does.

use types::{DAY_MS, Season, Timestamp, User};

use crate::WorldConfig;
use crate::dice::{Dice, mix, unit};
use crate::shop::Shop;
use crate::source::{InterestSpec, LifeSpec, ThemeKind, ThemeSpec, source};

/// Who does so much has one theme more.
const ACTIVE_EVENTS: usize = 100;

/// Lasting interests of an active user, at least (where six themes give so many).
const FEWEST_LASTING: usize = 8;
/// Most themes of one user.
const MOST_THEMES: usize = 6;

/// An interest held from a moment on.
#[derive(Debug, Clone)]
pub(crate) struct Holding {
    /// Row of [`crate::source::Source::interests`].
    pub(crate) interest: usize,
    pub(crate) weight: f32,
    pub(crate) from: i64,
    pub(crate) until: Option<i64>,
    pub(crate) is_short: bool,
}

impl Holding {
    pub(crate) fn is_active(&self, at: i64) -> bool {
        self.from <= at && self.until.is_none_or(|until| at < until)
    }

    pub(crate) fn spec(&self) -> &'static InterestSpec {
        &source().interests[self.interest]
    }
}

/// An event of life that happens to the user.
#[derive(Debug, Clone)]
pub(crate) struct Happening {
    pub(crate) spec: &'static LifeSpec,
    pub(crate) from: i64,
    /// The interest that its needs are told under.
    pub(crate) interest: usize,
}

/// One user's latent state.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) seed: u64,
    pub(crate) user: User,
    /// First possible event.
    pub(crate) join: i64,
    pub(crate) n_events: usize,
    /// Mean number of events of a session.
    pub(crate) session_size: f32,
    /// 0 buys the cheapest, 1 the dearest.
    pub(crate) price_level: f32,
    /// Share of sessions that start from a need, not from the feed.
    pub(crate) need_share: f32,
    pub(crate) holdings: Vec<Holding>,
    pub(crate) happenings: Vec<Happening>,
    /// Days of the year on which somebody close has a birthday.
    pub(crate) birthdays: Vec<i64>,
}

impl Person {
    /// Draws user `idx` of a world.
    pub(crate) fn generate(
        config: &WorldConfig,
        shop: &Shop,
        start: Timestamp,
        idx: usize,
    ) -> Self {
        let seed = mix(config.seed, 0x9e7_0000_0000 + idx as u64);
        let mut dice = Dice::new(seed);
        let age = (18.0 + 14.0 * dice.unit() + 45.0 * dice.unit() * dice.unit()) as i64;
        let is_woman = dice.chance(0.52);
        let mut attributes = vec![
            ("age".to_owned(), age.to_string()),
            ("gender".to_owned(), if is_woman { "female" } else { "male" }.to_owned()),
            ("city".to_owned(), dice.pick(source().list("cities")).clone()),
        ];
        if dice.chance(0.6) {
            let household = dice.pick(source().list("households")).clone();
            attributes.push(("household".to_owned(), household));
        }
        let is_heavy = idx == 0 && config.heavy_user_events.is_some();
        let span = (config.end.0 - start.0).max(DAY_MS);
        let late = if is_heavy || dice.chance(0.5) { 0.0 } else { 0.75 * dice.unit() };
        let n_events = draw_n_events(&mut dice, config);
        let mut person = Self {
            seed,
            user: User { user_id: format!("u{idx:05}"), attributes },
            join: start.0 + (f64::from(late) * span as f64) as i64,
            n_events: if is_heavy {
                config.heavy_user_events.unwrap_or(n_events)
            } else {
                n_events
            },
            session_size: if is_heavy { 15.0 } else { dice.range(6.0, 11.0) },
            price_level: dice.range(0.1, 0.95),
            need_share: dice.range(0.58, 0.8),
            holdings: Vec::new(),
            happenings: Vec::new(),
            birthdays: Vec::new(),
        };
        person.draw_interests(&mut dice, shop, age, is_woman, config.end.0);
        person.draw_seasons(&mut dice, shop, config.end.0);
        person.draw_life(&mut dice, shop, age, config.end.0);
        for _ in 0..dice.below(4) {
            person.birthdays.push(dice.between(0, 364));
        }
        person
    }

    /// A taste for a thing that is fixed for life.
    pub(crate) fn trait_of(&self, thing: u64) -> f32 {
        unit(self.seed, thing)
    }

    /// Two to six themes with two to five interests each, most from the start and for good.
    fn draw_interests(&mut self, dice: &mut Dice, shop: &Shop, age: i64, is_woman: bool, end: i64) {
        let usable = |interest: &usize| reachable(shop, *interest);
        let mut weights: Vec<f32> =
            source()
                .themes
                .iter()
                .map(|t| {
                    if t.interests.iter().any(usable) {
                        theme_weight(t, age, is_woman)
                    } else {
                        0.0
                    }
                })
                .collect();
        let is_active = self.n_events >= ACTIVE_EVENTS;
        let n_themes = 2 + dice.below(2) + dice.below(3) + usize::from(is_active);
        for idx in 0..MOST_THEMES {
            // the active go on until enough interests hold from the start and for good
            let n_lasting =
                self.holdings.iter().filter(|h| h.from == self.join && h.until.is_none()).count();
            let is_enough = !is_active || n_lasting >= FEWEST_LASTING;
            if idx >= n_themes && is_enough {
                break;
            }
            let is_short_of_interests = !is_enough && idx + 1 >= n_themes;
            let Some(theme) = dice.weighted(weights.iter().copied()) else { break };
            weights[theme] = 0.0;
            let mut interests: Vec<usize> =
                source().themes[theme].interests.iter().copied().filter(usable).collect();
            dice.shuffle(&mut interests);
            interests.truncate(if n_themes < 4 { 3 + dice.below(3) } else { 2 + dice.below(4) });
            let strength = dice.range(0.45, 1.0) * if idx == 0 { 1.4 } else { 1.0 };
            let span = (end - self.join) as f32;
            let from = match dice.chance(0.5) && idx > 1 && !is_short_of_interests {
                true => self.join + (0.9 * dice.unit() * span) as i64,
                false => self.join,
            };
            let until = (idx > 1 && dice.chance(0.12) && !is_short_of_interests)
                .then(|| from + (dice.range(0.3, 1.0) * (end - from) as f32) as i64);
            for interest in interests {
                let weight = strength * dice.range(0.4, 1.0);
                self.holdings.push(Holding { interest, weight, from, until, is_short: false });
            }
        }
    }

    /// Interests of a season, taken up in some years.
    fn draw_seasons(&mut self, dice: &mut Dice, shop: &Shop, end: i64) {
        let themes: Vec<(&ThemeSpec, Season)> = source()
            .themes
            .iter()
            .filter_map(|t| match t.kind {
                ThemeKind::Season(season) => Some((t, season)),
                ThemeKind::Lasting | ThemeKind::Life => None,
            })
            .collect();
        let first_year = Timestamp(self.join).date().year();
        let last_year = Timestamp(end).date().year();
        for year in first_year - 1..=last_year {
            for (theme, season) in &themes {
                let (month, length) = match season {
                    Season::Spring => (2, 95),
                    Season::Summer => (5, 100),
                    Season::Autumn => (8, 90),
                    Season::Winter => (11, 95),
                };
                let interest = *dice.pick(&theme.interests);
                let (takes, day) = (dice.chance(0.4), dice.between(10, 28));
                let from = Timestamp::from_date(year, month, day as i8).map_or(i64::MAX, |t| t.0);
                if takes && reachable(shop, interest) && from < end && from >= self.join {
                    let until = Some(from + length * DAY_MS);
                    let weight = dice.range(0.6, 1.1);
                    self.holdings.push(Holding { interest, weight, from, until, is_short: true });
                }
            }
        }
    }

    /// Events of life by their yearly rates; each starts short interests.
    fn draw_life(&mut self, dice: &mut Dice, shop: &Shop, age: i64, end: i64) {
        for spec in &source().life {
            let years = (end - self.join) as f32 / (365.0 * DAY_MS as f32);
            let is_of_age = (spec.ages.0..=spec.ages.1).contains(&age);
            let n = if is_of_age {
                (3.0 * spec.rate_per_year * years + dice.unit()) as usize
            } else {
                0
            };
            let mut next = self.join;
            for _ in 0..n.min(3) {
                let mut from = next
                    .max(self.join + (f64::from(dice.unit()) * (end - self.join) as f64) as i64);
                if let Some(season) = spec.season {
                    let wait =
                        (0..12).find(|m| Timestamp(from).plus_days(30 * m).season() == season);
                    from += wait.unwrap_or(0) * 30 * DAY_MS;
                }
                let until = from + spec.days * DAY_MS;
                next = until + 400 * DAY_MS;
                let interests: Vec<usize> =
                    spec.interests.iter().copied().filter(|&i| reachable(shop, i)).collect();
                let Some(&first) = interests.first() else { continue };
                if from >= end {
                    continue;
                }
                self.happenings.push(Happening { spec, from, interest: first });
                for (idx, interest) in interests.into_iter().enumerate() {
                    let from = from + idx as i64 * spec.days * DAY_MS / 4;
                    let weight = dice.range(0.7, 1.2);
                    let until = Some(until);
                    self.holdings.push(Holding { interest, weight, from, until, is_short: true });
                }
            }
        }
        self.happenings.sort_by_key(|h| h.from);
    }
}

/// Whether this world sells something for an interest.
fn reachable(shop: &Shop, interest: usize) -> bool {
    source().interests[interest].leaves.iter().any(|l| shop.leaf_of_spec[l.leaf].is_some())
}

fn theme_weight(theme: &ThemeSpec, age: i64, is_woman: bool) -> f32 {
    if theme.kind != ThemeKind::Lasting || !(theme.ages.0..=theme.ages.1).contains(&age) {
        return 0.0;
    }
    if is_woman { theme.lean.sqrt() } else { 1.0 / theme.lean.sqrt() }
}

/// Log-normal with the configured mean; at least 5, at most 12 times the mean.
fn draw_n_events(dice: &mut Dice, config: &WorldConfig) -> usize {
    let mean = config.events_per_user as f32;
    let n = mean * (dice.normal() - 0.5).exp() * 1.02;
    (n as usize).clamp(5.min(config.events_per_user), config.events_per_user.saturating_mul(12))
}
