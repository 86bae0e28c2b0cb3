//! A hash: fields with a value each, what HSET builds.
//!
//! Small, it is one pack of names and values in turn ("listpack"), searched from the front. Past the
//! configured number of fields or length of a text it becomes a table ("hashtable") and stays one, as in
//! Redis. A field with an expiry time also asks for the table: a hash without such fields pays nothing for them.
//!
//! The hash knows no clock. A field whose time has come is there until [`Hash::expire_due`] is called, so
//! commands call it first wherever [`Hash::next_expiry`] says there is something to do, or, where nothing may go yet,
//! [`Hash::hide_due`]: then it counts as a field, and is stored in a dump, but is not found.
//!
//! Invariant: no two fields have the same name; a pack holds an even number of elements.

mod field;
mod fields;
#[cfg(test)]
mod tests;

use super::pack::{self, Draft, Element, Pack};
use field::Field;
use fields::Fields;
use std::collections::HashSet;

/// How large a hash may get as a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashLimits {
    /// `hash-max-listpack-entries`: fields.
    pub max_listpack_entries: usize,
    /// `hash-max-listpack-value`: bytes of the longest name or value.
    pub max_listpack_value: usize,
}

impl Default for HashLimits {
    fn default() -> Self {
        HashLimits { max_listpack_entries: 512, max_listpack_value: 64 }
    }
}

/// Fields with their values.
#[derive(Clone)]
pub struct Hash {
    form: Form,
}

#[derive(Clone)]
enum Form {
    Pack(Pack),
    Table(Box<Fields>),
}

impl Default for Hash {
    fn default() -> Self {
        Hash::new()
    }
}

impl Hash {
    /// An empty hash.
    pub fn new() -> Self {
        Hash { form: Form::Pack(Pack::new()) }
    }

    /// The hash that a pack of names and values in turn stands for, as it came out of a dump; `None` if it is
    /// empty, lacks a value or names a field twice.
    pub fn from_pack(pack: Pack, limits: HashLimits) -> Option<Self> {
        let len = pack.len();
        if len == 0 || len % 2 == 1 {
            return None;
        }
        let mut names = HashSet::with_capacity(len / 2);
        if !pack.iter().step_by(2).all(|name| names.insert(name.to_vec())) {
            return None;
        }
        let mut hash = Hash { form: Form::Pack(pack) };
        hash.expect_fields(len / 2, limits);
        Some(hash)
    }

    /// The pack that is the whole hash, if it is small, for a dump.
    pub fn as_pack(&self) -> Option<&Pack> {
        match &self.form {
            Form::Pack(pack) => Some(pack),
            Form::Table(_) => None,
        }
    }

    /// Hides the fields that expire at `now_ms` or before, in milliseconds since 1970, and no others.
    pub fn hide_due(&mut self, now_ms: u64) {
        if let Form::Table(fields) = &mut self.form {
            fields.hide_due(now_ms);
        }
    }

    /// Number of fields that are not hidden.
    pub fn visible_len(&self) -> usize {
        match &self.form {
            Form::Table(fields) if fields.hides_any() => fields.visible().count(),
            _ => self.len(),
        }
    }

    /// The fields with their values that are not hidden, as [`Hash::iter`] has them.
    pub fn visible(&self) -> impl Iterator<Item = (Element<'_>, Element<'_>)> {
        let (pack, fields) = match &self.form {
            Form::Pack(pack) => (pack.iter(), None),
            Form::Table(fields) => (pack::Iter::default(), Some(fields)),
        };
        Pairs(pack).chain(fields.into_iter().flat_map(|fields| fields.visible().map(elements)))
    }

