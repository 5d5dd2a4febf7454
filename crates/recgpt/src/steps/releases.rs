//! What answers requests, kept under a name: towers, index and tags that belong together, so that a
//! server never reads half of a training, and the one before can be brought back.
//!
//! ```text
//! releases/current.json     the name of the release that answers
//! releases/NAME/            models/towers/, index/, intent/ as they lie in the workspace
//! ```
//!
//! A release is made when the last of its steps is done. Its files are links to those of the workspace,
//! which are replaced and never changed, so a release costs no space until the next training.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use retrieval::{ItemIndex, Towers};
use serde::{Deserialize, Serialize};

use super::mine::INTERESTS;
use super::shop::Shop;
use super::tag::TAGS;
use super::train::{TOWERS, TrainedIds, TrainedOn};
use super::{Context, Step};
use crate::failure::Usage;
use crate::progress::say;
use crate::workspace::Workspace;

/// The folder of all releases.
pub(crate) const RELEASES: &str = "releases";

const CURRENT: &str = "releases/current.json";

/// Releases that are kept, the one that answers among them.
const KEPT: usize = 5;

/// What a release holds, and the command that makes it.
const FILES: [(&str, &str); 6] = [
    ("models/towers/config.json", "train"),
    ("models/towers/weights.safetensors", "train"),
    (TrainedIds::PATH, "train"),
    ("index/vectors.safetensors", "index"),
    (INTERESTS, "mine"),
    (TAGS, "tag"),
];

/// `current.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Current {
    name: String,
}

/// One release.
#[derive(Debug, Clone)]
pub(crate) struct Release {
    /// Its number and a hash of what it was made from; stands in every reply.
    pub(crate) name: String,
    folder: Workspace,
}

impl Release {
    /// The release that answers; one is made of the workspace where there is none yet.
    pub(crate) fn current(ctx: &Context) -> Result<Self> {
        match current_name(ctx)? {
            Some(name) => Ok(Self::named(ctx, &name)),
            None => publish(ctx),
        }
    }

    fn named(ctx: &Context, name: &str) -> Self {
        let folder = Workspace::new(&ctx.ws.path(RELEASES).join(name));
        Self { name: name.to_owned(), folder }
    }

    /// A file of the release, by its path in a workspace.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.folder.path(relative)
    }

    /// Whose rows its towers hold.
    pub(crate) fn trained_ids(&self) -> Result<TrainedIds> {
        self.folder.read_json(TrainedIds::PATH)
    }
}

/// The name of the release that answers; none where there is none.
pub(crate) fn current_name(ctx: &Context) -> Result<Option<String>> {
    if !ctx.ws.path(CURRENT).exists() {
        return Ok(None);
    }
    ctx.ws.read_json::<Current>(CURRENT).map(|current| Some(current.name))
}

/// Makes a release where towers and index are of the present catalogue and log, and tags are there. The
/// tags may be older: they go by the names of users.
pub(crate) fn publish_if_whole(ctx: &Context) -> Result<()> {
    for step in [Step::Train, Step::Index] {
        if ctx.ws.done(step.name(), step.inputs(ctx)?).is_none() {
            return Ok(());
        }
    }
    if FILES.iter().any(|(file, _)| !ctx.ws.path(file).exists()) {
        return Ok(());
    }
    let release = publish(ctx)?;
    say(&format!("release      {} answers; a running server takes it over", release.name));
    Ok(())
}

