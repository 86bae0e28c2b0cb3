//! Which of a command's arguments are keys, in Redis's own terms (key specifications of COMMAND INFO).

use shoal_protocol::resp::Args;

/// Where a search for keys begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At this argument; the command's name is 0.
    Index(usize),
    /// Behind this word, looked for from that argument on (negative: from the end, backwards).
    Keyword(&'static str, i32),
    /// Nowhere: SORT makes the names of these keys of what it sorts and the patterns behind BY and GET.
    SortPatterns,
    /// Behind SORT's last STORE.
    SortStore,
}

/// How the keys follow from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// Every `step`th argument up to `last`: 0 is the first itself, negative counts from the end; with a `limit`
    /// above 1 only the first 1/limit of what remains are keys.
    Range {
        /// Where they end.
        last: i32,
        /// Distance from one to the next.
        step: usize,
        /// Above 1: which part of what remains.
        limit: usize,
    },
    /// A count stands at `count`, and the keys begin at `first`, both relative to the beginning.
    Count {
        /// Where the count stands.
        count: usize,
        /// Where the first key stands.
        first: usize,
        /// Distance from one to the next.
        step: usize,
    },
}

/// Some of a command's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// Where they begin.
    pub begin: Begin,
    /// Which they are.
    pub find: Find,
    /// What is done to them, in COMMAND INFO's words: `RO ACCESS`, `RW UPDATE`, ...
    pub usage: &'static str,
}

const fn at(begin: usize, last: i32, step: usize, usage: &'static str) -> KeySpec {
    KeySpec { begin: Begin::Index(begin), find: Find::Range { last, step, limit: 0 }, usage }
}

/// Which argument is the only key of a command with these specs, where that is fixed; else 0.
pub fn only_key(specs: &[KeySpec]) -> usize {
    match specs {
        [KeySpec { begin: Begin::Index(at), find: Find::Range { last: 0, .. }, .. }] => *at,
        _ => 0,
    }
}

const fn counted(begin: usize, usage: &'static str) -> KeySpec {
    KeySpec { begin: Begin::Index(begin), find: Find::Count { count: 0, first: 1, step: 1 }, usage }
}

const fn behind(word: &'static str, from: i32) -> KeySpec {
    KeySpec {
        begin: Begin::Keyword(word, from),
        find: Find::Range { last: 0, step: 1, limit: 0 },
        usage: "OW UPDATE",
    }
}

const fn of_sort(begin: Begin, usage: &'static str) -> KeySpec {
    KeySpec { begin, find: Find::Range { last: 0, step: 1, limit: 0 }, usage }
}

