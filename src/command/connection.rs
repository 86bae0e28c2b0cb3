//! A connection about itself: PING, ECHO, SELECT, AUTH, HELLO, RESET, QUIT.

use super::client::{Client, Replies};
use super::error::{self, CmdError};
use super::{Command, Cx, Databases, Flags, Group, command, flag, flags, parse, permission};
use crate::config::id;
use crate::script::REDIS_VERSION;
use crate::state::clients::client_flag;
use crate::state::{State, acl};
use crate::text::number::parse_i64;
use shoal_protocol::resp::{Args, Proto};
use std::sync::atomic::Ordering;

/// Flags of the commands that work in any state of the connection and the node.
const ALWAYS: Flags =
    flags([flag::NOSCRIPT, flag::LOADING, flag::STALE, flag::FAST, flag::NO_AUTH, flag::ALLOW_BUSY]);
const PLAIN: Flags = flags([flag::LOADING, flag::STALE, flag::FAST]);

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("ping", -1, Group::Connection, ping)
        .flags(flag::FAST)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .doc("1.0.0", "[message]", "Returns the server's liveliness response."),
    command("echo", 2, Group::Connection, echo).flags(PLAIN).doc(
        "1.0.0",
        "message",
        "Returns the given string.",
    ),
    command("select", 2, Group::Connection, select)
        .flags(PLAIN.or(flag::ALLOW_BUSY))
        .databases(Databases::At(&[1]))
        .doc("1.0.0", "index", "Changes the selected database."),
    command("quit", -1, Group::Connection, quit).flags(ALWAYS).doc("1.0.0", "", "Closes the connection."),
    command("reset", 1, Group::Connection, reset).flags(ALWAYS).doc("6.2.0", "", "Resets the connection."),
    command("auth", -2, Group::Connection, auth).flags(ALWAYS).doc(
        "1.0.0",
        "[username] password",
        "Authenticates the connection.",
    ),
    command("hello", -1, Group::Connection, hello).flags(ALWAYS).doc(
        "6.0.0",
        "[protover [AUTH username password] [SETNAME clientname]]",
        "Handshakes with the server.",
    ),
];

const WRONG_PASS: CmdError = CmdError::new("WRONGPASS invalid username-password pair or user is disabled.");

/// PING [message]
fn ping(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if args.len() > 2 {
        return Err(error::wrong_arity("ping"));
    }
    let message = args.get(1);
    if !cx.client.subscriptions.is_empty() && cx.out.proto == Proto::Resp2 {
        cx.out.array(2);
        cx.out.bulk(b"pong");
        cx.out.bulk(message.unwrap_or_default());
        return Ok(());
    }
    match message {
        Some(message) => cx.out.bulk(message),
        None => cx.out.simple("PONG"),
    }
    Ok(())
}

/// ECHO message
fn echo(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    cx.out.bulk(&args[1]);
    Ok(())
}

/// SELECT index
fn select(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let db = parse::database(&args[1], cx.state.keyspace.databases())?;
    cx.client.select(db);
    cx.keys.db = db;
    cx.out.ok();
    Ok(())
}

/// QUIT
fn quit(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.out.ok();
    cx.client.closing = true;
    cx.client.shared.set_flag(client_flag::CLOSING, true);
    Ok(())
}

/// RESET
fn reset(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    super::transaction::leave(cx.state, cx.client);
    super::pubsub::leave_all(cx.state, cx.client);
    super::tracking::stop(cx.state, cx.client);
    cx.state.monitors.remove(&cx.client.shared);
    cx.client.select(0);
    cx.keys.db = 0;
    set_proto(cx, Proto::Resp2);
    let client = &mut *cx.client;
    client.log_out(cx.state.acl.default_user());
    client.replies = Replies::On;
    client.no_touch = false;
    client.imports = false;
    for flag in
        [client_flag::NO_TOUCH, client_flag::NO_EVICT, client_flag::READONLY, client_flag::IMPORT_SOURCE]
    {
        client.shared.set_flag(flag, false);
    }
    client.shared.labels.lock().name.clear();
    cx.out.simple("RESET");
    Ok(())
}

