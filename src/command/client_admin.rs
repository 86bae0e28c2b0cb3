//! CLIENT: connections as their clients and administrators see and change them.

use super::client::Replies;
use super::connection::check_label;
use super::error::{self, CmdError};
use super::parse;
use super::tracking;
use super::{Command, Cx, Flags, Group, command, flag, flags};
use crate::state::pause::Paused;
use shoal_protocol::resp::Args;

const ADMIN: Flags = flags([flag::ADMIN, flag::NOSCRIPT, flag::LOADING, flag::STALE]);
const PLAIN: Flags = flags([flag::NOSCRIPT, flag::LOADING, flag::STALE]);

const fn sub(name: &'static str, arity: i32, run: super::Run) -> Command {
    command(name, arity, Group::Connection, run).flags(PLAIN)
}

/// The family's rows.
pub const COMMANDS: &[Command] = &[command("client", -2, Group::Connection, super::server::container)
    .doc("2.4.0", "", "A container for client connection commands.")
    .subcommands(&[
        sub("client|getname", 2, getname).doc("2.6.9", "", "Returns the name of the connection."),
        sub("client|id", 2, id).doc("5.0.0", "", "Returns the unique client ID of the connection."),
        sub("client|no-touch", 3, no_touch).doc(
            "7.2.0",
            "<ON | OFF>",
            "Controls whether commands sent by the client affect the LRU/LFU of accessed keys.",
        ),
        sub("client|pause", -3, pause).flags(ADMIN).doc(
            "2.9.50",
            "timeout [WRITE | ALL]",
            "Suspends commands processing.",
        ),
        sub("client|reply", 3, reply).doc(
            "3.2.0",
            "<ON | OFF | SKIP>",
            "Instructs the server whether to reply to commands.",
        ),
        sub("client|setinfo", 4, setinfo).doc(
            "7.2.0",
            "<LIB-NAME libname | LIB-VER libver>",
            "Sets information specific to the client or connection.",
        ),
        sub("client|setname", 3, setname).doc("2.6.9", "connection-name", "Sets the connection name."),
        sub("client|caching", 3, tracking::caching).doc(
            "6.0.0",
            "<YES | NO>",
            "Instructs the server whether to track the keys in the next request.",
        ),
        sub("client|getredir", 2, tracking::getredir).doc(
            "6.0.0",
            "",
            "Returns the client ID to which the connection's tracking notifications are redirected.",
        ),
        sub("client|tracking", -3, tracking::tracking).doc(
            "6.0.0",
            "<ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
            "Controls server-assisted client-side caching for the connection.",
        ),
        sub("client|trackinginfo", 2, tracking::trackinginfo).doc(
            "6.2.0",
            "",
            "Returns information about server-assisted client-side caching for the connection.",
        ),
        sub("client|unpause", 2, unpause).flags(ADMIN).doc(
            "6.2.0",
            "",
            "Resumes processing commands from paused clients.",
        ),
    ])];

/// CLIENT ID
fn id(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.out.int(cx.client.shared.id as i64);
    Ok(())
}

/// CLIENT GETNAME
fn getname(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    match &*cx.client.shared.labels.lock().name {
        [] => cx.out.null(),
        name => cx.out.bulk(name),
    }
    Ok(())
}

/// CLIENT SETNAME connection-name
fn setname(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    check_label("Client names", &args[2])?;
    cx.client.shared.labels.lock().name = args[2].to_vec();
    cx.out.ok();
    Ok(())
}

/// CLIENT SETINFO LIB-NAME libname | LIB-VER libver
fn setinfo(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let attribute = args[2].to_ascii_lowercase();
    let mut labels = cx.client.shared.labels.lock();
    let label = match &*attribute {
        b"lib-name" => &mut labels.lib_name,
        b"lib-ver" => &mut labels.lib_version,
        _ => {
            let name = String::from_utf8_lossy(&args[2]);
            return Err(CmdError::with(format!("ERR Unrecognized option '{name}'")));
        }
    };
    check_label(&String::from_utf8_lossy(&attribute), &args[3])?;
    *label = args[3].to_vec();
    drop(labels);
    cx.out.ok();
    Ok(())
}

/// CLIENT REPLY ON | OFF | SKIP
fn reply(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    match &*args[2].to_ascii_lowercase() {
        b"on" => {
            cx.client.replies = Replies::On;
            cx.out.ok();
        }
        b"off" => cx.client.replies = Replies::Off,
        b"skip" if cx.client.replies == Replies::On => cx.client.replies = Replies::SkipNext,
        b"skip" => {}
        _ => return Err(error::SYNTAX),
    }
    Ok(())
}

/// CLIENT NO-TOUCH ON | OFF
fn no_touch(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    cx.client.no_touch = on_or_off(&args[2])?;
    cx.out.ok();
    Ok(())
}

/// CLIENT PAUSE timeout [WRITE | ALL]
fn pause(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let mode = match args.get(3).map(<[u8]>::to_ascii_lowercase).as_deref() {
        _ if args.len() > 4 => return Err(error::bad_subcommand("CLIENT", &args[1])),
        None | Some(b"all") => Paused::All,
        Some(b"write") => Paused::Writes,
        Some(_) => return Err(CmdError::new("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let now_ms = crate::state::unix_ms();
    let timeout_ms = parse::int(&args[2]).map_err(|_| error::BAD_TIMEOUT_MS)?;
    if timeout_ms < 0 {
        return Err(error::NEGATIVE_TIMEOUT);
    }
    let until_ms = now_ms.checked_add(timeout_ms).ok_or(error::TIMEOUT_OUT_OF_RANGE)?;
    cx.state.pause.begin(mode, until_ms, now_ms);
    cx.out.ok();
    Ok(())
}

/// CLIENT UNPAUSE
fn unpause(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.state.pause.end();
    cx.out.ok();
    Ok(())
}

fn on_or_off(word: &[u8]) -> Result<bool, CmdError> {
    match word {
        word if word.eq_ignore_ascii_case(b"on") => Ok(true),
        word if word.eq_ignore_ascii_case(b"off") => Ok(false),
        _ => Err(error::SYNTAX),
    }
}
