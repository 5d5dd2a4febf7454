//! The folder of an alignment: one sub-folder per stage, and the model that was chosen.
//!
//! ```text
//! tokenizer.json
//! teacher.json teacher/                                     who teaches stage 2; calls and rejections of a server
//! base/ curriculum/ reasoning/ judge/ self_training/round_1/ ...   train.jsonl, trainer.safetensors, model/
//! judge/ self_training/round_1/ ...                         samples.json, where a model's answers are in them
//! alignment.json                                            the stages done, and which is chosen
//! model/ manifest.json scorecard.json train.jsonl           of the chosen stage, and the log of all
//! report.html                                               of all stages
//! ```

use std::path::{Path, PathBuf};

use align::{AlignError, Trainer, TrainerConfig, encode_samples};
use anyhow::{Context, Result, anyhow};
use lm::{Decoder, Tokenizer, load_decoder, write_whole};
use serde::{Deserialize, Serialize};

use super::scorecard::Scorecard;
use super::{base, curriculum, judge, reasoning};
use crate::failure::Usage;
use crate::progress::{Progress, say};

/// What the samples of a stage were, and what came out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StageRecord {
    /// Its folder below the alignment's: `curriculum`, `self_training/round_1`.
    pub(crate) stage: String,
    /// Samples per task.
    pub(crate) samples: std::collections::BTreeMap<String, usize>,
    /// Tokens of all samples, and those that are targets.
    pub(crate) tokens: [usize; 2],
    /// Hash of the samples' tokens.
    pub(crate) data_hash: String,
    /// Optimiser steps.
    pub(crate) steps: u64,
    /// Loss on long samples that were not trained on, in nats.
    pub(crate) held_out_loss: Option<f64>,
    /// Figures of the stage's making: yields, rejections, variety.
    pub(crate) notes: serde_json::Value,
    /// How the model did on unseen worlds afterwards.
    pub(crate) scorecard: Scorecard,
}

/// The stages that are done.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Stages {
    /// In order.
    pub(crate) done: Vec<StageRecord>,
    /// Which of them `model/` is.
    pub(crate) chosen: Option<String>,
}

impl Stages {
    /// A stage that is done.
    pub(crate) fn get(&self, stage: &str) -> Option<&StageRecord> {
        self.done.iter().find(|known| known.stage == stage)
    }

    /// Whether a stage is done; says so.
    pub(crate) fn has(&self, stage: &str) -> bool {
        let done = self.get(stage).is_some();
        if done {
            say(&format!("{stage}: done before"));
        }
        done
    }

    /// The last stage whose model mines and tags, in order of training; none before the first.
    pub(crate) fn answering(&self) -> Option<&StageRecord> {
        self.done.iter().rev().find(|record| record.stage != judge::NAME)
    }

    /// The stage whose model judges what `stage` answers: the judge, or before it reasoning itself; none of
    /// the stages that have not learnt to judge.
    pub(crate) fn judge_of(&self, stage: &str) -> Option<&'static str> {
        match stage {
            base::NAME | curriculum::NAME => None,
            _ if self.get(judge::NAME).is_some() => Some(judge::NAME),
            _ => Some(reasoning::NAME),
        }
    }
}

/// An alignment on disk.
pub(crate) struct Folder {
    pub(crate) root: PathBuf,
}

const STAGES: &str = "alignment.json";
pub(super) const MANIFEST: &str = "manifest.json";

impl Folder {
    pub(crate) fn create(root: &Path) -> Result<Self> {
        std::fs::create_dir_all(root).with_context(|| format!("making {}", root.display()))?;
        Ok(Self { root: root.to_owned() })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The stages done so far; none in a new folder.
    pub(crate) fn stages(&self) -> Result<Stages> {
        let path = self.path(STAGES);
        let json = match std::fs::read(&path) {
            Ok(json) => json,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Stages::default()),
            Err(e) => return Err(e).with_context(|| format!("reading {}", path.display())),
        };
        serde_json::from_slice(&json).with_context(|| format!("reading {}", path.display()))
    }

