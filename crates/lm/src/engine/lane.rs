//! Continuous batching: a lane is one thread that advances its sequences together, step by step, and
//! takes another request whenever one ends.
//!
//! A step has a budget of tokens: one for every sequence that is answering, the rest for prompts, in
//! pieces. Which lane or step a request falls into changes nothing in its answer.

use std::collections::VecDeque;

use llguidance::Matcher;
use nn::KV_PAGE;

use crate::decoder::{Chunk, KvCache, Scratch};
use crate::engine::Shared;
use crate::engine::queue::{Event, Job};
use crate::engine::sampler::Sampler;
use crate::engine::sequence::Sequence;
use crate::error::LmError;
use crate::model::{Constraint, Finish};

/// Beginnings shorter than this are not worth looking for.
const MIN_SHARED: usize = 16;

/// Compiled constraints that a lane keeps: a matcher is cheap to clone and costly to make.
const MATCHERS: usize = 8;

pub(super) struct Lane<'a> {
    shared: &'a Shared,
    running: Vec<Sequence>,
    scratch: Scratch,
    matchers: VecDeque<(Constraint, Matcher)>,
}

impl<'a> Lane<'a> {
    /// Works until the engine ends.
    pub(super) fn run(shared: &'a Shared) {
        let (running, scratch, matchers) = (Vec::new(), Scratch::default(), VecDeque::new());
        let mut lane = Self { shared, running, scratch, matchers };
        let limits = (shared.n_lanes, shared.config.batch_size);
        let fits = |job: &mut Job| {
            job.promised = shared.make_room(job.pages);
            job.promised || job.is_cancelled()
        };
        while let Some(jobs) = shared.queue.take(lane.running.len(), limits, fits) {
            for job in jobs {
                lane.admit(job);
            }
            lane.drop_cancelled();
            if !lane.running.is_empty() {
                lane.step();
            }
        }
        for sequence in std::mem::take(&mut lane.running) {
            lane.settle(sequence, Err(LmError::Cancelled));
        }
    }

    fn admit(&mut self, mut job: Job) {
        let mut kv = KvCache::new(&self.shared.pool, self.shared.window());
        kv.adopt_promise(if job.promised { job.pages } else { 0 });
        match self.prepare(&mut job) {
            Ok((sampler, matcher)) => {
                self.running.push(Sequence::new(job, sampler, matcher, kv));
            }
            Err(error) => {
                drop(kv);
                self.refuse(job, error);
            }
        }
    }

    /// What a request needs to begin.
    fn prepare(&mut self, job: &mut Job) -> Result<(Sampler, Option<Matcher>), LmError> {
        if job.is_cancelled() {
            return Err(LmError::Cancelled);
        }
        Ok((Sampler::new(job.request.sampling)?, self.matcher(job.request.constraint.take())?))
    }

    fn refuse(&self, mut job: Job, error: LmError) {
        self.shared.queue.ended();
        job.tell(Event::Done(Err(error)));
    }

    /// A fresh matcher of the constraint.
    fn matcher(&mut self, constraint: Option<Constraint>) -> Result<Option<Matcher>, LmError> {
        let Some(constraint) = constraint else { return Ok(None) };
        if let Some((_, matcher)) = self.matchers.iter().find(|(known, _)| *known == constraint) {
            return Ok(Some(matcher.clone()));
        }
        let matcher = self.shared.grammars()?.matcher(&constraint)?;
        if self.matchers.len() == MATCHERS {
            self.matchers.pop_front();
        }
        self.matchers.push_back((constraint, matcher.clone()));
        Ok(Some(matcher))
    }

    fn drop_cancelled(&mut self) {
        for at in (0..self.running.len()).rev() {
            if self.running[at].is_cancelled() {
                let sequence = self.running.remove(at);
                self.settle(sequence, Err(LmError::Cancelled));
            }
        }
    }

