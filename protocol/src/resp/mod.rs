//! RESP2 and RESP3: requests in ([`RequestParser`], [`Args`]), replies out ([`Output`]), replies in ([`Reply`], [`frame_len`]).
//!
//! Every function here works on byte slices its caller owns; sockets, clocks, configuration and the meaning of
//! commands are unknown. Invariant: no input, whole or cut anywhere, makes this module panic, recurse without
//! bound or reserve memory that was only announced.

mod args;
mod double;
mod parse;
mod read;
mod write;

pub use args::{Args, ArgsIter, OwnedArgs, Span};
pub use double::{format_double, format_human_double};
pub use parse::{Limits, ParseError, Parsed, RequestParser, plain};
pub use read::{FrameScanner, Reply, ReplyError, frame_len};
pub use write::{Chunks, Deferred, Mark, Output, Proto};
