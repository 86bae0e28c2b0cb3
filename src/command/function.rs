//! FUNCTION, and FCALL which calls what it loads.

use super::clock::Clock;
use super::error::CmdError;
use super::script_run::{self, Script, log};
use super::server::container;
use super::settings;
use super::{Command, Cx, Flags, Group, command, flag, flags, spec};
use crate::cluster::metadata::{Setting, Settings};
use crate::script::library::Libraries;
use crate::script::shebang::library_name;
use crate::script::{Host, Style, Verdict};
use crate::state::State;
use crate::store::rdb;
use crate::text::glob::glob_match;
use shoal_protocol::resp::{Args, Output, Proto};
use std::collections::BTreeMap;

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
const CHANGE: Flags = flags([flag::NOSCRIPT, flag::WRITE, flag::SCRIPT]);
const ADD: Flags = flags([flag::NOSCRIPT, flag::WRITE, flag::DENYOOM, flag::SCRIPT]);
const TO_ALL: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("fcall", -3, Group::Scripting, fcall).flags(RUN).keys(spec::SCRIPT).doc(
        "7.0.0",
        "function numkeys [key [key ...]] [arg [arg ...]]",
        "Invokes a function.",
    ),
    command("fcall_ro", -3, Group::Scripting, fcall_ro).flags(RUN_READ_ONLY).keys(spec::SCRIPT_READ).doc(
        "7.0.0",
        "function numkeys [key [key ...]] [arg [arg ...]]",
        "Invokes a read-only function.",
    ),
    command("function", -2, Group::Scripting, container)
        .doc("7.0.0", "", "A container for function commands.")
        .subcommands(&[
            command("function|delete", 3, Group::Scripting, function_delete).flags(CHANGE).tips(TO_ALL).doc(
                "7.0.0",
                "library-name",
                "Deletes a library and its functions.",
            ),
            command("function|dump", 2, Group::Scripting, function_dump)
                .flags(flags([flag::NOSCRIPT, flag::SCRIPT]))
                .doc("7.0.0", "", "Dumps all libraries into a serialized binary payload."),
            command("function|flush", -2, Group::Scripting, function_flush).flags(CHANGE).tips(TO_ALL).doc(
                "7.0.0",
                "[ASYNC | SYNC]",
                "Deletes all libraries and functions.",
            ),
            command("function|help", 2, Group::Scripting, function_help)
                .flags(flags([flag::LOADING, flag::STALE]))
                .doc("7.0.0", "", "Returns helpful text about the different subcommands."),
            command("function|kill", 2, Group::Scripting, function_kill)
                .flags(flags([flag::NOSCRIPT, flag::ALLOW_BUSY]))
                .tips(&["request_policy:all_shards", "response_policy:one_succeeded"])
                .doc("7.0.0", "", "Terminates a function during execution."),
            command("function|list", -2, Group::Scripting, function_list)
                .flags(flags([flag::NOSCRIPT, flag::SCRIPT]))
                .tips(&["nondeterministic_output_order"])
                .doc(
                    "7.0.0",
                    "[LIBRARYNAME library-name-pattern] [WITHCODE]",
                    "Returns information about all libraries.",
                ),
            command("function|load", -3, Group::Scripting, function_load).flags(ADD).tips(TO_ALL).doc(
                "7.0.0",
                "[REPLACE] function-code",
                "Creates a library.",
            ),
            command("function|restore", -3, Group::Scripting, function_restore).flags(ADD).tips(TO_ALL).doc(
                "7.0.0",
                "serialized-value [FLUSH | APPEND | REPLACE]",
                "Restores all libraries from a payload.",
            ),
            command("function|stats", 2, Group::Scripting, function_stats)
                .flags(flags([flag::NOSCRIPT, flag::ALLOW_BUSY]))
                .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
                .doc("7.0.0", "", "Returns information about a function during execution."),
        ]),
];

const NOT_FOUND: CmdError = CmdError::new("ERR Function not found");
const BAD_NUMBER: CmdError = CmdError::new("ERR Bad number of keys provided");
/// How long a library may take to load, in ms.
const LOAD_TIMEOUT_MS: i64 = 500;

/// FCALL function numkeys [key [key ...]] [arg [arg ...]]
fn fcall(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run(cx, args, false)
}

/// FCALL_RO function numkeys [key [key ...]] [arg [arg ...]]
fn fcall_ro(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run(cx, args, true)
}