    /// Advances the sequences by one budget of tokens.
    fn step(&mut self) {
        let plan = self.plan();
        let chunks = self.running.iter_mut().zip(&plan).filter(|(_, n)| **n > 0);
        let mut chunks: Vec<Chunk<'_>> = chunks.map(|(sequence, &n)| sequence.chunk(n)).collect();
        let decoder = &self.shared.decoder;
        // Threads that no other lane needs.
        let parallel = self.shared.n_lanes > 1 && self.shared.queue.load().running == chunks.len();
        let logits = decoder.advance(&mut chunks, &mut self.scratch, parallel);
        drop(chunks);
        let logits = match logits {
            Ok(logits) => logits,
            Err(error) => {
                // Room was checked before the start, so this concerns the batch as a whole.
                for sequence in std::mem::take(&mut self.running) {
                    self.settle(sequence, Err(error.clone()));
                }
                return;
            }
        };
        self.shared.stats.step(plan.iter().sum());
        let mut rows = logits.chunks_exact(decoder.config().vocab_size);
        let mut ended = Vec::new();
        for (at, sequence) in self.running.iter_mut().enumerate() {
            if plan[at] > 1 {
                self.shared.remember(sequence);
            }
            if sequence.unread() > 0 {
                continue;
            }
            let row = rows.next().expect("a row of logits for each sequence that wanted one");
            match sequence.draw(self.shared.in_vocab(row), &self.shared.tokenizer) {
                Ok(None) => {}
                Ok(Some(finish)) => ended.push((at, Ok(finish))),
                Err(error) => ended.push((at, Err(error))),
            }
        }
        // From the back, so that the places of the others stay what they are.
        for (at, result) in ended.into_iter().rev() {
            let sequence = self.running.remove(at);
            self.settle(sequence, result);
        }
    }

    /// How many tokens each sequence reads in this step.
    fn plan(&mut self) -> Vec<usize> {
        let answering = self.running.iter().filter(|sequence| sequence.unread() == 1).count();
        let mut left = self.shared.config.step_tokens.saturating_sub(answering).max(1);
        let mut plan = Vec::with_capacity(self.running.len());
        for sequence in &mut self.running {
            if sequence.unread() > 1 && left > 0 {
                self.shared.reuse(sequence);
            }
            let n = match sequence.unread() {
                1 => 1,
                unread => {
                    let n = unread.min(left);
                    left -= n;
                    n
                }
            };
            plan.push(n);
        }
        plan
    }

    /// Hands in what became of a sequence and keeps what it knows for later prompts.
    fn settle(&self, sequence: Sequence, result: Result<Finish, LmError>) {
        let keep = result.is_ok();
        let mut ended = sequence.finish(result);
        if keep {
            self.shared.keep(&ended.tokens, &ended.kv);
        }
        ended.kv.clear();
        self.shared.queue.ended();
        ended.tell();
    }
}

impl Shared {
    /// Lets a sequence that has read only whole pages begin with what others have read of its prompt.
    fn reuse(&self, sequence: &mut Sequence) {
        let Some(tokens) = sequence.reusable() else { return };
        let read = sequence.kv.len();
        if !self.config.prefix_cache || !read.is_multiple_of(KV_PAGE) {
            return;
        }
        let (pages, known) = self.prefixes().find(tokens);
        if read == 0 {
            self.stats.prompt(tokens.len() + 1);
        }
        if known >= read + MIN_SHARED {
            self.stats.reused(known - read);
            sequence.kv.begin_with(pages, known);
        }
    }

    /// Shows others the whole pages that a sequence has read of its prompt.
    fn remember(&self, sequence: &Sequence) {
        let n_pages = sequence.kv.len() / KV_PAGE;
        if self.config.prefix_cache && n_pages > 0 {
            let tokens = &sequence.read()[..n_pages * KV_PAGE];
            self.prefixes().insert(tokens, &sequence.kv.pages()[..n_pages]);
        }
    }

    /// Keeps a sequence that has ended.
    pub(super) fn keep(&self, tokens: &[u32], kv: &KvCache) {
        if self.config.prefix_cache && tokens.len() >= MIN_SHARED {
            self.prefixes().insert(tokens, kv.pages());
        }
    }
}
