//! From a parsed request to its reply: find the row, pass the guards, enter the partitions, run, count.
//!
//! [`call`] is the one way a command is run for a connection. It never waits: where a partition is taken, it returns
//! [`Flow::Contended`] with nothing done, and the connection calls again.

use super::client::{Client, Multi, Replies, Waiting};
use super::clock::Clock;
use super::error::{self, CmdError};
use super::forward;
use super::keys::{Keys, Located, Routed};
use super::record::{self, Cost};
use super::table::{self, Row};
use super::{Command, Cx, flag};
use crate::state::State;
use crate::state::evict;
use crate::state::keyspace::{Held, Keyspace};
use crate::state::partition::PARTITIONS;
use crate::state::pause::Paused;
use crate::state::scripts::Claim;
use crate::state::stats::WorkerStats;
use shoal_protocol::resp::{Args, Output, OwnedArgs, Proto};
use smallvec::SmallVec;

/// What the connection does after a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Flow {
    /// Go on with the next request.
    Next,
    /// Nothing was done, for want of a lock: let others run and call again with the same request.
    Contended,
    /// Nothing was done, as a script may run for long: call again on a stack of its own, from which it can pause.
    OnStack,
    /// Nothing was done, as a transaction across nodes holds its keys: call again once a partition is released.
    Held,
    /// Nothing was done, as requests like this one are held: call again once the pause is over.
    Paused,
    /// Send the output, then call again with the same request.
    Full,
}

/// Where a request runs and what it may touch.
pub struct Site<'s, 'c> {
    /// The node.
    pub state: &'s State,
    /// The worker's counters.
    pub stats: &'s WorkerStats,
    /// The connection.
    pub client: &'c mut Client,
    /// Its replies.
    pub out: &'c mut Output,
    /// The worker's clock.
    pub clock: &'c mut Clock,
    /// Lets the worker serve its other connections in the midst of this request, if that can be done here. No partition is held
    /// meanwhile.
    pub pause: Option<&'c dyn Fn()>,
}

/// The partitions a command needs.
pub enum Needs {
    /// None.
    Nothing,
    /// Those of these keys, of which there is at least one.
    Keys(Routed),
    /// All.
    All,
}

/// Runs one request; `known` is what is known of its first key, if that was looked at before.
pub fn call(site: &mut Site, args: Args, known: Option<Located>) -> Flow {
    if args.is_empty() {
        return Flow::Next;
    }
    // Whoever asks next makes room, readers too; what tracking tells this client of it comes before the reply.
    let mut is_full = false;
    if evict::is_over(site.state) {
        make_room(site);
        if site.client.shared.has_mail() {
            return Flow::Contended;
        }
        is_full = evict::is_full(site.state);
    }
    let row = match table::find(args).and_then(|row| guard(site, row, args, is_full).map(|()| row)) {
        Ok(row) => row,
        Err(error) => {
            reject(site, args, &error);
            return Flow::Next;
        }
    };
    if site.state.pause.begun() {
        if is_held(site, row, args) {
            return Flow::Paused;
        }
        // Who was held may be about to wait, which is known once it has gone on.
        if row.command.name == "client|unblock" && site.state.pause.is_ending(site.clock.unix_ms) {
            return Flow::Contended;
        }
    }
    if site.client.multi.is_some() && !runs_in_multi(row.command) {
        if let Some(error) = forward::moved(site, row.command, args) {
            reject(site, args, &error);
        } else if let Some(multi) = &mut site.client.multi {
            queue(site.state, multi, row, args);
            let mark = site.out.mark();
            site.out.simple("QUEUED");
            let asked = site.client.forwarded.len();
            suppress(site, Some(row), (mark, asked));
        }
        return Flow::Next;
    }
    let (mark, asked) = (site.out.mark(), site.client.forwarded.len());
    let is_exec = row.command.flags.has(flag::EXEC);
    let flow = if is_exec { exec(site, row, args) } else { single(site, row, args, known) };
    if flow == Flow::Next {
        suppress(site, Some(row), (mark, asked));
    }
    flow
}

#[inline]
fn is_exec(command: &Command) -> bool {
    command.flags.has(flag::EXEC)
}

/// The commands that act on a transaction rather than join it.
fn runs_in_multi(command: &Command) -> bool {
    matches!(command.name, "exec" | "discard" | "quit" | "reset")
}

