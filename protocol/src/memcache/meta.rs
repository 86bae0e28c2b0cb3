//! The meta commands: a key and flags of one letter each, some with a token.
//!
//! Every command knows all flags and passes over those that mean nothing to it. Answers give flags in the order of the request,
//! and some flags change what those behind them see (`t` before or after `T`), so the order is kept.
//!
//! Invariant: of the flags in a [`Meta`] none is unknown, repeated or without the token it needs.

use super::fault::Fault;
use super::key::{MAX_KEY, WireKey};
use super::text::{Head, Line, Request, Verb, block_len};
use super::token::{Tokens, parse_i64, parse_u32, parse_u64};

/// Most flags of one request.
pub const MAX_FLAGS: usize = 17;

/// Most flags of `ms`, whose length takes a place.
const MAX_SET_FLAGS: usize = MAX_FLAGS - 1;

/// Longest opaque, in bytes, its letter included.
pub const MAX_OPAQUE: usize = 32;

/// Key and flags of a meta command. The values of flags are read from the line when they are asked for: few of them ever are,
/// and requests stay small enough to be handed around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta<'a> {
    key: WireKey<'a>,
    flags: Tokens<'a>,
    /// A bit for each letter given, `A` the lowest.
    given: u64,
}

impl<'a> Meta<'a> {
    /// The key, as written.
    #[inline]
    pub fn key(&self) -> WireKey<'a> {
        self.key
    }

    /// Whether the flag `letter` was given. The ones without a token: `b c f h I k l q s t u v x`.
    #[inline]
    pub fn has(&self, letter: u8) -> bool {
        let bit = letter.wrapping_sub(b'A');
        bit < 64 && self.given >> bit & 1 == 1
    }

    /// The letters of all flags, in the order of the request.
    #[inline]
    pub fn letters(&self) -> impl Iterator<Item = u8> + use<'a> {
        self.flags.map(|flag| flag[0])
    }

    /// `q`: say nothing when all is as expected. Errors are said all the same.
    #[inline]
    pub fn quiet(&self) -> bool {
        self.has(b'q')
    }

    /// `O`: to be sent back as it stands, its letter included.
    #[inline]
    pub fn opaque(&self) -> Option<&'a [u8]> {
        self.flag(b'O')
    }

    /// `T`: the item is to expire then.
    #[inline]
    pub fn exptime(&self) -> Option<i64> {
        self.token(b'T').and_then(parse_i64)
    }

    /// `N`: if there is no such item make one, to expire then.
    #[inline]
    pub fn vivify(&self) -> Option<i64> {
        self.token(b'N').and_then(parse_i64)
    }

    /// `R`: if the item expires before then, one client is to be told to renew it.
    #[inline]
    pub fn recache(&self) -> Option<i64> {
        self.token(b'R').and_then(parse_i64)
    }

    /// `F`: what clients get back with the value; 0 unless given.
    #[inline]
    pub fn client_flags(&self) -> u32 {
        self.token(b'F').and_then(parse_u32).unwrap_or(0)
    }

    /// `C`: the version the item must have now.
    #[inline]
    pub fn cas(&self) -> Option<u64> {
        self.token(b'C').and_then(parse_u64)
    }

    /// `E`: the version the item is to have if it is changed.
    #[inline]
    pub fn new_cas(&self) -> Option<u64> {
        self.token(b'E').and_then(parse_u64)
    }

    /// `J`: the number to begin with where `N` makes the item; 0 unless given.
    #[inline]
    pub fn initial(&self) -> u64 {
        self.token(b'J').and_then(parse_u64).unwrap_or(0)
    }

    /// `D`: by how much to count; 1 unless given.
    #[inline]
    pub fn delta(&self) -> u64 {
        self.token(b'D').and_then(parse_u64).unwrap_or(1)
    }

    /// `M`: the mode; 0 unless given.
    #[inline]
    fn mode(&self) -> u8 {
        self.token(b'M').map_or(0, |token| token[0])
    }

    /// A flag as it stands in the line.
    #[inline]
    fn flag(&self, letter: u8) -> Option<&'a [u8]> {
        let mut flags = self.flags;
        if self.has(letter) { flags.find(|flag| flag[0] == letter) } else { None }
    }

    #[inline]
    fn token(&self, letter: u8) -> Option<&'a [u8]> {
        self.flag(letter).map(|flag| &flag[1..])
    }

    /// Checks the flags behind the key. All are looked at before any is refused for its token, and the last one refused
    /// decides what is said; a letter that is unknown or repeated ends it at once.
    #[inline]
    fn parse(key: &'a [u8], flags: Tokens<'a>) -> Result<Self, Fault> {
        let mut meta = Meta { key: WireKey::plain(key), flags, given: 0 };
        let mut verdict = Ok(());
        for flag in flags {
            let letter = flag[0];
            if letter >= 127 || meta.has(letter) {
                return Err(Fault::DuplicateFlag);
            }
            if !is_flag(letter) {
                return Err(Fault::InvalidFlag);
            }
            meta.given |= 1 << (letter - b'A');
            if letter == b'b' {
                match WireKey::encoded(key) {
                    Some(key) => meta.key = key,
                    None => verdict = Err(Fault::BadKeyEncoding),
                }
            } else if let Err(fault) = check(flag) {
                // A bad `F` has no words of its own.
                let said_before = verdict.is_err() && fault == Fault::BadFormat;
                verdict = if said_before { verdict } else { Err(fault) };
            }
        }
        verdict.map(|()| meta)
    }
}

