//! What each command means.
//!
//! A command is one row of a family's `COMMANDS` and one function beside it. The row drives the arity error, key
//! extraction, locking, access control, the memory check and COMMAND DOCS; the function sees the partitions entered
//! for it ([`Keys`]), the arguments as slices of the read buffer, and the reply writer. Functions are synchronous
//! and never wait; sockets and the runtime are unknown here.

pub mod across;
pub mod blocking;
pub mod call;
pub mod client;
pub mod client_filter;
pub mod clock;
pub mod error;
pub mod follow;
pub mod forward;
pub mod keys;
pub mod parse;
pub mod permission;
pub mod record;
pub mod replay;
pub mod reply;
pub mod scan;
pub mod script_run;
pub mod settings;
pub mod spec;
pub mod syntax;
pub mod table;

pub mod acl;
pub mod bitfield;
pub mod bitmap;
pub mod client_admin;
pub mod cluster;
pub mod config;
pub mod connection;
pub mod counter;
pub mod database;
pub mod debug;
pub mod dump;
pub mod expire;
pub mod function;
pub mod geo;
pub mod geo_search;
pub mod hash;
pub mod hash_expire;
pub mod hyperloglog;
pub mod info;
pub mod introspect;
pub mod keyspace;
pub mod latency;
pub mod lcs;
pub mod list;
pub mod list_blocking;
pub mod memcache;
pub mod memory;
pub mod object;
pub mod persistence;
pub mod pubsub;
pub mod replication;
pub mod script;
pub mod server;
pub mod set;
pub mod set_algebra;
pub mod slowlog;
pub mod sort;
pub mod sorted_set;
pub mod sorted_set_combine;
pub mod sorted_set_pop;
pub mod sorted_set_range;
pub mod stream;
pub mod stream_group;
pub mod stream_info;
pub mod string;
pub mod tracking;
pub mod transaction;

use crate::state::State;
use crate::state::stats::WorkerStats;
use crate::text::number::parse_i64;
use client::Client;
use error::CmdError;
use keys::Keys;
use shoal_protocol::resp::{Args, Output};
use smallvec::SmallVec;
use spec::KeySpec;

/// What a command's function works with: the node and its partitions for `'s`, the connection for `'c`.
pub struct Cx<'s, 'c> {
    /// The node.
    pub state: &'s State,
    /// This worker's counters.
    pub stats: &'s WorkerStats,
    /// The connection's own state.
    pub client: &'c mut Client,
    /// The partitions entered for this command.
    pub keys: &'c mut Keys<'s>,
    /// Where the reply goes.
    pub out: &'c mut Output,
    /// The worker's clock.
    pub clock: &'c mut clock::Clock,
    /// Lets the worker serve its other connections for a moment, if that can be done here.
    pub pause: Option<&'c dyn Fn()>,
    /// The row being run.
    pub command: &'static Command,
}

/// A command's function.
pub type Run = fn(&mut Cx, Args) -> Result<(), CmdError>;

/// A row of the command table.
pub struct Command {
    /// Lower case; a subcommand's is `container|name`.
    pub name: &'static str,
    /// Arguments it takes, the name (and subcommand) included; negative: at least so many.
    pub arity: i32,
    /// What it may do and where it may be called.
    pub flags: Flags,
    /// Which arguments are keys, and what is done to them.
    pub keys: &'static [KeySpec],
    /// The group it is documented in, which is also an access category for most.
    pub group: Group,
    /// Access categories beyond those that follow from group and flags.
    pub categories: Categories,
    /// The version of Redis that brought it.
    pub since: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Its arguments in Redis's notation.
    pub syntax: &'static str,
    /// How a cluster-aware client may send it and what to think of its reply, in COMMAND INFO's words.
    pub tips: &'static [&'static str],
    /// Which databases its requests name.
    pub databases: Databases,
    /// What runs it.
    pub run: Run,
    /// The rows of a container's subcommands.
    pub subcommands: &'static [Command],
}

/// A row; what most rows leave at its default follows by the methods below.
pub const fn command(name: &'static str, arity: i32, group: Group, run: Run) -> Command {
    Command {
        name,
        arity,
        flags: Flags(0),
        keys: &[],
        group,
        categories: Categories(0),
        since: "1.0.0",
        summary: "",
        syntax: "",
        tips: &[],
        databases: Databases::None,
        run,
        subcommands: &[],
    }
}

