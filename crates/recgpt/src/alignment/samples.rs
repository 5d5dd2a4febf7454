//! Samples that several stages read, and their division.

use std::path::Path;

use align::{CleaningReport, Sample, samples_from_goals, samples_from_taxonomy};
use anyhow::Result;
use lm::Tokenizer;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;

use super::teacher::{Teacher, taught_samples};
use super::tokenizer::tokenizer;
use super::{Folder, Recipe, Sources};
use crate::progress::Progress;
use crate::steps::worlds::{WorldPlan, reported_samples};

/// All samples of some worlds, and those of the shared sets.
pub(super) fn world_texts(
    plan: &WorldPlan,
    tokenizer: &Tokenizer,
    data: Option<&Path>,
) -> Result<Vec<Sample>> {
    Ok(cleaned_texts(plan, tokenizer, data)?.0)
}

/// The same with what cleaning rejected.
pub(super) fn cleaned_texts(
    plan: &WorldPlan,
    tokenizer: &Tokenizer,
    data: Option<&Path>,
) -> Result<(Vec<Sample>, CleaningReport)> {
    let bar = Progress::new("samples");
    let count = |text: &str| tokenizer.count(text);
    let (mut samples, report) =
        reported_samples(plan, &count, &|done, total| bar.set(done, total))?;
    bar.finish();
    samples.extend(shared_samples(data)?);
    Ok((samples, report))
}

/// Samples from the shared sets that may train what we ship.
pub(super) fn shared_samples(data: Option<&Path>) -> Result<Vec<Sample>> {
    let Some(data) = data else { return Ok(Vec::new()) };
    let taxonomy =
        events::import_taxonomy(&data.join("product_taxonomy/google_products_categories.json"))?;
    let mut samples = samples_from_goals(&data.join("shopping_goals/goal_query_map.json"))?;
    samples.extend(samples_from_taxonomy(&taxonomy));
    Ok(samples)
}

/// Shuffles, and takes some of the long samples out that are not trained on.
pub(super) fn hold_out(
    mut samples: Vec<Sample>,
    n: usize,
    seed: u64,
) -> (Vec<Sample>, Vec<Sample>) {
    samples.shuffle(&mut Pcg64Mcg::seed_from_u64(seed));
    let mut left = n;
    samples.into_iter().partition(|sample| {
        let out = sample.task == "mine_tag" && left > 0;
        left -= usize::from(out);
        !out
    })
}

/// At most `n` of these, drawn with a seed.
pub(super) fn some(samples: &[Sample], n: usize, seed: u64) -> Vec<Sample> {
    let mut drawn = samples.to_vec();
    drawn.shuffle(&mut Pcg64Mcg::seed_from_u64(seed));
    drawn.truncate(n);
    drawn
}

/// The samples of curriculum and reasoning as lines of JSON, and their number. A teacher's answers that lie
/// in its folder are not asked for again.
pub(crate) fn export_samples(
    recipe: &Recipe,
    Sources { from, data, teacher }: Sources<'_>,
) -> Result<(Vec<u8>, usize)> {
    let scratch = tempfile::tempdir()?;
    let (scratch, plan) = (Folder::create(scratch.path())?, &recipe.reasoning.worlds);
    let tokenizer = tokenizer(recipe, teacher.map_or(&scratch, Teacher::folder), from, data)?;
    let mut samples = super::curriculum::samples(&recipe.curriculum, data)?.trained;
    match teacher {
        Some(teacher) => {
            samples.extend(taught_samples(teacher, plan, &tokenizer, recipe.window)?.samples);
            samples.extend(shared_samples(data)?);
        }
        None => samples.extend(world_texts(plan, &tokenizer, data)?),
    }
    let mut lines = Vec::new();
    let samples: Vec<Sample> = samples.iter().flat_map(Sample::unbranched).collect();
    for sample in &samples {
        serde_json::to_writer(&mut lines, sample)?;
        lines.push(b'\n');
    }
    Ok((lines, samples.len()))
}
