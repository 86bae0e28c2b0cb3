//! What the wire says and what the parser makes of it, every case also cut in two at every byte and fed byte by byte.
//! The expectations are what memcached 1.6.18 answers to the same bytes, except where a comment says otherwise.

use proptest::prelude::*;

use super::*;
use crate::memcache::{KeyScratch, MAX_FLAGS, Meta, Tokens, Verb, WireKey};

/// Small enough for a value to be too large within a readable test.
const SMALL: Limits = Limits { max_item: 1000, max_line: 5000 };

/// All that comes of `pieces`: a line per request, and what became of the rest.
fn transcript<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, limits: &Limits) -> Vec<String> {
    let (mut parser, mut buf, mut seen) = (RequestParser::new(), Vec::new(), Vec::new());
    for piece in pieces {
        buf.extend_from_slice(piece);
        loop {
            match parser.parse(&buf, limits) {
                Ok(Some((request, consumed))) => {
                    assert!(0 < consumed && consumed <= buf.len());
                    // Skipped data comes in as many pieces as it was sent in.
                    if request != Request::Ignored {
                        seen.push(show(&request));
                    }
                    buf.drain(..consumed);
                }
                Ok(None) => {
                    assert!(parser.missing() > 0);
                    assert!(buf.len() + parser.missing() <= limits.max_item + limits.max_line + 4);
                    break;
                }
                Err(error) => {
                    seen.push(format!("closed: {error}"));
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
fn check_with(limits: &Limits, input: &[u8], expected: &[&str]) {
    assert_eq!(transcript([input], limits), expected, "{}", input.escape_ascii());
    for cut in 1..input.len() {
        let (front, back) = input.split_at(cut);
        assert_eq!(transcript([front, back], limits), expected, "{} cut at {cut}", input.escape_ascii());
    }
    assert_eq!(transcript(input.chunks(1), limits), expected, "{} byte by byte", input.escape_ascii());
}

fn check(input: impl AsRef<[u8]>, expected: &[&str]) {
    check_with(&SMALL, input.as_ref(), expected);
}

fn show(request: &Request<'_>) -> String {
    let quiet = |noreply: &bool| if *noreply { " noreply" } else { "" };
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let key = |key: &WireKey<'_>| text(key.decode(&mut KeyScratch::default()));
    match request {
        Request::Get { keys, with_cas } => {
            format!("{} [{}]", if *with_cas { "gets" } else { "get" }, list(*keys))
        }
        Request::Gat { exptime, keys, with_cas } => {
            format!("{} {exptime} [{}]", if *with_cas { "gats" } else { "gat" }, list(*keys))
        }
        Request::Store { store, data } => format!(
            "{:?} {} flags={} exptime={}{} {}{}",
            store.verb,
            text(store.key),
            store.flags,
            store.exptime,
            store.cas.map_or(String::new(), |cas| format!(" cas={cas}")),
            text(data),
            quiet(&store.noreply)
        ),
        Request::Arith { key, delta, decr, noreply } => {
            format!("{} {} {delta}{}", if *decr { "decr" } else { "incr" }, text(key), quiet(noreply))
        }
        Request::Touch { key, exptime, noreply } => {
            format!("touch {} {exptime}{}", text(key), quiet(noreply))
        }
        Request::Delete { key, noreply } => format!("delete {}{}", text(key), quiet(noreply)),
        Request::MetaGet(meta) => format!("mg {}", show_meta(meta)),
        Request::MetaSet { meta, verb, data } => format!("ms {verb:?} {} {}", show_meta(meta), text(data)),
        Request::MetaDelete(meta) => format!("md {}", show_meta(meta)),
        Request::MetaArith { meta, decr } => {
            format!("ma {} {}", if *decr { "decr" } else { "incr" }, show_meta(meta))
        }
        Request::MetaNoop => "mn".into(),
        Request::MetaDebug(wire) => {
            format!("me {}{}", key(wire), if wire.is_base64() { " base64" } else { "" })
        }
        Request::FlushAll { delay, noreply } => format!("flush_all {delay}{}", quiet(noreply)),
        Request::Stats(args) => format!("stats [{}]", list(*args)),
        Request::Version => "version".into(),
        Request::Verbosity { level, noreply } => format!("verbosity {level}{}", quiet(noreply)),
        Request::Quit => "quit".into(),
        Request::CacheMemlimit { megabytes, noreply } => {
            format!("cache_memlimit {megabytes}{}", quiet(noreply))
        }
        Request::Dump(format) => format!("dump {format:?}"),
        Request::Shutdown { valid } => format!("shutdown {valid}"),
        Request::MoveTime { seconds } => format!("debugtime {seconds}"),
        Request::Watch(events) => format!("watch [{}]", list(*events)),
        Request::RefreshCerts { noreply } => format!("refresh_certs{}", quiet(noreply)),
        Request::Tuning { noreply } => format!("OK{}", quiet(noreply)),
        Request::TooLarge { key: wire, evict, noreply } => {
            format!("too large {}{}{}", key(wire), if *evict { " evict" } else { "" }, quiet(noreply))
        }
        Request::Invalid(fault) => {
            let line = fault.line().strip_suffix(b"\r\n").expect("each fault is a line");
            format!("! {}", text(line))
        }
        Request::Ignored => "ignored".into(),
    }
}

fn list(tokens: Tokens<'_>) -> String {
    tokens.map(|token| token.escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
}

/// Key, letters in order, and the values of those that have one.
fn show_meta(meta: &Meta<'_>) -> String {
    let mut shown = meta.key().decode(&mut KeyScratch::default()).escape_ascii().to_string();
    for letter in meta.letters() {
        assert!(meta.has(letter));
        shown.push(' ');
        shown.push(char::from(letter));
        let number = match letter {
            b'T' => meta.exptime().map(i128::from),
            b'N' => meta.vivify().map(i128::from),
            b'R' => meta.recache().map(i128::from),
            b'C' => meta.cas().map(i128::from),
            b'E' => meta.new_cas().map(i128::from),
            b'F' => Some(meta.client_flags().into()),
            b'J' => Some(meta.initial().into()),
            b'D' => Some(meta.delta().into()),
            _ => None,
        };
        if let Some(number) = number {
            shown.push_str(&number.to_string());
        }
        if letter == b'O' {
            shown.push_str(&meta.opaque().expect("given")[1..].escape_ascii().to_string());
        }
    }
    shown
}

const BAD_FORMAT: &str = "! CLIENT_ERROR bad command line format";

fn long_key() -> String {
    "k".repeat(MAX_KEY + 1)
}

#[test]
fn lines_that_are_no_commands() {
    for input in
        ["\r\n", "\n", " \r\n", "a\r\n", "ab\r\n", "GET a\r\n", "get\0 a\r\n", "mx\r\n", "extstore x\r\n"]
    {
        check(input, &["! ERROR"]);
    }
}

#[test]
fn get() {
    check("get a\r\n", &["get [a]"]);
    check("get a\n", &["get [a]"]);
    check("  get  a   b \r\n", &["get [a b]"]);
    check("bget a\r\n", &["get [a]"]);
    check("gets a b a\r\n", &["gets [a b a]"]);
    check("get a\tb\r\n", &["get [a\\tb]"]);
    check("get a\r\r\n", &["get [a\\r]"]);
    // memcached's line ends at a NUL, and it would look up `a`.
    check("get a\0b\r\n", &["get [a\\x00b]"]);
    check("get\r\nget \r\ngets\r\n", &["! ERROR", "! ERROR", "! ERROR"]);
    let longest = "k".repeat(MAX_KEY);
    check(format!("get {longest} a\r\n"), &[&format!("get [{longest} a]")]);
    check(format!("get a {} a\r\n", long_key()), &[BAD_FORMAT]);
}

#[test]
fn get_and_touch() {
    check("gat 0 a\r\n", &["gat 0 [a]"]);
    check("gats -1 a b\r\n", &["gats -1 [a b]"]);
    check("gat 0\r\n", &["gat 0 []"]);
    check("gat\r\n", &["! ERROR"]);
    check("gat x a\r\ngat x\r\n", &["! CLIENT_ERROR invalid exptime argument"; 2]);
    check(format!("gat 0 {}\r\n", long_key()), &[BAD_FORMAT]);
    // memcached keeps the lower 32 bits.
    check("gat 99999999999 a\r\n", &["gat 99999999999 [a]"]);
}

#[test]
fn stores() {
    check("set a 0 0 1\r\nx\r\nget a\r\n", &["Set a flags=0 exptime=0 x", "get [a]"]);
    check("set a 0 0 1\nx\r\n", &["Set a flags=0 exptime=0 x"]);
    check(" set  a 4294967295  -1 2 \r\nhi\r\n", &["Set a flags=4294967295 exptime=-1 hi"]);
    check("set a +5 +0 +1\r\nx\r\n", &["Set a flags=5 exptime=0 x"]);
    check("set a 0 0 0\r\n\r\n", &["Set a flags=0 exptime=0 "]);
    check("set a 0 0 6\r\nget b\n\r\n", &["Set a flags=0 exptime=0 get b\\n"]);
    check("set a 0 0 1 noreply\r\nx\r\n", &["Set a flags=0 exptime=0 x noreply"]);
    check("set a 0 0 1 foo\r\nx\r\n", &["Set a flags=0 exptime=0 x"]);
    check("add a 1 2 1\r\nx\r\n", &["Add a flags=1 exptime=2 x"]);
    check("replace a 1 2 1\r\nx\r\n", &["Replace a flags=1 exptime=2 x"]);
    check("append a 1 2 1\r\nx\r\n", &["Append a flags=1 exptime=2 x"]);
    check("prepend a 1 2 1\r\nx\r\n", &["Prepend a flags=1 exptime=2 x"]);
    check("cas a 0 0 1 7\r\nx\r\n", &["Set a flags=0 exptime=0 cas=7 x"]);
    check(
        "cas a 0 0 1 18446744073709551615 noreply\r\nx\r\n",
        &["Set a flags=0 exptime=0 cas=18446744073709551615 x noreply"],
    );
    check("cas a 0 0 1 7 foo\r\nx\r\n", &["Set a flags=0 exptime=0 cas=7 x"]);
}

#[test]
fn stores_with_the_wrong_number_of_words_have_no_block() {
    check("set a 0 0\r\n", &["! ERROR"]);
    check("set a 0 0 1 noreply x\r\nx\r\n", &["! ERROR", "! ERROR"]);
    check("cas a 0 0 6 \r\nbarva2\r\n", &["! ERROR", "! ERROR"]);
    check("cas a 0 0 1 1 foo bar\r\nx\r\n", &["! ERROR", "! ERROR"]);
}

#[test]
fn what_follows_a_store_refused_for_its_line_is_the_next_request() {
    for line in [
        "set a -1 0 4",
        "set a 4294967296 0 4",
        "set a x 0 4",
        "set a 0 x 4",
        "cas a 0 0 4 x",
        "cas a 0 0 4 -1",
        "cas a 0 0 4 18446744073709551616",
        &format!("set {} 0 0 4", long_key()),
        &format!("ms {} 4", long_key()),
    ] {
        check(format!("{line}\r\nabcd\r\nmn\r\n"), &[BAD_FORMAT, "! ERROR", "mn"]);
    }
    check("set a x 0 4 noreply\r\nquit\r\n", &["quit"]);
    check("cas a 0 0 4 noreply\r\nquit\r\n", &["quit"]);
}

#[test]
fn a_length_that_is_none_cannot_be_skipped() {
    for len in ["x", "1x", "-1", "2147483647", "2147483646", "4294967295", "99999999999999999999"] {
        check(format!("set a 0 0 {len}\r\nmn\r\n"), &[BAD_FORMAT, "mn"]);
        check(format!("set a 0 0 {len} noreply\r\nmn\r\n"), &["mn"]);
        check(format!("ms a {len}\r\nmn\r\n"), &[BAD_FORMAT, "mn"]);
    }
    check("set a 0 0 noreply\r\nmn\r\n", &["mn"]);
}

#[test]
fn data_that_does_not_end_where_it_should() {
    let bad = "! CLIENT_ERROR bad data chunk";
    check("set a 0 0 2\r\nabc\r\nmn\r\n", &[bad, "! ERROR", "mn"]);
    check("set a 0 0 2\r\nabcd\r\nmn\r\n", &[bad, "! ERROR", "mn"]);
    check("set a 0 0 2\r\nabcdef\r\nmn\r\n", &[bad, "! ERROR", "mn"]);
    check("set a 0 0 3\r\na\r\nget a\r\n", &[bad, "! ERROR"]);
    check("set a 0 0 2\r\nab\nget a\r\n", &[bad, "! ERROR"]);
    check("set a 0 0 2 noreply\r\nabc\r\nmn\r\n", &["! ERROR", "mn"]);
    check("ms a 1 q\r\nxy\r\nmn\r\n", &[bad, "! ERROR", "mn"]);
}

#[test]
fn items_that_are_too_large() {
    let data = "x".repeat(1000);
    check(format!("set a 0 0 1000\r\n{data}\r\nmn\r\n"), &["too large a evict", "mn"]);
    check(format!("set a 0 0 1000 noreply\r\n{data}\r\nmn\r\n"), &["too large a evict noreply", "mn"]);
    check(format!("add a 0 0 1000\r\n{data}\r\nmn\r\n"), &["too large a", "mn"]);
    check(format!("cas a 0 0 1000 1\r\n{data}\r\nmn\r\n"), &["too large a", "mn"]);
    check(format!("ms bg== 1000 b q\r\n{data}\r\nmn\r\n"), &["too large n evict", "mn"]);
    check(format!("set a 0 0 1000\r\n{data}x\r\nmn\r\n"), &["too large a evict", "! ERROR", "mn"]);
    check("set a 0 0 2147483645\r\nquit\r\n", &["too large a evict"]);
}

#[test]
fn the_largest_item() {
    // Found by trial against memcached, whose limit is 1 MiB too.
    for (key, flags, largest) in
        [("a", 0, 1_048_516), ("a", 1, 1_048_512), ("abcdefghij", 0, 1_048_507), ("abcdefghij", 1, 1_048_503)]
    {
        let limits = Limits::default();
        for (len, fits) in [(largest, true), (largest + 1, false)] {
            let line = format!("set {key} {flags} 0 {len}\r\n");
            let mut parser = RequestParser::new();
            let refused =
                matches!(parser.parse(line.as_bytes(), &limits), Ok(Some((Request::TooLarge { .. }, _))));
            assert_eq!(refused, !fits, "{line}");
        }
    }
}

#[test]
fn a_large_value_is_awaited_and_not_looked_at_again() {
    let limits = Limits::default();
    let mut buf = b"set a 0 0 1000000\r\n".to_vec();
    let line = buf.len();
    let mut parser = RequestParser::new();
    assert_eq!(parser.parse(&buf, &limits), Ok(None));
    assert_eq!(parser.missing(), 1_000_002);
    // A parser that looked at what it has seen would look at 5 * 10^11 bytes here.
    while parser.missing() > 1 {
        buf.push(b'\n');
        assert_eq!(parser.parse(&buf, &limits), Ok(None));
    }
    buf[line + 1_000_000] = b'\r';
    buf.push(b'\n');
    let consumed = buf.len();
    let data = &buf[line..line + 1_000_000];
    let parsed = RequestParser::new().parse(&buf, &limits);
    assert_eq!(parser.parse(&buf, &limits), parsed);
    assert!(
        matches!(parsed, Ok(Some((Request::Store { data: stored, .. }, len))) if stored == data && len == consumed)
    );
}

#[test]
fn a_long_list_of_keys_is_not_searched_again() {
    let limits = Limits::default();
    let mut buf = b"get".to_vec();
    let mut parser = RequestParser::new();
    for _ in 0..200_000 {
        buf.extend_from_slice(b" key");
        assert_eq!(parser.parse(&buf, &limits), Ok(None));
    }
    buf.push(b'\n');
    let Ok(Some((Request::Get { keys, .. }, len))) = parser.parse(&buf, &limits) else { panic!("no get") };
    assert_eq!((keys.count(), len), (200_000, buf.len()));
}

#[test]
fn lines_that_are_too_long() {
    let too_long = "closed: command line too long";
    check([b'x'; 2048], &["waiting with 2048"]);
    check(format!("{}\n", "x".repeat(2048)), &["! ERROR"]);
    check([b'x'; 2049], &[too_long]);
    // memcached takes these when they happen to arrive in one piece.
    check(format!("{}\n", "x".repeat(2049)), &[too_long]);
    check(format!("{}get a\n", " ".repeat(2100)), &[too_long]);
    let keys = "a ".repeat(1300);
    let listed = keys.trim_end();
    for (name, shown) in [("get", "get"), ("gets", "gets"), ("gat 0", "gat 0"), ("gats 0", "gats 0")] {
        let line = format!("{name} {keys}\r\n");
        assert_eq!(transcript([line.as_bytes()], &SMALL), [format!("{shown} [{listed}]")]);
        assert_eq!(transcript(line.as_bytes().chunks(7), &SMALL), [format!("{shown} [{listed}]")]);
    }
    let endless = format!("get {}\r\n", "a ".repeat(2500));
    assert_eq!(transcript([endless.as_bytes()], &SMALL), [too_long]);
    assert_eq!(transcript(endless.as_bytes().chunks(7), &SMALL), [too_long]);
}

#[test]
fn other_protocols() {
    let http = "closed: HTTP request on a memcached port";
    check("GET / HTTP/1.1\r\nHost: x\r\n\r\n", &[http]);
    check("HTTP/1.1\r\nversion\r\n", &[http]);
    check("foo HTTP/1.1 x\r\nversion\r\n", &["! ERROR", "version"]);
    check("get HTTP/1.1\r\n", &["get [HTTP/1.1]"]);
}

#[test]
fn incr_and_decr() {
    check("incr n 1\r\n", &["incr n 1"]);
    check("decr n 18446744073709551615 noreply\r\n", &["decr n 18446744073709551615 noreply"]);
    check("incr n 1 foo\r\n", &["incr n 1"]);
    check("incr\r\nincr n\r\nincr n 1 noreply x\r\n", &["! ERROR"; 3]);
    for delta in ["x", "-1", "18446744073709551616"] {
        check(format!("incr n {delta}\r\n"), &["! CLIENT_ERROR invalid numeric delta argument"]);
        check(format!("incr n {delta} noreply\r\n"), &[]);
    }
    check("incr n noreply\r\n", &[]);
    check(format!("incr {} 1\r\n", long_key()), &[BAD_FORMAT]);
    check(format!("incr {} 1 noreply\r\n", long_key()), &[]);
}

#[test]
fn touch() {
    check("touch n 0\r\n", &["touch n 0"]);
    check("touch n -1 noreply\r\n", &["touch n -1 noreply"]);
    check("touch n 0 foo\r\n", &["touch n 0"]);
    check("touch\r\ntouch n\r\ntouch n 0 noreply x\r\n", &["! ERROR"; 3]);
    check("touch n x\r\n", &["! CLIENT_ERROR invalid exptime argument"]);
    check("touch n noreply\r\n", &[]);
    check(format!("touch {} 0\r\n", long_key()), &[BAD_FORMAT]);
}

#[test]
fn delete() {
    check("delete a\r\ndelete a 0\r\n", &["delete a"; 2]);
    check("delete a noreply\r\ndelete a 0 noreply\r\n", &["delete a noreply"; 2]);
    check("delete noreply\r\n", &["delete noreply"]);
    let usage = "! CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]";
    check("delete a 1\r\ndelete a noreply 0\r\ndelete a 0 0\r\ndelete a 00\r\n", &[usage; 4]);
    check("delete a 1 noreply\r\ndelete a noreply noreply\r\n", &[]);
    check("delete\r\ndelete a 0 noreply x\r\n", &["! ERROR"; 2]);
    check(format!("delete {}\r\n", long_key()), &[BAD_FORMAT]);
    check(format!("delete {} noreply\r\n", long_key()), &[]);
}

#[test]
fn flush_all_and_verbosity() {
    check("flush_all\r\nflush_all 0\r\n", &["flush_all 0"; 2]);
    check(
        "flush_all -1\r\nflush_all 10\r\nflush_all 1 2\r\n",
        &["flush_all -1", "flush_all 10", "flush_all 1"],
    );
    check("flush_all noreply\r\nflush_all 5 noreply\r\n", &["flush_all 0 noreply", "flush_all 5 noreply"]);
    check("flush_all x\r\n", &["! CLIENT_ERROR invalid exptime argument"]);
    check("flush_all x noreply\r\nflush_all noreply noreply\r\n", &[]);
    check("flush_all 1 2 3\r\n", &["! ERROR"]);
    check("verbosity 0\r\nverbosity 9 x\r\n", &["verbosity 0", "verbosity 9"]);
    check("verbosity 1 noreply\r\nverbosity noreply\r\n", &["verbosity 1 noreply"]);
    check("verbosity\r\nverbosity 0 0 0\r\n", &["! ERROR"; 2]);
    check("verbosity x\r\nverbosity -1\r\n", &[BAD_FORMAT; 2]);
}

#[test]
fn the_rest_of_the_classic_commands() {
    check("version\r\nversion x\r\n", &["version"; 2]);
    check("quit\r\nquit noreply\r\n", &["quit"; 2]);
    check("stats\r\nstats detail on\r\n", &["stats []", "stats [detail on]"]);
    check("watch\r\nwatch fetchers mutations\r\n", &["watch []", "watch [fetchers mutations]"]);
    check("shutdown\r\nshutdown graceful\r\n", &["shutdown true"; 2]);
    check("shutdown x\r\nshutdown graceful now\r\n", &["shutdown false"; 2]);
    check("debugtime 3\r\ndebugtime -3\r\n", &["debugtime 3", "debugtime -3"]);
    check("debugtime\r\ndebugtime x\r\n", &["! ERROR"; 2]);
    check("refresh_certs\r\nrefresh_certs noreply\r\n", &["refresh_certs", "refresh_certs noreply"]);
}

#[test]
fn tuning_of_what_is_not_there() {
    check("cache_memlimit 64\r\ncache_memlimit 64 x\r\n", &["cache_memlimit 64"; 2]);
    check("cache_memlimit 64 noreply\r\n", &["cache_memlimit 64 noreply"]);
    check("cache_memlimit 1 noreply\r\n", &[]);
    check("cache_memlimit 1\r\n", &["! MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m"]);
    check("cache_memlimit 2000000000\r\n", &["! MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes"]);
    check(
        "cache_memlimit\r\ncache_memlimit x\r\ncache_memlimit -1\r\ncache_memlimit 1 2 3\r\n",
        &["! ERROR"; 4],
    );

    check("slabs reassign 1 2\r\n", &["! NOSPARE source class has no spare pages"]);
    check("slabs reassign 1 1\r\n", &["! SAME src and dst class are identical"]);
    check("slabs reassign 100 1\r\nslabs reassign -1 2\r\n", &["! BADCLASS invalid src or dst class id"; 2]);
    check("slabs reassign x 2\r\nslabs automove x\r\n", &[BAD_FORMAT; 2]);
    check("slabs automove 0\r\nslabs automove 2\r\nslabs automove ratio 0.5\r\n", &["OK"; 3]);
    check("slabs automove 1 noreply\r\n", &["OK noreply"]);
    check("slabs\r\nslabs foo\r\nslabs reassign\r\nslabs automove\r\nslabs automove 3\r\n", &["! ERROR"; 5]);
    check("slabs automove ratio\r\nslabs automove ratio x\r\n", &["! ERROR"; 2]);

    check("lru tune 10 25 0.1 2.0\r\nlru mode flat\r\nlru mode segmented\r\nlru temp_ttl -1\r\n", &["OK"; 4]);
    check("lru mode flat noreply\r\n", &["OK noreply"]);
    check("lru tune 50 50 0.1 2.0\r\n", &["! ERROR hot and warm pcts must not exceed 80"]);
    check("lru tune 10 25 0 2.0\r\n", &["! ERROR hot/warm age factors must be greater than 0"]);
    check(
        "lru\r\nlru foo\r\nlru tune 10\r\nlru tune x 25 1 2\r\nlru mode x\r\nlru temp_ttl x\r\n",
        &["! ERROR"; 6],
    );

    check("lru_crawler enable\r\nlru_crawler disable\r\nlru_crawler sleep 0\r\n", &["OK"; 3]);
    check("lru_crawler tocrawl 0\r\nlru_crawler crawl all\r\nlru_crawler crawl 1,2\r\n", &["OK"; 3]);
    check("lru_crawler sleep 1000001\r\n", &["! CLIENT_ERROR sleep must be one second or less"]);
    check("lru_crawler sleep x\r\nlru_crawler tocrawl x\r\n", &[BAD_FORMAT; 2]);
    check("lru_crawler crawl x\r\nlru_crawler metadump 999\r\n", &["! BADCLASS invalid class id"; 2]);
    check("lru_crawler metadump all\r\nlru_crawler metadump hash\r\n", &["dump Metadump"; 2]);
    check("lru_crawler mgdump all\r\n", &["dump Mgdump"]);
    check(
        "lru_crawler\r\nlru_crawler foo\r\nlru_crawler crawl\r\nlru_crawler enable noreply\r\n",
        &["! ERROR"; 4],
    );
}

#[test]
fn meta_get() {
    check("mg n\r\n", &["mg n"]);
    check("mg n s v t f k q Oabc c h l u\r\n", &["mg n s v t f k q Oabc c h l u"]);
    check("mg n T10 t N20 R-5\r\n", &["mg n T10 t N20 R-5"]);
    check("mg n Pfoo Lbar v1 sfoo vv\r\n", &["! CLIENT_ERROR duplicate flag"]);
    check("mg n Pfoo Lbar v1 sfoo\r\n", &["mg n P L v s"]);
    check("mg n O\r\n", &["mg n O"]);
    check("mg bg== k b v\r\n", &["mg n k b v"]);
    check("mg n C5 F6 I D7 J8 MS E9 x\r\n", &["mg n C5 F6 I D7 J8 M E9 x"]);
    check("mg\r\n", &["! ERROR"]);
    check(format!("mg {} v\r\n", long_key()), &[BAD_FORMAT]);
}

#[test]
fn meta_flags_that_are_wrong() {
    for (flags, fault) in [
        ("v v", "duplicate flag"),
        ("\x7f", "duplicate flag"),
        ("!", "invalid flag"),
        ("S", "invalid flag"),
        ("a v b", "invalid flag"),
        ("~", "invalid flag"),
        ("T", "bad token in command line format"),
        ("Tx", "bad token in command line format"),
        ("N", "bad token in command line format"),
        ("Rx", "bad token in command line format"),
        ("Cx", "bad token in command line format"),
        ("C-1", "bad token in command line format"),
        ("Ex", "bad token in command line format"),
        ("Fx", "bad command line format"),
        ("F-1", "bad command line format"),
        ("Dx", "invalid numeric delta value"),
        ("Jx", "invalid numeric initial value"),
        ("M", "incorrect length for M token"),
        ("MSS", "incorrect length for M token"),
        ("b", "error decoding key"),
        // The first that is unknown or repeated, or else the last that is wrong.
        ("Tx v v", "duplicate flag"),
        ("v Tx zz", "invalid flag"),
        ("M v Tx", "bad token in command line format"),
        ("Tx M", "incorrect length for M token"),
        ("Tx Fx", "bad token in command line format"),
        ("Fx Tx", "bad token in command line format"),
    ] {
        let refused = format!("! CLIENT_ERROR {fault}");
        check(format!("mg n {flags}\r\nmn\r\n"), &[&refused, "mn"]);
        check(format!("ms n 4 {flags}\r\nquit\r\nmn\r\n"), &[&refused, "mn"]);
        let refused = "! CLIENT_ERROR invalid or duplicate flag";
        check(format!("md n {flags}\r\nmn\r\n"), &[refused, "mn"]);
        check(format!("ma n {flags}\r\nmn\r\n"), &[refused, "mn"]);
    }
}

#[test]
fn opaques() {
    let longest = format!("O{}", "x".repeat(31));
    check(format!("mg n {longest}\r\n"), &[&format!("mg n {longest}")]);
    let too_long = "! CLIENT_ERROR opaque token too long";
    for command in ["mg n", "md n", "ma n"] {
        check(format!("{command} {longest}x\r\n"), &[too_long]);
    }
    check(format!("ms n 4 {longest}x\r\nquit\r\nmn\r\n"), &[too_long, "mn"]);
}

#[test]
fn too_many_meta_flags() {
    let flags =
        ["k", "v", "s", "t", "f", "c", "h", "l", "q", "u", "O1", "P1", "L1", "F1", "I", "D1", "J1", "T1"];
    assert_eq!(flags.len(), MAX_FLAGS + 1);
    let (all, most, most_of_ms) =
        (flags.join(" "), flags[..MAX_FLAGS].join(" "), flags[..MAX_FLAGS - 1].join(" "));
    check(format!("mg n {all}\r\n"), &["! CLIENT_ERROR options flags are too long"]);
    check(format!("md n {all}\r\nma n {all}\r\n"), &["! CLIENT_ERROR options flags too long"; 2]);
    check(format!("ms n 4 {most}\r\nquit\r\n"), &["! CLIENT_ERROR options flags too long", "quit"]);
    for (line, letters) in [(format!("mg n {most}\r\n"), 17), (format!("ms n 1 {most_of_ms}\r\nx\r\n"), 16)] {
        match RequestParser::new().parse(line.as_bytes(), &SMALL) {
            Ok(Some((Request::MetaGet(meta) | Request::MetaSet { meta, .. }, _))) => {
                assert_eq!(meta.letters().count(), letters);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn meta_set() {
    check("ms a 1\r\nx\r\n", &["ms Set a x"]);
    check("ms a +1 k c Oab q T5 F7 I C3 E4\r\nx\r\n", &["ms Set a k c Oab q T5 F7 I C3 E4 x"]);
    check("ms bg== 1 b k\r\nx\r\n", &["ms Set n b k x"]);
    check("ms a 0 MS\r\n\r\n", &["ms Set a M "]);
    for (mode, verb) in [("E", "Add"), ("A", "Append"), ("P", "Prepend"), ("R", "Replace")] {
        check(format!("ms a 1 M{mode}\r\nx\r\n"), &[&format!("ms {verb} a M x")]);
    }
    check("ms a 1 N5 MA\r\nx\r\n", &["ms Append a N5 M x"]);
    check("ms a 4 Me\r\nquit\r\nmn\r\n", &["! CLIENT_ERROR invalid mode for ms M token", "mn"]);
    check("ms\r\n", &["! ERROR"]);
    check("ms a\r\nms a S1\r\n", &[BAD_FORMAT; 2]);
    check("ms a 2 3\r\nhi\r\nmn\r\n", &["! CLIENT_ERROR invalid flag", "mn"]);
    check(format!("ms {} 4\r\nquit\r\n", long_key()), &[BAD_FORMAT, "quit"]);
}

#[test]
fn meta_delete_and_arithmetic() {
    check("md a q I T30 C1 k O1 x E5\r\n", &["md a q I T30 C1 k O1 x E5"]);
    check("md a MX\r\n", &["md a M"]);
    check("md\r\nma\r\n", &["! ERROR"; 2]);
    check("ma n\r\nma n MI\r\nma n M+\r\n", &["ma incr n", "ma incr n M", "ma incr n M"]);
    check("ma n MD D100\r\nma n M- v\r\n", &["ma decr n M D100", "ma decr n M v"]);
    check("ma n N10 J7 D18446744073709551615 t T5\r\n", &["ma incr n N10 J7 D18446744073709551615 t T5"]);
    check("ma n MX\r\nma n Mi\r\n", &["! CLIENT_ERROR invalid mode for ma M token"; 2]);
    check(format!("md {0}\r\nma {0}\r\n", long_key()), &[BAD_FORMAT; 2]);
    let parse = |line: &'static [u8]| RequestParser::new().parse(line, &SMALL);
    assert!(matches!(parse(b"ma n\n"), Ok(Some((Request::MetaArith { meta, .. }, _)))
        if meta.delta() == 1 && meta.initial() == 0 && meta.vivify().is_none() && !meta.quiet()));
}

#[test]
fn meta_noop_and_debug() {
    check("mn\r\nmn x\r\n", &["mn"; 2]);
    check("me n\r\nme n x\r\nme bg== b\r\n", &["me n", "me n", "me n base64"]);
    check("me\r\nme n b\r\n", &[BAD_FORMAT; 2]);
    check(format!("me {}\r\n", long_key()), &[BAD_FORMAT]);
}

#[test]
fn pipelines() {
    check(
        "set foo 0 0 6\r\nfooval\r\ndelete foo\r\nmg foo v q\r\nms foo 3 q\r\nbar\r\nmn\r\nquit\r\n",
        &["Set foo flags=0 exptime=0 fooval", "delete foo", "mg foo v q", "ms Set foo q bar", "mn", "quit"],
    );
}

fn words() -> impl Strategy<Value = Vec<u8>> {
    // Commands, arguments and rubbish in about the shares that get past the first check.
    let word = prop_oneof![
        prop::sample::select(vec![
            "get",
            "gets",
            "gat",
            "set",
            "add",
            "cas",
            "append",
            "incr",
            "touch",
            "delete",
            "mg",
            "ms",
            "md",
            "ma",
            "me",
            "mn",
            "flush_all",
            "verbosity",
            "stats",
            "lru",
            "slabs",
            "lru_crawler",
            "cache_memlimit",
            "quit",
        ]),
        prop::sample::select(vec![
            "0",
            "1",
            "2",
            "3",
            "-1",
            "+4",
            "5",
            "4294967296",
            "noreply",
            "a",
            "key",
            "bg==",
            "b",
            "k",
            "v",
            "q",
            "T3",
            "O1",
            "C2",
            "MA",
            "ME",
            "Fx",
            "x",
            "all",
            "sleep",
            "tune",
            "mode",
            "flat",
            "\t",
        ]),
        prop::sample::select(vec![
            " ",
            "\r\n",
            "\r\n",
            "\n",
            "\r",
            "x\r\n",
            "ab\r\n",
            "\r\nhi\r\n",
            "HTTP/",
            "\u{80}"
        ]),
    ];
    prop::collection::vec(word, 0..40).prop_map(|words| words.join(" ").into_bytes())
}

proptest! {
    #[test]
    fn cuts_make_no_difference(
        input in words(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|ends| &input[ends[0]..ends[1]]);
        prop_assert_eq!(transcript(pieces, &SMALL), transcript([&input[..]], &SMALL));
    }

    #[test]
    fn rubbish_is_survived(input in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(transcript(input.chunks(1), &SMALL), transcript([&input[..]], &SMALL));
    }

    #[test]
    fn a_store_is_read_as_it_was_written(
        key in "[!-~]{1,250}",
        flags in any::<u32>(),
        exptime in any::<i64>(),
        cas in any::<Option<u64>>(),
        noreply in any::<bool>(),
        data in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let mut wire = match cas {
            Some(cas) => format!("cas {key} {flags} {exptime} {} {cas}", data.len()),
            None => format!("prepend {key} {flags} {exptime} {}", data.len()),
        };
        wire.push_str(if noreply { " noreply\r\n" } else { "\r\n" });
        let mut wire = wire.into_bytes();
        wire.extend_from_slice(&data);
        wire.extend_from_slice(b"\r\n");

        let verb = if cas.is_some() { Verb::Set } else { Verb::Prepend };
        let store = crate::memcache::Store { verb, key: key.as_bytes(), flags, exptime, cas, noreply };
        let parsed = RequestParser::new().parse(&wire, &Limits::default());
        prop_assert_eq!(parsed, Ok(Some((Request::Store { store, data: &data }, wire.len()))));
    }
}

#[test]
fn a_look_ahead_sees_plain_whole_requests_alone() {
    for wire in [
        &b"get k\r\n"[..],
        b"gets k other\r\n",
        b"mg k v\r\n",
        b"set k 0 60 2 noreply\r\nab\r\n",
        b"ms k 2 T0\r\nab\r\n",
    ] {
        assert_eq!(peek(&[wire, b"get x"].concat()), Some((&b"k"[..], wire.len())));
        for cut in 0..wire.len() {
            assert_eq!(peek(&wire[..cut]), None);
        }
    }
    for wire in [
        &b"get\r\n"[..],
        b"get k\n",
        b"ms k -1\r\n",
        b"set k 0 0 9999999999999999999\r\n",
        b"version\r\n",
        b"\r\n",
    ] {
        assert_eq!(peek(wire), None);
    }
}
