//! What the wire says and what the parser makes of it, every case also cut in two at every byte and fed byte by byte; and
//! replies as memcached 1.6.18 sends them.

use super::*;
use crate::resp::{Output, Proto};
use std::sync::Arc;

const LIMITS: Limits = Limits { max_item: 1000, max_line: 5000 };

/// A request on the wire.
fn packet(opcode: u8, extras: &[u8], key: &[u8], value: &[u8], cas: u64) -> Vec<u8> {
    let mut bytes = vec![MAGIC, opcode];
    bytes.extend((key.len() as u16).to_be_bytes());
    bytes.extend([extras.len() as u8, 0, 0, 0]);
    bytes.extend(((extras.len() + key.len() + value.len()) as u32).to_be_bytes());
    bytes.extend([1, 2, 3, opcode]);
    bytes.extend(cas.to_be_bytes());
    [&bytes[..], extras, key, value].concat()
}

/// Flags 5 and expiration time 9.
const EXTRAS: &[u8] = &[0, 0, 0, 5, 0, 0, 0, 9];

fn transcript<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<String> {
    let (mut parser, mut buf, mut seen) = (RequestParser::new(), Vec::new(), Vec::new());
    for piece in pieces {
        buf.extend_from_slice(piece);
        loop {
            match parser.parse(&buf, &LIMITS) {
                Ok(Some((frame, consumed))) => {
                    assert!(0 < consumed && consumed <= buf.len());
                    if frame.request != Request::Ignored {
                        assert_eq!(frame.tag.opaque, [1, 2, 3, frame.tag.opcode]);
                        seen.push(format!("{:?}{}", frame.request, if frame.quiet { " quiet" } else { "" }));
                    }
                    buf.drain(..consumed);
                }
                Ok(None) => {
                    assert!(parser.missing() > 0);
                    break;
                }
                Err(NoMagic) => {
                    seen.push("closed".to_owned());
                    return seen;
                }
            }
        }
    }
    if !buf.is_empty() {
        seen.push(format!("waiting with {}", buf.len()));
    }
    seen
}

/// Checks what comes of `input`, however it is cut.
fn check(input: &[u8], expected: &[String]) {
    assert_eq!(transcript([input]), expected, "{}", input.escape_ascii());
    for cut in 1..input.len() {
        let (front, back) = input.split_at(cut);
        assert_eq!(transcript([front, back]), expected, "{} cut at {cut}", input.escape_ascii());
    }
    assert_eq!(transcript(input.chunks(1)), expected, "{} byte by byte", input.escape_ascii());
}

/// Checks one request, another behind it.
fn becomes(packet_bytes: Vec<u8>, request: Request<'_>, quiet: bool) {
    let shown = format!("{request:?}{}", if quiet { " quiet" } else { "" });
    let input = [packet_bytes, packet(0x0a, b"", b"", b"", 0)].concat();
    check(&input, &[shown, "Noop".to_owned()]);
}

const BROKEN: Request<'static> = Request::Broken(Status::InvalidArguments);

#[test]
fn reads() {
    let get = |with_key| Request::Get { key: b"key", with_key };
    for (opcode, with_key, quiet) in
        [(0x00, false, false), (0x09, false, true), (0x0c, true, false), (0x0d, true, true)]
    {
        becomes(packet(opcode, b"", b"key", b"", 0), get(with_key), quiet);
        becomes(packet(opcode, b"", b"", b"", 0), BROKEN, quiet);
        becomes(packet(opcode, b"x", b"key", b"", 0), BROKEN, quiet);
        becomes(packet(opcode, b"", b"key", b"v", 0), BROKEN, quiet);
    }
    for (opcode, with_value, with_key, quiet) in [
        (0x1c, false, false, false),
        (0x1d, true, false, false),
        (0x1e, true, false, true),
        (0x23, true, true, false),
        (0x24, true, true, true),
    ] {
        let touch = Request::Touch { key: b"key", exptime: 9, with_value, with_key };
        becomes(packet(opcode, &EXTRAS[4..], b"key", b"", 0), touch, quiet);
        becomes(packet(opcode, b"", b"key", b"", 0), BROKEN, quiet);
        becomes(packet(opcode, &EXTRAS[4..], b"", b"", 0), BROKEN, quiet);
    }
}

