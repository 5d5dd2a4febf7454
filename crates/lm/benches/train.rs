//! Times training of the built-in shape; prints tokens per second of one thread's
//! processor time (where Linux tells it), which other work on the machine disturbs least.
//!
//! `cargo bench -p lm --bench train`. Not part of the tests: figures depend on the machine. Inference is
//! measured by `recgpt bench lm`.
#![allow(clippy::print_stdout, reason = "the result of a bench")]

use std::time::{Duration, Instant};

use lm::{Decoder, DecoderConfig, PackedBatch, Tape};
use nn::Precision;

fn main() {
    let model = Decoder::init(DecoderConfig::builtin(4096), 1).expect("a valid configuration");
    for precision in [Precision::F32, Precision::of_machine()] {
        train(&model, precision);
    }
}

/// A row of two samples of half its length, half of their tokens with a loss.
fn train(model: &Decoder, precision: Precision) {
    let (mut batch, mut tape) = (PackedBatch::default(), Tape::new(precision));
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
    report(&format!("train {precision:?}"), rounds * batch.tokens.len(), start);
    let start = Clock::start();
    for _ in 0..rounds {
        model.loss(&batch, &mut tape);
    }
    report(&format!("loss only {precision:?}"), rounds * batch.tokens.len(), start);
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