/// One key, which the command reads.
pub const READ: &[KeySpec] = &[at(1, 0, 1, "RO ACCESS")];
/// One key, of which the command reads something about the value, not the value.
pub const READ_META: &[KeySpec] = &[at(1, 0, 1, "RO")];
/// One key, to be overwritten.
pub const OVERWRITE: &[KeySpec] = &[at(1, 0, 1, "OW UPDATE")];
/// One key, to be changed.
pub const UPDATE: &[KeySpec] = &[at(1, 0, 1, "RW UPDATE")];
/// One key, to be read and changed.
pub const ACCESS_UPDATE: &[KeySpec] = &[at(1, 0, 1, "RW ACCESS UPDATE")];
/// One key, to be read and shortened.
pub const ACCESS_DELETE: &[KeySpec] = &[at(1, 0, 1, "RW ACCESS DELETE")];
/// One key, to be added to.
pub const INSERT: &[KeySpec] = &[at(1, 0, 1, "RW INSERT")];
/// One key, parts of which go.
pub const DELETE: &[KeySpec] = &[at(1, 0, 1, "RW DELETE")];
/// All arguments are keys to be read.
pub const READ_ALL: &[KeySpec] = &[at(1, -1, 1, "RO ACCESS")];
/// All arguments are keys of which something is told.
pub const READ_META_ALL: &[KeySpec] = &[at(1, -1, 1, "RO")];
/// One key, to be removed.
pub const REMOVE: &[KeySpec] = &[at(1, 0, 1, "RM DELETE")];
/// All arguments are keys to be removed.
pub const DELETE_ALL: &[KeySpec] = &[at(1, -1, 1, "RM DELETE")];
/// Keys and values in turn.
pub const OVERWRITE_PAIRS: &[KeySpec] = &[at(1, -1, 2, "OW UPDATE")];
/// SET's key, which it reads only when asked to.
pub const SET: &[KeySpec] = &[at(1, 0, 1, "RW ACCESS UPDATE VARIABLE_FLAGS")];
/// One key, to be written if it is not there.
pub const OVERWRITE_IF_ABSENT: &[KeySpec] = &[at(1, 0, 1, "OW INSERT")];
/// Keys and values in turn, written if none is there.
pub const INSERT_PAIRS: &[KeySpec] = &[at(1, -1, 2, "OW INSERT")];
/// A count, then so many keys and values in turn.
pub const OVERWRITE_COUNTED_PAIRS: &[KeySpec] = &[KeySpec {
    begin: Begin::Index(1),
    find: Find::Count { count: 0, first: 1, step: 2 },
    usage: "OW UPDATE",
}];
/// One key, which the command reads and may change.
pub const ACCESS: &[KeySpec] = &[at(1, 0, 1, "RW ACCESS")];
/// A key to be shortened and one to be added to.
pub const MOVE: &[KeySpec] = &[at(1, 0, 1, "RW ACCESS DELETE"), at(2, 0, 1, "RW INSERT")];
/// Keys to be read and shortened, then one more argument.
pub const ACCESS_DELETE_BUT_LAST: &[KeySpec] = &[at(1, -2, 1, "RW ACCESS DELETE")];
/// A count, then so many keys to be read and shortened.
pub const ACCESS_DELETE_COUNTED: &[KeySpec] = &[counted(1, "RW ACCESS DELETE")];
/// Another argument, a count, then so many keys to be read and shortened.
pub const ACCESS_DELETE_COUNTED_SECOND: &[KeySpec] = &[counted(2, "RW ACCESS DELETE")];
/// A destination, then sources up to the end.
pub const STORE_ALL: &[KeySpec] = &[at(1, 0, 1, "OW UPDATE"), at(2, -1, 1, "RO ACCESS")];
/// A destination, then one source.
pub const STORE_ONE: &[KeySpec] = &[at(1, 0, 1, "OW UPDATE"), at(2, 0, 1, "RO ACCESS")];
/// A destination behind another argument, then sources up to the end.
pub const STORE_ALL_SECOND: &[KeySpec] = &[at(2, 0, 1, "OW UPDATE"), at(3, -1, 1, "RO ACCESS")];
/// A destination to be read and added to, then sources up to the end.
pub const MERGE_ALL: &[KeySpec] = &[at(1, 0, 1, "RW ACCESS INSERT"), at(2, -1, 1, "RO ACCESS")];
/// All arguments are keys to be read, of which something may be noted down.
pub const ACCESS_ALL: &[KeySpec] = &[at(1, -1, 1, "RW ACCESS")];
/// A key of a subcommand, which is read and may be changed.
pub const SUB_ACCESS: &[KeySpec] = &[at(2, 0, 1, "RW ACCESS")];
/// Two keys to be read.
pub const READ_TWO: &[KeySpec] = &[at(1, 1, 1, "RO ACCESS")];
/// GEORADIUS's: a source, and a destination behind either of two words.
pub const GEO_STORE_BY_POINT: &[KeySpec] =
    &[at(1, 0, 1, "RO ACCESS"), behind("STORE", 6), behind("STOREDIST", 6)];
/// GEORADIUSBYMEMBER's: likewise, with one argument less before the words.
pub const GEO_STORE_BY_MEMBER: &[KeySpec] =
    &[at(1, 0, 1, "RO ACCESS"), behind("STORE", 5), behind("STOREDIST", 5)];
/// A destination, then sources up to the end, as Redis declares them for SINTERSTORE.
pub const UPDATE_STORE_ALL: &[KeySpec] = &[at(1, 0, 1, "RW UPDATE"), at(2, -1, 1, "RO ACCESS")];
/// A count, then so many sources.
pub const READ_COUNTED: &[KeySpec] = &[counted(1, "RO ACCESS")];
/// A script, a count, then so many keys, with which it may do anything.
pub const SCRIPT: &[KeySpec] = &[counted(2, "RW ACCESS UPDATE")];
/// A script, a count, then so many keys to be read.
pub const SCRIPT_READ: &[KeySpec] = &[counted(2, "RO ACCESS")];
/// A destination, a count, then so many sources.
pub const STORE_COUNTED: &[KeySpec] = &[at(1, 0, 1, "OW UPDATE"), counted(2, "RO ACCESS")];
/// A key of a subcommand, which is read.
pub const SUB_READ: &[KeySpec] = &[at(2, 0, 1, "RO ACCESS")];
/// A key of a subcommand, of which something is told.
pub const SUB_READ_META: &[KeySpec] = &[at(2, 0, 1, "RO")];
/// A key of a subcommand, to be added to.
pub const SUB_INSERT: &[KeySpec] = &[at(2, 0, 1, "RW INSERT")];
/// A key of a subcommand, parts of which go.
pub const SUB_DELETE: &[KeySpec] = &[at(2, 0, 1, "RW DELETE")];
/// A key of a subcommand, to be changed.
pub const SUB_UPDATE: &[KeySpec] = &[at(2, 0, 1, "RW UPDATE")];