fn run(cx: &mut Cx, args: Args, read_only: bool) -> Result<(), CmdError> {
    let state = cx.state;
    let libraries = state.scripts.functions();
    let libraries = libraries.as_ref().ok_or(NOT_FOUND)?;
    let name = std::str::from_utf8(&args[1]).map_err(|_| NOT_FOUND)?;
    let function = libraries.find(name).ok_or(NOT_FOUND)?;
    let (keys, rest) = script_run::split(args, &BAD_NUMBER)?;
    let script = Script {
        vm: libraries.vm(),
        function: function.function(),
        name,
        flags: function.flags,
        style: Style::Function,
        read_only,
    };
    script_run::run(cx, &script, args, keys, rest)
}

/// What a library being loaded sees of the node: only the time.
struct Load<'x> {
    clock: &'x mut Clock,
    deadline_ms: i64,
}

impl Host for Load<'_> {
    fn is_script(&self) -> bool {
        false
    }

    fn call(&mut self, _: Args<'_>, _: &mut Output) -> Result<(), String> {
        Err("ERR no command can be run while a library is loaded".to_string())
    }

    fn may_run(&mut self, _: Args<'_>) -> Option<bool> {
        None
    }

    fn proto(&self) -> Proto {
        Proto::Resp2
    }

    fn set_proto(&mut self, _: Proto) {}

    fn log(&mut self, level: i64, text: &str) {
        log(level, text);
    }

    fn count_error(&mut self, _: &str) {}

    fn interrupt(&mut self) -> Verdict {
        self.clock.look();
        if self.clock.unix_ms < self.deadline_ms {
            return Verdict::Continue;
        }
        Verdict::Kill("FUNCTION LOAD timeout")
    }

    fn is_due(&self) -> bool {
        false
    }
}

/// Loads one library.
fn load(
    clock: &mut Clock,
    libraries: &mut Libraries,
    source: &[u8],
    replace: bool,
) -> Result<String, CmdError> {
    let deadline_ms = clock.unix_ms + LOAD_TIMEOUT_MS;
    libraries.load(&mut Load { clock, deadline_ms }, source, replace).map_err(CmdError::with)
}

/// The libraries of this node, as all nodes of its cluster are to know them; nothing if a script runs at this moment.
pub fn libraries(state: &State) -> Option<Settings> {
    let _claim = state.scripts.try_claim()?;
    let settings = codes(&state.scripts.functions());
    Some(settings.into_iter().map(|(name, code)| (Setting::Library(name), Some(code))).collect())
}

fn codes(libraries: &Option<Libraries>) -> BTreeMap<String, Vec<u8>> {
    let all = libraries.iter().flat_map(|libraries| libraries.all());
    all.map(|(name, library)| (name.to_string(), library.code.to_vec())).collect()
}

/// Makes the libraries that the cluster says there are those of this node; false if a script runs at this moment.
pub fn adopt(state: &State, clock: &mut Clock, wanted: BTreeMap<&str, &[u8]>) -> bool {
    let Some(_claim) = state.scripts.try_claim() else { return false };
    let mut libraries = state.scripts.functions();
    let present = codes(&libraries);
    if present
        .iter()
        .map(|(name, code)| (&**name, &**code))
        .eq(wanted.iter().map(|(name, code)| (*name, *code)))
    {
        return true;
    }
    // All anew: a function may have moved from one to another.
    let mut fresh = Libraries::default();
    for (name, code) in wanted {
        clock.look();
        if let Err(error) = load(clock, &mut fresh, code, true) {
            let why = String::from_utf8_lossy(error.text()).into_owned();
            tracing::warn!("the cluster's library {name} cannot be loaded: {why}");
        }
    }
    *libraries = Some(fresh);
    state.scripts.note_functions(libraries.as_ref());
    true
}

/// The libraries as other nodes have them, if there are any.
fn agreed(cx: &Cx, libraries: &Option<Libraries>) -> BTreeMap<String, Vec<u8>> {
    if cx.state.cluster.is_on() { codes(libraries) } else { BTreeMap::new() }
}

/// Has all nodes have the libraries that this one has, where they are not what they were `before`.
fn agree(cx: &mut Cx, before: BTreeMap<String, Vec<u8>>) {
    if !cx.state.cluster.is_on() {
        return;
    }
    let after = codes(&cx.state.scripts.functions());
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let mut changes: Settings = gone.map(|name| (Setting::Library(name.clone()), None)).collect();
    let new = after.into_iter().filter(|(name, code)| before.get(name) != Some(code));
    changes.extend(new.map(|(name, code)| (Setting::Library(name), Some(code))));
    settings::agree(cx, changes);
}