/// The checks every request passes before it is queued or run, in the order of what a client should hear first.
///
/// `is_full` is whether whatever needs more memory is refused.
#[inline]
fn guard(site: &mut Site, row: &Row, args: Args, is_full: bool) -> Result<(), CmdError> {
    let flags = row.command.flags;
    if !site.client.is_free() {
        super::permission::admit(site, row, args)?;
    }
    if site.client.multi.is_some() && flags.has(flag::NO_MULTI) {
        return Err(error::not_in_multi(row.command.name));
    }
    if !site.client.subscriptions.is_empty()
        && site.out.proto == Proto::Resp2
        && !super::pubsub::allowed_while_subscribed(row.command)
    {
        return Err(super::pubsub::not_while_subscribed(row.command));
    }
    if site.state.scripts.is_busy() && !flags.has(flag::ALLOW_BUSY) {
        return Err(super::script_run::busy(site.state));
    }
    if flags.any(flag::SCRIPT.or(flag::EXEC)) {
        // What a script may run is decided by the memory used when it begins.
        site.client.script_oom = is_full;
    }
    if is_full && needs_memory(site.client, row.command) && !is_paused(site) {
        return Err(error::OOM);
    }
    Ok(())
}

/// Whether a command is refused when memory is used up.
#[cold]
fn needs_memory(client: &Client, command: &Command) -> bool {
    let denied = |command: &Command| command.flags.has(flag::DENYOOM);
    let queued = || client.multi.iter().flat_map(|multi| &multi.queue);
    // What is queued takes memory whatever it is.
    denied(command)
        || client.multi.is_some() && !runs_in_multi(command)
        || is_exec(command) && queued().any(|(row, _)| denied(row.command))
}

/// Whether CLIENT PAUSE holds this request.
#[cold]
fn is_held(site: &Site, row: &Row, args: Args) -> bool {
    let changes = |command: &Command, args: Args| {
        command.flags.any(flag::WRITE | flag::MAY_REPLICATE)
            && !super::script::promises_no_writes(site.state, command, args)
    };
    match site.state.pause.at(site.clock.unix_ms) {
        None => false,
        Some((Paused::All, _)) => true,
        Some((Paused::Writes, _)) if is_exec(row.command) => {
            let multi = site.client.multi.as_ref();
            multi.is_some_and(|multi| {
                multi.queue.iter().any(|(row, args)| changes(row.command, args.as_args()))
            })
        }
        Some((Paused::Writes, _)) => changes(row.command, args),
    }
}

/// Whether CLIENT PAUSE lets nothing be evicted.
#[cold]
fn is_paused(site: &Site) -> bool {
    site.state.pause.at(site.clock.unix_ms).is_some()
}

/// Evicts entries until memory is under its limit; false if that cannot be done.
#[cold]
pub(super) fn make_room(site: &mut Site) -> bool {
    if is_paused(site) {
        return true;
    }
    evict::make_room(site.state, site.stats, site.clock.unix_ms, usize::MAX)
}

/// Answers a request that is not run, and remembers it against a transaction being queued.
#[cold]
fn reject(site: &mut Site, args: Args, error: &CmdError) {
    if let Some(multi) = &mut site.client.multi {
        multi.aborted = true;
    }
    let row = table::find_any_count(args);
    if let Some(row) = row {
        site.stats.commands[row.id].rejected.add(1);
    }
    let mark = site.out.mark();
    if row.is_some_and(|row| is_exec(row.command)) {
        // An EXEC that cannot be run is the end of its transaction, queued or not.
        super::transaction::leave(site.state, site.client);
        let error = error::exec_refused(error);
        site.out.error(error.text());
        site.state.count_error(site.stats, error.text());
    } else {
        site.out.error(error.text());
        site.state.count_error(site.stats, error.text());
    }
    let asked = site.client.forwarded.len();
    suppress(site, None, (mark, asked));
}

#[inline(never)]
fn queue(state: &State, multi: &mut Multi, row: &'static Row, args: Args) {
    if row.command.name == "select"
        && let [(_, db)] = *row.command.named_databases(args, state.keyspace.databases())
    {
        multi.db = db;
    }
    let mut owned = OwnedArgs::new();
    args.iter().for_each(|arg| owned.push(arg));
    multi.bytes += owned.memory();
    multi.queue.push((row, owned));
}

