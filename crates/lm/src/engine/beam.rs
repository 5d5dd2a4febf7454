//! Several answers that differ: diverse beam search (Vijayakumar et al. 2018), with one group plain beam
//! search.
//!
//! At every step each group extends its beams by the tokens of highest total log-probability, less a
//! penalty for each time that an earlier group chose the same token in this step.

use std::sync::Arc;

use llguidance::Matcher;
use toktrie::SimpleVob;

use super::answer::Answer;
use super::direct::{Read, log_sum};
use super::grammar::refused;
use super::{Engine, Shared};
use crate::decoder::{Chunk, KvCache, Scratch, Wanted};
use crate::error::LmError;
use crate::model::{Completion, Finish, Request};

/// Width and variety of a search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BeamSearch {
    /// Answers per group.
    pub width: usize,
    /// Groups, each kept from saying what the earlier ones say.
    pub groups: usize,
    /// Natural log-probability that a token loses for each earlier group that chose it in the same step.
    pub penalty: f64,
}

/// An answer of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct Beam {
    /// The answer.
    pub completion: Completion,
    /// Its natural log-probability, penalties left out.
    pub log_probability: f64,
    /// The group that found it.
    pub group: usize,
}

/// An answer under way.
struct State {
    kv: KvCache,
    answer: Answer,
    matcher: Option<Matcher>,
    log_probability: f64,
    /// The token to read next.
    next: u32,
}

/// A way to go on: the beam, the token, its log-probability and what it ranks by.
#[derive(Clone, Copy)]
struct Step {
    beam: usize,
    token: u32,
    log_probability: f64,
    rank: f64,
}

impl Engine {
    /// Searches for the answers of highest probability: up to `width` per group, the best first within
    /// their group, groups in order. The request's sampling is not used.
    ///
    /// # Errors
    /// [`LmError::BadSetting`] without a width or group, and the errors of a prompt that does not fit.
    pub fn search(&self, request: &Request, search: BeamSearch) -> Result<Vec<Beam>, LmError> {
        let BeamSearch { width, groups, penalty } = search;
        if width == 0 || groups == 0 || !penalty.is_finite() {
            let got = format!("{search:?}");
            let expected = "a width and groups of at least 1 and a finite penalty";
            return Err(LmError::BadSetting { name: "beam search", got, expected });
        }
        let tokens = self.encode(&request.prompt, request.max_tokens)?;
        let shared = &self.shared;
        let per_beam = request.max_tokens / nn::KV_PAGE + 2;
        let pages = tokens.len().div_ceil(nn::KV_PAGE) + 2 * width * groups * per_beam;
        let read = shared.read_prompt(&tokens, pages)?;
        let matcher = match &request.constraint {
            Some(constraint) => Some(shared.grammars()?.matcher(constraint)?),
            None => None,
        };
        Search { shared, request, search, n_prompt: tokens.len(), done: vec![Vec::new(); groups] }
            .run(&read, &matcher)
    }
}

struct Search<'a> {
    shared: &'a Arc<Shared>,
    request: &'a Request,
    search: BeamSearch,
    n_prompt: usize,
    /// Finished answers of each group.
    done: Vec<Vec<Beam>>,
}

