//! SORT and SORT_RO: the elements of a list, set or sorted set in order, perhaps by values found elsewhere.
//!
//! All elements are copied into one buffer first, then their weights; what is sorted are places in it. Keys named by
//! patterns may lie anywhere, so a request with such a pattern enters all partitions (see [`spec`]).

use super::error::{self, CmdError};
use super::keys::Keys;
use super::parse::{self, is, operand};
use super::{Command, Cx, Group, category, command, flag, flags, permission, spec, table};
use crate::config::notify;
use crate::store::entry::{Entry, ValueRef};
use crate::store::types::list::{End, List};
use crate::store::value::{Object, Stored};
use crate::text::number::parse_f64;
use shoal_protocol::resp::Args;
use std::ops::Range;

const COLLECTIONS: super::Categories =
    category::SET.or(category::SORTED_SET).or(category::LIST).or(category::DANGEROUS);

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("sort", -2, Group::Generic, sort)
        .flags(flags([flag::WRITE, flag::DENYOOM]))
        .keys(spec::SORT)
        .categories(COLLECTIONS)
        .doc(
            "1.0.0",
            "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA] \
             [STORE destination]",
            "Sorts the elements in a list, a set, or a sorted set, optionally storing the result.",
        ),
    command("sort_ro", -2, Group::Generic, sort)
        .flags(flag::READONLY)
        .keys(spec::SORT_RO)
        .categories(COLLECTIONS)
        .doc(
            "7.0.0",
            "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA]",
            "Returns the sorted elements of a list, a set, or a sorted set.",
        ),
];

/// What a request asks for.
struct Options<'a> {
    descending: bool,
    alpha: bool,
    offset: i64,
    /// Negative: to the end.
    count: i64,
    by: Option<Pattern<'a>>,
    /// A BY without a star: the elements stay in the order they have.
    unsorted: bool,
    gets: Vec<Pattern<'a>>,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    /// `reads_all`: whether keys may be read that only patterns name.
    fn parse(args: Args<'a>, stores: bool, reads_all: bool) -> Result<Self, CmdError> {
        let mut options = Options {
            descending: false,
            alpha: false,
            offset: 0,
            count: -1,
            by: None,
            unsorted: false,
            gets: Vec::new(),
            store: None,
        };
        let mut at = 2;
        while at < args.len() {
            let word = &args[at];
            if is(word, "asc") {
                options.descending = false;
            } else if is(word, "desc") {
                options.descending = true;
            } else if is(word, "alpha") {
                options.alpha = true;
            } else if is(word, "limit") && at + 2 < args.len() {
                options.offset = parse::int(operand(&args, &mut at)?)?;
                options.count = parse::int(operand(&args, &mut at)?)?;
            } else if is(word, "store") && stores {
                options.store = Some(operand(&args, &mut at)?);
            } else if is(word, "by") {
                let pattern = operand(&args, &mut at)?;
                options.unsorted |= !pattern.contains(&b'*');
                if pattern.contains(&b'*') && !reads_all {
                    return Err(CmdError::new(
                        "ERR BY option of SORT denied due to insufficient ACL permissions.",
                    ));
                }
                options.by = Some(Pattern::new(pattern));
            } else if is(word, "get") {
                let pattern = operand(&args, &mut at)?;
                if !reads_all {
                    return Err(CmdError::new(
                        "ERR GET option of SORT denied due to insufficient ACL permissions.",
                    ));
                }
                options.gets.push(Pattern::new(pattern));
            } else {
                return Err(error::SYNTAX);
            }
            at += 1;
        }
        Ok(options)
    }

    /// Which of `len` elements in order are wanted.
    fn range(&self, len: usize) -> Range<usize> {
        let start = usize::try_from(self.offset).unwrap_or(0).min(len);
        let end = usize::try_from(self.count).map_or(len, |count| start.saturating_add(count).min(len));
        start..end
    }
}

/// Where a value belonging to an element is found.
enum Pattern<'a> {
    /// It is the element.
    Element,
    /// Nowhere.
    Nothing,
    /// Under the key made by putting the element between two texts, whole or in a field.
    Key { before: &'a [u8], after: &'a [u8], field: Option<&'a [u8]> },
}

impl<'a> Pattern<'a> {
    fn new(pattern: &'a [u8]) -> Self {
        if pattern == b"#" {
            return Pattern::Element;
        }
        let Some(star) = memchr::memchr(b'*', pattern) else { return Pattern::Nothing };
        let (before, after) = (&pattern[..star], &pattern[star + 1..]);
        // An arrow with nothing behind it belongs to the key.
        match memchr::memmem::find(after, b"->").filter(|arrow| arrow + 2 < after.len()) {
            Some(arrow) => Pattern::Key { before, after: &after[..arrow], field: Some(&after[arrow + 2..]) },
            None => Pattern::Key { before, after, field: None },
        }
    }

