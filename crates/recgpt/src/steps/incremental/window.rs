//! The last days before the cut, and the most active users who did something in them.

use anyhow::{Result, anyhow};
use events::{Digester, UserHistory};
use rayon::prelude::*;
use types::{Digest, Event, Timestamp, User};

use super::super::Context;
use super::super::digest::cut_of;
use super::super::model::{prompt_config, token_counter};
use super::super::shop::{Log, Shop};
use crate::failure::Usage;

/// From the first moment to the one behind the last.
pub(super) struct Window {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    pub(super) days: i64,
}

/// A user as they were before the window, and what they did in it.
pub(super) struct Member {
    pub(super) user: User,
    pub(super) digest: Digest,
    pub(super) events: Vec<Event>,
}

impl Window {
    /// The last `days` before the cut.
    ///
    /// # Errors
    /// A [`Usage`] error where the log holds nothing before them.
    pub(super) fn new(shop: &Shop, log: &Log, days: u32) -> Result<Self> {
        let window = Self {
            from: log.cuts.now.plus_days(-i64::from(days)),
            until: log.cuts.now,
            days: i64::from(days),
        };
        let first = shop.store.manifest().first.unwrap_or(log.cuts.now);
        if first < window.from {
            return Ok(window);
        }
        Err(anyhow!(Usage(format!(
            "{days} days before the cut at {} begin at {}, and the log begins at {}: nothing is left to \
             know users by; give fewer --days",
            window.until.rfc3339(),
            window.from.rfc3339(),
            first.rfc3339()
        ))))
    }

    /// Nothing at or behind the window's end, nor behind the user's own cut, is of the window.
    fn divide(&self, mut history: UserHistory, cut: Timestamp) -> (UserHistory, Vec<Event>) {
        let until = self.until.min(cut);
        history.events.retain(|e| e.timestamp < until);
        let begin = history.events.partition_point(|e| e.timestamp < self.from);
        let events = history.events.split_off(begin);
        (history, events)
    }
}

/// The users with the most deliberate acts before the window, of those who turned to an item in it; as
/// many as get interests, in order of user id.
pub(super) fn members(
    ctx: &Context,
    shop: &Shop,
    log: &Log,
    window: &Window,
) -> Result<Vec<Member>> {
    let chosen = chosen(ctx, shop, log, window)?;
    let cores = shop.cores();
    let (_, count) = token_counter(ctx)?;
    let config = prompt_config(ctx, window.from);
    let digester = Digester::new(&cores, &shop.catalogue, config, &*count).counting_parts();
    let member = |user_id: String| -> Result<Member> {
        let history =
            shop.store.history(&user_id)?.ok_or_else(|| anyhow!("no events of {user_id}"))?;
        let (before, events) = window.divide(history, cut_of(shop, &log.cuts, &user_id));
        Ok(Member { user: shop.user(&user_id), digest: digester.digest(&before)?, events })
    };
    let mut members: Vec<Member> = chosen.into_par_iter().map(member).collect::<Result<_>>()?;
    members.retain(|m| !m.digest.lines.is_empty());
    if members.is_empty() {
        return Err(anyhow!(
            "nobody with a history before {} turned to an item until {}; try more --days",
            window.from.rfc3339(),
            window.until.rfc3339()
        ));
    }
    Ok(members)
}

fn chosen(ctx: &Context, shop: &Shop, log: &Log, window: &Window) -> Result<Vec<String>> {
    let of_user = |history: UserHistory| -> Result<Option<(usize, String)>> {
        let cut = cut_of(shop, &log.cuts, &history.user_id);
        let (before, events) = window.divide(history, cut);
        let turned = events.iter().any(|e| e.item_id.is_some() && e.event_type.is_positive());
        let acts = before.events.iter().filter(|e| e.event_type.is_reliable()).count();
        Ok((turned && !before.events.is_empty()).then_some((acts, before.user_id)))
    };
    let mut active: Vec<(usize, String)> =
        shop.store.fold_all(of_user)?.into_iter().flatten().collect();
    active.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    active.truncate(ctx.settings.intent.users);
    let mut chosen: Vec<String> = active.into_iter().map(|(_, user_id)| user_id).collect();
    chosen.sort_unstable();
    Ok(chosen)
}
