//! The built-in model measured: as shipped, and what a fit to a shop costs it on worlds that are not the
//! shop's.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::figures::of_card;
use super::scorecard::{Questions, scorecard};
use super::{Recipe, curriculum};
use crate::progress::{print, say};
use crate::steps::Context;
use crate::steps::model::{FITTED, builtin_folder, builtin_has_learnt};

/// The figures of a model folder, or of the built-in model, measured now. The built-in one is asked as a judge
/// only where it has learnt to be.
pub(crate) fn model_figures(
    model: Option<&Path>,
    data: Option<&Path>,
) -> Result<Map<String, Value>> {
    let (recipe, scratch) = (Recipe::named("shipped")?, tempfile::tempdir()?);
    builtin_folder(scratch.path())?;
    let asked = curriculum::samples(&recipe.curriculum, data)?.asked;
    let dir = model.unwrap_or(scratch.path());
    let judges = model.is_some() || builtin_has_learnt("judge_tags");
    let questions = Questions { curriculum: &asked, data, judge: judges.then_some(dir) };
    let card = scorecard(dir, &dir.join("tokenizer.json"), &recipe.scorecard, questions)?;
    say(&serde_json::to_string_pretty(&card)?);
    Ok(of_card(&card))
}

/// Prints both scorecards and how much of the score was lost.
pub(crate) fn measure_fit(ctx: &Context, data: Option<&Path>, json: bool) -> Result<()> {
    let (recipe, scratch) = (Recipe::named("shipped")?, tempfile::tempdir()?);
    builtin_folder(scratch.path())?;
    let questions = Questions { data, ..Questions::default() };
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
