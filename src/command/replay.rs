//! What a replica does with the effects its primary sent (see `state/effect.rs`), and which commands are replayed as they stand.

use super::client::{Client, Waiting};
use super::clock::Clock;
use super::keys::{Keys, Routed};
use super::table;
use super::{Command, Cx, call, dump, flag};
use crate::state::State;
use crate::state::across::{Change, TransactionId};
use crate::state::effect::kind::{
    CLEAR, COMMAND, DECIDE, FINISH, FORGET, PREPARE, PUT_OBJECT, PUT_RAW, PUT_TEXT, REMOVE, SWAP,
};
use crate::state::keyspace::{Guard, Held};
use crate::state::partition::DbKey;
use crate::state::stats::WorkerStats;
use crate::state::tracking::{Author, NOBODY};
use crate::store::entry::{Entry, Extras, INLINE_MAX, Marks, Payload};
use crate::store::hash::hash;
use crate::store::rdb::{self, Value};
use crate::store::table::Keyed;
use shoal_protocol::resp::{Args, Output, OwnedArgs, Proto};
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// Whether a replica does the same when it runs this request: all it looks at lies in one partition, and it leaves
/// nothing to chance.
pub fn is_replayed(command: &Command, args: Args) -> Option<u8> {
    if !command.flags.has(flag::WRITE) || command.flags.any(flag::SCRIPT | flag::BY_RESULT) {
        return None;
    }
    match call::needs(command, args, None) {
        call::Needs::Keys(routed) => {
            let first = routed.first()?.partition;
            routed.iter().all(|key| key.partition == first).then_some(first)
        }
        _ => None,
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(value);
            }
            shift += 7;
        }
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        let (value, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(value)
    }

    fn transaction(&mut self) -> Option<TransactionId> {
        Some(TransactionId { node: self.number()?, number: self.number()? })
    }

    fn db(&mut self, state: &State) -> Option<usize> {
        let db = usize::try_from(self.number()?).ok()?;
        (db < state.keyspace.databases()).then_some(db)
    }
}

/// Applies effects to partitions this node keeps copies of.
pub struct Replayer {
    client: Client,
    out: Output,
    /// Whose doing it is.
    author: Author,
}

/// An effect that cannot be understood: the copy is of no use from here on.
#[derive(Debug, PartialEq, Eq)]
pub struct BadEffect;

impl Replayer {
    /// A replayer for `state`.
    pub fn new(state: &State) -> Replayer {
        let mut client = Client::new(state.clients.detached(), Arc::clone(state.acl.peer()));
        client.waiting = Waiting::Denied;
        Replayer { client, out: Output::new(Proto::Resp2), author: NOBODY }
    }