    /// Hands the value that belongs to `element` to `take`, or `None` if there is none.
    fn value<R>(&self, keys: &mut Keys, element: &[u8], take: impl FnOnce(Option<&[u8]>) -> R) -> R {
        let (before, after, field) = match *self {
            Pattern::Element => return take(Some(element)),
            Pattern::Nothing => return take(None),
            Pattern::Key { before, after, field } => (before, after, field),
        };
        let key = [before, element, after].concat();
        match field {
            None => match keys.read_text(&key) {
                Ok(Some(mut text)) => take(Some(text.bytes())),
                Ok(None) | Err(_) => take(None),
            },
            Some(field) => {
                let mut buffer = itoa::Buffer::new();
                let value = keys.read_hash(&key).ok().flatten().and_then(|hash| hash.get(field));
                take(value.map(|value| value.as_bytes(&mut buffer)))
            }
        }
    }
}

/// A place in [`Elements::bytes`].
type Span = (usize, usize);

/// What is sorted.
#[derive(Default)]
struct Elements {
    bytes: Vec<u8>,
    items: Vec<Item>,
}

struct Item {
    element: Span,
    score: f64,
    /// The text to sort by where that is not the element.
    weight: Option<Span>,
}

impl Elements {
    fn text(&self, span: Span) -> &[u8] {
        &self.bytes[span.0..span.1]
    }

    fn push<'e>(&mut self, element: impl Into<crate::store::types::pack::Element<'e>>) {
        let start = self.bytes.len();
        element.into().append_to(&mut self.bytes);
        self.items.push(Item { element: (start, self.bytes.len()), score: 0.0, weight: None });
    }

    /// Copies the elements of `entry`: all, or where they are not to be sorted and have an order, those wanted.
    fn load(&mut self, entry: &Entry, options: &Options) -> Result<(), CmdError> {
        let ValueRef::Object(object) = entry.value() else { return Err(error::WRONG_TYPE) };
        match object {
            Object::List(list) if options.unsorted => {
                let range = options.range(list.len());
                let iter = match options.descending {
                    false => list.iter_from(range.start, End::Back),
                    true if range.is_empty() => return Ok(()),
                    true => list.iter_from(list.len() - 1 - range.start, End::Front),
                };
                iter.take(range.len()).for_each(|element| self.push(element));
            }
            Object::ZSet(zset) if options.unsorted => {
                let Range { start, end } = options.range(zset.len());
                // Ranks count from the lowest score, whichever way they are walked.
                let ranks = match options.descending {
                    false => start..end,
                    true => zset.len() - end..zset.len() - start,
                };
                zset.iter_ranks(ranks, options.descending).for_each(|(member, _)| self.push(member));
            }
            Object::List(list) => list.iter().for_each(|element| self.push(element)),
            Object::Set(set) => set.iter().for_each(|member| self.push(member)),
            Object::ZSet(zset) => zset.iter().for_each(|(member, _)| self.push(member)),
            _ => return Err(error::WRONG_TYPE),
        }
        Ok(())
    }

    /// Finds out what to sort by.
    fn weigh(&mut self, keys: &mut Keys, options: &Options) -> Result<(), CmdError> {
        let Elements { bytes, items } = self;
        for item in items {
            let (start, end) = item.element;
            let Some(by) = &options.by else {
                if !options.alpha {
                    item.score = score(&bytes[start..end])?;
                }
                continue;
            };
            if options.alpha {
                let found = by.value(keys, &bytes[start..end], |value| value.map(<[u8]>::to_vec));
                let from = bytes.len();
                item.weight = found.map(|value| {
                    bytes.extend_from_slice(&value);
                    (from, bytes.len())
                });
            } else {
                item.score = by.value(keys, &bytes[start..end], |value| value.map_or(Ok(0.0), score))?;
            }
        }
        Ok(())
    }

    fn sort(&mut self, options: &Options) {
        let mut items = std::mem::take(&mut self.items);
        items.sort_by(|a, b| {
            let elements = || self.text(a.element).cmp(self.text(b.element));
            let order = match (options.alpha, &options.by) {
                (false, _) => a.score.total_cmp(&b.score).then_with(elements),
                (true, None) => elements(),
                (true, Some(_)) => {
                    a.weight.map(|weight| self.text(weight)).cmp(&b.weight.map(|weight| self.text(weight)))
                }
            };
            if options.descending { order.reverse() } else { order }
        });
        self.items = items;
    }
}

/// A number as C's `strtod` reads it: blanks before it are skipped, a NUL byte ends it, an empty text is 0.
fn score(text: &[u8]) -> Result<f64, CmdError> {
    let text = memchr::memchr(0, text).map_or(text, |end| &text[..end]);
    if text.is_empty() {
        return Ok(0.0);
    }
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    let number = parse_f64(&text[blanks..]);
    // No negative zero, so that comparing all bits does as comparing numbers.
    number.map(|number| number + 0.0).ok_or(NOT_DOUBLES)
}

