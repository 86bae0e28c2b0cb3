//! LCS: the longest common subsequence of two strings. The search is in `store/types/lcs.rs`.

use super::error::{self, CmdError};
use super::keys::{Keys, Text, text};
use super::parse::{self, is, operand};
use super::{Command, Cx, Group, command, flag, spec};
use crate::config::id;
use crate::store::types::lcs::{self, Match, Subsequence, TooLarge};
use shoal_protocol::resp::{Args, Output};

/// The row.
pub const COMMANDS: &[Command] =
    &[command("lcs", -3, Group::String, lcs).flags(flag::READONLY).keys(spec::READ_TWO).doc(
        "7.0.0",
        "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
        "Finds the longest common substring.",
    )];

fn too_large(_: TooLarge) -> CmdError {
    CmdError::new("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
}

#[derive(Default)]
struct Options {
    len: bool,
    matches: bool,
    min_match: usize,
    with_match_len: bool,
}

impl Options {
    fn parse(args: Args) -> Result<Self, CmdError> {
        let mut options = Options::default();
        let mut at = 3;
        while at < args.len() {
            let word = &args[at];
            if is(word, "idx") {
                options.matches = true;
            } else if is(word, "len") {
                options.len = true;
            } else if is(word, "withmatchlen") {
                options.with_match_len = true;
            } else if is(word, "minmatchlen") {
                let min = parse::int(operand(&args, &mut at)?)?;
                options.min_match = usize::try_from(min).unwrap_or(0);
            } else {
                return Err(error::SYNTAX);
            }
            at += 1;
        }
        if options.matches && options.len {
            return Err(CmdError::new("ERR If you want both the length and indexes, please just use IDX."));
        }
        Ok(options)
    }
}

/// LCS key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]
fn lcs(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    const NOT_STRINGS: CmdError = CmdError::new("ERR The specified keys must contain string values");
    for key in args.from(1).first(2) {
        cx.keys.read_text(key).map_err(|_| NOT_STRINGS)?;
    }
    let options = Options::parse(args)?;
    let max_bytes = cx.state.config.size(id::PROTO_MAX_BULK_LEN) as u64;
    let keys = &cx.keys;
    let (mut a, mut b) = (string(keys, &args[1])?, string(keys, &args[2])?);
    let (a, b) = (a.bytes(), b.bytes());
    if options.len {
        cx.out.int(lcs::length(a, b, max_bytes).map_err(too_large)? as i64);
        return Ok(());
    }
    let common = Subsequence::find(a, b, max_bytes).map_err(too_large)?;
    if !options.matches {
        cx.out.bulk(&common.text(a));
        return Ok(());
    }
    let wanted = || common.matches.iter().filter(|part| part.len >= options.min_match);
    cx.out.map(2);
    cx.out.bulk(b"matches");
    cx.out.array(wanted().count());
    wanted().for_each(|part| reply_match(cx.out, part, options.with_match_len));
    cx.out.bulk(b"len");
    cx.out.int(common.len as i64);
    Ok(())
}

fn string<'k>(keys: &'k Keys, key: &[u8]) -> Result<Text<'k>, CmdError> {
    keys.peek(key).map_or(Ok(Text::Bytes(b"")), text)
}

fn reply_match(out: &mut Output, part: &Match, with_len: bool) {
    out.array(if with_len { 3 } else { 2 });
    for start in [part.a, part.b] {
        out.array(2);
        out.int(start as i64);
        out.int((start + part.len - 1) as i64);
    }
    if with_len {
        out.int(part.len as i64);
    }
}
