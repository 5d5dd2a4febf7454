//! Fuzzes [`events_fuzz::store`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| events_fuzz::store(data));
