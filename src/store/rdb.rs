//! Values as bytes, in the format Redis and Valkey exchange: what DUMP answers and RESTORE takes.
//!
//! ```text
//! type u8 | value | format version u16 LE | CRC-64 of all before, u64 LE
//! ```
//!
//! Small collections travel as the block they are kept in, so writing one is a copy and reading one a check.
//! Written is version 11, which Redis 7.2, Valkey 8 and all since read; only a hash with expiring fields needs
//! Valkey 9's version 80. Read is whatever either has written since Redis 2.2, values of modules excepted.
//!
//! This file knows no key, expiry or database. Invariant: bytes of unknown origin are refused or become a value
//! that keeps all invariants of its type; they never panic or make memory grow out of proportion.

mod legacy;
mod lzf;
mod read;
mod streams;
mod write;

use std::borrow::Cow;

use crc::{CRC_64_REDIS, Crc, Table};

pub use self::read::Reader;
pub use self::write::Writer;
use super::entry::ValueRef;
use super::types::Limits;
use super::types::hash::Hash;
use super::types::intset::IntSet;
use super::types::list::{End, List};
use super::types::pack::{Element, Pack};
use super::types::set::Set;
use super::types::zset::{AddOptions, Added, ZSet};
use super::value::Object;

/// What stands in front of a function library's source.
const LIBRARY: u8 = 245;
/// The version written, unless [`VALKEY_VERSION`] has to be.
const VERSION: u16 = 11;
/// The version that has hashes with expiring fields.
const VALKEY_VERSION: u16 = 80;
/// The newest version read.
const NEWEST_VERSION: u16 = 81;
/// Bytes behind the value: version and checksum.
const FOOTER: usize = 10;
static CRC64: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

// First bytes of strings in a special form.
const INT8: u8 = 0xc0;
const INT16: u8 = 0xc1;
const INT32: u8 = 0xc2;
const LZF: u8 = 0xc3;

/// The types of values, as the format numbers them.
mod kind {
    pub const STRING: u8 = 0;
    pub const LIST: u8 = 1;
    pub const SET: u8 = 2;
    pub const ZSET: u8 = 3;
    pub const HASH: u8 = 4;
    pub const ZSET_BINARY: u8 = 5;
    pub const HASH_ZIPMAP: u8 = 9;
    pub const LIST_ZIPLIST: u8 = 10;
    pub const SET_INTSET: u8 = 11;
    pub const ZSET_ZIPLIST: u8 = 12;
    pub const HASH_ZIPLIST: u8 = 13;
    pub const LIST_OF_ZIPLISTS: u8 = 14;
    pub const HASH_PACK: u8 = 16;
    pub const ZSET_PACK: u8 = 17;
    pub const STREAM: u8 = 15;
    pub const LIST_OF_PACKS: u8 = 18;
    pub const STREAM_2: u8 = 19;
    pub const SET_PACK: u8 = 20;
    pub const STREAM_3: u8 = 21;
    /// Valkey's hash with expiring fields. Redis uses the number for something else.
    pub const HASH_EXPIRING: u8 = 22;
    /// Redis's hash with expiring fields, large and small. No type of Valkey's.
    pub const HASH_EXPIRING_REDIS: u8 = 24;
    pub const HASH_EXPIRING_PACK_REDIS: u8 = 25;
}

/// What a node of [`kind::LIST_OF_PACKS`] is: a single element, or a pack.
const NODE_PLAIN: u64 = 1;
const NODE_PACK: u64 = 2;

/// Why a serialised value was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// Too short, of a version not known here, or not what the checksum was made of.
    Footer,
    /// The bytes are as they were written, but no value.
    Format,
}

/// A value read.
#[derive(Clone)]
pub enum Value {
    /// A string.
    String(Vec<u8>),
    /// Anything else.
    Object(Object),
}

/// Serialises a value for DUMP.
pub fn dump(value: ValueRef<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    append_value(value, true, &mut out);
    let version = if out[0] == kind::HASH_EXPIRING { VALKEY_VERSION } else { VERSION };
    out.extend(version.to_le_bytes());
    out.extend(CRC64.checksum(&out).to_le_bytes());
    out
}

/// What of a footer may be wrong.
#[derive(Clone, Copy, Default, Debug)]
pub struct Leniency {
    /// The version may be a later one than is known here.
    pub any_version: bool,
    /// The checksum may be any.
    pub any_checksum: bool,
}

