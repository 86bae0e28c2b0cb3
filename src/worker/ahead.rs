//! Looking ahead in a pipeline: its requests are found a few at once, and the entries they ask for arrive while others are
//! being served.
//!
//! In a table larger than the processor's caches an entry is waited for longer than all else takes that a GET does: a GET of
//! a pipeline of 16 out of 100,000 keys costs 1.00 us without this and 0.70 with. What is found out about requests and keys on
//! the way is not looked for again.
//!
//! No answer depends on what is fetched here: at worst the wrong entries are.

use crate::command::keys::Located;
use crate::state::State;
use crate::state::keyspace::Guard;
use shoal_protocol::resp::{Args, Span, plain};

/// Requests looked at ahead of the one that is run.
const AHEAD: usize = 16;
/// Arguments they may have together.
const SPANS: usize = 96;

/// A request that was found.
#[derive(Clone, Copy)]
struct Found {
    /// Where it begins.
    at: usize,
    /// Where the next begins.
    end: usize,
    /// Its first argument's place among the spans, and that behind its last.
    spans: (u8, u8),
    /// Its first key, unless it is alone.
    key: Option<Located>,
}

const _: () = assert!(SPANS <= u8::MAX as usize);

/// The next requests of a pipeline, whose entries the processor has been told to fetch.
pub struct Ahead {
    spans: Box<[Span]>,
    found: Vec<Found>,
    /// How many of them are done with.
    used: usize,
}

impl Default for Ahead {
    fn default() -> Ahead {
        Ahead { spans: [Span::default(); SPANS].into(), found: Vec::with_capacity(AHEAD), used: 0 }
    }
}

/// A request that was found ahead.
pub struct Next<'a> {
    /// Its arguments.
    pub args: Args<'a>,
    /// Where the next request begins.
    pub end: usize,
    /// What is known of its first key.
    pub key: Option<Located>,
}

impl Ahead {
    /// Forgets what was found: other bytes are being read.
    pub fn clear(&mut self) {
        self.found.clear();
        self.used = 0;
    }

    /// The request that begins at `at` in `bytes`; nothing unless it is [`plain`]. Where it is not known yet, it and those behind
    /// it are looked at.
    #[inline]
    pub fn next<'a>(&'a mut self, state: &State, db: usize, bytes: &'a [u8], at: usize) -> Option<Next<'a>> {
        if self.found.get(self.used).is_none_or(|found| found.at != at) {
            self.look(state, db, bytes, at);
        }
        let found = self.found.get(self.used)?;
        self.used += 1;
        let spans = &self.spans[found.spans.0 as usize..found.spans.1 as usize];
        Some(Next { args: Args::new(bytes, spans), end: found.end, key: found.key })
    }

    fn look(&mut self, state: &State, db: usize, bytes: &[u8], mut at: usize) {
        self.clear();
        let mut first = 0;
        while self.found.len() < AHEAD
            && let Some((count, end)) = plain(bytes, at, &mut self.spans[first..])
        {
            let is_alone = at == 0 && end == bytes.len();
            let args = Args::new(bytes, &self.spans[first..first + count]);
            let key = args.get(1).filter(|_| !is_alone).map(Located::new);
            self.found.push(Found { at, end, spans: (first as u8, (first + count) as u8), key });
            (at, first) = (end, first + count);
        }
        if self.found.len() > 1 {
            self.fetch(state, db);
        }
    }

    /// The same for requests of another form, which the caller parses: `peek` finds the key of the request at the start of some
    /// bytes, and the request's length. To be called for each request, which `bytes` begin with.
    #[inline]
    pub fn pass(
        &mut self,
        peek: impl Fn(&[u8]) -> Option<(&[u8], usize)>,
        state: &State,
        db: usize,
        bytes: &[u8],
    ) {
        if self.used >= self.found.len() {
            self.clear();
            let mut at = 0;
            while self.found.len() < AHEAD
                && let Some((key, len)) = peek(&bytes[at..])
            {
                let key = Some(Located::new(key));
                self.found.push(Found { at, end: at + len, spans: (0, 0), key });
                at += len;
            }
            self.fetch(state, db);
        }
        self.used += 1;
    }

