//! Work outside of the lanes, on the threads of who asks: scores of given texts, and the prompts of
//! searches.

use std::sync::Arc;

use nn::KV_PAGE;
use rayon::prelude::*;

use super::Shared;
use crate::decoder::{Chunk, KvCache, Scratch, Wanted};
use crate::error::LmError;

impl Shared {
    /// `ln p(text | prompt)` of each text; the prompt is computed once.
    pub(super) fn score(
        self: &Arc<Self>,
        tokens: &[u32],
        texts: &[Vec<u32>],
    ) -> Result<Vec<f64>, LmError> {
        let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
        // As many continuations as there are threads are under way together.
        let at_once = rayon::current_num_threads().min(texts.len());
        let pages = (tokens.len() + longest).div_ceil(KV_PAGE) + at_once * (longest / KV_PAGE + 2);
        let Read { kv, logits, _lease } = self.read_prompt(tokens, pages)?;
        let scores = texts.par_iter().map(|text| self.score_one(&kv, &logits, text)).collect();
        self.keep(tokens, &kv);
        scores
    }

    /// Sets `pages` aside for work outside of the lanes, waiting for sequences under way if need be, and
    /// reads a prompt; returns the logits after it.
    pub(super) fn read_prompt(
        self: &Arc<Self>,
        tokens: &[u32],
        pages: usize,
    ) -> Result<Read, LmError> {
        if pages > self.pool.limit() {
            let limit = self.pool.limit() * KV_PAGE;
            return Err(LmError::CacheTooSmall { tokens: pages * KV_PAGE, limit });
        }
        self.queue.wait_until(|| self.make_room(pages));
        let lease = Lease { shared: Arc::clone(self), pages };
        let mut kv = KvCache::new(&self.pool, self.window());
        if self.config.prefix_cache {
            let (pages, known) = self.prefixes().find(&tokens[..tokens.len() - 1]);
            kv.begin_with(pages, known);
        }
        let (mut logits, mut scratch) = (Vec::new(), Scratch::default());
        for part in tokens[kv.len()..].chunks(self.config.step_tokens.max(1)) {
            let chunk = Chunk { cache: &mut kv, tokens: part, wanted: Wanted::Last };
            logits = self.decoder.advance(&mut [chunk], &mut scratch, false)?;
        }
        Ok(Read { kv, logits, _lease: lease })
    }

    /// `sum over i of ln p(text[i] | prompt, text[..i])`.
    fn score_one(&self, prompt: &KvCache, first: &[f32], text: &[u32]) -> Result<f64, LmError> {
        let Some((_, but_last)) = text.split_last() else { return Ok(0.0) };
        let rest = match but_last.is_empty() {
            true => Vec::new(),
            false => self.decoder.prefill_all(&mut prompt.fork(prompt.len()), but_last)?,
        };
        let vocab = self.decoder.config().vocab_size;
        let rows = std::iter::once(first).chain(rest.chunks_exact(vocab));
        Ok(rows.zip(text).map(|(row, &token)| log_probability(self.in_vocab(row), token)).sum())
    }
}

/// A prompt that was read outside of the lanes.
pub(super) struct Read {
    pub(super) kv: KvCache,
    pub(super) logits: Vec<f32>,
    _lease: Lease,
}

/// Pages set aside until this is dropped.
struct Lease {
    shared: Arc<Shared>,
    pages: usize,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.pool.release(self.pages);
        self.shared.queue.freed();
    }
}

/// `ln softmax(logits)[token]`.
pub fn log_probability(logits: &[f32], token: u32) -> f64 {
    f64::from(logits[token as usize]) - log_sum(logits)
}

/// `ln sum exp(logits)`.
pub(super) fn log_sum(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - max).exp()).sum();
    f64::from(max) + sum.ln()
}
