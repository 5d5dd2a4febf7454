//! The samples of stage 2 where a model behind a server teaches mining and tagging.

use std::io::Write;

use align::{CleaningReport, CleaningRules, Rejection, Sample};
use anyhow::{Context, Result, anyhow};
use lm::Tokenizer;
use serde::Serialize;

use super::ask::Asked;
use super::{Teacher, TeacherName};
use crate::alignment::folder::Folder;
use crate::progress::{Progress, say};
use crate::steps::worlds::{Drawing, Moment, WorldPlan};

/// Users are asked about so many at a time.
const CHUNK: usize = 64;

/// A digest with fewer lines shows too little.
const MIN_LINES: usize = 8;

/// Every rejection with its reason, one JSON object per line.
const REJECTIONS: &str = "teacher/rejections.jsonl";

/// What a teacher's worlds give.
pub(in crate::alignment) struct TaughtSamples {
    /// The teacher's samples, and those that need no teacher: the judge's cases, reasons, knowledge.
    pub(in crate::alignment) samples: Vec<Sample>,
    pub(in crate::alignment) report: CleaningReport,
    pub(in crate::alignment) notes: TeacherNotes,
}

/// Who taught, and what asking came to.
#[derive(Debug, Clone, Serialize)]
pub(in crate::alignment) struct TeacherNotes {
    #[serde(flatten)]
    name: TeacherName,
    asked: Asked,
}

/// Asks about the users of the plan's worlds at their moments, as far as the folder does not hold the
/// answers already, and prints the yield.
///
/// # Errors
/// A failure of the teacher, or cleaning that leaves nothing.
pub(in crate::alignment) fn taught_samples(
    teacher: &Teacher,
    plan: &WorldPlan,
    tokenizer: &Tokenizer,
    window: usize,
) -> Result<TaughtSamples> {
    let count = |text: &str| tokenizer.count(text);
    let rules = CleaningRules::new(window, &count);
    let (mut samples, mut report, mut asked) =
        (Vec::new(), CleaningReport::default(), Asked::default());
    let (mut rejections, mut n_kept) = (Vec::new(), 0);
    let (bar, pooled) = (Progress::new("teacher"), plan.pooled()?);
    for idx in 0..plan.worlds {
        let (world, seed) = plan.world(idx)?;
        let to_category = world.to_category();
        let part = Drawing::new(&world, plan, seed, pooled.as_ref(), &count).samples(false)?;
        samples.extend(part.samples);
        let told: Vec<Moment> =
            part.moments.into_iter().filter(|m| m.digest.lines.len() >= MIN_LINES).collect();
        for (chunk, moments) in told.chunks(CHUNK).enumerate() {
            bar.set((idx * told.len() + chunk * CHUNK) as u64, (plan.worlds * told.len()) as u64);
            let cleaned = teacher
                .asker()
                .teach((&world, &to_category), moments, &rules, &mut asked)
                .map_err(|error| teacher.failed(error))?;
            report.add(&cleaned.report);
            rejections.extend(cleaned.rejections);
            n_kept += cleaned.kept.len();
            samples.extend(cleaned.kept.into_iter().map(|answer| answer.sample));
        }
    }
    bar.finish();
    say(&format!("{}: {}\n{report}", teacher.name, serde_json::to_string(&asked)?));
    write_rejections(&teacher.folder, &rejections)?;
    if n_kept == 0 {
        return Err(anyhow!(
            "none of {} answers of {} is fit to be taught: {} says why",
            asked.moments,
            teacher.name,
            teacher.folder.path(REJECTIONS).display()
        ));
    }
    Ok(TaughtSamples { samples, report, notes: TeacherNotes { name: teacher.name.clone(), asked } })
}

fn write_rejections(folder: &Folder, rejections: &[Rejection]) -> Result<()> {
    let (path, mut lines) = (folder.path(REJECTIONS), Vec::new());
    for rejection in rejections {
        serde_json::to_writer(&mut lines, rejection)?;
        lines.write_all(b"\n")?;
    }
    lm::write_whole(&path, &lines).with_context(|| format!("writing {}", path.display()))
}
