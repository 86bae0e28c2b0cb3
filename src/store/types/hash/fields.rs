//! The large form of a hash: a table of fields, some of which may expire.
//!
//! Expiry times sit in the fields themselves. So that the due ones are found without a search, a set of
//! (time, hash of the name) stands beside the table; it takes no memory while no field has a time.
//! Two fields may share both; the set then holds the pair once, for as long as one of them is left.
//!
//! Due fields may have to stay for a while, as in a copy, which only its primary changes. They are hidden then: nobody is told of them,
//! and who stores a field of such a name stores a new one.
//!
//! Knows no clock. Invariant: `due` holds exactly the pairs of the fields with an expiry; `bytes` is the sum of
//! the fields' blocks.

use super::field::Field;
use crate::store::hash::hash;
use crate::store::table::Table;
use std::collections::BTreeSet;

/// What one pair in `due` takes, as measured on sets filled in random order.
const BYTES_PER_DUE: usize = 24;

/// A table of fields.
#[derive(Default)]
pub(super) struct Fields {
    table: Table<Field>,
    bytes: usize,
    /// Expiry in milliseconds since 1970, and the hash of the field's name.
    due: BTreeSet<(u64, u32)>,
    /// Fields that expire at this time or before are hidden.
    hidden_ms: u64,
}

impl Fields {
    pub(super) fn table(&self) -> &Table<Field> {
        &self.table
    }

    pub(super) fn allocated_bytes(&self) -> usize {
        self.bytes + self.table.allocated_bytes() + self.due.len() * BYTES_PER_DUE
    }

    /// Hides fields that expire at `now_ms` or before, and no others.
    pub(super) fn hide_due(&mut self, now_ms: u64) {
        self.hidden_ms = now_ms;
    }

    /// Whether a field is hidden.
    pub(super) fn hides_any(&self) -> bool {
        self.due.first().is_some_and(|due| due.0 <= self.hidden_ms)
    }

    /// Whether `field` is not hidden.
    pub(super) fn shows(&self, field: &Field) -> bool {
        self.hidden_ms == 0 || field.expiry_ms().is_none_or(|expiry_ms| expiry_ms > self.hidden_ms)
    }

    /// The field of that name, if it is not hidden.
    pub(super) fn find(&self, name: &[u8]) -> Option<&Field> {
        self.table.find(name).filter(|field| self.shows(field))
    }

    /// The fields that are not hidden.
    pub(super) fn visible(&self) -> impl Iterator<Item = &Field> {
        self.table.iter().filter(|field| self.shows(field))
    }

    /// Stores a field. One that exists keeps its expiry if told so, else loses it. Returns whether it is new.
    pub(super) fn set(&mut self, name: &[u8], value: &[u8], keep_expiry: bool) -> bool {
        let h = hash(name);
        if self.hides_any() && self.find(name).is_none() {
            self.take(name);
        }
        let Some(field) = self.table.find_hashed_mut(h, name) else {
            self.insert_new(h, Field::new(name, value, None));
            return true;
        };
        let old = field.expiry_ms();
        self.bytes -= field.allocated_bytes();
        field.update(value, old.filter(|_| keep_expiry));
        self.bytes += field.allocated_bytes();
        if let Some(old) = old
            && !keep_expiry
        {
            self.forget(old, h);
        }
        false
    }

    /// Removes a field; false if there is none that is not hidden.
    pub(super) fn remove(&mut self, name: &[u8]) -> bool {
        (!self.hides_any() || self.find(name).is_some()) && self.take(name)
    }

    fn take(&mut self, name: &[u8]) -> bool {
        let h = hash(name);
        let Some(field) = self.table.remove_hashed(h, name) else { return false };
        self.bytes -= field.allocated_bytes();
        if let Some(expiry_ms) = field.expiry_ms() {
            self.forget(expiry_ms, h);
        }
        true
    }

    /// Gives a field an expiry, or takes it away; false if there is no such field.
    pub(super) fn set_expiry(&mut self, name: &[u8], expiry_ms: Option<u64>) -> bool {
        let h = hash(name);
        let Some(field) = self.table.find_hashed_mut(h, name) else { return false };
        let old = field.expiry_ms();
        if old == expiry_ms {
            return true;
        }
        self.bytes -= field.allocated_bytes();
        *field = Field::new(field.name(), field.value(), expiry_ms);
        self.bytes += field.allocated_bytes();
        if let Some(old) = old {
            self.forget(old, h);
        }
        if let Some(expiry_ms) = expiry_ms {
            self.due.insert((expiry_ms, h));
        }
        true
    }

    /// The earliest expiry of any field, in milliseconds since 1970.
    pub(super) fn next_expiry(&self) -> Option<u64> {
        self.due.first().map(|due| due.0)
    }

    /// Removes up to `limit` fields that expire at `now_ms` or before, earliest first.
    pub(super) fn expire_due(&mut self, now_ms: u64, limit: usize, mut gone: impl FnMut(&[u8])) -> usize {
        let mut removed = 0;
        while removed < limit
            && let Some(&(expiry_ms, h)) = self.due.first()
            && expiry_ms <= now_ms
        {
            let is_due = |field: &Field| field.expiry_ms() == Some(expiry_ms) && hash(field.name()) == h;
            let field = self.table.remove_if(h, is_due).expect("a pair is there while a field has it");
            self.bytes -= field.allocated_bytes();
            self.forget(expiry_ms, h);
            gone(field.name());
            removed += 1;
        }
        removed
    }

    /// Inserts a field known to be absent; `h` is the hash of its name.
    fn insert_new(&mut self, h: u32, field: Field) {
        self.bytes += field.allocated_bytes();
        if let Some(expiry_ms) = field.expiry_ms() {
            self.due.insert((expiry_ms, h));
        }
        self.table.insert_new(h, field);
    }

    /// Drops a pair that a field has given up, unless another field has the same.
    fn forget(&mut self, expiry_ms: u64, h: u32) {
        if !self.table.with_hash(h).any(|field| field.expiry_ms() == Some(expiry_ms)) {
            self.due.remove(&(expiry_ms, h));
        }
    }
}

impl Clone for Fields {
    fn clone(&self) -> Self {
        let mut copy = Fields::default();
        for field in self.table.iter() {
            copy.insert_new(hash(field.name()), field.clone());
        }
        copy.hidden_ms = self.hidden_ms;
        copy
    }
}
