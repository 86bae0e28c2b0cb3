//! Replies onto the wire. Everything goes into the connection's [`Output`], large values from where they lie.
//!
//! Classic replies are fixed lines and `VALUE` blocks. A meta reply is a code and flags in the order the request had them: a
//! [`MetaLine`] that is added to and then ended. What errors say stands in [`Fault`](super::Fault).

use std::sync::Arc;

use base64::Engine;

use super::key::{BASE64, MAX_KEY, WireKey};
use super::meta::Meta;
use crate::resp::Output;

/// The value was stored.
pub const STORED: &[u8] = b"STORED\r\n";
/// Something was in the way: an `add` found an item, a `replace`, `append` or `prepend` found none.
pub const NOT_STORED: &[u8] = b"NOT_STORED\r\n";
/// A `cas` found another version.
pub const EXISTS: &[u8] = b"EXISTS\r\n";
/// There is no such item.
pub const NOT_FOUND: &[u8] = b"NOT_FOUND\r\n";
/// The item is gone.
pub const DELETED: &[u8] = b"DELETED\r\n";
/// The item expires anew.
pub const TOUCHED: &[u8] = b"TOUCHED\r\n";
/// Done, where there is nothing else to say.
pub const OK: &[u8] = b"OK\r\n";
/// Statistics begin at zero again.
pub const RESET: &[u8] = b"RESET\r\n";
/// No more values, statistics or `metadump` lines.
pub const END: &[u8] = b"END\r\n";
/// No more `mgdump` lines; no such item, of `me`.
pub const EN: &[u8] = b"EN\r\n";
/// What `mn` gets.
pub const MN: &[u8] = b"MN\r\n";

const LINE_END: &[u8] = b"\r\n";

/// One value of `get` and its kin; with `cas`, one of `gets`. The last is followed by [`END`].
#[inline]
pub fn value(out: &mut Output, key: &[u8], flags: u32, cas: Option<u64>, data: &[u8]) {
    value_line(out, key, flags, cas, data.len());
    out.raw(data);
    out.raw(LINE_END);
}

/// The same, sent from where it lies when it is large.
#[inline]
pub fn value_shared(out: &mut Output, key: &[u8], flags: u32, cas: Option<u64>, data: &Arc<Vec<u8>>) {
    value_line(out, key, flags, cas, data.len());
    out.raw_shared(data);
    out.raw(LINE_END);
}

#[inline]
fn value_line(out: &mut Output, key: &[u8], flags: u32, cas: Option<u64>, len: usize) {
    out.raw(b"VALUE ");
    out.raw(key);
    number_after(out, b" ", flags);
    number_after(out, b" ", len);
    if let Some(cas) = cas {
        number_after(out, b" ", cas);
    }
    out.raw(LINE_END);
}

/// What `incr` and `decr` answer.
#[inline]
pub fn number(out: &mut Output, number: u64) {
    number_after(out, b"", number);
    out.raw(LINE_END);
}

/// What `version` answers.
pub fn version(out: &mut Output, version: &str) {
    out.raw(b"VERSION ");
    out.raw(version.as_bytes());
    out.raw(LINE_END);
}

/// One statistic. The last is followed by [`END`].
pub fn stat(out: &mut Output, name: &str, value: impl AsRef<[u8]>) {
    out.raw(b"STAT ");
    out.raw(name.as_bytes());
    out.raw(b" ");
    out.raw(value.as_ref());
    out.raw(LINE_END);
}

#[inline]
fn number_after(out: &mut Output, before: &[u8], number: impl itoa::Integer) {
    out.raw(before);
    out.raw(itoa::Buffer::new().format(number).as_bytes());
}

/// The code a meta reply begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// Done, or there, and no value follows.
    Hd,
    /// `mg`: there is no such item.
    En,
    /// The others: there is no such item.
    Nf,
    /// Something was in the way of storing.
    Ns,
    /// The item has another version.
    Ex,
}

/// A meta reply that is being written: code, then flags in the order of the request, then the end.
#[must_use = "a line wants an end"]
#[derive(Debug)]
pub struct MetaLine<'o> {
    out: &'o mut Output,
}

impl<'o> MetaLine<'o> {
    /// Begins a reply that carries no value.
    #[inline]
    pub fn new(out: &'o mut Output, code: Code) -> Self {
        out.raw(match code {
            Code::Hd => b"HD",
            Code::En => b"EN",
            Code::Nf => b"NF",
            Code::Ns => b"NS",
            Code::Ex => b"EX",
        });
        MetaLine { out }
    }

    /// Begins a reply with a value of `len` bytes. To be ended with [`end_with`](Self::end_with) or
    /// [`end_with_shared`](Self::end_with_shared).
    #[inline]
    pub fn with_value(out: &'o mut Output, len: usize) -> Self {
        number_after(out, b"VA ", len);
        MetaLine { out }
    }

    /// A flag and a number: `s` size, `c` version, `f` client flags, `l` seconds since the last access, `h` 0 or 1.
    #[inline]
    pub fn number(&mut self, letter: u8, number: u64) {
        number_after(self.out, &[b' ', letter], number);
    }

