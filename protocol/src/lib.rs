//! The bytes Shoal speaks: requests in, replies out. No socket, clock or runtime is known here.

pub mod memcache;
pub mod resp;
