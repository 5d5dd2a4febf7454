//! Fuzzes [`events_fuzz::sequences`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| events_fuzz::sequences(data));