/// A key that goes and one that takes its place.
pub const RENAME: &[KeySpec] = &[at(1, 0, 1, "RW ACCESS DELETE"), at(2, 0, 1, "OW UPDATE")];
/// A key that goes and one that takes its place if there is none.
pub const RENAME_IF_ABSENT: &[KeySpec] = &[at(1, 0, 1, "RW ACCESS DELETE"), at(2, 0, 1, "OW INSERT")];
/// A key that is read and one to be overwritten.
pub const COPY: &[KeySpec] = &[at(1, 0, 1, "RO ACCESS"), at(2, 0, 1, "OW UPDATE")];
/// SORT's keys: sorted, read by patterns, stored to.
pub const SORT: &[KeySpec] = &[
    at(1, 0, 1, "RO ACCESS"),
    of_sort(Begin::SortPatterns, "RO ACCESS"),
    of_sort(Begin::SortStore, "OW UPDATE"),
];
/// SORT_RO's keys: sorted, read by patterns.
pub const SORT_RO: &[KeySpec] = &[at(1, 0, 1, "RO ACCESS"), of_sort(Begin::SortPatterns, "RO ACCESS")];

/// MIGRATE's keys: one between its other arguments, or several behind a word.
pub const MIGRATE: &[KeySpec] = &[
    at(3, 0, 1, "RW ACCESS DELETE"),
    KeySpec {
        begin: Begin::Keyword("KEYS", -2),
        find: Find::Range { last: -1, step: 1, limit: 0 },
        usage: "RW ACCESS DELETE INCOMPLETE",
    },
];

/// A name that belongs to a slot but is no key.
pub const NOT_KEYS: &[KeySpec] = &[at(1, 0, 1, NO_KEY)];
/// Names that belong to slots but are no keys.
pub const NOT_KEYS_ALL: &[KeySpec] = &[at(1, -1, 1, NO_KEY)];

/// The usage of a name that belongs to a slot but is no key.
pub const NO_KEY: &str = "NOT_KEY";

/// What a request does to the keys of one of its specifications, which for some depends on their other arguments.
fn usage(spec: &KeySpec, command: &super::Command, args: Args) -> &'static str {
    // Where options can stand at the earliest.
    let first = if command.name == "set" { 3 } else { 2 };
    let has = |word: &[u8]| (first..args.len()).any(|at| args[at].eq_ignore_ascii_case(word));
    match command.name {
        "set" if !has(b"get") && !has(b"ifeq") => "OW UPDATE",
        "set" => "RW ACCESS UPDATE",
        "bitfield" if !has(b"set") && !has(b"incrby") => "RO ACCESS",
        "bitfield" => "RW ACCESS UPDATE",
        _ => spec.usage,
    }
}

/// Visits a request's keys, and what is done to each; false if the arguments do not fit the command's specifications.
pub fn visit(command: &super::Command, args: Args, visit: &mut impl FnMut(usize, &'static str)) -> bool {
    // MIGRATE's place for a single key is empty where it names several.
    let is_void = |at: usize| command.name == "migrate" && at == 3 && args[at].is_empty();
    command.keys.iter().filter(|spec| spec.usage != NO_KEY).fold(true, |fits, spec| {
        let usage = usage(spec, command, args);
        fits & spec.visit(args, &mut |at| {
            if !is_void(at) {
                visit(at, usage);
            }
        })
    })
}

impl KeySpec {
    /// Visits the index of each key among `args`; false if the arguments do not fit the specification.
    pub fn visit(&self, args: Args<'_>, visit: &mut impl FnMut(usize)) -> bool {
        if let (Begin::Keyword(word, from @ 1..), Find::Range { last: 0, .. }) = (self.begin, self.find) {
            if let Some(at) = geo_store(args, from as usize).filter(|at| is(args, *at, word)) {
                visit(at + 1);
            }
            return true;
        }
        let Some(begin) = self.begin(args) else { return true };
        if begin >= args.len() {
            return false;
        }
        match self.find {
            Find::Range { last: 0, .. } => visit(begin),
            Find::Range { last, step, limit } => {
                let mut end =
                    if last > 0 { begin + last as usize + 1 } else { args.len() - (-last - 1) as usize };
                if limit > 1 {
                    end = begin + (end.saturating_sub(begin)) / limit;
                }
                (begin..end.min(args.len())).step_by(step).for_each(visit);
            }
            Find::Count { count, first, step } => {
                let number = args.get(begin + count).and_then(crate::text::number::parse_i64);
                let Some(number) = number.and_then(|n| usize::try_from(n).ok()) else { return false };
                let first = begin + first;
                if number == 0 || number > args.len().saturating_sub(first).div_ceil(step) {
                    return false;
                }
                (first..).step_by(step).take(number).for_each(visit);
            }
        }
        true
    }

    /// Whether these keys may be any, so that visiting does not name them all.
    pub fn is_open(&self, args: Args<'_>) -> bool {
        self.begin == Begin::SortPatterns && {
            let mut open = false;
            sort_options(args, |word, operand| {
                open |= matches!(word, SortWord::By | SortWord::Get) && args[operand].contains(&b'*');
            });
            open
        }
    }

    fn begin(&self, args: Args<'_>) -> Option<usize> {
        match self.begin {
            Begin::SortPatterns => None,
            Begin::SortStore => {
                let mut last = None;
                sort_options(args, |word, operand| {
                    if word == SortWord::Store {
                        last = Some(operand);
                    }
                });
                last
            }
            Begin::Index(index) => Some(index),
            Begin::Keyword(word, from) => {
                let is_word = |&index: &usize| args[index].eq_ignore_ascii_case(word.as_bytes());
                let found = if from >= 0 {
                    (from as usize..args.len()).find(is_word)
                } else {
                    (1..args.len().saturating_sub((-from - 1) as usize)).rev().find(is_word)
                };
                found.map(|index| index + 1)
            }
        }
    }
}

fn is(args: Args<'_>, at: usize, word: &str) -> bool {
    args[at].eq_ignore_ascii_case(word.as_bytes())
}

/// Where GEORADIUS is told what to store to: the last time, if it is told so more than once, by whichever word.
fn geo_store(args: Args<'_>, from: usize) -> Option<usize> {
    let (mut last, mut at) = (None, from);
    while at + 1 < args.len() {
        if is(args, at, "STORE") || is(args, at, "STOREDIST") {
            last = Some(at);
            at += 1;
        }
        at += 1;
    }
    last
}

/// The options of SORT that name something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SortWord {
    By,
    Get,
    Store,
}

