//! What a key can hold besides a string, and the words Redis uses for it.

use super::types::hash::Hash;
use super::types::list::List;
use super::types::pack::Pack;
use super::types::set::Set;
use super::types::stream::Stream;
use super::types::zset::ZSet;

/// A value that is not a string.
#[derive(Clone)]
pub enum Object {
    /// A list.
    List(List),
    /// A hash.
    Hash(Hash),
    /// A set.
    Set(Set),
    /// A stream.
    Stream(Box<Stream>),
    /// A sorted set.
    ZSet(ZSet),
}

// An entry points at an object; what a large one needs it boxes itself, so that a small one stays small.
const _: () = assert!(size_of::<Object>() <= 40);

impl Object {
    /// Redis's name of the type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Object::List(_) => "list",
            Object::Hash(_) => "hash",
            Object::Set(_) => "set",
            Object::Stream(_) => "stream",
            Object::ZSet(_) => "zset",
        }
    }

    /// Where its contents begin, if they are one block.
    #[inline]
    pub fn contents(&self) -> Option<*const u8> {
        let pack = match self {
            Object::List(list) => list.as_pack(),
            Object::Hash(hash) => hash.as_pack(),
            Object::Set(set) => set.as_pack(),
            Object::ZSet(zset) => zset.as_pack(),
            Object::Stream(_) => None,
        };
        pack.map(Pack::start)
    }

    /// Redis's name of the encoding.
    pub fn encoding(&self) -> &'static str {
        match self {
            Object::List(list) => list.encoding(),
            Object::Hash(hash) => hash.encoding(),
            Object::Set(set) => set.encoding(),
            Object::Stream(_) => "stream",
            Object::ZSet(zset) => zset.encoding(),
        }
    }

    /// Elements, members or fields it holds: how much work it is to drop it.
    pub fn len(&self) -> usize {
        match self {
            Object::List(list) => list.len(),
            Object::Hash(hash) => hash.len(),
            Object::Set(set) => set.len(),
            Object::Stream(stream) => stream.len() as usize,
            Object::ZSet(zset) => zset.len(),
        }
    }

    /// Whether it holds nothing, which only a stream may.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The earliest Unix time in ms at which a part of it is gone: a field of a hash.
    pub fn field_expiry(&self) -> Option<i64> {
        match self {
            Object::Hash(hash) => hash.next_expiry().map(|at_ms| i64::try_from(at_ms).unwrap_or(i64::MAX)),
            _ => None,
        }
    }

    /// Bytes it has allocated, itself included.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Object>()
            + match self {
                Object::List(list) => list.allocated_bytes(),
                Object::Hash(hash) => hash.allocated_bytes(),
                Object::Set(set) => set.allocated_bytes(),
                Object::Stream(stream) => size_of::<Stream>() + stream.allocated_bytes(),
                Object::ZSet(zset) => zset.allocated_bytes(),
            }
    }
}

/// A type of [`Object`].
pub trait Stored: Default {
    /// The object as this type, if it is one.
    fn of(object: &Object) -> Option<&Self>;
    /// The object as this type, to change.
    fn of_mut(object: &mut Object) -> Option<&mut Self>;
    /// As an object.
    fn into_object(self) -> Object;
}

macro_rules! stored {
    ($($variant:ident)*) => {$(
        impl Stored for $variant {
            fn of(object: &Object) -> Option<&Self> {
                match object {
                    Object::$variant(value) => Some(value),
                    _ => None,
                }
            }

            fn of_mut(object: &mut Object) -> Option<&mut Self> {
                match object {
                    Object::$variant(value) => Some(value),
                    _ => None,
                }
            }

            fn into_object(self) -> Object {
                Object::$variant(self)
            }
        }
    )*};
}

stored!(List Hash Set ZSet);

impl Stored for Stream {
    fn of(object: &Object) -> Option<&Self> {
        match object {
            Object::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    fn of_mut(object: &mut Object) -> Option<&mut Self> {
        match object {
            Object::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    fn into_object(self) -> Object {
        Object::Stream(Box::new(self))
    }
}
