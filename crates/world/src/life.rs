//! One user's life: sessions over the years, from needs and from the platform's feed.
//!
//! The platform recommends what fits its log: recently clicked categories and popular items. Users
//! buy from needs and click on what they are shown; the two ills come from that, not from a rule.

use std::ops::ControlFlow;

use types::{DAY_MS, Event, EventType, Timestamp};

use crate::dice::{Dice, mix};
use crate::need::{Bought, Look, Memory, Need, Why, Wish, entry_of, liking, wish_text, wishes};
use crate::person::Person;
use crate::shop::Shop;
use crate::source::{InterestLeaf, source};

/// One thing the user did, without strings.
#[derive(Debug, Clone)]
pub(crate) struct Act {
    pub(crate) at: i64,
    pub(crate) kind: EventType,
    pub(crate) item: Option<u32>,
    pub(crate) query: Option<String>,
    pub(crate) session: u32,
}

/// Slots of one page of the feed.
pub(crate) const FEED_SLOTS: usize = 12;
/// Days for which the feed remembers a click.
pub(crate) const FEED_DAYS: i64 = 30;

/// Gifts are from leaves whose cheapest items cost at most this.
const DEAREST_GIFT: f32 = 40.0;

/// A page of the feed as shown: the moment, the rows of its items, what the user then wants.
pub(crate) struct FeedPage<'a> {
    pub(crate) items: &'a [u32],
    /// Leaves clicked in the last [`FEED_DAYS`] days.
    pub(crate) clicked: &'a [bool],
    pub(crate) look: Look<'a>,
}

/// Sees every page of the feed.
pub(crate) type Watch<'w> = dyn for<'p> FnMut(&FeedPage<'p>) + 'w;

/// Stops the session when its share of events is used up.
type Flow = ControlFlow<()>;

/// What the user has clicked lately, as the platform knows it.
struct Clicked {
    at: i64,
    leaf: usize,
}

/// The simulation of one user.
pub(crate) struct Life<'a> {
    shop: &'a Shop,
    person: &'a Person,
    dice: Dice,
    memory: Memory,
    clicks: Vec<Clicked>,
    acts: Vec<Act>,
    returns: Vec<(i64, u32)>,
    now: i64,
    session: u32,
    left: usize,
    moment: i64,
    at_moment: Option<Memory>,
    watch: Option<&'a mut Watch<'a>>,
}

impl<'a> Life<'a> {
    /// A life before its first session; `watch` sees every page of the feed.
    pub(crate) fn new(
        shop: &'a Shop,
        person: &'a Person,
        watch: Option<&'a mut Watch<'a>>,
    ) -> Self {
        Self {
            shop,
            person,
            dice: Dice::new(mix(person.seed, 0x11fe)),
            memory: Memory::new(shop.leaves.len()),
            clicks: Vec::new(),
            acts: Vec::with_capacity(person.n_events),
            returns: Vec::new(),
            now: person.join,
            session: 0,
            left: 0,
            moment: i64::MAX,
            at_moment: None,
            watch,
        }
    }

    /// Lives until `end`; returns the acts, and the memory as it was just before `moment`.
    pub(crate) fn live(mut self, end: i64, moment: i64) -> (Vec<Act>, Memory) {
        self.moment = moment;
        for (start, size) in self.plan(end) {
            self.now = start.max(self.now + 60_000);
            self.left = size;
            let _ = self.live_session();
            self.session += 1;
        }
        for act in &mut self.acts {
            act.at = act.at.min(end - 1);
        }
        (self.acts, self.at_moment.unwrap_or(self.memory))
    }

    /// Starts and sizes of all sessions; the sizes sum to the person's events. Sessions become denser
    /// towards the end, as they do on a platform that grows.
    fn plan(&mut self, end: i64) -> Vec<(i64, usize)> {
        let mut sizes = Vec::new();
        let mut left = self.person.n_events;
        while left > 0 {
            let mean = self.person.session_size;
            let size = 1 + (-(1.0 - self.dice.unit()).ln() * mean) as usize;
            sizes.push(size.min(left));
            left -= size.min(left);
        }
        let span = (end - self.person.join).max(DAY_MS) as f64;
        let mut starts: Vec<i64> = sizes
            .iter()
            .map(|_| {
                let share = f64::from(self.dice.unit()).powf(0.6);
                let day = (self.person.join + (share * span) as i64) / DAY_MS;
                let hour = 6.5 + 12.0 * self.dice.unit() + 5.0 * self.dice.unit();
                let start = day * DAY_MS + (f64::from(hour) * 3_600_000.0) as i64;
                start.clamp(self.person.join, end - 1)
            })
            .collect();
        starts.sort_unstable();
        starts.into_iter().zip(sizes).collect()
    }

