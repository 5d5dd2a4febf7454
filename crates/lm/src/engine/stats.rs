//! What an engine has done so far, for metrics and reports.

use std::sync::atomic::{AtomicU64, Ordering};

/// Figures of an engine; totals count from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineStats {
    /// Requests that wait.
    pub waiting: usize,
    /// Requests under way.
    pub running: usize,
    /// Pages of keys and values in use, by sequences under way or kept for later prompts.
    pub kv_pages: usize,
    /// Pages that there may be.
    pub kv_pages_limit: usize,
    /// Tokens of prompts that were looked up among what is known.
    pub prefix_queries: u64,
    /// Tokens of prompts that were known and not computed again.
    pub prefix_hits: u64,
    /// Tokens that the decoder has read, of prompts and of answers.
    pub tokens_read: u64,
    /// Steps of all lanes.
    pub steps: u64,
}

/// The totals, counted by all lanes.
#[derive(Debug, Default)]
pub(super) struct Totals {
    prefix_queries: AtomicU64,
    prefix_hits: AtomicU64,
    tokens_read: AtomicU64,
    steps: AtomicU64,
}

impl Totals {
    /// A step that read `n` tokens.
    pub(super) fn step(&self, n: usize) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.tokens_read.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// A prompt of `n` tokens was looked up.
    pub(super) fn prompt(&self, n: usize) {
        self.prefix_queries.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// `n` tokens of a prompt were known.
    pub(super) fn reused(&self, n: usize) {
        self.prefix_hits.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// The totals in `stats`.
    pub(super) fn fill(&self, stats: EngineStats) -> EngineStats {
        let read = |total: &AtomicU64| total.load(Ordering::Relaxed);
        EngineStats {
            prefix_queries: read(&self.prefix_queries),
            prefix_hits: read(&self.prefix_hits),
            tokens_read: read(&self.tokens_read),
            steps: read(&self.steps),
            ..stats
        }
    }
}