/// Takes back a reply the client does not want (CLIENT REPLY), or that of the nodes asked since; what subscribing says is a message,
/// not a reply.
#[inline]
fn suppress(site: &mut Site, row: Option<&Row>, (mark, asked): (shoal_protocol::resp::Mark, usize)) {
    if site.client.replies != Replies::On {
        take_back(site, row, (mark, asked));
    }
}

#[cold]
fn take_back(site: &mut Site, row: Option<&Row>, (mark, asked): (shoal_protocol::resp::Mark, usize)) {
    let replies = site.client.replies;
    if !row.is_some_and(|row| super::pubsub::answers_by_messages(row.command)) {
        site.out.truncate(mark);
        site.client.forwarded[asked..].iter_mut().for_each(|request| request.is_silent = true);
    }
    site.client.replies = match replies {
        Replies::SkipNext => Replies::Skip,
        Replies::Skip => Replies::On,
        Replies::On | Replies::Off => replies,
    };
}

#[inline(always)]
fn single(site: &mut Site, row: &'static Row, args: Args, known: Option<Located>) -> Flow {
    let scripted = row.command.flags.has(flag::SCRIPT);
    if scripted && site.pause.is_none() {
        return Flow::OnStack;
    }
    let Some(_claim) = claim(site.state, scripted) else { return Flow::Contended };
    if scripted {
        // What the script before this one set to expire was set after the batch began.
        site.clock.look();
    }
    let (held, routed) = match args.get(row.only_key) {
        Some(key) if row.only_key > 0 => {
            let key = located(key, known);
            let Some(guard) = site.state.keyspace.try_enter(key.partition) else { return Flow::Contended };
            (Held::from_buf([(key.partition, guard)]), Routed::from_buf([key]))
        }
        _ => {
            let mut needs = needs(row.command, args, known);
            let Some(held) = enter(site.state, &mut needs) else { return Flow::Contended };
            match needs {
                Needs::Keys(routed) => (held, routed),
                Needs::Nothing | Needs::All => (held, Routed::new()),
            }
        }
    };
    if let Some(flow) = forward::forward(site, row, args, &held) {
        return flow;
    }
    let mut keys = Keys::new(site.state, site.stats, held, routed, site.client.db, site.clock.unix_ms);
    ask_as(&mut keys, site);
    if let Some(cover) = site.client.cover {
        keys.cover(cover, site.client.known);
    }
    keys.looks_only = std::mem::take(&mut site.client.reads_copy);
    keys.prefetch();
    run(site, row, args, &mut keys);
    site.client.refused |= keys.is_uncovered();
    settle(site, &mut keys);
    end_caching(site, row);
    Flow::Next
}

/// Has keys be looked for as is the connection's way.
#[inline(always)]
pub(super) fn ask_as(keys: &mut Keys, site: &Site) {
    let client = &*site.client;
    (keys.no_touch, keys.author) = (client.no_touch, client.author);
    if client.imports && site.state.config.flag(crate::config::id::IMPORT_MODE) {
        keys.due_ms = i64::MIN;
    }
}

/// The claim to scripts, if it is `wanted`; nothing if somebody has it.
#[inline(always)]
fn claim(state: &State, wanted: bool) -> Option<Option<Claim<'_>>> {
    if wanted { state.scripts.try_claim().map(Some) } else { Some(None) }
}

/// Runs a row whose partitions are entered, and counts it.
#[inline(always)]
pub fn run<'s>(site: &mut Site<'s, '_>, row: &'static Row, args: Args, keys: &mut Keys<'s>) {
    let mark = site.out.mark();
    site.client.shared.command.store(row.id, std::sync::atomic::Ordering::Relaxed);
    let (state, stats, command) = (site.state, site.stats, row.command);
    let began_ns = site.clock.now_ns();
    let (client, out, clock) = (&mut *site.client, &mut *site.out, &mut *site.clock);
    let pause = site.pause;
    let mut cx = Cx { state, stats, client, keys: &mut *keys, out, clock, pause, command };
    let result = (command.run)(&mut cx, args);
    keys.note_effects(command, args);
    if let Some(tracked) = &site.client.tracking {
        super::tracking::remember(keys, tracked, command, args);
    }
    let counts = &stats.commands[row.id];
    if let Err(error) = result {
        site.out.truncate(mark);
        site.out.error(error.text());
        match (error.is_counted(), error.is_of_script()) {
            (true, _) => {}
            (false, true) => state.count_made_up(stats, error.text()),
            (false, false) => state.count_error(stats, error.text()),
        }
        counts.failed.add(1);
    }
    // Commands that a script runs have read the clock since.
    site.clock.lap();
    let cost = Cost { nanos: site.clock.now_ns() - began_ns, reply: site.out.len_since(mark) };
    // A request that waits counts once it is served.
    let ended = u64::from(site.client.blocked.is_none());
    counts.calls.add(ended);
    stats.ran.add(ended);
    counts.nanos.add(cost.nanos * ended);
    site.client.commands += ended;
    record::ran(site, row, args, cost);
}

