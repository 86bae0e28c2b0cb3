//! EVAL and its kin, and SCRIPT.

use super::error::{self, CmdError};
use super::script_run::{self, Script};
use super::server::container;
use super::{Command, Cx, Flags, Group, command, flag, flags, spec};
use crate::script::Style;
use crate::script::eval::Scripts;
use crate::script::shebang::script_flags;
use crate::state::State;
use crate::state::scripts::Unkillable;
use shoal_protocol::resp::{Args, OwnedArgs};

const RUN: Flags = flags([
    flag::NOSCRIPT,
    flag::STALE,
    flag::SKIP_MONITOR,
    flag::MAY_REPLICATE,
    flag::NO_MANDATORY_KEYS,
    flag::MOVABLE_KEYS,
    flag::SCRIPT,
]);
const RUN_READ_ONLY: Flags = flags([
    flag::NOSCRIPT,
    flag::STALE,
    flag::SKIP_MONITOR,
    flag::READONLY,
    flag::NO_MANDATORY_KEYS,
    flag::MOVABLE_KEYS,
    flag::SCRIPT,
]);

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("eval", -3, Group::Scripting, eval).flags(RUN).keys(spec::SCRIPT).doc(
        "2.6.0",
        "script numkeys [key [key ...]] [arg [arg ...]]",
        "Executes a server-side Lua script.",
    ),
    command("eval_ro", -3, Group::Scripting, eval_ro).flags(RUN_READ_ONLY).keys(spec::SCRIPT_READ).doc(
        "7.0.0",
        "script numkeys [key [key ...]] [arg [arg ...]]",
        "Executes a read-only server-side Lua script.",
    ),
    command("evalsha", -3, Group::Scripting, evalsha).flags(RUN).keys(spec::SCRIPT).doc(
        "2.6.0",
        "sha1 numkeys [key [key ...]] [arg [arg ...]]",
        "Executes a server-side Lua script by SHA1 digest.",
    ),
    command("evalsha_ro", -3, Group::Scripting, evalsha_ro).flags(RUN_READ_ONLY).keys(spec::SCRIPT_READ).doc(
        "7.0.0",
        "sha1 numkeys [key [key ...]] [arg [arg ...]]",
        "Executes a read-only server-side Lua script by SHA1 digest.",
    ),
    command("script", -2, Group::Scripting, container)
        .doc("2.6.0", "", "A container for Lua scripts management commands.")
        .subcommands(&[
            command("script|debug", 3, Group::Scripting, script_debug).flags(flag::NOSCRIPT).doc(
                "3.2.0",
                "YES|SYNC|NO",
                "Sets the debug mode of server-side Lua scripts.",
            ),
            command("script|exists", -3, Group::Scripting, script_exists)
                .flags(flags([flag::NOSCRIPT, flag::SCRIPT]))
                .tips(&["request_policy:all_shards", "response_policy:agg_logical_and"])
                .doc(
                    "2.6.0",
                    "sha1 [sha1 ...]",
                    "Determines whether server-side Lua scripts exist in the script cache.",
                ),
            command("script|flush", -2, Group::Scripting, script_flush)
                .flags(flags([flag::NOSCRIPT, flag::SCRIPT]))
                .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
                .doc("2.6.0", "[ASYNC | SYNC]", "Removes all server-side Lua scripts from the script cache."),
            command("script|help", 2, Group::Scripting, script_help)
                .flags(flags([flag::LOADING, flag::STALE]))
                .doc("5.0.0", "", "Returns helpful text about the different subcommands."),
            command("script|kill", 2, Group::Scripting, script_kill)
                .flags(flags([flag::NOSCRIPT, flag::ALLOW_BUSY]))
                .tips(&["request_policy:all_shards", "response_policy:one_succeeded"])
                .doc("2.6.0", "", "Terminates a server-side Lua script during execution."),
            command("script|load", 3, Group::Scripting, script_load)
                .flags(flags([flag::NOSCRIPT, flag::STALE, flag::SCRIPT]))
                .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
                .doc("2.6.0", "script", "Loads a server-side Lua script to the script cache."),
            command("script|show", 3, Group::Scripting, script_show)
                .flags(flags([flag::NOSCRIPT, flag::SCRIPT]))
                .doc("8.0.0", "sha1", "Shows the source of a server-side Lua script."),
        ]),
];

