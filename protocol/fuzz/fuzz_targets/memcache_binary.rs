//! Any bytes as requests of the memcached binary protocol: see the check for what must hold.

#![no_main]

#[path = "../checks/memcache_binary.rs"]
mod memcache_binary;

libfuzzer_sys::fuzz_target!(|data: &[u8]| memcache_binary::check(data));
