//! A selector: commands, keys and channels that go together. A request is allowed if one of its user's selectors allows all of it.
//!
//! The commands allowed are kept twice: as bits, which are what is checked, and as the rules they came from, which are what is
//! shown, in the order they were given and without those that later ones made void.

use super::Terms;
use super::catalogue::Catalogue;
use super::rules::RuleError;
use crate::text::glob::glob_match;
use std::collections::{BTreeMap, BTreeSet};

/// What is done to a key, or may be done to those that match a pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Access {
    /// Its value is read.
    pub read: bool,
    /// It is changed.
    pub write: bool,
}

impl Access {
    /// Both.
    pub const ALL: Access = Access { read: true, write: true };

    fn covers(self, wanted: Access) -> bool {
        (self.read || !wanted.read) && (self.write || !wanted.write)
    }
}

/// A request as selectors see it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The number of its command.
    pub command: usize,
    /// What stands behind the command's name.
    pub first_arg: Option<&'a [u8]>,
    /// Its keys: each one's place among the arguments, the key, and what is done to it.
    pub keys: &'a [(usize, &'a [u8], Access)],
    /// Its channels: each one's place among the arguments, its name, and whether that is a pattern.
    pub channels: &'a [(usize, &'a [u8], bool)],
    /// The databases it is about: each one's place among the arguments, 0 if it is not named there, and its number.
    pub databases: &'a [(usize, usize)],
}

/// What a request lacks. Later variants weigh more: they got further.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Denied {
    /// Permission for the database at this place among the arguments; at 0 it is one that is not named.
    Database(usize),
    /// Permission to run the command.
    Command,
    /// Permission to touch the key at this place among the arguments.
    Key(usize),
    /// Permission to use the channel at this place among the arguments.
    Channel(usize),
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct KeyPattern {
    access: Access,
    pattern: Box<[u8]>,
}

/// Commands, keys and channels that go together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selector {
    /// Whether rules for commands start from all of them.
    from_all: bool,
    /// Whether all commands are allowed, so that none needs a look.
    all_commands: bool,
    allowed: Box<[u64]>,
    /// First arguments, in lower case, with which a command is allowed that is not otherwise.
    first_args: BTreeMap<usize, Vec<Box<[u8]>>>,
    /// Rules for commands, by what they are about.
    command_rules: Vec<(bool, String)>,
    all_keys: bool,
    keys: Vec<KeyPattern>,
    all_channels: bool,
    channels: Vec<Box<[u8]>>,
    all_databases: bool,
    databases: BTreeSet<usize>,
}

impl Selector {
    /// A selector that allows nothing, except all databases, and all channels where that is the default.
    pub fn new(terms: Terms) -> Selector {
        Selector {
            from_all: false,
            all_commands: false,
            allowed: vec![0; terms.catalogue.len().div_ceil(64)].into(),
            first_args: BTreeMap::new(),
            command_rules: Vec::new(),
            all_keys: false,
            keys: Vec::new(),
            all_channels: terms.all_channels,
            channels: Vec::new(),
            all_databases: true,
            databases: BTreeSet::new(),
        }
    }

    /// A selector by its `rules`, parted by blanks.
    pub(super) fn parse(terms: Terms, rules: &[u8]) -> Result<Selector, RuleError> {
        let mut selector = Selector::new(terms);
        for rule in rules.split(u8::is_ascii_whitespace).filter(|rule| !rule.is_empty()) {
            selector.apply(terms.catalogue, rule)?;
        }
        Ok(selector)
    }

    /// Whether it allows everything.
    pub fn is_free(&self) -> bool {
        self.all_commands && self.all_keys && self.all_channels && self.all_databases
    }

    /// Applies one rule.
    pub(super) fn apply(&mut self, catalogue: &Catalogue, rule: &[u8]) -> Result<(), RuleError> {
        match rule.to_ascii_lowercase().as_slice() {
            b"allkeys" | b"~*" => {
                self.all_keys = true;
                self.keys.clear();
            }
            b"resetkeys" => {
                self.all_keys = false;
                self.keys.clear();
            }
            b"allchannels" | b"&*" => {
                self.all_channels = true;
                self.channels.clear();
            }
            b"resetchannels" => {
                self.all_channels = false;
                self.channels.clear();
            }
            b"alldbs" => {
                self.all_databases = true;
                self.databases.clear();
            }
            b"resetdbs" => {
                self.all_databases = false;
                self.databases.clear();
            }
            [b'd', b'b', b'=', numbers @ ..] => {
                self.databases = parse_databases(numbers)?;
                self.all_databases = false;
            }
            b"allcommands" | b"+@all" => self.set_all(true),
            b"nocommands" | b"-@all" => self.set_all(false),
            _ => match rule {
                [b'~', pattern @ ..] => self.add_keys(Access::ALL, pattern)?,
                [b'%', rest @ ..] => {
                    let (access, pattern) = parse_access(rest).ok_or(RuleError::Syntax)?;
                    self.add_keys(access, pattern)?;
                }
                [b'&', pattern @ ..] => self.add_channels(pattern)?,
                [sign @ (b'+' | b'-'), b'@', name @ ..] => {
                    self.set_category(catalogue, text(name)?, *sign == b'+')?;
                }
                [b'+', name @ ..] => self.allow(catalogue, text(name)?)?,
                [b'-', name @ ..] => {
                    let name = text(name)?;
                    let command = catalogue.find(name).ok_or(RuleError::Unknown)?;
                    self.set_family(catalogue, command, false);
                    self.note(name, false);
                }
                _ => return Err(RuleError::Syntax),
            },
        }
        Ok(())
    }