const NO_SCRIPT: CmdError = CmdError::new("NOSCRIPT No matching script. Please use EVAL.");

/// EVAL script numkeys [key [key ...]] [arg [arg ...]]
fn eval(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run_source(cx, args, false)
}

/// EVAL_RO script numkeys [key [key ...]] [arg [arg ...]]
fn eval_ro(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run_source(cx, args, true)
}

/// EVALSHA sha1 numkeys [key [key ...]] [arg [arg ...]]
fn evalsha(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run_digest(cx, args, false)
}

/// EVALSHA_RO sha1 numkeys [key [key ...]] [arg [arg ...]]
fn evalsha_ro(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run_digest(cx, args, true)
}

fn run_source(cx: &mut Cx, args: Args, read_only: bool) -> Result<(), CmdError> {
    let (keys, rest) = script_run::split(args, &error::NOT_AN_INTEGER)?;
    let state = cx.state;
    let mut scripts = state.scripts.eval();
    let scripts = scripts.get_or_insert_default();
    let known = scripts.len();
    let digest = scripts.add(&args[1], false).map_err(CmdError::with)?;
    if scripts.len() != known {
        state.scripts.note_scripts(Some(scripts));
    }
    run(cx, scripts, &digest, args, (keys, rest), read_only)
}

fn run_digest(cx: &mut Cx, args: Args, read_only: bool) -> Result<(), CmdError> {
    if args[1].len() != 40 {
        return Err(NO_SCRIPT);
    }
    let (keys, rest) = script_run::split(args, &error::NOT_AN_INTEGER)?;
    let state = cx.state;
    let scripts = state.scripts.eval();
    let scripts = scripts.as_ref().ok_or(NO_SCRIPT)?;
    run(cx, scripts, &args[1], args, (keys, rest), read_only)
}

fn run(
    cx: &mut Cx,
    scripts: &Scripts,
    digest: &[u8],
    request: Args,
    (keys, args): (Args, Args),
    read_only: bool,
) -> Result<(), CmdError> {
    let (digest, script) = scripts.find(digest).ok_or(NO_SCRIPT)?;
    let script = Script {
        vm: scripts.vm(),
        function: script.function(),
        name: std::str::from_utf8(&digest).expect("digits are text"),
        flags: script.flags,
        style: Style::Script,
        read_only,
    };
    script_run::run(cx, &script, request, keys, args)
}

/// Whether a request is to run a script by a digest that is not known here. The claim is held.
pub(super) fn is_unknown(state: &State, command: &Command, args: Args) -> bool {
    matches!(command.name, "evalsha" | "evalsha_ro")
        && args[1].len() == 40
        && state.scripts.eval().as_ref().is_none_or(|scripts| scripts.find(&args[1]).is_none())
}

/// The digest by which a request is to run a script, if it is such a one.
pub fn digest(request: Args<'_>) -> Option<&[u8]> {
    let name = request.get(0)?;
    let by_digest = [&b"evalsha"[..], b"evalsha_ro"].iter().any(|other| name.eq_ignore_ascii_case(other));
    request.get(1).filter(|_| by_digest && request.len() > 2)
}

/// The same request with the script itself in place of its digest.
pub fn with_source(request: Args, source: &[u8]) -> OwnedArgs {
    let read_only = request[0].len() > "evalsha".len();
    let mut own = OwnedArgs::new();
    own.push(if read_only { b"EVAL_RO" } else { b"EVAL" });
    own.push(source);
    request.from(2).iter().for_each(|arg| own.push(arg));
    own
}

/// The script with a digest, if it is known here. Another script may run at this moment: then it is to be asked again.
pub fn source(state: &State, digest: &[u8]) -> Result<Option<Vec<u8>>, Busy> {
    let _claim = state.scripts.try_claim().ok_or(Busy)?;
    let scripts = state.scripts.eval();
    Ok(scripts.as_ref().and_then(|scripts| Some(scripts.find(digest)?.1.source().to_vec())))
}

/// A script runs at this moment.
#[derive(Debug)]
pub struct Busy;