    fn live_session(&mut self) -> Flow {
        self.return_due()?;
        let is_need = self.dice.chance(self.person.need_share);
        let calendar = Calendar::of(self.now);
        if calendar.is_promotion && self.dice.chance(0.4) {
            self.promotion()?;
        }
        loop {
            if self.dice.chance(0.03) {
                self.accident()?;
            }
            if self.dice.chance(self.gift_chance(&calendar)) {
                self.gift()?;
            }
            if is_need {
                self.follow_need()?;
                if self.dice.chance(0.35) {
                    self.browse_feed()?;
                }
            } else {
                self.browse_feed()?;
                if self.dice.chance(0.2) {
                    self.follow_need()?;
                }
            }
            self.now += 90_000;
        }
    }

    // ---- acts -------------------------------------------------------------------------------

    fn act(&mut self, kind: EventType, item: Option<u32>, query: Option<String>) -> Flow {
        if self.left == 0 {
            return ControlFlow::Break(());
        }
        self.left -= 1;
        self.now += self.dice.between(2_000, 70_000);
        if self.at_moment.is_none() && self.now >= self.moment {
            self.at_moment = Some(self.memory.clone());
        }
        self.acts.push(Act { at: self.now, kind, item, query, session: self.session });
        if let Some(row) = item {
            let leaf = usize::from(self.shop.traits[row as usize].leaf);
            if kind == EventType::Click {
                self.clicks.push(Clicked { at: self.now, leaf });
            }
            if kind.is_reliable() {
                self.memory.touched[leaf] = Some(self.now);
            }
        }
        ControlFlow::Continue(())
    }

    fn buy(&mut self, row: u32, interest: Option<usize>) -> Flow {
        self.act(EventType::Purchase, Some(row), None)?;
        let item = &self.shop.traits[row as usize];
        let leaf = usize::from(item.leaf);
        let bought = Bought { at: self.now, leaf, core: item.core, interest };
        let doubt = 0.04 + 0.1 * (1.0 - item.quality);
        self.memory.last[leaf] = Some(bought);
        self.memory.bought.push(bought);
        if self.dice.chance(doubt) {
            self.returns.push((self.now + self.dice.between(3, 21) * DAY_MS, row));
        }
        ControlFlow::Continue(())
    }

    fn return_due(&mut self) -> Flow {
        while let Some(idx) = self.returns.iter().position(|(due, _)| *due <= self.now) {
            let (_, row) = self.returns.remove(idx);
            self.act(EventType::Return, Some(row), None)?;
            // what was sent back satisfies nothing
            let leaf = usize::from(self.shop.traits[row as usize].leaf);
            self.memory.last[leaf] = None;
            self.memory.bought.retain(|b| b.leaf != leaf);
        }
        ControlFlow::Continue(())
    }

    // ---- needs ------------------------------------------------------------------------------

