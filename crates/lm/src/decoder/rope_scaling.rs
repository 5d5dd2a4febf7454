//! Rotary frequencies of long-context models, as transformers computes them (`modeling_rope_utils`).

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

use super::config::bad;
use crate::error::LmError;

/// How the frequencies of a model were stretched beyond the window it was first trained with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rope_type", rename_all = "lowercase")]
pub enum RopeScaling {
    /// Not at all.
    Default,
    /// All frequencies divided by `factor` (Chen et al. 2023).
    Linear {
        /// Times as many positions.
        factor: f64,
    },
    /// Long waves divided by `factor`, short ones kept, those between blended (Llama 3.1).
    Llama3 {
        /// Times as many positions.
        factor: f64,
        /// Waves longer than the first window divided by this are long.
        low_freq_factor: f64,
        /// Waves shorter than the first window divided by this are short.
        high_freq_factor: f64,
        /// The first window.
        original_max_position_embeddings: f64,
    },
    /// As `Llama3` with a ramp over the number of turns, and scores of attention made sharper (Peng et
    /// al. 2023, YaRN).
    Yarn {
        /// Times as many positions.
        factor: f64,
        /// The first window.
        original_max_position_embeddings: f64,
        /// Pairs that turn more often than this within the first window are kept.
        #[serde(default = "default_beta_fast")]
        beta_fast: f64,
        /// Pairs that turn less often are divided by `factor`.
        #[serde(default = "default_beta_slow")]
        beta_slow: f64,
        /// What turned numbers are multiplied by; `0.1 ln(factor) + 1` if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attention_factor: Option<f64>,
    },
}

fn default_beta_fast() -> f64 {
    32.0
}

fn default_beta_slow() -> f64 {
    1.0
}

impl RopeScaling {
    /// Refuses factors that stretch nothing.
    pub(super) fn check(&self) -> Result<(), LmError> {
        match *self {
            Self::Default => Ok(()),
            Self::Linear { factor } | Self::Llama3 { factor, .. } | Self::Yarn { factor, .. } => {
                if factor.is_finite() && factor > 0.0 {
                    return Ok(());
                }
                let problem = format!("rope_scaling.factor is {factor}");
                Err(bad(problem, "give a positive factor"))
            }
        }
    }

    /// The table for heads of `head_dim` numbers and `n_positions` positions.
    pub(super) fn table(&self, theta: f64, head_dim: usize, n_positions: usize) -> nn::RopeTable {
        let plain = nn::RopeTable::frequencies(theta, head_dim);
        let (frequencies, factor) = match *self {
            Self::Default => (plain, 1.0),
            Self::Linear { factor } => (plain.iter().map(|f| f / factor).collect(), 1.0),
            Self::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings: window,
            } => {
                let stretch = |f: &f64| {
                    let turns = window * f / TAU;
                    let kept = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    blend(*f, factor, kept)
                };
                (plain.iter().map(stretch).collect(), 1.0)
            }
            Self::Yarn {
                factor,
                original_max_position_embeddings: window,
                beta_fast,
                beta_slow,
                attention_factor,
            } => {
                // The pair that turns `n` times within the window.
                let pair =
                    |n: f64| head_dim as f64 * (window / (n * TAU)).ln() / (2.0 * theta.ln());
                let low = pair(beta_fast).floor().max(0.0);
                let high = pair(beta_slow).ceil().min(head_dim as f64 - 1.0);
                let width = if low == high { 0.001 } else { high - low };
                let stretch =
                    |(i, f): (usize, &f64)| blend(*f, factor, 1.0 - (i as f64 - low) / width);
                let sharper = attention_factor.unwrap_or(0.1 * factor.ln() + 1.0);
                (plain.iter().enumerate().map(stretch).collect(), sharper)
            }
        };
        nn::RopeTable::of_frequencies(&frequencies, factor, n_positions)
    }
}

/// Between `f / factor` (`kept` 0 or less) and `f` (`kept` 1 or more).
fn blend(f: f64, factor: f64, kept: f64) -> f64 {
    let kept = kept.clamp(0.0, 1.0);
    (1.0 - kept) * f / factor + kept * f
}
