//! A set: different members in no order.
//!
//! Three forms, by the rules and under the names of Redis 7.2. Integers only and not too many: an
//! [`IntSet`] ("intset"). Few and short: a [`Pack`] ("listpack"). Else a table ("hashtable"). A set moves down this
//! list as it grows and never back up, unless [`Set::compact_ints`] is asked to.
//!
//! It knows no command and no reply. Limits are passed in, for they are settings.
//!
//! Invariant: no member is held twice, whatever the form; an [`Element::Int`] and its text are one member.

#[cfg(test)]
mod tests;

use super::intset::IntSet;
use super::member::Member;
use super::pack::{Element, Pack};
use crate::store::hash::hash;
use crate::store::table::Table;
use crate::text::number::parse_i64;
use std::collections::HashSet;

/// The most members of an [`IntSet`] whatever the settings, as in Redis.
const MOST_INTS: usize = 1 << 30;

/// How large a set may get in its small forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetLimits {
    /// `set-max-intset-entries`: members, all integers.
    pub max_intset_entries: usize,
    /// `set-max-listpack-entries`: members.
    pub max_listpack_entries: usize,
    /// `set-max-listpack-value`: bytes of the longest member.
    pub max_listpack_value: usize,
}

impl Default for SetLimits {
    fn default() -> Self {
        SetLimits { max_intset_entries: 512, max_listpack_entries: 128, max_listpack_value: 64 }
    }
}

/// Different members.
#[derive(Clone)]
pub struct Set {
    form: Form,
}

#[derive(Clone)]
enum Form {
    Ints(IntSet),
    Pack(Pack),
    Table(Box<Members>),
}

/// The large form.
#[derive(Default)]
struct Members {
    table: Table<Member<()>>,
    /// Sum of what the members allocate.
    bytes: usize,
}