/// Makes a release of what lies in the workspace, and lets it answer.
fn publish(ctx: &Context) -> Result<Release> {
    for (file, step) in FILES.into_iter().filter(|(file, _)| *file != TrainedIds::PATH) {
        if !ctx.ws.path(file).exists() {
            return Err(anyhow!("{file} is missing; run `recgpt {step}` first"));
        }
    }
    if !ctx.ws.path(TrainedIds::PATH).exists() {
        // Towers of a version that did not write down whose rows they hold.
        let shop = Shop::load(ctx)?;
        TrainedOn::check(ctx, &shop)?;
        ctx.ws.write_json(TrainedIds::PATH, &TrainedIds::of(&shop))?;
    }
    let hash = ctx.ws.stamp("index") ^ ctx.ws.stamp("tag");
    let names = kept(ctx)?;
    let last = names.last().and_then(|name| name.split('-').next()?.parse::<u32>().ok());
    let name = format!("{:04}-{hash:016x}", last.unwrap_or(0) + 1);
    let release = Release::named(ctx, &name);
    let temporary = ctx.ws.path(RELEASES).join(".next");
    link(ctx, &temporary).with_context(|| format!("making the release {name}"))?;
    check(&Workspace::new(&temporary)).with_context(|| format!("making the release {name}"))?;
    fs::rename(&temporary, release.folder.root())
        .with_context(|| format!("making the release {name}"))?;
    choose(ctx, &name)?;
    remove_old(ctx, &name)?;
    Ok(release)
}

/// Refuses towers and an index that could not be loaded, or are of different trainings.
fn check(folder: &Workspace) -> Result<()> {
    let ids: TrainedIds = folder.read_json(TrainedIds::PATH)?;
    let towers = Towers::load(&folder.path(TOWERS))?;
    let index = ItemIndex::load(&folder.path("index"))?;
    let (n_towers, n_index) = (towers.n_items(), index.len());
    if n_towers == ids.items.len() && n_index == n_towers && index.dim() == towers.dim() {
        return Ok(());
    }
    Err(anyhow!(
        "the towers hold {n_towers} items and the index {n_index}; run `recgpt train` and `recgpt index` again"
    ))
}

/// Links the files of a release into `folder`, or copies them where the file system has no links.
fn link(ctx: &Context, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?; // of a run that was stopped
    }
    for (file, _) in FILES {
        let (from, to) = (ctx.ws.path(file), folder.join(file));
        fs::create_dir_all(to.parent().context("a file has a folder")?)?;
        if fs::hard_link(&from, &to).is_err() {
            fs::copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
            fs::File::open(&to)?.sync_all()?;
        }
        #[cfg(unix)]
        fs::File::open(to.parent().context("a file has a folder")?)?.sync_all()?;
    }
    Ok(())
}

fn choose(ctx: &Context, name: &str) -> Result<()> {
    ctx.ws.write_json(CURRENT, &Current { name: name.to_owned() }).map(|_| ())
}

/// Names of the releases that are kept, in the order in which they were made.
pub(crate) fn kept(ctx: &Context) -> Result<Vec<String>> {
    let folder = ctx.ws.path(RELEASES);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn remove_old(ctx: &Context, current: &str) -> Result<()> {
    let names = kept(ctx)?;
    for name in names.iter().take(names.len().saturating_sub(KEPT)).filter(|n| *n != current) {
        let folder = ctx.ws.path(RELEASES).join(name);
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    Ok(())
}

/// Lets an earlier release answer again: `to`, or the one before. Gives its name.
///
/// # Errors
/// A [`Usage`] error that lists the releases where there is none such.
pub(crate) fn roll_back(ctx: &Context, to: Option<&str>) -> Result<String> {
    let names = kept(ctx)?;
    let current = current_name(ctx)?.unwrap_or_default();
    let found = match to {
        Some(to) => names.iter().find(|name| *name == to),
        None => names.iter().rev().find(|name| **name < current),
    };
    let Some(name) = found else {
        let there = if names.is_empty() { "none yet".to_owned() } else { names.join(", ") };
        let what =
            to.map_or("none before the one that answers".to_owned(), |to| format!("no {to:?}"));
        return Err(anyhow!(Usage(format!("there is {what}; releases that are kept: {there}"))));
    };
    choose(ctx, name)?;
    Ok(name.clone())
}
