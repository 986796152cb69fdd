//! Any bytes as an FSC curve of the EMDB: an error or a curve, never a panic.
#![no_main]

#[path = "../../tests/fuzzed/mod.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::fsc_xml(bytes));
