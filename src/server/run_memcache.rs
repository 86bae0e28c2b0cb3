//! Requests of the memcached protocol, one after the other.
//!
//! A request that cannot be finished (a lock is taken, the output is full) stays in the input, is read again when the
//! connection's turn comes again, and goes on where [`Progress`] says.

use super::codec::Turn;
use crate::command::call::{Flow, Site};
use crate::command::memcache::{self, Progress};
use shoal_protocol::memcache::RequestParser;

/// How far a connection has read.
#[derive(Default)]
pub(super) struct Reader {
    parser: RequestParser,
    progress: Progress,
}

impl Reader {
    /// After an incomplete request: so many more bytes belong to it at least.
    pub fn missing(&self) -> usize {
        self.parser.missing()
    }
}

/// Runs every complete request in `bytes`; returns how many bytes were used up.
pub(super) fn run(site: &mut Site, reader: &mut Reader, bytes: &[u8]) -> (usize, Turn) {
    let limits = memcache::limits(site.state);
    let mut consumed = 0;
    while consumed < bytes.len() {
        let before = reader.parser.clone();
        match reader.parser.parse(&bytes[consumed..], &limits) {
            Ok(None) => break,
            Ok(Some((request, len))) => match memcache::call(site, &request, &mut reader.progress) {
                Flow::Next => consumed += len,
                unfinished => {
                    reader.parser = before;
                    return (consumed, unfinished.into());
                }
            },
            Err(error) => {
                site.out.raw(error.line());
                site.client.closing = true;
                return (bytes.len(), Turn::Close);
            }
        }
        if site.client.closing {
            return (consumed, Turn::Close);
        }
    }
    (consumed, Turn::Done)
}
