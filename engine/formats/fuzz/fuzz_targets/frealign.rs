//! Any bytes as parameters of Frealign or cisTEM: an error or values, never a panic.
#![no_main]

#[path = "../../tests/fuzzed/mod.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::parameters(bytes));
