use super::super::write::Proto;
use super::*;

fn bulk(text: &str) -> Reply {
    Reply::Bulk(text.into())
}

/// Decodes `wire`, which must be one reply and be told incomplete at every cut, whether the scanner is new or has seen all cuts before.
fn check(wire: &str, expected: &Reply) {
    let wire = wire.as_bytes();
    let mut scanner = FrameScanner::new();
    for cut in 0..wire.len() {
        assert_eq!(Reply::decode(&wire[..cut]), Ok(None), "{}", wire[..cut].escape_ascii());
        assert_eq!(scanner.scan(&wire[..cut]), Ok(None), "{}", wire[..cut].escape_ascii());
    }
    let followed = [wire, b"+next\r\n"].concat();
    assert_eq!(scanner.scan(&followed), Ok(Some(wire.len())));
    assert_eq!(scanner.scan(&followed[wire.len()..]), Ok(Some(7)));
    assert_eq!(Reply::decode(&followed), Ok(Some((expected.clone(), wire.len()))));
}

fn refuse(wire: &[u8], error: ReplyError) {
    assert_eq!(Reply::decode(wire), Err(error), "{}", wire.escape_ascii());
}

#[test]
fn every_kind_cut_at_every_byte() {
    check("+OK\r\n", &Reply::Simple(b"OK".into()));
    check("+\r\n", &Reply::Simple(b"".into()));
    check("-ERR no\r\n", &Reply::Error(b"ERR no".into()));
    check("!10\r\nERR a\r\nb c\r\n", &Reply::Error(b"ERR a\r\nb c".into()));
    check(":-9223372036854775808\r\n", &Reply::Int(i64::MIN));
    check("$-1\r\n", &Reply::Null);
    check("*-1\r\n", &Reply::Null);
    check("_\r\n", &Reply::Null);
    check("$0\r\n\r\n", &bulk(""));
    check("$12\r\n0123\r\n456789\r\n", &bulk("0123\r\n456789"));
    check("*0\r\n", &Reply::Array(vec![]));
    check("*2\r\n*1\r\n:1\r\n$1\r\na\r\n", &Reply::Array(vec![Reply::Array(vec![Reply::Int(1)]), bulk("a")]));
    check("~2\r\n:1\r\n:1\r\n", &Reply::Set(vec![Reply::Int(1), Reply::Int(1)]));
    check(">2\r\n+x\r\n_\r\n", &Reply::Push(vec![Reply::Simple(b"x".into()), Reply::Null]));
    check(
        "%2\r\n$1\r\nb\r\n:1\r\n$1\r\na\r\n%0\r\n",
        &Reply::Map(vec![(bulk("b"), Reply::Int(1)), (bulk("a"), Reply::Map(vec![]))]),
    );
    check(",1.5\r\n", &Reply::Double(1.5));
    check(",-inf\r\n", &Reply::Double(f64::NEG_INFINITY));
    check("#t\r\n", &Reply::Bool(true));
    check("#f\r\n", &Reply::Bool(false));
    check("(123456789012345678901234567890\r\n", &Reply::BigNumber(b"123456789012345678901234567890".into()));
    check("=7\r\ntxt:a\r\n\r\n", &Reply::Verbatim(*b"txt", b"a\r\n".into()));
    check("|1\r\n+ttl\r\n*1\r\n:1\r\n|0\r\n:5\r\n", &Reply::Int(5));
    check(
        "*2\r\n|1\r\n+a\r\n|1\r\n+b\r\n+c\r\n+d\r\n:1\r\n:2\r\n",
        &Reply::Array(vec![Reply::Int(1), Reply::Int(2)]),
    );
}

#[test]
fn malformed_replies() {
    refuse(b"x", ReplyError::UnknownType(b'x'));
    refuse(b"*1\r\n\r\n", ReplyError::UnknownType(b'\r'));
    refuse(b"+a\rb\r\n", ReplyError::MissingLineEnd);
    refuse(b"$1\rx", ReplyError::MissingLineEnd);
    refuse(b"$1\r\nabc", ReplyError::MissingLineEnd);
    refuse(b"*1\r\n$1\r\nabc", ReplyError::MissingLineEnd);
    for wire in [
        "$?",
        "*?",
        "$-2",
        "$01",
        "%-1",
        "~-1",
        ":1x",
        ":",
        ",x",
        ",",
        "$99999999999",
        "*4294967296",
        ":9223372036854775808",
    ] {
        refuse(format!("{wire}\r\n").as_bytes(), ReplyError::InvalidNumber);
    }
    refuse(b"#x\r\n", ReplyError::InvalidValue);
    refuse(b"=3\r\ntxt\r\n", ReplyError::InvalidValue);
    refuse(b"=4\r\ntxt.\r\n", ReplyError::InvalidValue);
}

#[test]
fn nesting_is_bounded_in_values_only() {
    let nested = |depth: usize| [b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat();
    assert!(Reply::decode(&nested(Reply::MAX_DEPTH)).is_ok());
    refuse(&nested(Reply::MAX_DEPTH + 1), ReplyError::TooDeep);
    let deep = nested(1_000_000);
    assert_eq!(frame_len(&deep), Ok(Some(deep.len())));
}

#[test]
fn announced_lengths_are_awaited_not_reserved() {
    for wire in ["$4294967295\r\n", "*4294967295\r\n", "%4294967295\r\n:1\r\n", "|4294967295\r\n"] {
        assert_eq!(Reply::decode(wire.as_bytes()), Ok(None));
    }
}

#[test]
fn written_replies_read_back() {
    let reply = Reply::Array(vec![
        Reply::Simple(b"a".into()),
        Reply::Error(b"ERR b".into()),
        Reply::Int(-7),
        Reply::Null,
        Reply::Map(vec![(Reply::Double(0.1), Reply::Bool(true))]),
        Reply::Set(vec![Reply::BigNumber(b"1".into())]),
        Reply::Push(vec![Reply::Verbatim(*b"mkd", b"# x".into())]),
        bulk("z"),
    ]);
    let mut out = Output::new(Proto::Resp3);
    reply.write(&mut out);
    let wire = out.take_bytes();
    assert_eq!(Reply::decode(&wire), Ok(Some((reply, wire.len()))));
}