const NOT_DOUBLES: CmdError = CmdError::new("ERR One or more scores can't be converted into double");

/// SORT key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC | DESC] [ALPHA] [STORE destination], SORT_RO
fn sort(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let reads_all = cx.client.is_free() || {
        let row = table::by_number(table::number_of(cx.command));
        permission::may_read_all(cx.state, &cx.client.user, cx.client.db, row, args)
    };
    let mut options = Options::parse(args, cx.command.name == "sort", reads_all)?;
    let mut elements = Elements::default();
    let (script, mut ranged) = (cx.keys.is_script(), false);
    if let Some(entry) = cx.keys.read(&args[1]) {
        if matches!(entry.value(), ValueRef::Object(Object::Set(_))) {
            if options.unsorted && (options.store.is_some() || script) {
                // A set has no order; what is stored, or decides what a script does, must have one.
                options = Options { unsorted: false, alpha: true, by: None, ..options };
            }
        } else {
            ranged = options.unsorted;
        }
        elements.load(entry, &options)?;
    }
    if !options.unsorted {
        elements.weigh(cx.keys, &options)?;
        elements.sort(&options);
    }
    let len = elements.items.len();
    let wanted = if ranged { 0..len } else { options.range(len) };
    match options.store {
        None => {
            reply(cx, &elements, wanted, &options.gets);
            Ok(())
        }
        Some(destination) => store(cx, &elements, wanted, &options.gets, destination),
    }
}

fn reply(cx: &mut Cx, elements: &Elements, wanted: Range<usize>, gets: &[Pattern]) {
    let Cx { keys, out, .. } = cx;
    out.array(wanted.len() * gets.len().max(1));
    for item in &elements.items[wanted] {
        let element = elements.text(item.element);
        if gets.is_empty() {
            out.bulk(element);
        }
        for get in gets {
            get.value(keys, element, |value| match value {
                Some(value) => out.bulk(value),
                None => out.null(),
            });
        }
    }
}

fn store(
    cx: &mut Cx,
    elements: &Elements,
    wanted: Range<usize>,
    gets: &[Pattern],
    destination: &[u8],
) -> Result<(), CmdError> {
    let limits = super::list::limits(cx.state);
    let (mut list, mut too_long) = (List::new(), false);
    let mut push = |element: &[u8]| {
        if element.len() > List::MAX_ELEMENT_BYTES {
            too_long = true;
        } else {
            list.push(End::Back, [element], limits);
        }
    };
    for item in &elements.items[wanted] {
        let element = elements.text(item.element);
        if gets.is_empty() {
            push(element);
        }
        for get in gets {
            get.value(cx.keys, element, |value| push(value.unwrap_or(b"")));
        }
    }
    if too_long {
        return Err(super::list::TOO_LONG);
    }
    cx.out.int(list.len() as i64);
    if !list.is_empty() {
        cx.keys.put_object(destination, list.into_object(), None);
        cx.keys.modified(notify::LIST, "sortstore", destination);
    } else if cx.keys.remove(destination) {
        cx.keys.modified(notify::GENERIC, "del", destination);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_read_as_strtod_reads_them() {
        for (text, expected) in [
            (&b""[..], Some(0.0)),
            (b"  5", Some(5.0)),
            (b"\t-1.5e3", Some(-1500.0)),
            (b"0x10", Some(16.0)),
            (b"-inf", Some(f64::NEG_INFINITY)),
            (b"7\0x", Some(7.0)),
            (b"\0x", Some(0.0)),
            (b" ", None),
            (b"5 ", None),
            (b"nan", None),
            (b"1e999", None),
            (b"x", None),
        ] {
            assert_eq!(score(text).ok(), expected, "{}", text.escape_ascii());
        }
        assert_eq!(score(b"-0").map(f64::is_sign_negative), Ok(false));
    }

    #[test]
    fn patterns_are_cut_at_the_star_and_the_arrow() {
        let cut = |pattern: &'static str| match Pattern::new(pattern.as_bytes()) {
            Pattern::Element => "#".to_owned(),
            Pattern::Nothing => "-".to_owned(),
            Pattern::Key { before, after, field } => {
                let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                format!("{}|{}|{}", show(before), show(after), field.map_or("-".to_owned(), show))
            }
        };
        for (pattern, expected) in [
            ("#", "#"),
            ("w", "-"),
            ("w_*", "w_||-"),
            ("w_*_x", "w_|_x|-"),
            ("w_*->f", "w_||f"),
            ("w_*_x->f->g", "w_|_x|f->g"),
            ("w_*->", "w_|->|-"),
            ("a->b*", "a->b||-"),
            ("**", "|*|-"),
        ] {
            assert_eq!(cut(pattern), expected, "{pattern}");
        }
    }
}
