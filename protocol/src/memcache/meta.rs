//! The meta commands: a key and flags of one letter each, some with a token.
//!
//! Every command knows all flags and passes over those that mean nothing to it. Answers give flags in the order of the request,
//! and some flags change what those behind them see (`t` before or after `T`), so the order is kept.
//!
//! Invariant: a value of [`Meta`] is only read where its letter was given, and a letter is given at most once.

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

/// Key and flags of a meta command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta<'a> {
    key: WireKey<'a>,
    /// A bit for each letter given, `A` the lowest.
    given: u64,
    letters: [u8; MAX_FLAGS],
    count: u8,
    mode: u8,
    client_flags: u32,
    opaque: &'a [u8],
    exptime: i64,
    vivify: i64,
    recache: i64,
    cas: u64,
    new_cas: u64,
    initial: u64,
    delta: u64,
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
    pub fn letters(&self) -> &[u8] {
        &self.letters[..usize::from(self.count)]
    }

    /// `q`: say nothing when all is as expected. Errors are said all the same.
    #[inline]
    pub fn quiet(&self) -> bool {
        self.has(b'q')
    }

    /// `O`: to be sent back as it stands, its letter included.
    #[inline]
    pub fn opaque(&self) -> Option<&'a [u8]> {
        self.has(b'O').then_some(self.opaque)
    }

    /// `T`: the item is to expire then.
    #[inline]
    pub fn exptime(&self) -> Option<i64> {
        self.has(b'T').then_some(self.exptime)
    }

    /// `N`: if there is no such item make one, to expire then.
    #[inline]
    pub fn vivify(&self) -> Option<i64> {
        self.has(b'N').then_some(self.vivify)
    }

    /// `R`: if the item expires before then, one client is to be told to renew it.
    #[inline]
    pub fn recache(&self) -> Option<i64> {
        self.has(b'R').then_some(self.recache)
    }

    /// `F`: what clients get back with the value; 0 unless given.
    #[inline]
    pub fn client_flags(&self) -> u32 {
        self.client_flags
    }

    /// `C`: the version the item must have now.
    #[inline]
    pub fn cas(&self) -> Option<u64> {
        self.has(b'C').then_some(self.cas)
    }

    /// `E`: the version the item is to have if it is changed.
    #[inline]
    pub fn new_cas(&self) -> Option<u64> {
        self.has(b'E').then_some(self.new_cas)
    }

    /// `J`: the number to begin with where `N` makes the item; 0 unless given.
    #[inline]
    pub fn initial(&self) -> u64 {
        self.initial
    }

    /// `D`: by how much to count; 1 unless given.
    #[inline]
    pub fn delta(&self) -> u64 {
        self.delta
    }

    /// Reads the flags behind the key. All are looked at before any is refused for its token, and the last one refused decides
    /// what is said; a letter that is unknown or repeated ends it at once.
    #[inline]
    fn parse(key: &'a [u8], flags: Tokens<'a>) -> Result<Self, Fault> {
        let mut meta = Meta {
            key: WireKey::plain(key),
            given: 0,
            letters: [0; MAX_FLAGS],
            count: 0,
            mode: 0,
            client_flags: 0,
            opaque: b"",
            exptime: 0,
            vivify: 0,
            recache: 0,
            cas: 0,
            new_cas: 0,
            initial: 0,
            delta: 1,
        };
        let mut verdict = Ok(());
        for flag in flags {
            let (letter, token) = (flag[0], &flag[1..]);
            if letter >= 127 || meta.has(letter) {
                return Err(Fault::DuplicateFlag);
            }
            if !is_flag(letter) {
                return Err(Fault::InvalidFlag);
            }
            meta.given |= 1 << (letter - b'A');
            meta.letters[usize::from(meta.count)] = letter;
            meta.count += 1;
            if let Err(fault) = meta.take(letter, token, flag) {
                // A bad `F` has no words of its own.
                let said_before = verdict.is_err() && fault == Fault::BadFormat;
                verdict = if said_before { verdict } else { Err(fault) };
            }
        }
        verdict.map(|()| meta)
    }

    /// Takes the token of a flag, where it has one.
    #[inline]
    fn take(&mut self, letter: u8, token: &[u8], flag: &'a [u8]) -> Result<(), Fault> {
        match letter {
            b'b' => self.key = WireKey::encoded(self.key.token()).ok_or(Fault::BadKeyEncoding)?,
            b'O' if flag.len() > MAX_OPAQUE => return Err(Fault::OpaqueTooLong),
            b'O' => self.opaque = flag,
            b'T' => self.exptime = parse_i64(token).ok_or(Fault::BadToken)?,
            b'N' => self.vivify = parse_i64(token).ok_or(Fault::BadToken)?,
            b'R' => self.recache = parse_i64(token).ok_or(Fault::BadToken)?,
            b'C' => self.cas = parse_u64(token).ok_or(Fault::BadToken)?,
            b'E' => self.new_cas = parse_u64(token).ok_or(Fault::BadToken)?,
            b'F' => self.client_flags = parse_u32(token).ok_or(Fault::BadFormat)?,
            b'J' => self.initial = parse_u64(token).ok_or(Fault::InvalidInitial)?,
            b'D' => self.delta = parse_u64(token).ok_or(Fault::InvalidMetaDelta)?,
            b'M' => match token {
                &[mode] => self.mode = mode,
                _ => return Err(Fault::ModeLength),
            },
            _ => {}
        }
        Ok(())
    }
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
    match meta.mode {
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
    let Some(len) = tokens.next().and_then(block_len) else {
        return Line::refused(Fault::BadFormat);
    };
    let refused = |fault| Line::Refused { fault, noreply: false, block: Some(len) };
    if key.len() > MAX_KEY {
        return refused(Fault::BadFormat);
    }
    if !flags_fit(tokens, MAX_SET_FLAGS) {
        return refused(Fault::FlagsTooLong);
    }
    let meta = match Meta::parse(key, tokens) {
        Ok(meta) => meta,
        Err(fault) => return refused(fault),
    };
    let verb = match meta.mode {
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