#[test]
fn stores() {
    let store =
        |verb, compare| Request::Store { verb, key: b"k", flags: 5, exptime: 9, compare, data: b"value" };
    for (loud, quiet, verb) in [(0x01, 0x11, Verb::Set), (0x02, 0x12, Verb::Add), (0x03, 0x13, Verb::Replace)]
    {
        becomes(packet(loud, EXTRAS, b"k", b"value", 0), store(verb, None), false);
        becomes(packet(quiet, EXTRAS, b"k", b"value", 7), store(Verb::Set, Some(7)), true);
        becomes(packet(loud, b"", b"k", b"value", 0), BROKEN, false);
        becomes(packet(loud, EXTRAS, b"", b"value", 0), BROKEN, false);
        let large = Request::TooLarge { key: b"k", evict: verb == Verb::Set };
        becomes(packet(loud, EXTRAS, b"k", &[MAGIC; 1000], 0), large, false);
    }
    for (loud, quiet, verb) in [(0x0e, 0x19, Verb::Append), (0x0f, 0x1a, Verb::Prepend)] {
        let attach = |compare| Request::Store { verb, key: b"k", flags: 0, exptime: 0, compare, data: b"v" };
        becomes(packet(loud, b"", b"k", b"v", 0), attach(None), false);
        becomes(packet(quiet, b"", b"k", b"v", 7), attach(Some(7)), true);
        becomes(packet(loud, EXTRAS, b"k", b"v", 0), BROKEN, false);
        let large = Request::TooLarge { key: b"k", evict: false };
        becomes(packet(loud, b"", b"k", &[MAGIC; 1000], 0), large, false);
    }
    let empty = Request::Store { verb: Verb::Set, key: b"k", flags: 5, exptime: 9, compare: None, data: b"" };
    becomes(packet(0x01, EXTRAS, b"k", b"", 0), empty, false);
}

#[test]
fn other_requests_about_items() {
    for (opcode, quiet) in [(0x04, false), (0x14, true)] {
        becomes(packet(opcode, b"", b"k", b"", 0), Request::Delete { key: b"k", compare: None }, quiet);
        becomes(packet(opcode, b"", b"k", b"", 7), Request::Delete { key: b"k", compare: Some(7) }, quiet);
        becomes(packet(opcode, EXTRAS, b"k", b"", 0), BROKEN, quiet);
    }
    let extras =
        |exptime: u32| [&3_u64.to_be_bytes()[..], &8_u64.to_be_bytes(), &exptime.to_be_bytes()].concat();
    for (opcode, decr, quiet) in
        [(0x05, false, false), (0x06, true, false), (0x15, false, true), (0x16, true, true)]
    {
        let count = |create, compare| Request::Arith { key: b"k", delta: 3, decr, create, compare };
        becomes(packet(opcode, &extras(60), b"k", b"", 0), count(Some((8, 60)), None), quiet);
        becomes(packet(opcode, &extras(u32::MAX), b"k", b"", 4), count(None, Some(4)), quiet);
        becomes(packet(opcode, EXTRAS, b"k", b"", 0), BROKEN, quiet);
    }
}

