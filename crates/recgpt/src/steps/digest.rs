//! Every user's history, up to the cut, to a digest under the full budget.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use events::tables::DigestWriter;
use events::{DigestConfig, Digester};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use types::{Timestamp, UserId};

use super::Context;
use super::model::token_counter;
use super::shop::{Cuts, Shop};
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
    let memory = (ctx.settings.import.memory_mib.unwrap_or(1024) as usize) << 20;
    let writer = DigestWriter::create(&ctx.ws.path_for_writing(DIGESTS)?, memory / 4)?;
    let sums = digests(ctx, &shop, &writer, bar)?;
    writer.finish()?;
    let counter = token_counter(ctx)?.0;
    ctx.ws.write_json(PART, &DigestPart { counter, users: sums.users })?;
    let (raw, kept) = (sums.raw, sums.budget);
    Ok(format!(
        "{} users, {raw} tokens to {kept} ({:.1}% less)",
        sums.users,
        100.0 * (1.0 - kept as f64 / raw.max(1) as f64)
    ))
}

/// Users, and their tokens together.
#[derive(Default)]
struct Sums {
    users: usize,
    raw: usize,
    budget: usize,
}

/// Digests of all users with anything before their cut; buckets in parallel, a user at a time each.
fn digests(ctx: &Context, shop: &Shop, writer: &DigestWriter, bar: &Progress) -> Result<Sums> {
    let cuts = shop.cuts(&ctx.settings)?;
    let cores = shop.cores();
    let count = token_counter(ctx)?.1;
    let config = digest_config(ctx, cuts.now, ctx.settings.digest.budget);
    let digester = Digester::new(&cores, &shop.catalogue, config, &*count).counting_parts();
    let done = AtomicU64::new(0);
    let total = shop.user_ids.len() as u64;
    let cut_of_next = |user_id: &str| {
        bar.set(done.fetch_add(1, Ordering::Relaxed) + 1, total);
        cut_of(shop, &cuts, user_id)
    };
    let of_bucket = |bucket: u32| -> Result<Sums> {
        let mut sums = Sums::default();
        digester.fold_bucket(&shop.store, bucket, &cut_of_next, &mut |digest| {
            sums.users += 1;
            sums.raw += digest.tokens.raw;
            sums.budget += digest.tokens.budget;
            writer.push(&digest)
        })?;
        Ok(sums)
    };
    let buckets: Vec<Sums> =
        (0..shop.store.n_buckets()).into_par_iter().map(of_bucket).collect::<Result<_>>()?;
    Ok(buckets.into_iter().fold(Sums::default(), |all, one| Sums {
        users: all.users + one.users,
        raw: all.raw + one.raw,
        budget: all.budget + one.budget,
    }))
}

/// How digests under the full budget are made; the order of lines is of prompts alone.
pub(crate) fn digest_config(ctx: &Context, now: Timestamp, budget: usize) -> DigestConfig {
    DigestConfig { policy: ctx.settings.digest.policy, ..DigestConfig::new(now, budget) }
}

/// The moment up to which this user's history may be read.
pub(crate) fn cut_of(shop: &Shop, cuts: &Cuts, user_id: &str) -> Timestamp {
    let row = shop.user_ids.binary_search_by(|id| id.as_str().cmp(user_id));
    row.map_or(cuts.now, |row| cuts.of(UserId::from_idx(row)))
}

#[cfg(test)]
mod tests {
    use events::{DigestConfig, Digester, LineOrder, UserHistory};

    use crate::steps::model::builtin_tokenizer;
    use crate::steps::worlds::{TRAINING_SEEDS, TrainingWorld};

    #[test]
    fn counting_parts_is_exact_with_the_built_in_tokenizer() {
        let world = TrainingWorld::new(5, TRAINING_SEEDS + 77).expect("a world");
        let tokenizer = builtin_tokenizer().expect("the built-in tokenizer");
        let count = |text: &str| tokenizer.count(text);
        let now = world.world.cut();
        for (budget, order) in [
            (100_000, LineOrder::NewestFirst),
            (400, LineOrder::NewestFirst),
            (900, LineOrder::Stable),
        ] {
            let config = DigestConfig { order, ..DigestConfig::new(now, budget) };
            let whole = Digester::new(&world.cores, &world.catalogue, config, &count);
            let parts =
                Digester::new(&world.cores, &world.catalogue, config, &count).counting_parts();
            for (idx, user) in world.world.users().iter().enumerate() {
                let (mut events, _) = world.world.life(idx, now);
                events.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
                let history = UserHistory { user_id: user.user_id.clone(), events };
                let (a, b) = (whole.digest(&history), parts.digest(&history));
                assert_eq!(a.expect("sorted"), b.expect("sorted"));
            }
        }
    }
}
