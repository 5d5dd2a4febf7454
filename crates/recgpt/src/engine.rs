//! Formats and limits of the built-in engine, as configurations and flags name them.

use clap::ValueEnum;
use lm::{EngineConfig, KvFormat, WeightFormat};
use serde::{Deserialize, Serialize};

/// Formats and limits of the built-in engine.
#[derive(Debug, Clone, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EngineSettings {
    /// How weights are held.
    #[arg(long, value_enum, default_value_t = NumberFormat::Fp8)]
    pub(crate) weights: NumberFormat,
    /// How keys and values are held.
    #[arg(long, value_enum, default_value_t = KvNumberFormat::Fp8)]
    pub(crate) kv: KvNumberFormat,
    /// Memory for keys and values, of requests under way and kept for later prompts.
    #[arg(long, default_value_t = EngineConfig::STANDARD.kv_bytes >> 20)]
    pub(crate) kv_mib: usize,
    /// Most tokens of a prompt and its answer, if the model's own window is longer.
    #[arg(long, default_value_t = EngineConfig::STANDARD.window)]
    pub(crate) window: usize,
    /// Sequences that one thread advances together.
    #[arg(long, default_value_t = EngineConfig::STANDARD.batch_size)]
    pub(crate) batch: usize,
}

/// Formats of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NumberFormat {
    /// Eight bits (E4M3) with a scale per output channel.
    Fp8,
    /// Sixteen bits, the upper half of single precision.
    Bf16,
    /// Single precision.
    F32,
}

/// Formats of keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KvNumberFormat {
    /// Eight bits (E4M3) with a scale per token and head.
    Fp8,
    /// Half precision.
    F16,
    /// Single precision.
    F32,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            weights: NumberFormat::Fp8,
            kv: KvNumberFormat::Fp8,
            kv_mib: EngineConfig::STANDARD.kv_bytes >> 20,
            window: EngineConfig::STANDARD.window,
            batch: EngineConfig::STANDARD.batch_size,
        }
    }
}

impl EngineSettings {
    /// The settings as the engine takes them.
    pub(crate) fn config(&self) -> EngineConfig {
        EngineConfig {
            weights: match self.weights {
                NumberFormat::Fp8 => WeightFormat::Fp8,
                NumberFormat::Bf16 => WeightFormat::Bf16,
                NumberFormat::F32 => WeightFormat::F32,
            },
            kv_format: match self.kv {
                KvNumberFormat::Fp8 => KvFormat::Fp8,
                KvNumberFormat::F16 => KvFormat::F16,
                KvNumberFormat::F32 => KvFormat::F32,
            },
            kv_bytes: self.kv_mib << 20,
            window: self.window,
            batch_size: self.batch,
            ..EngineConfig::STANDARD
        }
    }
}
