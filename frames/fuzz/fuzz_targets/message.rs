//! Any bytes as a stretch of a reliable stream: split, parse, emit, parse again.
#![no_main]

#[path = "../../tests/oracle/mod.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oracle::messages(bytes));
