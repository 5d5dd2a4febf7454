//! `recgpt align`: the three stages of alignment, or the fit of the built-in model to one shop.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use lm::write_whole;

use crate::alignment::{
    Folder, Recipe, Sources, Teacher, ablate, align, export_samples, measure_fit, write_report,
};
use crate::cli::AlignArgs;
use crate::progress::{print, say};
use crate::steps::{Context, Step, incremental, perform};

pub(crate) fn run(args: &AlignArgs, json: bool) -> Result<()> {
    if let Some(workspace) = &args.workspace {
        return shop(workspace, args, json);
    }
    let mut recipe = Recipe::named(&args.recipe)?.with_seed(args.seed);
    if let Some(steps) = args.steps {
        recipe = recipe.with_steps(steps);
    }
    let out = || args.out.as_deref().context("--out is missing");
    let open = |file: &PathBuf| Teacher::open(file, out()?);
    let teacher = args.teacher.as_ref().map(open).transpose()?;
    let (from, data) = (args.from.as_deref(), args.data.as_deref());
    let sources = Sources { from, data, teacher: teacher.as_ref() };
    if let Some(path) = &args.export {
        let (lines, n) = export_samples(&recipe, sources)?;
        write_whole(path, &lines).with_context(|| format!("writing {}", path.display()))?;
        say(&format!("{n} samples in {}", path.display()));
        return Ok(());
    }
    if let Some(seeds) = args.ablate {
        let table = ablate(&recipe, out()?, sources, seeds)?;
        print(&if json { serde_json::to_string_pretty(&table)? } else { table.to_string() });
        return Ok(());
    }
    let folder = Folder::create(out()?)?;
    if let Some(stage) = &args.rollback {
        let mut stages = folder.stages()?;
        folder.choose(&mut stages, stage)?;
        write_report(&folder, &stages)?;
        say(&format!("chosen: {stage}"));
        return Ok(());
    }
    let card = align(&recipe, &folder, sources, &args.without)?;
    print(&serde_json::to_string_pretty(&card)?);
    Ok(())
}

/// The model of one workspace: an earlier version again, an increment, or the fit.
fn shop(workspace: &Path, args: &AlignArgs, json: bool) -> Result<()> {
    let ctx = Context::open(workspace)?;
    if let Some(version) = &args.rollback {
        let stale = incremental::rollback(&ctx, version)?;
        say(&format!("{version} answers now; {}", incremental::again(&stale)));
        return Ok(());
    }
    if args.incremental {
        return learn(&ctx, args, json);
    }
    fit(&ctx, args, json)
}

/// Further training on the last days.
fn learn(ctx: &Context, args: &AlignArgs, json: bool) -> Result<()> {
    let Some(part) = incremental::run(ctx, args.days, args.measure)? else {
        say("skipped: the catalogue has no words");
        return Ok(());
    };
    print(&if json { serde_json::to_string_pretty(&part)? } else { part.to_string() });
    Ok(())
}

/// The step `fit` of a workspace, whether it is done or not; to be measured it is not done again.
fn fit(ctx: &Context, args: &AlignArgs, json: bool) -> Result<()> {
    perform(ctx, Step::Fit, !args.measure)?;
    if args.measure {
        measure_fit(ctx, args.data.as_deref(), json)?;
    }
    Ok(())
}
