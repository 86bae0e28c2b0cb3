//! CONFIG: the directives read and changed while serving.

use super::error::{self, CmdError};
use super::settings;
use super::{Command, Cx, Flags, Group, command, flag, flags};
use crate::config::{Caller, SetError, acl_file, id};
use crate::error::Error;
use crate::state::limits;
use shoal_protocol::resp::Args;

const ADMIN: Flags = flags([flag::ADMIN, flag::NOSCRIPT, flag::LOADING, flag::STALE]);

const fn sub(name: &'static str, arity: i32, run: super::Run) -> Command {
    command(name, arity, Group::Server, run).flags(ADMIN)
}

/// The family's rows.
pub const COMMANDS: &[Command] = &[command("config", -2, Group::Server, super::server::container)
    .doc("2.0.0", "", "A container for server configuration commands.")
    .subcommands(&[
        sub("config|get", -3, get).doc(
            "2.0.0",
            "parameter [parameter ...]",
            "Returns the effective values of configuration parameters.",
        ),
        sub("config|help", 2, help).flags(flags([flag::LOADING, flag::STALE])).doc(
            "5.0.0",
            "",
            "Returns helpful text about the different subcommands.",
        ),
        sub("config|resetstat", 2, resetstat)
            .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
            .doc("2.0.0", "", "Resets the server's statistics."),
        sub("config|rewrite", 2, rewrite)
            .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
            .doc("2.8.0", "", "Persists the effective configuration to file."),
        sub("config|set", -4, set).tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]).doc(
            "2.0.0",
            "parameter value [parameter value ...]",
            "Sets configuration parameters in-flight.",
        ),
    ])];

/// CONFIG GET parameter [parameter ...]
fn get(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let patterns: Vec<&[u8]> = args.from(2).iter().collect();
    let mut found = cx.state.config.get(&patterns);
    found.sort_unstable();
    cx.out.map(found.len());
    for (name, value) in found {
        cx.out.bulk(name.as_bytes());
        cx.out.bulk(value.as_bytes());
    }
    Ok(())
}

/// CONFIG SET parameter value [parameter value ...]
fn set(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if !args.len().is_multiple_of(2) {
        return Err(error::SYNTAX);
    }
    let pairs: Vec<(&[u8], &[u8])> =
        (2..args.len()).step_by(2).map(|at| (&args[at], &args[at + 1])).collect();
    let caller = Caller { local: cx.client.is_local(), loading: false };
    match cx.state.config.change(&pairs, caller) {
        Ok(change) => {
            if let Err((directive, reason)) = cx.state.reconfigure(&change) {
                cx.state.config.roll_back(change);
                let argument = directive.name().to_string();
                let refused = SetError::Refused { argument, reason: reason.into() };
                return Err(CmdError::with(format!("ERR {refused}")));
            }
            if change.touches(id::REQUIREPASS) {
                cx.state.acl.set_default_password(&cx.state.config.text(id::REQUIREPASS));
                let user = super::acl::setting_of(cx.state.acl.default_user());
                settings::agree(cx, vec![user]);
            }
            settings::agree_on_directives(cx, &change);
            if change.touches(id::MAXMEMORY) || change.touches(id::MAXMEMORY_CLIENTS) {
                limits::evict_clients(cx.state, cx.stats);
            }
        }
        Err(SetError::Loading) => {
            return Err(CmdError::new("LOADING The server is loading the dataset in memory"));
        }
        Err(refused) => return Err(CmdError::with(format!("ERR {refused}"))),
    }
    cx.out.ok();
    Ok(())
}

/// CONFIG RESETSTAT
fn resetstat(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.state.stats.reset();
    cx.state.errors.reset();
    cx.state.rates.reset();
    cx.state.lazyfree.reset_freed();
    cx.state.acl.log.reset_counts();
    cx.out.ok();
    Ok(())
}

/// CONFIG REWRITE
fn rewrite(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let users = match acl_file::path(&cx.state.config) {
        // Users are kept in a file of their own.
        Some(_) => Vec::new(),
        None => super::acl::user_lines(cx.state),
    };
    match cx.state.config.rewrite(Some(&users)) {
        Ok(()) => {
            cx.out.ok();
            Ok(())
        }
        Err(error @ Error::NoConfigFile) => Err(CmdError::with(format!("ERR {error}"))),
        Err(error) => {
            Err(CmdError::with(format!("ERR Rewriting config file: {}", crate::error::chain(&error))))
        }
    }
}

/// CONFIG HELP
fn help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    super::server::write_help(
        cx.out,
        "CONFIG",
        &[
            "GET <pattern>",
            "    Return parameters matching the glob-like <pattern> and their values.",
            "SET <directive> <value>",
            "    Set the configuration <directive> to <value>.",
            "RESETSTAT",
            "    Reset statistics reported by the INFO command.",
            "REWRITE",
            "    Rewrite the configuration file.",
        ],
    );
    Ok(())
}
