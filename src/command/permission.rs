//! May this connection run this request? Asked before a request is queued or run, and once more when a queue is run.
//!
//! The idea: whoever may do everything passes by one flag ([`Client::is_free`]); only for others is it looked up what the request
//! touches, from its row's key specifications and, for channels, its name. What is refused is noted in ACL LOG.

use super::call::Site;
use super::client::Client;
use super::error::{self, CmdError};
use super::spec;
use super::table::Row;
use super::{client_filter, flag};
use crate::config::id;
use crate::state::State;
use crate::state::acl::User;
use crate::state::acl::log::{Reason, Refusal};
use crate::state::acl::selector::{Access, Denied, Request};
use shoal_protocol::resp::Args;
use smallvec::SmallVec;
use std::sync::atomic::Ordering;

/// Whether the request of a connection that is not free may be queued or run.
#[cold]
pub fn admit(site: &Site, row: &Row, args: Args) -> Result<(), CmdError> {
    let (client, flags) = (&*site.client, row.command.flags);
    if client.needs_login() && !flags.has(flag::NO_AUTH) {
        return Err(error::NO_AUTH);
    }
    client.shared.command.store(row.id, Ordering::Relaxed);
    if client.multi.is_some() && flags.has(flag::NO_MULTI) {
        return Err(error::not_in_multi(row.command.name));
    }
    let admitted = allow(site.state, client, context(client), row, args);
    admitted.map_err(|denied| no_permission(client, row, args, denied))
}

/// Whether a request that has waited may still be run.
pub fn admit_waiting(state: &State, client: &Client, row: &Row, args: Args) -> Result<(), CmdError> {
    let admitted = allow(state, client, "toplevel", row, args);
    admitted.map_err(|denied| no_permission(client, row, args, denied))
}

fn no_permission(client: &Client, row: &Row, args: Args, denied: Denied) -> CmdError {
    CmdError::with(format!("NOPERM {}", message(&client.user, row, args, denied, false)))
}

/// Whether a command that was queued may still be run.
pub fn admit_queued(site: &Site, row: &Row, args: Args) -> Result<(), CmdError> {
    if site.client.is_free() {
        return Ok(());
    }
    allow(site.state, site.client, "multi", row, args).map_err(|denied| {
        let reason = match denied {
            Denied::Database(_) => "no permission",
            Denied::Command => "no permission to execute the command or subcommand",
            Denied::Key(_) => "no permission to touch the specified keys",
            Denied::Channel(_) => {
                "no permission to access one of the channels used as argument to the command"
            }
        };
        CmdError::with(format!(
            "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no \
             longer allowed for the following reason: {reason}"
        ))
    })
}

/// Whether a script may run a command for its caller.
pub fn admit_scripted(state: &State, client: &Client, row: &Row, args: Args) -> Result<(), String> {
    if client.is_free() {
        return Ok(());
    }
    let text =
        |denied| format!("ERR ACL failure in script: {}", message(&client.user, row, args, denied, false));
    allow(state, client, "lua", row, args).map_err(text)
}

/// Whether `user` may run a request in the database `db`, and if not, what it lacks.
pub fn check(state: &State, user: &User, db: usize, row: &Row, args: Args) -> Result<(), Denied> {
    if user.is_free() {
        return Ok(());
    }
    if user.is_gone() {
        return Err(Denied::Command);
    }
    let rules = user.rules();
    with_request(state, db, row, args, |request| rules.check(state.acl.terms(false), request))
}

/// Whether `user` may run a request and let it read any keys whatever.
pub fn may_read_all(state: &State, user: &User, db: usize, row: &Row, args: Args) -> bool {
    user.is_free()
        || !user.is_gone() && {
            let rules = user.rules();
            with_request(state, db, row, args, |request| rules.may_read_all(state.acl.terms(false), request))
        }
}

