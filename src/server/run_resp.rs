//! Requests of RESP, one after the other.

use super::codec::Turn;
use super::mail;
use crate::command::call::{self, Flow, Site};
use shoal_protocol::resp::{Limits, RequestParser};

/// Runs every complete request in `bytes`; returns how many bytes were used up.
pub(super) fn run(site: &mut Site, parser: &mut RequestParser, bytes: &[u8]) -> (usize, Turn) {
    let limits = Limits::default();
    let mut consumed = 0;
    while consumed < bytes.len() {
        let rest = &bytes[consumed..];
        match parser.parse(rest, &limits) {
            Ok(None) => break,
            Ok(Some(parsed)) => {
                match call::call(site, parser.args(rest)) {
                    Flow::Next => {}
                    unfinished => return (consumed, unfinished.into()),
                }
                consumed += parsed.consumed;
                // A message to itself comes right behind the reply of the command that sent it.
                if site.client.shared.has_mail() {
                    mail::open(site.state, site.client, site.out);
                }
                if site.client.closing {
                    return (consumed, Turn::Close);
                }
                if site.client.blocked.is_some() {
                    break;
                }
            }
            Err(error) => {
                site.out.error(format!("ERR {error}"));
                site.client.closing = true;
                return (bytes.len(), Turn::Close);
            }
        }
    }
    (consumed, Turn::Done)
}
