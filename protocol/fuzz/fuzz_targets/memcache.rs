//! Any bytes as memcached requests: see the check for what must hold.

#![no_main]

#[path = "../checks/memcache.rs"]
mod memcache;

libfuzzer_sys::fuzz_target!(|data: &[u8]| memcache::check(data));
