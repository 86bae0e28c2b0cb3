//! The memcached text protocol, classic and meta: requests in ([`RequestParser`], [`Request`]), replies out ([`mod@write`]); and
//! the older one in [`binary`]. A connection speaks the latter if its first byte is [`binary::MAGIC`].
//!
//! Requests borrow from the read buffer of their connection and nothing is allocated for them. Which bytes are a request, what
//! is wrong with them and how far to skip is decided here; what a request does is not. Sockets, clocks, configuration and the
//! store are unknown.
//!
//! What is accepted and refused, and in which words, is what memcached 1.6 does. Two things are kept from its later
//! releases: the meta flags `E` and `x`, and `N` on an append.
//!
//! Invariant: no input, whole or cut anywhere, makes this module panic or look at the same data twice for every
//! piece it comes in.

mod admin;
pub mod binary;
mod fault;
mod key;
mod meta;
mod parse;
mod text;
mod token;
pub mod write;

pub use fault::Fault;
pub use key::{KeyScratch, MAX_KEY, WireKey};
pub use meta::{MAX_FLAGS, MAX_OPAQUE, Meta};
pub use parse::{Limits, ParseError, RequestParser, peek};
pub use text::{DumpFormat, Request, Store, Verb, expires_at};
pub use token::Tokens;