    fn set_all(&mut self, allow: bool) {
        self.from_all = allow;
        self.all_commands = allow;
        self.allowed.fill(if allow { u64::MAX } else { 0 });
        self.first_args.clear();
        self.command_rules.clear();
    }

    fn add_keys(&mut self, access: Access, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_keys {
            return Err(RuleError::KeysAfterAll);
        }
        check_name(pattern)?;
        match self.keys.iter_mut().find(|known| *known.pattern == *pattern) {
            Some(known) => {
                known.access.read |= access.read;
                known.access.write |= access.write;
            }
            None => self.keys.push(KeyPattern { access, pattern: pattern.into() }),
        }
        Ok(())
    }

    fn add_channels(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_channels {
            return Err(RuleError::ChannelsAfterAll);
        }
        check_name(pattern)?;
        if !self.channels.iter().any(|known| **known == *pattern) {
            self.channels.push(pattern.into());
        }
        Ok(())
    }

    fn set_category(&mut self, catalogue: &Catalogue, name: &str, allow: bool) -> Result<(), RuleError> {
        let category = catalogue.category(name).ok_or(RuleError::Unknown)?;
        for command in catalogue.members(category) {
            self.set_family(catalogue, command, allow);
        }
        self.note(&format!("@{name}"), allow);
        Ok(())
    }

    /// `+command`, `+container|subcommand`, or `+command|first-argument`.
    fn allow(&mut self, catalogue: &Catalogue, name: &str) -> Result<(), RuleError> {
        let Some((command, sub)) = name.rsplit_once('|') else {
            let command = catalogue.find(name).ok_or(RuleError::Unknown)?;
            self.set_family(catalogue, command, true);
            self.note(name, true);
            return Ok(());
        };
        let number = catalogue.find(command).ok_or(RuleError::Unknown)?;
        if command.contains('|') {
            return Err(RuleError::FirstArgOfSubcommand);
        }
        if sub.is_empty() {
            return Err(RuleError::Syntax);
        }
        if catalogue.command(number).subcommands > 0 {
            let number = catalogue.find(name).ok_or(RuleError::Unknown)?;
            self.set_family(catalogue, number, true);
        } else {
            let sub: Box<[u8]> = sub.to_ascii_lowercase().into_bytes().into();
            let known = self.first_args.entry(number).or_default();
            if !known.contains(&sub) {
                known.push(sub);
            }
        }
        self.note(name, true);
        Ok(())
    }

    /// Allows or forbids a command with its subcommands.
    fn set_family(&mut self, catalogue: &Catalogue, command: usize, allow: bool) {
        for number in catalogue.family(command) {
            let bit = 1 << (number % 64);
            if allow {
                self.allowed[number / 64] |= bit;
            } else {
                self.allowed[number / 64] &= !bit;
                self.all_commands = false;
            }
            self.first_args.remove(&number);
        }
    }

    /// Remembers a rule, and forgets what it makes void: rules about the same, or about subcommands of it.
    fn note(&mut self, about: &str, allow: bool) {
        let about = about.to_ascii_lowercase();
        let is_void = |old: &str| {
            old.strip_prefix(&*about).is_some_and(|rest| rest.is_empty() || rest.starts_with('|'))
        };
        self.command_rules.retain(|(_, old)| !is_void(old));
        self.command_rules.push((allow, about));
    }

    /// Whether it allows a request, and if not, what it lacks first.
    pub(super) fn check(&self, catalogue: &Catalogue, request: &Request) -> Result<(), Denied> {
        if !self.all_databases {
            for &(at, number) in request.databases {
                if !self.databases.contains(&number) {
                    return Err(Denied::Database(at));
                }
            }
        }
        if !self.all_commands && !self.may_run(catalogue, request) {
            return Err(Denied::Command);
        }
        if !self.all_keys {
            for &(at, key, access) in request.keys {
                if !self.may_touch(key, access) {
                    return Err(Denied::Key(at));
                }
            }
        }
        for &(at, channel, is_pattern) in request.channels {
            if !self.may_use_channel(channel, is_pattern) {
                return Err(Denied::Channel(at));
            }
        }
        Ok(())
    }

