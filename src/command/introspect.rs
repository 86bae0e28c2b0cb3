//! COMMAND: the command table as clients read it.

use super::error::{self, CmdError};
use super::spec::{self, Begin, Find, KeySpec};
use super::syntax::{self, Argument, Shape};
use super::table::{self, Row};
use super::{Categories, Command, Cx, Flags, Group, category, command, flag, flags};
use crate::text::glob::glob_match;
use shoal_protocol::resp::{Args, Output};

const FLAGS: Flags = flags([flag::LOADING, flag::STALE]);

/// The family's rows.
pub const COMMANDS: &[Command] = &[command("command", -1, Group::Server, command_)
    .flags(FLAGS)
    .categories(category::CONNECTION)
    .tips(ORDERLESS)
    .doc("2.8.13", "", "Returns detailed information about all commands.")
    .subcommands(&[
        sub("command|count", 2, count).doc("2.8.13", "", "Returns a count of commands."),
        sub("command|docs", -2, docs).tips(ORDERLESS).doc(
            "7.0.0",
            "[command-name [command-name ...]]",
            "Returns documentary information about one, multiple or all commands.",
        ),
        sub("command|getkeys", -3, getkeys).doc(
            "2.8.13",
            "command [arg [arg ...]]",
            "Extracts the key names from an arbitrary command.",
        ),
        sub("command|getkeysandflags", -3, getkeysandflags).doc(
            "7.0.0",
            "command [arg [arg ...]]",
            "Extracts the key names and access flags for an arbitrary command.",
        ),
        sub("command|help", 2, help).doc(
            "5.0.0",
            "",
            "Returns helpful text about the different subcommands.",
        ),
        sub("command|info", -2, info).tips(ORDERLESS).doc(
            "2.8.13",
            "[command-name [command-name ...]]",
            "Returns information about one, multiple or all commands.",
        ),
        sub("command|list", -2, list).tips(ORDERLESS).doc(
            "7.0.0",
            "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
            "Returns a list of command names.",
        ),
    ])];

const ORDERLESS: &[&str] = &["nondeterministic_output_order"];

const fn sub(name: &'static str, arity: i32, run: super::Run) -> Command {
    command(name, arity, Group::Server, run).flags(FLAGS).categories(category::CONNECTION)
}

/// Flags as COMMAND INFO names them, in its order.
const FLAG_NAMES: &[(Flags, &str)] = &[
    (flag::WRITE, "write"),
    (flag::READONLY, "readonly"),
    (flag::DENYOOM, "denyoom"),
    (flag::ADMIN, "admin"),
    (flag::PUBSUB, "pubsub"),
    (flag::NOSCRIPT, "noscript"),
    (flag::BLOCKING, "blocking"),
    (flag::LOADING, "loading"),
    (flag::STALE, "stale"),
    (flag::SKIP_MONITOR, "skip_monitor"),
    (flag::SKIP_SLOWLOG, "skip_slowlog"),
    (flag::ASKING, "asking"),
    (flag::FAST, "fast"),
    (flag::NO_AUTH, "no_auth"),
    (flag::NO_MANDATORY_KEYS, "no_mandatory_keys"),
    (flag::NO_ASYNC_LOADING, "no_async_loading"),
    (flag::NO_MULTI, "no_multi"),
    (flag::MOVABLE_KEYS, "movablekeys"),
    (flag::ALLOW_BUSY, "allow_busy"),
];

