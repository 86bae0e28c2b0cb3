//! Requests of the memcached protocols, one after the other.
//!
//! A request that cannot be finished (a lock is taken, the output is full) stays in the input, is read again when the
//! connection's turn comes again, and goes on where [`Progress`] says.

use super::codec::Turn;
use crate::command::call::{Flow, Site};
use crate::command::memcache::{self, Progress};
use crate::command::record;
use crate::worker::ahead::Ahead;
use shoal_protocol::memcache::{RequestParser, binary, peek};

/// How far a connection has read.
#[derive(Default)]
pub(super) struct Reader {
    parser: Parser,
    progress: Progress,
}

/// The protocol a connection speaks, which its first byte decides.
#[derive(Default)]
enum Parser {
    #[default]
    Undecided,
    Text(RequestParser),
    Binary(binary::RequestParser),
}

impl Reader {
    /// After an incomplete request: so many more bytes belong to it at least.
    pub fn missing(&self) -> usize {
        match &self.parser {
            Parser::Undecided => 0,
            Parser::Text(parser) => parser.missing(),
            Parser::Binary(parser) => parser.missing(),
        }
    }
}

/// Runs every complete request in `bytes`; returns how many bytes were used up.
pub(super) fn run(site: &mut Site, reader: &mut Reader, ahead: &mut Ahead, bytes: &[u8]) -> (usize, Turn) {
    if let (Parser::Undecided, Some(first)) = (&reader.parser, bytes.first()) {
        reader.parser = if *first == binary::MAGIC {
            Parser::Binary(binary::RequestParser::new())
        } else {
            Parser::Text(RequestParser::new())
        };
    }
    let progress = &mut reader.progress;
    match &mut reader.parser {
        Parser::Undecided => (0, Turn::Done),
        Parser::Text(parser) => run_text(site, parser, progress, ahead, bytes),
        Parser::Binary(parser) => run_binary(site, parser, progress, bytes),
    }
}

/// Runs one request that another node has passed on.
pub(super) fn run_one(mut site: Site, bytes: &[u8]) -> Flow {
    match run(&mut site, &mut Reader::default(), &mut Ahead::default(), bytes) {
        (_, Turn::Again) => Flow::Contended,
        _ => Flow::Next,
    }
}

fn run_text(
    site: &mut Site,
    parser: &mut RequestParser,
    progress: &mut Progress,
    ahead: &mut Ahead,
    bytes: &[u8],
) -> (usize, Turn) {
    let limits = memcache::limits(site.state);
    let mut consumed = 0;
    ahead.clear();
    while consumed < bytes.len() {
        let before = parser.clone();
        match parser.parse(&bytes[consumed..], &limits) {
            Ok(None) => break,
            Ok(Some((request, len))) => {
                let rest = &bytes[consumed..];
                if consumed > 0 || len < rest.len() {
                    ahead.pass(peek, site.state, site.client.db, rest);
                }
                let raw = &bytes[consumed..consumed + len];
                let (began_ns, mark) = (site.clock.now_ns(), site.out.mark());
                // A request that authenticates is a secret.
                let is_known = site.client.authenticated;
                match memcache::call(site, &request, raw, progress) {
                    Flow::Next if is_known => {
                        let reply = site.out.len_since(mark);
                        record::memcached(site, raw, began_ns, reply);
                        consumed += len;
                    }
                    Flow::Next => consumed += len,
                    unfinished => {
                        *parser = before;
                        return (consumed, unfinished.into());
                    }
                }
            }
            Err(_) => return (bytes.len(), close(site)),
        }
        if site.client.closing {
            return (consumed, Turn::Close);
        }
    }
    (consumed, Turn::Done)
}

fn run_binary(
    site: &mut Site,
    parser: &mut binary::RequestParser,
    progress: &mut Progress,
    bytes: &[u8],
) -> (usize, Turn) {
    let limits = memcache::limits(site.state);
    let mut consumed = 0;
    while consumed < bytes.len() {
        let before = parser.clone();
        match parser.parse(&bytes[consumed..], &limits) {
            Ok(None) => break,
            Ok(Some((frame, len))) => {
                let (began_ns, mark) = (site.clock.now_ns(), site.out.mark());
                match memcache::call_binary(site, &frame, &bytes[consumed..consumed + len], progress) {
                    Flow::Next => {
                        let reply = site.out.len_since(mark);
                        record::memcached_as(site, len, began_ns, reply, || memcache::words(&frame.request));
                        consumed += len;
                    }
                    unfinished => {
                        *parser = before;
                        return (consumed, unfinished.into());
                    }
                }
            }
            Err(binary::NoMagic) => return (bytes.len(), close(site)),
        }
        if site.client.closing {
            return (consumed, Turn::Close);
        }
    }
    (consumed, Turn::Done)
}

/// Nothing this client sends can be understood any more.
fn close(site: &mut Site) -> Turn {
    site.client.closing = true;
    Turn::Close
}
