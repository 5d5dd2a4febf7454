//! Fuzzes `bodies::csv`.
#![no_main]

#[path = "../src/bodies.rs"]
#[allow(dead_code, reason = "the other targets' bodies")]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::csv(data));