impl Default for Set {
    fn default() -> Self {
        Set::new()
    }
}

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Set {
    /// An empty set, for integers as long as nothing else is added.
    pub fn new() -> Self {
        Set { form: Form::Ints(IntSet::new()) }
    }

    /// An empty set in the form for `count` members about to be added, of which `first` is the first.
    pub fn for_members(first: &[u8], count: usize, limits: SetLimits) -> Self {
        let form = if count <= limits.max_intset_entries && parse_i64(first).is_some() {
            Form::Ints(IntSet::new())
        } else if count <= limits.max_listpack_entries {
            Form::Pack(Pack::new())
        } else {
            Form::Table(Box::default())
        };
        Set { form }
    }

    /// The set that these integers are, as they came out of a dump; `None` if there are none.
    pub fn from_intset(ints: IntSet, limits: SetLimits) -> Option<Self> {
        let mut set = Set { form: Form::Ints(ints) };
        set.widen_if_long(limits);
        (!set.is_empty()).then_some(set)
    }

    /// The set that a pack of members stands for, as it came out of a dump; `None` if it is empty or names a
    /// member twice.
    pub fn from_pack(pack: Pack, limits: SetLimits) -> Option<Self> {
        let mut seen = HashSet::new();
        if pack.is_empty() || !pack.iter().all(|member| seen.insert(member.to_vec())) {
            return None;
        }
        let mut set = Set { form: Form::Pack(pack) };
        set.expect_members(seen.len(), limits);
        Some(set)
    }

    /// The integers that are the whole set, if it is in that form, for a dump.
    pub fn as_intset(&self) -> Option<&IntSet> {
        match &self.form {
            Form::Ints(ints) => Some(ints),
            _ => None,
        }
    }

    /// The pack that is the whole set, if it is in that form, for a dump.
    pub fn as_pack(&self) -> Option<&Pack> {
        match &self.form {
            Form::Pack(pack) => Some(pack),
            _ => None,
        }
    }

    /// What OBJECT ENCODING says.
    pub fn encoding(&self) -> &'static str {
        match self.form {
            Form::Ints(_) => "intset",
            Form::Pack(_) => "listpack",
            Form::Table(_) => "hashtable",
        }
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Ints(ints) => ints.len(),
            Form::Pack(pack) => pack.len(),
            Form::Table(members) => members.table.len(),
        }
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        match &self.form {
            Form::Ints(ints) => ints.is_empty(),
            Form::Pack(pack) => pack.is_empty(),
            Form::Table(members) => members.table.is_empty(),
        }
    }

    /// Bytes the set has allocated. For a large one this visits each segment of the table.
    pub fn allocated_bytes(&self) -> usize {
        match &self.form {
            Form::Ints(ints) => ints.allocated_bytes(),
            Form::Pack(pack) => pack.byte_len(),
            Form::Table(members) => size_of::<Members>() + members.bytes + members.table.allocated_bytes(),
        }
    }

    // One member.

    /// Adds a member; whether it is new.
    pub fn add<'a>(&mut self, member: impl Into<Element<'a>>, limits: SetLimits) -> bool {
        let member = member.into();
        match &mut self.form {
            Form::Ints(ints) => match member.int() {
                Some(int) => {
                    let new = ints.add(int);
                    self.widen_if_long(limits);
                    new
                }
                None => {
                    self.leave_ints(member, limits);
                    true
                }
            },
            Form::Pack(pack) => {
                let mut buffer = itoa::Buffer::new();
                let text = member.as_bytes(&mut buffer);
                if find(pack, text).is_some() {
                    return false;
                }
                let fits = pack.len() < limits.max_listpack_entries
                    && text.len() <= limits.max_listpack_value
                    && pack.fits(text.len());
                if fits {
                    pack.push_back(member);
                } else {
                    self.make_table().add(text);
                }
                true
            }
            Form::Table(members) => members.add(member.as_bytes(&mut itoa::Buffer::new())),
        }
    }

    /// Removes a member; whether it was there.
    pub fn remove<'a>(&mut self, member: impl Into<Element<'a>>) -> bool {
        let member = member.into();
        match &mut self.form {
            Form::Ints(ints) => member.int().is_some_and(|int| ints.remove(int)),
            Form::Pack(pack) => {
                let found = find(pack, member.as_bytes(&mut itoa::Buffer::new()));
                if let Some(at) = found {
                    pack.remove(at);
                }
                found.is_some()
            }
            Form::Table(members) => members.remove(member.as_bytes(&mut itoa::Buffer::new())),
        }
    }

    /// Whether this is a member.
    pub fn contains<'a>(&self, member: impl Into<Element<'a>>) -> bool {
        let member = member.into();
        match &self.form {
            Form::Ints(ints) => member.int().is_some_and(|int| ints.contains(int)),
            Form::Pack(pack) => find(pack, member.as_bytes(&mut itoa::Buffer::new())).is_some(),
            Form::Table(members) => members.table.contains(member.as_bytes(&mut itoa::Buffer::new())),
        }
    }

    // All members.

    /// The members: integers ascending, those of a pack in the order they were added, else in none.
    pub fn iter(&self) -> impl Iterator<Item = Element<'_>> {
        let (ints, pack, members) = match &self.form {
            Form::Ints(ints) => (Some(ints), None, None),
            Form::Pack(pack) => (None, Some(pack), None),
            Form::Table(members) => (None, None, Some(members)),
        };
        let ints = ints.into_iter().flat_map(IntSet::iter).map(Element::Int);
        let texts = members.into_iter().flat_map(|members| members.table.iter()).map(element);
        ints.chain(pack.into_iter().flatten()).chain(texts)
    }

    /// Visits at least `count` members (all of a small set) from `cursor` on; returns the cursor to go on from, 0
    /// at the end. A member that stays during a whole walk is visited exactly once.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(Element<'_>)) -> u64 {
        match &self.form {
            Form::Table(members) => members.table.scan(cursor, count, |member| visit(element(member))),
            _ => {
                self.iter().for_each(visit);
                0
            }
        }
    }

    /// Removes every member.
    pub fn clear(&mut self) {
        *self = Set::new();
    }

    // Chance.

    /// Any member, each as likely as another.
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<Element<'_>> {
        match &self.form {
            Form::Ints(ints) => ints.random(rng).map(Element::Int),
            Form::Pack(pack) if pack.is_empty() => None,
            Form::Pack(pack) => pack.get(rng.usize(..pack.len()) as isize),
            Form::Table(members) => members.table.random(rng).map(element),
        }
    }

    /// Visits `count` random members, the same one possibly more than once; none if the set is empty.
    pub fn random_many(&self, count: usize, rng: &mut fastrand::Rng, mut visit: impl FnMut(Element<'_>)) {
        match &self.form {
            // A pack has to be walked to each member; many draws do it once.
            Form::Pack(pack) if count > 1 && !pack.is_empty() => {
                let all: Vec<_> = pack.iter().collect();
                (0..count).for_each(|_| visit(all[rng.usize(..all.len())]));
            }
            _ => (0..count).map_while(|_| self.random(rng)).for_each(visit),
        }
    }

    /// Visits `count` different random members, or all if there are fewer.
    pub fn sample(&self, count: usize, rng: &mut fastrand::Rng, mut visit: impl FnMut(Element<'_>)) {
        let len = self.len();
        if let Form::Table(members) = &self.form
            && count < len / 3
        {
            // A member is known by where its bytes are: nothing moves while we look on.
            let mut drawn: HashSet<*const u8, ahash::RandomState> = HashSet::default();
            while drawn.len() < count
                && let Some(member) = members.table.random(rng)
            {
                if drawn.insert(member.bytes().as_ptr()) {
                    visit(element(member));
                }
            }
            return;
        }
        // Take each member with the chance that is right for how many are wanted of how many are left.
        let mut wanted = count.min(len);
        for (left, member) in (1..=len).rev().zip(self.iter()) {
            if wanted == 0 {
                break;
            }
            if rng.usize(..left) < wanted {
                wanted -= 1;
                visit(member);
            }
        }
    }

    /// Removes and returns any member, each as likely as another.
    pub fn pop_random(&mut self, rng: &mut fastrand::Rng) -> Option<Vec<u8>> {
        match &mut self.form {
            Form::Ints(ints) if ints.is_empty() => None,
            Form::Ints(ints) => ints.remove_at(rng.usize(..ints.len())).map(|int| Element::Int(int).to_vec()),
            Form::Pack(pack) if pack.is_empty() => None,
            Form::Pack(pack) => {
                let at = pack.seek(rng.usize(..pack.len()) as isize)?;
                let member = pack.at(at).to_vec();
                pack.remove(at);
                Some(member)
            }
            Form::Table(members) => {
                let member = members.table.random(rng)?.bytes().to_vec();
                members.remove(&member);
                Some(member)
            }
        }
    }

    /// Removes `count` different random members, or all if there are fewer, passing each to `taken`; how many
    /// there were.
    pub fn pop_many(&mut self, count: usize, rng: &mut fastrand::Rng, mut taken: impl FnMut(&[u8])) -> usize {
        let mut members = Vec::with_capacity(count.min(self.len()));
        self.sample(count, rng, |member| members.push(member.to_vec()));
        for member in &members {
            self.remove(member);
            taken(member);
        }
        members.len()
    }

    // Forms.

    /// Turns to a table at once if `count` members, about to be added, will not fit the form it has.
    pub fn expect_members(&mut self, count: usize, limits: SetLimits) {
        let most = match self.form {
            Form::Ints(_) => limits.max_intset_entries,
            Form::Pack(_) => limits.max_listpack_entries,
            Form::Table(_) => return,
        };
        if count > most {
            self.make_table();
        }
    }

    /// Turns back to integers if that is what all members are and they are not too many: for results just
    /// computed.
    pub fn compact_ints(&mut self, limits: SetLimits) {
        if matches!(self.form, Form::Ints(_)) || self.len() > limits.max_intset_entries.min(MOST_INTS) {
            return;
        }
        let Some(mut members) = self.iter().map(Element::int).collect::<Option<Vec<i64>>>() else { return };
        members.sort_unstable();
        let mut ints = IntSet::new();
        for member in members {
            ints.add(member);
        }
        self.form = Form::Ints(ints);
    }

    fn widen_if_long(&mut self, limits: SetLimits) {
        if self.len() > limits.max_intset_entries.min(MOST_INTS) {
            self.make_table();
        }
    }

    /// Adds the first member that is no integer: to a pack, if the integers before it fit one too.
    fn leave_ints(&mut self, member: Element<'_>, limits: SetLimits) {
        let Form::Ints(ints) = &self.form else { return };
        // The two ends are the longest: the digits of all others lie between theirs.
        let ends = ints.iter().next().into_iter().chain(ints.iter().next_back()).map(Element::Int);
        let longest = ends.chain([member]).map(Element::text_len).max().unwrap_or(0);
        let fits = ints.len() < limits.max_listpack_entries
            && longest <= limits.max_listpack_value
            && longest <= Pack::MAX_BYTES / 2
            && ints.len() <= Pack::MAX_BYTES / 64;
        if fits {
            let mut pack = Pack::of(ints.iter());
            pack.push_back(member);
            self.form = Form::Pack(pack);
        } else {
            self.make_table().add(member.as_bytes(&mut itoa::Buffer::new()));
        }
    }

    /// The table, which any other form becomes first.
    fn make_table(&mut self) -> &mut Members {
        if !matches!(self.form, Form::Table(_)) {
            let mut members = Box::<Members>::default();
            for member in self.iter() {
                members.add(member.as_bytes(&mut itoa::Buffer::new()));
            }
            self.form = Form::Table(members);
        }
        match &mut self.form {
            Form::Table(members) => members,
            _ => unreachable!("made a table just now"),
        }
    }
}

impl Members {
    fn add(&mut self, member: &[u8]) -> bool {
        let h = hash(member);
        if self.table.find_hashed(h, member).is_some() {
            return false;
        }
        let member = Member::new((), member);
        self.bytes += member.allocated_bytes();
        self.table.insert_new(h, member);
        true
    }

    fn remove(&mut self, member: &[u8]) -> bool {
        let gone = self.table.remove(member);
        self.bytes -= gone.as_ref().map_or(0, Member::allocated_bytes);
        gone.is_some()
    }
}

impl Clone for Members {
    fn clone(&self) -> Self {
        Members { table: self.table.iter().cloned().collect(), bytes: self.bytes }
    }
}

fn element(member: &Member<()>) -> Element<'_> {
    Element::Str(member.bytes())
}

/// Position of `member`.
fn find(pack: &Pack, member: &[u8]) -> Option<usize> {
    pack.find(member, pack.first()?, 0)
}
