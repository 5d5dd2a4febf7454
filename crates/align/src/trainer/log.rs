//! What a training run recorded, one line of JSON per step.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::AlignError;

const FILE: &str = "train.jsonl";

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainRecord {
    /// Number of the step, from 1.
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// Mean loss of the targets of this step in nats, before the update.
    pub loss: f64,
    /// Part of the targets that had the largest logit.
    pub accuracy: f64,
    /// Learning rate.
    pub lr: f64,
    /// Norm of the gradient of the mean loss, before clipping.
    pub grad_norm: f64,
    /// Tokens of the step, prompts included.
    pub n_tokens: u64,
    /// Tokens per second of the step.
    pub tokens_per_second: f64,
    /// Mean loss on the held-out samples in nats, after the update, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out_loss: Option<f64>,
}

/// All steps of a run, those before a resumption included.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainLog {
    /// In the order of the steps.
    pub records: Vec<TrainRecord>,
}

impl TrainLog {
    /// Reads the log of a checkpoint folder; empty when there is none.
    ///
    /// # Errors
    /// [`AlignError::Io`] or, with the line, [`AlignError::Format`].
    pub fn read(dir: &Path) -> Result<Self, AlignError> {
        let path = dir.join(FILE);
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(&path).map_err(|e| io(&path, e))?;
        let records = text.lines().enumerate().map(|(i, line)| {
            serde_json::from_str(line).map_err(|e| AlignError::Format {
                path: path.display().to_string(),
                detail: format!("line {}: {e}", i + 1),
            })
        });
        Ok(Self { records: records.collect::<Result<_, _>>()? })
    }

    /// Reads the records up to `step` and cuts what a stopped run wrote after it from the file.
    pub(super) fn rewind(dir: &Path, step: u64) -> Result<Self, AlignError> {
        let path = dir.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(io(&path, e)),
        };
        let kept: String = text.split_inclusive('\n').take(step as usize).collect();
        lm::write_whole(&path, kept.as_bytes())?;
        Self::read(dir)
    }

    /// Appends the last record to the file; the first of a run begins the file anew.
    pub(super) fn append_last(&self, dir: &Path) -> Result<(), AlignError> {
        let Some(record) = self.records.last() else {
            return Ok(());
        };
        let path: PathBuf = dir.join(FILE);
        let write = || {
            std::fs::create_dir_all(dir)?;
            let mut options = OpenOptions::new();
            options.create(true).write(true);
            match record.step {
                1 => options.truncate(true),
                _ => options.append(true),
            };
            let line = serde_json::to_string(record).map_err(std::io::Error::other)?;
            options.open(&path)?.write_all(format!("{line}\n").as_bytes())
        };
        write().map_err(|e| io(&path, e))
    }
}

fn io(path: &Path, source: std::io::Error) -> AlignError {
    AlignError::Io { path: path.display().to_string(), source }
}
