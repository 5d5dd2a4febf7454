//! Inference with a cache: whole chunks of a prompt, or one token for each of several sequences.
//!
//! Single-threaded; callers run several groups of sequences on several threads.

use super::block::BlockTape;
use super::{Decoder, KvCache};
use crate::error::LmError;

impl Decoder {
    /// Appends `tokens` to `cache` and returns the logits `[vocab]` after the last of them.
    ///
    /// # Errors
    /// [`LmError::EmptyPrompt`] without tokens, [`LmError::ContextTooLong`] beyond the capacity.
    pub fn prefill(&self, cache: &mut KvCache, tokens: &[u32]) -> Result<Vec<f32>, LmError> {
        let x = self.prefill_hidden(cache, tokens)?;
        Ok(self.output(&x[x.len() - self.config.hidden_size..]))
    }

    /// Appends `tokens` to `cache` and returns the logits `[tokens, vocab]` after each of them.
    ///
    /// # Errors
    /// As [`Self::prefill`].
    pub fn prefill_all(&self, cache: &mut KvCache, tokens: &[u32]) -> Result<Vec<f32>, LmError> {
        Ok(self.output(&self.prefill_hidden(cache, tokens)?))
    }

    /// Appends `tokens[i]` to `caches[i]` and returns the logits `[batch, vocab]` after them.
    ///
    /// # Errors
    /// [`LmError::ContextTooLong`] when a cache is full; then no cache has changed.
    pub fn decode(&self, caches: &mut [&mut KvCache], tokens: &[u32]) -> Result<Vec<f32>, LmError> {
        assert_eq!(caches.len(), tokens.len(), "a token for each cache");
        for cache in caches.iter_mut() {
            cache.reserve(1)?;
        }
        let positions: Vec<u32> = caches.iter().map(|cache| cache.len() as u32).collect();
        let (q_width, kv_width) = (self.config.q_width(), self.config.kv_width());
        let mut attention = nn::PagedAttention::default();
        let x = self.run(tokens, &positions, |layer, qkv, out| {
            let queries = qkv.q.chunks_exact(q_width).zip(out.chunks_exact_mut(q_width));
            let keys = qkv.k.chunks_exact(kv_width).zip(qkv.v.chunks_exact(kv_width));
            for (cache, ((q, out), (k, v))) in caches.iter_mut().zip(queries.zip(keys)) {
                cache.attend(layer, nn::Qkv { q, k, v }, &mut attention, out);
            }
        });
        caches.iter_mut().for_each(|cache| cache.advance(1));
        Ok(self.output(&x))
    }

    /// The residual stream `[tokens, hidden]` behind the last block.
    fn prefill_hidden(&self, cache: &mut KvCache, tokens: &[u32]) -> Result<Vec<f32>, LmError> {
        if tokens.is_empty() {
            return Err(LmError::EmptyPrompt);
        }
        cache.reserve(tokens.len())?;
        let start = cache.len();
        let positions: Vec<u32> = (start..start + tokens.len()).map(|i| i as u32).collect();
        let mut attention = nn::PagedAttention::default();
        let x = self.run(tokens, &positions, |layer, qkv, out| {
            cache.attend(layer, qkv, &mut attention, out);
        });
        cache.advance(tokens.len());
        Ok(x)
    }

