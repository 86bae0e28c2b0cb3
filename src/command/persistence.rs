//! SAVE and its kin. The cache keeps nothing on disk; tools that ask it to save are told that all went well.
//!
//! What they look at afterwards follows: LASTSAVE moves on, INFO counts changes since, and no saving is ever under way.

use super::error::{self, CmdError};
use super::parse;
use super::{Command, Cx, Group, command, flag, flags};
use shoal_protocol::resp::Args;

const SAVING: super::Flags = flags([flag::ADMIN, flag::NOSCRIPT, flag::NO_ASYNC_LOADING]);

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("bgrewriteaof", 1, Group::Server, bgrewriteaof).flags(SAVING).doc(
        "1.0.0",
        "",
        "Answers as if the append-only file were rewritten; there is none.",
    ),
    command("bgsave", -1, Group::Server, bgsave).flags(SAVING).doc(
        "1.0.0",
        "[SCHEDULE]",
        "Answers as if the data were saved in the background; nothing is written.",
    ),
    command("lastsave", 1, Group::Server, lastsave)
        .flags(flags([flag::LOADING, flag::STALE, flag::FAST]))
        .categories(super::category::ADMIN.or(super::category::DANGEROUS))
        .tips(&["nondeterministic_output"])
        .doc("1.0.0", "", "Returns the Unix timestamp of the last SAVE or BGSAVE."),
    command("save", 1, Group::Server, save).flags(SAVING.or(flag::NO_MULTI)).doc(
        "1.0.0",
        "",
        "Answers as if the data were saved; nothing is written.",
    ),
];

/// SAVE
fn save(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.state.note_save();
    cx.out.ok();
    Ok(())
}

/// BGSAVE [SCHEDULE]
fn bgsave(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if args.len() > 2 || args.get(1).is_some_and(|option| !parse::is(option, "schedule")) {
        return Err(error::SYNTAX);
    }
    cx.state.note_save();
    cx.out.simple("Background saving started");
    Ok(())
}

/// BGREWRITEAOF
fn bgrewriteaof(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.out.simple("Background append only file rewriting started");
    Ok(())
}

/// LASTSAVE
fn lastsave(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.out.int(cx.state.last_save());
    Ok(())
}
