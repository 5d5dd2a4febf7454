//! Formats and limits of an engine.

use nn::WeightFormat;

use crate::decoder::KvFormat;

/// Formats and limits of an [`crate::Engine`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineConfig {
    /// How weights are held.
    pub weights: WeightFormat,
    /// How keys and values are held.
    pub kv_format: KvFormat,
    /// Bytes for keys and values, of requests under way and kept for later prompts; a request that
    /// could need more is refused.
    pub kv_bytes: usize,
    /// Whether prompts that begin like earlier ones use what is known of them.
    pub prefix_cache: bool,
    /// Most tokens of a prompt and its answer, if the model's own window is longer.
    pub window: usize,
    /// Threads that decode; 0 for those of the current pool.
    pub lanes: usize,
    /// Sequences that one lane advances together.
    pub batch_size: usize,
    /// Tokens that a lane reads in one step; long prompts are read in pieces, so that answers under way
    /// go on.
    pub step_tokens: usize,
    /// Requests handed in by [`crate::Engine::submit`] that may wait; more are refused.
    pub max_waiting: usize,
}

impl EngineConfig {
    /// What suits a small model on a small machine.
    pub const STANDARD: Self = Self {
        weights: WeightFormat::Fp8,
        kv_format: KvFormat::Fp8,
        kv_bytes: 256 << 20,
        prefix_cache: true,
        window: 32_768,
        lanes: 0,
        batch_size: 32,
        step_tokens: 512,
        max_waiting: 1024,
    };
}