/// What a refused request hears; `verbose` names the database, key or channel.
pub fn message(user: &User, row: &Row, args: Args, denied: Denied, verbose: bool) -> String {
    let (text, user) = (String::from_utf8_lossy, String::from_utf8_lossy(&user.name));
    match denied {
        Denied::Command => {
            format!("User {user} has no permissions to run the '{}' command", row.command.name)
        }
        // Of one that is not among the arguments this names the command, as Valkey does.
        Denied::Database(at) if verbose => {
            format!("User {user} has no permissions to access database {}", text(&args[at]))
        }
        Denied::Key(at) if verbose => {
            format!("User {user} has no permissions to access the '{}' key", text(&args[at]))
        }
        Denied::Channel(at) if verbose => {
            format!("User {user} has no permissions to access the '{}' channel", text(&args[at]))
        }
        Denied::Database(_) => "No permissions to access database".to_string(),
        Denied::Key(_) => "No permissions to access a key".to_string(),
        Denied::Channel(_) => "No permissions to access a channel".to_string(),
    }
}

/// Notes that somebody could not log in as `user`, by a request named `verb`.
pub fn note_wrong_password(state: &State, client: &Client, verb: &[u8], user: &[u8]) {
    let refusal =
        Refusal { reason: Reason::Auth, context: context(client), object: verb.into(), user: user.into() };
    note(state, client, refusal);
}

fn context(client: &Client) -> &'static str {
    if client.multi.is_some() { "multi" } else { "toplevel" }
}

/// Whether the connection's user may run a request; what is refused is noted.
fn allow(state: &State, client: &Client, context: &'static str, row: &Row, args: Args) -> Result<(), Denied> {
    let checked = check(state, &client.user, client.present_db(), row, args);
    if let Err(denied) = checked {
        let (reason, object) = match denied {
            Denied::Command => (Reason::Command, row.command.name.as_bytes()),
            Denied::Database(0) => (Reason::Database, row.command.name.as_bytes()),
            Denied::Database(at) => (Reason::Database, &args[at]),
            Denied::Key(at) => (Reason::Key, &args[at]),
            Denied::Channel(at) => (Reason::Channel, &args[at]),
        };
        let user = client.user.name.to_vec();
        note(state, client, Refusal { reason, context, object: object.into(), user });
    }
    checked
}

fn note(state: &State, client: &Client, refusal: Refusal) {
    let now_ms = crate::state::unix_ms();
    let mut client = client_filter::describe(state, &client.shared, now_ms);
    client.truncate(client.trim_end().len());
    state.acl.log.add(refusal, client, now_ms, state.config.size(id::ACLLOG_MAX_LEN));
}

/// Hands the request, as selectors see it, to `look`.
fn with_request<R>(state: &State, db: usize, row: &Row, args: Args, look: impl FnOnce(&Request) -> R) -> R {
    let mut keys: SmallVec<[(usize, &[u8], Access); 4]> = SmallVec::new();
    // What does not fit the specifications the command refuses by itself.
    let _ = spec::visit(row.command, args, &mut |at, usage| {
        let access = Access {
            read: usage.contains("ACCESS"),
            write: ["INSERT", "UPDATE", "DELETE"].iter().any(|word| usage.contains(word)),
        };
        keys.push((at, args.get(at).unwrap_or_default(), access));
    });
    let (last, is_pattern) = match row.command.name {
        "subscribe" | "ssubscribe" => (usize::MAX, false),
        "psubscribe" => (usize::MAX, true),
        "publish" | "spublish" => (1, false),
        _ => (0, false),
    };
    let channels: SmallVec<[(usize, &[u8], bool); 4]> =
        (1..args.len()).take(last).map(|at| (at, &args[at], is_pattern)).collect();
    let mut databases = row.command.named_databases(args, state.keyspace.databases());
    if row.command.is_about_present_database() {
        databases.push((0, db));
    }
    look(&Request {
        command: row.id,
        first_arg: args.get(1),
        keys: &keys,
        channels: &channels,
        databases: &databases,
    })
}
