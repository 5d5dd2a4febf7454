//! What eight bits cost: perplexity of true answers after digests of worlds that no training has seen.

use std::fmt;

use anyhow::Result;
use lm::{
    Chunk, Decoder, KvCache, KvFormat, KvPool, PackedDecoder, Scratch, Tokenizer, Wanted,
    WeightFormat, load_decoder, log_probability,
};
use rayon::prelude::*;
use serde::Serialize;

use super::Model;
use crate::steps::worlds::{WorldPlan, world_samples};

/// Samples of these worlds; see `work::SEED`.
const PLAN: WorldPlan = WorldPlan {
    worlds: 2,
    users: 60,
    cuts: 1,
    reasons: 1,
    counted: 0,
    judged: 0,
    cleaned: false,
    seed: 780_000,
    digest_budget: 600,
};

/// Perplexities over the same tokens.
#[derive(Debug, Serialize)]
pub(super) struct Quality {
    samples: usize,
    tokens: usize,
    /// Single precision throughout.
    exact: f64,
    /// FP8 weights alone.
    fp8_weights: f64,
    /// FP8 keys and values alone.
    fp8_cache: f64,
    /// Both.
    fp8: f64,
}

impl Quality {
    /// Of FP8 over single precision; 1 loses nothing.
    pub(super) fn ratio(&self) -> f64 {
        self.fp8 / self.exact
    }
}

/// A text and how much each of its tokens counts.
type Text = (Vec<u32>, Vec<f64>);

pub(super) fn measure(model: &Model) -> Result<Quality> {
    let tokenizer = Tokenizer::load(&model.folder.join("tokenizer.json"))?;
    let decoder = load_decoder(&model.folder)?;
    let window = decoder.config().max_position_embeddings;
    let samples = world_samples(&PLAN, &|text| tokenizer.count(text), &|_, _| ())?;
    let text = |sample: &align::Sample| -> Text {
        let (mut tokens, mut weights) = (Vec::new(), Vec::new());
        for segment in &sample.segments {
            let part = tokenizer.encode_prompt(&segment.text);
            weights.extend(std::iter::repeat_n(f64::from(u8::from(segment.loss)), part.len()));
            tokens.extend(part);
        }
        (tokens, weights)
    };
    let texts: Vec<Text> = samples.iter().map(text).filter(|(t, _)| t.len() <= window).collect();
    let of = |weights, kv| perplexity(&decoder, &texts, weights, kv);
    Ok(Quality {
        samples: texts.len(),
        tokens: texts.iter().flat_map(|(_, weights)| weights).filter(|w| **w > 0.0).count(),
        exact: of(WeightFormat::F32, KvFormat::F32)?,
        fp8_weights: of(WeightFormat::Fp8, KvFormat::F32)?,
        fp8_cache: of(WeightFormat::F32, KvFormat::Fp8)?,
        fp8: of(WeightFormat::Fp8, KvFormat::Fp8)?,
    })
}

fn perplexity(
    decoder: &Decoder,
    texts: &[Text],
    weights: WeightFormat,
    kv: KvFormat,
) -> Result<f64> {
    let packed = decoder.pack(weights);
    let sums: Vec<(f64, f64)> =
        texts.par_iter().map(|text| loss(&packed, text, kv)).collect::<Result<_>>()?;
    let (loss, weight) = sums.iter().fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
    Ok((loss / weight).exp())
}

/// The weighted sum of `-ln p` of the tokens, and the sum of weights.
fn loss(packed: &PackedDecoder, (tokens, weights): &Text, kv: KvFormat) -> Result<(f64, f64)> {
    let pool = KvPool::new(packed.config(), kv, usize::MAX);
    let mut cache = KvCache::new(&pool, tokens.len());
    let (mut scratch, mut sum, mut weight) = (Scratch::default(), 0.0, 0.0);
    let vocab = packed.config().vocab_size;
    for (part, from) in tokens.chunks(256).zip((0..).step_by(256)) {
        let chunk = Chunk { cache: &mut cache, tokens: part, wanted: Wanted::All };
        let logits = packed.advance(&mut [chunk], &mut scratch, false)?;
        for (row, at) in logits.chunks_exact(vocab).zip(from + 1..) {
            if let (Some(&token), Some(&w)) = (tokens.get(at), weights.get(at))
                && w > 0.0
            {
                sum -= w * log_probability(row, token);
                weight += w;
            }
        }
    }
    Ok((sum, weight))
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "perplexity of {} answers ({} tokens) after unseen digests: f32 {:.4}, FP8 weights {:.4}, \
             FP8 cache {:.4}, both {:.4} ({:+.2}%)",
            self.samples,
            self.tokens,
            self.exact,
            self.fp8_weights,
            self.fp8_cache,
            self.fp8,
            (self.ratio() - 1.0) * 100.0
        )
    }
}