    /// Number of fields, hidden ones too.
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Pack(pack) => pack.len() / 2,
            Form::Table(fields) => fields.table().len(),
        }
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        match &self.form {
            Form::Pack(pack) => pack.is_empty(),
            Form::Table(fields) => fields.table().is_empty(),
        }
    }

    /// What OBJECT ENCODING says.
    pub fn encoding(&self) -> &'static str {
        match self.form {
            Form::Pack(_) => "listpack",
            Form::Table(_) => "hashtable",
        }
    }

    /// Bytes the hash has allocated. For a large one this visits each segment of the table.
    pub fn allocated_bytes(&self) -> usize {
        match &self.form {
            Form::Pack(pack) => pack.byte_len(),
            Form::Table(fields) => size_of::<Fields>() + fields.allocated_bytes(),
        }
    }

    /// The value of `field`.
    pub fn get(&self, field: &[u8]) -> Option<Element<'_>> {
        match &self.form {
            Form::Pack(pack) => Some(pack.at(find(pack, field)?.1)),
            Form::Table(fields) => Some(Element::Str(fields.find(field)?.value())),
        }
    }

    /// Whether there is a field of this name.
    pub fn contains(&self, field: &[u8]) -> bool {
        match &self.form {
            Form::Pack(pack) => find(pack, field).is_some(),
            Form::Table(fields) => fields.find(field).is_some(),
        }
    }

    /// Length in bytes of the value of `field`; 0 if there is none.
    pub fn value_len(&self, field: &[u8]) -> usize {
        self.get(field).map_or(0, Element::text_len)
    }

    /// Stores a field without an expiry; returns whether it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: HashLimits) -> bool {
        self.store(field, value, limits, false)
    }

    /// Stores fields without an expiry, one after the other; returns how many are new.
    pub fn set_all<'a>(
        &mut self,
        pairs: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone,
        limits: HashLimits,
    ) -> usize {
        self.expect_fields(pairs.len(), limits);
        if pairs.len() > 1
            && let Form::Pack(pack) = &mut self.form
            && pack.is_empty()
            && let Some(whole) = pack_of(pairs.clone(), limits)
        {
            *pack = whole;
            return pairs.len();
        }
        pairs.filter(|(field, value)| self.set(field, value, limits)).count()
    }

    /// Stores a field, which keeps the expiry it had; returns whether it is new.
    pub fn set_keeping_expiry(&mut self, field: &[u8], value: &[u8], limits: HashLimits) -> bool {
        self.store(field, value, limits, true)
    }

    /// Gives a field the integer that `change` makes of its value, and returns that; the field keeps its expiry. If `change` fails,
    /// nothing is changed.
    pub fn change_int<E>(
        &mut self,
        field: &[u8],
        limits: HashLimits,
        change: impl FnOnce(Option<Element<'_>>) -> Result<i64, E>,
    ) -> Result<i64, E> {
        if let Form::Pack(pack) = &mut self.form
            && let Some((_, at)) = find(pack, field)
        {
            let number = change(Some(pack.at(at)))?;
            let text_len = Element::Int(number).text_len();
            if text_len <= limits.max_listpack_value && pack.fits(text_len) {
                pack.replace(at, number);
            } else {
                self.set_keeping_expiry(field, itoa::Buffer::new().format(number).as_bytes(), limits);
            }
            return Ok(number);
        }
        let number = change(self.get(field))?;
        self.set_keeping_expiry(field, itoa::Buffer::new().format(number).as_bytes(), limits);
        Ok(number)
    }

    /// Stores a field unless there is one of this name; returns whether it did.
    pub fn set_if_absent(&mut self, field: &[u8], value: &[u8], limits: HashLimits) -> bool {
        !self.contains(field) && self.store(field, value, limits, false)
    }

    /// Removes a field; returns whether there was one.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match &mut self.form {
            Form::Pack(pack) => {
                let Some((name, _)) = find(pack, field) else { return false };
                pack.remove_at(name, 2);
                true
            }
            Form::Table(fields) => fields.remove(field),
        }
    }

    /// Turns to a table at once if `count` fields, about to be set, will not fit a pack.
    pub fn expect_fields(&mut self, count: usize, limits: HashLimits) {
        if count > limits.max_listpack_entries {
            self.make_table();
        }
    }

    /// The fields with their values, hidden ones too: a pack's in the order they were added, a table's in none.
    pub fn iter(&self) -> impl Iterator<Item = (Element<'_>, Element<'_>)> {
        let (pack, fields) = match &self.form {
            Form::Pack(pack) => (pack.iter(), None),
            Form::Table(fields) => (pack::Iter::default(), Some(fields)),
        };
        Pairs(pack).chain(fields.into_iter().flat_map(|fields| fields.table().iter().map(elements)))
    }

    /// Visits at least `count` fields (all of a pack) from `cursor` on; returns the cursor to go on from, 0 at
    /// the end. A field that stays during a whole walk is visited exactly once.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(Element<'_>, Element<'_>)) -> u64 {
        match &self.form {
            Form::Pack(pack) => {
                Pairs(pack.iter()).for_each(|(name, value)| visit(name, value));
                0
            }
            Form::Table(fields) => fields.table().scan(cursor, count, |field| {
                if fields.shows(field) {
                    let (name, value) = elements(field);
                    visit(name, value);
                }
            }),
        }
    }

    /// Any field, each as likely as another.
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<(Element<'_>, Element<'_>)> {
        match &self.form {
            Form::Pack(pack) if pack.is_empty() => None,
            Form::Pack(pack) => {
                let name = pack.seek(2 * rng.usize(..pack.len() / 2) as isize)?;
                Some((pack.at(name), pack.at(pack.end_of(name))))
            }
            Form::Table(fields) if fields.hides_any() => {
                let visible: Vec<_> = fields.visible().collect();
                (!visible.is_empty()).then(|| elements(visible[rng.usize(..visible.len())]))
            }
            Form::Table(fields) => fields.table().random(rng).map(elements),
        }
    }

    /// Visits `count` random fields, the same one possibly more than once; none if the hash is empty.
    pub fn random_many(
        &self,
        count: usize,
        rng: &mut fastrand::Rng,
        mut visit: impl FnMut(Element<'_>, Element<'_>),
    ) {
        if self.is_empty() {
            return;
        }
        match &self.form {
            Form::Table(fields) if !fields.hides_any() => {
                for (name, value) in (0..count).filter_map(|_| fields.table().random(rng)).map(elements) {
                    visit(name, value);
                }
            }
            _ => {
                let pairs: Vec<_> = self.visible().collect();
                for _ in 0..if pairs.is_empty() { 0 } else { count } {
                    let (name, value) = pairs[rng.usize(..pairs.len())];
                    visit(name, value);
                }
            }
        }
    }

    /// Visits `count` different random fields, or all if there are fewer.
    pub fn sample(
        &self,
        count: usize,
        rng: &mut fastrand::Rng,
        mut visit: impl FnMut(Element<'_>, Element<'_>),
    ) {
        let len = self.visible_len();
        if let Form::Table(fields) = &self.form
            && count < len / 3
            && !fields.hides_any()
        {
            // A field is known by where its name is: nothing moves while we look on.
            let mut drawn: HashSet<*const u8, ahash::RandomState> = HashSet::default();
            while drawn.len() < count
                && let Some(field) = fields.table().random(rng)
            {
                if drawn.insert(field.name().as_ptr()) {
                    let (name, value) = elements(field);
                    visit(name, value);
                }
            }
            return;
        }
        // Take each field with the chance that is right for how many are wanted of how many are left.
        let mut wanted = count.min(len);
        for (left, (name, value)) in (1..=len).rev().zip(self.visible()) {
            if wanted == 0 {
                break;
            }
            if rng.usize(..left) < wanted {
                wanted -= 1;
                visit(name, value);
            }
        }
    }

    /// When `field` expires, in milliseconds since 1970: `None` without such a field, `Some(None)` if never.
    pub fn expiry(&self, field: &[u8]) -> Option<Option<u64>> {
        match &self.form {
            Form::Pack(pack) => find(pack, field).map(|_| None),
            Form::Table(fields) => fields.find(field).map(Field::expiry_ms),
        }
    }

    /// [`Hash::expiry`] of any field, hidden ones too.
    pub fn stored_expiry(&self, field: &[u8]) -> Option<Option<u64>> {
        match &self.form {
            Form::Pack(pack) => find(pack, field).map(|_| None),
            Form::Table(fields) => fields.table().find(field).map(Field::expiry_ms),
        }
    }

    /// Lets `field` expire at `expiry_ms`, in milliseconds since 1970, or never; false if there is none.
    pub fn set_expiry(&mut self, field: &[u8], expiry_ms: Option<u64>) -> bool {
        if !self.contains(field) {
            return false;
        }
        match (&self.form, expiry_ms) {
            (Form::Pack(_), None) => true,
            _ => self.make_table().set_expiry(field, expiry_ms),
        }
    }

    /// The earliest expiry of any field, in milliseconds since 1970.
    pub fn next_expiry(&self) -> Option<u64> {
        match &self.form {
            Form::Pack(_) => None,
            Form::Table(fields) => fields.next_expiry(),
        }
    }

    /// Removes up to `limit` fields that expire at `now_ms` or before, the earliest first, and names each to
    /// `gone`. Returns how many there were.
    pub fn expire_due(&mut self, now_ms: u64, limit: usize, gone: impl FnMut(&[u8])) -> usize {
        match &mut self.form {
            Form::Pack(_) => 0,
            Form::Table(fields) => fields.expire_due(now_ms, limit, gone),
        }
    }

    fn store(&mut self, field: &[u8], value: &[u8], limits: HashLimits, keep_expiry: bool) -> bool {
        if let Form::Pack(pack) = &mut self.form
            && field.len().max(value.len()) <= limits.max_listpack_value
            && pack.fits(field.len() + value.len())
        {
            if let Some((_, at)) = find(pack, field) {
                pack.replace(at, value);
                return false;
            }
            if pack.len() / 2 < limits.max_listpack_entries {
                pack.push_back_pair(field, value);
                return true;
            }
        }
        self.make_table().set(field, value, keep_expiry)
    }

    /// The table, which a pack becomes first.
    fn make_table(&mut self) -> &mut Fields {
        if let Form::Pack(pack) = &self.form {
            let (mut names, mut values) = (itoa::Buffer::new(), itoa::Buffer::new());
            let mut fields = Fields::default();
            for (name, value) in Pairs(pack.iter()) {
                fields.set(name.as_bytes(&mut names), value.as_bytes(&mut values), false);
            }
            self.form = Form::Table(Box::new(fields));
        }
        match &mut self.form {
            Form::Table(fields) => fields,
            Form::Pack(_) => unreachable!("a pack was replaced just now"),
        }
    }
}