    /// Embeds `tokens` and runs all blocks; `attend(layer, qkv, out)` writes the attended values.
    fn run(
        &self,
        tokens: &[u32],
        positions: &[u32],
        mut attend: impl FnMut(usize, nn::Qkv<'_>, &mut [f32]),
    ) -> Vec<f32> {
        let (mut x, mut tape) = (Vec::new(), BlockTape::default());
        self.embed(tokens, &mut x);
        for layer in 0..self.config.num_hidden_layers {
            let attend = |qkv: nn::Qkv<'_>, out: &mut [f32], _: &mut [f32]| attend(layer, qkv, out);
            self.block(layer).forward(&mut x, positions, &mut tape, attend);
        }
        x
    }

    /// Last norm and output head: `x[rows, hidden]` to logits `[rows, vocab]`.
    pub(super) fn output(&self, x: &[f32]) -> Vec<f32> {
        let (h, vocab) = (self.config.hidden_size, self.config.vocab_size);
        let rows = x.len() / h;
        let (mut normed, mut inv) = (vec![0.0; x.len()], vec![0.0; rows]);
        let norm = &self.params[self.layout.norm.clone()];
        nn::rms_norm_forward(x, norm, self.config.rms_norm_eps, &mut normed, &mut inv);
        let head_t = self.head_t.get_or_init(|| {
            let head = &self.params[self.layout.head.clone()];
            let mut head_t = vec![0.0; head.len()];
            nn::transpose(head, vocab, h, &mut head_t);
            head_t
        });
        let mut logits = vec![0.0; rows * vocab];
        nn::gemm_rowwise(&mut logits, &normed, head_t, (rows, h, vocab), 0.0);
        logits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoder::{DecoderConfig, PackedBatch, Tape};

    fn model() -> Decoder {
        let mut decoder = Decoder::init(DecoderConfig::tiny(), 3).unwrap();
        decoder.params_mut().iter_mut().for_each(|p| *p *= 5.0);
        decoder
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
        let (decoder, tokens) = (model(), text(180)); // longer than two pages
        let want = by_training(&decoder, &tokens);
        let mut cache = KvCache::exact(decoder.config(), 180);
        assert_close(&decoder.prefill(&mut cache, &tokens[..70]).unwrap(), &want[69]);
        let all = decoder.prefill_all(&mut cache, &tokens[70..150]).unwrap();
        for (got, want) in all.chunks_exact(23).zip(&want[70..150]) {
            assert_close(got, want);
        }
        for i in 150..180 {
            let got = decoder.decode(&mut [&mut cache], &tokens[i..=i]).unwrap();
            assert_close(&got, &want[i]);
        }
        assert!(matches!(
            decoder.decode(&mut [&mut cache], &[1]),
            Err(LmError::ContextTooLong { window: 180, .. })
        ));
    }

    #[test]
    fn sequences_of_a_batch_do_not_disturb_each_other() {
        let (decoder, texts) = (model(), [text(5), text(90), text(64)]);
        let mut caches: Vec<KvCache> =
            texts.iter().map(|_| KvCache::exact(decoder.config(), 100)).collect();
        for (cache, tokens) in caches.iter_mut().zip(&texts) {
            decoder.prefill(cache, &tokens[..tokens.len() - 1]).unwrap();
        }
        let last: Vec<u32> = texts.iter().map(|t| t[t.len() - 1]).collect();
        let mut all: Vec<&mut KvCache> = caches.iter_mut().collect();
        let got = decoder.decode(&mut all, &last).unwrap();
        for (got, tokens) in got.chunks_exact(23).zip(&texts) {
            assert_close(got, &by_training(&decoder, tokens)[tokens.len() - 1]);
        }
    }

    #[test]
    fn a_fork_goes_its_own_way() {
        let (decoder, tokens) = (model(), text(80));
        let mut cache = KvCache::exact(decoder.config(), 100);
        decoder.prefill(&mut cache, &tokens).unwrap();
        let mut fork = cache.fork(66);
        let other: Vec<u32> = tokens[..66].iter().copied().chain([7, 8]).collect();
        let got = decoder.prefill(&mut fork, &[7, 8]).unwrap();
        assert_close(&got, &by_training(&decoder, &other)[67]);
        let longer: Vec<u32> = tokens.iter().copied().chain([9]).collect();
        let got = decoder.decode(&mut [&mut cache], &[9]).unwrap();
        assert_close(&got, &by_training(&decoder, &longer)[80]);
    }

    #[test]
    fn half_precision_moves_the_logits_little() {
        let (mut decoder, tokens) = (model(), text(150));
        decoder.params_mut().iter_mut().for_each(|p| *p *= 0.4);
        let want = by_training(&decoder, &tokens);
        let mut cache = KvCache::new(decoder.config(), 150);
        let mut worst = 0.0f32;
        decoder.prefill(&mut cache, &tokens[..100]).unwrap();
        for i in 100..150 {
            let got = decoder.decode(&mut [&mut cache], &tokens[i..=i]).unwrap();
            worst = got.iter().zip(&want[i]).map(|(g, w)| (g - w).abs()).fold(worst, f32::max);
        }
        let range = want[149].iter().fold(0.0f32, |m, x| m.max(x.abs()));
        assert!(worst < 5e-3 * range, "logits of up to {range} moved by {worst}");
    }

    #[test]
    fn changed_parameters_are_seen() {
        let mut decoder = model();
        let mut first = KvCache::exact(decoder.config(), 10);
        decoder.prefill(&mut first, &[1]).unwrap();
        decoder.params_mut().iter_mut().for_each(|p| *p = -*p);
        let mut cache = KvCache::exact(decoder.config(), 10);
        let got = decoder.prefill(&mut cache, &[1]).unwrap();
        assert_close(&got, &by_training(&decoder, &[1])[0]);
        assert!(matches!(decoder.prefill(&mut cache, &[]), Err(LmError::EmptyPrompt)));
    }
}
