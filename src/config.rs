//! The configuration: every directive's value, readable by all threads, changed by CONFIG SET.
//!
//! The idea: one table of directives ([`table`]) drives the file, the command line, CONFIG GET/SET/REWRITE and
//! the reference file `conf/shoal.conf`. Numbers, switches and choices sit in one array of atomics, so a worker
//! reads `config.int(id::MAXMEMORY)` with one relaxed load; texts sit behind a lock and are read when something
//! is set up, not per command.
//!
//! It must never know: what a directive does. [`Config::change`] says which ones changed; whoever acts on them
//! looks, and hands the change to [`Config::roll_back`] if it cannot be carried out.
//!
//! Invariant: what is stored has passed the check of its row, so readers need none.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::RwLock;

pub mod acl_file;
mod command_line;
mod file;
pub mod id;
pub mod notify;
mod rewrite;
pub mod table;
mod value;

pub use command_line::{Startup, parse_command_line};
pub use value::{ClientClass, OutputLimit};

use crate::error::{Error, Place};
use crate::text::glob::glob_match;
use table::{COUNT, Id, Kind, Mutability, TABLE};
use value::{OutputLimits, Reason, Value};

/// The values of all directives.
pub struct Config {
    /// Values of the directives kept as numbers, by place in the table; 0 for the others. In place and of known
    /// length, so that reading one by a constant is a single load.
    numbers: [AtomicI64; COUNT],
    /// Values of the other directives, by place in the table. Held for writing by whoever changes anything.
    texts: RwLock<Box<[Arc<str>]>>,
    /// The text of `client-output-buffer-limit` in numbers: hard bytes, soft bytes, soft seconds per class.
    output_limits: [[AtomicU64; 3]; 3],
    /// The file this configuration was read from, as an absolute path.
    file: Option<PathBuf>,
    /// The words that follow `user` in such lines.
    users: Vec<UserLine>,
    /// The words that follow `cache` in such lines.
    caches: Vec<Vec<String>>,
}

/// The words behind `user` in a line of the file: the name, then ACL rules.
pub type UserLine = Vec<Vec<u8>>;

/// Who asks for a change, and when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller {
    /// The connection comes from this machine.
    pub local: bool,
    /// Data is being loaded.
    pub loading: bool,
}

/// Directives that changed together, with the values they had.
#[derive(Debug)]
#[must_use = "the server has to act on what changed"]
pub struct Change {
    before: Vec<(Id, Value)>,
}

/// Why CONFIG SET changed nothing. Its text is that of Redis, without the leading `ERR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetError {
    /// No directive has this name.
    Unknown(String),
    /// This one cannot take that value, or any, now.
    Refused {
        /// The name.
        argument: String,
        /// Why, in the words of Redis.
        reason: Cow<'static, str>,
    },
    /// It cannot be changed while data is being loaded; clients hear the same error as for any command then.
    Loading,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindAddress {
    /// An IP address, a host name, `*` (all of IPv4) or `::*` (all of IPv6).
    pub address: String,
    /// It may be missing on this machine.
    pub optional: bool,
}

impl Default for Config {
    fn default() -> Config {
        let config = Config {
            numbers: [const { AtomicI64::new(0) }; COUNT],
            texts: RwLock::new(TABLE.iter().map(|_| Arc::from("")).collect()),
            output_limits: Default::default(),
            file: None,
            users: Vec::new(),
            caches: Vec::new(),
        };
        let mut texts = config.texts.write();
        for id in Id::all() {
            let row = id.row();
            let words: Vec<&str> = match row.kind.takes_words() && !row.default.is_empty() {
                true => row.default.split(' ').collect(),
                false => vec![row.default],
            };
            // Only the working directory can fail to be what its row says: it may have been removed.
            if let Ok(value) = value::parse(row, &words, "") {
                config.store(&mut texts, id, value);
            }
        }
        drop(texts);
        config
    }
}

// Reading.
impl Config {
    /// The value of a number, size (bytes), switch (0 or 1), or choice (place in the list of its row).
    #[inline]
    pub fn int(&self, id: Id) -> i64 {
        debug_assert!(id.row().kind.is_number(), "{id:?} is a text");
        self.numbers[id.place()].load(Ordering::Relaxed)
    }