/// Visits SORT's options with the index of what follows each.
fn sort_options(args: Args<'_>, mut visit: impl FnMut(SortWord, usize)) {
    let mut at = 2;
    while at + 1 < args.len() {
        let is = |word: &str| args[at].eq_ignore_ascii_case(word.as_bytes());
        let word = if is("by") {
            Some(SortWord::By)
        } else if is("get") {
            Some(SortWord::Get)
        } else if is("store") {
            Some(SortWord::Store)
        } else {
            None
        };
        if let Some(word) = word {
            visit(word, at + 1);
        }
        at += if is("limit") { 3 } else { 1 + usize::from(word.is_some()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_protocol::resp::OwnedArgs;

    fn sort(line: &str) -> (bool, Vec<String>) {
        let mut owned = OwnedArgs::new();
        line.split(' ').for_each(|word| owned.push(word.as_bytes()));
        let args = owned.as_args();
        let mut keys = Vec::new();
        for spec in SORT {
            assert!(spec.visit(args, &mut |at| keys.push(String::from_utf8_lossy(&args[at]).into_owned())));
        }
        (SORT.iter().any(|spec| spec.is_open(args)), keys)
    }

    #[test]
    fn what_georadius_stores_to_is_what_it_is_told_last() {
        for (line, destination) in [
            ("georadius src 0 0 1 km", ""),
            ("georadius src 0 0 1 km store", ""),
            ("georadius src 0 0 1 km STORE a storedist b", "b"),
            ("georadius src 0 0 1 km storedist a count 1 store b asc", "b"),
            ("georadius src 0 0 1 km store store store b", "b"),
            ("georadius src 0 0 1 km store a store storedist", "storedist"),
        ] {
            let mut owned = OwnedArgs::new();
            line.split(' ').for_each(|word| owned.push(word.as_bytes()));
            let mut found = Vec::new();
            for spec in &GEO_STORE_BY_POINT[1..] {
                assert!(spec.visit(owned.as_args(), &mut |at| {
                    found.push(&owned.as_args()[at] == destination.as_bytes())
                }));
            }
            assert_eq!(found, vec![true; usize::from(!destination.is_empty())], "{line}");
        }
    }

    #[test]
    fn the_keys_of_sort_are_those_it_names_and_any_where_it_has_patterns() {
        for (line, open, keys) in [
            ("sort abc", false, "abc"),
            ("sort abc store def", false, "abc def"),
            ("sort abc store invalid store stillbad store def", false, "abc def"),
            ("sort abc by nosort get # limit 0 store", false, "abc"),
            ("sort abc by store get store", false, "abc"),
            ("sort abc BY w_* STORE def", true, "abc def"),
            ("sort abc get *->f", true, "abc"),
            ("sort abc store *", false, "abc *"),
            ("sort abc store", false, "abc"),
        ] {
            assert_eq!(sort(line), (open, keys.split(' ').map(str::to_owned).collect()), "{line}");
        }
    }
}
