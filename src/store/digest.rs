//! A fingerprint of data that does not depend on how it is held: the one of DEBUG DIGEST, byte for byte as Redis computes it.
//!
//! What has an order is mixed in one after the other; what has none is joined by exclusive or.

use super::entry::{Entry, ValueRef};
use super::table::Keyed;
use super::types::pack::Element;
use super::types::stream::StreamId;
use super::value::Object;
use sha1::{Digest as _, Sha1};

/// 160 bits that stand for data.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Digest([u8; 20]);

impl Digest {
    /// The fingerprint of an entry's value, its type, and whether it expires.
    pub fn of_value(entry: &Entry) -> Digest {
        let mut digest = Digest::default();
        digest.mix_value(entry);
        digest
    }

    /// Joins the number of a database.
    pub fn mix_db(&mut self, db: usize) {
        self.mix(&(db as u32).to_be_bytes());
    }

    /// Joins an entry, its key included; the order of such does not matter.
    pub fn join_entry(&mut self, entry: &Entry) {
        let mut digest = Digest::default();
        digest.mix(entry.key());
        digest.mix_value(entry);
        self.join(digest);
    }

    /// Joins what was joined to another fingerprint.
    pub fn add(&mut self, other: Digest) {
        self.0.iter_mut().zip(other.0).for_each(|(byte, other)| *byte ^= other);
    }

    fn join(&mut self, other: Digest) {
        self.xor(&other.0);
    }

    fn mix_value(&mut self, entry: &Entry) {
        let value = entry.value();
        let kind: u32 = match value {
            ValueRef::Inline(_) | ValueRef::Int(_) | ValueRef::Shared(_) => 0,
            ValueRef::Object(Object::List(_)) => 1,
            ValueRef::Object(Object::Set(_)) => 2,
            ValueRef::Object(Object::ZSet(_)) => 3,
            ValueRef::Object(Object::Hash(_)) => 4,
            ValueRef::Object(Object::Stream(_)) => 6,
        };
        self.mix(&kind.to_be_bytes());
        match value {
            ValueRef::Inline(text) => self.mix(text),
            ValueRef::Int(number) => self.mix_element(Element::Int(number)),
            ValueRef::Shared(text) => self.mix(text),
            ValueRef::Object(Object::List(list)) => list.iter().for_each(|element| self.mix_element(element)),
            ValueRef::Object(Object::Set(set)) => {
                for member in set.iter() {
                    self.xor(member.as_bytes(&mut itoa::Buffer::new()));
                }
            }
            ValueRef::Object(Object::ZSet(zset)) => {
                for (member, score) in zset.iter() {
                    let mut pair = Digest::default();
                    pair.mix_element(member);
                    pair.mix(shortest_17(score).as_bytes());
                    self.join(pair);
                }
            }
            ValueRef::Object(Object::Hash(hash)) => {
                for (field, value) in hash.iter() {
                    let mut pair = Digest::default();
                    pair.mix_element(field);
                    pair.mix_element(value);
                    self.join(pair);
                }
            }
            ValueRef::Object(Object::Stream(stream)) => {
                for entry in stream.range(StreamId::MIN, StreamId::MAX) {
                    self.mix(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
                    for (field, value) in entry.pairs {
                        self.mix_element(field);
                        self.mix_element(value);
                    }
                }
            }
        }
        if entry.expires_at().is_some() {
            self.xor(b"!!expire!!");
        }
    }

    fn mix_element(&mut self, element: Element<'_>) {
        self.mix(element.as_bytes(&mut itoa::Buffer::new()));
    }

    /// Joins `bytes`, which have their place in an order.
    fn mix(&mut self, bytes: &[u8]) {
        self.xor(bytes);
        self.0 = Sha1::digest(self.0).into();
    }

    /// Joins `bytes`, which have none.
    fn xor(&mut self, bytes: &[u8]) {
        let hash = Sha1::digest(bytes);
        self.0.iter_mut().zip(hash).for_each(|(byte, other)| *byte ^= other);
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A number as C's `%.17g` spells it.
fn shortest_17(number: f64) -> String {
    if !number.is_finite() {
        return if number.is_nan() {
            "nan"
        } else if number > 0.0 {
            "inf"
        } else {
            "-inf"
        }
        .to_string();
    }
    let scientific = format!("{number:.16e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text.to_string(),
    };
    if (-4..17).contains(&exponent) {
        return trim(&format!("{number:.*}", (16 - exponent) as usize));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim(digits), exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::entry::{Extras, Payload};
    use crate::store::types::hash::{Hash, HashLimits};
    use crate::store::types::list::{End, List, ListLimits};
    use crate::store::types::set::{Set, SetLimits};
    use crate::store::types::zset::{AddOptions, ZSet, ZSetLimits};

    #[test]
    fn numbers_are_spelled_as_c_does() {
        let known = [
            (1.5, "1.5"),
            (0.1, "0.10000000000000001"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (1e-5, "1.0000000000000001e-05"),
            (-0.0, "-0"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (number, text) in known {
            assert_eq!(shortest_17(number), text);
        }
    }

    /// What redis-server 7.0 answers to DEBUG DIGEST-VALUE.
    #[test]
    fn fingerprints_are_those_of_redis() {
        let entry = |payload, expires_at| {
            Digest::of_value(&Entry::new(b"k", payload, Extras { expires_at, ..Extras::default() }))
                .to_string()
        };
        let object = |object| entry(Payload::Object(Box::new(object)), None);
        assert_eq!(entry(Payload::string(b"abc"), None), "21ffcd2d36aebffca02995acb412bcb827d4c1db");
        assert_eq!(entry(Payload::string(b"12"), None), "655ac46b180ad2f61a3cee25f0b1780fa2ec879a");
        assert_eq!(entry(Payload::string(b"1"), Some(1 << 40)), "5279988c5d1911f474bcbbf2f0a87012d40f8459");
        let mut list = List::new();
        list.push(End::Back, [&b"a"[..], b"b", b"1"], ListLimits::default());
        assert_eq!(object(Object::List(list)), "981fd62c1655c074205cff40b800bd5a5bfdcd41");
        let mut set = Set::new();
        for member in [&b"a"[..], b"b", b"3"] {
            set.add(Element::Str(member), SetLimits::default());
        }
        assert_eq!(object(Object::Set(set)), "aa475a4a8f122ca5936aa41d911aacf8c93b827d");
        let mut zset = ZSet::new();
        for (member, score) in [(&b"a"[..], 1.5), (b"b", f64::INFINITY)] {
            zset.add(member, score, AddOptions::default(), ZSetLimits::default());
        }
        assert_eq!(object(Object::ZSet(zset)), "e59228f0b3b4ebae6975e3449a12b75db333f555");
        let mut hash = Hash::new();
        hash.set(b"f", b"v", HashLimits::default());
        hash.set(b"g", b"2", HashLimits::default());
        assert_eq!(object(Object::Hash(hash)), "9dc7e1ed596e8ccab4b91d04b8317fc85b68294a");
    }
}
