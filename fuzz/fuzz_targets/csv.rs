//! Fuzzes [`events_fuzz::csv`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| events_fuzz::csv(data));
