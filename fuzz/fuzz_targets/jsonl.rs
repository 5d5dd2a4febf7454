//! Fuzzes [`events_fuzz::jsonl`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| events_fuzz::jsonl(data));
