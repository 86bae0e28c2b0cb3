//! Shoal's behaviour as its clients see it: the built binary, real sockets, every command.

mod harness;
mod transcripts;
