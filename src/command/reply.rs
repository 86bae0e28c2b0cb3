//! Replies that the commands of several types share.

use crate::store::types::pack::Element;
use shoal_protocol::resp::Output;

/// An element of a collection, as a string.
#[inline]
pub fn element(out: &mut Output, element: Element<'_>) {
    match element {
        Element::Str(text) => out.bulk(text),
        Element::Int(number) => out.bulk_int(number),
    }
}