impl Search<'_> {
    fn run(mut self, read: &Read, matcher: &Option<Matcher>) -> Result<Vec<Beam>, LmError> {
        let BeamSearch { width, groups, .. } = self.search;
        let root = |_| State {
            kv: read.kv.fork(read.kv.len()),
            answer: Answer::new(self.request.max_tokens, self.request.stop.clone()),
            matcher: matcher.clone(),
            log_probability: 0.0,
            next: 0,
        };
        let mut beams: Vec<Vec<State>> = (0..groups).map(|group| vec![root(group)]).collect();
        let mut logits: Vec<Vec<f32>> = vec![read.logits.clone(); groups];
        let mut scratch = Scratch::default();
        for _ in 0..self.request.max_tokens {
            let mut chosen: Vec<u32> = Vec::new();
            for group in 0..groups {
                let steps = self.steps(&mut beams[group], &logits[group], &chosen)?;
                chosen.extend(steps.iter().map(|step| step.token));
                beams[group] = self.take(std::mem::take(&mut beams[group]), &steps, group)?;
            }
            for (group, beams) in beams.iter_mut().enumerate() {
                let worst = self.done[group].iter().map(|beam| beam.log_probability);
                let worst = worst.fold(f64::INFINITY, f64::min);
                let full = self.done[group].len() >= width;
                // A log-probability only falls, so no beam below the worst finished one comes back.
                beams.retain(|beam| !full || beam.log_probability > worst);
            }
            if beams.iter().all(Vec::is_empty) {
                break;
            }
            logits = self.advance(&mut beams, &mut scratch)?;
        }
        for found in &mut self.done {
            found.sort_by(|a, b| b.log_probability.total_cmp(&a.log_probability));
            found.truncate(width);
        }
        Ok(self.done.concat())
    }

    /// The best `width` ways to go on from the beams of a group.
    fn steps(
        &self,
        beams: &mut [State],
        logits: &[f32],
        chosen: &[u32],
    ) -> Result<Vec<Step>, LmError> {
        let vocab = self.shared.decoder.config().vocab_size;
        let mut steps = Vec::new();
        for (beam, (state, row)) in beams.iter_mut().zip(logits.chunks_exact(vocab)).enumerate() {
            let row = self.shared.in_vocab(row);
            let mask = match &mut state.matcher {
                Some(matcher) => Some(matcher.compute_mask_or_eos().map_err(|e| refused(&e))?),
                None => None,
            };
            if mask.as_ref().is_some_and(SimpleVob::is_zero) {
                return Err(refused(&"no token of the vocabulary continues it"));
            }
            let sum = log_sum(row);
            let allowed = |token: u32| mask.as_ref().is_none_or(|mask| mask.is_allowed(token));
            for (token, logit) in (0u32..).zip(row).filter(|(token, _)| allowed(*token)) {
                let log_probability = state.log_probability + f64::from(*logit) - sum;
                let said = chosen.iter().filter(|other| **other == token).count();
                let rank = log_probability - self.search.penalty * said as f64;
                steps.push(Step { beam, token, log_probability, rank });
            }
        }
        let by_rank = |a: &Step, b: &Step| {
            b.rank.total_cmp(&a.rank).then(a.beam.cmp(&b.beam)).then(a.token.cmp(&b.token))
        };
        let n = self.search.width.min(steps.len());
        if n < steps.len() {
            steps.select_nth_unstable_by(n - 1, by_rank);
        }
        steps.truncate(n);
        steps.sort_by(by_rank);
        Ok(steps)
    }

    /// The beams after their steps; those that end go among the finished.
    fn take(
        &mut self,
        beams: Vec<State>,
        steps: &[Step],
        group: usize,
    ) -> Result<Vec<State>, LmError> {
        let mut next = Vec::new();
        for step in steps {
            let from = &beams[step.beam];
            let mut state = State {
                kv: from.kv.fork(from.kv.len()),
                answer: from.answer.clone(),
                matcher: from.matcher.clone(),
                log_probability: step.log_probability,
                next: step.token,
            };
            let tokenizer = &self.shared.tokenizer;
            let mut finish = match tokenizer.is_special(step.token) {
                true => Some(Finish::Stop),
                false => state.answer.push(tokenizer.token_bytes(step.token)),
            };
            if let (Some(matcher), false) = (&mut state.matcher, tokenizer.is_special(step.token)) {
                matcher.consume_token(step.token).map_err(|error| refused(&error))?;
                finish = if matcher.is_stopped() { Some(Finish::Stop) } else { finish };
            }
            match finish {
                None => next.push(state),
                Some(finish) => {
                    let completion_tokens = state.answer.tokens();
                    let (text, prompt_tokens) = (state.answer.into_text(), self.n_prompt);
                    let completion = Completion { text, finish, prompt_tokens, completion_tokens };
                    let log_probability = state.log_probability;
                    self.done[group].push(Beam { completion, log_probability, group });
                }
            }
        }
        Ok(next)
    }

    /// Reads the next token of every beam; returns the logits of each group.
    fn advance(
        &self,
        beams: &mut [Vec<State>],
        scratch: &mut Scratch,
    ) -> Result<Vec<Vec<f32>>, LmError> {
        let sizes: Vec<usize> = beams.iter().map(Vec::len).collect();
        let mut chunks: Vec<Chunk<'_>> = Vec::new();
        for State { kv: cache, next, .. } in beams.iter_mut().flatten() {
            let tokens = std::slice::from_ref(next);
            chunks.push(Chunk { cache, tokens, wanted: Wanted::Last });
        }
        let logits = self.shared.decoder.advance(&mut chunks, scratch, false)?;
        let mut rows = &logits[..];
        let vocab = self.shared.decoder.config().vocab_size;
        let mut take =
            |n: usize| rows.split_off(..n * vocab).map_or_else(Vec::new, <[f32]>::to_vec);
        Ok(sizes.into_iter().map(&mut take).collect())
    }
}