/// Leaves the partitions and serves those who waited for what was changed.
#[inline(always)]
pub(super) fn settle(site: &mut Site, keys: &mut Keys) {
    site.client.is_unsettled |= site.state.cluster.is_on() && keys.is_holding();
    let ready = keys.leave(&mut site.client.waits);
    if !ready.is_empty() {
        super::blocking::serve(site, ready);
    }
    site.state.settle_tracking();
}

/// CLIENT CACHING is about the one command, or transaction, behind it.
#[inline]
fn end_caching(site: &mut Site, row: &Row) {
    if let Some(tracked) = &mut site.client.tracking
        && row.command.name != "client|caching"
    {
        tracked.caching = false;
    }
}

/// EXEC: all queued commands under the locks of all their keys.
#[inline(never)]
fn exec(site: &mut Site, row: &'static Row, args: Args) -> Flow {
    let Some(multi) = site.client.multi.as_ref().filter(|multi| !multi.aborted) else {
        // Its function answers the error.
        let (db, now_ms) = (site.client.db, site.clock.unix_ms);
        let mut keys = Keys::new(site.state, site.stats, Held::new(), Routed::new(), db, now_ms);
        run(site, row, args, &mut keys);
        drop(keys);
        if site.client.multi.is_some() {
            super::transaction::leave(site.state, site.client);
        }
        return Flow::Next;
    };
    let scripted = multi.queue.iter().any(|(row, _)| row.command.flags.has(flag::SCRIPT));
    if scripted && site.pause.is_none() {
        return Flow::OnStack;
    }
    let Some(_claim) = claim(site.state, scripted) else { return Flow::Contended };
    let (began_ns, mark) = (site.clock.now_ns(), site.out.mark());
    let mut partitions: SmallVec<[u8; 8]> = SmallVec::new();
    let mut all = false;
    for (row, args) in &multi.queue {
        match needs(row.command, args.as_args(), None) {
            Needs::Nothing => all |= table::is_whole(row.command),
            Needs::Keys(routed) => partitions.extend(routed.iter().map(|key| key.partition)),
            Needs::All => all = true,
        }
    }
    let watching = &site.client.watching;
    let elsewhere = watching.elsewhere.iter().map(|watched| &*watched.key);
    for key in watching.keys.iter().map(|(_, key)| &**key).chain(elsewhere) {
        partitions.push(crate::state::partition::partition_of(key));
    }
    partitions.sort_unstable();
    partitions.dedup();
    let held = if all {
        site.state.keyspace.try_enter_all(0..=u8::MAX)
    } else {
        site.state.keyspace.try_enter_all(partitions.iter().copied())
    };
    let Some(held) = held else { return Flow::Contended };
    if let Some(multi) = site.client.multi.take() {
        let asked = site.client.forwarded.len();
        let forwarded = forward::forward_transaction(site, &multi, &held);
        site.client.multi = Some(multi);
        if let Some(flow) = forwarded {
            drop(held);
            if site.client.forwarded.len() > asked {
                record::passed_on(site, row, args);
            }
            if flow == Flow::Next {
                super::transaction::leave(site.state, site.client);
            }
            return flow;
        }
    }
    let (db, now_ms) = (site.client.db, site.clock.unix_ms);
    let mut keys = Keys::new(site.state, site.stats, held, Routed::new(), db, now_ms);
    ask_as(&mut keys, site);
    let valid = super::transaction::watches_hold(&site.client.watching, &keys);
    // Taken first: an UNWATCH in the queue must find nothing to end while partitions are held.
    let watching = std::mem::take(&mut site.client.watching);
    let queue = site.client.multi.take().map_or_else(Vec::new, |multi| multi.queue);
    if valid {
        run_queue(site, &queue, &mut keys);
    } else {
        site.out.null_array();
    }
    site.client.shared.command.store(row.id, std::sync::atomic::Ordering::Relaxed);
    let nanos = site.clock.now_ns() - began_ns;
    let cost = Cost { nanos, reply: site.out.len_since(mark) };
    let counts = &site.stats.commands[row.id];
    counts.calls.add(1);
    site.stats.ran.add(1);
    counts.nanos.add(nanos);
    record::ran(site, row, args, cost);
    settle(site, &mut keys);
    end_caching(site, row);
    super::transaction::end_watches(site.state, watching);
    Flow::Next
}