/// Access categories, in the order COMMAND INFO lists them.
pub const CATEGORY_NAMES: &[&str] = &[
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

impl Command {
    /// Whether it belongs to an access category, by the category's name.
    pub fn is_in_category(&self, name: &str) -> bool {
        let flags = self.flags;
        let explicit = |category: Categories| self.categories.0 & category.0 != 0;
        // A container does nothing itself; what may be done is said by its subcommands.
        let grouped = |group| self.group == group && self.subcommands.is_empty();
        match name {
            "keyspace" => explicit(category::KEYSPACE),
            "read" => flags.has(flag::READONLY) && self.group != Group::Scripting,
            "write" => flags.has(flag::WRITE),
            "set" => grouped(Group::Set) || explicit(category::SET),
            "sortedset" => grouped(Group::SortedSet) || explicit(category::SORTED_SET),
            "list" => grouped(Group::List) || explicit(category::LIST),
            "hash" => grouped(Group::Hash),
            "string" => grouped(Group::String),
            "bitmap" => grouped(Group::Bitmap),
            "hyperloglog" => grouped(Group::HyperLogLog),
            "geo" => grouped(Group::Geo),
            "stream" => grouped(Group::Stream),
            "pubsub" => flags.has(flag::PUBSUB),
            "admin" => flags.has(flag::ADMIN) || explicit(category::ADMIN),
            "fast" => flags.has(flag::FAST),
            "slow" => !flags.has(flag::FAST),
            "blocking" => flags.has(flag::BLOCKING),
            "dangerous" => flags.has(flag::ADMIN) || explicit(category::DANGEROUS),
            "connection" => grouped(Group::Connection) || explicit(category::CONNECTION),
            "transaction" => grouped(Group::Transactions),
            "scripting" => grouped(Group::Scripting),
            _ => false,
        }
    }

    /// Its flags, with what follows from its key specifications.
    pub fn all_flags(&self) -> Flags {
        let movable =
            |spec: &KeySpec| !matches!((spec.begin, spec.find), (Begin::Index(_), Find::Range { .. }));
        if self.keys.iter().any(movable) { self.flags | flag::MOVABLE_KEYS } else { self.flags }
    }

    /// First key, last key (negative: from the end) and step, for clients that know no key specifications; zeros where its
    /// keys are no such range.
    pub fn key_range(&self) -> (i64, i64, i64) {
        let range = |spec: &KeySpec| match (spec.begin, spec.find) {
            (Begin::Index(first), Find::Range { last, step, .. }) => {
                let last = i64::from(last);
                Some((first as i64, if last >= 0 { first as i64 + last } else { last }, step as i64))
            }
            _ => None,
        };
        if let [only] = self.keys {
            return range(only).unwrap_or_default();
        }
        // Several ranges of single steps that follow each other make one.
        let mut whole: Option<(i64, i64)> = None;
        for (first, last, step) in self.keys.iter().filter_map(range) {
            let follows = whole.is_none_or(|(_, end)| end == first - 1);
            if step != 1 || !follows {
                return (0, 0, 0);
            }
            whole = Some((whole.map_or(first, |(start, _)| start), last));
        }
        whole.map_or((0, 0, 0), |(first, last)| (first, last, 1))
    }
}

/// COMMAND
fn command_(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let rows = table::rows();
    cx.out.array(rows.len());
    rows.iter().for_each(|row| describe(cx.out, row));
    Ok(())
}

/// COMMAND COUNT
fn count(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.out.int(table::rows().len() as i64);
    Ok(())
}

/// COMMAND INFO [command-name ...]
fn info(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let names = args.from(2);
    if names.is_empty() {
        return command_(cx, args);
    }
    cx.out.array(names.len());
    for name in names {
        match table::by_name(name) {
            Some(row) => describe(cx.out, row),
            None => cx.out.null(),
        }
    }
    Ok(())
}

/// COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]
fn list(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if args.len() != 2 && !(args.len() == 5 && args[2].eq_ignore_ascii_case(b"filterby")) {
        return Err(error::SYNTAX);
    }
    let names: Vec<&str> = match args.get(3).map(<[u8]>::to_ascii_lowercase).as_deref() {
        None => table::all().map(|row| row.command.name).collect(),
        Some(b"module") => Vec::new(),
        Some(b"aclcat") => {
            let wanted = String::from_utf8_lossy(&args[4]).to_ascii_lowercase();
            let rows = table::all().filter(|row| row.command.is_in_category(&wanted));
            rows.map(|row| row.command.name).collect()
        }
        Some(b"pattern") => {
            let rows = table::all().filter(|row| glob_match(&args[4], row.command.name.as_bytes(), true));
            rows.map(|row| row.command.name).collect()
        }
        Some(_) => return Err(error::SYNTAX),
    };
    cx.out.array(names.len());
    names.iter().for_each(|name| cx.out.bulk(name.as_bytes()));
    Ok(())
}

/// COMMAND GETKEYS command [arg ...]
fn getkeys(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let keys = keys_of(args.from(2))?;
    cx.out.array(keys.len());
    keys.iter().for_each(|(at, _)| cx.out.bulk(&args[at + 2]));
    Ok(())
}

/// COMMAND GETKEYSANDFLAGS command [arg ...]
fn getkeysandflags(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let keys = keys_of(args.from(2))?;
    cx.out.array(keys.len());
    for (at, usage) in keys {
        cx.out.array(2);
        cx.out.bulk(&args[at + 2]);
        write_usage(cx.out, usage);
    }
    Ok(())
}

/// The places of the keys in a request, and what is done to each.
fn keys_of(args: Args) -> Result<Vec<(usize, &'static str)>, CmdError> {
    let row = table::find_any_count(args).ok_or(CmdError::new("ERR Invalid command specified"))?;
    if row.command.keys.iter().all(|spec| spec.usage == spec::NO_KEY) {
        return Err(CmdError::new("ERR The command has no key arguments"));
    }
    if !row.command.takes(args.len()) {
        return Err(CmdError::new("ERR Invalid number of arguments specified for command"));
    }
    let mut keys = Vec::new();
    let valid = spec::visit(row.command, args, &mut |at, usage| keys.push((at, usage)));
    match keys.is_empty() || !valid {
        false => Ok(keys),
        true if row.command.flags.has(flag::NO_MANDATORY_KEYS) => Ok(Vec::new()),
        true => Err(CmdError::new("ERR Invalid arguments specified for command")),
    }
}

/// COMMAND DOCS [command-name ...]
fn docs(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let names = args.from(2);
    let rows: Vec<&Row> = if names.is_empty() {
        table::rows().iter().collect()
    } else {
        names.into_iter().filter_map(table::by_name).collect()
    };
    cx.out.map(rows.len());
    rows.into_iter().for_each(|row| document(cx.out, row));
    Ok(())
}

/// COMMAND HELP
fn help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    super::server::write_help(
        cx.out,
        "COMMAND",
        &[
            "(no subcommand)",
            "    Return details about all commands.",
            "COUNT",
            "    Return the total number of commands in this server.",
            "LIST",
            "    Return a list of all commands in this server.",
            "INFO [<command-name> ...]",
            "    Return details about multiple commands.",
            "    If no command names are given, documentation details for all",
            "    commands are returned.",
            "DOCS [<command-name> ...]",
            "    Return documentation details about multiple commands.",
            "    If no command names are given, documentation details for all",
            "    commands are returned.",
            "GETKEYS <full-command>",
            "    Return the keys from a full command.",
            "GETKEYSANDFLAGS <full-command>",
            "    Return the keys and the access flags from a full command.",
        ],
    );
    Ok(())
}

