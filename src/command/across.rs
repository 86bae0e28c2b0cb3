//! Commands, transactions and scripts on keys that several nodes serve.
//!
//! They run here, unchanged, on scratch copies of the keys they need, and leave behind what is to be changed at which partition: the
//! effects, as copies of a partition are sent them. Nothing is changed by a run. One that asks for a key it was not given is of no use and
//! is run again with that key, so nobody has to know beforehand which keys a script, or SORT's patterns, will name.
//!
//! Who holds the keys meanwhile, and how what changed is applied everywhere or nowhere, is not known here (`server/across.rs`).

use super::call::{self, Site};
use super::client::{Waiting, Watching, WouldWait};
use super::database::told_of;
use super::forward::{Part, Target};
use super::keys::{Fetched, Keys, Needed, Routed};
use super::replay::Replayer;
use super::table::Row;
use super::{flag, transaction};
use crate::cluster::metadata::NodeId;
use crate::state::across::{Change, Watched};
use crate::state::keyspace::Scratch;
use crate::state::partition::partition_of;
use crate::state::scripts::Scripts;
use crate::state::{State, recording};
use shoal_protocol::resp::{Args, OwnedArgs};
use std::collections::BTreeMap;

/// What is to be run across nodes.
pub struct Across {
    /// What it is.
    pub work: Work,
    /// Requests of a transaction, or the only one; none of WATCH.
    pub requests: Vec<(&'static Row, OwnedArgs)>,
    /// What the connection watches, if this is its EXEC.
    pub watching: Watching,
}

/// The kinds of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// A command or script.
    Single,
    /// EXEC.
    Transaction,
    /// WATCH of its keys in the database of the connection.
    Watch,
}

/// What came of a run.
pub enum Ran {
    /// The reply is written; this is to be changed, by partition.
    Done(Vec<(u8, Change)>),
    /// It has to be run again with these too.
    Missed(Needed),
    /// It found nothing to take and would wait.
    Waits(WouldWait),
    /// Another script runs: try again.
    Contended,
    /// It took too long.
    Overran,
}

impl Across {
    /// A command or script.
    pub fn single(row: &'static Row, args: Args) -> Across {
        let requests = vec![(row, OwnedArgs::from(args))];
        Across { work: Work::Single, requests, watching: Watching::default() }
    }