/// Reads what DUMP has answered, here or elsewhere.
pub fn restore(payload: &[u8], limits: &Limits, leniency: Leniency) -> Result<Value, RestoreError> {
    let body = payload.len().checked_sub(FOOTER).ok_or(RestoreError::Footer)?;
    let (body, footer) = payload.split_at(body);
    let mut footer = Reader::new(footer);
    let version = footer.array().map(u16::from_le_bytes).ok_or(RestoreError::Footer)?;
    let checksum = footer.array().map(u64::from_le_bytes).ok_or(RestoreError::Footer)?;
    let intact = leniency.any_checksum || CRC64.checksum(&payload[..body.len() + 2]) == checksum;
    let known = version > 0 && (version <= NEWEST_VERSION || leniency.any_version);
    if !intact || !known {
        return Err(RestoreError::Footer);
    }
    let mut reader = Reader::new(body);
    read_value(&mut reader, version, limits).filter(|_| reader.is_done()).ok_or(RestoreError::Format)
}

/// Serialises the sources of function libraries for FUNCTION DUMP.
pub fn dump_libraries<'a>(sources: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, true);
    for source in sources {
        writer.byte(LIBRARY);
        writer.string(source);
    }
    out.extend(VERSION.to_le_bytes());
    out.extend(CRC64.checksum(&out).to_le_bytes());
    out
}

/// Reads what FUNCTION DUMP has answered, here or elsewhere.
pub fn restore_libraries(payload: &[u8]) -> Result<Vec<Vec<u8>>, RestoreError> {
    let body = payload.len().checked_sub(FOOTER).ok_or(RestoreError::Footer)?;
    let (body, footer) = payload.split_at(body);
    let mut footer = Reader::new(footer);
    let version = footer.array().map(u16::from_le_bytes).ok_or(RestoreError::Footer)?;
    let checksum = footer.array().map(u64::from_le_bytes).ok_or(RestoreError::Footer)?;
    let intact = CRC64.checksum(&payload[..body.len() + 2]) == checksum;
    if !intact || !(1..=NEWEST_VERSION).contains(&version) {
        return Err(RestoreError::Footer);
    }
    let mut reader = Reader::new(body);
    let mut sources = Vec::new();
    while !reader.is_done() {
        let source = reader.byte().filter(|&code| code == LIBRARY).and_then(|_| reader.string());
        sources.push(source.ok_or(RestoreError::Format)?.into_owned());
    }
    Ok(sources)
}

/// Appends the type of a value and the value: what lies before the footer of a dump.
pub fn append_value(value: ValueRef<'_>, compress: bool, out: &mut Vec<u8>) {
    let mut writer = Writer::new(out, compress);
    let writer = &mut writer;
    match value {
        ValueRef::Inline(text) => write_string(text, writer),
        ValueRef::Int(number) => write_string(itoa::Buffer::new().format(number).as_bytes(), writer),
        ValueRef::Shared(text) => write_string(text, writer),
        ValueRef::Object(Object::List(list)) => write_list(list, writer),
        ValueRef::Object(Object::Hash(hash)) => write_hash(hash, writer),
        ValueRef::Object(Object::Set(set)) => write_set(set, writer),
        ValueRef::Object(Object::ZSet(zset)) => write_zset(zset, writer),
        ValueRef::Object(Object::Stream(stream)) => streams::write(stream, writer),
    }
}

/// Reads one value that [`append_value`] has written, and leaves what follows.
pub fn take_value(reader: &mut Reader<'_>, limits: &Limits) -> Option<Value> {
    read_value(reader, VALKEY_VERSION, limits)
}

fn write_string(text: &[u8], writer: &mut Writer<'_>) {
    writer.byte(kind::STRING);
    writer.string(text);
}

fn write_list(list: &List, writer: &mut Writer<'_>) {
    writer.byte(kind::LIST_OF_PACKS);
    writer.length(list.packs().count());
    for pack in list.packs() {
        writer.length(NODE_PACK as usize);
        writer.string(pack.as_bytes());
    }
}

fn write_set(set: &Set, writer: &mut Writer<'_>) {
    if let Some(ints) = set.as_intset() {
        writer.byte(kind::SET_INTSET);
        writer.string(ints.as_bytes());
    } else if let Some(pack) = set.as_pack() {
        writer.byte(kind::SET_PACK);
        writer.string(pack.as_bytes());
    } else {
        writer.byte(kind::SET);
        writer.length(set.len());
        for member in set.iter() {
            write_element(member, writer);
        }
    }
}

