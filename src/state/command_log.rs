//! The last commands that took long, were long, or were answered at length (SLOWLOG, COMMANDLOG).

use parking_lot::Mutex;
use shoal_protocol::resp::Args;
use std::collections::VecDeque;

/// Arguments kept of a command; the last says how many more there were.
const MAX_ARGS: usize = 32;
/// Bytes kept of an argument.
const MAX_LEN: usize = 128;

/// A command in the log.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Unique in its log, growing.
    pub id: u64,
    /// Unix time in seconds.
    pub at: i64,
    /// What it is here for: a time in us or a length in bytes.
    pub cost: u64,
    /// Its arguments, shortened.
    pub args: Vec<Vec<u8>>,
    /// The client's address.
    pub addr: String,
    /// The client's name.
    pub name: Vec<u8>,
}

/// A log of bounded length, latest first.
#[derive(Default)]
pub struct CommandLog {
    entries: Mutex<(VecDeque<Logged>, u64)>,
}

impl CommandLog {
    /// Adds an entry, which gets its id here, and drops the oldest beyond `max`.
    pub fn add(&self, mut entry: Logged, max: usize) {
        if max == 0 {
            return self.reset();
        }
        let (entries, next) = &mut *self.entries.lock();
        entry.id = *next;
        *next += 1;
        entries.push_front(entry);
        entries.truncate(max);
    }

    /// The latest `count` entries.
    pub fn latest(&self, count: usize) -> Vec<Logged> {
        self.entries.lock().0.iter().take(count).cloned().collect()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.lock().0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops all.
    pub fn reset(&self) {
        self.entries.lock().0.clear();
    }
}

/// Arguments shortened for a log; `hidden` says which are secrets.
pub fn shorten(args: Args, hidden: impl Fn(usize) -> bool) -> Vec<Vec<u8>> {
    let kept = if args.len() > MAX_ARGS { MAX_ARGS - 1 } else { args.len() };
    let shorten = |(at, arg): (usize, &[u8])| match arg.len() {
        _ if hidden(at) => b"(redacted)".to_vec(),
        len if len > MAX_LEN => {
            let more = format!("... ({} more bytes)", len - MAX_LEN);
            [&arg[..MAX_LEN], more.as_bytes()].concat()
        }
        _ => arg.to_vec(),
    };
    let mut short: Vec<Vec<u8>> = args.iter().enumerate().take(kept).map(shorten).collect();
    if args.len() > kept {
        short.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_protocol::resp::OwnedArgs;

    #[test]
    fn arguments_are_shortened_as_redis_does() {
        let many: OwnedArgs = (0..33).map(|n: u32| n.to_string()).collect();
        let short = shorten(many.as_args(), |_| false);
        assert_eq!((short.len(), &short[31][..]), (32, &b"... (2 more arguments)"[..]));
        let long: OwnedArgs = ["a".repeat(128), "b".repeat(130)].into_iter().collect();
        let short = shorten(long.as_args(), |_| false);
        assert_eq!(short[0].len(), 128);
        assert!(short[1].ends_with(b"bb... (2 more bytes)"));
        assert_eq!(shorten(long.as_args(), |at| at == 1)[1], b"(redacted)");
    }

    #[test]
    fn the_oldest_go_and_ids_go_on() {
        let log = CommandLog::default();
        let entry =
            |at| Logged { id: 0, at, cost: 0, args: Vec::new(), addr: String::new(), name: Vec::new() };
        (0..5).for_each(|at| log.add(entry(at), 3));
        assert_eq!(log.latest(9).iter().map(|entry| entry.id).collect::<Vec<_>>(), [4, 3, 2]);
        log.reset();
        log.add(entry(9), 3);
        assert_eq!(log.latest(1)[0].id, 5);
        log.add(entry(9), 0);
        assert!(log.is_empty());
        log.add(entry(9), 3);
        assert_eq!(log.latest(1)[0].id, 6, "what is not kept takes no id");
    }
}
