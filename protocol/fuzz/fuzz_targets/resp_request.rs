//! Any bytes as RESP requests: see the check for what must hold.

#![no_main]

#[path = "../checks/resp_request.rs"]
mod resp_request;

libfuzzer_sys::fuzz_target!(|data: &[u8]| resp_request::check(data));
