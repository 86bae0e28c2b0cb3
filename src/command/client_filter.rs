//! Which connections CLIENT LIST shows and CLIENT KILL closes, and the line that describes one.

use super::error::{self, CmdError};
use super::table;
use crate::state::State;
use crate::state::clients::{ClientShared, client_flag};
use crate::state::tracking::Mode;
use crate::text::number::parse_i64;
use shoal_protocol::resp::Args;
use std::sync::atomic::Ordering::Relaxed;

/// Letters CLIENT LIST shows as flags.
const FLAG_LETTERS: &str = "ANOSMPxbtRBdcuUreTIi";
/// Letters CLIENT LIST shows as capabilities.
const CAPA_LETTERS: &str = "r";

/// What a filter compares.
enum Test {
    Ids(Vec<u64>),
    Addr(Vec<u8>),
    LocalAddr(Vec<u8>),
    Ip(Vec<u8>),
    Kind(ClientKind),
    User(Vec<u8>),
    Name(Vec<u8>),
    LibName(Vec<u8>),
    LibVersion(Vec<u8>),
    Flags(Vec<u8>),
    Capabilities(Vec<u8>),
    Db(usize),
    MinAge(i64),
    MinIdle(i64),
}

/// The kinds of client the protocol tells apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientKind {
    /// Any other.
    Normal,
    /// A primary this node copies.
    Primary,
    /// A node that copies this one.
    Replica,
    /// Subscribed to something.
    PubSub,
}

/// The connections wanted: all that meet every test.
#[derive(Default)]
pub struct Filter {
    /// Tests and whether each must be met or must not.
    tests: Vec<(Test, bool)>,
    /// Whether the connection that asks is left out, if it was said.
    pub skip_me: Option<bool>,
}

impl Filter {
    /// Reads options from the argument at `at` on.
    pub fn parse(state: &State, args: Args, mut at: usize) -> Result<Filter, CmdError> {
        let mut filter = Filter::default();
        while let Some(option) = args.get(at) {
            let Some(value) = args.get(at + 1) else { return Err(error::SYNTAX) };
            let option = option.to_ascii_lowercase();
            let (name, wanted) = match option.strip_prefix(b"not-") {
                Some(name) => (name, false),
                None => (&option[..], true),
            };
            at += 2;
            let test = match name {
                b"id" => {
                    // As many numbers as there are; what follows is another option, or wrong.
                    at -= 1;
                    let mut ids = Vec::new();
                    while let Some(id) = args.get(at).and_then(parse_i64) {
                        ids.push(client_id(id)?);
                        at += 1;
                    }
                    filter.add_ids(&ids, wanted);
                    continue;
                }
                b"skipme" if wanted => {
                    filter.skip_me = Some(match &*value.to_ascii_lowercase() {
                        b"yes" => true,
                        b"no" => false,
                        _ => return Err(error::SYNTAX),
                    });
                    continue;
                }
                name => test(state, name, value, wanted)?,
            };
            filter.set(test, wanted);
        }
        Ok(filter)
    }

    /// The connections from the address `addr`.
    pub fn of_addr(addr: &[u8]) -> Filter {
        Filter { tests: vec![(Test::Addr(addr.to_vec()), true)], skip_me: Some(false) }
    }

    fn add_ids(&mut self, ids: &[u64], wanted: bool) {
        for (test, other) in &mut self.tests {
            if let (Test::Ids(known), true) = (test, *other == wanted) {
                known.extend(ids);
                return;
            }
        }
        self.tests.push((Test::Ids(ids.to_vec()), wanted));
    }

    /// Adds a test in place of an earlier one of its kind.
    fn set(&mut self, test: Test, wanted: bool) {
        let kind = std::mem::discriminant(&test);
        self.tests.retain(|(other, was)| (std::mem::discriminant(other), *was) != (kind, wanted));
        self.tests.push((test, wanted));
    }

    /// Whether a connection is wanted, whoever asks.
    pub fn accepts(&self, state: &State, client: &ClientShared, now_ms: i64) -> bool {
        self.tests.iter().all(|(test, wanted)| test.is_met(state, client, now_ms) == *wanted)
    }
}

fn client_id(id: i64) -> Result<u64, CmdError> {
    let id = u64::try_from(id).ok().filter(|id| *id > 0);
    id.ok_or(CmdError::new("ERR client-id should be greater than 0"))
}