/// AUTH [username] password
fn auth(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if args.len() > 3 {
        return Err(error::SYNTAX);
    }
    let (user, password): (&[u8], &[u8]) = match args.get(2) {
        Some(password) => (&args[1], password),
        None if cx.state.acl.default_user().rules().no_password => {
            return Err(CmdError::new(
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
            ));
        }
        None => (acl::DEFAULT, &args[1]),
    };
    authenticate(cx.state, cx.client, &args[0], user, password)?;
    cx.out.ok();
    Ok(())
}

/// HELLO [protover [AUTH username password] [SETNAME clientname]]
fn hello(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let proto = match args.get(1).map(parse_i64) {
        None => None,
        Some(Some(2)) => Some(Proto::Resp2),
        Some(Some(3)) => Some(Proto::Resp3),
        Some(Some(_)) => return Err(CmdError::new("NOPROTO unsupported protocol version")),
        Some(None) => {
            return Err(CmdError::new("ERR Protocol version is not an integer or out of range"));
        }
    };
    let (mut credentials, mut name) = (None, None);
    let mut at = 2;
    while let Some(option) = args.get(at) {
        if option.eq_ignore_ascii_case(b"auth") && at + 2 < args.len() {
            credentials = Some((&args[at + 1], &args[at + 2]));
            at += 3;
        } else if option.eq_ignore_ascii_case(b"setname") && at + 1 < args.len() {
            check_label("Client names", &args[at + 1])?;
            name = Some(&args[at + 1]);
            at += 2;
        } else {
            return Err(CmdError::quoting(&[b"ERR Syntax error in HELLO option '", option, b"'"]));
        }
    }
    if let Some((user, password)) = credentials {
        authenticate(cx.state, cx.client, &args[0], user, password)?;
    }
    if cx.client.needs_login() {
        return Err(CmdError::new(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> \
             AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol \
             version at the same time",
        ));
    }
    if let Some(proto) = proto {
        set_proto(cx, proto);
    }
    if let Some(name) = name {
        cx.client.shared.labels.lock().name = name.to_vec();
    }
    describe(cx);
    Ok(())
}

/// The reply to HELLO.
fn describe(cx: &mut Cx) {
    let zone = cx.state.config.text(id::AVAILABILITY_ZONE);
    let out = &mut *cx.out;
    out.map(7 + usize::from(!zone.is_empty()));
    out.bulk(b"server");
    out.bulk(b"redis");
    out.bulk(b"version");
    out.bulk(REDIS_VERSION.0.as_bytes());
    out.bulk(b"proto");
    out.int(if out.proto == Proto::Resp3 { 3 } else { 2 });
    out.bulk(b"id");
    out.int(cx.client.shared.id as i64);
    out.bulk(b"mode");
    out.bulk(super::cluster::mode(cx.state).as_bytes());
    out.bulk(b"role");
    out.bulk(b"master");
    out.bulk(b"modules");
    out.array(0);
    if !zone.is_empty() {
        out.bulk(b"availability_zone");
        out.bulk(zone.as_bytes());
    }
}

/// Makes the connection that of `user`, or says why not; `verb` is the request's name.
pub(super) fn authenticate(
    state: &State,
    client: &mut Client,
    verb: &[u8],
    user: &[u8],
    password: &[u8],
) -> Result<(), CmdError> {
    match state.acl.authenticate(user, password) {
        Some(user) => {
            client.log_in(user);
            Ok(())
        }
        None => {
            permission::note_wrong_password(state, client, verb, user);
            Err(WRONG_PASS)
        }
    }
}

/// Whether CLIENT LIST can print `label` without becoming ambiguous.
pub fn check_label(what: &str, label: &[u8]) -> Result<(), CmdError> {
    if label.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Ok(());
    }
    Err(CmdError::with(format!("ERR {what} cannot contain spaces, newlines or special characters.")))
}

fn set_proto(cx: &mut Cx, proto: Proto) {
    cx.out.proto = proto;
    cx.client.shared.resp3.store(proto == Proto::Resp3, Ordering::Relaxed);
}
