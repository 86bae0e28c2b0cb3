//! Requests of RESP, one after the other.

use super::codec::Turn;
use super::mail;
use crate::command::call::{self, Flow, Site};
use crate::config::id;
use crate::worker::ahead::{Ahead, Next};
use shoal_protocol::resp::{Limits, ParseError, RequestParser};

/// Bytes of replies above which a connection reads on but runs nothing until they are sent.
const FULL: usize = 16 << 20;

/// Runs every complete request in `bytes`; returns how many bytes were used up.
pub(super) fn run(
    site: &mut Site,
    parser: &mut RequestParser,
    ahead: &mut Ahead,
    bytes: &[u8],
) -> (usize, Turn) {
    let mut consumed = 0;
    ahead.clear();
    while consumed < bytes.len() {
        // Strangers are held to limits, which only the parser knows; and it must end what it has begun.
        let found = if has_logged_in(site) && parser.is_fresh() {
            ahead.next(site.state, site.client.db, bytes, consumed)
        } else {
            None
        };
        let request = match found {
            Some(request) => request,
            None => match parse(site, parser, bytes, consumed) {
                Ok(None) => break,
                Ok(Some(request)) => request,
                Err(error) => {
                    refuse(site, error);
                    return (bytes.len(), Turn::Close);
                }
            },
        };
        match call::call(site, request.args, request.key) {
            Flow::Next => {}
            unfinished => return (consumed, unfinished.into()),
        }
        consumed = request.end;
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
    (consumed, Turn::Done)
}

/// The request that begins at `at`, if it is complete.
fn parse<'a>(
    site: &Site,
    parser: &'a mut RequestParser,
    bytes: &'a [u8],
    at: usize,
) -> Result<Option<Next<'a>>, ParseError> {
    let max_bulk = site.state.config.size(id::PROTO_MAX_BULK_LEN);
    let limits = Limits { max_bulk, authenticated: has_logged_in(site), ..Limits::default() };
    let rest = &bytes[at..];
    let parsed = parser.parse(rest, &limits)?;
    Ok(parsed.map(|parsed| Next { args: parser.args(rest), end: at + parsed.consumed, key: None }))
}

#[inline]
fn has_logged_in(site: &Site) -> bool {
    site.client.authenticated || !site.client.needs_login()
}

#[cold]
fn refuse(site: &mut Site, error: ParseError) {
    let text = format!("ERR {error}");
    site.out.error(&text);
    site.state.count_error(site.stats, text.as_bytes());
    site.client.closing = true;
}
