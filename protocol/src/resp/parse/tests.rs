use super::*;

/// Parses every request of `wire`, handing the parser `piece` more bytes at a time.
fn requests(wire: &[u8], piece: usize, limits: &Limits) -> Result<Vec<Vec<Vec<u8>>>, ParseError> {
    let mut parser = RequestParser::new();
    let mut found = Vec::new();
    let (mut start, mut end) = (0, 0);
    loop {
        match parser.parse(&wire[start..end], limits)? {
            Some(parsed) => {
                let buf = &wire[start..end];
                found.push(parser.args(buf).iter().map(<[u8]>::to_vec).collect());
                assert_eq!(parsed.multibulk, buf[0] == b'*');
                assert!(parsed.consumed > 0 && parsed.consumed <= buf.len());
                start += parsed.consumed;
            }
            None if end == wire.len() => return Ok(found),
            None => {
                assert!(parser.missing() > 0);
                end = (end + piece).min(wire.len());
            }
        }
    }
}

/// What all the ways of cutting `wire` agree on.
fn all_cuts(wire: &[u8]) -> Result<Vec<Vec<Vec<u8>>>, ParseError> {
    let limits = Limits::default();
    let whole = requests(wire, wire.len().max(1), &limits);
    for piece in 1..wire.len().min(40) {
        assert_eq!(requests(wire, piece, &limits), whole, "{} by {piece}", wire.escape_ascii());
    }
    whole
}

fn check(wire: &[u8], expected: &[&[&[u8]]]) {
    let expected: Vec<Vec<Vec<u8>>> =
        expected.iter().map(|args| args.iter().map(|arg| arg.to_vec()).collect()).collect();
    assert_eq!(all_cuts(wire), Ok(expected), "{}", wire.escape_ascii());
}

fn refuse(wire: &[u8], text: &str) {
    let error = all_cuts(wire).expect_err("to be refused");
    assert_eq!(error.to_string(), format!("Protocol error: {text}"), "{}", wire.escape_ascii());
}

