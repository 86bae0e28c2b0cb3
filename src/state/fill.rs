//! Filling a copy: what a partition holds is sent in parts, between which the partition is served and changes.
//!
//! Each part holds the entries that follow those of the part before, in the order of [`Db::scan_until`](crate::store::db::Db::scan_until),
//! as they are at that moment. Changes go out between the parts as to any copy. A command, though, can be run again only where all its keys
//! are ([`Fill::has`]): else the copies are told what became of the keys, and a key that was told of so is sent no more.
//!
//! Invariant: of the keys that it has, a copy holds what the partition holds.

use crate::store::hash::hash;
use std::collections::{HashMap, HashSet};

/// How far the filling of a copy has come.
#[derive(Default)]
pub struct Fill {
    /// The version of the map by which it is filled.
    pub version: u64,
    /// Databases before this one are there.
    pub(super) db: usize,
    /// What is there of this one: see [`Table::scan_until`](crate::store::table::Table::scan_until).
    pub(super) cursor: u64,
    /// Keys that were told of ahead of their turn, by database.
    ahead: HashMap<usize, HashSet<Box<[u8]>>>,
}

impl Fill {
    /// That of a copy that has nothing.
    pub fn new(version: u64) -> Fill {
        Fill { version, ..Fill::default() }
    }

    /// Whether the copy has all there is of `key`.
    pub fn has(&self, db: usize, key: &[u8]) -> bool {
        self.has_passed(db, key) || self.is_ahead(db, key)
    }

    fn has_passed(&self, db: usize, key: &[u8]) -> bool {
        db < self.db || (db == self.db && u64::from(hash(key).reverse_bits()) < self.cursor)
    }

    /// Whether the copy was told of `key` ahead of its turn.
    pub(super) fn is_ahead(&self, db: usize, key: &[u8]) -> bool {
        self.ahead.get(&db).is_some_and(|keys| keys.contains(key))
    }

    /// Notes that the copy is told what became of `key`.
    pub(super) fn note_told(&mut self, db: usize, key: &[u8]) {
        if !self.has_passed(db, key) {
            self.ahead.entry(db).or_default().insert(key.into());
        }
    }
}
