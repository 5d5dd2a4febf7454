//! Times decoding and training of the built-in shape; prints tokens per second of one thread's
//! processor time (where Linux tells it), which other work on the machine disturbs least.
//!
//! `cargo bench -p lm --bench decode [-- train|prefill|decode]`. Not part of the tests: figures depend on the machine.
#![allow(clippy::print_stdout, reason = "the result of a bench")]

use std::time::{Duration, Instant};

use lm::{Decoder, DecoderConfig, KvCache, PackedBatch, Tape};

fn main() {
    let model = Decoder::init(DecoderConfig::builtin(4096), 1).expect("a valid configuration");
    let chosen: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let runs = |name: &str| chosen.is_empty() || chosen.iter().any(|c| c == name);
    if runs("train") {
        train(&model);
    }
    if runs("prefill") {
        prefill(&model);
    }
    if runs("decode") {
        [1, 8, 16, 32].into_iter().for_each(|batch| decode(&model, batch, 700));
    }
}

/// A row of two samples of half its length, half of their tokens with a loss.
fn train(model: &Decoder) {
    let (mut batch, mut tape) = (PackedBatch::default(), Tape::default());
    for _ in 0..2 {
        let tokens: Vec<u32> = (0..512).map(|i| i * 7919 % 4096).collect();
        batch.push(&tokens, (0..512).map(|i| if i < 256 { 0.0 } else { 1.0 }));
    }
    let mut grads = vec![0.0; model.params().len()];
    model.loss_and_grad(&batch, &mut grads, &mut tape);
    let (start, rounds) = (Clock::start(), 10);
    for _ in 0..rounds {
        model.loss_and_grad(&batch, &mut grads, &mut tape);
    }
    report("train", rounds * batch.tokens.len(), start);
    let start = Clock::start();
    for _ in 0..rounds {
        model.loss(&batch, &mut tape);
    }
    report("loss only", rounds * batch.tokens.len(), start);
}

fn prefill(model: &Decoder) {
    let tokens: Vec<u32> = (0..600).map(|i| i * 7919 % 4096).collect();
    let (start, rounds) = (Clock::start(), 10);
    for _ in 0..rounds {
        let mut cache = KvCache::new(model.config(), 1024);
        model.prefill(&mut cache, &tokens).expect("room for 600 tokens");
    }
    report("prefill of 600", rounds * tokens.len(), start);
}

fn decode(model: &Decoder, batch: usize, context: usize) {
    let tokens: Vec<u32> = (0..context as u32).map(|i| i * 7919 % 4096).collect();
    let mut caches: Vec<KvCache> = (0..batch).map(|_| KvCache::new(model.config(), 1024)).collect();
    for cache in &mut caches {
        model.prefill(cache, &tokens).expect("room for the context");
    }
    let mut caches: Vec<&mut KvCache> = caches.iter_mut().collect();
    let next = vec![17; batch];
    let (start, rounds) = (Clock::start(), 100);
    for _ in 0..rounds {
        model.decode(&mut caches, &next).expect("room for the tokens");
    }
    report(&format!("decode, batch {batch}, context {context}"), rounds * batch, start);
}

fn report(name: &str, n_tokens: usize, start: Clock) {
    println!("{name}: {:.0} tokens/s", n_tokens as f64 / start.seconds());
}

/// Counts the processor time of this thread, or else the time of day.
struct Clock(Result<Duration, Instant>);

impl Clock {
    fn start() -> Self {
        Self(on_processor().ok_or_else(Instant::now))
    }

    fn seconds(&self) -> f64 {
        match (&self.0, on_processor()) {
            (Ok(start), Some(now)) => (now - *start).as_secs_f64(),
            (Err(start), _) => start.elapsed().as_secs_f64(),
            (Ok(_), None) => f64::NAN,
        }
    }
}

fn on_processor() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?))
}
