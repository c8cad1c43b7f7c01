//! The canonical form of whatever JSON anyone sends as a payload.
//!
//! The law is the one that the tests of `ves` run; this file only lets libFuzzer look for what breaks it.
#![no_main]

#[allow(dead_code, reason = "each target runs one of the laws")]
#[path = "../../crates/ves/tests/it/laws.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| laws::canonical(bytes));
