//! Any bytes as an Ethernet frame of the protocol: header, body by kind, messages, inner packet.
#![no_main]

#[path = "../../tests/oracle/mod.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oracle::frame(bytes));