/// FUNCTION LOAD [REPLACE] function-code
fn function_load(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let mut replace = false;
    for option in args.from(2).first(args.len() - 3) {
        if !option.eq_ignore_ascii_case(b"replace") {
            let option = String::from_utf8_lossy(option);
            return Err(CmdError::with(format!("ERR Unknown option given: {option}")));
        }
        replace = true;
    }
    let state = cx.state;
    let mut libraries = state.scripts.functions();
    let before = agreed(cx, &libraries);
    let all = libraries.get_or_insert_default();
    let name = load(cx.clock, all, &args[args.len() - 1], replace)?;
    state.scripts.note_functions(Some(all));
    drop(libraries);
    agree(cx, before);
    cx.out.bulk(name.as_bytes());
    Ok(())
}

/// FUNCTION DELETE library-name
fn function_delete(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let state = cx.state;
    let mut libraries = state.scripts.functions();
    let before = agreed(cx, &libraries);
    let name = std::str::from_utf8(&args[2]).unwrap_or_default();
    if !libraries.as_mut().is_some_and(|libraries| libraries.remove(name)) {
        return Err(CmdError::new("ERR Library not found"));
    }
    state.scripts.note_functions(libraries.as_ref());
    drop(libraries);
    agree(cx, before);
    cx.out.ok();
    Ok(())
}