#[test]
fn arrays_of_bulks() {
    check(b"*1\r\n$4\r\nPING\r\n", &[&[b"PING"]]);
    check(b"*3\r\n$3\r\nSET\r\n$10\r\n0123456789\r\n$0\r\n\r\n", &[&[b"SET", b"0123456789", b""]]);
    check(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nPI\r\n\r\n", &[&[b"GET", b"a"], &[b"PI\r\n"]]);
    check(b"*0\r\n*-1\r\n*-9223372036854775808\r\n*1\r\n$1\r\nx\r\n", &[&[], &[], &[], &[b"x"]]);
    let long = vec![b'v'; 70_000];
    let wire = [b"*2\r\n$70000\r\n".as_slice(), &long, b"\r\n$1\r\nx\r\n"].concat();
    check(&wire, &[&[&long, b"x"]]);
}

/// Valkey 9 looks at what Redis passes over: the byte after a CR that ends a length, and the two after a bulk.
#[test]
fn lines_and_bulks_end_with_cr_lf() {
    for wire in [
        "*1\rx$4\r\nPING\r\n",
        "*1\r\n$4\rxPING\r\n",
        "*1\r\n$4\r\nPINGx\n",
        "*1\r\n$4\r\nPING\rx",
        "*1\r\n$4\r\nPINGSET\r\n",
    ] {
        refuse(wire.as_bytes(), "invalid CRLF in request");
    }
    let long = [b"*1\r\n$20000\r\n".as_slice(), &[b'v'; 20_000], b"\rx"].concat();
    assert_eq!(requests(&long, long.len(), &Limits::default()), Err(ParseError::InvalidLineEnd));
    refuse(b"*1x\n$4\r\nPING\r\n", "invalid multibulk length");
    refuse(b"*1\r\n$4x\nPING\r\n", "invalid bulk length");
    refuse(b"*x\rx", "invalid CRLF in request");
    refuse(b"*1\r\nx\rx", "expected '$', got 'x'");
}

#[test]
fn incomplete_requests_wait() {
    for wire in
        [&b""[..], b"*", b"*1", b"*1\r", b"*1\r\n", b"*1\r\nx", b"*1\r\n$4\r\nPING\r", b"PING", b"PING\r"]
    {
        check(wire, &[]);
    }
}

#[test]
fn bad_arrays() {
    for count in ["", "-", "+1", " 1", "1 ", "01", "-0", "-01", "1x", "2147483648", "9223372036854775808"] {
        refuse(format!("*{count}\r\n").as_bytes(), "invalid multibulk length");
    }
    for len in ["", "-", "-1", "+1", "01", "1x", "536870913", "99999999999999999999"] {
        refuse(format!("*1\r\n${len}\r\n").as_bytes(), "invalid bulk length");
    }
    refuse(b"*1\r\nx\r\n", "expected '$', got 'x'");
    refuse(b"*1\r\n1\r\n", "expected '$', got '1'");
    refuse(b"*1\r\n\r\n\r\n", "expected '$', got '\r'");
    refuse(b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n", "expected '$', got 'f'");
}

#[test]
fn long_lines() {
    let digits = "1".repeat(64 * 1024);
    refuse(format!("*{digits}").as_bytes(), "too big mbulk count string");
    refuse(format!("*1\r\n${digits}").as_bytes(), "too big bulk count string");
    refuse("x".repeat(64 * 1024 + 1).as_bytes(), "too big inline request");
    check("x".repeat(64 * 1024).as_bytes(), &[]);
    let longest = "x".repeat(64 * 1024);
    check(format!("{longest}\n").as_bytes(), &[&[longest.as_bytes()]]);
}

#[test]
fn limits_are_kept() {
    let guest = Limits { authenticated: false, ..Limits::default() };
    let parse = |wire: &[u8], limits: &Limits| requests(wire, wire.len(), limits);
    assert_eq!(parse(b"*11\r\n", &guest), Err(ParseError::UnauthenticatedMultibulkLength));
    assert_eq!(parse(b"*99999999999\r\n", &guest), Err(ParseError::InvalidMultibulkLength));
    assert_eq!(parse(b"*10\r\n$16385\r\n", &guest), Err(ParseError::UnauthenticatedBulkLength));
    assert_eq!(parse(b"*10\r\n$16384\r\n", &guest), Ok(vec![]));
    let tight = Limits { max_bulk: 3, max_args: 2, ..Limits::default() };
    assert_eq!(parse(b"*3\r\n", &tight), Err(ParseError::InvalidMultibulkLength));
    assert_eq!(parse(b"*1\r\n$4\r\n", &tight), Err(ParseError::InvalidBulkLength));
    assert!(parse(b"*2\r\n$3\r\nabc\r\n$0\r\n\r\n", &tight).is_ok());
}

#[test]
fn inline_lines() {
    check(b"PING\r\nPING\n", &[&[b"PING"], &[b"PING"]]);
    check(b"\r\n  \t\x0b\n*0\r\n\nx\n", &[&[], &[], &[], &[], &[b"x"]]);
    check(b"  SET  k\tv\r\n", &[&[b"SET", b"k", b"v"]]);
    check(b"ECHO a\rb a\x0bb\x0c\r\n", &[&[b"ECHO", b"a", b"b", b"a\x0bb\x0c"]]);
    check(b"ECHO \"\" '' \"a b\" 'c d'\r\n", &[&[b"ECHO", b"", b"", b"a b", b"c d"]]);
    check(b"EC\"HO\" a'b'\r\n", &[&[b"ECHO", b"ab"]]);
    check(br#"ECHO "\x41\xfF\xzz\x4\n\r\t\b\a\q\"\\""#, &[]);
    check(
        b"ECHO \"\\x41\\xfF\\xzz\\n\\r\\t\\b\\a\\q\\\"\\\\\"\n",
        &[&[b"ECHO", b"A\xffxzz\n\r\t\x08\x07q\"\\"]],
    );
    check(b"ECHO 'a\\'b\\n\\\\c'\n", &[&[b"ECHO", b"a'b\\n\\\\c"]]);
    check(b"ECHO \"a\"\x0bb\n", &[&[b"ECHO", b"a\x0bb"]]);
    check(b"ECHO \"a\"b'c'\"d\"e ''\"\"x\n", &[&[b"ECHO", b"abcde", b"x"]]);
    check(b"GET \x00\xff\n", &[&[b"GET", b"\x00\xff"]]);
    for line in ["\"a", "'a", "\"a\\\"", "'a\\'", "\"a\"b\"", "'a'b'", "x \"a\"\"b"] {
        refuse(format!("{line}\r\n").as_bytes(), "unbalanced quotes in request");
    }
}

#[test]
fn says_how_much_is_missing() {
    let mut parser = RequestParser::new();
    let wire = b"*2\r\n$3\r\nSET\r\n$1000\r\nabc";
    assert_eq!(parser.parse(&wire[..3], &Limits::default()), Ok(None));
    assert_eq!(parser.missing(), 1);
    assert_eq!(parser.parse(wire, &Limits::default()), Ok(None));
    assert_eq!(parser.missing(), 999);
}

/// A count or length that is only announced must cost no memory.
#[test]
fn announcements_are_not_believed() {
    let mut parser = RequestParser::new();
    assert_eq!(parser.parse(b"*2147483647\r\n$536870912\r\n", &Limits::default()), Ok(None));
    assert!(parser.memory() < 4096);
}

/// Rescanning what was seen before would make this take minutes.
#[test]
fn many_pieces_cost_what_one_does() {
    let args = 200_000;
    let mut wire = format!("*{args}\r\n").into_bytes();
    for _ in 0..args {
        wire.extend_from_slice(b"$3\r\nabc\r\n");
    }
    let mut parser = RequestParser::new();
    let mut last = Ok(None);
    for end in (1..=wire.len()).step_by(7).chain([wire.len()]) {
        last = parser.parse(&wire[..end], &Limits::default());
    }
    assert_eq!(last, Ok(Some(Parsed { consumed: wire.len(), multibulk: true })));
    assert_eq!(parser.args(&wire).len(), args);
    parser.shrink();
    assert!(parser.memory() < 4096);
}

/// What is passed in one go is what the parser finds, and where it cannot be passed nothing is said.
#[test]
fn plain_requests_are_those_the_parser_finds() {
    let long = [&b"*2\r\n$3\r\nGET\r\n$9999\r\n"[..], &[b'v'; 9999], b"\r\n"].concat();
    let plain_ones: [&[u8]; 5] = [
        b"*1\r\n$4\r\nPING\r\n",
        b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
        b"*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000001\r\n$100\r\n0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\r\n",
        b"*2\r\n$4\r\nECHO\r\n$4\r\n\r\n*1\r\n",
        &long,
    ];
    let mut spans = [Span::default(); 4];
    for wire in plain_ones {
        let mut parser = RequestParser::new();
        // Behind another, and with half of another behind it.
        let before = b"*1\r\n$1\r\nx\r\n";
        let all = [&before[..], wire, b"*1\r\n$4"].concat();
        let passed = plain(&all, before.len(), &mut spans);
        let (count, end) = passed.unwrap_or_else(|| panic!("{} is plain", wire.escape_ascii()));
        let rest = &all[before.len()..];
        let Ok(Some(parsed)) = parser.parse(rest, &Limits::default()) else { panic!("is a request") };
        assert_eq!(end, before.len() + parsed.consumed);
        assert_eq!(Args::new(&all, &spans[..count]), parser.args(rest));
        assert!(parser.is_fresh());
        for cut in 0..wire.len() {
            assert_eq!(plain(&wire[..cut], 0, &mut spans), None, "{}", wire[..cut].escape_ascii());
        }
    }
    for wire in [
        &b"PING\r\n"[..],
        b"*0\r\n",
        b"*-1\r\n",
        b"*01\r\n$4\r\nPING\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n:1234\r\nPING\r\n",
        b"*1\r\n$04\r\nPING\r\n",
        b"*1\r\n$10000\r\nPING\r\n",
        b"*1\rx$4\r\nPING\r\n",
        b"*1\r\n$4\rxPING\r\n",
        b"*1\r\n$4\r\nPING\rx",
        b"*5\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n",
    ] {
        assert_eq!(plain(wire, 0, &mut spans), None, "{}", wire.escape_ascii());
    }
    assert_eq!(plain(b"*1\r\n$4\r\nPING\r\n", 99, &mut spans), None);
}

#[test]
fn a_parser_that_has_begun_is_not_fresh() {
    let limits = Limits::default();
    for half in [&b"*"[..], b"*2", b"*2\r\n", b"*2\r\n$3\r\nGE", b"PIN"] {
        let mut parser = RequestParser::new();
        assert_eq!(parser.parse(half, &limits), Ok(None));
        assert!(!parser.is_fresh(), "{}", half.escape_ascii());
    }
}