impl Command {
    /// Sets the flags.
    pub const fn flags(mut self, flags: Flags) -> Self {
        self.flags = flags;
        self
    }

    /// Sets which arguments are keys.
    pub const fn keys(mut self, keys: &'static [KeySpec]) -> Self {
        self.keys = keys;
        self
    }

    /// Adds access categories.
    pub const fn categories(mut self, categories: Categories) -> Self {
        self.categories = categories;
        self
    }

    /// Documents the command.
    pub const fn doc(mut self, since: &'static str, syntax: &'static str, summary: &'static str) -> Self {
        self.since = since;
        self.syntax = syntax;
        self.summary = summary;
        self
    }

    /// Sets the tips.
    pub const fn tips(mut self, tips: &'static [&'static str]) -> Self {
        self.tips = tips;
        self
    }

    /// Sets which databases its requests name.
    pub const fn databases(mut self, databases: Databases) -> Self {
        self.databases = databases;
        self
    }

    /// Makes it a container.
    pub const fn subcommands(mut self, rows: &'static [Command]) -> Self {
        self.subcommands = rows;
        self
    }

    /// The databases a request names, of the `count` there are: each one's place among the arguments and its number. If any is not
    /// there the request fails, and is about none.
    pub fn named_databases(&self, args: Args, count: usize) -> SmallVec<[(usize, usize); 4]> {
        let number = |at: usize| {
            let number = args.get(at).and_then(parse_i64).and_then(|number| usize::try_from(number).ok());
            number.filter(|number| *number < count).map(|number| (at, number))
        };
        match self.databases {
            Databases::None => SmallVec::new(),
            Databases::At(places) => {
                places.iter().map(|at| number(*at)).collect::<Option<_>>().unwrap_or_default()
            }
            Databases::Behind(word, first) => {
                let behind = (first..args.len()).filter(|at| parse::is(&args[*at - 1], word));
                behind.map(number).collect::<Option<_>>().unwrap_or_default()
            }
            Databases::All => (0..count).map(|number| (0, number)).collect(),
        }
    }

    /// Whether its requests are about the keys of the database they are run in.
    pub fn is_about_present_database(&self) -> bool {
        let has_keys = || self.keys.iter().any(|spec| spec.usage != spec::NO_KEY);
        let reads_or_writes = self.flags.any(flag::READONLY | flag::WRITE);
        match self.databases {
            Databases::None => reads_or_writes || self.categories.has(category::KEYSPACE) || has_keys(),
            Databases::At(_) | Databases::Behind(..) => has_keys(),
            Databases::All => false,
        }
    }

    /// Whether `count` arguments, the name included, are as many as it takes.
    #[inline]
    pub fn takes(&self, count: usize) -> bool {
        let arity = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { count >= arity } else { count == arity }
    }
}

/// Which databases the requests of a command name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Databases {
    /// None: they are at most about the one they are run in.
    None,
    /// Those whose numbers stand at these places among the arguments.
    At(&'static [usize]),
    /// Those whose numbers stand behind this word, from a place on.
    Behind(&'static str, usize),
    /// All.
    All,
}

/// Properties of a command, as COMMAND INFO lists them (and a few of our own at the end).
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u32);

impl Flags {
    /// Both sets together.
    pub const fn or(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether all of `other` is set.
    #[inline]
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is set.
    #[inline]
    pub const fn any(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }
}

impl std::ops::BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        self.or(other)
    }
}