    /// Applies the effects of one entry to the partition that is entered. Nothing is published, as the primary does that; and it is
    /// counted in `stats`, which are nobody's, as nobody asked this node.
    pub fn apply<'s>(
        &mut self,
        state: &'s State,
        stats: &'s WorkerStats,
        number: u8,
        guard: Guard<'s>,
        effects: &[u8],
    ) -> Result<(), BadEffect> {
        let held = Held::from_iter([(number, guard)]);
        let applied = crate::state::silently(|| self.apply_all(state, stats, held, effects));
        applied.map(drop).ok_or(BadEffect)
    }

    /// Makes the change of a transaction across nodes at its primary, with all that others are told of a change. Keys that are waited
    /// for are added to `ready`. What copies are told is the caller's business. Nothing if the change cannot be understood.
    pub fn change<'s>(
        &mut self,
        state: &'s State,
        stats: &'s WorkerStats,
        (number, guard): (u8, Guard<'s>),
        (change, by): (&Change, Author),
        ready: &mut Vec<DbKey>,
    ) -> Option<Guard<'s>> {
        let held = Held::from_iter([(number, guard)]);
        self.author = by;
        let held = crate::state::silently(|| self.apply_all(state, stats, held, &change.effects))?;
        let (_, mut guard) = held.into_iter().next()?;
        for (db, key) in change.keys.iter().filter(|(db, _)| *db < state.keyspace.databases()) {
            state.key_changed(&mut guard, *db, key, by);
            if guard.is_awaited(*db, key) {
                ready.push((*db, key.as_slice().into()));
            }
        }
        if let Some(own) = &mut guard.replication {
            own.take_changed();
            own.effects().clear();
        }
        for event in &change.events {
            state.notify(event.class, &event.name, event.db, &event.key);
        }
        stats.changes.add(change.keys.len() as u64);
        Some(guard)
    }

    fn apply_all<'s>(
        &mut self,
        state: &'s State,
        stats: &'s WorkerStats,
        mut held: Held<'s>,
        effects: &[u8],
    ) -> Option<Held<'s>> {
        let mut reader = Reader(effects);
        let mut clock = Clock::new();
        while let Some(kind) = reader.byte() {
            match kind {
                COMMAND => {
                    let (db, now_ms) = (reader.db(state)?, reader.number()? as i64);
                    let mut args = OwnedArgs::new();
                    for _ in 0..reader.number()? {
                        args.push(reader.bytes()?);
                    }
                    held = self.run(state, stats, held, &mut clock, (db, now_ms), args.as_args())?;
                }
                PUT_TEXT | PUT_RAW | PUT_OBJECT => {
                    let (db, entry) = read_put(state, &mut reader, kind)?;
                    let table = &mut held[0].1.dbs[db];
                    let _old = table.remove(hash(entry.key()), entry.key());
                    table.insert(entry, clock.unix_ms);
                }
                REMOVE => {
                    let (db, key) = (reader.db(state)?, reader.bytes()?);
                    let _old = held[0].1.dbs[db].remove(hash(key), key);
                }
                CLEAR => {
                    let db = reader.db(state)?;
                    let _old = held[0].1.clear(db);
                }
                SWAP => {
                    let (a, b) = (reader.db(state)?, reader.db(state)?);
                    held[0].1.swap(a, b);
                }
                PREPARE => {
                    let (id, home) = (reader.transaction()?, reader.byte()?);
                    let change: Change = postcard::from_bytes(reader.bytes()?).ok()?;
                    let now_ns = state.cluster.now_ns();
                    held[0].1.with_ledger(|ledger| ledger.keep(id, home, change, now_ns));
                }
                FINISH => {
                    let (id, commit) = (reader.transaction()?, reader.byte()? == 1);
                    let prepared = held[0].1.with_ledger(|ledger| ledger.finish(id))?;
                    if commit {
                        held = self.apply_all(state, stats, held, &prepared.change.effects)?;
                    }
                }
                DECIDE => {
                    let (id, prepared) = (reader.transaction()?, reader.bytes()?.to_vec());
                    let now_ns = state.cluster.now_ns();
                    held[0].1.with_ledger(|ledger| ledger.note_decision(id, prepared, now_ns));
                }
                FORGET => {
                    let id = reader.transaction()?;
                    held[0].1.with_ledger(|ledger| ledger.forget(id));
                }
                _ => return None,
            }
        }
        Some(held)
    }

    /// Runs a command as the primary did, by its clock; returns the partitions held.
    fn run<'s>(
        &mut self,
        state: &'s State,
        stats: &'s WorkerStats,
        held: Held<'s>,
        clock: &mut Clock,
        (db, now_ms): (usize, i64),
        args: Args,
    ) -> Option<Held<'s>> {
        let row = table::find(args).ok()?;
        clock.unix_ms = now_ms;
        self.client.db = db;
        let mut keys = Keys::new(state, stats, held, Routed::new(), db, now_ms);
        keys.author = self.author;
        let (client, out) = (&mut self.client, &mut self.out);
        let mut cx =
            Cx { state, stats, client, keys: &mut keys, out, clock, pause: None, command: row.command };
        // What fails here failed there.
        let _ = (row.command.run)(&mut cx, args);
        let held = keys.into_held();
        self.out.clear();
        Some(held)
    }
}

fn read_put(state: &State, reader: &mut Reader<'_>, kind: u8) -> Option<(usize, Entry)> {
    let (db, key) = (reader.db(state)?, reader.bytes()?);
    let expires_at = match reader.number()? {
        0 => None,
        at => Some((at - 1) as i64),
    };
    let (client_flags, cas) = (u32::try_from(reader.number()?).ok()?, reader.number()?);
    let clock = u32::try_from(reader.number()?).ok()?;
    let marks = Marks::from_bits(reader.byte()?);
    let value = reader.bytes()?;
    let payload = match kind {
        PUT_OBJECT => match rdb::take_value(&mut rdb::Reader::new(value), &dump::limits(state))? {
            Value::Object(object) => Payload::Object(Box::new(object)),
            Value::String(_) => return None,
        },
        _ if value.len() > INLINE_MAX => Payload::Shared(Arc::new(value.to_vec())),
        PUT_RAW => Payload::Inline(value),
        _ => Payload::string(value),
    };
    let mut entry = Entry::new(key, payload, Extras { expires_at, client_flags, cas });
    entry.set_clock(clock);
    entry.set_marks(marks);
    if kind == PUT_RAW && value.len() <= INLINE_MAX {
        entry.set_raw();
    }
    Some((db, entry))
}
