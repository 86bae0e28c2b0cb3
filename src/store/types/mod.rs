//! The values a key can hold.

pub mod pack;
