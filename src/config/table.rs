//! The table of directives: one row each, from which CONFIG GET/SET/REWRITE, the file parser, the command
//! line and `conf/shoal.conf` all follow.
//!
//! The idea: a directive is a name, a kind (which carries its range and its check), a default spelled as a
//! file would spell it, a rule about changing it, and one sentence for the reader. Adding a directive is
//! adding a row; nothing else names directives one by one. Directives of Redis 7.2 and Valkey 8 that have no
//! meaning here are rows marked [`Row::inert`]: checked, kept and answered, so existing files and tools work.
//!
//! It must never know: how values are stored, read from a file, or acted upon.
//!
//! Invariant: names and aliases are lower case and unique over the whole table (a test holds this).

use super::value::{self, OutputLimits};

mod cluster;
mod data;
mod serving;

/// What a directive's value looks like: how it is read, checked and printed.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `yes` or `no`.
    Bool,
    /// A switch that can only be `no`; the text says why `yes` is refused.
    OnlyNo(&'static str),
    /// A whole number within the bounds, both included.
    Int {
        /// The least value.
        min: i64,
        /// The greatest value.
        max: i64,
    },
    /// A number of bytes within the bounds, with an optional unit: `100`, `64k` (1000), `64kb` (1024), `1gb`.
    Memory {
        /// The least number of bytes.
        min: i64,
        /// The greatest number of bytes.
        max: i64,
    },
    /// A number of bytes, or a percentage (`5%`) kept as a negative number.
    MemoryOrPercent,
    /// An octal number of at most this value: file permissions.
    Octal {
        /// The greatest value.
        max: i64,
    },
    /// One of these words; kept as its place in the list.
    Enum(&'static [&'static str]),
    /// Any of the shutdown words, kept as bits: see [`value::SHUTDOWN_WORDS`].
    ShutdownWords,
    /// The letters of keyspace event classes, kept as bits: see [`super::notify`].
    EventClasses,
    /// One word of text that passes the check.
    Text(TextCheck),
    /// An existing directory, kept as an absolute path.
    Directory,
    /// Several words; the function checks them and gives the text to keep.
    Words(WordsCheck),
    /// Hard limit, soft limit and soft seconds per class of client.
    OutputLimits,
}

/// Says what is wrong with a text, in the words of Redis.
pub type TextCheck = fn(&str) -> Result<(), &'static str>;

/// Turns the words of a directive into the one text that is kept, or says what is wrong with them.
pub type WordsCheck = fn(&[&str]) -> Result<String, &'static str>;

/// When a directive may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutability {
    /// At any time.
    Free,
    /// At any time except while data is being loaded.
    NotWhileLoading,
    /// Only as `enable-protected-configs` allows.
    Protected,
    /// As [`Mutability::Protected`], and never while data is being loaded.
    ProtectedNotWhileLoading,
    /// Only at start; CONFIG SET refuses it whatever the value, as Redis does.
    Immutable,
    /// Only at start; CONFIG SET accepts the value it already has. For directives only Shoal knows: a tool
    /// that writes back all it read must not fail on a name it cannot know to skip.
    Startup,
}

/// One directive.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The name, in lower case.
    pub name: &'static str,
    /// Another name for the same directive, or "".
    pub alias: &'static str,
    /// What its value looks like.
    pub kind: Kind,
    /// The default, spelled as a file would spell it, without quotes.
    pub default: &'static str,
    /// When it may be changed.
    pub mutability: Mutability,
    /// The value is a secret: never printed in an error, a log, MONITOR or the slow log.
    pub sensitive: bool,
    /// CONFIG GET answers it only when asked by its exact name; the reference file leaves it out.
    pub hidden: bool,
    /// Setting it to the value it has counts as a change: it names a file whose content may be new.
    pub reload: bool,
    /// Accepted, checked and kept, with no effect.
    pub inert: bool,
    /// In a cluster it is the same at all nodes: who sets it at one sets it at all.
    pub shared: bool,
    /// Numbers within the range but outside these bounds are moved to the nearer bound.
    pub clamp: (i64, i64),
    /// What it does, its unit and what its special values mean: one sentence or two for the reader.
    pub doc: &'static str,
}

/// Directives that belong together in the reference file.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// The heading.
    pub title: &'static str,
    /// Its directives, in the order of the reference file.
    pub rows: &'static [Row],
}

/// All groups, in the order of the reference file.
pub const GROUPS: &[Group] = &[
    serving::NETWORK,
    serving::TLS,
    serving::PROCESS,
    serving::LOGGING,
    serving::SECURITY,
    serving::CLIENTS,
    data::MEMORY,
    data::LAZY_FREE,
    data::DEFRAGMENTATION,
    data::ENCODINGS,
    data::SCRIPTS_AND_EVENTS,
    data::SNAPSHOTS,
    data::APPEND_ONLY_FILE,
    cluster::CLUSTER,
    cluster::REPLICATION,
];

/// How many directives there are.
pub const COUNT: usize = {
    let (mut group, mut rows) = (0, 0);
    while group < GROUPS.len() {
        rows += GROUPS[group].rows.len();
        group += 1;
    }
    rows
};

const FLAT: [&Row; COUNT] = {
    let mut flat = [&GROUPS[0].rows[0]; COUNT];
    let (mut group, mut place) = (0, 0);
    while group < GROUPS.len() {
        let mut row = 0;
        while row < GROUPS[group].rows.len() {
            flat[place] = &GROUPS[group].rows[row];
            place += 1;
            row += 1;
        }
        group += 1;
    }
    flat
};

