//! The configuration: one TOML file, overridden by `RECGPT__SECTION__KEY` variables, written back
//! resolved as `recgpt.toml` into the workspace.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use events::{BudgetPolicy, LineOrder};
use serde::{Deserialize, Serialize};

use crate::engine::EngineSettings;
use crate::failure::Usage;

/// Everything that `recgpt run` can be told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Name of the shop in reports.
    pub(crate) name: String,
    /// The workspace folder, relative to where the command is started.
    pub(crate) workspace: PathBuf,
    /// Seed of everything random.
    #[serde(default = "default_seed")]
    pub(crate) seed: u64,
    /// What is held out for evaluation.
    #[serde(default)]
    pub(crate) split: SplitSettings,
    /// Histories to digests.
    #[serde(default)]
    pub(crate) digest: DigestSettings,
    /// The language model.
    #[serde(default)]
    pub(crate) lm: LmSettings,
    /// Interests and tags.
    #[serde(default)]
    pub(crate) intent: IntentSettings,
    /// Learning from the last days of the log.
    #[serde(default)]
    pub(crate) incremental: IncrementalSettings,
    /// Score fusion.
    #[serde(default)]
    pub(crate) fusion: FusionSettings,
    /// The three towers.
    #[serde(default)]
    pub(crate) towers: retrieval::TowerConfig,
    /// Which files, and how to read them.
    pub(crate) import: events::ImportConfig,
    /// What a simulated world knows of its users; only `evaluate` opens it.
    #[serde(default)]
    pub(crate) truth: Option<PathBuf>,
    /// Published or earlier figures to print beside ours.
    #[serde(default)]
    pub(crate) floors: Vec<Floor>,
}

/// A figure to beat.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Floor {
    /// Whose figure.
    pub(crate) system: String,
    /// Metric name as in the table, `recall@10`.
    pub(crate) metric: String,
    /// The figure.
    pub(crate) value: f64,
}

/// What is held out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SplitKind {
    /// All that happened in the last `days`.
    ByTime,
    /// The last interaction of every user; for logs that have order but no clock.
    LeaveOneOut,
}

/// What counts as a hit in the held-out part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Relevant {
    /// Detailed views, reviews read, favourites, carts and purchases.
    Reliable,
    /// Every positive act, ordinary clicks too.
    Positive,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SplitSettings {
    pub(crate) kind: SplitKind,
    /// Days held out at the end, for `by_time`.
    pub(crate) days: u32,
    /// What counts as a hit.
    pub(crate) relevant: Relevant,
    /// Leave items that the user has acted on before out of slates and out of the truth.
    pub(crate) exclude_seen: bool,
}

impl Default for SplitSettings {
    fn default() -> Self {
        Self { kind: SplitKind::ByTime, days: 14, relevant: Relevant::Reliable, exclude_seen: true }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DigestSettings {
    /// Tokens that a digest may have.
    pub(crate) budget: usize,
    /// Tokens of the digest in a prompt for the built-in model, whose window is small.
    pub(crate) builtin_budget: usize,
    /// What becomes of lines that do not fit: `coarser_time`, `least_informative` or `oldest_first`.
    pub(crate) policy: BudgetPolicy,
    /// `newest_first`, or `stable` for a prompt whose beginning stays the same from day to day; prompts for
    /// servers only, the built-in model has learnt the first.
    pub(crate) order: LineOrder,
}

impl Default for DigestSettings {
    fn default() -> Self {
        Self {
            budget: 128 * 1024,
            builtin_budget: 600,
            policy: BudgetPolicy::CoarserTime,
            order: LineOrder::NewestFirst,
        }
    }
}

/// Which language model.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "kind")]
pub(crate) enum LmSettings {
    /// Our own small model, compiled into the program.
    Builtin {
        /// Fit it briefly to the shop's own words first.
        #[serde(default)]
        fit: FitSettings,
        /// How the engine holds it.
        #[serde(default)]
        engine: EngineSettings,
    },
    /// A Hugging Face folder of the Qwen3 or Llama family, run by the same engine.
    Folder {
        /// The folder.
        path: PathBuf,
        /// How the engine holds it.
        #[serde(default)]
        engine: EngineSettings,
    },
    /// Any OpenAI-compatible server.
    Openai(ServerSettings),
}

/// A language model behind an OpenAI-compatible server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerSettings {
    /// Such as `http://127.0.0.1:8000/v1`.
    pub(crate) base_url: String,
    /// Name of the model at the server.
    pub(crate) model: String,
    /// Name of the environment variable that holds the key.
    #[serde(default)]
    pub(crate) api_key_env: Option<String>,
    /// Seconds until a call is given up.
    #[serde(default = "default_timeout")]
    pub(crate) timeout_seconds: u64,
    /// Calls at the same time.
    #[serde(default = "default_concurrency")]
    pub(crate) concurrency: usize,
    /// Stop after so many tokens in all.
    #[serde(default)]
    pub(crate) token_budget: Option<u64>,
    /// Prompts in English (`en`) or Chinese (`zh`).
    #[serde(default = "default_language")]
    pub(crate) language: String,
    /// Kind of server: `generic`, `open_ai`, `vllm`, `sglang`, `llama_cpp`; `vllm` for `recgpt lm serve`.
    #[serde(default)]
    pub(crate) dialect: lm::Dialect,
    /// Prompts in `prose`, or `terse` for a built-in model behind `recgpt lm serve`.
    #[serde(default = "default_style")]
    pub(crate) style: lm::PromptStyle,
}

fn default_style() -> lm::PromptStyle {
    lm::PromptStyle::Prose
}

impl Default for LmSettings {
    fn default() -> Self {
        Self::Builtin { fit: FitSettings::default(), engine: EngineSettings::default() }
    }
}

/// When the built-in model is fitted to the shop, and for how long.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FitSettings {
    /// Fit at all.
    pub(crate) enabled: bool,
    /// Optimiser steps; the data may end earlier.
    pub(crate) steps: usize,
    /// Moments per user at which a training sample is cut.
    pub(crate) cuts_per_user: usize,
    /// Users whom the fit does not read and for whom it has to predict better than the model as shipped,
    /// beyond chance (95%), or it does not answer; 0 lets it answer untried.
    pub(crate) trial_users: usize,
}

