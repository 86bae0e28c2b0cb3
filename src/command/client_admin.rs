//! CLIENT: connections as their clients and administrators see and change them.

use super::client::Replies;
use super::client_filter::{self, Filter};
use super::connection::check_label;
use super::error::{self, CmdError};
use super::parse;
use super::server::{container, write_help};
use super::tracking;
use super::{Command, Cx, Flags, Group, command, flag, flags};
use crate::config::id as directive;
use crate::state::clients::{Unblock, client_flag};
use crate::state::pause::Paused;
use shoal_protocol::resp::Args;

const ADMIN: Flags = flags([flag::ADMIN, flag::NOSCRIPT, flag::LOADING, flag::STALE]);
const PLAIN: Flags = flags([flag::NOSCRIPT, flag::LOADING, flag::STALE]);
/// Of those that concern their own connection alone.
const OWN: Flags = PLAIN.or(flag::ALLOW_BUSY);

const fn sub(name: &'static str, arity: i32, run: super::Run) -> Command {
    command(name, arity, Group::Connection, run).flags(PLAIN)
}

const NONDETERMINISTIC: &[&str] = &["nondeterministic_output"];

/// The family's rows.
pub const COMMANDS: &[Command] = &[command("client", -2, Group::Connection, container)
    .doc("2.4.0", "", "A container for client connection commands.")
    .subcommands(&[
        sub("client|caching", 3, tracking::caching).flags(OWN).doc(
            "6.0.0",
            "<YES | NO>",
            "Instructs the server whether to track the keys in the next request.",
        ),
        sub("client|capa", -3, capa).flags(OWN).doc(
            "8.0.0",
            "capability [capability ...]",
            "Tells the server what the client is capable of.",
        ),
        sub("client|getname", 2, getname).flags(OWN).doc("2.6.9", "", "Returns the name of the connection."),
        sub("client|getredir", 2, tracking::getredir).flags(OWN).doc(
            "6.0.0",
            "",
            "Returns the client ID to which the connection's tracking notifications are redirected.",
        ),
        sub("client|help", 2, help).flags(flags([flag::LOADING, flag::STALE])).doc(
            "5.0.0",
            "",
            "Returns helpful text about the different subcommands.",
        ),
        sub("client|id", 2, id).flags(OWN).doc("5.0.0", "", "Returns the unique client ID of the connection."),
        sub("client|import-source", 3, import_source).doc(
            "8.1.0",
            "<ON | OFF>",
            "Marks the client as one that imports data from another server.",
        ),
        sub("client|info", 2, info).tips(NONDETERMINISTIC).doc(
            "6.2.0",
            "",
            "Returns information about the connection.",
        ),
        sub("client|kill", -3, kill).flags(ADMIN).doc(
            "2.4.0",
            "<ip:port | [ID client-id] [TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] [USER username] \
             [ADDR ip:port] [LADDR ip:port] [SKIPME <YES | NO>] [MAXAGE maxage] [NAME name] [DB db]>",
            "Terminates open connections.",
        ),
        sub("client|list", -2, list).flags(ADMIN).tips(NONDETERMINISTIC).doc(
            "2.4.0",
            "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]] [USER username] [ADDR ip:port] \
             [LADDR ip:port] [SKIPME <YES | NO>] [MAXAGE seconds] [NAME name] [IDLE seconds] [FLAGS flags] [LIB-NAME name] \
             [LIB-VER version] [DB db] [CAPA capa] [IP ip]",
            "Lists open connections.",
        ),
        sub("client|no-evict", 3, no_evict).flags(ADMIN.or(flag::ALLOW_BUSY)).doc(
            "7.0.0",
            "<ON | OFF>",
            "Sets the client eviction mode of the connection.",
        ),
        sub("client|no-touch", 3, no_touch).flags(OWN).doc(
            "7.2.0",
            "<ON | OFF>",
            "Controls whether commands sent by the client affect the LRU/LFU of accessed keys.",
        ),
        sub("client|pause", -3, pause).flags(ADMIN).doc(
            "2.9.50",
            "timeout [WRITE | ALL]",
            "Suspends commands processing.",
        ),
        sub("client|reply", 3, reply).flags(OWN.or(flag::NO_MULTI)).doc(
            "3.2.0",
            "<ON | OFF | SKIP>",
            "Instructs the server whether to reply to commands.",
        ),
        sub("client|setinfo", 4, setinfo).flags(OWN).doc(
            "7.2.0",
            "<LIB-NAME libname | LIB-VER libver>",
            "Sets information specific to the client or connection.",
        ),
        sub("client|setname", 3, setname).flags(OWN).doc("2.6.9", "connection-name", "Sets the connection name."),
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
        sub("client|unblock", -3, unblock).flags(ADMIN).doc(
            "5.0.0",
            "client-id [TIMEOUT | ERROR]",
            "Unblocks a client blocked by a blocking command from a different connection.",
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
    cx.client.shared.set_flag(client_flag::NO_TOUCH, cx.client.no_touch);
    cx.out.ok();
    Ok(())
}

/// CLIENT NO-EVICT ON | OFF
fn no_evict(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    cx.client.shared.set_flag(client_flag::NO_EVICT, on_or_off(&args[2])?);
    cx.out.ok();
    Ok(())
}

/// CLIENT IMPORT-SOURCE ON | OFF
fn import_source(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let on = on_or_off(&args[2])?;
    if on && !cx.state.config.flag(directive::IMPORT_MODE) {
        return Err(CmdError::new("ERR Server is not in import mode"));
    }
    cx.client.imports = on;
    cx.client.shared.set_flag(client_flag::IMPORT_SOURCE, on);
    cx.out.ok();
    Ok(())
}

/// CLIENT CAPA capability [capability ...]. What is not known is ignored.
fn capa(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if args.from(2).iter().any(|capa| capa.eq_ignore_ascii_case(b"redirect")) {
        cx.client.shared.set_flag(client_flag::REDIRECT, true);
    }
    cx.out.ok();
    Ok(())
}

/// CLIENT INFO
fn info(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let line = client_filter::describe(cx.state, &cx.client.shared, crate::state::unix_ms());
    cx.out.verbatim(*b"txt", line.as_bytes());
    Ok(())
}

/// CLIENT LIST [filter value ...]
fn list(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let filter = Filter::parse(cx.state, args, 2)?;
    let now_ms = crate::state::unix_ms();
    let mut text = String::new();
    for client in cx.state.clients.all() {
        let skipped = filter.skip_me == Some(true) && client.id == cx.client.shared.id;
        if !skipped && filter.accepts(cx.state, &client, now_ms) {
            text.push_str(&client_filter::describe(cx.state, &client, now_ms));
        }
    }
    cx.out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// CLIENT KILL addr | filter value [filter value ...]
fn kill(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let by_addr = args.len() == 3;
    let filter = if by_addr { Filter::of_addr(&args[2]) } else { Filter::parse(cx.state, args, 2)? };
    let now_ms = crate::state::unix_ms();
    let mut killed = 0;
    for client in cx.state.clients.all() {
        if !filter.accepts(cx.state, &client, now_ms) {
            continue;
        }
        if client.id != cx.client.shared.id {
            cx.state.clients.kill(&client);
        } else if filter.skip_me == Some(false) {
            // It still hears how many there were.
            cx.client.closing = true;
        } else {
            continue;
        }
        killed += 1;
    }
    match (by_addr, killed) {
        (true, 0) => return Err(CmdError::new("ERR No such client")),
        (true, _) => cx.out.ok(),
        (false, killed) => cx.out.int(killed),
    }
    Ok(())
}

/// CLIENT UNBLOCK client-id [TIMEOUT | ERROR]
fn unblock(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let how = match args.get(3).map(<[u8]>::to_ascii_lowercase).as_deref() {
        _ if args.len() > 4 => return Err(error::bad_subcommand("CLIENT", &args[1])),
        None | Some(b"timeout") => Unblock::TimeUp,
        Some(b"error") => Unblock::Error,
        Some(_) => {
            return Err(CmdError::new("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
        }
    };
    let id = parse::int(&args[2])?;
    let client = u64::try_from(id).ok().and_then(|id| cx.state.clients.get(id));
    cx.out.int(client.is_some_and(|client| client.unblock(how)).into());
    Ok(())
}

/// CLIENT HELP
fn help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    write_help(
        cx.out,
        "CLIENT",
        &[
            "CACHING (YES|NO)",
            "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
            "CAPA <option> [options...]",
            "    The client claims its some capability options. Options are:",
            "    * REDIRECT",
            "      The client can handle redirection during primary and replica failover in standalone mode.",
            "GETREDIR",
            "    Return the client ID we are redirecting to when tracking is enabled.",
            "GETNAME",
            "    Return the name of the current connection.",
            "ID",
            "    Return the ID of the current connection.",
            "IMPORT-SOURCE (ON|OFF)",
            "    Mark this connection as an import source if import-mode is enabled.",
            "INFO",
            "    Return information about the current client connection.",
            "KILL <ip:port>",
            "    Kill connection made from <ip:port>.",
            "KILL <option> <value> [<option> <value> [...]]",
            "    Kill connections. Options are those of LIST, and:",
            "    * SKIPME (YES|NO)",
            "      Skip killing current connection (default: yes).",
            "LIST [options ...]",
            "    Return information about client connections. Options:",
            "    * ID <client-id> [<client-id> ...]",
            "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
            "    * USER <username>, NAME <name>, DB <db>, FLAGS <letters>, CAPA <letters>",
            "    * ADDR <ip:port>, LADDR <ip:port>, IP <ip>",
            "    * LIB-NAME <name>, LIB-VER <version>",
            "    * MAXAGE <seconds>, IDLE <seconds>: at least so old, idle for at least so long",
            "    NOT- in front of an option turns it round.",
            "UNPAUSE",
            "    Stop the current client pause, resuming traffic.",
            "PAUSE <timeout> [WRITE|ALL]",
            "    Suspend all, or just write, clients for <timeout> milliseconds.",
            "REPLY (ON|OFF|SKIP)",
            "    Control the replies sent to the current connection.",
            "SETINFO <option> <value>",
            "    Set client meta attr. Options are:",
            "    * LIB-NAME: the client lib name.",
            "    * LIB-VER: the client lib version.",
            "SETNAME <name>",
            "    Assign the name <name> to the current connection.",
            "UNBLOCK <clientid> [TIMEOUT|ERROR]",
            "    Unblock the specified blocked client.",
            "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
            "         [OPTIN] [OPTOUT] [NOLOOP]",
            "    Control server assisted client side caching.",
            "TRACKINGINFO",
            "    Report tracking status for the current connection.",
            "NO-EVICT (ON|OFF)",
            "    Protect current client connection from eviction.",
            "NO-TOUCH (ON|OFF)",
            "    Will not touch LRU/LFU stats when this mode is on.",
        ],
    );
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
