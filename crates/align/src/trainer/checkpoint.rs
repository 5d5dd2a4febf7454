//! `trainer.safetensors`: all that a stopped run needs to continue with the same losses.
//!
//! One file, so that it is complete or absent: tensors `params`, `first`, `second` in single
//! precision; notes `step`, `data` (hash of the samples), `decoder` and `trainer` (their
//! configurations as JSON). The position in the data follows from the step and the seed.

use std::path::Path;

use lm::Decoder;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{TrainLog, Trainer, TrainerConfig};
use crate::error::AlignError;

const FILE: &str = "trainer.safetensors";

impl Trainer {
    /// Continues the run whose checkpoint lies in `dir`; none when there is no checkpoint.
    ///
    /// # Errors
    /// [`AlignError::Io`] when a file cannot be read, [`AlignError::Format`] when it is not what
    /// [`Trainer::run`] wrote.
    pub fn resume(dir: &Path) -> Result<Option<Self>, AlignError> {
        let path = dir.join(FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(AlignError::Io { path: path.display().to_string(), source });
            }
        };
        let unfit =
            |detail: String| AlignError::Format { path: path.display().to_string(), detail };
        let stored = Stored::read(&bytes).map_err(unfit)?;
        let decoder = Decoder::new(stored.decoder, stored.params)?;
        let mut trainer = Self::new(decoder, stored.trainer)?;
        let n_params = trainer.adam.first.len();
        if stored.first.len() != n_params || stored.second.len() != n_params {
            return Err(unfit(format!("the moments do not fit {n_params} parameters")));
        }
        trainer.adam.first = stored.first;
        trainer.adam.second = stored.second;
        trainer.adam.step = stored.step;
        trainer.data = Some(stored.data);
        trainer.log = TrainLog::rewind(dir, stored.step)?;
        Ok(Some(trainer))
    }

    /// Writes the checkpoint, and the decoder beside it for use.
    pub(super) fn save(&self, dir: &Path) -> Result<(), AlignError> {
        let path = dir.join(FILE);
        let unfit =
            |detail: String| AlignError::Format { path: path.display().to_string(), detail };
        let numbers = [
            ("params", self.decoder.params()),
            ("first", &self.adam.first),
            ("second", &self.adam.second),
        ];
        let bytes = numbers.map(|(name, x)| (name, nn::to_bytes(x, nn::Dtype::F32)));
        let mut tensors = Vec::new();
        for (name, bytes) in &bytes {
            let view = TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes);
            tensors.push((*name, view.map_err(|e| unfit(e.to_string()))?));
        }
        let json = |result: serde_json::Result<String>| result.map_err(|e| unfit(e.to_string()));
        let notes = [
            ("step", self.adam.step.to_string()),
            ("data", format!("{:016x}", self.data.unwrap_or_default())),
            ("decoder", json(serde_json::to_string(self.decoder.config()))?),
            ("trainer", json(serde_json::to_string(&self.config))?),
        ];
        let notes = notes.map(|(name, note)| (name.to_owned(), note)).into_iter().collect();
        let bytes =
            safetensors::serialize(tensors, Some(notes)).map_err(|e| unfit(e.to_string()))?;
        lm::save_decoder(&self.decoder, &dir.join("model"), nn::Dtype::F16)?;
        Ok(lm::write_whole(&path, &bytes)?)
    }
}

/// The content of a checkpoint.
struct Stored {
    params: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    step: u64,
    data: u64,
    decoder: lm::DecoderConfig,
    trainer: TrainerConfig,
}

impl Stored {
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
        let notes = metadata.metadata().as_ref().ok_or("holds no notes")?;
        let note = |name: &str| notes.get(name).ok_or(format!("holds no note {name}"));
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
        let tensor = |name: &str| {
            let tensor = tensors.tensor(name).map_err(|e| format!("{name}: {e}"))?;
            Ok::<_, String>(nn::from_bytes(tensor.data(), nn::Dtype::F32))
        };
        let wrong = |name: &str, e: &dyn std::fmt::Display| format!("note {name}: {e}");
        Ok(Self {
            params: tensor("params")?,
            first: tensor("first")?,
            second: tensor("second")?,
            step: note("step")?.parse().map_err(|e| wrong("step", &e))?,
            data: u64::from_str_radix(note("data")?, 16).map_err(|e| wrong("data", &e))?,
            decoder: serde_json::from_str(note("decoder")?).map_err(|e| wrong("decoder", &e))?,
            trainer: serde_json::from_str(note("trainer")?).map_err(|e| wrong("trainer", &e))?,
        })
    }
}