impl Default for FitSettings {
    fn default() -> Self {
        Self { enabled: false, steps: 150, cuts_per_user: 2, trial_users: 60 }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct IntentSettings {
    /// File with one interest per line: the preset pool (`listed` interests).
    pub(crate) pool: Option<PathBuf>,
    /// How many users, the most active first, get interests and tags.
    pub(crate) users: usize,
    /// Interests per user (published: 16.1): a server is asked until it named so many; of what the built-in
    /// model says, so many that have the most votes and evidence are kept.
    pub(crate) min_interests: usize,
    /// Tags to reach per user.
    pub(crate) min_tags: usize,
    /// Categories to reach per user.
    pub(crate) min_categories: usize,
    /// Calls per user for interests.
    pub(crate) mine_rounds: usize,
    /// Calls per user until the tags suffice.
    pub(crate) rounds: usize,
    /// Users per batch; a stopped run continues behind the last whole batch.
    pub(crate) batch: usize,
}

impl Default for IntentSettings {
    fn default() -> Self {
        Self {
            pool: None,
            users: 300,
            min_interests: 16,
            min_tags: 50,
            min_categories: 8,
            mine_rounds: 4,
            rounds: 3,
            batch: 64,
        }
    }
}

/// What `recgpt align --incremental` takes of the log, and how long it learns.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct IncrementalSettings {
    /// Days before the cut.
    pub(crate) days: u32,
    /// Most tags per user before categories are counted.
    pub(crate) per_user: usize,
    /// Most tags per user and category.
    pub(crate) per_category: usize,
    /// Most optimiser steps; two passes over the samples where those are fewer.
    pub(crate) steps: u64,
}

impl Default for IncrementalSettings {
    fn default() -> Self {
        Self { days: 14, per_user: 80, per_category: 2, steps: 150 }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FusionSettings {
    /// Weight of the user tower (published: 0.6).
    pub(crate) beta: f32,
    /// Items that each tag may bring, for the published merge.
    pub(crate) quota: usize,
    /// How the scores of many tags become one list.
    pub(crate) merge: retrieval::Merge,
    /// Items of one category on ten places of a slate; 0 for no limit.
    pub(crate) per_category: usize,
    /// Weight of the user tower where a request says in words what is wanted.
    pub(crate) wish_beta: f32,
    /// What a user's own repeats weigh beside the user score; without it what training chose, 0 where
    /// `[towers] repeats` is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) repeat_weight: Option<f32>,
    /// Items of one merchant on ten places of a slate; 0 for no limit.
    pub(crate) per_merchant: usize,
    /// The last places of every ten, for new items.
    pub(crate) new_places: usize,
    /// For how many days after `listed_at` an item is new; where nobody says when it was listed, it is new
    /// until somebody touches it.
    pub(crate) new_days: u32,
}

impl FusionSettings {
    /// Refuses what no slate can hold.
    fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(anyhow!(Usage(format!("[fusion]: {what}"))));
        for (name, beta) in [("beta", self.beta), ("wish_beta", self.wish_beta)] {
            if !(0.0..=1.0).contains(&beta) {
                return refuse(format!("{name} is {beta}, it must be a number from 0 to 1"));
            }
        }
        if let Some(weight) = self.repeat_weight.filter(|w| !(0.0..=100.0).contains(w)) {
            return refuse(format!("repeat_weight is {weight}, it must be a number from 0 to 100"));
        }
        match self.new_places {
            0..=10 => Ok(()),
            n => refuse(format!("new_places is {n}, it must be a whole number from 0 to 10")),
        }
    }
}

impl Default for FusionSettings {
    fn default() -> Self {
        Self {
            beta: 0.6,
            quota: 2,
            merge: retrieval::Merge::default(),
            per_category: 3,
            wish_beta: 0.3,
            repeat_weight: None,
            per_merchant: 0,
            new_places: 0,
            new_days: 14,
        }
    }
}

impl Settings {
    /// Reads a configuration, with overrides from the environment.
    ///
    /// # Errors
    /// A [`Usage`] error that shows the line of the file that is wrong.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|e| {
            anyhow!(Usage(format!("cannot read the configuration {}: {e}", path.display())))
        })?;
        let in_file = |e: toml::de::Error| anyhow!(Usage(format!("{}: {e}", path.display())));
        let settings: Self = toml::from_str(&text).map_err(in_file)?;
        let overrides = environment_overrides();
        if overrides.is_empty() {
            settings.fusion.check()?;
            return Ok(settings);
        }
        let mut table: toml::Table = toml::from_str(&text).map_err(in_file)?;
        for (keys, value) in &overrides {
            set(&mut table, keys, value)?;
        }
        let settings: Self = table
            .try_into()
            .map_err(|e: toml::de::Error| anyhow!(Usage(format!("RECGPT__ variables: {e}"))))?;
        settings.fusion.check()?;
        Ok(settings)
    }

    /// The resolved configuration as TOML.
    pub(crate) fn to_toml(&self) -> Result<String> {
        toml::to_string(self).context("writing the resolved configuration")
    }
}