/// A row as COMMAND INFO tells it.
fn describe(out: &mut Output, row: &Row) {
    let command = row.command;
    let (first, last, step) = command.key_range();
    out.array(10);
    out.bulk(command.name.as_bytes());
    out.int(command.arity.into());
    let all_flags = command.all_flags();
    let names: Vec<&str> =
        FLAG_NAMES.iter().filter(|(flag, _)| all_flags.has(*flag)).map(|(_, name)| *name).collect();
    out.set(names.len());
    names.iter().for_each(|name| out.simple(name));
    out.int(first);
    out.int(last);
    out.int(step);
    let categories: Vec<_> =
        CATEGORY_NAMES.iter().filter(|category| command.is_in_category(category)).collect();
    out.set(categories.len());
    categories.iter().for_each(|category| out.simple(format!("@{category}")));
    out.set(command.tips.len());
    command.tips.iter().for_each(|tip| out.bulk(tip.as_bytes()));
    out.set(command.keys.len());
    command.keys.iter().for_each(|spec| describe_keys(out, spec));
    out.array(row.subcommands.len());
    row.subcommands.iter().for_each(|row| describe(out, row));
}

fn describe_keys(out: &mut Output, spec: &KeySpec) {
    let note = note(spec.begin);
    out.map(3 + usize::from(note.is_some()));
    if let Some(note) = note {
        out.bulk(b"notes");
        out.bulk(note.as_bytes());
    }
    out.bulk(b"flags");
    write_usage(out, spec.usage);
    out.bulk(b"begin_search");
    out.map(2);
    out.bulk(b"type");
    match spec.begin {
        Begin::Index(index) => {
            out.bulk(b"index");
            out.bulk(b"spec");
            out.map(1);
            pair(out, "index", index as i64);
        }
        Begin::Keyword(word, from) => {
            out.bulk(b"keyword");
            out.bulk(b"spec");
            out.map(2);
            out.bulk(b"keyword");
            out.bulk(word.as_bytes());
            pair(out, "startfrom", from.into());
        }
        Begin::SortPatterns | Begin::SortStore => unknown(out),
    }
    out.bulk(b"find_keys");
    out.map(2);
    out.bulk(b"type");
    match spec.find {
        _ if note.is_some() => unknown(out),
        Find::Range { last, step, limit } => {
            out.bulk(b"range");
            out.bulk(b"spec");
            out.map(3);
            pair(out, "lastkey", last.into());
            pair(out, "keystep", step as i64);
            pair(out, "limit", limit as i64);
        }
        Find::Count { count, first, step } => {
            out.bulk(b"keynum");
            out.bulk(b"spec");
            out.map(3);
            pair(out, "keynumidx", count as i64);
            pair(out, "firstkey", first as i64);
            pair(out, "keystep", step as i64);
        }
    }
}

