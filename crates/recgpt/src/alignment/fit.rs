//! What a fit to a shop cost: the model before and after on worlds and test sets that are not the shop's.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::Recipe;
use super::scorecard::{Questions, scorecard};
use crate::progress::{print, say};
use crate::steps::Context;
use crate::steps::model::{FITTED, builtin_folder};

/// Prints both scorecards and how much of the score was lost.
pub(crate) fn measure_fit(ctx: &Context, data: Option<&Path>, json: bool) -> Result<()> {
    let (recipe, scratch) = (Recipe::named("shipped")?, tempfile::tempdir()?);
    builtin_folder(scratch.path())?;
    let questions = Questions { curriculum: &[], data, judges: true };
    let card = |dir: &Path| {
        scorecard(dir, &dir.join("tokenizer.json"), &recipe.scorecard, questions)
            .with_context(|| format!("measuring {}", dir.display()))
    };
    let (before, after) = (card(scratch.path())?, card(&ctx.ws.path(FITTED))?);
    let lost = 1.0 - after.score / before.score;
    if json {
        let report = json!({ "before": before, "after": after, "lost": lost });
        print(&format!("{report:#}"));
        return Ok(());
    }
    say(&format!(
        "worlds: score {:.4} before the fit and {:.4} after it, {:.1}% lost",
        before.score,
        after.score,
        lost * 100.0
    ));
    Ok(())
}
