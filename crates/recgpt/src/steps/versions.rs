//! The models that have answered in a workspace, each kept under a name, so that one is brought back.
//!
//! ```text
//! models/lm/               the model that answers
//! models/versions.json     the versions in order
//! models/versions/NAME/    config.json, tokenizer.json, model.safetensors; samples.jsonl of an increment
//! ```

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use lm::write_whole;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::Context;
use super::model::{FITTED, builtin_folder, builtin_hash, fitted_weights};
use crate::failure::Usage;

/// One model that is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Version {
    /// `builtin_1`, `fit_1`, `incremental_1`.
    pub(crate) name: String,
    /// Hash of its weights.
    weights: String,
    /// The version that it was trained on from; none where that is not known.
    pub(crate) from: Option<String>,
}

/// All that are kept, in order.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Versions {
    kept: Vec<Version>,
}

const LIST: &str = "models/versions.json";
const FILES: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"]; // weights last

impl Versions {
    /// The versions of a workspace; none in one that never learnt.
    pub(crate) fn read(ctx: &Context) -> Result<Self> {
        if !ctx.ws.path(LIST).exists() {
            return Ok(Self::default());
        }
        ctx.ws.read_json(LIST)
    }

    /// Whether a version of this name is kept.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.kept.iter().any(|v| v.name == name)
    }

    /// The name of the model that answers now, which is kept first where it is not yet.
    pub(crate) fn keep_current(&mut self, ctx: &Context) -> Result<String> {
        let hash = fitted_weights(ctx)?.map_or_else(builtin_hash, |weights| xxh3_64(&weights));
        if let Some(known) = self.kept.iter().find(|v| v.weights == hex(hash)) {
            return Ok(known.name.clone());
        }
        let name = self.next_name(if hash == builtin_hash() { "builtin" } else { "fit" });
        if fitted_weights(ctx)?.is_some() {
            copy(&ctx.ws.path(FITTED), &folder(ctx, &name)?)?;
        } else {
            builtin_folder(&folder(ctx, &name)?)?;
        }
        self.add(ctx, &name, hash, None)?;
        Ok(name)
    }

    /// A name of this kind that no version has.
    pub(crate) fn next_name(&self, kind: &str) -> String {
        let of_kind = |v: &&Version| v.name.rsplit_once('_').is_some_and(|(k, _)| k == kind);
        format!("{kind}_{}", self.kept.iter().filter(of_kind).count() + 1)
    }

    /// Adds the version whose files lie in its folder already.
    pub(crate) fn add_written(&mut self, ctx: &Context, name: &str, from: &str) -> Result<()> {
        let path = folder(ctx, name)?.join("model.safetensors");
        let weights = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        self.add(ctx, name, xxh3_64(&weights), Some(from.to_owned()))
    }

    fn add(&mut self, ctx: &Context, name: &str, hash: u64, from: Option<String>) -> Result<()> {
        self.kept.push(Version { name: name.to_owned(), weights: hex(hash), from });
        ctx.ws.write_json(LIST, self).map(|_| ())
    }

    /// Makes a version the one that answers.
    ///
    /// # Errors
    /// A [`Usage`] error that lists the versions when there is none of this name.
    pub(crate) fn choose(&self, ctx: &Context, name: &str) -> Result<()> {
        if !self.has(name) {
            let names: Vec<&str> = self.kept.iter().map(|v| v.name.as_str()).collect();
            let there = if names.is_empty() { "none yet".to_owned() } else { names.join(", ") };
            return Err(anyhow!(Usage(format!("no version {name:?} is kept; there is: {there}"))));
        }
        copy(&folder(ctx, name)?, &ctx.ws.path(FITTED))
    }
}

/// The folder of a version, made where it is missing.
pub(crate) fn folder(ctx: &Context, name: &str) -> Result<PathBuf> {
    let folder = ctx.ws.path("models/versions").join(name);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

fn copy(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for name in FILES {
        let path = from.join(name);
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        write_whole(&to.join(name), &bytes)?;
    }
    Ok(())
}

fn hex(hash: u64) -> String {
    format!("{hash:016x}")
}
