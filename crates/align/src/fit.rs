//! A short fit of a trained model to a shop's own words.

use lm::{Decoder, Tokenizer};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;

use crate::error::AlignError;
use crate::interpolate::{Kept, keep_known};
use crate::sample::{Sample, TokenSample};
use crate::tokens::encode_samples;
use crate::trainer::{TrainLog, TrainRecord, Trainer, TrainerConfig};

/// Share of the tokens of the mixture that are of generic samples, so that the model keeps what it knew.
const GENERIC_SHARE: f64 = 0.4;

/// Part by which the loss on generic samples may rise.
const MOST_FORGOTTEN: f64 = 0.01;

/// What a fit learns from.
pub struct FitData<'a> {
    /// Samples of the shop ([`crate::shop_samples`]).
    pub shop: &'a [Sample],
    /// Samples of the kind that the model was first trained on; two fifths of the mixture's tokens where
    /// there are enough of them.
    pub generic: &'a [Sample],
    /// More of those, of other worlds or shops than `generic` and the first training: they show what is
    /// forgotten and are not learnt from.
    pub known: &'a [Sample],
}

/// What came out of a fit.
pub struct Fitted {
    /// The model, so far from the one that came in as lets it keep what it knew.
    pub decoder: Decoder,
    /// A record of every step.
    pub log: TrainLog,
    /// How far that is, and what it costs.
    pub kept: Kept,
    /// Samples that are longer than the context window and were left out.
    pub too_long: usize,
}

/// Settings of a fit of `steps` steps of 6,144 tokens: a low rate, no checkpoints.
#[must_use]
pub fn fit_config(steps: u64, seed: u64) -> TrainerConfig {
    TrainerConfig {
        lr: 4e-4,
        row_tokens: 2048,
        rows_per_step: 3,
        warmup: (steps / 10).max(1),
        checkpoint_every: 0,
        evaluate_every: 0,
        ..TrainerConfig::builtin(steps, seed)
    }
}

/// Trains on the mixture, then goes back towards `decoder` until the loss on known samples is at most a
/// hundredth above what it was.
///
/// # Errors
/// [`AlignError::Config`] when no sample of the shop is left, or the settings cannot work.
pub fn fit(
    decoder: Decoder,
    tokenizer: &Tokenizer,
    data: &FitData<'_>,
    config: TrainerConfig,
    progress: &(dyn Fn(&TrainRecord) + Sync),
) -> Result<Fitted, AlignError> {
    let window = decoder.config().max_position_embeddings;
    let (shop, n_long) = encode_fitting(tokenizer, data.shop, window);
    if shop.is_empty() {
        let detail = format!(
            "no sample of the shop fits the window of {window} tokens ({n_long} are longer): lower \
             the digest budget, or skip the fit"
        );
        return Err(AlignError::Config { what: "samples", detail });
    }
    let (generic, n_long_generic) = encode_fitting(tokenizer, data.generic, window);
    let (known, _) = encode_fitting(tokenizer, data.known, window);
    let mut rng = Pcg64Mcg::seed_from_u64(config.seed ^ 0x6669_7473);
    let budget = config.steps as f64 * config.tokens_per_step() as f64;
    let shop = drawn(shop, budget * (1.0 - GENERIC_SHARE), &mut rng);
    let n_tokens: usize = shop.iter().map(|sample| sample.tokens.len()).sum();
    let beside = n_tokens as f64 * GENERIC_SHARE / (1.0 - GENERIC_SHARE);
    let mixture = [shop, drawn(generic, beside, &mut rng)].concat();
    let before = decoder.params().to_vec();
    let mut trainer = Trainer::new(decoder, config.clone())?;
    let log = trainer.run(&mixture, &[], None, progress)?;
    let trained = trainer.into_decoder();
    let (decoder, kept) = keep_known(&before, trained, &known, MOST_FORGOTTEN, &config);
    Ok(Fitted { decoder, log, kept, too_long: n_long + n_long_generic })
}

/// Samples in drawn order until they have so many tokens; at least one where there is one.
fn drawn(mut samples: Vec<TokenSample>, n_tokens: f64, rng: &mut Pcg64Mcg) -> Vec<TokenSample> {
    samples.shuffle(rng);
    let mut used = 0.0;
    let within = samples.iter().take_while(|sample| {
        let fits = used < n_tokens;
        used += sample.tokens.len() as f64;
        fits
    });
    let n = within.count();
    samples.truncate(n);
    samples
}

/// Samples in tokens that fit the window, and how many do not.
fn encode_fitting(
    tokenizer: &Tokenizer,
    samples: &[Sample],
    window: usize,
) -> (Vec<TokenSample>, usize) {
    let mut encoded = encode_samples(tokenizer, samples);
    let n_all = encoded.len();
    encoded.retain(|sample| !sample.tokens.is_empty() && sample.tokens.len() <= window);
    let n_long = n_all - encoded.len();
    (encoded, n_long)
}
