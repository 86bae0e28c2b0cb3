//! The packed forms Redis wrote before version 7: ziplists and zipmaps. Read only.

use super::read::Reader;
use crate::store::types::pack::{Element, Pack};

/// The byte behind the last entry of either.
const END: u8 = 0xff;
/// A length byte that says the length is in the next four.
const LONG: u8 = 254;

/// The elements of a ziplist.
///
/// ```text
/// total bytes u32 LE | offset of the last entry u32 LE | elements u16 LE | entry ... | 0xff
/// entry = length of the entry before, u8 or 254 and u32 LE | encoding and length | data
/// ```
pub(super) fn ziplist(bytes: &[u8]) -> Option<Pack> {
    let mut reader = Reader::new(bytes);
    let total = u32::from_le_bytes(reader.array()?);
    let _last: [u8; 4] = reader.array()?;
    let declared = u16::from_le_bytes(reader.array()?);
    let mut elements = Vec::new();
    loop {
        match reader.byte()? {
            END => break,
            LONG => {
                reader.array::<4>()?;
            }
            _ => {}
        }
        elements.push(ziplist_data(&mut reader)?);
    }
    let counted = usize::from(declared) == elements.len() || declared == u16::MAX;
    (counted && reader.is_done() && total as usize == bytes.len()).then(|| Pack::of(elements))
}

fn ziplist_data<'a>(reader: &mut Reader<'a>) -> Option<Element<'a>> {
    let first = reader.byte()?;
    let low_bits = usize::from(first & 0x3f);
    let string_len = match first >> 6 {
        0 => low_bits,
        1 => low_bits << 8 | usize::from(reader.byte()?),
        2 => u32::from_be_bytes(reader.array()?) as usize,
        _ => return ziplist_integer(reader, first).map(Element::Int),
    };
    reader.bytes(string_len).map(Element::Str)
}

fn ziplist_integer(reader: &mut Reader<'_>, encoding: u8) -> Option<i64> {
    Some(match encoding {
        0xc0 => i16::from_le_bytes(reader.array()?).into(),
        0xd0 => i32::from_le_bytes(reader.array()?).into(),
        0xe0 => i64::from_le_bytes(reader.array()?),
        0xf0 => {
            let [a, b, c] = reader.array()?;
            // Into the high bytes and back down, for the sign.
            i64::from(i32::from_le_bytes([0, a, b, c]) >> 8)
        }
        0xfe => i8::from_le_bytes(reader.array()?).into(),
        0xf1..=0xfd => i64::from(encoding & 0x0f) - 1,
        _ => return None,
    })
}

/// The fields and values of a zipmap, in turn.
///
/// ```text
/// fields u8 (254: count them) | field, value ... | 0xff
/// field = length, u8 or 254 and u32 LE | bytes
/// value = length, as above | unused bytes u8 | bytes | as many unused bytes
/// ```
pub(super) fn zipmap(bytes: &[u8]) -> Option<Pack> {
    let mut reader = Reader::new(bytes);
    let declared = reader.byte()?;
    let mut elements = Vec::new();
    while let Some(len) = zipmap_length(&mut reader)? {
        elements.push(Element::Str(reader.bytes(len)?));
        let len = zipmap_length(&mut reader)??;
        let unused = reader.byte()?;
        elements.push(Element::Str(reader.bytes(len)?));
        reader.bytes(unused.into())?;
    }
    let counted = usize::from(declared) == elements.len() / 2 || declared >= LONG;
    (counted && reader.is_done()).then(|| Pack::of(elements))
}

/// The next length; `Some(None)` at the end of the map.
fn zipmap_length(reader: &mut Reader<'_>) -> Option<Option<usize>> {
    match reader.byte()? {
        END => Some(None),
        LONG => {
            let len = u32::from_le_bytes(reader.array()?);
            // What fits one byte is not written in four.
            (len >= LONG.into()).then_some(Some(len as usize))
        }
        len => Some(Some(len.into())),
    }
}
