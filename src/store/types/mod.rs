//! The values a key can hold.
