//! What must hold for any bytes taken as RESP requests. Run by the fuzz target, and by `cargo test` on the corpus and mutations of it.

use shoal_protocol::resp::{Limits, OwnedArgs, ParseError, RequestParser};

/// Requests found in a run of bytes, up to the first that is malformed or incomplete.
#[derive(Debug, PartialEq)]
struct Requests {
    found: Vec<OwnedArgs>,
    /// Bytes they take.
    consumed: usize,
    error: Option<ParseError>,
}

/// Requests: the same ones are found however the bytes are cut; each, written anew, is found again.
pub fn check(data: &[u8]) {
    for limits in [
        Limits::default(),
        Limits { authenticated: false, ..Limits::default() },
        Limits { max_bulk: 9, max_args: 3, max_line: 8, authenticated: true },
    ] {
        let whole = requests(data, data.len().max(1), &limits);
        for piece in [1, 2, 3, 7] {
            assert_eq!(
                requests(data, piece, &limits),
                whole,
                "in pieces of {piece}: {}",
                data.escape_ascii()
            );
        }
        let mut wire = Vec::new();
        whole.found.iter().for_each(|args| args.as_args().write_request(&mut wire));
        let again = requests(&wire, wire.len().max(1), &Limits::default());
        assert_eq!(again, Requests { found: whole.found, consumed: wire.len(), error: None });
    }
}

fn requests(data: &[u8], piece: usize, limits: &Limits) -> Requests {
    let mut parser = RequestParser::new();
    let mut requests = Requests { found: Vec::new(), consumed: 0, error: None };
    let mut end = 0;
    loop {
        let buf = &data[requests.consumed..end];
        match parser.parse(buf, limits) {
            Ok(Some(parsed)) => {
                assert!(parsed.consumed > 0 && parsed.consumed <= buf.len());
                assert_eq!(parsed.multibulk, buf[0] == b'*');
                requests.found.push(parser.args(buf).into());
                requests.consumed += parsed.consumed;
            }
            Ok(None) if end == data.len() => {
                assert!(parser.missing() > 0);
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