/// Every directive, in the order of the reference file.
pub static TABLE: [&Row; COUNT] = FLAT;

/// A directive's place in [`TABLE`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u16);

impl Id {
    /// The id of a directive by its main name, for constants: an unknown name fails the build.
    ///
    /// # Panics
    /// When there is no such directive.
    pub const fn of(name: &str) -> Id {
        let mut place = 0;
        while place < COUNT {
            if same(FLAT[place].name, name) {
                return Id(place as u16);
            }
            place += 1;
        }
        panic!("no directive has this name");
    }

    /// The id of the directive that bears this name, in any case, as its name or as its alias.
    pub fn find(name: &str) -> Option<Id> {
        let bears = |row: &&Row| {
            row.name.eq_ignore_ascii_case(name) || (row.has_alias() && row.alias.eq_ignore_ascii_case(name))
        };
        TABLE.iter().position(bears).map(|place| Id(place as u16))
    }

    /// Every id, in the order of [`TABLE`].
    pub fn all() -> impl Iterator<Item = Id> {
        (0..COUNT as u16).map(Id)
    }

    /// Its row.
    pub const fn row(self) -> &'static Row {
        TABLE[self.place()]
    }

    /// Its main name.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Its place in [`TABLE`].
    pub(super) const fn place(self) -> usize {
        self.0 as usize
    }
}

impl std::fmt::Debug for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Row {
    /// The one of its names that this is, in lower case.
    pub(super) fn called(&self, name: &[u8]) -> &'static str {
        if self.alias.as_bytes().eq_ignore_ascii_case(name) { self.alias } else { self.name }
    }

    /// Whether it has a second name.
    pub fn has_alias(&self) -> bool {
        !self.alias.is_empty()
    }

    const fn alias(mut self, alias: &'static str) -> Row {
        self.alias = alias;
        self
    }

    const fn change(mut self, mutability: Mutability) -> Row {
        self.mutability = mutability;
        self
    }

    const fn immutable(self) -> Row {
        self.change(Mutability::Immutable)
    }

    const fn sensitive(mut self) -> Row {
        self.sensitive = true;
        self
    }

    const fn hidden(mut self) -> Row {
        self.hidden = true;
        self
    }

    const fn reload(mut self) -> Row {
        self.reload = true;
        self
    }

    const fn inert(mut self) -> Row {
        self.inert = true;
        self
    }

    const fn shared(mut self) -> Row {
        self.shared = true;
        self
    }

    const fn clamp(mut self, low: i64, high: i64) -> Row {
        self.clamp = (low, high);
        self
    }
}

impl Kind {
    /// Whether a file line may carry several words for it.
    pub fn takes_words(self) -> bool {
        matches!(self, Kind::ShutdownWords | Kind::Words(_) | Kind::OutputLimits)
    }

    /// Whether its value is kept as a number.
    pub fn is_number(self) -> bool {
        !matches!(self, Kind::Text(_) | Kind::Directory | Kind::Words(_) | Kind::OutputLimits)
    }

    /// What a value of this kind looks like, for a person who wrote a wrong one.
    pub fn expected(self) -> String {
        match self {
            Kind::Bool => "yes or no".into(),
            Kind::OnlyNo(_) => "no".into(),
            Kind::Int { min, max: i64::MAX } => format!("a whole number from {min}"),
            Kind::Int { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Memory { min: 0, .. } => "a number of bytes such as 1048576, 64kb or 1gb".into(),
            Kind::Memory { min, .. } => {
                format!("a number of bytes such as 1048576, 64kb or 1gb, at least {min}")
            }
            Kind::MemoryOrPercent => "a number of bytes such as 64mb, or a percentage such as 5%".into(),
            Kind::Octal { max } => format!("an octal number up to {max:o}"),
            Kind::Enum(words) => format!("one of {}", words.join(", ")),
            Kind::ShutdownWords => format!("any of {}", value::SHUTDOWN_WORDS.join(", ")),
            Kind::EventClasses => "letters out of KEg$lshzxetdmnA".into(),
            Kind::Text(_) => "one word, in quotes if it has blanks".into(),
            Kind::Directory => "an existing directory".into(),
            Kind::Words(_) => "words as in conf/shoal.conf".into(),
            Kind::OutputLimits => format!("groups of: {} <hard> <soft> <seconds>", OutputLimits::CLASSES),
        }
    }
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

// What the rows are written with.

const fn row(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Row {
    Row {
        name,
        alias: "",
        kind,
        default,
        mutability: Mutability::Free,
        sensitive: false,
        hidden: false,
        reload: false,
        inert: false,
        shared: false,
        clamp: (i64::MIN, i64::MAX),
        doc,
    }
}

const BOOL: Kind = Kind::Bool;
/// Whole numbers a C int can hold, from zero.
const COUNT31: Kind = Kind::Int { min: 0, max: i32::MAX as i64 };
/// The same, from one.
const ONE31: Kind = Kind::Int { min: 1, max: i32::MAX as i64 };
/// Any C int.
const INT32: Kind = Kind::Int { min: i32::MIN as i64, max: i32::MAX as i64 };
/// Whole numbers from zero.
const COUNT63: Kind = Kind::Int { min: 0, max: i64::MAX };
/// Whole numbers from -1, which stands for "never".
const OR_NEVER: Kind = Kind::Int { min: -1, max: i64::MAX };
const PORT: Kind = Kind::Int { min: 0, max: 65535 };
const BYTES: Kind = Kind::Memory { min: 0, max: i64::MAX };
const TEXT: Kind = Kind::Text(value::any_text);

#[cfg(test)]
mod tests;