fn test(state: &State, name: &[u8], value: &[u8], wanted: bool) -> Result<Test, CmdError> {
    let shown = || String::from_utf8_lossy(value);
    Ok(match name {
        b"addr" => Test::Addr(value.to_vec()),
        b"laddr" => Test::LocalAddr(value.to_vec()),
        b"ip" => Test::Ip(value.to_vec()),
        b"name" => Test::Name(value.to_vec()),
        b"lib-name" => Test::LibName(value.to_vec()),
        b"lib-ver" => Test::LibVersion(value.to_vec()),
        b"type" => match kind(value) {
            Some(kind) => Test::Kind(kind),
            None => return Err(CmdError::with(format!("ERR Unknown client type '{}'", shown()))),
        },
        b"user" if state.acl.user(value).is_none() => {
            return Err(CmdError::with(format!("ERR No such user '{}'", shown())));
        }
        b"user" => Test::User(value.to_vec()),
        b"flags" if !value.iter().all(|flag| FLAG_LETTERS.as_bytes().contains(flag)) => {
            let filter = if wanted { "provided" } else { "NOT-FLAGS" };
            return Err(CmdError::with(format!(
                "ERR Unknown flags found in the {filter} filter: {}",
                shown()
            )));
        }
        b"flags" => Test::Flags(value.to_vec()),
        b"capa" if !value.iter().all(|capa| CAPA_LETTERS.as_bytes().contains(capa)) => {
            let filter = if wanted { "provided" } else { "NOT-CAPA" };
            return Err(CmdError::with(format!(
                "ERR Unknown capa found in the {filter} filter: {}",
                shown()
            )));
        }
        b"capa" => Test::Capabilities(value.to_vec()),
        b"db" => {
            let (what, count) = (if wanted { "DB" } else { "NOT-DB" }, state.keyspace.databases());
            let no_integer = || CmdError::with(format!("ERR {what} is not an integer or out of range"));
            let no_database =
                || CmdError::with(format!("ERR {what} number should be between 0 and {}", count - 1));
            let db = parse_i64(value).ok_or_else(no_integer)?;
            Test::Db(usize::try_from(db).ok().filter(|db| *db < count).ok_or_else(no_database)?)
        }
        b"maxage" if wanted => Test::MinAge(seconds(value, "maxage")?),
        b"idle" if wanted => Test::MinIdle(seconds(value, "idle")?),
        _ => return Err(error::SYNTAX),
    })
}

fn seconds(arg: &[u8], what: &str) -> Result<i64, CmdError> {
    match parse_i64(arg) {
        None => Err(CmdError::with(format!("ERR {what} is not an integer or out of range"))),
        Some(seconds) if seconds <= 0 => Err(CmdError::with(format!("ERR {what} should be greater than 0"))),
        Some(seconds) => Ok(seconds),
    }
}

fn kind(name: &[u8]) -> Option<ClientKind> {
    Some(match &*name.to_ascii_lowercase() {
        b"normal" => ClientKind::Normal,
        b"master" | b"primary" => ClientKind::Primary,
        b"slave" | b"replica" => ClientKind::Replica,
        b"pubsub" => ClientKind::PubSub,
        _ => return None,
    })
}

impl Test {
    fn is_met(&self, state: &State, client: &ClientShared, now_ms: i64) -> bool {
        match self {
            Test::Ids(ids) => ids.contains(&client.id),
            Test::Addr(addr) => client.addr.as_bytes() == &**addr,
            Test::LocalAddr(addr) => client.laddr.as_bytes() == &**addr,
            Test::Ip(ip) => ip_of(&client.addr).as_bytes() == &**ip,
            Test::Kind(kind) => kind_of(client) == *kind,
            Test::User(user) => client.labels.lock().user == *user,
            Test::Name(name) => client.labels.lock().name == *name,
            Test::LibName(name) => client.labels.lock().lib_name == *name,
            Test::LibVersion(version) => client.labels.lock().lib_version == *version,
            Test::Flags(wanted) => {
                let flags = flags_of(state, client);
                wanted.iter().all(|flag| flags.as_bytes().contains(flag))
            }
            Test::Capabilities(wanted) => {
                wanted.iter().all(|capa| capabilities_of(client).as_bytes().contains(capa))
            }
            Test::Db(db) => client.db.load(Relaxed) == *db,
            Test::MinAge(seconds) => (now_ms - client.created_ms) / 1000 >= *seconds,
            Test::MinIdle(seconds) => (now_ms - client.active_ms.load(Relaxed)) / 1000 >= *seconds,
        }
    }
}

