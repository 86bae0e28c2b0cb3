//! The arguments of one request, wherever their bytes lie.
//!
//! One representation serves all: a byte buffer and a list of spans into it. For a request off the wire the buffer is the
//! connection's read buffer and nothing is copied; queued commands, script calls and tests bring their own
//! ([`OwnedArgs`]). So a command's function has one argument type and an index costs two loads.

use std::iter::FusedIterator;
use std::ops::Index;

/// One argument's place in a byte buffer, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Length in bytes; may be 0.
    pub len: usize,
}

/// The arguments of one request, the command's name first. A cheap copyable view.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// The arguments that `spans` cut out of `bytes`. Reading one whose span leaves `bytes` panics, so spans must
    /// come from code, never from input.
    #[inline]
    pub fn new(bytes: &'a [u8], spans: &'a [Span]) -> Self {
        Args { bytes, spans }
    }

    /// How many arguments there are, the name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether this is an empty request (`*0`, a blank line), which is to be ignored.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The argument at `index`, living as long as the buffer rather than as this view.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.spans.get(index).map(|&span| cut(self.bytes, span))
    }

    /// The arguments from `index` on; none when there are not so many.
    #[inline]
    pub fn from(&self, index: usize) -> Args<'a> {
        Args { bytes: self.bytes, spans: self.spans.get(index..).unwrap_or(&[]) }
    }

    /// The first `count` arguments; all when there are not so many.
    #[inline]
    pub fn first(&self, count: usize) -> Args<'a> {
        Args { bytes: self.bytes, spans: self.spans.get(..count).unwrap_or(self.spans) }
    }

    /// The arguments in order.
    #[inline]
    pub fn iter(&self) -> ArgsIter<'a> {
        ArgsIter { bytes: self.bytes, spans: self.spans.iter() }
    }

    /// Bytes from the first argument to the end of the last: about what the request took on the wire.
    #[inline]
    pub fn extent(&self) -> usize {
        match (self.spans.first(), self.spans.last()) {
            (Some(first), Some(last)) => (last.start + last.len).saturating_sub(first.start),
            _ => 0,
        }
    }

    /// Appends these arguments to `out` as a request: an array of bulk strings.
    pub fn write_request(&self, out: &mut Vec<u8>) {
        let payload: usize = self.spans.iter().map(|span| span.len + 16).sum();
        out.reserve(payload + 16);
        let mut digits = itoa::Buffer::new();
        out.push(b'*');
        out.extend_from_slice(digits.format(self.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
        for arg in self.iter() {
            out.push(b'$');
            out.extend_from_slice(digits.format(arg.len()).as_bytes());
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(arg);
            out.extend_from_slice(b"\r\n");
        }
    }
}

#[inline]
fn cut(bytes: &[u8], span: Span) -> &[u8] {
    &bytes[span.start..][..span.len]
}

impl Index<usize> for Args<'_> {
    type Output = [u8];

    /// The argument at `index`; panics when there are not so many, which the arity check of a command's row rules out.
    #[inline]
    fn index(&self, index: usize) -> &[u8] {
        cut(self.bytes, self.spans[index])
    }
}

impl std::fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|arg| arg.escape_ascii().to_string())).finish()
    }
}

impl PartialEq for Args<'_> {
    fn eq(&self, other: &Args<'_>) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'a> IntoIterator for Args<'a> {
    type Item = &'a [u8];
    type IntoIter = ArgsIter<'a>;

    fn into_iter(self) -> ArgsIter<'a> {
        self.iter()
    }
}

/// Iterator over the arguments of a request.
#[derive(Clone)]
pub struct ArgsIter<'a> {
    bytes: &'a [u8],
    spans: std::slice::Iter<'a, Span>,
}

impl<'a> Iterator for ArgsIter<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.spans.next().map(|&span| cut(self.bytes, span))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.spans.size_hint()
    }
}

impl DoubleEndedIterator for ArgsIter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        self.spans.next_back().map(|&span| cut(self.bytes, span))
    }
}

impl ExactSizeIterator for ArgsIter<'_> {}
impl FusedIterator for ArgsIter<'_> {}

/// Arguments that own their bytes: two allocations however many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnedArgs {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl OwnedArgs {
    /// No arguments yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `arg` at the end.
    #[inline]
    pub fn push(&mut self, arg: &[u8]) {
        self.spans.push(Span { start: self.bytes.len(), len: arg.len() });
        self.bytes.extend_from_slice(arg);
    }

    /// Adds what `write` appends to the vector it is handed as one argument, which it must not otherwise touch.
    #[inline]
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.spans.push(Span { start, len: self.bytes.len().saturating_sub(start) });
    }

    /// Forgets the arguments and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
    }

    /// The arguments as every command takes them.
    #[inline]
    pub fn as_args(&self) -> Args<'_> {
        Args { bytes: &self.bytes, spans: &self.spans }
    }

    /// Bytes held on the heap, used or spare.
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + self.spans.capacity() * size_of::<Span>()
    }
}

impl<A: AsRef<[u8]>> Extend<A> for OwnedArgs {
    fn extend<I: IntoIterator<Item = A>>(&mut self, args: I) {
        for arg in args {
            self.push(arg.as_ref());
        }
    }
}

impl<A: AsRef<[u8]>> FromIterator<A> for OwnedArgs {
    fn from_iter<I: IntoIterator<Item = A>>(args: I) -> Self {
        let mut owned = OwnedArgs::new();
        owned.extend(args);
        owned
    }
}

impl From<Args<'_>> for OwnedArgs {
    /// Copies the arguments, allocating exactly what they need.
    fn from(args: Args<'_>) -> Self {
        let mut owned = OwnedArgs {
            bytes: Vec::with_capacity(args.spans.iter().map(|span| span.len).sum()),
            spans: Vec::with_capacity(args.len()),
        };
        owned.extend(args);
        owned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_slices_and_copies() {
        let owned: OwnedArgs = [&b"SET"[..], b"key", b"", b"v\r\n"].into_iter().collect();
        let args = owned.as_args();
        assert_eq!((args.len(), args.extent(), args.from(4).extent()), (4, 9, 0));
        assert_eq!((&args[0], &args[2], &args[3]), (&b"SET"[..], &b""[..], &b"v\r\n"[..]));
        assert_eq!(args.get(4), None);
        assert_eq!(args.from(1).iter().collect::<Vec<_>>(), [&b"key"[..], b"", b"v\r\n"]);
        assert_eq!(args.first(2).iter().rev().collect::<Vec<_>>(), [&b"key"[..], b"SET"]);
        assert!(args.from(4).is_empty() && args.from(9).is_empty());
        assert_eq!(args.first(9), args);
        assert_eq!(OwnedArgs::from(args.from(2)).as_args(), args.from(2));
        assert_eq!(format!("{args:?}"), r#"["SET", "key", "", "v\\r\\n"]"#);
    }

    #[test]
    fn writes_itself_as_a_request() {
        let mut owned = OwnedArgs::new();
        owned.push(b"GET");
        owned.push_with(|out| out.extend_from_slice(b"0123456789"));
        let mut wire = Vec::new();
        owned.as_args().write_request(&mut wire);
        assert_eq!(wire, b"*2\r\n$3\r\nGET\r\n$10\r\n0123456789\r\n");
    }
}
