//! Requests that wait for a lane, and how lanes share them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crate::error::LmError;
use crate::model::{Completion, Request};

/// What becomes of a request, as it happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// More text of the answer.
    Text(String),
    /// The end: the whole answer, or why there is none.
    Done(Result<Completion, LmError>),
}

/// A request that was handed in; it goes on when this is dropped.
#[derive(Debug, Clone)]
pub struct Ticket(Arc<AtomicBool>);

impl Ticket {
    /// Nobody waits for the answer any more; it ends with [`LmError::Cancelled`] and its memory is freed
    /// at the next step.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A request whose prompt has been encoded and found to fit.
pub(super) struct Job {
    pub(super) request: Request,
    /// Tokens of the prompt; at least one.
    pub(super) tokens: Vec<u32>,
    /// Pages that prompt and answer may need.
    pub(super) pages: usize,
    /// Whether those pages have been set aside.
    pub(super) promised: bool,
    sink: Box<dyn FnMut(Event) + Send>,
    cancelled: Arc<AtomicBool>,
}

impl Job {
    pub(super) fn new(
        request: Request,
        tokens: Vec<u32>,
        pages: usize,
        sink: Box<dyn FnMut(Event) + Send>,
    ) -> (Self, Ticket) {
        let cancelled = Arc::new(AtomicBool::new(false));
        let ticket = Ticket(Arc::clone(&cancelled));
        (Self { request, tokens, pages, promised: false, sink, cancelled }, ticket)
    }

    pub(super) fn tell(&mut self, event: Event) {
        (self.sink)(event);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// Requests that wait.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    running: usize,
    stopping: bool,
}

/// What a queue holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Load {
    pub(super) waiting: usize,
    pub(super) running: usize,
}

impl Queue {
    /// Adds requests to the end.
    pub(super) fn push(&self, jobs: impl IntoIterator<Item = Job>) {
        self.state().waiting.extend(jobs);
        self.changed.notify_all();
    }

    pub(super) fn load(&self) -> Load {
        let state = self.state();
        Load { waiting: state.waiting.len(), running: state.running }
    }

    /// Requests for a lane that has `mine` under way: up to an even share among `n_lanes`, at most
    /// `batch_size`, and as many as `fits` finds room for. Waits while a lane has nothing to do; none
    /// when the engine ends.
    pub(super) fn take(
        &self,
        mine: usize,
        (n_lanes, batch_size): (usize, usize),
        fits: impl Fn(&mut Job) -> bool,
    ) -> Option<Vec<Job>> {
        let mut state = self.state();
        loop {
            if state.stopping {
                return None;
            }
            let all = state.waiting.len() + state.running;
            let share = all.div_ceil(n_lanes).min(batch_size.max(1));
            let mut taken = Vec::new();
            while mine + taken.len() < share && state.waiting.front_mut().is_some_and(&fits) {
                taken.extend(state.waiting.pop_front());
            }
            state.running += taken.len();
            if mine > 0 || !taken.is_empty() {
                return Some(taken);
            }
            state = self.changed.wait(state).expect("no panic happens under this lock");
        }
    }

    /// A sequence has ended.
    pub(super) fn ended(&self) {
        self.state().running -= 1;
        self.changed.notify_all();
    }

    /// Waits until `ready`, which is asked again whenever a sequence has ended.
    pub(super) fn wait_until(&self, ready: impl Fn() -> bool) {
        let mut state = self.state();
        while !ready() {
            state = self.changed.wait(state).expect("no panic happens under this lock");
        }
    }

    /// Memory has been freed outside of the lanes.
    pub(super) fn freed(&self) {
        // Taking the lock orders this after the check of one who is about to wait.
        drop(self.state());
        self.changed.notify_all();
    }

    /// Ends the lanes.
    pub(super) fn stop(&self) {
        self.state().stopping = true;
        self.changed.notify_all();
    }

    /// What still waited when the lanes ended.
    pub(super) fn drain(&self) -> Vec<Job> {
        self.state().waiting.drain(..).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens under this lock")
    }
}
