//! HR@30 of tags on what was held out, before and after, for the same users.

use std::collections::HashSet;
use std::fmt;

use anyhow::Result;
use eval::{
    BootstrapConfig, CategoryCase, CategoryHitReport, Estimate, bootstrap_mean, category_hit,
};
use events::tables::UserTags;
use lm::LanguageModel;
use serde::Serialize;
use types::User;

use super::super::Context;
use super::super::evaluate::{TAGS_ASKED, category_cases, hit_rate};
use super::super::mine::prompt_digests;
use super::super::shop::{Log, Shop};
use super::super::tag::predict;

/// Two models on the users who have tags of both.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    users: usize,
    tags_per_user: [f64; 2],
    before: CategoryHitReport,
    after: CategoryHitReport,
    /// After less before, user by user.
    difference: Option<Estimate>,
}

/// Interests and tags of the users whom the steps mine and tag, as of the cut; nothing is written.
pub(super) fn tags(ctx: &Context, shop: &Shop, model: &dyn LanguageModel) -> Result<Vec<UserTags>> {
    let digests = prompt_digests(ctx, shop)?;
    let users: Vec<User> = digests.iter().map(|d| shop.user(&d.user_id)).collect();
    predict(ctx, shop, model, (&users, &digests))
}

/// Both on the same users; `None` where nobody has tags of both.
pub(super) fn compare(
    ctx: &Context,
    shop: &Shop,
    log: &Log,
    (mut before, mut after): (Vec<UserTags>, Vec<UserTags>),
) -> Option<Measured> {
    keep_both(&mut before, &mut after);
    let seed = ctx.settings.seed;
    let mean = |tags: &[UserTags]| {
        tags.iter().map(|u| u.tags.len()).sum::<usize>() as f64 / tags.len().max(1) as f64
    };
    let cases = [&before, &after].map(|tags| category_cases(tags, shop, log));
    let [was, is] = &cases;
    Some(Measured {
        users: was.len(),
        tags_per_user: [mean(&before), mean(&after)],
        before: hit_rate(was, shop, log, seed)?,
        after: hit_rate(is, shop, log, seed)?,
        difference: bootstrap_mean(&differences(was, is), &BootstrapConfig::new(seed)),
    })
}

/// Leaves out who has no tags of one of the two.
fn keep_both(before: &mut Vec<UserTags>, after: &mut Vec<UserTags>) {
    let tagged = |tags: &[UserTags]| -> HashSet<String> {
        tags.iter().filter(|u| !u.tags.is_empty()).map(|u| u.user_id.clone()).collect()
    };
    let (in_before, in_after) = (tagged(before), tagged(after));
    before.retain(|u| in_after.contains(&u.user_id) && in_before.contains(&u.user_id));
    after.retain(|u| in_before.contains(&u.user_id) && in_after.contains(&u.user_id));
}

/// Hit after less hit before of every user with something to hit.
fn differences(before: &[CategoryCase], after: &[CategoryCase]) -> Vec<f64> {
    let hit = |case: &CategoryCase| {
        let truth = case.next?;
        Some(f64::from(u8::from(category_hit(TAGS_ASKED, &case.predicted, truth))))
    };
    before.iter().zip(after).filter_map(|(b, a)| Some(hit(a)? - hit(b)?)).collect()
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mean = |of: &Option<Estimate>| of.map_or(f64::NAN, |e| e.mean);
        let [was, is] = self.tags_per_user;
        writeln!(
            f,
            "HR@{TAGS_ASKED} of tags on what was held out: {:.4} before, {:.4} after",
            mean(&self.before.tags),
            mean(&self.after.tags)
        )?;
        if let Some(e) = &self.difference {
            writeln!(
                f,
                "  difference {:+.4} [{:+.4}, {:+.4}], {} users",
                e.mean, e.low, e.high, e.n
            )?;
        }
        let (before, after) = (mean(&self.before.tags_new), mean(&self.after.tags_new));
        writeln!(
            f,
            "  of categories that are new to the user: {before:.4} before, {after:.4} after"
        )?;
        write!(f, "  {was:.1} tags per user before, {is:.1} after")
    }
}
