//! Every user's history, up to the cut, to a digest under the full budget.

use anyhow::Result;
use events::{DigestConfig, Digester, UserHistory, tables};
use serde::{Deserialize, Serialize};
use types::{Digest, Timestamp, UserId};

use super::Context;
use super::model::token_counter;
use super::shop::{Log, Shop};
use crate::progress::Progress;

/// All users, full budget.
pub(crate) const DIGESTS: &str = "intent/digests.parquet";

/// Who is behind each row of the figures; `reports/parts/digest.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DigestPart {
    pub(crate) counter: String,
    pub(crate) users: usize,
}

pub(crate) const PART: &str = "reports/parts/digest.json";

pub(crate) fn run(ctx: &Context, bar: &Progress) -> Result<String> {
    let shop = Shop::load(ctx)?;
    let log = shop.log(&ctx.settings)?;
    let digests = digests(ctx, &shop, &log, ctx.settings.digest.budget, bar)?;
    tables::write_digests(&ctx.ws.path_for_writing(DIGESTS)?, &digests)?;
    let counter = token_counter(ctx)?.0;
    ctx.ws.write_json(PART, &DigestPart { counter, users: digests.len() })?;
    let sum = |of: fn(&Digest) -> usize| digests.iter().map(of).sum::<usize>();
    let (raw, kept) = (sum(|d| d.tokens.raw), sum(|d| d.tokens.budget));
    Ok(format!(
        "{} users, {raw} tokens to {kept} ({:.1}% less)",
        digests.len(),
        100.0 * (1.0 - kept as f64 / raw.max(1) as f64)
    ))
}

/// Digests of all users with anything before their cut, in order of user id.
fn digests(
    ctx: &Context,
    shop: &Shop,
    log: &Log,
    budget: usize,
    bar: &Progress,
) -> Result<Vec<Digest>> {
    let cores = shop.cores();
    let count = token_counter(ctx)?.1;
    let shared = DigestConfig::new(log.now, budget);
    let digester = Digester::new(&cores, &shop.catalogue, shared, &*count);
    let done = std::sync::atomic::AtomicU64::new(0);
    let total = shop.user_ids.len() as u64;
    let of_user = |mut history: UserHistory| -> Result<Option<Digest>> {
        let now = cut_of(shop, log, &history.user_id);
        history.events.retain(|e| e.timestamp < now);
        bar.set(done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1, total);
        if history.events.is_empty() {
            return Ok(None);
        }
        Ok(Some(digester.digest_at(&history, now)?))
    };
    let mut digests: Vec<Digest> = shop.store.fold_all(of_user)?.into_iter().flatten().collect();
    digests.sort_by(|a, b| a.user_id.cmp(&b.user_id));
    Ok(digests)
}

/// The moment up to which this user's history may be read.
pub(crate) fn cut_of(shop: &Shop, log: &Log, user_id: &str) -> Timestamp {
    let row = shop.user_ids.binary_search_by(|id| id.as_str().cmp(user_id));
    row.map_or(log.now, |row| log.cut_of(UserId::from_idx(row)))
}