    /// The value of a switch.
    #[inline]
    pub fn flag(&self, id: Id) -> bool {
        self.int(id) != 0
    }

    /// The value of a number or size as a length; a negative one counts as 0.
    #[inline]
    pub fn size(&self, id: Id) -> usize {
        self.int(id).try_into().unwrap_or(0)
    }

    /// The word chosen, for a choice; `""` for any other kind.
    pub fn choice(&self, id: Id) -> &'static str {
        match id.row().kind {
            Kind::Enum(words) => words.get(self.int(id) as usize).copied().unwrap_or_default(),
            _ => "",
        }
    }

    /// The value of a text, or of several words joined by blanks.
    pub fn text(&self, id: Id) -> Arc<str> {
        debug_assert!(!id.row().kind.is_number(), "{id:?} is a number");
        self.texts.read()[id.place()].clone()
    }

    /// The path a text names, from `dir` on if it is relative; nothing if it is empty.
    pub fn path(&self, id: Id) -> Option<PathBuf> {
        let path = self.text(id);
        (!path.is_empty()).then(|| Path::new(&*self.text(id::DIR)).join(&*path))
    }

    /// The value in the spelling CONFIG GET answers.
    pub fn print(&self, id: Id) -> String {
        value::print(id.row().kind, &self.value(&self.texts.read(), id))
    }

    /// The output limits of a class of client.
    #[inline]
    pub fn output_limit(&self, class: ClientClass) -> OutputLimit {
        let [hard, soft, seconds] = &self.output_limits[class as usize];
        OutputLimit {
            hard_bytes: hard.load(Ordering::Relaxed),
            soft_bytes: soft.load(Ordering::Relaxed),
            soft_seconds: seconds.load(Ordering::Relaxed),
        }
    }

    /// The addresses to listen on.
    pub fn bind_addresses(&self) -> Vec<BindAddress> {
        let address = |word: &str| match word.strip_prefix('-') {
            Some(address) => BindAddress { address: address.into(), optional: true },
            None => BindAddress { address: word.into(), optional: false },
        };
        self.text(id::BIND).split_ascii_whitespace().map(address).collect()
    }

    /// The number of worker threads: as set, or one per core.
    pub fn workers(&self) -> usize {
        match self.size(id::WORKERS) {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        }
    }

    /// The databases in which writes are acknowledged before copies have them, a bit each; the last stands for all from the 64th on.
    pub fn acknowledged_at_once(&self) -> u64 {
        value::acknowledged_at_once(&self.text(id::ACK))
    }

    /// The port for other nodes: as set, or `port` (`tls-port` if that is off) plus 10000. `None` when there is
    /// no such port.
    pub fn cluster_port(&self) -> Option<u16> {
        let serving = if self.int(id::PORT) != 0 { self.int(id::PORT) } else { self.int(id::TLS_PORT) };
        match self.int(id::CLUSTER_PORT) {
            0 if serving == 0 => None,
            0 => u16::try_from(serving + 10_000).ok(),
            port => u16::try_from(port).ok(),
        }
    }

    /// The file this configuration was read from, as an absolute path.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The `user` lines at start, a user each: the name, then ACL rules, which may hold passwords.
    pub fn users(&self) -> &[UserLine] {
        &self.users
    }

    /// The `cache` lines at start, a named cache each: the name, then settings.
    pub fn caches(&self) -> &[Vec<String>] {
        &self.caches
    }

    /// Directives without effect that are not at their defaults.
    pub fn set_in_vain(&self) -> impl Iterator<Item = Id> {
        let defaults = Config::default();
        Id::all().filter(move |&id| id.row().inert && self.print(id) != defaults.print(id))
    }

    /// The answer to CONFIG GET: names and values of all that match any of the patterns, each once.
    ///
    /// A pattern matches names and aliases in any case. One without wildcards finds its directive even if that
    /// is hidden, and the answer bears the name as it was asked for.
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        let mut add = |name: &str, id: Id| {
            if !found.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                found.push((name.to_string(), self.print(id)));
            }
        };
        for pattern in patterns {
            if !pattern.iter().any(|b| b"[*?".contains(b)) {
                let name = std::str::from_utf8(pattern).unwrap_or_default();
                if let Some(id) = Id::find(name) {
                    add(name, id);
                }
                continue;
            }
            for id in Id::all().filter(|id| !id.row().hidden) {
                let row = id.row();
                for name in [row.name, row.alias] {
                    if !name.is_empty() && glob_match(pattern, name.as_bytes(), true) {
                        add(name, id);
                    }
                }
            }
        }
        found
    }

    /// Whether the value of the directive of this name is a secret, to be kept out of MONITOR and logs.
    pub fn is_sensitive(name: &[u8]) -> bool {
        let id = std::str::from_utf8(name).ok().and_then(Id::find);
        id.is_some_and(|id| id.row().sensitive)
    }

    fn value(&self, texts: &[Arc<str>], id: Id) -> Value {
        match id.row().kind.is_number() {
            true => Value::Number(self.numbers[id.place()].load(Ordering::Relaxed)),
            false => Value::Text(texts[id.place()].clone()),
        }
    }
}

