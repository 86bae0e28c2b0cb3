//! SLOWLOG and COMMANDLOG: the last commands that took long, were long, or were answered at length.

use super::error::{self, CmdError};
use super::parse;
use super::server::{container, write_help};
use super::{Command, Cx, Flags, Group, command, flag, flags};
use crate::state::State;
use crate::state::command_log::CommandLog;
use shoal_protocol::resp::{Args, Output};

const ADMIN: Flags = flags([flag::ADMIN, flag::LOADING, flag::STALE]);
const HELP: Flags = flags([flag::LOADING, flag::STALE]);
const LEN_TIPS: &[&str] = &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"];
const GET_TIPS: &[&str] = &["request_policy:all_nodes", "nondeterministic_output"];
const RESET_TIPS: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

const fn sub(name: &'static str, arity: i32, run: super::Run) -> Command {
    command(name, arity, Group::Server, run).flags(ADMIN)
}

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("slowlog", -2, Group::Server, container)
        .doc("2.2.12", "", "A container for slow log commands.")
        .subcommands(&[
            sub("slowlog|get", -2, slowlog_get).tips(GET_TIPS).doc(
                "2.2.12",
                "[count]",
                "Returns the slow log's entries.",
            ),
            sub("slowlog|help", 2, slowlog_help).flags(HELP).doc(
                "6.2.0",
                "",
                "Returns helpful text about the different subcommands.",
            ),
            sub("slowlog|len", 2, slowlog_len).tips(LEN_TIPS).doc(
                "2.2.12",
                "",
                "Returns the number of entries in the slow log.",
            ),
            sub("slowlog|reset", 2, slowlog_reset).tips(RESET_TIPS).doc(
                "2.2.12",
                "",
                "Clears all entries from the slow log.",
            ),
        ]),
    command("commandlog", -2, Group::Server, container)
        .doc("8.1.0", "", "A container for command log commands.")
        .subcommands(&[
            sub("commandlog|get", 4, commandlog_get).tips(GET_TIPS).doc(
                "8.1.0",
                "count <SLOW | LARGE-REQUEST | LARGE-REPLY>",
                "Returns the specified command log's entries.",
            ),
            sub("commandlog|help", 2, commandlog_help).flags(HELP).doc(
                "8.1.0",
                "",
                "Returns helpful text about the different subcommands.",
            ),
            sub("commandlog|len", 3, commandlog_len).tips(LEN_TIPS).doc(
                "8.1.0",
                "<SLOW | LARGE-REQUEST | LARGE-REPLY>",
                "Returns the number of entries in the specified command log.",
            ),
            sub("commandlog|reset", 3, commandlog_reset).tips(RESET_TIPS).doc(
                "8.1.0",
                "<SLOW | LARGE-REQUEST | LARGE-REPLY>",
                "Clears all entries from the specified command log.",
            ),
        ]),
];

/// SLOWLOG GET [count]
fn slowlog_get(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if args.len() > 3 {
        return Err(error::bad_subcommand("SLOWLOG", &args[1]));
    }
    let count = args.get(2).map_or(Ok(10), count)?;
    list(cx.out, &cx.state.slow_commands, count);
    Ok(())
}

/// SLOWLOG LEN
fn slowlog_len(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.out.int(cx.state.slow_commands.len() as i64);
    Ok(())
}

/// SLOWLOG RESET
fn slowlog_reset(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.state.slow_commands.reset();
    cx.out.ok();
    Ok(())
}

/// SLOWLOG HELP
fn slowlog_help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    write_help(
        cx.out,
        "SLOWLOG",
        &[
            "GET [<count>]",
            "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
            "    Entries are made of:",
            "    id, timestamp, time in microseconds, arguments array, client IP and port,",
            "    client name",
            "LEN",
            "    Return the length of the slowlog.",
            "RESET",
            "    Reset the slowlog.",
        ],
    );
    Ok(())
}

/// COMMANDLOG GET count SLOW | LARGE-REQUEST | LARGE-REPLY
fn commandlog_get(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let count = count(&args[2])?;
    list(cx.out, log(cx.state, &args[3])?, count);
    Ok(())
}

/// COMMANDLOG LEN SLOW | LARGE-REQUEST | LARGE-REPLY
fn commandlog_len(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    cx.out.int(log(cx.state, &args[2])?.len() as i64);
    Ok(())
}

/// COMMANDLOG RESET SLOW | LARGE-REQUEST | LARGE-REPLY
fn commandlog_reset(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    log(cx.state, &args[2])?.reset();
    cx.out.ok();
    Ok(())
}

/// COMMANDLOG HELP
fn commandlog_help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    write_help(
        cx.out,
        "COMMANDLOG",
        &[
            "GET <count> <type>",
            "    Return top <count> entries of the specified <type> from the commandlog (-1 mean all).",
            "    Entries are made of:",
            "    id, timestamp,",
            "        time in microseconds for type of slow,",
            "        or size in bytes for type of large-request,",
            "        or size in bytes for type of large-reply",
            "    arguments array, client IP and port,",
            "    client name",
            "LEN <type>",
            "    Return the length of the specified type of commandlog.",
            "RESET <type>",
            "    Reset the specified type of commandlog.",
        ],
    );
    Ok(())
}

fn log<'s>(state: &'s State, name: &[u8]) -> Result<&'s CommandLog, CmdError> {
    match &*name.to_ascii_lowercase() {
        b"slow" => Ok(&state.slow_commands),
        b"large-request" => Ok(&state.large_requests),
        b"large-reply" => Ok(&state.large_replies),
        _ => Err(CmdError::new("ERR type should be one of the following: slow, large-request, large-reply")),
    }
}

/// How many entries are wanted; -1 means all.
fn count(arg: &[u8]) -> Result<usize, CmdError> {
    const BAD: CmdError = CmdError::new("ERR count should be greater than or equal to -1");
    match parse::int(arg).map_err(|_| BAD)? {
        -1 => Ok(usize::MAX),
        count => usize::try_from(count).map_err(|_| BAD),
    }
}

fn list(out: &mut Output, log: &CommandLog, count: usize) {
    let entries = log.latest(count);
    out.array(entries.len());
    for entry in entries {
        out.array(6);
        out.int(entry.id as i64);
        out.int(entry.at);
        out.int(entry.cost as i64);
        out.array(entry.args.len());
        entry.args.iter().for_each(|arg| out.bulk(arg));
        out.bulk(entry.addr.as_bytes());
        out.bulk(&entry.name);
    }
}
