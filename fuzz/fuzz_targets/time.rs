//! Fuzzes [`events_fuzz::time`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| events_fuzz::time(data));