fn unknown(out: &mut Output) {
    out.bulk(b"unknown");
    out.bulk(b"spec");
    out.map(0);
}

/// What is said of keys that no specification describes.
fn note(begin: Begin) -> Option<&'static str> {
    match begin {
        Begin::Index(_) | Begin::Keyword(..) => None,
        Begin::SortPatterns => Some(
            "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content of \
             the key we sort",
        ),
        Begin::SortStore => Some(
            "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere in the \
             argument array",
        ),
    }
}

fn pair(out: &mut Output, name: &str, value: i64) {
    out.bulk(name.as_bytes());
    out.int(value);
}

fn write_usage(out: &mut Output, usage: &str) {
    out.set(usage.split(' ').count());
    for word in usage.split(' ') {
        match word.len() {
            2 => out.simple(word),
            _ => out.simple(word.to_ascii_lowercase()),
        }
    }
}

/// A row as COMMAND DOCS tells it.
fn document(out: &mut Output, row: &Row) {
    let command = row.command;
    out.bulk(command.name.as_bytes());
    let map = out.deferred_map();
    let mut len = 3;
    out.bulk(b"summary");
    out.bulk(command.summary.as_bytes());
    out.bulk(b"since");
    out.bulk(command.since.as_bytes());
    out.bulk(b"group");
    out.bulk(command.group.name().as_bytes());
    let arguments = syntax::parse(command.syntax).unwrap_or_default();
    if !arguments.is_empty() {
        len += 1;
        out.bulk(b"arguments");
        write_arguments(out, &arguments, &mut KeyCount { next: 0, specs: command.keys.len() });
    }
    if !row.subcommands.is_empty() {
        len += 1;
        out.bulk(b"subcommands");
        out.map(row.subcommands.len());
        row.subcommands.iter().for_each(|row| document(out, row));
    }
    out.set_deferred(map, len);
}

/// Numbers the keys of a command by their specifications.
struct KeyCount {
    next: usize,
    specs: usize,
}

fn write_arguments(out: &mut Output, arguments: &[Argument], keys: &mut KeyCount) {
    out.array(arguments.len());
    for argument in arguments {
        write_argument(out, argument, keys);
    }
}

fn write_argument(out: &mut Output, argument: &Argument, keys: &mut KeyCount) {
    let kind = argument.kind();
    let map = out.deferred_map();
    let mut len = 2;
    let text = |out: &mut Output, name: &str, value: &str| {
        out.bulk(name.as_bytes());
        out.bulk(value.as_bytes());
        1
    };
    text(out, "name", &argument.name);
    text(out, "type", kind);
    if argument.shape == Shape::Operand {
        len += text(out, "display_text", &argument.name);
    }
    if kind == "key" && keys.specs > 0 {
        len += 1;
        pair(out, "key_spec_index", keys.next.min(keys.specs - 1) as i64);
        keys.next += 1;
    }
    if let Some(token) = &argument.token {
        len += text(out, "token", token);
    }
    let flags = [
        (argument.optional, "optional"),
        (argument.multiple, "multiple"),
        (argument.multiple_token, "multiple_token"),
    ];
    let flags: Vec<&str> = flags.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
    if !flags.is_empty() {
        len += 1;
        out.bulk(b"flags");
        out.set(flags.len());
        flags.iter().for_each(|flag| out.simple(flag));
    }
    if let Shape::OneOf(children) | Shape::Block(children) = &argument.shape {
        len += 1;
        out.bulk(b"arguments");
        write_arguments(out, children, keys);
    }
    out.set_deferred(map, len);
}

impl Group {
    /// Its name in COMMAND DOCS.
    pub fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::Bitmap => "bitmap",
            Group::Hash => "hash",
            Group::List => "list",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::HyperLogLog => "hyperloglog",
            Group::Geo => "geo",
            Group::Stream => "stream",
            Group::PubSub => "pubsub",
            Group::Transactions => "transactions",
            Group::Scripting => "scripting",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Cluster => "cluster",
        }
    }
}