    pub(crate) fn read_json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T> {
        let path = self.path(name);
        let json = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&json).with_context(|| format!("reading {}", path.display()))
    }

    pub(crate) fn write_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let path = self.path(name);
        let json = serde_json::to_vec_pretty(value)?;
        write_whole(&path, &json).with_context(|| format!("writing {}", path.display()))
    }

    /// Adds a stage to those done and chooses it.
    pub(crate) fn record(&self, stages: &mut Stages, record: StageRecord) -> Result<()> {
        stages.done.retain(|known| known.stage != record.stage);
        stages.chosen = Some(record.stage.clone());
        stages.done.push(record);
        self.write_json(STAGES, stages)
    }

    /// Makes `model/` and `scorecard.json` those of a stage that is done.
    ///
    /// # Errors
    /// A [`Usage`] error that lists the stages when there is none of this name.
    pub(crate) fn choose(&self, stages: &mut Stages, stage: &str) -> Result<()> {
        let Some(record) = stages.get(stage) else {
            let names: Vec<&str> = stages.done.iter().map(|s| s.stage.as_str()).collect();
            let detail = format!("no stage {stage:?} is done; one of: {}", names.join(", "));
            return Err(anyhow!(Usage(detail)));
        };
        self.copy_model(stage, "")?;
        self.write_log(stages)?;
        let card = record.scorecard.clone();
        stages.chosen = Some(stage.to_owned());
        let figures = super::figures::figures(stages);
        let shown = serde_json::json!({ "figures": figures, "stage": stage, "scorecard": card });
        self.write_json("scorecard.json", &shown)?;
        self.name_chosen(stage)?;
        self.write_json(STAGES, stages)
    }

    /// Has the manifest, where there is one, say which stage `model/` is.
    fn name_chosen(&self, stage: &str) -> Result<()> {
        if !self.path(MANIFEST).exists() {
            return Ok(());
        }
        let mut manifest: serde_json::Value = self.read_json(MANIFEST)?;
        manifest["chosen"] = stage.into();
        self.write_json(MANIFEST, &manifest)
    }

    /// Writes `train.jsonl`: the records of all stages that are done, one after another, each with its stage.
    fn write_log(&self, stages: &Stages) -> Result<()> {
        let mut lines = String::new();
        for stage in &stages.done {
            for part in self.parts_of(&stage.stage) {
                let path = self.path(&part).join("train.jsonl");
                let log = std::fs::read_to_string(&path)
                    .with_context(|| format!("reading {}", path.display()))?;
                for line in log.lines() {
                    let mut record: serde_json::Map<String, serde_json::Value> =
                        serde_json::from_str(line)
                            .with_context(|| format!("reading {}", path.display()))?;
                    record.insert("stage".to_owned(), part.clone().into());
                    lines.push_str(&serde_json::to_string(&record)?);
                    lines.push('\n');
                }
            }
        }
        let path = self.path("train.jsonl");
        write_whole(&path, lines.as_bytes()).with_context(|| format!("writing {}", path.display()))
    }

    /// The folders of a stage that were trained: itself, or its levels in their order.
    pub(crate) fn parts_of(&self, stage: &str) -> Vec<String> {
        if self.path(stage).join("train.jsonl").exists() {
            return vec![stage.to_owned()];
        }
        let levels = align::Level::ALL.iter().map(|level| format!("{stage}/{}", level.as_str()));
        levels.filter(|level| self.path(level).join("train.jsonl").exists()).collect()
    }

    /// Copies `model/` of one folder below this one to another.
    pub(crate) fn copy_model(&self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (self.path(from).join("model"), self.path(to).join("model"));
        std::fs::create_dir_all(&to).with_context(|| format!("making {}", to.display()))?;
        for name in ["config.json", "model.safetensors"] {
            let path = from.join(name);
            let bytes =
                std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            write_whole(&to.join(name), &bytes)?;
        }
        Ok(())
    }

    /// The samples of a stage that cost a model's answers, with notes about them: made once, and read again by
    /// a run that was stopped.
    pub(crate) fn samples(&self, stage: &str, make: impl FnOnce() -> Result<Made>) -> Result<Made> {
        let name = format!("{stage}/samples.json");
        let path = self.path(&name);
        if path.exists() {
            let json =
                std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            return serde_json::from_slice(&json)
                .with_context(|| format!("reading {}", path.display()));
        }
        let made = make()?;
        let dir = self.path(stage);
        std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        self.write_json(&name, &made)?;
        Ok(made)
    }

    /// The weights after a stage.
    pub(crate) fn decoder(&self, stage: &str) -> Result<Decoder> {
        Ok(load_decoder(&self.path(stage).join("model"))?)
    }
}