/// Whether what a request runs is a script that says of itself that it writes nothing.
pub(super) fn promises_no_writes(state: &State, command: &Command, args: Args) -> bool {
    let flags = match command.name {
        "eval" | "eval_ro" => script_flags(&args[1]).ok().map(|(flags, _)| flags),
        "evalsha" | "evalsha_ro" => {
            let scripts = state.scripts.eval();
            scripts.as_ref().and_then(|scripts| scripts.find(&args[1])).map(|(_, script)| script.flags)
        }
        "fcall" | "fcall_ro" => {
            let libraries = state.scripts.functions();
            let name = std::str::from_utf8(&args[1]).unwrap_or_default();
            libraries.as_ref().and_then(|libraries| libraries.find(name)).map(|function| function.flags)
        }
        _ => None,
    };
    flags.is_some_and(|flags| flags.no_writes)
}

/// SCRIPT LOAD script
fn script_load(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let mut scripts = cx.state.scripts.eval();
    let scripts = scripts.get_or_insert_default();
    let digest = scripts.add(&args[2], true).map_err(CmdError::with)?;
    cx.state.scripts.note_scripts(Some(scripts));
    cx.out.bulk(&digest);
    Ok(())
}

/// SCRIPT EXISTS sha1 [sha1 ...]
fn script_exists(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let scripts = cx.state.scripts.eval();
    cx.out.array(args.len() - 2);
    for digest in args.from(2) {
        let known = scripts.as_ref().is_some_and(|scripts| scripts.find(digest).is_some());
        cx.out.int(known.into());
    }
    Ok(())
}

/// SCRIPT SHOW sha1
fn script_show(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let scripts = cx.state.scripts.eval();
    let (_, script) = scripts.as_ref().and_then(|scripts| scripts.find(&args[2])).ok_or(NO_SCRIPT)?;
    cx.out.bulk(script.source());
    Ok(())
}

/// SCRIPT FLUSH [ASYNC|SYNC]
fn script_flush(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let known = |word: &[u8]| word.eq_ignore_ascii_case(b"sync") || word.eq_ignore_ascii_case(b"async");
    if args.len() > 3 || args.get(2).is_some_and(|word| !known(word)) {
        return Err(CmdError::new("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    let mut scripts = cx.state.scripts.eval();
    let evicted = scripts.as_ref().map_or(0, |scripts| scripts.evicted);
    let mut fresh = Scripts::default();
    fresh.evicted = evicted;
    *scripts = Some(fresh);
    cx.state.scripts.note_scripts(scripts.as_ref());
    cx.out.ok();
    Ok(())
}

/// SCRIPT KILL
fn script_kill(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    kill(cx, false)
}

/// SCRIPT KILL and FUNCTION KILL.
pub(super) fn kill(cx: &mut Cx, function: bool) -> Result<(), CmdError> {
    match cx.state.scripts.kill(function) {
        Ok(()) => cx.out.ok(),
        Err(Unkillable::NotBusy) => {
            return Err(CmdError::new("NOTBUSY No scripts in execution right now."));
        }
        Err(Unkillable::Wrote) => {
            return Err(CmdError::new(
                "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the \
                 script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
            ));
        }
        Err(Unkillable::Other) => return Err(script_run::busy(cx.state)),
    }
    Ok(())
}

/// SCRIPT DEBUG YES|SYNC|NO
fn script_debug(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    match args[2].to_ascii_lowercase().as_slice() {
        b"no" => cx.out.ok(),
        b"yes" | b"sync" => return Err(CmdError::new("ERR There is no debugger of scripts")),
        _ => return Err(CmdError::new("ERR Use SCRIPT DEBUG YES/SYNC/NO")),
    }
    Ok(())
}

/// SCRIPT HELP
fn script_help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    super::reply_help(
        cx.out,
        "SCRIPT",
        &[
            "DEBUG (YES|SYNC|NO)",
            "    Set the debug mode for subsequent scripts executed.",
            "EXISTS <sha1> [<sha1> ...]",
            "    Return information about the existence of the scripts in the script cache.",
            "FLUSH [ASYNC|SYNC]",
            "    Flush the Lua scripts cache. Very dangerous on replicas.",
            "    When called without the optional mode argument, the behavior is determined by the",
            "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
            "    * ASYNC: Asynchronously flush the scripts cache.",
            "    * SYNC: Synchronously flush the scripts cache.",
            "KILL",
            "    Kill the currently executing Lua script.",
            "LOAD <script>",
            "    Load a script into the scripts cache without executing it.",
        ],
    );
    Ok(())
}