    /// Has the processor fetch the entries of all that was found.
    ///
    /// On the way to an entry one thing after the other is waited for. So one step is made for all requests before the next is made
    /// for any. All partitions are entered first, as an exchange (`state/lock.rs`) has the processor wait for all it has asked for.
    fn fetch(&mut self, state: &State, db: usize) {
        let mut entered: [Option<Guard>; AHEAD] = [const { None }; AHEAD];
        // By whose guard each is served: where a partition is not free, it may be us who are in it.
        let mut inside = [0; AHEAD];
        for at in 0..self.found.len() {
            let Some(key) = self.found[at].key else { continue };
            entered[at] = state.keyspace.glance(key.partition);
            inside[at] = if entered[at].is_some() { at } else { self.first_in(key.partition) };
        }
        let db_of = |at: usize| entered[at].as_ref().map(|partition| &partition.dbs[db]);
        for (found, at) in self.found.iter().zip(inside) {
            if let (Some(key), Some(db)) = (&found.key, db_of(at)) {
                db.prefetch_table(key.hash);
            }
        }
        for (found, at) in self.found.iter_mut().zip(inside) {
            if let (Some(key), Some(db)) = (&mut found.key, db_of(at)) {
                key.seen = db.prefetch(key.hash);
            }
        }
        // Behind the entry of a collection are two more waits, for the object and for its contents: 0.2 us of an HSET. Who
        // finds a string first is spared the looks.
        for (found, at) in self.found.iter().zip(inside) {
            if let (Some(key), Some(db)) = (&found.key, db_of(at))
                && !db.prefetch_object(key.seen)
            {
                return;
            }
        }
        for (found, at) in self.found.iter().zip(inside) {
            if let (Some(key), Some(db)) = (&found.key, db_of(at)) {
                db.prefetch_contents(key.seen);
            }
        }
    }

    /// The first request whose key lies in `partition`; one of them does.
    #[cold]
    fn first_in(&self, partition: u8) -> usize {
        let lies_there = |found: &Found| found.key.is_some_and(|key| key.partition == partition);
        self.found.iter().position(lies_there).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use shoal_protocol::memcache::peek;

    fn state() -> State {
        State::new(Config::default(), 1, Default::default())
    }

    /// All that is found ahead from the start of `bytes`, as lines of words, and where the last request ends.
    fn lines(ahead: &mut Ahead, bytes: &[u8]) -> (Vec<String>, usize) {
        let (state, mut at, mut lines) = (state(), 0, Vec::new());
        ahead.clear();
        while let Some(next) = ahead.next(&state, 0, bytes, at) {
            assert!(next.key.is_none_or(|key| key.is(&next.args[1])), "it is the key of another request");
            let words: Vec<_> = next.args.iter().map(|arg| arg.escape_ascii().to_string()).collect();
            lines.push(words.join(" "));
            at = next.end;
        }
        (lines, at)
    }

    #[test]
    fn every_request_of_a_pipeline_is_found_with_its_key() {
        let (mut wire, mut expected) = (Vec::new(), Vec::new());
        for n in 0..100 {
            let key = format!("key:{{{n}}}");
            wire.extend(format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()).bytes());
            expected.push(format!("GET {key}"));
            wire.extend(b"*1\r\n$4\r\nPING\r\n");
            expected.push("PING".into());
        }
        let mut ahead = Ahead::default();
        assert_eq!(lines(&mut ahead, &wire), (expected, wire.len()));
        // What was found in other bytes is forgotten.
        assert_eq!(lines(&mut ahead, b"*1\r\n$4\r\nECHO\r\n").0, ["ECHO"]);
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_parser() {
        let wire = b"*1\r\n$4\r\nPING\r\nPING\r\n*1\r\n$4\r\nECHO\r\n*2\r\n$3\r\nGET";
        let mut ahead = Ahead::default();
        assert_eq!(lines(&mut ahead, wire), (vec!["PING".into()], 14));
        // Behind the line that the parser has passed it goes on.
        let state = state();
        let next = ahead.next(&state, 0, wire, 20).expect("a request");
        assert_eq!((&next.args[0], next.end, next.key.is_none()), (&b"ECHO"[..], 34, true));
        assert!(ahead.next(&state, 0, wire, 34).is_none());
    }

    #[test]
    fn requests_with_more_arguments_than_there_is_room_for_are_left_to_the_parser() {
        let request = |count| [format!("*{count}\r\n").into_bytes(), b"$1\r\nx\r\n".repeat(count)].concat();
        let mut ahead = Ahead::default();
        let wire = [request(40), request(40), request(40)].concat();
        assert_eq!(lines(&mut ahead, &wire).0.len(), 3);
        assert_eq!(lines(&mut ahead, &request(SPANS)).0.len(), 1);
        assert_eq!(lines(&mut ahead, &request(SPANS + 1)).0.len(), 0);
    }

    #[test]
    fn a_request_alone_is_not_looked_into() {
        let (state, mut ahead) = (state(), Ahead::default());
        let wire = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
        assert!(ahead.next(&state, 0, wire, 0).expect("a request").key.is_none());
    }

    #[test]
    fn keys_of_another_protocol_are_looked_at_a_few_at_once() {
        let (state, mut ahead) = (state(), Ahead::default());
        let wire = b"get a\r\n".repeat(20);
        for at in 0..20 {
            ahead.pass(peek, &state, 0, &wire[at * 7..]);
            assert_eq!(ahead.found.len(), if at < 16 { 16 } else { 4 });
        }
    }
}