/// FUNCTION FLUSH [ASYNC|SYNC]
fn function_flush(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let known = |word: &[u8]| word.eq_ignore_ascii_case(b"sync") || word.eq_ignore_ascii_case(b"async");
    if args.len() > 3 {
        return Err(super::error::bad_subcommand("FUNCTION", &args[1]));
    }
    if args.get(2).is_some_and(|word| !known(word)) {
        return Err(CmdError::new("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    let before = cx.state.scripts.functions().take();
    cx.state.scripts.note_functions(None);
    agree(cx, codes(&before));
    cx.out.ok();
    Ok(())
}

/// FUNCTION LIST [LIBRARYNAME library-name-pattern] [WITHCODE]
fn function_list(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (mut pattern, mut with_code) = (None, false);
    let mut options = args.from(2).iter();
    while let Some(option) = options.next() {
        if !with_code && option.eq_ignore_ascii_case(b"withcode") {
            with_code = true;
        } else if pattern.is_none() && option.eq_ignore_ascii_case(b"libraryname") {
            pattern = Some(options.next().ok_or(CmdError::new("ERR library name argument was not given"))?);
        } else {
            let option = String::from_utf8_lossy(option);
            return Err(CmdError::with(format!("ERR Unknown argument {option}")));
        }
    }
    let libraries = cx.state.scripts.functions();
    let all = libraries.iter().flat_map(|libraries| libraries.all());
    let wanted: Vec<_> = all
        .filter(|(name, _)| pattern.is_none_or(|pattern| glob_match(pattern, name.as_bytes(), true)))
        .collect();
    cx.out.array(wanted.len());
    for (name, library) in wanted {
        cx.out.map(if with_code { 4 } else { 3 });
        cx.out.bulk(b"library_name");
        cx.out.bulk(name.as_bytes());
        cx.out.bulk(b"engine");
        cx.out.bulk(b"LUA");
        cx.out.bulk(b"functions");
        cx.out.array(library.functions.len());
        for function in library.functions.values() {
            cx.out.map(3);
            cx.out.bulk(b"name");
            cx.out.bulk(function.name.as_bytes());
            cx.out.bulk(b"description");
            match &function.description {
                Some(text) => cx.out.bulk(text),
                None => cx.out.null(),
            }
            cx.out.bulk(b"flags");
            cx.out.set(function.flags.names().count());
            function.flags.names().for_each(|name| cx.out.simple(name));
        }
        if with_code {
            cx.out.bulk(b"library_code");
            cx.out.bulk(&library.code);
        }
    }
    Ok(())
}

/// FUNCTION DUMP
fn function_dump(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let libraries = cx.state.scripts.functions();
    let all = libraries.iter().flat_map(|libraries| libraries.all().values());
    cx.out.bulk(&rdb::dump_libraries(all.map(|library| &*library.code)));
    Ok(())
}

/// FUNCTION RESTORE serialized-value [FLUSH | APPEND | REPLACE]
fn function_restore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if args.len() > 4 {
        return Err(super::error::bad_subcommand("FUNCTION", &args[1]));
    }
    let policy = args.get(3).unwrap_or(b"append").to_ascii_lowercase();
    if !matches!(policy.as_slice(), b"append" | b"replace" | b"flush") {
        return Err(CmdError::new(
            "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
        ));
    }
    let sources = rdb::restore_libraries(&args[2]).map_err(|error| match error {
        rdb::RestoreError::Footer => CmdError::new("ERR DUMP payload version or checksum are wrong"),
        rdb::RestoreError::Format => CmdError::new("ERR failed loading the given functions payload"),
    })?;
    let state = cx.state;
    let mut libraries = state.scripts.functions();
    let before = agreed(cx, &libraries);
    // All or nothing: what comes in is loaded beside what is there, which is put back on a failure.
    let mut restored = Libraries::default();
    if policy != b"flush" {
        let present: Vec<Box<[u8]>> =
            libraries.iter().flat_map(|all| all.all().values().map(|library| library.code.clone())).collect();
        for source in present {
            load(cx.clock, &mut restored, &source, false)?;
        }
    }
    for source in sources {
        let name = library_name(&source).ok().filter(|(name, _)| restored.all().contains_key(name));
        if let (Some((name, _)), false) = (name, policy == b"replace") {
            return Err(CmdError::with(format!("ERR Library {name} already exists")));
        }
        load(cx.clock, &mut restored, &source, policy == b"replace")?;
    }
    *libraries = Some(restored);
    state.scripts.note_functions(libraries.as_ref());
    drop(libraries);
    agree(cx, before);
    cx.out.ok();
    Ok(())
}

/// FUNCTION STATS
fn function_stats(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let scripts = &cx.state.scripts;
    let out = &mut *cx.out;
    out.map(2);
    out.bulk(b"running_script");
    scripts.slow(|slow| match slow {
        Some((slow, duration_ms)) => {
            out.map(3);
            out.bulk(b"name");
            out.bulk(slow.name.as_bytes());
            out.bulk(b"command");
            let request = slow.request.as_args();
            out.array(request.len());
            request.iter().for_each(|arg| out.bulk(arg));
            out.bulk(b"duration_ms");
            out.int(duration_ms);
        }
        None => out.null(),
    });
    let count =
        |count: &std::sync::atomic::AtomicUsize| count.load(std::sync::atomic::Ordering::Relaxed) as i64;
    out.bulk(b"engines");
    out.map(1);
    out.bulk(b"LUA");
    out.map(2);
    out.bulk(b"libraries_count");
    out.int(count(&scripts.figures.libraries));
    out.bulk(b"functions_count");
    out.int(count(&scripts.figures.functions));
    Ok(())
}

/// FUNCTION KILL
fn function_kill(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    super::script::kill(cx, true)
}

/// FUNCTION HELP
fn function_help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    super::reply_help(
        cx.out,
        "FUNCTION",
        &[
            "LOAD [REPLACE] <FUNCTION CODE>",
            "    Create a new library with the given library name and code.",
            "DELETE <LIBRARY NAME>",
            "    Delete the given library.",
            "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
            "    Return general information on all the libraries:",
            "    * Library name",
            "    * The engine used to run the Library",
            "    * Library description",
            "    * Functions list",
            "    * Library code (if WITHCODE is given)",
            "    It also possible to get only function that matches a pattern using LIBRARYNAME argument.",
            "STATS",
            "    Return information about the current function running:",
            "    * Function name",
            "    * Command used to run the function",
            "    * Duration in MS that the function is running",
            "    If no function is running, return nil",
            "    In addition, returns a list of available engines.",
            "KILL",
            "    Kill the current running function.",
            "FLUSH [ASYNC|SYNC]",
            "    Delete all the libraries.",
            "    When called without the optional mode argument, the behavior is determined by the",
            "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
            "    * ASYNC: Asynchronously flush the libraries.",
            "    * SYNC: Synchronously flush the libraries.",
            "DUMP",
            "    Return a serialized payload representing the current libraries, can be restored using FUNCTION RESTORE command",
            "RESTORE <PAYLOAD> [FLUSH | APPEND | REPLACE]",
            "    Restore the libraries represented by the given payload, it is possible to give a restore policy to",
            "    control how to handle existing libraries (default APPEND):",
            "    * FLUSH: delete all existing libraries.",
            "    * APPEND: appends the restored libraries to the existing libraries. On collision, abort.",
            "    * REPLACE: appends the restored libraries to the existing libraries, On collision, replace the old",
            "      libraries with the new libraries (notice that even on this option there is a chance of failure",
            "      in case of functions name collision with another library).",
        ],
    );
    Ok(())
}
