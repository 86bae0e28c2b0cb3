//! What must hold for any bytes taken as requests of the memcached binary protocol. Run by the fuzz target, and by `cargo test`
//! on the corpus and mutations of it.

use shoal_protocol::memcache::binary::{NoMagic, Request, RequestParser};
use shoal_protocol::memcache::{Limits, MAX_KEY};

/// Longest request without a value: a header, and the longest extras and key it can tell of.
const LONGEST_HEAD: usize = 24 + u8::MAX as usize + u16::MAX as usize;

/// The requests found in a run of bytes, shown, and what ended them.
#[derive(Debug, PartialEq)]
struct Requests {
    found: Vec<String>,
    /// Bytes they take.
    consumed: usize,
    error: Option<NoMagic>,
}

/// The same requests are found however the bytes are cut, and each keeps what its type promises.
pub fn check(data: &[u8]) {
    for limits in [Limits::default(), Limits { max_item: 70, max_line: 100 }] {
        let whole = requests(data, data.len().max(1), &limits);
        for piece in [1, 2, 3, 7, 24] {
            let cut = requests(data, piece, &limits);
            assert_eq!(cut, whole, "in pieces of {piece}: {}", data.escape_ascii());
        }
    }
}

fn requests(data: &[u8], piece: usize, limits: &Limits) -> Requests {
    let mut parser = RequestParser::new();
    let mut requests = Requests { found: Vec::new(), consumed: 0, error: None };
    let mut end = 0;
    loop {
        let buf = &data[requests.consumed..end];
        match parser.parse(buf, limits) {
            Ok(Some((frame, consumed))) => {
                assert!(consumed > 0 && consumed <= buf.len());
                check_request(&frame.request, limits);
                // Skipped data comes back in as many pieces as it arrived in.
                if frame.request != Request::Ignored {
                    requests.found.push(format!("{frame:?}"));
                }
                requests.consumed += consumed;
            }
            Ok(None) if end == data.len() => {
                assert!(parser.missing() > 0);
                assert!(buf.len() + parser.missing() <= limits.max_item.max(1024) + LONGEST_HEAD);
                return requests;
            }
            Ok(None) => end = (end + piece).min(data.len()),
            Err(error) => {
                requests.error = Some(error);
                return requests;
            }
        }
    }
}

fn check_request(request: &Request<'_>, limits: &Limits) {
    match *request {
        Request::Get { key, .. }
        | Request::Touch { key, .. }
        | Request::Delete { key, .. }
        | Request::Arith { key, .. }
        | Request::TooLarge { key, .. } => check_key(key),
        Request::Store { key, data, .. } => {
            check_key(key);
            assert!(data.len() + key.len() <= limits.max_item);
        }
        Request::Authenticate { mechanism, credentials } => {
            check_key(mechanism);
            assert!(credentials.len() <= 1024);
        }
        _ => {}
    }
}

fn check_key(key: &[u8]) {
    assert!((1..=MAX_KEY).contains(&key.len()));
}
