//! The node as such: TIME and what the containers share.

use super::client::Waiting;
use super::error::{self, CmdError};
use super::{Command, Cx, Group, command, flag, flags};
use shoal_protocol::resp::{Args, Output};
use std::time::{SystemTime, UNIX_EPOCH};

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("monitor", 1, Group::Server, monitor)
        .flags(flags([flag::ADMIN, flag::NOSCRIPT, flag::LOADING, flag::STALE]))
        .doc("1.0.0", "", "Listens for all requests received by the server in real-time."),
    command("time", 1, Group::Server, time)
        .flags(flags([flag::LOADING, flag::STALE, flag::FAST]))
        .tips(&["nondeterministic_output"])
        .doc("2.6.0", "", "Returns the server time."),
];

/// TIME
fn time(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    cx.out.array(2);
    cx.out.bulk_int(now.as_secs() as i64);
    cx.out.bulk_int(now.subsec_micros().into());
    Ok(())
}

/// MONITOR
fn monitor(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    if cx.client.waiting != Waiting::Allowed {
        return Err(CmdError::new("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    cx.state.monitors.add(&cx.client.shared);
    cx.out.ok();
    Ok(())
}

/// The function of a row that only contains subcommands; the arity check keeps requests from it.
pub fn container(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    Err(error::wrong_arity(cx.command.name))
}

/// The reply to HELP of the container `name`.
pub fn write_help(out: &mut Output, name: &str, lines: &[&str]) {
    out.array(lines.len() + 3);
    out.simple(format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    lines.iter().for_each(|line| out.simple(line));
    out.simple("HELP");
    out.simple("    Print this help.");
}
