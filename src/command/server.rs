//! The node as such: MONITOR, SHUTDOWN, TIME, LOLWUT, MODULE, and what the containers share.

use super::client::Waiting;
use super::error::{self, CmdError};
use super::parse;
use super::{Command, Cx, Flags, Group, command, flag, flags};
use shoal_protocol::resp::{Args, Output};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const ADMIN: Flags = flags([flag::ADMIN, flag::NOSCRIPT]);

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("lolwut", -1, Group::Server, lolwut).flags(flags([flag::READONLY, flag::FAST])).doc(
        "5.0.0",
        "[VERSION version]",
        "Displays computer art and the server's version.",
    ),
    command("module", -2, Group::Server, container)
        .doc("4.0.0", "", "A container for module commands.")
        .subcommands(&[
            command("module|help", 2, Group::Server, module_help)
                .flags(flags([flag::LOADING, flag::STALE]))
                .doc("5.0.0", "", "Returns helpful text about the different subcommands."),
            command("module|list", 2, Group::Server, module_list)
                .flags(ADMIN)
                .tips(&["nondeterministic_output_order"])
                .doc("4.0.0", "", "Returns all loaded modules."),
            command("module|load", -3, Group::Server, module_load)
                .flags(ADMIN.or(flag::NO_ASYNC_LOADING))
                .doc("4.0.0", "path [arg [arg ...]]", "Refuses: there are no modules."),
            command("module|loadex", -3, Group::Server, module_load)
                .flags(ADMIN.or(flag::NO_ASYNC_LOADING))
                .doc(
                    "7.0.0",
                    "path [CONFIG name value [CONFIG name value ...]] [ARGS arg [arg ...]]",
                    "Refuses: there are no modules.",
                ),
            command("module|unload", 3, Group::Server, module_load)
                .flags(ADMIN.or(flag::NO_ASYNC_LOADING))
                .doc("4.0.0", "name", "Refuses: there are no modules."),
        ]),
    command("monitor", 1, Group::Server, monitor)
        .flags(flags([flag::ADMIN, flag::NOSCRIPT, flag::LOADING, flag::STALE]))
        .doc("1.0.0", "", "Listens for all requests received by the server in real-time."),
    command("shutdown", -1, Group::Server, shutdown)
        .flags(flags([
            flag::ADMIN,
            flag::NOSCRIPT,
            flag::LOADING,
            flag::STALE,
            flag::NO_MULTI,
            flag::ALLOW_BUSY,
        ]))
        .doc("1.0.0", "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]", "Shuts the server down."),
    command("time", 1, Group::Server, time)
        .flags(flags([flag::LOADING, flag::STALE, flag::FAST]))
        .tips(&["nondeterministic_output"])
        .doc("2.6.0", "", "Returns the server time."),
];

/// LOLWUT [VERSION version]
fn lolwut(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if args.len() > 2 && parse::is(&args[1], "version") {
        parse::int(&args[2])?;
    }
    let mut rng = fastrand::Rng::new();
    let mut text = String::new();
    // A shoal: the nearer to the middle row, the denser.
    for row in -4i32..=4 {
        let mut line = String::new();
        while line.len() < 66 {
            line.push_str(match rng.i32(0..10 + row * row) {
                0..3 => "><> ",
                3..5 => "><((('> ",
                5 => "<>< ",
                6 => "   o ",
                _ => "    ",
            });
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    // Clients' own tests look for the version in Redis' words.
    text.push_str(concat!("\nShoal ver. ", env!("CARGO_PKG_VERSION"), ", as Redis ver. "));
    text.push_str(crate::script::REDIS_VERSION.0);
    text.push('\n');
    cx.out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// MODULE LIST
fn module_list(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.out.array(0);
    Ok(())
}

/// MODULE LOAD path [arg ...], MODULE LOADEX path ..., MODULE UNLOAD name: there are no modules.
fn module_load(_: &mut Cx, _: Args) -> Result<(), CmdError> {
    Err(CmdError::new("ERR MODULE command not allowed: this server takes no modules."))
}

/// MODULE HELP
fn module_help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    write_help(cx.out, "MODULE", &["LIST", "    Return a list of loaded modules."]);
    Ok(())
}

/// SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]. There is nothing to save, so all but ABORT mean the same.
fn shutdown(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (mut save, mut nosave, mut hurry, mut abort) = (false, false, false, false);
    for option in args.from(1) {
        match &*option.to_ascii_lowercase() {
            b"save" => save = true,
            b"nosave" => nosave = true,
            b"now" | b"force" => hurry = true,
            b"abort" => abort = true,
            _ => return Err(error::SYNTAX),
        }
    }
    if save && nosave || abort && (save || nosave || hurry) {
        return Err(error::SYNTAX);
    }
    if abort {
        return Err(CmdError::new("ERR No shutdown in progress."));
    }
    tracing::info!("SHUTDOWN: stopping");
    cx.client.closing = true;
    cx.state.stop();
    Ok(())
}

/// TIME
fn time(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // In a script time stands still.
    let now = match cx.client.in_script {
        true => Duration::from_millis(cx.keys.now_ms.max(0) as u64),
        false => now,
    };
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