    fn may_run(&self, catalogue: &Catalogue, request: &Request) -> bool {
        let number = request.command;
        if catalogue.command(number).for_all || self.allowed[number / 64] >> (number % 64) & 1 != 0 {
            return true;
        }
        let (Some(allowed), Some(given)) = (self.first_args.get(&number), request.first_arg) else {
            return false;
        };
        allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(given))
    }

    fn may_touch(&self, key: &[u8], access: Access) -> bool {
        let allows =
            |known: &KeyPattern| known.access.covers(access) && glob_match(&known.pattern, key, false);
        self.keys.iter().any(allows)
    }

    /// Whether it allows a channel, or a pattern of channels, which must be one of its own to the letter.
    pub fn may_use_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        let allows = |known: &[u8]| match is_pattern {
            true => known == channel,
            false => glob_match(known, channel, false),
        };
        self.all_channels || self.channels.iter().any(|known| allows(known))
    }

    /// Whether any key may be read.
    pub(super) fn may_read_all(&self) -> bool {
        self.all_keys || self.keys.iter().any(|known| *known.pattern == *b"*" && known.access.read)
    }

    /// Its rules for keys, parted by blanks.
    pub fn describe_keys(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let rules = self.keys.iter().map(|known| {
            let prefix: &[u8] = match known.access {
                Access { read: true, write: true } => b"~",
                Access { read: true, write: false } => b"%R~",
                _ => b"%W~",
            };
            [prefix, &known.pattern].concat()
        });
        rules.collect::<Vec<_>>().join(&b' ')
    }

    /// Its rules for channels, parted by blanks.
    pub fn describe_channels(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        self.channels.iter().map(|known| [b"&", &**known].concat()).collect::<Vec<_>>().join(&b' ')
    }

    /// Its rule for databases; nothing if it allows none.
    pub fn describe_databases(&self) -> String {
        if self.all_databases {
            return "alldbs".to_string();
        }
        let numbers: Vec<String> = self.databases.iter().map(usize::to_string).collect();
        if numbers.is_empty() { String::new() } else { format!("db={}", numbers.join(",")) }
    }

    /// Its rules for commands, parted by blanks.
    pub fn describe_commands(&self) -> Vec<u8> {
        let mut text = String::from(if self.from_all { "+@all" } else { "-@all" });
        for (allow, about) in &self.command_rules {
            text.push_str(if *allow { " +" } else { " -" });
            text.push_str(about);
        }
        text.into_bytes()
    }

    /// All its rules, so that they make it again.
    pub(super) fn describe(&self) -> Vec<u8> {
        let mut parts = Vec::new();
        if self.all_keys || !self.keys.is_empty() {
            parts.push(self.describe_keys());
        }
        if !self.all_channels {
            parts.push(b"resetchannels".to_vec());
        }
        if self.all_channels || !self.channels.is_empty() {
            parts.push(self.describe_channels());
        }
        // That all are allowed goes without saying: servers that know no such rule can read the rest.
        if !self.all_databases {
            let numbers = self.describe_databases();
            parts.push(if numbers.is_empty() { b"resetdbs".to_vec() } else { numbers.into_bytes() });
        }
        parts.push(self.describe_commands());
        parts.join(&b' ')
    }
}

/// `R`, `W` or both in any order, then `~` and the pattern.
fn parse_access(text: &[u8]) -> Option<(Access, &[u8])> {
    let mut access = Access::default();
    for (at, byte) in text.iter().enumerate() {
        match byte.to_ascii_uppercase() {
            b'R' if !access.read => access.read = true,
            b'W' if !access.write => access.write = true,
            b'~' if access != Access::default() => return Some((access, &text[at + 1..])),
            _ => return None,
        }
    }
    // Redis takes rights without a pattern for rights to the key with the empty name.
    (access != Access::default()).then_some((access, &[]))
}

/// The numbers of `db=`, parted by commas. Whether a node has so many databases is not asked: it may have more another time.
fn parse_databases(numbers: &[u8]) -> Result<BTreeSet<usize>, RuleError> {
    let mut databases = BTreeSet::new();
    for number in numbers.split(|byte| *byte == b',') {
        let number = number.trim_ascii_start();
        let (negative, digits) = match number {
            [sign @ (b'+' | b'-'), digits @ ..] => (*sign == b'-', digits),
            digits => (false, digits),
        };
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(RuleError::Syntax);
        }
        let value = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<i32>().ok());
        let value = value.filter(|value| !negative || *value == 0).ok_or(RuleError::DatabaseOutOfRange)?;
        databases.insert(usize::try_from(value).map_err(|_| RuleError::DatabaseOutOfRange)?);
    }
    Ok(databases)
}

/// The name of a command or category; any that is no text names nothing.
fn text(name: &[u8]) -> Result<&str, RuleError> {
    std::str::from_utf8(name).map_err(|_| RuleError::Unknown)
}

/// Whether a pattern can be written into a line of rules and read back.
fn check_name(pattern: &[u8]) -> Result<(), RuleError> {
    if super::has_blanks(pattern) { Err(RuleError::Syntax) } else { Ok(()) }
}
