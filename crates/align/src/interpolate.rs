//! The way from a model to what training made of it, gone so far that what it knew is kept: weights in
//! between, `(1 - share) * before + share * after` (Wortsman et al. 2022, "Robust fine-tuning of zero-shot
//! models", equation 1).

use lm::Decoder;
use serde::{Deserialize, Serialize};

use crate::sample::TokenSample;
use crate::trainer::{TrainerConfig, mean_loss};

/// Halvings of the way that are looked at: shares are multiples of 1/16.
const HALVINGS: u32 = 4;

/// How much of a training was kept, and what it costs on samples of what was known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Share of the way to the trained weights, 0 to 1.
    pub share: f64,
    /// Mean loss on known samples before the training; none without such samples.
    pub known_loss_before: Option<f64>,
    /// The same at the end of the whole way.
    pub known_loss_trained: Option<f64>,
    /// The same at the share that was kept.
    pub known_loss_kept: Option<f64>,
}

/// `trained` with as large a share of the way from `before` as lets the mean loss on `known` rise by at most
/// the part `rise` of it. The whole way where nothing is known.
pub(crate) fn keep_known(
    before: &[f32],
    trained: Decoder,
    known: &[TokenSample],
    rise: f64,
    config: &TrainerConfig,
) -> (Decoder, Kept) {
    let after = trained.params().to_vec();
    let mut decoder = trained;
    let mut loss_at = |share: f64| {
        between(before, &after, share, decoder.params_mut());
        mean_loss(&decoder, known, config.row_tokens, config.precision)
    };
    let (known_loss_before, known_loss_trained) = (loss_at(0.0), loss_at(1.0));
    let most = known_loss_before.map_or(f64::INFINITY, |loss| loss * (1.0 + rise));
    let within = |loss: Option<f64>| loss.is_none_or(|loss| loss <= most);
    let (mut share, mut known_loss_kept) = match within(known_loss_trained) {
        true => (1.0, known_loss_trained),
        false => (0.0, known_loss_before),
    };
    let halvings = if share < 1.0 { HALVINGS } else { 0 };
    for halving in 1..=halvings {
        let further = share + 0.5f64.powi(halving as i32);
        let loss = loss_at(further);
        if within(loss) {
            (share, known_loss_kept) = (further, loss);
        }
    }
    let kept = Kept { share, known_loss_before, known_loss_trained, known_loss_kept };
    between(before, &after, kept.share, decoder.params_mut());
    (decoder, kept)
}

fn between(before: &[f32], after: &[f32], share: f64, to: &mut [f32]) {
    for ((to, before), after) in to.iter_mut().zip(before).zip(after) {
        let (before, after) = (f64::from(*before), f64::from(*after));
        *to = ((1.0 - share) * before + share * after) as f32;
    }
}
