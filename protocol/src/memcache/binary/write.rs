//! Replies of the binary protocol onto the wire: a header of 24 bytes, then extras, key and value.

use std::sync::Arc;

use super::{HEADER, Status, Tag};
use crate::resp::Output;

/// The first byte of every reply.
const MAGIC: u8 = 0x81;

/// The opcode of `stat`.
const STAT: u8 = 0x10;

/// What a header says besides the tag. Lengths in bytes.
#[derive(Default)]
struct Head {
    status: u16,
    extras: u8,
    key: usize,
    value: usize,
    cas: u64,
}

fn head(out: &mut Output, tag: Tag, head: Head) {
    // Keys and values are far below what these hold: what cannot be sent was refused when it came.
    let key = u16::try_from(head.key).unwrap_or(u16::MAX);
    let body = u32::try_from(usize::from(head.extras) + head.key + head.value).unwrap_or(u32::MAX);
    let mut bytes = [0; HEADER];
    bytes[0] = MAGIC;
    bytes[1] = tag.opcode;
    bytes[2..4].copy_from_slice(&key.to_be_bytes());
    bytes[4] = head.extras;
    bytes[6..8].copy_from_slice(&head.status.to_be_bytes());
    bytes[8..12].copy_from_slice(&body.to_be_bytes());
    bytes[12..16].copy_from_slice(&tag.opaque);
    bytes[16..].copy_from_slice(&head.cas.to_be_bytes());
    out.raw(&bytes);
}

/// Done. `cas` is the version of the item, 0 where there is none.
pub fn done(out: &mut Output, tag: Tag, cas: u64) {
    head(out, tag, Head { cas, ..Head::default() });
}

/// Not done, and why.
pub fn error(out: &mut Output, tag: Tag, status: Status) {
    let text = status.text().as_bytes();
    head(out, tag, Head { status: status.code(), value: text.len(), ..Head::default() });
    out.raw(text);
}

/// There is no such item, said with its key.
pub fn missing_key(out: &mut Output, tag: Tag, key: &[u8]) {
    head(out, tag, Head { status: Status::NotFound.code(), key: key.len(), ..Head::default() });
    out.raw(key);
}

/// An answer in words: the version, mechanisms.
pub fn text(out: &mut Output, tag: Tag, text: &str) {
    head(out, tag, Head { value: text.len(), ..Head::default() });
    out.raw(text.as_bytes());
}

/// What counting up or down came to.
pub fn number(out: &mut Output, tag: Tag, number: u64, cas: u64) {
    head(out, tag, Head { value: size_of::<u64>(), cas, ..Head::default() });
    out.raw(&number.to_be_bytes());
}

/// Of an item that was found, what goes before its value: its client flags, its version and, where wanted, its key. `len`
/// bytes of value must follow.
pub fn item(out: &mut Output, tag: Tag, flags: u32, cas: u64, key: Option<&[u8]>, len: usize) {
    let key = key.unwrap_or_default();
    head(out, tag, Head { extras: 4, key: key.len(), value: len, cas, ..Head::default() });
    out.raw(&flags.to_be_bytes());
    out.raw(key);
}

/// An item whose value is sent from where it lies when it is large.
pub fn item_shared(
    out: &mut Output,
    tag: Tag,
    flags: u32,
    cas: u64,
    key: Option<&[u8]>,
    data: &Arc<Vec<u8>>,
) {
    item(out, tag, flags, cas, key, data.len());
    out.raw_shared(data);
}

/// One statistic. The last is followed by [`stats_end`].
pub fn stat(out: &mut Output, opaque: [u8; 4], name: &str, value: impl AsRef<[u8]>) {
    let value = value.as_ref();
    let tag = Tag { opcode: STAT, opaque };
    head(out, tag, Head { key: name.len(), value: value.len(), ..Head::default() });
    out.raw(name.as_bytes());
    out.raw(value);
}

/// No more statistics.
pub fn stats_end(out: &mut Output, opaque: [u8; 4]) {
    head(out, Tag { opcode: STAT, opaque }, Head::default());
}