/// An address without its port, and without the brackets of IPv6.
fn ip_of(addr: &str) -> &str {
    let ip = addr.rsplit_once(':').map_or(addr, |(ip, _)| ip);
    ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip)
}

/// What kind of client a connection is.
pub fn kind_of(client: &ClientShared) -> ClientKind {
    if client.is_subscribed() { ClientKind::PubSub } else { ClientKind::Normal }
}

fn capabilities_of(client: &ClientShared) -> &'static str {
    if client.has_flag(client_flag::REDIRECT) { "r" } else { "" }
}

/// The letters that describe a connection's state; `N` for none.
fn flags_of(state: &State, client: &ClientShared) -> String {
    let tracker = state.tracking.of(client.id);
    let tracker = tracker.as_deref();
    let flag = |flag| client.has_flag(flag);
    let waits = flag(client_flag::HELD) || client.is_blocked();
    let letters = [
        ('O', flag(client_flag::MONITOR)),
        ('P', client.is_subscribed()),
        ('x', client.figures.queued.load(Relaxed) > 0),
        ('b', waits),
        ('t', tracker.is_some()),
        ('R', tracker.is_some_and(|tracker| tracker.broken.load(Relaxed))),
        ('B', tracker.is_some_and(|tracker| tracker.mode == Mode::Broadcast)),
        ('c', flag(client_flag::CLOSING)),
        ('U', flag(client_flag::UNIX)),
        ('r', flag(client_flag::READONLY)),
        ('e', flag(client_flag::NO_EVICT)),
        ('T', flag(client_flag::NO_TOUCH)),
        ('I', flag(client_flag::IMPORT_SOURCE)),
    ];
    let text: String = letters.iter().filter(|(_, on)| *on).map(|(letter, _)| *letter).collect();
    if text.is_empty() { "N".to_string() } else { text }
}

/// The line CLIENT LIST shows of a connection, line end included.
pub fn describe(state: &State, client: &ClientShared, now_ms: i64) -> String {
    let labels = client.labels.lock().clone();
    let figures = &client.figures;
    let subscriptions = client.subscriptions.each_ref().map(|count| count.load(Relaxed));
    let redirect = state.tracking.of(client.id).map_or(-1, |tracker| {
        let target = tracker.redirect.as_ref();
        target.map_or(0, |target| target.id as i64)
    });
    let output = figures.output.load(Relaxed) + client.inbox_bytes();
    let command = match client.command.load(Relaxed) {
        usize::MAX => "NULL",
        number => table::by_number(number).command.name,
    };
    let text = String::from_utf8_lossy;
    format!(
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} capa={} db={} sub={} psub={} ssub={} \
         multi={} watch={} qbuf={} qbuf-free={} argv-mem=0 multi-mem={} rbs=0 rbp=0 obl=0 oll={} omem={output} \
         tot-mem={} events={} cmd={command} user={} redir={redirect} resp={} lib-name={} lib-ver={} \
         tot-net-in={} tot-net-out={} tot-cmds={}\n",
        client.id,
        client.addr,
        client.laddr,
        figures.fd.load(Relaxed),
        text(&labels.name),
        (now_ms - client.created_ms).max(0) / 1000,
        (now_ms - client.active_ms.load(Relaxed)).max(0) / 1000,
        flags_of(state, client),
        capabilities_of(client),
        client.db.load(Relaxed),
        subscriptions[0],
        subscriptions[1],
        subscriptions[2],
        figures.queued.load(Relaxed) as i64 - 1,
        figures.watched.load(Relaxed),
        figures.input.load(Relaxed),
        figures.input_spare.load(Relaxed),
        figures.queued_bytes.load(Relaxed),
        usize::from(output > 0),
        figures.memory.load(Relaxed) + client.inbox_bytes(),
        if output > 0 { "rw" } else { "r" },
        text(&labels.user),
        if client.resp3.load(Relaxed) { 3 } else { 2 },
        text(&labels.lib_name),
        text(&labels.lib_version),
        figures.net_in.load(Relaxed),
        figures.net_out.load(Relaxed),
        figures.commands.load(Relaxed),
    )
}