// Changing while serving.
impl Config {
    /// CONFIG SET: checks all values, then stores all of them, or none.
    ///
    /// The result names the directives whose value is another now. Who must act on one of them and cannot
    /// hands it to [`Config::roll_back`].
    pub fn change(&self, pairs: &[(&[u8], &[u8])], caller: Caller) -> Result<Change, SetError> {
        let mut texts = self.texts.write();
        let ids = self.permitted(pairs, caller, &texts)?;
        let mut values = Vec::with_capacity(pairs.len());
        for (&id, &(name, given)) in ids.iter().zip(pairs) {
            let value = parse_given(id, given, &texts[id.place()]);
            values.push(value.map_err(|reason| refused(id.row().called(name), reason))?);
        }
        let mut before = Vec::new();
        for (&id, value) in ids.iter().zip(values) {
            let old = self.value(&texts, id);
            if old != value || id.row().reload {
                self.store(&mut texts, id, value);
                before.push((id, old));
            }
        }
        Ok(Change { before })
    }

    /// Takes a change back.
    pub fn roll_back(&self, change: Change) {
        let mut texts = self.texts.write();
        for (id, value) in change.before.into_iter().rev() {
            self.store(&mut texts, id, value);
        }
    }

    /// The directives named, if all of them may be changed now.
    fn permitted(
        &self,
        pairs: &[(&[u8], &[u8])],
        caller: Caller,
        texts: &[Arc<str>],
    ) -> Result<Vec<Id>, SetError> {
        let mut ids = Vec::with_capacity(pairs.len());
        let mut loading = false;
        for (place, &(name, given)) in pairs.iter().enumerate() {
            let asked = String::from_utf8_lossy(name);
            let Some(id) = Id::find(&asked) else {
                return Err(SetError::Unknown(asked.into_owned()));
            };
            let row = id.row();
            match row.mutability {
                Mutability::Immutable => return Err(refused(&asked, "can't set immutable config")),
                Mutability::Startup if !self.has_value(texts, id, given) => {
                    return Err(refused(&asked, "can't set immutable config"));
                }
                Mutability::Protected | Mutability::ProtectedNotWhileLoading if !self.unprotected(caller) => {
                    return Err(refused(&asked, "can't set protected config"));
                }
                Mutability::NotWhileLoading | Mutability::ProtectedNotWhileLoading => {
                    loading |= caller.loading
                }
                Mutability::Free | Mutability::Startup | Mutability::Protected => {}
            }
            if pairs[..place].iter().any(|(earlier, _)| earlier.eq_ignore_ascii_case(name)) {
                return Err(refused(&asked, "duplicate parameter"));
            }
            ids.push(id);
        }
        if loading { Err(SetError::Loading) } else { Ok(ids) }
    }

    /// Whether the caller may change protected directives.
    fn unprotected(&self, caller: Caller) -> bool {
        match self.choice(id::ENABLE_PROTECTED_CONFIGS) {
            "yes" => true,
            "local" => caller.local,
            _ => false,
        }
    }

    fn has_value(&self, texts: &[Arc<str>], id: Id, given: &[u8]) -> bool {
        parse_given(id, given, &texts[id.place()]).is_ok_and(|value| value == self.value(texts, id))
    }

