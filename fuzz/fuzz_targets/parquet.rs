//! Fuzzes [`events_fuzz::parquet`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| events_fuzz::parquet(data));
