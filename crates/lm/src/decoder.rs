//! Decoders of the Qwen3 and Llama families: configuration, parameters, training and inference.
//!
//! RMSNorm before each half of a block, a norm on each head of queries and keys (Qwen3), rotary
//! positions, grouped-query attention, SwiGLU. The equations are those of `Qwen3ForCausalLM` and
//! `LlamaForCausalLM` in transformers. [`Decoder`] holds parameters in single precision and trains;
//! [`PackedDecoder`] holds them packed and infers. Knows token numbers; knows no text.

mod batch;
mod block;
mod cache;
mod config;
mod infer;
mod layout;
mod packed;
mod pages;
mod rope_scaling;
mod train;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

pub use self::batch::PackedBatch;
pub use self::cache::KvCache;
pub use self::config::DecoderConfig;
pub use self::infer::{Chunk, Scratch, Wanted};
pub use self::layout::{Layout, TensorPlace};
pub use self::packed::{PackedDecoder, Tensor, TensorSource};
pub(crate) use self::pages::Page;
pub use self::pages::{KvFormat, KvPool};
pub use self::rope_scaling::RopeScaling;
pub use self::train::{LossStats, Tape};
use crate::error::LmError;

/// A decoder: its configuration and one flat vector of parameters.
#[derive(Debug, Clone)]
pub struct Decoder {
    config: DecoderConfig,
    layout: Layout,
    params: Vec<f32>,
    rope: nn::RopeTable,
}

impl Decoder {
    /// A decoder over given parameters, laid out as [`Layout`] says.
    ///
    /// # Errors
    /// [`LmError::BadModel`] when the configuration is inconsistent or the length does not fit.
    pub fn new(config: DecoderConfig, params: Vec<f32>) -> Result<Self, LmError> {
        config.check()?;
        let layout = Layout::new(&config);
        if params.len() != layout.n_params() {
            return Err(config::bad(
                format!("needs {} parameters, got {}", layout.n_params(), params.len()),
                "give the weights that belong to this configuration",
            ));
        }
        let rope = config.rope(config.max_position_embeddings);
        Ok(Self { config, layout, params, rope })
    }

    /// Fresh parameters: normal with deviation 0.02 (less by `1 / sqrt(2 layers)` for the matrices
    /// that write to the residual stream, as in GPT-2), norms at one.
    ///
    /// # Errors
    /// [`LmError::BadModel`] when the configuration is inconsistent.
    pub fn init(config: DecoderConfig, seed: u64) -> Result<Self, LmError> {
        config.check()?;
        let layout = Layout::new(&config);
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let mut params = vec![0.0; layout.n_params()];
        let residual = 0.02 / (2.0 * config.num_hidden_layers as f32).sqrt();
        for place in layout.tensors() {
            let span = &mut params[place.range.clone()];
            if place.is_norm() {
                span.fill(1.0);
                continue;
            }
            let writes_residual =
                place.name.ends_with("o_proj.weight") || place.name.ends_with("down_proj.weight");
            let deviation = if writes_residual { residual } else { 0.02 };
            span.fill_with(|| normal(&mut rng) * deviation);
        }
        Self::new(config, params)
    }

    /// The configuration.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Where each tensor lies in the parameters.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// All parameters.
    pub fn params(&self) -> &[f32] {
        &self.params
    }

    /// All parameters, to be changed.
    pub fn params_mut(&mut self) -> &mut [f32] {
        &mut self.params
    }
}

/// A standard normal number (Box & Muller).
fn normal(rng: &mut Pcg64Mcg) -> f32 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    ((-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_is_a_function_of_the_seed() {
        let params = |seed| Decoder::init(DecoderConfig::tiny(), seed).unwrap().params().to_vec();
        assert_eq!(params(1), params(1));
        assert_ne!(params(1), params(2));
        let weights = params(3);
        let mean = weights.iter().filter(|x| **x != 1.0).sum::<f32>() / weights.len() as f32;
        assert!(mean.abs() < 1e-3, "mean {mean}");
    }

    #[test]
    fn parameters_of_another_size_are_refused() {
        let error = Decoder::new(DecoderConfig::tiny(), vec![0.0; 3]).unwrap_err();
        assert!(error.to_string().contains("got 3"), "{error}");
    }
}