fn write_hash(hash: &Hash, writer: &mut Writer<'_>) {
    if let Some(pack) = hash.as_pack() {
        writer.byte(kind::HASH_PACK);
        return writer.string(pack.as_bytes());
    }
    let expiring = hash.next_expiry().is_some();
    writer.byte(if expiring { kind::HASH_EXPIRING } else { kind::HASH });
    writer.length(hash.len());
    let mut name = itoa::Buffer::new();
    for (field, value) in hash.iter() {
        let field = field.as_bytes(&mut name);
        writer.string(field);
        write_element(value, writer);
        if expiring {
            let expiry_ms =
                hash.stored_expiry(field).flatten().and_then(|time_ms| i64::try_from(time_ms).ok());
            writer.time_ms(expiry_ms.unwrap_or(-1));
        }
    }
}

fn write_zset(zset: &ZSet, writer: &mut Writer<'_>) {
    if let Some(pack) = zset.as_pack() {
        writer.byte(kind::ZSET_PACK);
        return writer.string(pack.as_bytes());
    }
    writer.byte(kind::ZSET_BINARY);
    writer.length(zset.len());
    // From the end, as Redis does: where scores ascend, its skiplist is fastest built at the front.
    for (member, score) in zset.iter_ranks(0..zset.len(), true) {
        write_element(member, writer);
        writer.double(score);
    }
}

fn write_element(element: Element<'_>, writer: &mut Writer<'_>) {
    writer.string(element.as_bytes(&mut itoa::Buffer::new()));
}

fn read_value(reader: &mut Reader<'_>, version: u16, limits: &Limits) -> Option<Value> {
    let kind = reader.byte()?;
    if kind == kind::STRING {
        return Some(Value::String(reader.string()?.into_owned()));
    }
    let from_valkey = version >= VALKEY_VERSION;
    Some(Value::Object(match kind {
        kind::LIST | kind::LIST_ZIPLIST | kind::LIST_OF_ZIPLISTS | kind::LIST_OF_PACKS => {
            Object::List(read_list(kind, reader, limits)?)
        }
        kind::SET | kind::SET_INTSET | kind::SET_PACK => Object::Set(read_set(kind, reader, limits)?),
        kind::ZSET | kind::ZSET_BINARY | kind::ZSET_ZIPLIST | kind::ZSET_PACK => {
            Object::ZSet(read_zset(kind, reader, limits)?)
        }
        kind::HASH | kind::HASH_ZIPMAP | kind::HASH_ZIPLIST | kind::HASH_PACK => {
            Object::Hash(read_hash(kind, reader, limits)?)
        }
        kind::STREAM | kind::STREAM_2 | kind::STREAM_3 => {
            Object::Stream(Box::new(streams::read(kind, reader)?))
        }
        kind::HASH_EXPIRING if from_valkey => Object::Hash(read_expiring_hash(reader, limits)?),
        kind::HASH_EXPIRING_REDIS if !from_valkey => Object::Hash(read_expiring_hash_redis(reader, limits)?),
        kind::HASH_EXPIRING_PACK_REDIS if !from_valkey => {
            Object::Hash(read_expiring_pack_redis(reader, limits)?)
        }
        _ => return None,
    }))
}

fn read_list(kind: u8, reader: &mut Reader<'_>, limits: &Limits) -> Option<List> {
    let mut packs = Vec::new();
    match kind {
        kind::LIST => {
            let mut list = List::new();
            for _ in 0..reader.length()? {
                list.push(End::Back, [&*read_packable(reader)?], limits.list);
            }
            return (!list.is_empty()).then_some(list);
        }
        kind::LIST_ZIPLIST => packs.push(legacy::ziplist(&read_packable(reader)?)?),
        kind::LIST_OF_ZIPLISTS => {
            for _ in 0..reader.length()? {
                packs.push(legacy::ziplist(&read_packable(reader)?)?);
            }
        }
        _ => {
            for _ in 0..reader.length()? {
                let node = reader.length()?;
                let bytes = read_packable(reader)?;
                packs.push(match node {
                    NODE_PLAIN => Pack::of([&*bytes]),
                    NODE_PACK => Pack::from_bytes(&bytes)?,
                    _ => return None,
                });
            }
        }
    }
    List::from_packs(packs, limits.list)
}

fn read_set(kind: u8, reader: &mut Reader<'_>, limits: &Limits) -> Option<Set> {
    match kind {
        kind::SET_INTSET => Set::from_intset(IntSet::from_bytes(&reader.string()?)?, limits.set),
        kind::SET_PACK => Set::from_pack(read_pack(reader)?, limits.set),
        _ => {
            let mut set = Set::new();
            for _ in 0..reader.length()? {
                if !set.add(&*read_packable(reader)?, limits.set) {
                    return None;
                }
            }
            (!set.is_empty()).then_some(set)
        }
    }
}