/// Samples that a stage has made, and what is said of them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) samples: Vec<align::Sample>,
    pub(crate) notes: serde_json::Value,
}

/// Samples and settings of one training run.
pub(crate) struct StageRun<'a> {
    /// Its folder below the alignment's.
    pub(crate) name: &'a str,
    pub(crate) train: &'a [align::Sample],
    pub(crate) held_out: &'a [align::Sample],
    pub(crate) config: TrainerConfig,
}

/// What a run read and how it ended.
pub(crate) struct StageEnd {
    pub(crate) tokens: [usize; 2],
    pub(crate) data_hash: String,
    pub(crate) held_out_loss: Option<f64>,
}

/// Trains `decoder` on the samples, or continues where an earlier call was stopped. Samples that do not
/// fit the window are left out and counted on the terminal.
pub(crate) fn train(
    folder: &Folder,
    decoder: impl FnOnce() -> Result<Decoder>,
    tokenizer: &Tokenizer,
    run: &StageRun<'_>,
) -> Result<StageEnd> {
    let dir = folder.path(run.name);
    std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    let mut trainer = match Trainer::resume(&dir)? {
        Some(trainer) => trainer,
        None => Trainer::new(decoder()?, run.config.clone())?,
    };
    let window = trainer.decoder().config().max_position_embeddings;
    let fit = |samples: &[align::Sample]| {
        let mut encoded = encode_samples(tokenizer, samples);
        let n_all = encoded.len();
        encoded.retain(|s| !s.tokens.is_empty() && s.tokens.len() <= window);
        if encoded.len() < n_all {
            say(&format!("{} of {n_all} samples fit {window} tokens", encoded.len()));
        }
        encoded
    };
    let (train, held_out) = (fit(run.train), fit(run.held_out));
    if trainer.step() > 0 {
        say(&format!("{}: continuing behind step {}", run.name, trainer.step()));
    }
    let bar = Progress::new(run.name);
    let log = trainer.run(&train, &held_out, Some(&dir), &|record| {
        bar.set(record.step, record.steps);
        if record.held_out_loss.is_some() || record.step % 20 == 0 {
            let held = record.held_out_loss.map_or(String::new(), |l| format!(", held out {l:.4}"));
            say(&format!(
                "{} step {}: loss {:.4}, accuracy {:.3}, {:.0} tokens/s{held}",
                run.name, record.step, record.loss, record.accuracy, record.tokens_per_second
            ));
        }
    });
    bar.finish();
    let log = log.map_err(|e: AlignError| anyhow!(e)).context(run.name.to_owned())?;
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    train.iter().flat_map(|s| &s.tokens).for_each(|t| hash.update(&t.to_le_bytes()));
    let n_targets = train.iter().map(|s| s.loss.iter().filter(|l| **l).count()).sum();
    Ok(StageEnd {
        tokens: [train.iter().map(|s| s.tokens.len()).sum(), n_targets],
        data_hash: format!("{:016x}", hash.digest()),
        held_out_loss: log.records.iter().rev().find_map(|r| r.held_out_loss),
    })
}
