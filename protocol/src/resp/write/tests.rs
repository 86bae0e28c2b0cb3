use super::*;

/// What `write` writes in both versions.
fn both(write: impl Fn(&mut Output)) -> (String, String) {
    let text = |proto| {
        let mut out = Output::new(proto);
        write(&mut out);
        String::from_utf8(out.take_bytes()).unwrap()
    };
    (text(Proto::Resp2), text(Proto::Resp3))
}

fn check(write: impl Fn(&mut Output), resp2: &str, resp3: &str) {
    assert_eq!(both(write), (resp2.to_owned(), resp3.to_owned()));
}

fn same(write: impl Fn(&mut Output), text: &str) {
    check(write, text, text);
}

#[test]
fn every_kind_of_reply() {
    same(|out| out.ok(), "+OK\r\n");
    same(|out| out.simple("a\r\nb"), "+a  b\r\n");
    same(|out| out.error("ERR a\nb: \r\n"), "-ERR a b: \r\n");
    same(|out| out.error([b'x'].as_slice()), "-x\r\n");
    same(|out| out.int(0), ":0\r\n");
    same(|out| out.int(i64::MIN), ":-9223372036854775808\r\n");
    same(|out| out.int(9), ":9\r\n");
    same(|out| out.int(10), ":10\r\n");
    same(|out| out.bulk(b""), "$0\r\n\r\n");
    same(|out| out.bulk(b"0123456789"), "$10\r\n0123456789\r\n");
    same(|out| out.bulk_int(-15), "$3\r\n-15\r\n");
    same(|out| out.array(3), "*3\r\n");
    same(|out| out.raw(b"x"), "x");
    check(|out| out.null(), "$-1\r\n", "_\r\n");
    check(|out| out.null_array(), "*-1\r\n", "_\r\n");
    check(|out| out.pairs(7), "*14\r\n", "*7\r\n");
    check(|out| out.pair(), "", "*2\r\n");
    check(|out| out.map(7), "*14\r\n", "%7\r\n");
    check(|out| out.set(12), "*12\r\n", "~12\r\n");
    check(|out| out.push(3), "*3\r\n", ">3\r\n");
    check(|out| assert_eq!(out.attribute(1), out.proto == Proto::Resp3), "", "|1\r\n");
    check(|out| out.double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n");
    check(|out| out.double(f64::NEG_INFINITY), "$4\r\n-inf\r\n", ",-inf\r\n");
    check(|out| out.human_double(0.1), "$19\r\n0.10000000000000001\r\n", ",0.10000000000000001\r\n");
    check(|out| out.bool(true), ":1\r\n", "#t\r\n");
    check(|out| out.bool(false), ":0\r\n", "#f\r\n");
    check(|out| out.big_number(b"-123"), "$4\r\n-123\r\n", "(-123\r\n");
    check(|out| out.verbatim(*b"txt", b"hey"), "$3\r\nhey\r\n", "=7\r\ntxt:hey\r\n");
}

#[test]
fn deferred_headers_go_in_front() {
    let write = |out: &mut Output| {
        let big = Arc::new(vec![b'x'; Output::SHARE_MIN]);
        out.bulk_shared(&big);
        let outer = out.deferred_array();
        out.int(1);
        let inner = out.deferred_map();
        for _ in 0..11 {
            out.int(2);
            out.bulk_shared(&big);
        }
        out.set_deferred(inner, 11);
        let set = out.deferred_set();
        out.set_deferred(set, 0);
        let push = out.deferred_push();
        out.set_deferred(push, 0);
        out.set_deferred(outer, 4);
        out.ok();
    };
    let big = format!("${}\r\n{}\r\n", Output::SHARE_MIN, "x".repeat(Output::SHARE_MIN));
    let pairs = format!(":2\r\n{big}").repeat(11);
    let (resp2, resp3) = both(write);
    assert_eq!(resp2, format!("{big}*4\r\n:1\r\n*22\r\n{pairs}*0\r\n*0\r\n+OK\r\n"));
    assert_eq!(resp3, format!("{big}*4\r\n:1\r\n%11\r\n{pairs}~0\r\n>0\r\n+OK\r\n"));
}

/// A bit of everything: `parts` pieces, every third of them shared.
fn mixture(parts: usize) -> (Output, Vec<u8>) {
    let mut out = Output::new(Proto::Resp3);
    let mut plain = Vec::new();
    for part in 0..parts {
        let value = Arc::new(vec![b'a' + (part % 26) as u8; Output::SHARE_MIN + part]);
        if part % 3 == 0 {
            out.raw_shared(&value);
            plain.extend_from_slice(&value);
        } else {
            out.raw(&value[..part + 1]);
            plain.extend_from_slice(&value[..part + 1]);
        }
    }
    (out, plain)
}

#[test]
fn sends_the_same_bytes_whatever_the_kernel_takes() {
    for step in [1, 2, 3, 100, Output::SHARE_MIN, Output::SHARE_MIN + 1, 10_000, usize::MAX] {
        let (mut out, plain) = mixture(8);
        let mut sent = Vec::new();
        while !out.is_empty() {
            assert_eq!(out.len(), plain.len() - sent.len());
            let mut slices = [IoSlice::new(&[]); 3];
            let filled = out.io_slices(&mut slices);
            assert!(filled > 0 && slices[..filled].iter().all(|slice| !slice.is_empty()));
            let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
            let took = bytes.len().min(step);
            sent.extend_from_slice(&bytes[..took]);
            out.advance(took);
        }
        assert_eq!(sent, plain);
        assert_eq!(out.chunks().count(), 0);
    }
}

#[test]
fn appends_and_takes_half_sent_outputs() {
    let (_, plain) = mixture(8);
    for cut in (0..plain.len()).step_by(701) {
        for cut_other in [0, 1, 3000, plain.len() - 1, plain.len()] {
            let (mut out, _) = mixture(8);
            let (mut other, _) = mixture(8);
            out.proto = Proto::Resp2;
            out.advance(cut);
            other.advance(cut_other);
            out.append(&mut other);
            assert!(other.is_empty() && other.proto == Proto::Resp3 && out.proto == Proto::Resp2);
            let expected = [&plain[cut..], &plain[cut_other..]].concat();
            assert_eq!(out.len(), expected.len());
            assert!(out.take_bytes() == expected);
            assert!(out.is_empty());
        }
    }
}

#[test]
fn appends_to_nothing() {
    let (mut other, plain) = mixture(4);
    let mut out = Output::default();
    out.append(&mut other);
    assert_eq!((out.proto, other.proto), (Proto::Resp2, Proto::Resp3));
    assert_eq!(out.contiguous(), None);
    assert!(out.take_bytes() == plain && other.is_empty());
    out.ok();
    assert_eq!(out.contiguous(), Some(&b"+OK\r\n"[..]));
}

#[test]
fn truncates_to_a_mark() {
    let (mut out, plain) = mixture(5);
    let mark = out.mark();
    out.bulk_shared(&Arc::new(vec![0; Output::SHARE_MIN]));
    out.ok();
    out.truncate(mark);
    assert_eq!(out.len(), plain.len());
    assert!(out.take_bytes() == plain);
}

/// A client that always leaves something unsent must not make the buffer grow forever.
#[test]
fn sent_bytes_are_given_up() {
    let mut out = Output::default();
    let shared = Arc::new(vec![b's'; Output::SHARE_MIN]);
    for _ in 0..1000 {
        out.raw(&[b'x'; Output::SHARE_MIN]);
        out.raw_shared(&shared);
        out.advance(if out.len() > 2 * Output::SHARE_MIN { 2 * Output::SHARE_MIN } else { 100 });
    }
    assert!(out.memory() < 1 << 20, "{} bytes", out.memory());
    assert!(out.chunks().flatten().all(|byte| b"xs".contains(byte)));
}

#[test]
fn short_values_are_copied() {
    let mut out = Output::default();
    out.bulk_shared(&Arc::new(vec![b'x'; 5]));
    assert_eq!(out.contiguous(), Some(&b"$5\r\nxxxxx\r\n"[..]));
}

#[test]
fn numbers_of_every_length() {
    let mut power = 1i64;
    let powers = std::iter::from_fn(|| {
        let now = power;
        power = power.checked_mul(10)?;
        Some(now)
    });
    let edges = powers.flat_map(|power| [power - 1, power, power + 1, power / 2 + 3, power * 7 / 8]);
    for number in edges.chain(0..20_000).chain((0..100_000_000).step_by(9_973)) {
        let mut out = Output::default();
        out.int(number);
        out.int(-number);
        assert_eq!(out.contiguous().unwrap(), format!(":{number}\r\n:{}\r\n", -number).as_bytes());
    }
}