/// Whether a flag has the token it needs.
#[inline]
fn check(flag: &[u8]) -> Result<(), Fault> {
    let token = &flag[1..];
    let (is_right, fault) = match flag[0] {
        b'O' => (flag.len() <= MAX_OPAQUE, Fault::OpaqueTooLong),
        b'T' | b'N' | b'R' => (parse_i64(token).is_some(), Fault::BadToken),
        b'C' | b'E' => (parse_u64(token).is_some(), Fault::BadToken),
        b'F' => (parse_u32(token).is_some(), Fault::BadFormat),
        b'J' => (parse_u64(token).is_some(), Fault::InvalidInitial),
        b'D' => (parse_u64(token).is_some(), Fault::InvalidMetaDelta),
        b'M' => (token.len() == 1, Fault::ModeLength),
        _ => return Ok(()),
    };
    if is_right { Ok(()) } else { Err(fault) }
}

/// Whether there is such a flag. `P` and `L` are for proxies on the way and mean nothing here.
#[inline]
fn is_flag(letter: u8) -> bool {
    const FLAGS: u64 = {
        let (letters, mut bits, mut at) = (b"bcCDEfFhIJklLMNOPqRstTuvx", 0, 0);
        while at < letters.len() {
            bits |= 1 << (letters[at] - b'A');
            at += 1;
        }
        bits
    };
    let bit = letter.wrapping_sub(b'A');
    bit < 64 && FLAGS >> bit & 1 == 1
}

/// `mg <key> <flags>*`
#[inline]
pub(super) fn get(tokens: Tokens<'_>) -> Line<'_> {
    match key_and_flags(tokens, Fault::FlagsAreTooLong).and_then(|(key, flags)| Meta::parse(key, flags)) {
        Ok(meta) => Line::Request(Request::MetaGet(meta)),
        Err(fault) => Line::refused(fault),
    }
}

/// `md <key> <flags>*`
pub(super) fn delete(tokens: Tokens<'_>) -> Line<'_> {
    match key_and_some_flags(tokens) {
        Ok(meta) => Line::Request(Request::MetaDelete(meta)),
        Err(fault) => Line::refused(fault),
    }
}

/// `ma <key> <flags>*`
pub(super) fn arith(tokens: Tokens<'_>) -> Line<'_> {
    let meta = match key_and_some_flags(tokens) {
        Ok(meta) => meta,
        Err(fault) => return Line::refused(fault),
    };
    match meta.mode() {
        0 | b'I' | b'+' => Line::Request(Request::MetaArith { meta, decr: false }),
        b'D' | b'-' => Line::Request(Request::MetaArith { meta, decr: true }),
        _ => Line::refused(Fault::InvalidArithMode),
    }
}

/// What `md` and `ma` take; they do not say which flag is wrong.
fn key_and_some_flags(tokens: Tokens<'_>) -> Result<Meta<'_>, Fault> {
    let (key, flags) = key_and_flags(tokens, Fault::FlagsTooLong)?;
    Meta::parse(key, flags).map_err(|fault| match fault {
        Fault::OpaqueTooLong => fault,
        _ => Fault::InvalidOrDuplicateFlag,
    })
}

/// The key and the flags of a command that takes nothing else.
#[inline]
fn key_and_flags(mut tokens: Tokens<'_>, too_many: Fault) -> Result<(&[u8], Tokens<'_>), Fault> {
    let key = tokens.next().ok_or(Fault::Unknown)?;
    if key.len() > MAX_KEY {
        Err(Fault::BadFormat)
    } else if !flags_fit(tokens, MAX_FLAGS) {
        Err(too_many)
    } else {
        Ok((key, tokens))
    }
}

/// Whether there are at most `most` flags: known without counting when there is not the room for more.
#[inline]
fn flags_fit(flags: Tokens<'_>, most: usize) -> bool {
    flags.rest().len() <= most * 2 || flags.count() <= most
}

/// `ms <key> <datalen> <flags>*`
#[inline]
pub(super) fn set(mut tokens: Tokens<'_>) -> Line<'_> {
    let Some(key) = tokens.next() else {
        return Line::refused(Fault::Unknown);
    };
    let Some(len) = tokens.next().filter(|_| key.len() <= MAX_KEY) else {
        return Line::refused(Fault::BadFormat);
    };
    if !flags_fit(tokens, MAX_SET_FLAGS) {
        return Line::refused(Fault::FlagsTooLong);
    }
    let Some(len) = block_len(len) else {
        return Line::refused(Fault::BadFormat);
    };
    let refused = |fault| Line::Refused { fault, noreply: false, block: Some(len) };
    let meta = match Meta::parse(key, tokens) {
        Ok(meta) => meta,
        Err(fault) => return refused(fault),
    };
    let verb = match meta.mode() {
        0 | b'S' => Verb::Set,
        b'E' => Verb::Add,
        b'A' => Verb::Append,
        b'P' => Verb::Prepend,
        b'R' => Verb::Replace,
        _ => return refused(Fault::InvalidSetMode),
    };
    Line::Store { head: Head::Meta { meta, verb }, len }
}

/// `me <key> [b]`
pub(super) fn debug(mut tokens: Tokens<'_>) -> Line<'_> {
    let key = tokens.next().filter(|key| key.len() <= MAX_KEY);
    let key =
        if tokens.next() == Some(b"b") { key.and_then(WireKey::encoded) } else { key.map(WireKey::plain) };
    match key {
        Some(key) => Line::Request(Request::MetaDebug(key)),
        None => Line::refused(Fault::BadFormat),
    }
}
