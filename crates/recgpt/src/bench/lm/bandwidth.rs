//! The floor of decoding: the bytes that a token must move over the bandwidth of this machine.

use std::fmt;
use std::time::Instant;

use lm::{Engine, KvPool};
use serde::Serialize;

use super::work::Work;
use super::{NEW_TOKENS, Row, median};

/// Bytes that no cache holds.
const MEMORY: usize = 512 << 20;

/// Bytes of a token, and what one thread can read.
#[derive(Debug, Serialize)]
pub(super) struct Floor {
    weight_bytes: usize,
    /// Keys and values of the mean context.
    kv_bytes: usize,
    /// Bytes per second of one thread from memory.
    memory: f64,
    /// Bytes per second of one thread over as many bytes as the token moves, which may lie in a cache.
    same_size: f64,
    /// Measured tokens per second at batch 1.
    decode_per_second: f64,
}

impl Floor {
    /// How much of the bandwidth at that size decoding uses.
    pub(super) fn share(&self) -> f64 {
        self.bytes() as f64 * self.decode_per_second / self.same_size
    }

    fn bytes(&self) -> usize {
        self.weight_bytes + self.kv_bytes
    }
}

pub(super) fn floor(engine: &Engine, work: &Work, row: Option<&Row>) -> Floor {
    let decoder = engine.decoder();
    let pool = KvPool::new(decoder.config(), engine.config().kv_format, 1);
    let context = work.prompt_tokens() + NEW_TOKENS / 2;
    let (weight_bytes, kv_bytes) = (decoder.bytes_per_token(), context * pool.token_bytes());
    Floor {
        weight_bytes,
        kv_bytes,
        memory: read_speed(MEMORY),
        same_size: read_speed(weight_bytes + kv_bytes),
        decode_per_second: row.map_or(f64::NAN, |row| row.decode_per_second),
    }
}

/// Bytes per second of one thread that reads `n` bytes again and again.
fn read_speed(n: usize) -> f64 {
    let buffer = vec![1.0f32; n / 4];
    let passes = (256 << 20) / n + 1;
    let times: Vec<f64> = (0..7)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..passes {
                std::hint::black_box(nn::square_norm(std::hint::black_box(&buffer)));
            }
            start.elapsed().as_secs_f64() / passes as f64
        })
        .collect();
    n as f64 / median(&times, |t| *t)
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (giga, mega) = (1e9, 1e6);
        write!(
            f,
            "a token moves {:.2} MB of weights and {:.2} MB of keys and values; one thread reads \
             {:.1} GB/s from memory, {:.1} GB/s over so many bytes: at most {:.0} tokens/s, measured \
             {:.0} ({:.2} of it)",
            self.weight_bytes as f64 / mega,
            self.kv_bytes as f64 / mega,
            self.memory / giga,
            self.same_size / giga,
            self.same_size / self.bytes() as f64,
            self.decode_per_second,
            self.share()
        )
    }
}
