//! Streams as bytes: the nodes as they are, then ids and counters, then the groups.
//!
//! Three versions of the format are read (Redis 5, 7.0 and 7.2 brought one each), the newest is written.

use super::kind;
use super::read::Reader;
use super::write::Writer;
use crate::store::types::pack::Pack;
use crate::store::types::stream::{Group, Stream, StreamId};
use std::collections::BTreeMap;

fn raw_id(id: StreamId) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&id.ms.to_be_bytes());
    bytes[8..].copy_from_slice(&id.seq.to_be_bytes());
    bytes
}

fn read_raw_id(bytes: &[u8]) -> Option<StreamId> {
    let (ms, seq) = bytes.split_first_chunk::<8>()?;
    Some(StreamId { ms: u64::from_be_bytes(*ms), seq: u64::from_be_bytes(seq.try_into().ok()?) })
}

/// Writes a stream.
pub fn write(stream: &Stream, writer: &mut Writer<'_>) {
    let id = |id: StreamId, writer: &mut Writer<'_>| {
        writer.length(id.ms as usize);
        writer.length(id.seq as usize);
    };
    writer.byte(kind::STREAM_3);
    writer.length(stream.nodes().len());
    for (first, pack) in stream.nodes() {
        writer.string(&raw_id(first));
        writer.string(pack.as_bytes());
    }
    writer.length(stream.len() as usize);
    id(stream.last_id, writer);
    id(stream.first_id().unwrap_or_default(), writer);
    id(stream.max_deleted_id, writer);
    writer.length(stream.entries_added as usize);
    writer.length(stream.groups().len());
    for (name, group) in stream.groups() {
        writer.string(name);
        id(group.last_id, writer);
        // Unknown travels as -1.
        writer.length(group.entries_read.unwrap_or(u64::MAX) as usize);
        writer.length(group.pending().len());
        for (id, pending) in group.pending() {
            raw_id(*id).into_iter().for_each(|byte| writer.byte(byte));
            writer.time_ms(pending.delivered_ms);
            writer.length(pending.deliveries as usize);
        }
        writer.length(group.consumers().len());
        for (name, consumer) in group.consumers() {
            writer.string(name);
            writer.time_ms(consumer.seen_ms);
            writer.time_ms(consumer.active_ms);
            writer.length(consumer.pending().len());
            for id in consumer.pending() {
                raw_id(*id).into_iter().for_each(|byte| writer.byte(byte));
            }
        }
    }
}

/// Reads a stream of any version.
pub fn read(version: u8, reader: &mut Reader<'_>) -> Option<Stream> {
    let id = |reader: &mut Reader<'_>| Some(StreamId { ms: reader.length()?, seq: reader.length()? });
    let mut nodes = Vec::new();
    for _ in 0..reader.length()? {
        let first = read_raw_id(&reader.string()?)?;
        nodes.push((first, Pack::from_bytes(&reader.string()?)?));
    }
    let len = reader.length()?;
    let last_id = id(reader)?;
    let (mut max_deleted_id, mut entries_added) = (StreamId::MIN, len);
    if version != kind::STREAM {
        let _first = id(reader)?;
        max_deleted_id = id(reader)?;
        entries_added = reader.length()?;
    }
    let mut groups = BTreeMap::new();
    for _ in 0..reader.length()? {
        let name: Box<[u8]> = (&*reader.string()?).into();
        let group = read_group(version, reader)?;
        if groups.insert(name, group).is_some() {
            return None;
        }
    }
    let mut stream = Stream::from_parts(nodes, len, last_id, max_deleted_id, entries_added, groups)?;
    if version == kind::STREAM {
        // How much a group has read was not yet counted.
        let read: Vec<_> =
            stream.groups().values().map(|group| stream.entries_read_at(group.last_id)).collect();
        stream.groups_mut().values_mut().zip(read).for_each(|(group, read)| group.entries_read = read);
    }
    Some(stream)
}

fn read_group(version: u8, reader: &mut Reader<'_>) -> Option<Group> {
    let last_id = StreamId { ms: reader.length()?, seq: reader.length()? };
    let entries_read = if version == kind::STREAM { None } else { Some(reader.length()?) };
    let mut group = Group::new(last_id, entries_read.filter(|read| *read != u64::MAX));
    let mut pending = BTreeMap::new();
    for _ in 0..reader.length()? {
        let id = read_raw_id(&reader.array::<16>()?)?;
        pending.insert(id, (reader.time_ms()?, reader.length()?));
    }
    for _ in 0..reader.length()? {
        let name = reader.string()?.into_owned();
        let seen_ms = reader.time_ms()?;
        let active_ms = if version == kind::STREAM_3 { reader.time_ms()? } else { seen_ms };
        group.consumer(&name, seen_ms).0.active_ms = active_ms;
        for _ in 0..reader.length()? {
            let id = read_raw_id(&reader.array::<16>()?)?;
            let (delivered_ms, deliveries) = pending.remove(&id)?;
            group.deliver(id, &name, delivered_ms, deliveries);
        }
    }
    // What is pending is pending with somebody.
    pending.is_empty().then_some(group)
}