    /// `t`: seconds to live, `None` if for ever.
    #[inline]
    pub fn ttl(&mut self, ttl_s: Option<u64>) {
        match ttl_s {
            Some(ttl_s) => self.number(b't', ttl_s),
            None => self.out.raw(b" t-1"),
        }
    }

    /// A flag alone: `W` the client is to renew the item, `Z` another client is, `X` the value is stale.
    #[inline]
    pub fn mark(&mut self, letter: u8) {
        self.out.raw(&[b' ', letter]);
    }

    /// `k`: the key as the client wrote it, and `b` if that was base64.
    #[inline]
    pub fn key(&mut self, key: &WireKey<'_>) {
        self.out.raw(b" k");
        self.out.raw(key.token());
        if key.is_base64() {
            self.out.raw(b" b");
        }
    }

    /// What `letter` of the request wants back without anything being known of the item: `k` and `O`. Others are passed over.
    #[inline]
    pub fn echo(&mut self, meta: &Meta<'_>, letter: u8) {
        match letter {
            b'k' => self.key(&meta.key()),
            b'O' => {
                self.out.raw(b" ");
                self.out.raw(meta.opaque().unwrap_or_default());
            }
            _ => {}
        }
    }

    /// [`echo`](Self::echo) of all letters in their order: all the flags there are where there is no item.
    #[inline]
    pub fn echo_all(&mut self, meta: &Meta<'_>) {
        for letter in meta.letters() {
            self.echo(meta, letter);
        }
    }

    /// Ends a reply without a value.
    #[inline]
    pub fn end(self) {
        self.out.raw(LINE_END);
    }

    /// Ends the line and adds the value it announced.
    #[inline]
    pub fn end_with(self, data: &[u8]) {
        self.out.raw(LINE_END);
        self.out.raw(data);
        self.out.raw(LINE_END);
    }

    /// The same, sent from where it lies when it is large.
    #[inline]
    pub fn end_with_shared(self, data: &Arc<Vec<u8>>) {
        self.out.raw(LINE_END);
        self.out.raw_shared(data);
        self.out.raw(LINE_END);
    }
}

/// What `me` and `lru_crawler metadump` tell of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemInfo {
    /// Unix seconds; `None`: never.
    pub expires_at: Option<i64>,
    /// Unix seconds.
    pub last_access: i64,
    /// Its version.
    pub cas: u64,
    /// Whether it has been read since it was stored.
    pub fetched: bool,
    /// Bytes it takes.
    pub size: u64,
    /// Its client flags.
    pub flags: u32,
}

/// What `me` answers of an item that is there, at `now_s` Unix seconds.
pub fn debug(out: &mut Output, key: &WireKey<'_>, info: &ItemInfo, now_s: i64) {
    out.raw(b"ME ");
    out.raw(key.token());
    item_info(
        out,
        info.expires_at.map_or(-1, |at| at.saturating_sub(now_s)),
        now_s.saturating_sub(info.last_access).max(0),
        info,
    );
    out.raw(LINE_END);
}

/// A line of `lru_crawler metadump`. The last is followed by [`END`].
pub fn metadump(out: &mut Output, key: &[u8], info: &ItemInfo) {
    out.raw(b"key=");
    uri_encoded(out, key);
    item_info(out, info.expires_at.unwrap_or(-1), info.last_access, info);
    number_after(out, b" flags=", info.flags);
    out.raw(b"\n");
}

/// A line of `lru_crawler mgdump`, which is a request for the item. The last is followed by [`EN`].
pub fn mgdump(out: &mut Output, key: &[u8]) {
    out.raw(b"mg ");
    if key.iter().all(u8::is_ascii_graphic) {
        out.raw(key);
    } else {
        base64(out, key);
        out.raw(b" b");
    }
    out.raw(LINE_END);
}

/// There is one class of items, and it is number 1.
fn item_info(out: &mut Output, exp: i64, la: i64, info: &ItemInfo) {
    number_after(out, b" exp=", exp);
    number_after(out, b" la=", la);
    number_after(out, b" cas=", info.cas);
    out.raw(if info.fetched { b" fetch=yes" } else { b" fetch=no" });
    number_after(out, b" cls=1 size=", info.size);
}

/// Percent signs for all but letters, digits and `-._~`.
fn uri_encoded(out: &mut Output, text: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.raw(&[byte]),
            _ => out.raw(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
        }
    }
}

