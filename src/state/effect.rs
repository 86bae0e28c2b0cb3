//! Effects: what a replica does to end up as its primary is, in bytes.
//!
//! A command whose keys lie in one partition is its own effect, run again with the primary's clock: given the same contents it does
//! the same. All others (keys of several partitions, random choices, the memcached verbs, expiry, eviction) are told by
//! their results: the new value of each key, or that it is gone. `command/replay.rs` reads what is written here.
//!
//! The bytes never leave the cluster; nodes agree on a version of them when they connect.

use crate::store::entry::{Entry, ValueRef};
use crate::store::rdb;
use crate::store::table::Keyed;

/// The kinds of effects, their first byte.
pub mod kind {
    /// A command.
    pub const COMMAND: u8 = 0;
    /// A string in its usual encoding.
    pub const PUT_TEXT: u8 = 1;
    /// A string that is `raw` whatever its length.
    pub const PUT_RAW: u8 = 2;
    /// Any other value.
    pub const PUT_OBJECT: u8 = 3;
    /// A key is gone.
    pub const REMOVE: u8 = 4;
    /// A database is empty.
    pub const CLEAR: u8 = 5;
    /// Two databases changed places.
    pub const SWAP: u8 = 6;
    /// What a transaction across nodes is to do is kept.
    pub const PREPARE: u8 = 7;
    /// It is done, or dropped.
    pub const FINISH: u8 = 8;
    /// A transaction across nodes is committed.
    pub const DECIDE: u8 = 9;
    /// All who take part in it know.
    pub const FORGET: u8 = 10;
}
use super::across::{Change, TransactionId};
use kind::{CLEAR, COMMAND, DECIDE, FINISH, FORGET, PREPARE, PUT_OBJECT, PUT_RAW, PUT_TEXT, REMOVE, SWAP};

/// The command run at `now_ms` on database `db`.
pub fn write_command<'a>(
    out: &mut Vec<u8>,
    db: usize,
    now_ms: i64,
    args: impl ExactSizeIterator<Item = &'a [u8]>,
) {
    out.push(COMMAND);
    number(out, db as u64);
    number(out, now_ms as u64);
    number(out, args.len() as u64);
    args.for_each(|arg| bytes(out, arg));
}

/// The value of an entry.
pub fn write_put(out: &mut Vec<u8>, db: usize, entry: &Entry) {
    let kind = match entry.value() {
        ValueRef::Object(_) => PUT_OBJECT,
        _ if entry.encoding() == "raw" => PUT_RAW,
        _ => PUT_TEXT,
    };
    out.push(kind);
    number(out, db as u64);
    bytes(out, entry.key());
    let extras = entry.extras();
    number(out, extras.expires_at.map_or(0, |at_ms| at_ms as u64 + 1));
    number(out, u64::from(extras.client_flags));
    number(out, extras.cas);
    number(out, u64::from(entry.clock()));
    out.push(entry.marks().bits());
    match entry.value() {
        ValueRef::Inline(text) => bytes(out, text),
        ValueRef::Shared(text) => bytes(out, text),
        ValueRef::Int(n) => bytes(out, itoa::Buffer::new().format(n).as_bytes()),
        object @ ValueRef::Object(_) => {
            let mut value = Vec::new();
            rdb::append_value(object, false, &mut value);
            bytes(out, &value);
        }
    }
}

/// That `key` is gone.
pub fn write_remove(out: &mut Vec<u8>, db: usize, key: &[u8]) {
    out.push(REMOVE);
    number(out, db as u64);
    bytes(out, key);
}

/// That the partition's share of database `db` is empty.
pub fn write_clear(out: &mut Vec<u8>, db: usize) {
    out.push(CLEAR);
    number(out, db as u64);
}

/// That two databases have changed places.
pub fn write_swap(out: &mut Vec<u8>, a: usize, b: usize) {
    out.push(SWAP);
    number(out, a as u64);
    number(out, b as u64);
}

/// That `change` of a transaction is kept until the partition `home` knows what becomes of it.
pub fn write_prepare(out: &mut Vec<u8>, id: TransactionId, home: u8, change: &Change) {
    out.push(PREPARE);
    transaction(out, id);
    out.push(home);
    bytes(out, &postcard::to_stdvec(change).unwrap_or_default());
}

/// That what was kept is applied, or dropped.
pub fn write_finish(out: &mut Vec<u8>, id: TransactionId, commit: bool) {
    out.push(FINISH);
    transaction(out, id);
    out.push(commit.into());
}

/// That a transaction is committed, for which these partitions are prepared.
pub fn write_decide(out: &mut Vec<u8>, id: TransactionId, prepared: &[u8]) {
    out.push(DECIDE);
    transaction(out, id);
    bytes(out, prepared);
}

/// That all partitions know of a decision.
pub fn write_forget(out: &mut Vec<u8>, id: TransactionId) {
    out.push(FORGET);
    transaction(out, id);
}

fn transaction(out: &mut Vec<u8>, id: TransactionId) {
    number(out, id.node);
    number(out, id.number);
}

/// A number in as few bytes as it needs (LEB128).
fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    number(out, value.len() as u64);
    out.extend_from_slice(value);
}
