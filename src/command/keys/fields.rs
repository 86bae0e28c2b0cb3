//! Access to hashes, whose fields expire by themselves.
//!
//! A field whose time has come is not there: whoever meets such fields removes them first, or hides them where nothing may go. And the housekeeping finds a
//! hash at the earliest expiry of its fields, so whatever changes a hash goes through here, where that time is watched.

use super::{Keys, object, object_mut};
use crate::command::error::CmdError;
use crate::state::expiry;
use crate::store::table::Place;
use crate::store::types::hash::Hash;
use std::sync::atomic::Ordering;

impl Keys<'_> {
    /// The hash of `key`, to be read.
    #[inline]
    pub fn read_hash(&mut self, key: &[u8]) -> Result<Option<&Hash>, CmdError> {
        let found = self.place_of_fields(key);
        self.count(key, found, !self.no_touch).map(|entry| object(entry)).transpose()
    }

    /// Changes the hash of `key` by `change`; nothing if there is no such key. Say [`Keys::modified`] afterwards, and
    /// [`Keys::remove`] the key if the hash is empty.
    #[inline]
    pub fn change_hash<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut Hash) -> R,
    ) -> Result<Option<R>, CmdError> {
        match self.place_of_fields(key) {
            None => Ok(None),
            Some((at, place)) => self.change_at(key, at, place, change).map(Some),
        }
    }

    /// Changes the hash of `key` by `change`; an empty one is made if there is none, which `change` must not leave empty.
    #[inline]
    pub fn create_hash<R>(&mut self, key: &[u8], change: impl FnOnce(&mut Hash) -> R) -> Result<R, CmdError> {
        let (at, place) = match self.place_of_fields(key) {
            Some(found) => found,
            None => self.create::<Hash>(key, Hash::new),
        };
        self.change_at(key, at, place, change)
    }

    /// Where `key` lies if it is alive, without the fields that are due if it is a hash.
    #[inline]
    fn place_of_fields(&mut self, key: &[u8]) -> Option<(usize, Place)> {
        let (at, place) = self.place(key)?;
        let entry = self.held[at].1.dbs[self.db].at(place)?;
        if entry.field_expiry().is_some_and(|at_ms| at_ms <= self.now_ms) {
            self.expire_fields(key);
            return self.place(key);
        }
        Some((at, place))
    }

    #[inline]
    fn change_at<R>(
        &mut self,
        key: &[u8],
        at: usize,
        place: Place,
        change: impl FnOnce(&mut Hash) -> R,
    ) -> Result<R, CmdError> {
        let touch = !self.no_touch;
        let entry = self.entry_at(at, place, touch).expect("nothing moved since");
        let before = entry.field_expiry();
        let result = change(object_mut(entry)?);
        let after = entry.field_expiry();
        if before != after {
            let (db, now_ms) = (self.db, self.now_ms);
            let (partition, h) = self.enter(key);
            partition.dbs[db].index_fields(h, before, after, now_ms);
        }
        Ok(result)
    }

    #[cold]
    fn expire_fields(&mut self, key: &[u8]) {
        let (at, h) = self.enter_at(key);
        // Whoever has the housekeeping rest wants to see what is due.
        if !self.may_expire() || !self.state.active_expire.load(Ordering::Relaxed) {
            let hidden_ms = u64::try_from(self.due_ms).unwrap_or(0);
            let entry = self.held[at].1.dbs[self.db].find_mut(h, key);
            if let Some(Ok(hash)) = entry.map(object_mut::<Hash>) {
                hash.hide_due(hidden_ms);
            }
            return;
        }
        let mut dead = Vec::new();
        let partition = &mut self.held[at].1;
        let whose = (self.db, h, key, self.now_ms);
        expiry::expire_fields(self.state, self.stats, partition, whose, &mut dead);
        self.bury(dead);
    }
}
