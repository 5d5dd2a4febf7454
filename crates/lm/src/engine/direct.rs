//! Work outside of the lanes, on the threads of who asks: scores of given texts, and the prompts of
//! searches.

use std::ops::Range;
use std::sync::Arc;

use nn::KV_PAGE;

use super::Shared;
use crate::decoder::{Chunk, KvCache, Scratch, Wanted};
use crate::error::LmError;

/// Tokens of the texts that are scored side by side: so many rows of logits there are at a time.
const SCORED_TOKENS: usize = 128;

impl Shared {
    /// `ln p(text | prompt)` of each text; the prompt is computed once, and so is what several texts begin with.
    pub(super) fn score(
        self: &Arc<Self>,
        tokens: &[u32],
        texts: &[Vec<u32>],
    ) -> Result<Vec<f64>, LmError> {
        // Neighbours in this order share most.
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&i| &texts[i]);
        let parts = side_by_side(&order, texts);
        let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
        let own_pages = |part: &&[usize]| part.iter().map(|&i| texts[i].len() / KV_PAGE + 2).sum();
        let own_pages: usize = parts.iter().map(own_pages).max().unwrap_or(0);
        let pages = (tokens.len() + longest).div_ceil(KV_PAGE) + own_pages;
        let Read { kv, logits, _lease } = self.read_prompt(tokens, pages)?;
        let mut scores = vec![0.0; texts.len()];
        for part in parts {
            let part_texts: Vec<&[u32]> = part.iter().map(|&i| texts[i].as_slice()).collect();
            let part_scores = self.score_together(&kv, &logits, &part_texts)?;
            part.iter().zip(part_scores).for_each(|(&i, score)| scores[i] = score);
        }
        self.keep(tokens, &kv);
        Ok(scores)
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

    /// `sum over i of ln p(text[i] | prompt, text[..i])` of sorted texts, which are the ways through a tree: each
    /// branch is read once, those that begin at the same depth together.
    fn score_together(
        &self,
        prompt: &KvCache,
        logits: &[f32],
        texts: &[&[u32]],
    ) -> Result<Vec<f64>, LmError> {
        let (vocab, mut scratch) = (self.decoder.config().vocab_size, Scratch::default());
        let mut scores = vec![0.0; texts.len()];
        let mut forks = vec![Fork {
            kv: prompt.fork(usize::MAX),
            texts: 0..texts.len(),
            at: 0,
            logits: logits.to_vec(),
        }];
        // The token at `at` of a branch, to all texts that go through it.
        let mut add = |branch: &Branch, at: usize, logits: &[f32]| {
            let token = texts[branch.texts.start][at];
            let ln_p = log_probability(self.in_vocab(logits), token);
            scores[branch.texts.clone()].iter_mut().for_each(|score| *score += ln_p);
        };
        loop {
            let mut branches = Vec::new();
            for fork in std::mem::take(&mut forks) {
                let from = fork.branches(texts);
                from.iter().for_each(|branch| add(branch, branch.at, &fork.logits));
                branches.extend(from.into_iter().filter(|branch| branch.at < branch.read_to));
            }
            if branches.is_empty() {
                return Ok(scores);
            }
            let chunks = branches.iter_mut().map(|branch| Chunk {
                tokens: &texts[branch.texts.start][branch.at..branch.read_to],
                cache: &mut branch.kv,
                wanted: Wanted::All,
            });
            let mut chunks: Vec<Chunk<'_>> = chunks.collect();
            let logits = self.decoder.advance(&mut chunks, &mut scratch, false)?;
            let mut rows = logits.chunks_exact(vocab);
            for branch in branches {
                let read = (branch.at + 1..=branch.read_to).zip(&mut rows);
                let (within, behind): (Vec<_>, Vec<_>) = read.partition(|(at, _)| *at < branch.end);
                within.into_iter().for_each(|(at, row)| add(&branch, at, row));
                // Where the branch ends its texts part, if any goes on.
                forks.extend(behind.into_iter().map(|(at, row)| Fork {
                    kv: branch.kv.fork(usize::MAX),
                    texts: branch.texts.clone(),
                    at,
                    logits: row.to_vec(),
                }));
            }
        }
    }
}

/// The texts in this order, in parts that are scored side by side.
fn side_by_side<'a>(order: &'a [usize], texts: &[Vec<u32>]) -> Vec<&'a [usize]> {
    let mut parts = Vec::new();
    let (mut from, mut n_tokens) = (0, 0);
    for (place, &i) in order.iter().enumerate() {
        n_tokens += texts[i].len();
        if n_tokens > SCORED_TOKENS && place > from {
            parts.push(&order[from..place]);
            (from, n_tokens) = (place, texts[i].len());
        }
    }
    parts.push(&order[from..]);
    parts
}

/// Where sorted texts part that were alike before: what was read, and the logits after it.
struct Fork {
    kv: KvCache,
    texts: Range<usize>,
    at: usize,
    logits: Vec<f32>,
}

/// What some of the texts have alike from `at` to `end`; read as far as it matters to what follows.
struct Branch {
    kv: KvCache,
    texts: Range<usize>,
    at: usize,
    end: usize,
    read_to: usize,
}

impl Fork {
    /// A branch per next token; texts that end here are in none.
    fn branches(&self, texts: &[&[u32]]) -> Vec<Branch> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        for i in self.texts.clone().filter(|&i| texts[i].len() > self.at) {
            match runs.last_mut() {
                Some(run) if texts[run.start][self.at] == texts[i][self.at] => run.end = i + 1,
                _ => runs.push(i..i + 1),
            }
        }
        let branch = |run: Range<usize>| {
            // Sorted: what the first and the last have alike all have.
            let (first, last) = (texts[run.start], texts[run.end - 1]);
            let end = first.iter().zip(last).take_while(|(a, b)| a == b).count();
            // The last token of all texts is followed by nothing.
            let read_to = if last.len() == end { end - 1 } else { end };
            Branch { kv: self.kv.fork(usize::MAX), texts: run, at: self.at, end, read_to }
        };
        runs.into_iter().map(branch).collect()
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