/// Keys set by other protocols know no limit, so this goes by pieces, each but the last a multiple of 3 bytes.
fn base64(out: &mut Output, key: &[u8]) {
    const PIECE: usize = MAX_KEY / 3 * 3;
    let mut text = [0; PIECE / 3 * 4];
    for piece in key.chunks(PIECE) {
        let len = BASE64.encode_slice(piece, &mut text).expect("3 bytes become 4");
        out.raw(&text[..len]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memcache::{KeyScratch, Limits, Request, RequestParser};
    use crate::resp::Proto;

    fn written(write: impl FnOnce(&mut Output)) -> String {
        let mut out = Output::new(Proto::Resp2);
        write(&mut out);
        String::from_utf8(out.take_bytes()).unwrap()
    }

    /// What a meta line says in answer to `request`.
    fn answered(request: &str, answer: impl FnOnce(&mut Output, &Meta<'_>)) -> String {
        match RequestParser::new().parse(request.as_bytes(), &Limits::default()) {
            Ok(Some((Request::MetaGet(meta), _))) => written(|out| answer(out, &meta)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn classic_replies() {
        assert_eq!(written(|out| value(out, b"zz", 5, None, b"hi")), "VALUE zz 5 2\r\nhi\r\n");
        assert_eq!(
            written(|out| value(out, b"zz", u32::MAX, Some(u64::MAX), b"")),
            "VALUE zz 4294967295 0 18446744073709551615\r\n\r\n"
        );
        let large = Arc::new(vec![b'x'; 5000]);
        assert_eq!(
            written(|out| value_shared(out, b"zz", 0, Some(1), &large)),
            format!("VALUE zz 0 5000 1\r\n{}\r\n", "x".repeat(5000))
        );
        assert_eq!(written(|out| number(out, u64::MAX)), "18446744073709551615\r\n");
        assert_eq!(written(|out| version(out, "1.6.18")), "VERSION 1.6.18\r\n");
        assert_eq!(written(|out| stat(out, "threads", "4")), "STAT threads 4\r\n");
    }

    /// Each is what memcached answered to that request.
    #[test]
    fn meta_replies() {
        let hit = answered("mg n s v t f k q Oabc c h l\r\n", |out, meta| {
            let mut line = MetaLine::with_value(out, 1);
            for letter in meta.letters() {
                match letter {
                    b's' | b'c' | b'h' => line.number(letter, 1),
                    b't' => line.ttl(Some(98)),
                    b'f' => line.number(letter, 7),
                    b'l' => line.number(letter, 0),
                    _ => line.echo(meta, letter),
                }
            }
            line.end_with(b"5");
        });
        assert_eq!(hit, "VA 1 s1 t98 f7 kn Oabc c1 h1 l0\r\n5\r\n");
        let won = answered("mg n2 t N10\r\n", |out, _| {
            let mut line = MetaLine::new(out, Code::Hd);
            line.ttl(None);
            line.mark(b'W');
            line.end();
        });
        assert_eq!(won, "HD t-1 W\r\n");
        let miss = |out: &mut Output, meta: &Meta<'_>| {
            let mut line = MetaLine::new(out, Code::En);
            line.echo_all(meta);
            line.end();
        };
        assert_eq!(answered("mg zz k Oqq s\r\n", miss), "EN kzz Oqq\r\n");
        assert_eq!(answered("mg zz O\r\n", miss), "EN O\r\n");
        assert_eq!(answered("mg YQ== b k\r\n", miss), "EN kYQ== b\r\n");
        let large = Arc::new(vec![b'x'; 5000]);
        assert_eq!(
            answered("mg n v\r\n", |out, _| MetaLine::with_value(out, large.len()).end_with_shared(&large)),
            format!("VA 5000\r\n{}\r\n", "x".repeat(5000))
        );
        for (code, text) in
            [(Code::Hd, "HD"), (Code::En, "EN"), (Code::Nf, "NF"), (Code::Ns, "NS"), (Code::Ex, "EX")]
        {
            assert_eq!(written(|out| MetaLine::new(out, code).end()), format!("{text}\r\n"));
        }
    }

    #[test]
    fn items_for_people_and_tools() {
        let info = ItemInfo {
            expires_at: Some(1100),
            last_access: 990,
            cas: 16,
            fetched: false,
            size: 61,
            flags: 5,
        };
        let key = WireKey::plain(b"n");
        assert_eq!(
            written(|out| debug(out, &key, &info, 1000)),
            "ME n exp=100 la=10 cas=16 fetch=no cls=1 size=61\r\n"
        );
        assert_eq!(
            written(|out| metadump(out, b"a b%~\xff", &ItemInfo { expires_at: None, fetched: true, ..info })),
            "key=a%20b%25~%FF exp=-1 la=990 cas=16 fetch=yes cls=1 size=61 flags=5\n"
        );
        assert_eq!(written(|out| mgdump(out, b"plain")), "mg plain\r\n");
        assert_eq!(written(|out| mgdump(out, b"a b")), "mg YSBi b\r\n");
    }

    #[test]
    fn dumped_keys_can_be_asked_for() {
        for len in [1, 2, 3, 186] {
            let key: Vec<u8> = (0..len).collect();
            let line = written(|out| mgdump(out, &key));
            match RequestParser::new().parse(line.as_bytes(), &Limits::default()) {
                Ok(Some((Request::MetaGet(meta), _))) => {
                    assert_eq!(meta.key().decode(&mut KeyScratch::default()), key);
                }
                other => panic!("{other:?}"),
            }
        }
        let long = vec![0; 1000];
        let line = written(|out| mgdump(out, &long));
        assert_eq!(line, format!("mg {}A== b\r\n", "A".repeat(1333)));
    }
}