    /// What a transaction has queued.
    pub fn transaction(queue: &[(&'static Row, OwnedArgs)], watching: Watching) -> Across {
        Across { work: Work::Transaction, requests: queue.to_vec(), watching }
    }

    /// WATCH.
    pub fn watch(args: Args) -> Across {
        let elsewhere = args.from(1).iter().map(Watched::unseen).collect();
        let watching = Watching { elsewhere, ..Watching::default() };
        Across { work: Work::Watch, requests: Vec::new(), watching }
    }

    /// Whether a request is one of a script that may touch keys other than those it declares, so that it is run here wherever these
    /// are: if it is not known yet, or known.
    pub fn is_needed(state: &State, row: &Row, args: Args) -> bool {
        Across::called(row, args).is_some_and(|called| state.scripts.wanders(called) != Some(false))
    }

    /// Whether a request that changes several of its keys does so in several partitions, so that copies are told of all or of none.
    pub fn changes_several(row: &Row) -> bool {
        row.command.flags.has(flag::SCRIPT) && !row.command.keys.is_empty()
            || matches!(
                row.command.name,
                "rename"
                    | "renamenx"
                    | "smove"
                    | "lmove"
                    | "rpoplpush"
                    | "blmove"
                    | "brpoplpush"
                    | "msetnx"
                    | "xreadgroup"
            )
    }

    /// Notes whether its scripts had touched other keys than those they declare.
    pub fn note_wandering(&self, state: &State, wandered: bool) {
        for (row, args) in &self.requests {
            if let Some(called) = Across::called(row, args.as_args()) {
                state.scripts.note_wandering(called, wandered);
            }
        }
    }

    /// What tells the script apart that a request runs, if it does.
    fn called(row: &Row, args: Args) -> Option<u64> {
        let runs = row.command.flags.has(flag::SCRIPT) && !row.command.keys.is_empty();
        args.get(1).filter(|_| runs).map(Scripts::fingerprint)
    }

    /// The same for the one node that serves what it is known to need, if that is one partition, or for `me` if it is none.
    pub fn part(&self, me: NodeId) -> Option<Part> {
        let (Work::Single, [(row, args)]) = (self.work, &*self.requests) else { return None };
        let needed = self.needed();
        if !needed.patterns.is_empty() {
            return None;
        }
        let mut partitions = needed.keys.iter().map(|key| partition_of(key));
        let target = match partitions.next() {
            None => Target::Node(me),
            Some(first) if partitions.all(|other| other == first) => Target::Partition(first),
            Some(_) => return None,
        };
        Some(Part::new(target, row.command, args.as_args()))
    }

    /// What it is known to need.
    pub fn needed(&self) -> Needed {
        let mut keys: Vec<Box<[u8]>> = self.watching.keys.iter().map(|(_, key)| key.clone()).collect();
        let mut patterns: Vec<Box<[u8]>> = Vec::new();
        for (row, args) in &self.requests {
            let args = args.as_args();
            patterns.extend(told_of(row.command, args).map(Box::from));
            for spec in row.command.keys {
                // What does not fit the specification the command refuses by itself.
                let _ = spec.visit(args, &mut |at| keys.extend(args.get(at).map(Box::from)));
            }
        }
        let mut needed = Needed::default();
        needed.extend(Needed { keys, patterns });
        needed
    }

    /// Whether it may need memory where its keys are.
    pub fn needs_memory(&self) -> bool {
        self.requests.iter().any(|(row, _)| row.command.flags.has(flag::DENYOOM))
    }

    /// Whether it may wait for long.
    pub fn may_wait(&self) -> bool {
        self.work == Work::Single
            && self.requests.iter().any(|(row, _)| row.command.flags.has(flag::BLOCKING))
    }

    /// Whether it may be run again where it is unknown if it was carried out.
    pub fn changes_nothing(&self) -> bool {
        let may_change = flag::WRITE | flag::MAY_REPLICATE | flag::SCRIPT;
        self.requests.iter().all(|(row, _)| !row.command.flags.any(may_change))
    }

    /// Runs it on what the `needed` keys are: `states` by partition (ascending, no doubles), as effects on nothing. The reply is written to the site's
    /// output, which holds nothing else. What has waited takes less for an error.
    pub fn run(&self, site: &mut Site, needed: &Needed, states: &[(u8, Vec<u8>)], waited: bool) -> Ran {
        let scripted = self.requests.iter().any(|(row, _)| row.command.flags.has(flag::SCRIPT));
        let claim = if scripted { site.state.scripts.try_claim() } else { None };
        if scripted && claim.is_none() {
            return Ran::Contended;
        }
        let numbers = states.iter().map(|(number, _)| *number);
        // Something to look into there must be.
        let least = if states.is_empty() { Some(0) } else { None };
        let scratch = Scratch::new(numbers.chain(least), site.state.keyspace.databases());
        let mut replayer = Replayer::new(site.state);
        for (number, effects) in states {
            if let Some(guard) = scratch.enter_one(*number) {
                let loaded = replayer.apply(site.state, site.stats, *number, guard, effects);
                debug_assert!(loaded.is_ok(), "states are written by our own kind");
            }
        }
        let mut site = Site {
            state: site.state,
            stats: site.stats,
            client: &mut *site.client,
            out: &mut *site.out,
            clock: &mut *site.clock,
            pause: None,
        };
        let (db, now_ms) = (site.client.db, site.clock.unix_ms);
        let keys = Keys::new(site.state, site.stats, scratch.enter(), Routed::new(), db, now_ms)
            .copied(Fetched::new(needed));
        site.client.would_wait = None;
        let (keys, events) = recording(|| self.run_on(&mut site, keys, waited));
        let (copies, fetched) = keys.into_copies();
        if fetched.has_overrun() {
            site.client.select(db);
            return Ran::Overran;
        }
        let missed = fetched.into_missed();
        if !missed.is_empty() {
            site.client.select(db);
            return Ran::Missed(missed);
        }
        if let Some(would_wait) = site.client.would_wait.take() {
            return Ran::Waits(would_wait);
        }
        let mut changes = BTreeMap::new();
        for (number, mut copy) in copies {
            let Some(own) = copy.replication.take() else { continue };
            let (effects, keys) = own.into_effects();
            if !effects.is_empty() {
                let client = site.client.shared.id;
                changes.insert(number, Change { effects, keys, client, events: Vec::new() });
            }
        }
        for event in events {
            if let Some(change) = changes.get_mut(&partition_of(&event.key)) {
                change.events.push(event);
            }
        }
        Ran::Done(changes.into_iter().collect())
    }

    fn run_on<'s>(&self, site: &mut Site<'s, '_>, mut keys: Keys<'s>, waited: bool) -> Keys<'s> {
        call::ask_as(&mut keys, site);
        match (self.work, &*self.requests) {
            (Work::Single, [(row, args)]) => {
                // What finds nothing to take says so.
                let blocks = row.command.flags.has(flag::BLOCKING);
                site.client.waiting = if blocks { Waiting::Noted { waited } } else { Waiting::Denied };
                call::run(site, row, args.as_args(), &mut keys);
                site.client.waiting = Waiting::Allowed;
            }
            _ if transaction::watches_hold(&self.watching, &keys) => {
                call::run_queue(site, &self.requests, &mut keys)
            }
            _ => site.out.null_array(),
        }
        keys
    }
}
