//! Any bytes as EPU's XML: an error or values, never a panic.
#![no_main]

#[path = "../../tests/fuzzed/mod.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::epu_xml(bytes));
