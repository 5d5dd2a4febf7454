//! The whole path, one file per step: each reads and writes the workspace folder alone.

pub(crate) mod added;
pub(crate) mod digest;
pub(crate) mod evaluate;
pub(crate) mod fit;
pub(crate) mod forget;
pub(crate) mod import;
pub(crate) mod incremental;
pub(crate) mod index;
pub(crate) mod lexicon;
pub(crate) mod mine;
pub(crate) mod model;
pub(crate) mod releases;
pub(crate) mod report;
pub(crate) mod shop;
pub(crate) mod sources;
pub(crate) mod tag;
pub(crate) mod train;
pub(crate) mod versions;
pub(crate) mod worlds;

use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::machine::peak_memory_bytes;
use crate::progress::{Progress, say};
use crate::settings::Settings;
use crate::workspace::{Workspace, hash_inputs};

/// The settings of a workspace, as they were resolved.
pub(crate) const SETTINGS: &str = "recgpt.toml";

/// A step of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Import,
    Digest,
    Fit,
    Mine,
    Tag,
    Train,
    Index,
    Evaluate,
    Report,
}

impl Step {
    /// In the order in which they run.
    pub(crate) const ALL: [Self; 9] = [
        Self::Import,
        Self::Digest,
        Self::Fit,
        Self::Mine,
        Self::Tag,
        Self::Train,
        Self::Index,
        Self::Evaluate,
        Self::Report,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Digest => "digest",
            Self::Fit => "fit",
            Self::Mine => "mine",
            Self::Tag => "tag",
            Self::Train => "train",
            Self::Index => "index",
            Self::Evaluate => "evaluate",
            Self::Report => "report",
        }
    }

    /// The steps whose results this one reads.
    fn after(self) -> &'static [Self] {
        match self {
            Self::Import => &[],
            Self::Digest | Self::Train => &[Self::Import],
            Self::Fit => &[Self::Import, Self::Digest],
            Self::Mine => &[Self::Digest, Self::Fit],
            Self::Tag => &[Self::Mine],
            Self::Index => &[Self::Train],
            Self::Evaluate => &[Self::Index, Self::Tag],
            Self::Report => &[Self::Evaluate],
        }
    }

    /// A hash of the settings that this step reads.
    fn settings_hash(self, s: &Settings) -> Result<u64> {
        let version = env!("CARGO_PKG_VERSION");
        match self {
            Self::Import => hash_inputs(&(version, &s.import, import::fingerprints(s)), &[]),
            Self::Digest => {
                let table = events::tables::DIGESTS_VERSION;
                hash_inputs(&(version, table, &s.digest, &s.split, &s.lm), &[])
            }
            Self::Fit => {
                let weights = [model::builtin_hash()];
                hash_inputs(&(version, &s.lm, s.seed, &s.split, &s.digest), &weights)
            }
            Self::Mine | Self::Tag => hash_inputs(&(version, &s.lm, &s.intent, s.seed), &[]),
            Self::Train => hash_inputs(&(version, &s.towers, s.seed, &s.split), &[]),
            Self::Index => hash_inputs(&(version, retrieval::INDEX_VERSION), &[]),
            Self::Evaluate => hash_inputs(&(version, &s.fusion, &s.split, &s.truth, s.seed), &[]),
            Self::Report => hash_inputs(&(version, &s.name, &s.floors), &[]),
        }
    }

    pub(crate) fn inputs(self, ctx: &Context) -> Result<u64> {
        let mut earlier: Vec<u64> = self.after().iter().map(|s| ctx.ws.stamp(s.name())).collect();
        if self == Self::Mine {
            earlier.extend(model::fitted_hash(ctx)?);
        }
        hash_inputs(&self.settings_hash(&ctx.settings)?, &earlier)
    }
}

/// What every step is given.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) ws: Workspace,
}

impl Context {
    /// Opens the workspace of these settings, which the import writes into it.
    pub(crate) fn create(settings: Settings) -> Result<Self> {
        let ws = Workspace::new(&settings.workspace);
        ws.recover()?;
        Ok(Self { settings, ws })
    }

    /// Notes the settings in the workspace.
    pub(crate) fn write_settings(&self) -> Result<()> {
        self.ws.write(SETTINGS, self.settings.to_toml()?.as_bytes()).map(|_| ())
    }

    /// Opens a workspace that an earlier command made.
    pub(crate) fn open(workspace: &std::path::Path) -> Result<Self> {
        Workspace::new(workspace).recover()?;
        let mut settings = Settings::load(&workspace.join(SETTINGS)).with_context(|| {
            format!(
                "{} is not a workspace; make one with `recgpt demo` or `recgpt run --config FILE`",
                workspace.display()
            )
        })?;
        workspace.clone_into(&mut settings.workspace);
        Ok(Self { ws: Workspace::new(workspace), settings })
    }
}

/// Does one step, or says that it is done already with the same inputs. Gives the seconds it took.
pub(crate) fn perform(ctx: &Context, step: Step, force: bool) -> Result<f64> {
    let name = step.name();
    let inputs = step.inputs(ctx)?;
    if let (false, Some(seconds)) = (force, ctx.ws.done(name, inputs)) {
        if step == Step::Import {
            ctx.write_settings()?;
        }
        say(&format!("{name:12} done before"));
        return Ok(seconds);
    }
    let start = Instant::now();
    let bar = Progress::new(name);
    let line = match step {
        Step::Import => import::run(ctx, import::How::Whole, &bar),
        Step::Digest => digest::run(ctx, &bar),
        Step::Fit => fit::run(ctx, &bar),
        Step::Mine => mine::run(ctx, &bar),
        Step::Tag => tag::run(ctx, &bar),
        Step::Train => train::run(ctx, &bar),
        Step::Index => index::run(ctx),
        Step::Evaluate => evaluate::run(ctx, &bar),
        Step::Report => report::run(ctx),
    };
    bar.finish();
    let line = line.with_context(|| format!("step {name}"))?;
    let seconds = start.elapsed().as_secs_f64();
    if step != Step::Import {
        // The import's stamp changes together with its files.
        ctx.ws.mark_done(name, inputs, seconds, peak_memory_bytes())?;
    }
    say(&format!("{name:12} {seconds:6.1} s  {line}"));
    if matches!(step, Step::Tag | Step::Index) {
        releases::publish_if_whole(ctx)?;
    }
    Ok(seconds)
}

/// All steps in order; those that are done are skipped, so a stopped run continues.
pub(crate) fn perform_all(ctx: &Context) -> Result<()> {
    for step in Step::ALL {
        perform(ctx, step, false)?;
    }
    Ok(())
}