/// Runs what a transaction has queued, under the locks of all its keys.
pub(super) fn run_queue<'s>(
    site: &mut Site<'s, '_>,
    queue: &[(&'static Row, OwnedArgs)],
    keys: &mut Keys<'s>,
) {
    site.client.waiting = Waiting::Denied;
    site.out.array(queue.len());
    for (row, args) in queue {
        let args = args.as_args();
        keys.forget_routed();
        match super::permission::admit_queued(site, row, args) {
            Ok(()) => run(site, row, args, keys),
            Err(error) => {
                site.stats.commands[row.id].rejected.add(1);
                site.out.error(error.text());
                site.state.count_error(site.stats, error.text());
            }
        }
    }
    site.client.waiting = Waiting::Allowed;
}

/// What is known of `key` if that is `known`, else what there is to find out.
#[inline(always)]
fn located(key: &[u8], known: Option<Located>) -> Located {
    match known {
        Some(known) if known.is(key) => known,
        _ => Located::new(key),
    }
}

/// What a command needs; `known` is what is known of its first key, if anything.
pub(super) fn needs(command: &Command, args: Args, known: Option<Located>) -> Needs {
    let locate = |key| located(key, known);
    match command.keys {
        [] if command.flags.has(flag::ATOMIC) => Needs::All,
        [] => Needs::Nothing,
        specs => {
            if let at @ 1.. = super::spec::only_key(specs) {
                return args
                    .get(at)
                    .map_or(Needs::Nothing, |key| Needs::Keys(Routed::from_buf([locate(key)])));
            }
            if command.flags.has(flag::ATOMIC) {
                return Needs::All;
            }
            let mut routed = Routed::new();
            for spec in specs {
                if spec.is_open(args) {
                    return Needs::All;
                }
                spec.visit(args, &mut |at| {
                    if routed.is_empty() {
                        routed.reserve(args.len() - at);
                    }
                    routed.push(locate(&args[at]));
                });
            }
            if routed.is_empty() { Needs::Nothing } else { Needs::Keys(routed) }
        }
    }
}

/// Enters the partitions a command needs and notes with its keys where each came to stand; nothing if one is taken.
#[inline]
pub(super) fn enter<'a>(state: &'a State, needs: &mut Needs) -> Option<Held<'a>> {
    let keyspace = &state.keyspace;
    match needs {
        Needs::Nothing => Some(Held::new()),
        Needs::Keys(routed) => match &mut **routed {
            [only] => {
                let guard = keyspace.try_enter(only.partition)?;
                Some(Held::from_buf([(only.partition, guard)]))
            }
            several => enter_several(keyspace, several),
        },
        Needs::All => {
            const { assert!(PARTITIONS == u8::MAX as usize + 1) };
            keyspace.try_enter_all(0..=u8::MAX)
        }
    }
}

fn enter_several<'a>(keyspace: &'a Keyspace, routed: &mut [Located]) -> Option<Held<'a>> {
    // A set in order without sorting; then where each partition stands among those held.
    let mut wanted = [false; PARTITIONS];
    routed.iter().for_each(|key| wanted[key.partition as usize] = true);
    let wanted = (0..=u8::MAX).filter(|&partition| wanted[partition as usize]);
    let held = keyspace.try_enter_all(wanted)?;
    let mut place = [0; PARTITIONS];
    for (at, (partition, _)) in held.iter().enumerate() {
        place[*partition as usize] = at as u8;
    }
    routed.iter_mut().for_each(|key| key.held_at = place[key.partition as usize]);
    Some(held)
}
