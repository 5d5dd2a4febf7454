//! Inference with caches: chunks of prompts and single tokens of several sequences, side by side.
//!
//! A token's logits, keys and values have the same bits whatever goes beside it and however the tokens
//! before it were read.

use super::block::{Block, BlockTape};
use super::packed::PackedWeights;
use super::{KvCache, PackedDecoder};
use crate::error::LmError;

/// Tokens to append to one sequence.
pub struct Chunk<'a> {
    /// The sequence so far.
    pub cache: &'a mut KvCache,
    /// What comes next; at least one token.
    pub tokens: &'a [u32],
    /// After which of them logits are wanted.
    pub wanted: Wanted,
}

/// Which logits a [`Chunk`] wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// None: the prompt goes on.
    None,
    /// After the last token.
    Last,
    /// After every token.
    All,
}

/// Buffers of inference; keep one per thread and pass it again.
#[derive(Debug, Default)]
pub struct Scratch {
    tape: BlockTape,
    attention: nn::PagedAttention,
    x: Vec<f32>, // [rows, hidden]
}

impl PackedDecoder {
    /// Appends every chunk and returns the logits wanted, `[rows, vocab]`, in the order of the chunks.
    /// `parallel` lets large products use the threads of the current pool.
    ///
    /// # Errors
    /// [`LmError::EmptyPrompt`] for a chunk without tokens, [`LmError::ContextTooLong`] beyond the
    /// capacity of a cache; then no cache has changed.
    pub fn advance(
        &self,
        chunks: &mut [Chunk<'_>],
        scratch: &mut Scratch,
        parallel: bool,
    ) -> Result<Vec<f32>, LmError> {
        for chunk in chunks.iter_mut() {
            if chunk.tokens.is_empty() {
                return Err(LmError::EmptyPrompt);
            }
            chunk.cache.reserve(chunk.tokens.len())?;
        }
        let positions: Vec<u32> = chunks
            .iter()
            .flat_map(|chunk| (chunk.cache.len() as u32..).take(chunk.tokens.len()))
            .collect();
        let Scratch { tape, attention, x } = scratch;
        let (h, c) = (self.config.hidden_size, &self.config);
        x.resize(positions.len() * h, 0.0);
        let tokens = chunks.iter().flat_map(|chunk| chunk.tokens);
        for (token, x) in tokens.zip(x.chunks_exact_mut(h)) {
            self.embed.as_ref().unwrap_or(&self.head).row(*token as usize, x);
        }
        let wanted = wanted_rows(chunks);
        let last = (wanted.len() < positions.len()).then_some(&wanted[..]);
        for (layer, block) in self.blocks.iter().enumerate() {
            let wanted = last.filter(|_| layer + 1 == self.blocks.len());
            let attend = |qkv: nn::Qkv<'_>, out: &mut [f32], _: &mut [f32]| {
                let mut row = 0;
                for chunk in chunks.iter_mut() {
                    let rows = row..row + chunk.tokens.len();
                    let [q, kv] = [c.q_width(), c.kv_width()].map(|w| rows.start * w..rows.end * w);
                    let qkv =
                        nn::Qkv { q: &qkv.q[q.clone()], k: &qkv.k[kv.clone()], v: &qkv.v[kv] };
                    chunk.cache.attend(layer, qkv, (&mut *attention, parallel), &mut out[q]);
                    row = rows.end;
                }
            };
            let weights = PackedWeights { block, parallel };
            let mut block = Block { config: c, weights, rope: &self.rope };
            block.forward(x, &positions, wanted, tape, attend);
        }
        chunks.iter_mut().for_each(|chunk| chunk.cache.advance(chunk.tokens.len()));
        Ok(self.output(x, parallel))
    }

    /// Appends `tokens` to `cache` and returns the logits `[vocab]` after the last of them.
    ///
    /// # Errors
    /// As [`Self::advance`].
    pub fn prefill(&self, cache: &mut KvCache, tokens: &[u32]) -> Result<Vec<f32>, LmError> {
        let chunk = Chunk { cache, tokens, wanted: Wanted::Last };
        self.advance(&mut [chunk], &mut Scratch::default(), false)
    }