/// Names for flags. Combine them with [`flags`].
pub mod flag {
    use super::Flags;
    /// May change keys.
    pub const WRITE: Flags = Flags(1);
    /// Reads keys and changes none.
    pub const READONLY: Flags = Flags(1 << 1);
    /// May need more memory: refused when it is used up.
    pub const DENYOOM: Flags = Flags(1 << 2);
    /// For administrators.
    pub const ADMIN: Flags = Flags(1 << 3);
    /// About publish/subscribe.
    pub const PUBSUB: Flags = Flags(1 << 4);
    /// Not from scripts.
    pub const NOSCRIPT: Flags = Flags(1 << 5);
    /// May wait.
    pub const BLOCKING: Flags = Flags(1 << 6);
    /// Allowed while data is loaded.
    pub const LOADING: Flags = Flags(1 << 7);
    /// Allowed on a node that is out of date.
    pub const STALE: Flags = Flags(1 << 8);
    /// Not shown by MONITOR.
    pub const SKIP_MONITOR: Flags = Flags(1 << 9);
    /// Not kept in the slow log.
    pub const SKIP_SLOWLOG: Flags = Flags(1 << 10);
    /// Takes constant or logarithmic time.
    pub const FAST: Flags = Flags(1 << 11);
    /// Allowed before authentication.
    pub const NO_AUTH: Flags = Flags(1 << 12);
    /// Not inside MULTI.
    pub const NO_MULTI: Flags = Flags(1 << 13);
    /// Its keys cannot be told from fixed positions.
    pub const MOVABLE_KEYS: Flags = Flags(1 << 14);
    /// Allowed while a script overruns its time.
    pub const ALLOW_BUSY: Flags = Flags(1 << 15);
    /// May publish or log what others must see, though it changes no key.
    pub const MAY_REPLICATE: Flags = Flags(1 << 16);
    /// Need not be answered in order by a cluster's nodes.
    pub const NO_ASYNC_LOADING: Flags = Flags(1 << 17);
    /// Allowed on a slot being imported, without ASKING.
    pub const ASKING: Flags = Flags(1 << 18);
    /// Takes keys, and does without them too.
    pub const NO_MANDATORY_KEYS: Flags = Flags(1 << 19);
    /// Our own: works on the whole keyspace, one partition after another; EXEC enters all for it.
    pub const WHOLE: Flags = Flags(1 << 24);
    /// Our own, with WHOLE: enters all partitions at once even outside EXEC.
    pub const ATOMIC: Flags = Flags(1 << 25);
    /// Our own: leaves something to chance, so that copies are told its result.
    pub const BY_RESULT: Flags = Flags(1 << 26);
    /// Our own: EXEC, which runs what is queued.
    pub const EXEC: Flags = Flags(1 << 27);
    /// Our own: runs or changes scripts, for which it needs the claim.
    pub const SCRIPT: Flags = Flags(1 << 31);
}

/// All of several flags.
pub const fn flags<const N: usize>(all: [Flags; N]) -> Flags {
    let (mut sum, mut i) = (Flags(0), 0);
    while i < N {
        sum = sum.or(all[i]);
        i += 1;
    }
    sum
}

/// Access categories as a set.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Categories(pub u32);

impl Categories {
    /// Both sets together.
    pub const fn or(self, other: Categories) -> Categories {
        Categories(self.0 | other.0)
    }

    /// Whether all of `other` is in it.
    pub const fn has(self, other: Categories) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Names for categories that do not follow from a command's group and flags.
pub mod category {
    use super::Categories;
    /// Works on keys of any type.
    pub const KEYSPACE: Categories = Categories(1);
    /// Can harm the service.
    pub const DANGEROUS: Categories = Categories(1 << 1);
    /// About the connection.
    pub const CONNECTION: Categories = Categories(1 << 2);
    /// Works on sets, though it is of another group.
    pub const SET: Categories = Categories(1 << 3);
    /// Works on sorted sets, though it is of another group.
    pub const SORTED_SET: Categories = Categories(1 << 4);
    /// Works on lists, though it is of another group.
    pub const LIST: Categories = Categories(1 << 5);
    /// For administrators, though it harms nothing.
    pub const ADMIN: Categories = Categories(1 << 6);
}

/// The groups of COMMAND DOCS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Group {
    Generic,
    String,
    Bitmap,
    Hash,
    List,
    Set,
    SortedSet,
    HyperLogLog,
    Geo,
    Stream,
    PubSub,
    Transactions,
    Scripting,
    Connection,
    Server,
    Cluster,
}

/// A container's HELP: its subcommands' `lines`, framed as Redis frames them.
pub fn reply_help(out: &mut Output, container: &str, lines: &[&str]) {
    out.array(lines.len() + 3);
    out.simple(format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    lines.iter().for_each(|line| out.simple(line));
    out.simple("HELP");
    out.simple("    Print this help.");
}