    /// The one place a value is stored.
    fn store(&self, texts: &mut [Arc<str>], id: Id, value: Value) {
        match value {
            Value::Number(number) => self.numbers[id.place()].store(number, Ordering::Relaxed),
            Value::Text(text) => {
                if matches!(id.row().kind, Kind::OutputLimits) {
                    let limits = OutputLimits::from_canonical(&text);
                    for (limit, [hard, soft, seconds]) in limits.0.iter().zip(&self.output_limits) {
                        hard.store(limit.hard_bytes, Ordering::Relaxed);
                        soft.store(limit.soft_bytes, Ordering::Relaxed);
                        seconds.store(limit.soft_seconds, Ordering::Relaxed);
                    }
                }
                texts[id.place()] = text;
            }
        }
    }
}

// Building, before anyone else reads.
impl Config {
    /// Reads a configuration file. What it does not say stays at its default.
    pub fn load(path: impl AsRef<Path>) -> Result<Config, Error> {
        let mut config = Config::default();
        file::load(&mut config, path.as_ref())?;
        config.check()?;
        Ok(config)
    }

    /// Sets one directive as a line of a file would: `set("save", "900 1")`. For embedding and tests; any
    /// directive may be set, and [`Config::check`] is left to the end.
    pub fn set(&mut self, name: &str, value: &str) -> Result<&mut Config, Error> {
        file::apply(self, &Place::Program, &[name.to_string(), value.to_string()], 0)?;
        Ok(self)
    }

    /// Whether the directives can stand together.
    pub fn check(&self) -> Result<(), Error> {
        if self.flag(id::CLUSTER_ENABLED) && !self.text(id::REPLICAOF).is_empty() {
            return Err(Error::Conflict("replicaof directive not allowed in cluster mode".into()));
        }
        let ports = [id::PORT, id::TLS_PORT, id::MEMCACHED_PORT, id::ADMIN_PORT, id::CLUSTER_PORT];
        for (place, &port) in ports.iter().enumerate() {
            let number = self.int(port);
            if let Some(&other) =
                ports[..place].iter().find(|&&other| number != 0 && self.int(other) == number)
            {
                let (port, other) = (port.name(), other.name());
                return Err(Error::Conflict(format!(
                    "{other} and {port} are both {number}: one of them must change"
                )));
            }
        }
        Ok(())
    }

    /// Stores the words of a directive, or says what is wrong with them.
    fn assign(&mut self, id: Id, words: &[&str]) -> Result<(), Reason> {
        let mut texts = self.texts.write();
        let value = value::parse(id.row(), words, &texts[id.place()])?;
        self.store(&mut texts, id, value);
        Ok(())
    }
}

impl Change {
    /// The directives whose value is another now, and those that name a file which may be.
    pub fn ids(&self) -> impl Iterator<Item = Id> {
        self.before.iter().map(|(id, _)| *id)
    }

    /// Whether this one is among them.
    pub fn touches(&self, id: Id) -> bool {
        self.ids().any(|changed| changed == id)
    }
}

impl fmt::Debug for Config {
    /// The directives that are not at their defaults, secrets left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let defaults = Config::default();
        let mut map = f.debug_map();
        for id in Id::all() {
            let value = self.print(id);
            if value != defaults.print(id) {
                map.entry(&id, &if id.row().sensitive { "<hidden>" } else { &value });
            }
        }
        map.finish()
    }
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetError::Unknown(name) => {
                write!(f, "Unknown option or number of arguments for CONFIG SET - '{name}'")
            }
            SetError::Refused { argument, reason } => {
                write!(f, "CONFIG SET failed (possibly related to argument '{argument}') - {reason}")
            }
            SetError::Loading => f.write_str("the dataset is being loaded in memory"),
        }
    }
}

impl std::error::Error for SetError {}

fn refused(argument: &str, reason: impl Into<Reason>) -> SetError {
    SetError::Refused { argument: argument.into(), reason: reason.into() }
}

/// Reads a value as CONFIG SET gives it: one argument, split at every blank where several words are taken.
fn parse_given(id: Id, given: &[u8], current: &str) -> Result<Value, Reason> {
    let given = std::str::from_utf8(given).map_err(|_| "argument must be valid UTF-8")?;
    let words: Vec<&str> = match id.row().kind.takes_words() {
        true if given.is_empty() => Vec::new(),
        true => given.split(' ').collect(),
        false => vec![given],
    };
    value::parse(id.row(), &words, current)
}

#[cfg(test)]
mod tests;