/// `RECGPT__FUSION__BETA=0.7` as (`["fusion", "beta"]`, `"0.7"`), sorted.
fn environment_overrides() -> Vec<(Vec<String>, String)> {
    let mut found: Vec<_> = std::env::vars()
        .filter_map(|(name, value)| {
            let keys = name.strip_prefix("RECGPT__")?;
            Some((keys.split("__").map(str::to_lowercase).collect(), value))
        })
        .collect();
    found.sort();
    found
}

fn set(table: &mut toml::Table, keys: &[String], value: &str) -> Result<()> {
    let [first, rest @ ..] = keys else { return Ok(()) };
    if rest.is_empty() {
        // A value that is no TOML of its own is a plain string.
        let parsed = format!("v = {value}").parse::<toml::Table>();
        let parsed = parsed.ok().and_then(|mut t| t.remove("v"));
        table.insert(first.clone(), parsed.unwrap_or_else(|| value.to_owned().into()));
        return Ok(());
    }
    let below = table.entry(first.clone()).or_insert_with(|| toml::Table::new().into());
    let below = below.as_table_mut().ok_or_else(|| {
        anyhow!(Usage(format!("RECGPT__ variable: {first:?} is a value, not a section")))
    })?;
    set(below, rest, value)
}

fn default_seed() -> u64 {
    42
}

fn default_timeout() -> u64 {
    120
}

fn default_concurrency() -> usize {
    8
}

fn default_language() -> String {
    "en".to_owned()
}

#[cfg(test)]
mod tests {
    use super::set;

    #[test]
    fn environment_overrides_reach_into_sections() {
        let mut table: toml::Table = "[fusion]\nbeta = 0.6\n".parse().unwrap();
        let check = |table: &mut toml::Table, keys: &[&str], value: &str| {
            let keys: Vec<String> = keys.iter().map(|k| (*k).to_owned()).collect();
            set(table, &keys, value).map(|()| table.to_string())
        };
        assert!(check(&mut table, &["fusion", "beta"], "0.7").unwrap().contains("beta = 0.7"));
        assert!(check(&mut table, &["name"], "my shop").unwrap().contains("name = \"my shop\""));
        assert!(check(&mut table, &["name", "x"], "1").is_err());
    }
}
