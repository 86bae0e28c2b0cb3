//! What a connection speaks, and how far it has understood what was sent to it.
//!
//! Which protocol it is follows from the port the connection came in on: on one port the two cannot be told apart.

use super::run_memcache::Reader;
use super::{run_memcache, run_resp};
use crate::command::call::{Flow, Site};
use crate::worker::ahead::Ahead;
use shoal_protocol::resp::RequestParser;

/// A protocol clients speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// That of Redis.
    Resp,
    /// Those of memcached, of which the first byte of a connection chooses.
    Memcache,
}

/// A protocol being spoken.
pub(super) enum Codec {
    Resp(RequestParser),
    Memcache(Reader),
}

/// How a turn ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// All that is complete was run.
    Done,
    /// There is more to run, after others have had their turn.
    Again,
    /// There is more to run, once a partition that a transaction across nodes holds is released.
    Held,
    /// There is more to run, after the output has been sent.
    Full,
    /// There is more to run, once the pause that holds it is over.
    Hold,
    /// There is more to run, on a stack of its own.
    OnStack,
    /// Other nodes have to answer, or to have what was changed, before the output is sent.
    Settle,
    /// Send what is due and close.
    Close,
}

impl From<Flow> for Turn {
    fn from(flow: Flow) -> Turn {
        match flow {
            Flow::Next => Turn::Done,
            Flow::Contended => Turn::Again,
            Flow::OnStack => Turn::OnStack,
            Flow::Held => Turn::Held,
            Flow::Paused => Turn::Hold,
            Flow::Full => Turn::Full,
        }
    }
}

impl Codec {
    /// The beginning of a conversation.
    pub fn new(protocol: Protocol) -> Codec {
        match protocol {
            Protocol::Resp => Codec::Resp(RequestParser::new()),
            Protocol::Memcache => Codec::Memcache(Reader::default()),
        }
    }

    /// After an incomplete request: so many more bytes belong to it at least.
    pub fn missing(&self) -> usize {
        match self {
            Codec::Resp(parser) => parser.missing(),
            Codec::Memcache(reader) => reader.missing(),
        }
    }

    /// Amid a request: so many bytes at its beginning are arguments that are known, so that they need no second look.
    pub fn parsed(&self) -> usize {
        match self {
            Codec::Resp(parser) => parser.parsed(),
            Codec::Memcache(_) => 0,
        }
    }

    /// Between requests: gives back what it holds if that is more than `keep` bytes.
    pub fn shrink(&mut self, keep: usize) {
        if let Codec::Resp(parser) = self
            && parser.memory() > keep
        {
            parser.shrink();
        }
    }

    /// Runs every complete request in `bytes`; returns how many bytes were used up.
    pub fn run(&mut self, site: &mut Site, ahead: &mut Ahead, bytes: &[u8]) -> (usize, Turn) {
        match self {
            Codec::Resp(parser) => run_resp::run(site, parser, ahead, bytes),
            Codec::Memcache(reader) => run_memcache::run(site, reader, ahead, bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_protocol::resp::Limits;

    #[test]
    fn a_huge_request_leaves_no_memory_behind() {
        let mut parser = RequestParser::new();
        let request = [b"*10000\r\n".to_vec(), b"$1\r\nx\r\n".repeat(10_000)].concat();
        assert!(parser.parse(&request, &Limits::default()).unwrap().is_some());
        let mut codec = Codec::Resp(parser);
        let memory = |codec: &Codec| match codec {
            Codec::Resp(parser) => parser.memory(),
            Codec::Memcache(_) => 0,
        };
        codec.shrink(1 << 20);
        assert!(memory(&codec) > 100_000);
        codec.shrink(16 * 1024);
        assert!(memory(&codec) < 16 * 1024);
    }
}