fn read_zset(kind: u8, reader: &mut Reader<'_>, limits: &Limits) -> Option<ZSet> {
    match kind {
        kind::ZSET_PACK => ZSet::from_pack(read_pack(reader)?, limits.zset),
        kind::ZSET_ZIPLIST => ZSet::from_pack(legacy::ziplist(&read_packable(reader)?)?, limits.zset),
        _ => {
            let mut zset = ZSet::new();
            for _ in 0..reader.length()? {
                let member = read_packable(reader)?;
                let score = if kind == kind::ZSET { reader.double_text()? } else { reader.double()? };
                match zset.add(&member, score, AddOptions::default(), limits.zset) {
                    Added::New(_) => {}
                    _ => return None,
                }
            }
            (!zset.is_empty()).then_some(zset)
        }
    }
}

fn read_hash(kind: u8, reader: &mut Reader<'_>, limits: &Limits) -> Option<Hash> {
    match kind {
        kind::HASH_PACK => Hash::from_pack(read_pack(reader)?, limits.hash),
        kind::HASH_ZIPLIST => Hash::from_pack(legacy::ziplist(&read_packable(reader)?)?, limits.hash),
        kind::HASH_ZIPMAP => Hash::from_pack(legacy::zipmap(&read_packable(reader)?)?, limits.hash),
        _ => {
            let mut hash = Hash::new();
            for _ in 0..reader.length()? {
                let field = read_packable(reader)?;
                add_field(&mut hash, &field, &read_packable(reader)?, None, limits)?;
            }
            (!hash.is_empty()).then_some(hash)
        }
    }
}

/// Valkey's: the expiry follows the value, -1 for none.
fn read_expiring_hash(reader: &mut Reader<'_>, limits: &Limits) -> Option<Hash> {
    let mut hash = Hash::new();
    for _ in 0..reader.length()? {
        let (field, value) = (read_packable(reader)?, read_packable(reader)?);
        let expiry_ms = match reader.time_ms()? {
            -1 => None,
            time_ms => Some(u64::try_from(time_ms).ok()?),
        };
        add_field(&mut hash, &field, &value, expiry_ms, limits)?;
    }
    (!hash.is_empty()).then_some(hash)
}

/// Redis's: the expiry comes first, as the time from the earliest plus one, 0 for none.
fn read_expiring_hash_redis(reader: &mut Reader<'_>, limits: &Limits) -> Option<Hash> {
    let earliest_ms = u64::try_from(reader.time_ms()?).ok()?;
    let mut hash = Hash::new();
    for _ in 0..reader.length()? {
        let expiry_ms = match reader.length()? {
            0 => None,
            later_ms => Some(earliest_ms.checked_add(later_ms - 1)?),
        };
        let (field, value) = (read_packable(reader)?, read_packable(reader)?);
        add_field(&mut hash, &field, &value, expiry_ms, limits)?;
    }
    (!hash.is_empty()).then_some(hash)
}

/// Redis's, small: the earliest expiry, and a pack of field, value and expiry in turn, 0 for none.
fn read_expiring_pack_redis(reader: &mut Reader<'_>, limits: &Limits) -> Option<Hash> {
    reader.time_ms()?;
    let pack = read_pack(reader)?;
    let mut elements = pack.iter();
    let mut hash = Hash::new();
    while let Some(field) = elements.next() {
        let (value, expiry) = (elements.next()?, elements.next()?);
        let expiry_ms = Some(u64::try_from(expiry.int()?).ok()?).filter(|&time_ms| time_ms != 0);
        add_field(&mut hash, &field.to_vec(), &value.to_vec(), expiry_ms, limits)?;
    }
    (!hash.is_empty()).then_some(hash)
}

/// Adds a field that must not be there yet.
fn add_field(
    hash: &mut Hash,
    field: &[u8],
    value: &[u8],
    expiry_ms: Option<u64>,
    limits: &Limits,
) -> Option<()> {
    if !hash.set(field, value, limits.hash) {
        return None;
    }
    if expiry_ms.is_some() {
        hash.set_expiry(field, expiry_ms);
    }
    Some(())
}

fn read_pack(reader: &mut Reader<'_>) -> Option<Pack> {
    Pack::from_bytes(&reader.string()?)
}

/// A string that certainly fits a pack, alone or as the elements it is made of.
fn read_packable<'a>(reader: &mut Reader<'a>) -> Option<Cow<'a, [u8]>> {
    reader.string().filter(|text| text.len() <= Pack::MAX_BYTES / 2)
}

#[cfg(test)]
mod tests;