#[test]
fn requests_about_the_node() {
    becomes(packet(0x07, b"", b"", b"", 0), Request::Quit, false);
    becomes(packet(0x17, b"", b"", b"", 0), Request::Quit, true);
    becomes(packet(0x08, b"", b"", b"", 0), Request::FlushAll { exptime: 0 }, false);
    becomes(packet(0x18, &EXTRAS[4..], b"", b"", 0), Request::FlushAll { exptime: 9 }, true);
    becomes(packet(0x08, EXTRAS, b"", b"", 0), BROKEN, false);
    becomes(packet(0x0b, b"", b"", b"", 0), Request::Version, false);
    becomes(packet(0x0b, b"", b"k", b"", 0), BROKEN, false);
    becomes(packet(0x10, b"", b"", b"", 0), Request::Stats(Tokens::new(b"")), false);
    becomes(
        packet(0x10, b"", b"detail on", b"passed over", 0),
        Request::Stats(Tokens::new(b"detail on")),
        false,
    );
    becomes(packet(0x20, b"", b"", b"", 0), Request::ListMechanisms, false);
    let authenticate = Request::Authenticate { mechanism: b"PLAIN", credentials: b"\0a\0b" };
    becomes(packet(0x21, b"", b"PLAIN", b"\0a\0b", 0), authenticate, false);
    becomes(packet(0x21, b"", b"PLAIN", &[0; 1025], 0), BROKEN, false);
    becomes(packet(0x22, b"", b"PLAIN", b"x", 0), Request::AuthenticateOn, false);
    becomes(packet(0x1b, &EXTRAS[4..], b"key", b"value", 0), Request::Unknown, false);
    becomes(packet(0xff, b"", b"", &[MAGIC; 50], 0), Request::Unknown, false);
}

#[test]
fn lengths_that_do_not_go_together() {
    let mut short = packet(0x00, b"", b"key", b"", 0);
    short[11] = 2;
    check(&short, &[format!("{:?}", Request::Broken(Status::UnknownCommand))]);
    let long = packet(0x00, b"", &[b'k'; 251], b"", 0);
    check(&long, &[format!("{BROKEN:?}")]);
    becomes(
        packet(0x00, b"", &[b'k'; 250], b"", 0),
        Request::Get { key: &[b'k'; 250], with_key: false },
        false,
    );
}

#[test]
fn another_protocol_ends_it() {
    check(b"get a\r\n", &["closed".to_owned()]);
    check(
        &[packet(0x0a, b"", b"", b"", 0), b"\r".to_vec()].concat(),
        &["Noop".to_owned(), "closed".to_owned()],
    );
    check(&packet(0x0a, b"", b"", b"", 0)[..23], &["waiting with 23".to_owned()]);
}

fn written(write: impl FnOnce(&mut Output)) -> Vec<u8> {
    let mut out = Output::new(Proto::Resp2);
    write(&mut out);
    out.take_bytes()
}

/// A reply on the wire.
fn reply(opcode: u8, status: u8, extras: &[u8], key: &[u8], value: &[u8], cas: u64) -> Vec<u8> {
    let mut bytes = packet(opcode, extras, key, value, cas);
    bytes[0] = 0x81;
    bytes[7] = status;
    bytes
}

#[test]
fn replies() {
    let tag = |opcode| Tag { opcode, opaque: [1, 2, 3, opcode] };
    assert_eq!(written(|out| write::done(out, tag(1), 258)), reply(1, 0, b"", b"", b"", 258));
    assert_eq!(
        written(|out| write::error(out, tag(2), Status::Exists)),
        reply(2, 2, b"", b"", b"Data exists for key.", 0)
    );
    assert_eq!(written(|out| write::missing_key(out, tag(12), b"key")), reply(12, 1, b"", b"key", b"", 0));
    assert_eq!(written(|out| write::text(out, tag(11), "1.6.18")), reply(11, 0, b"", b"", b"1.6.18", 0));
    assert_eq!(
        written(|out| write::number(out, tag(5), 258, 9)),
        reply(5, 0, b"", b"", &[0, 0, 0, 0, 0, 0, 1, 2], 9)
    );
    let item = |out: &mut Output| {
        write::item(out, tag(12), 5, 9, Some(b"key"), 1);
        out.raw(b"v");
    };
    assert_eq!(written(item), reply(12, 0, &EXTRAS[..4], b"key", b"v", 9));
    let large = Arc::new(vec![b'x'; 5000]);
    assert_eq!(
        written(|out| write::item_shared(out, tag(0), 5, 9, None, &large)),
        reply(0, 0, &EXTRAS[..4], b"", &large, 9)
    );
    let opaque = [1, 2, 3, 0x10];
    assert_eq!(written(|out| write::stat(out, opaque, "pid", "17")), reply(0x10, 0, b"", b"pid", b"17", 0));
    assert_eq!(written(|out| write::stats_end(out, opaque)), reply(0x10, 0, b"", b"", b"", 0));
}