    fn look(&self) -> Look<'_> {
        Look {
            shop: self.shop,
            person: self.person,
            memory: &self.memory,
            at: self.now,
            known: self.now,
        }
    }

    fn follow_need(&mut self) -> Flow {
        let needs = self.look().needs();
        match self.dice.weighted(needs.iter().map(|n| n.rate)) {
            Some(idx) => self.shop_for(needs[idx]),
            None => self.accident(),
        }
    }

    /// Searches or browses for a need, looks at some results, and perhaps buys.
    fn shop_for(&mut self, need: Need) -> Flow {
        let all = wishes(self.shop, self.person, need.interest, need.leaf);
        let Some(idx) = self.dice.weighted(all.iter().map(|w| w.share)) else {
            return self.accident();
        };
        let mut wish = all[idx].clone();
        if self.dice.chance(0.55) {
            while !wish.words.is_empty() && self.dice.chance(0.3) {
                wish.words.remove(self.dice.below(wish.words.len()));
            }
            let query = wish_text(&self.shop.leaves[need.leaf], &wish.words, wish.core);
            self.act(EventType::Search, None, Some(query))?;
        }
        let entry = entry_of(self.shop, need.interest, need.leaf);
        let buys = if need.why == Why::Necessity { 0.45 } else { 0.3 };
        self.visit_results(need.leaf, &wish, (need.interest, entry), buys)
    }

    /// Clicks one to three results by utility; the best liked may be bought.
    fn visit_results(
        &mut self,
        leaf: usize,
        wish: &Wish,
        (interest, entry): (Option<usize>, Option<&InterestLeaf>),
        buys: f32,
    ) -> Flow {
        let results = self.search(leaf, wish, 12);
        let mut liked: Vec<(f32, u32)> = results
            .into_iter()
            .map(|row| (2.0 * self.utility(row, wish, entry) + self.dice.gumbel(), row))
            .collect();
        liked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let n = 1 + self.dice.below(3);
        if liked.is_empty() {
            return self.accident();
        }
        for (rank, (_, row)) in liked.into_iter().take(n).enumerate() {
            self.act(EventType::Click, Some(row), None)?;
            let warmth = if rank == 0 { 1.0 } else { 0.8 };
            self.look_closer(row, warmth)?;
            if rank == 0 && self.dice.chance(buys) {
                self.act(EventType::Cart, Some(row), None)?;
                self.buy(row, interest)?;
                break;
            }
        }
        ControlFlow::Continue(())
    }

    fn look_closer(&mut self, row: u32, warmth: f32) -> Flow {
        for (kind, chance) in [
            (EventType::DetailView, 0.65),
            (EventType::ReviewRead, 0.32),
            (EventType::Favorite, 0.13),
            (EventType::Cart, 0.08),
            (EventType::Share, 0.02),
        ] {
            if self.dice.chance(chance * warmth) {
                self.act(kind, Some(row), None)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// The platform's search: words in common, then popularity, then luck.
    fn search(&mut self, leaf: usize, wish: &Wish, n: usize) -> Vec<u32> {
        let shop = self.shop;
        let shelf = &shop.leaves[leaf].items;
        // a look at 80 items is a page of results deep enough, however large the shop
        let (offset, seen) = (self.dice.below(shelf.len()), shelf.len().min(80));
        let mut found: Vec<(f32, u32)> = Vec::with_capacity(seen);
        for step in 0..seen {
            let row = shelf[(offset + step) % shelf.len()];
            let item = &shop.traits[row as usize];
            let popularity = item.popularity_at(self.now);
            if popularity > 0.0 {
                let score = matching(&item.words, wish, item.core) + 0.35 * popularity.ln();
                found.push((score + 0.5 * self.dice.gumbel(), row));
            }
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        found.into_iter().take(n).map(|(_, row)| row).collect()
    }

    /// How well an item suits the person: wish, taste, price, quality.
    fn utility(&self, row: u32, wish: &Wish, entry: Option<&InterestLeaf>) -> f32 {
        let item = &self.shop.traits[row as usize];
        let n = item.words.len().max(1) as f32;
        let taste: f32 = item.words.iter().map(|&w| liking(self.person, entry, w)).sum::<f32>() / n;
        let price = (item.price_level - self.person.price_level).abs();
        0.6 * matching(&item.words, wish, item.core) + taste + 0.6 * item.quality - 0.9 * price
    }

    // ---- the feed ---------------------------------------------------------------------------

    /// Scrolls a page or two of the feed.
    fn browse_feed(&mut self) -> Flow {
        for _ in 0..1 + self.dice.below(2) {
            let page = self.feed_page();
            let wanted = self.wanted_leaves();
            for row in page {
                let leaf = usize::from(self.shop.traits[row as usize].leaf);
                let interest = wanted[leaf];
                let pull = if interest.is_some() { 0.24 } else { 0.03 };
                if !self.dice.chance(pull) {
                    continue;
                }
                self.act(EventType::Click, Some(row), None)?;
                if let Some(interest) = interest {
                    self.look_closer(row, 0.55)?;
                    if self.dice.chance(0.03) {
                        self.act(EventType::Cart, Some(row), None)?;
                        self.buy(row, Some(interest))?;
                    }
                }
            }
            self.now += 20_000;
        }
        ControlFlow::Continue(())
    }

    /// For every leaf, the interest that wants it now, if one does.
    fn wanted_leaves(&self) -> Vec<Option<usize>> {
        let mut wanted = vec![None; self.shop.leaves.len()];
        for need in self.look().needs() {
            if need.rate > 0.2 && wanted[need.leaf].is_none() {
                wanted[need.leaf] = need.interest;
            }
        }
        wanted
    }

    /// A page as a recommender fitted to clicks fills it: more of what was clicked, what is popular.
    fn feed_page(&mut self) -> Vec<u32> {
        let oldest = self.now - FEED_DAYS * DAY_MS;
        self.clicks.retain(|c| c.at >= oldest);
        let mut page = Vec::with_capacity(FEED_SLOTS);
        for _ in 0..FEED_SLOTS {
            let is_personal = !self.clicks.is_empty() && self.dice.chance(0.72);
            let row = if is_personal {
                let leaf = self.clicks[self.dice.below(self.clicks.len())].leaf;
                self.popular_of(leaf)
            } else {
                self.shop.draw_popular(&mut self.dice, self.now)
            };
            page.extend(row.filter(|row| !page.contains(row)));
        }
        if let Some(watch) = self.watch.take() {
            let mut clicked = vec![false; self.shop.leaves.len()];
            self.clicks.iter().for_each(|c| clicked[c.leaf] = true);
            watch(&FeedPage { items: &page, clicked: &clicked, look: self.look() });
            self.watch = Some(watch);
        }
        page
    }

    /// The most popular of four items of a leaf.
    fn popular_of(&mut self, leaf: usize) -> Option<u32> {
        let (shop, now) = (self.shop, self.now);
        let shelf = &shop.leaves[leaf].items;
        let draws = (0..4).map(|_| shelf[self.dice.below(shelf.len())]);
        draws
            .map(|row| (shop.traits[row as usize].popularity_at(now), row))
            .filter(|(popularity, _)| *popularity > 0.0)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, row)| row)
    }

    // ---- what no interest explains ----------------------------------------------------------

    /// A click that means nothing.
    fn accident(&mut self) -> Flow {
        match self.shop.draw_popular(&mut self.dice, self.now) {
            Some(row) => self.act(EventType::Click, Some(row), None),
            // nothing is on sale: the session ends without acts
            None => ControlFlow::Break(()),
        }
    }

    /// Bargains across the shop.
    fn promotion(&mut self) -> Flow {
        for _ in 0..2 + self.dice.below(5) {
            self.accident()?;
        }
        if self.dice.chance(0.12)
            && let Some(row) = self.shop.draw_popular(&mut self.dice, self.now)
        {
            self.act(EventType::Cart, Some(row), None)?;
            self.buy(row, None)?;
        }
        ControlFlow::Continue(())
    }

    fn gift_chance(&self, calendar: &Calendar) -> f32 {
        let day = calendar.day_of_year;
        let is_birthday_near = self.person.birthdays.iter().any(|b| (0..12).contains(&(b - day)));
        if calendar.is_before_christmas {
            0.14
        } else if is_birthday_near {
            0.1
        } else {
            0.0
        }
    }

    /// Something for somebody else, by an interest of theirs.
    fn gift(&mut self) -> Flow {
        let spec = self.dice.pick(&source().interests);
        let leaves: Vec<usize> = spec
            .leaves
            .iter()
            .filter_map(|l| self.shop.leaf_of_spec[l.leaf])
            .filter(|&l| self.shop.leaves[l].spec.price.0 <= DEAREST_GIFT)
            .collect();
        if leaves.is_empty() {
            return ControlFlow::Continue(());
        }
        let leaf = *self.dice.pick(&leaves);
        let core = *self.dice.pick(&self.shop.leaves[leaf].cores);
        if self.dice.chance(0.5) {
            let recipient = self.dice.pick(source().list("recipients"));
            let query = match self.dice.below(3) {
                0 => format!("gift for {recipient}"),
                1 => format!("{} for {recipient}", self.shop.leaves[leaf].core(core)),
                _ => format!("{} gift", self.shop.leaves[leaf].core(core)),
            };
            self.act(EventType::Search, None, Some(query))?;
        }
        let wish = Wish { words: Vec::new(), core, share: 1.0 };
        self.visit_results(leaf, &wish, (None, None), 0.4)
    }
}

/// Words in common, and the same core word.
fn matching(words: &[u16], wish: &Wish, core: u8) -> f32 {
    let common = wish.words.iter().filter(|w| words.contains(w)).count();
    common as f32 + if core == wish.core { 0.9 } else { 0.0 }
}

struct Calendar {
    day_of_year: i64,
    is_before_christmas: bool,
    is_promotion: bool,
}

impl Calendar {
    fn of(at: i64) -> Self {
        let date = Timestamp(at).date();
        let month_day = (date.month(), date.day());
        Self {
            day_of_year: i64::from(date.day_of_year()),
            is_before_christmas: ((11, 20)..=(12, 23)).contains(&month_day),
            is_promotion: month_day == (11, 11)
                || ((11, 24)..=(11, 30)).contains(&month_day)
                || ((6, 16)..=(6, 18)).contains(&month_day),
        }
    }
}

/// The acts as rows of a log.
pub(crate) fn to_events(shop: &Shop, person: &Person, acts: Vec<Act>) -> Vec<Event> {
    let user_id = &person.user.user_id;
    acts.into_iter()
        .enumerate()
        .map(|(row, act)| {
            let id = format!("{user_id}-{row:06}");
            let mut event = Event::new(&id, act.kind, user_id, Timestamp(act.at));
            event.item_id = act.item.map(|item| shop.items[item as usize].item_id.clone());
            event.value = (act.kind == EventType::Purchase).then_some(1.0);
            event.query = act.query;
            event.session_id = Some(format!("{user_id}-s{:05}", act.session));
            event
        })
        .collect()
}