    /// Appends `tokens` to `cache` and returns the logits `[tokens, vocab]` after each of them.
    ///
    /// # Errors
    /// As [`Self::advance`].
    pub fn prefill_all(&self, cache: &mut KvCache, tokens: &[u32]) -> Result<Vec<f32>, LmError> {
        let chunk = Chunk { cache, tokens, wanted: Wanted::All };
        self.advance(&mut [chunk], &mut Scratch::default(), false)
    }

    /// Last norm and output head: `x[rows, hidden]` to logits `[rows, vocab]`.
    fn output(&self, x: &[f32], parallel: bool) -> Vec<f32> {
        let (h, vocab) = (self.config.hidden_size, self.config.vocab_size);
        let rows = x.len() / h;
        let (mut normed, mut inv) = (vec![0.0; x.len()], vec![0.0; rows]);
        nn::rms_norm_forward(x, &self.norm, self.config.rms_norm_eps, &mut normed, &mut inv);
        let mut logits = vec![0.0; rows * vocab];
        self.head.product(&normed, &mut logits, false, parallel);
        logits
    }
}

/// The rows of all chunks whose logits are wanted.
fn wanted_rows(chunks: &[Chunk<'_>]) -> Vec<usize> {
    let mut row = 0;
    let mut wanted = Vec::new();
    for chunk in chunks {
        let n = chunk.tokens.len();
        let from = match chunk.wanted {
            Wanted::None => n,
            Wanted::Last => n - 1,
            Wanted::All => 0,
        };
        wanted.extend(row + from..row + n);
        row += n;
    }
    wanted
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nn::WeightFormat;

    use super::*;
    use crate::decoder::{Decoder, DecoderConfig, KvFormat, KvPool, PackedBatch, Tape};

    fn model() -> Decoder {
        model_of(DecoderConfig::tiny())
    }

    fn model_of(config: DecoderConfig) -> Decoder {
        let mut decoder = Decoder::init(config, 3).unwrap();
        decoder.params_mut().iter_mut().for_each(|p| *p *= 5.0);
        decoder
    }

    /// The decoder as training computes it, and a pool of pages that lose nothing.
    fn exact(decoder: &Decoder) -> (PackedDecoder, Arc<KvPool>) {
        let pool = KvPool::new(decoder.config(), KvFormat::F32, 1 << 24);
        (decoder.pack(WeightFormat::F32), pool)
    }

    fn decode(packed: &PackedDecoder, caches: &mut [KvCache], tokens: &[u32]) -> Vec<f32> {
        let chunk = |(cache, token)| {
            let tokens = std::slice::from_ref(token);
            Chunk { cache, tokens, wanted: Wanted::Last }
        };
        let mut chunks: Vec<Chunk<'_>> = caches.iter_mut().zip(tokens).map(chunk).collect();
        packed.advance(&mut chunks, &mut Scratch::default(), false).unwrap()
    }

    fn text(n: usize) -> Vec<u32> {
        (0..n).map(|i| (i * i + 3 * i) as u32 % 23).collect()
    }

    /// The logits of training after every token.
    fn by_training(decoder: &Decoder, tokens: &[u32]) -> Vec<Vec<f32>> {
        let mut batch = PackedBatch::default();
        batch.push(tokens, vec![0.0; tokens.len()]);
        let logits = decoder.logits(&batch, &mut Tape::default());
        logits.chunks_exact(decoder.config().vocab_size).map(<[f32]>::to_vec).collect()
    }

    fn assert_close(got: &[f32], want: &[f32]) {
        for (i, (g, w)) in got.iter().zip(want).enumerate() {
            assert!((g - w).abs() < 1e-4, "logit {i}: {g} is not {w}");
        }
    }

    #[test]
    fn chunks_and_single_tokens_give_the_logits_of_training() {
        for model_type in ["qwen3", "llama"] {
            let config =
                DecoderConfig { model_type: model_type.to_owned(), ..DecoderConfig::tiny() };
            let decoder = model_of(config);
            let ((packed, pool), tokens) = (exact(&decoder), text(180)); // longer than two pages
            let want = by_training(&decoder, &tokens);
            let mut caches = [KvCache::new(&pool, 180)];
            assert_close(&packed.prefill(&mut caches[0], &tokens[..70]).unwrap(), &want[69]);
            let all = packed.prefill_all(&mut caches[0], &tokens[70..150]).unwrap();
            for (got, want) in all.chunks_exact(23).zip(&want[70..150]) {
                assert_close(got, want);
            }
            for i in 150..180 {
                assert_close(&decode(&packed, &mut caches, &tokens[i..=i]), &want[i]);
            }
            let error = packed.prefill(&mut caches[0], &[1]);
            assert!(matches!(error, Err(LmError::ContextTooLong { window: 180, .. })));
        }
    }

    #[test]
    fn sequences_of_a_batch_do_not_disturb_each_other() {
        let (decoder, texts) = (model(), [text(5), text(90), text(64)]);
        let (packed, pool) = exact(&decoder);
        let mut caches = [0; 3].map(|_| KvCache::new(&pool, 100));
        for (cache, tokens) in caches.iter_mut().zip(&texts) {
            packed.prefill(cache, &tokens[..tokens.len() - 1]).unwrap();
        }
        let last: Vec<u32> = texts.iter().map(|t| t[t.len() - 1]).collect();
        let got = decode(&packed, &mut caches, &last);
        for (got, tokens) in got.chunks_exact(23).zip(&texts) {
            assert_close(got, &by_training(&decoder, tokens)[tokens.len() - 1]);
        }
    }

    #[test]
    fn a_fork_goes_its_own_way_and_pages_go_back() {
        let (decoder, tokens) = (model(), text(80));
        let (packed, pool) = exact(&decoder);
        let mut cache = KvCache::new(&pool, 100);
        packed.prefill(&mut cache, &tokens).unwrap();
        let mut fork = cache.fork(66);
        assert_eq!(pool.live(), 2, "a fork shares its pages");
        let other: Vec<u32> = tokens[..66].iter().copied().chain([7, 8]).collect();
        let got = packed.prefill(&mut fork, &[7, 8]).unwrap();
        assert_eq!(pool.live(), 3, "until it writes to one");
        assert_close(&got, &by_training(&decoder, &other)[67]);
        let longer: Vec<u32> = tokens.iter().copied().chain([9]).collect();
        let got = packed.prefill(&mut cache, &[9]).unwrap();
        assert_close(&got, &by_training(&decoder, &longer)[80]);
        drop((cache, fork));
        assert_eq!((pool.live(), pool.promised()), (0, 0));
    }

    #[test]
    fn narrow_formats_move_the_logits_little() {
        let (mut decoder, tokens) = (model(), text(150));
        decoder.params_mut().iter_mut().for_each(|p| *p *= 0.4);
        let want = by_training(&decoder, &tokens);
        let range = want[149].iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let check = |weights: WeightFormat, kv: KvFormat, tolerance: f32| {
            let packed = decoder.pack(weights);
            let mut caches = [KvCache::new(&KvPool::new(decoder.config(), kv, 1 << 24), 150)];
            packed.prefill(&mut caches[0], &tokens[..100]).unwrap();
            let mut worst = 0.0f32;
            for i in 100..150 {
                let got = decode(&packed, &mut caches, &tokens[i..=i]);
                worst = got.iter().zip(&want[i]).map(|(g, w)| (g - w).abs()).fold(worst, f32::max);
            }
            let moved = worst / range;
            assert!(moved < tolerance, "{weights:?} and {kv:?} moved the logits by {moved}");
            moved
        };
        check(WeightFormat::F32, KvFormat::F16, 5e-3);
        let bf16 = check(WeightFormat::Bf16, KvFormat::F16, 0.03);
        let fp8 = check(WeightFormat::Fp8, KvFormat::Fp8, 0.2);
        assert!(bf16 < fp8, "what is narrower moves them more");
    }
}
