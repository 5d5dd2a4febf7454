//! Continuous batching: workers take requests from one list; each decodes a batch of them together and
//! takes another request whenever one ends.
//!
//! Which worker or batch a request falls into changes nothing in its answer.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use llguidance::Matcher;
use rayon::prelude::*;

use crate::decoder::KvCache;
use crate::engine::Engine;
use crate::engine::prefix::{MIN_SHARED, common_prefix};
use crate::engine::sequence::Sequence;
use crate::error::LmError;
use crate::model::{Completion, Constraint, Finish, Request};

type Answer = Result<Completion, LmError>;

/// A request whose prompt has been encoded and found to fit.
pub(super) struct Task<'a> {
    /// Place of the request in the call.
    pub(super) idx: usize,
    /// The request.
    pub(super) request: &'a Request,
    /// Tokens of the prompt; at least one.
    pub(super) tokens: Vec<u32>,
    /// What was known of the prompt when the call began; taken by the worker.
    pub(super) known: Mutex<Option<KvCache>>,
}

/// Answers all tasks, in any order.
pub(super) fn run(engine: &Engine, tasks: &[Task<'_>]) -> Vec<(usize, Answer)> {
    let n_workers = rayon::current_num_threads().min(tasks.len()).max(1);
    let batch_size = tasks.len().div_ceil(n_workers).clamp(1, engine.config.batch_size.max(1));
    let next = AtomicUsize::new(0);
    (0..n_workers)
        .into_par_iter()
        .flat_map_iter(|_| Worker::new(engine, tasks, &next).run(batch_size))
        .collect()
}

struct Worker<'a> {
    engine: &'a Engine,
    tasks: &'a [Task<'a>],
    next: &'a AtomicUsize,
    running: Vec<Sequence<'a>>,
    answers: Vec<(usize, Answer)>,
    /// Compiled constraints; a matcher is cheap to clone and costly to make.
    matchers: Vec<(&'a Constraint, Matcher)>,
}

impl<'a> Worker<'a> {
    fn new(engine: &'a Engine, tasks: &'a [Task<'a>], next: &'a AtomicUsize) -> Self {
        let (running, answers, matchers) = (Vec::new(), Vec::new(), Vec::new());
        Self { engine, tasks, next, running, answers, matchers }
    }

    fn run(mut self, batch_size: usize) -> Vec<(usize, Answer)> {
        loop {
            while self.running.len() < batch_size {
                let Some(task) = self.tasks.get(self.next.fetch_add(1, Ordering::Relaxed)) else {
                    break;
                };
                self.admit(task);
            }
            if self.running.is_empty() {
                return self.answers;
            }
            self.step();
        }
    }

    /// Reads a prompt and draws the first token.
    fn admit(&mut self, task: &'a Task<'a>) {
        match self.begin(task) {
            Ok((sequence, finish)) => self.settle(sequence, finish),
            Err(error) => self.answers.push((task.idx, Err(error))),
        }
    }

    fn begin(&mut self, task: &'a Task<'a>) -> Result<(Sequence<'a>, Option<Finish>), LmError> {
        let matcher = self.matcher(task.request.constraint.as_ref())?;
        let mut kv = self.known_beginning(task);
        let unread = &task.tokens[kv.len()..];
        let logits = self.engine.decoder.prefill(&mut kv, unread)?;
        let tokens = task.tokens.clone();
        let mut sequence = Sequence::new(task.idx, task.request, matcher, (tokens, kv))?;
        let finish = sequence.advance(self.engine.in_vocab(&logits), &self.engine.tokenizer)?;
        Ok((sequence, finish))
    }

    /// A cache of as much of the prompt as is known from earlier calls, this call's finished requests or
    /// the sequences under way here.
    fn known_beginning(&self, task: &Task<'_>) -> KvCache {
        let reusable = &task.tokens[..task.tokens.len() - 1];
        let shared = |sequence: &Sequence<'_>| common_prefix(&sequence.tokens, reusable);
        let running = self.running.iter().max_by_key(|sequence| shared(sequence));
        let running = running
            .map(|sequence| (shared(sequence), &sequence.kv))
            .filter(|(n, _)| *n >= MIN_SHARED)
            .map(|(n, kv)| kv.fork(n));
        let at_start = task.known.lock().expect("no panic happens under this lock").take();
        let since = self.engine.prefixes().fork(&task.tokens);
        let known = [at_start, since, running].into_iter().flatten();
        known
            .max_by_key(KvCache::len)
            .unwrap_or_else(|| KvCache::new(self.engine.decoder.config(), self.engine.window()))
    }

    /// A fresh matcher of the constraint.
    fn matcher(&mut self, constraint: Option<&'a Constraint>) -> Result<Option<Matcher>, LmError> {
        let Some(constraint) = constraint else { return Ok(None) };
        if let Some((_, matcher)) = self.matchers.iter().find(|(known, _)| *known == constraint) {
            return Ok(Some(matcher.clone()));
        }
        let matcher = self.engine.grammars()?.matcher(constraint)?;
        self.matchers.push((constraint, matcher.clone()));
        Ok(Some(matcher))
    }

    /// One token for every running sequence.
    fn step(&mut self) {
        let next: Vec<u32> = self.running.iter().map(|sequence| sequence.next).collect();
        let mut caches: Vec<&mut KvCache> =
            self.running.iter_mut().map(|sequence| &mut sequence.kv).collect();
        let decoder = &self.engine.decoder;
        let logits = match decoder.decode(&mut caches, &next) {
            Ok(logits) => logits,
            Err(error) => {
                // Room was checked before the start, so this concerns the batch as a whole.
                let failed =
                    self.running.drain(..).map(|sequence| (sequence.idx, Err(error.clone())));
                self.answers.extend(failed);
                return;
            }
        };
        let rows = logits.chunks_exact(decoder.config().vocab_size);
        for (mut sequence, row) in std::mem::take(&mut self.running).into_iter().zip(rows) {
            sequence.tokens.push(sequence.next);
            match sequence.advance(self.engine.in_vocab(row), &self.engine.tokenizer) {
                Ok(finish) => self.settle(sequence, finish),
                Err(error) => self.answers.push((sequence.idx, Err(error))),
            }
        }
    }

    /// Keeps a sequence running, or hands in its answer and keeps its cache for later prompts.
    fn settle(&mut self, sequence: Sequence<'a>, finish: Option<Finish>) {
        let Some(finish) = finish else {
            self.running.push(sequence);
            return;
        };
        let idx = sequence.idx;
        let (completion, tokens, kv) = sequence.into_completion(finish);
        self.engine.prefixes().insert(tokens, kv);
        self.answers.push((idx, Ok(completion)));
    }
}
