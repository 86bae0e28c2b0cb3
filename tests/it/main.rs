//! Shoal's behaviour as its clients see it: real sockets, every command.

mod transcripts;
