//! What must hold for any bytes taken as memcached requests. Run by the fuzz target, and by `cargo test` on the corpus and mutations of it.

use shoal_protocol::memcache::{
    KeyScratch, Limits, MAX_FLAGS, MAX_KEY, MAX_OPAQUE, Meta, ParseError, Request, RequestParser, WireKey,
};

/// The requests found in a run of bytes, shown, and what ended them.
#[derive(Debug, PartialEq)]
struct Requests {
    found: Vec<String>,
    /// Bytes they take.
    consumed: usize,
    error: Option<ParseError>,
}

/// The same requests are found however the bytes are cut, and each keeps what its type promises.
pub fn check(data: &[u8]) {
    for limits in [Limits::default(), Limits { max_item: 70, max_line: 100 }] {
        let whole = requests(data, data.len().max(1), &limits);
        for piece in [1, 2, 3, 7] {
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
            Ok(Some((request, consumed))) => {
                assert!(consumed > 0 && consumed <= buf.len());
                check_request(&request, limits);
                // Skipped data comes back in as many pieces as it arrived in.
                if request != Request::Ignored {
                    requests.found.push(format!("{request:?}"));
                }
                requests.consumed += consumed;
            }
            Ok(None) if end == data.len() => {
                assert!(parser.missing() > 0);
                assert!(buf.len() + parser.missing() <= limits.max_item + limits.max_line.max(2048) + 4);
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
    match request {
        Request::Get { keys, .. } => {
            assert!(!keys.is_empty());
            keys.for_each(check_key);
        }
        Request::Gat { keys, .. } => keys.for_each(check_key),
        Request::Store { store, data } => {
            check_key(store.key);
            assert!(data.len() + store.key.len() <= limits.max_item);
        }
        Request::Arith { key, .. } | Request::Touch { key, .. } | Request::Delete { key, .. } => {
            check_key(key)
        }
        Request::MetaGet(meta) | Request::MetaDelete(meta) | Request::MetaArith { meta, .. } => {
            check_meta(meta)
        }
        Request::MetaSet { meta, data, .. } => {
            check_meta(meta);
            assert!(data.len() <= limits.max_item);
        }
        Request::MetaDebug(key) | Request::TooLarge { key, .. } => check_wire_key(key),
        Request::CacheMemlimit { megabytes, .. } => assert!(*megabytes >= 8),
        Request::Invalid(fault) => assert!(fault.line().ends_with(b"\r\n")),
        _ => {}
    }
}

fn check_key(key: &[u8]) {
    assert!((1..=MAX_KEY).contains(&key.len()));
    assert!(!key.contains(&b' ') && !key.contains(&b'\n'));
}

fn check_wire_key(key: &WireKey<'_>) {
    let mut scratch = KeyScratch::default();
    let decoded = key.decode(&mut scratch);
    assert!((1..=MAX_KEY).contains(&decoded.len()));
    if !key.is_base64() {
        check_key(decoded);
    }
}

fn check_meta(meta: &Meta<'_>) {
    check_wire_key(&meta.key());
    assert!(meta.letters().count() <= MAX_FLAGS);
    let mut seen = 0_u128;
    for letter in meta.letters() {
        assert!(meta.has(letter) && letter.is_ascii_alphabetic());
        assert_eq!(seen >> letter & 1, 0, "a letter given twice");
        seen |= 1 << letter;
    }
    assert_eq!(meta.has(b'b'), meta.key().is_base64());
    assert_eq!(meta.has(b'q'), meta.quiet());
    assert_eq!(meta.has(b'T'), meta.exptime().is_some());
    assert_eq!(meta.has(b'N'), meta.vivify().is_some());
    assert_eq!(meta.has(b'R'), meta.recache().is_some());
    assert_eq!(meta.has(b'C'), meta.cas().is_some());
    assert_eq!(meta.has(b'E'), meta.new_cas().is_some());
    assert!(meta.has(b'F') || meta.client_flags() == 0);
    assert!(meta.has(b'J') || meta.initial() == 0);
    assert!(meta.has(b'D') || meta.delta() == 1);
    assert_eq!(meta.has(b'O'), meta.opaque().is_some());
    assert!(meta.opaque().is_none_or(|opaque| opaque[0] == b'O' && opaque.len() <= MAX_OPAQUE));
}
