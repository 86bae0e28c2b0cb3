//! Requests of RESP, one after the other.

use super::ahead::Ahead;
use super::codec::Turn;
use super::mail;
use crate::command::call::{self, Flow, Site};
use crate::config::id;
use shoal_protocol::resp::{Limits, RequestParser, peek};

/// Bytes of replies above which a connection reads on but runs nothing until they are sent.
const FULL: usize = 16 << 20;

/// Runs every complete request in `bytes`; returns how many bytes were used up.
pub(super) fn run(site: &mut Site, parser: &mut RequestParser, bytes: &[u8]) -> (usize, Turn) {
    let max_bulk = site.state.config.size(id::PROTO_MAX_BULK_LEN);
    let mut limits = Limits { max_bulk, ..Limits::default() };
    let (mut consumed, mut ahead) = (0, Ahead::default());
    while consumed < bytes.len() {
        let rest = &bytes[consumed..];
        limits.authenticated = site.client.authenticated || !site.client.needs_login();
        match parser.parse(rest, &limits) {
            Ok(None) => break,
            Ok(Some(parsed)) => {
                let alone = consumed == 0 && parsed.consumed == rest.len();
                let known = if alone { None } else { ahead.next(peek, site.state, site.client.db, rest) };
                match call::call(site, parser.args(rest), known) {
                    Flow::Next => {}
                    unfinished => return (consumed, unfinished.into()),
                }
                consumed += parsed.consumed;
                // A message to itself comes right behind the reply of the command that sent it.
                if site.client.shared.has_mail() {
                    mail::open(site.state, site.stats, site.client, site.out);
                }
                if site.client.closing {
                    return (consumed, Turn::Close);
                }
                if site.client.blocked.is_some() {
                    break;
                }
                if std::mem::take(&mut site.client.is_barred) {
                    return (consumed, Turn::Again);
                }
                if site.out.len() > FULL {
                    return (consumed, Turn::Full);
                }
            }
            Err(error) => {
                let text = format!("ERR {error}");
                site.out.error(&text);
                site.state.count_error(site.stats, text.as_bytes());
                site.client.closing = true;
                return (bytes.len(), Turn::Close);
            }
        }
    }
    (consumed, Turn::Done)
}