/// The pack that is a hash of these fields; `None` if one comes twice or is too large for a pack.
fn pack_of<'a>(
    pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    limits: HashLimits,
) -> Option<Pack> {
    let mut room = 0usize;
    for (field, value) in pairs.clone() {
        if field.len().max(value.len()) > limits.max_listpack_value {
            return None;
        }
        room = room
            .saturating_add(Draft::most_bytes(field.len()))
            .saturating_add(Draft::most_bytes(value.len()));
    }
    if room >= Pack::MAX_BYTES / 2 {
        return None;
    }
    let mut draft = Draft::new(room);
    for (field, value) in pairs {
        if !draft.push_pair(field, value) {
            return None;
        }
    }
    Some(draft.finish())
}

/// The names and values of a pack.
struct Pairs<'p>(pack::Iter<'p>);

impl<'p> Iterator for Pairs<'p> {
    type Item = (Element<'p>, Element<'p>);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.0.next()?, self.0.next()?))
    }
}

fn elements(field: &Field) -> (Element<'_>, Element<'_>) {
    (Element::Str(field.name()), Element::Str(field.value()))
}

/// The positions of a field's name and value.
fn find(pack: &Pack, field: &[u8]) -> Option<(usize, usize)> {
    let name = pack.find(field, pack.first()?, 1)?;
    Some((name, pack.end_of(name)))
}
