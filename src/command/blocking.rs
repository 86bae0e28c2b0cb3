//! Waiting for a key: how a command begins to wait, is served, and stops.
//!
//! A blocking command's function tries first; finding nothing it calls [`wait`] and writes no reply. In a transaction or a
//! script nothing may wait and it answers at once, as if the time were up. When another command changes one of the
//! keys, [`serve`] runs the waiting request again on the spot, under the locks it needs, and mails its reply.

use super::call::{self, Site};
use super::client::{Blocked, Client, Waiting, WouldWait};
use super::error::{self, CmdError};
use super::keys::{Keys, Routed};
use super::record::{self, Cost};
use super::{Cx, parse, permission, table};
use crate::state::State;
use crate::state::clients::Mail;
use crate::state::partition::partition_of;
use crate::state::replication::Waits;
use crate::state::stats::WorkerStats;
use crate::state::waiting::Waiter;
use crate::store::value::Stored;
use crate::text::long_double::LongDouble;
use shoal_protocol::resp::{Args, Output, OwnedArgs};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What a request hears whose time is up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nothing {
    /// A null array.
    Array,
    /// A null.
    Null,
    /// A zero.
    Zero,
    /// An array of two zeros.
    Zeros,
}

impl Nothing {
    /// Writes it.
    pub fn reply(self, out: &mut Output) {
        match self {
            Nothing::Array => out.null_array(),
            Nothing::Null => out.null(),
            Nothing::Zero => out.int(0),
            Nothing::Zeros => {
                out.array(2);
                out.int(0);
                out.int(0);
            }
        }
    }
}

/// How long a request says that it waits.
#[derive(Clone, Copy, Debug)]
pub struct Timeout {
    /// The limit; nothing is for ever.
    pub limit: Option<Duration>,
    /// Which argument says so.
    at: usize,
    unit: Unit,
}

#[derive(Clone, Copy, Debug)]
enum Unit {
    Seconds,
    Ms,
}

impl Timeout {
    /// No limit, and no argument that would name one.
    pub const NEVER: Timeout = Timeout { limit: None, at: 0, unit: Unit::Ms };

    /// When the time is up, from now on; never, if there is no limit.
    pub fn deadline(self) -> Option<Instant> {
        self.limit.and_then(|limit| Instant::now().checked_add(limit))
    }
}

/// The argument at `at` as a timeout in seconds with fractions; 0 is for ever.
pub fn timeout(args: Args, at: usize) -> Result<Timeout, CmdError> {
    Ok(Timeout { limit: seconds(&args[at])?, at, unit: Unit::Seconds })
}

fn seconds(arg: &[u8]) -> Result<Option<Duration>, CmdError> {
    let Ok(seconds) = parse::float(arg) else {
        // Of numbers beyond a double Redis, which reads a long double, says that they are just that.
        let beyond = LongDouble::parse(arg).is_some_and(LongDouble::is_finite);
        return Err(match arg.first() {
            Some(b'-') if beyond => error::NEGATIVE_TIMEOUT,
            _ if beyond => error::TIMEOUT_OUT_OF_RANGE,
            _ => error::BAD_TIMEOUT,
        });
    };
    if seconds < 0.0 {
        return Err(error::NEGATIVE_TIMEOUT);
    }
    // Beyond what 64 bits hold in ms.
    if seconds * 1000.0 >= i64::MAX as f64 {
        return Err(error::TIMEOUT_OUT_OF_RANGE);
    }
    Ok((seconds > 0.0).then(|| Duration::from_millis((seconds * 1000.0).ceil() as u64)))
}

/// The argument at `at` as a timeout in whole ms; 0 is for ever.
pub fn timeout_ms(args: Args, at: usize) -> Result<Timeout, CmdError> {
    let ms = parse::int(&args[at]).map_err(|_| error::BAD_TIMEOUT_MS)?;
    let ms = u64::try_from(ms).map_err(|_| error::NEGATIVE_TIMEOUT)?;
    Ok(Timeout { limit: (ms > 0).then(|| Duration::from_millis(ms)), at, unit: Unit::Ms })
}

/// Makes the connection wait until one of `keys` changes so that `request` succeeds, or `timeout` is over.
///
/// The keys' partitions are held. `nothing` is written at once where waiting is not allowed.
pub fn wait<'k>(
    cx: &mut Cx,
    request: Args,
    keys: impl IntoIterator<Item = &'k [u8]>,
    timeout: Timeout,
    nothing: Nothing,
) {
    match &mut cx.client.waiting {
        Waiting::Denied => return nothing.reply(cx.out),
        Waiting::Served { again } => {
            *again = true;
            return;
        }
        Waiting::Noted { .. } => {
            let request = OwnedArgs::from(request);
            cx.client.would_wait = Some(WouldWait { request, timeout: timeout.limit, nothing });
            return;
        }
        Waiting::Allowed => {}
    }
    let mut owned = OwnedArgs::new();
    request.iter().for_each(|arg| owned.push(arg));
    let mut all: Vec<Box<[u8]>> = Vec::new();
    for key in keys {
        if !all.iter().any(|other| **other == *key) {
            all.push(key.into());
        }
    }
    let row = table::number_of(cx.command);
    let who = (Arc::clone(&cx.client.shared), Arc::clone(&cx.client.user));
    let waiter = Arc::new(Waiter::new(who, cx.keys.db, cx.out.proto, row, owned, all));
    for key in &waiter.keys {
        cx.keys.with_partition(partition_of(key), |partition| partition.enqueue(&waiter, key));
    }
    count(cx.state, cx.client, 1);
    *cx.client.shared.waiter.lock() = Some(Arc::clone(&waiter));
    cx.client.blocked = Some(Blocked { waiter, deadline: timeout.deadline(), nothing, timeout });
}

/// Counts one more or one less who waits. Those of other nodes are counted there.
fn count(state: &State, client: &Client, by: isize) {
    if !client.shared.is_stand_in {
        state.clients.blocked.fetch_add(by as usize, Ordering::Relaxed);
    }
}

/// What a request that waits has to be asked again as, to wait no longer in all than it said.
fn again(blocked: &Blocked) -> OwnedArgs {
    let Blocked { waiter, deadline, timeout, .. } = blocked;
    let mut request = OwnedArgs::new();
    for (at, arg) in waiter.request.as_args().iter().enumerate() {
        match deadline {
            Some(deadline) if at == timeout.at => {
                // 0 would be for ever.
                let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
                request.push(
                    match timeout.unit {
                        Unit::Seconds => left.as_secs_f64().to_string(),
                        Unit::Ms => left.as_millis().to_string(),
                    }
                    .as_bytes(),
                );
            }
            _ => request.push(arg),
        }
    }
    request
}

/// The value of `key`, one of several to take from. To a request that has waited a key of another type is none.
pub fn one_of_several<'k, T: Stored>(
    keys: &'k mut Keys<'_>,
    waiting: Waiting,
    key: &[u8],
) -> Result<Option<&'k mut T>, CmdError> {
    match keys.update_as::<T>(key) {
        Err(wrong) if wrong == error::WRONG_TYPE && waiting.has_waited() => Ok(None),
        found => found,
    }
}

/// Serves those who wait for `ready` keys. No partition is held.
pub fn serve(site: &mut Site, ready: Vec<(usize, Box<[u8]>)>) {
    let mut ready = VecDeque::from(ready);
    while let Some((db, key)) = ready.pop_front() {
        let waiters = site.state.keyspace.enter(partition_of(&key)).waiters(db, &key);
        for waiter in waiters {
            if waiter.begin() {
                ready.extend(serve_one(site, &waiter));
            }
        }
    }
}

/// Runs a waiter's request; returns the keys that became ready by it.
fn serve_one(site: &mut Site, waiter: &Arc<Waiter>) -> Vec<(usize, Box<[u8]>)> {
    let row = table::by_number(waiter.row);
    let args = waiter.request.as_args();
    let mut needs = call::needs(row.command, args, None);
    let mut held = loop {
        match call::enter(site.state, &mut needs) {
            Some(held) => break held,
            None => std::thread::yield_now(),
        }
    };
    // What was handed over meanwhile is not changed here any more.
    if !held.iter().all(|(_, partition)| partition.is_led()) {
        waiter.wait_on();
        waiter.send_on();
        return Vec::new();
    }
    // Whoever releases the partition serves it.
    if let Some((_, partition)) = held.iter_mut().find(|(_, partition)| partition.is_held()) {
        waiter.keys.iter().for_each(|key| partition.with_ledger(|ledger| ledger.defer(waiter.db, key)));
        waiter.wait_on();
        return Vec::new();
    }
    let began_ns = site.clock.now_ns();
    let mut out = Output::new(waiter.proto);
    let mut client = Client::new(Arc::clone(&waiter.client), Arc::clone(&waiter.user));
    client.db = waiter.db;
    client.waiting = Waiting::Served { again: false };
    let mut keys = Keys::new(site.state, site.stats, held, Routed::new(), waiter.db, site.clock.unix_ms);
    let (state, stats) = (site.state, site.stats);
    let (client_ref, clock) = (&mut client, &mut *site.clock);
    let mut cx = Cx {
        state,
        stats,
        client: client_ref,
        keys: &mut keys,
        out: &mut out,
        clock,
        pause: None,
        command: row.command,
    };
    // What it may do can have changed since it began to wait.
    let counts = &stats.commands[row.id];
    let admitted = permission::admit_waiting(state, cx.client, row, args);
    let is_admitted = admitted.is_ok();
    let result = admitted.and_then(|()| (row.command.run)(&mut cx, args));
    keys.note_effects(row.command, args);
    let mut waits = Waits::default();
    // A key of another type is none to wait for, as long as it has it; but a group is gone with its stream.
    let waits_on = || result == Err(error::WRONG_TYPE) && row.command.name != "xreadgroup";
    let again = matches!(client.waiting, Waiting::Served { again: true }) || waits_on();
    if again {
        waiter.wait_on();
        return keys.leave(&mut waits);
    }
    if let Err(error) = result {
        out.clear();
        out.error(error.text());
        state.count_error(stats, error.text());
        let count = if is_admitted { &counts.failed } else { &counts.rejected };
        count.add(1);
    }
    if is_admitted {
        site.clock.lap();
        let cost = Cost { nanos: site.clock.now_ns() - began_ns, reply: out.len() };
        counts.calls.add(1);
        stats.ran.add(1);
        counts.nanos.add(cost.nanos);
        record::served(site, &waiter.client, row, args, cost);
    }
    for key in &waiter.keys {
        keys.with_partition(partition_of(key), |partition| partition.dequeue(waiter, key));
    }
    waiter.served();
    let ready = keys.leave(&mut waits);
    waiter.client.send(Mail::Unblocked { reply: out.take_bytes(), waits });
    ready
}

/// Takes a waiter whose wait was cancelled out of its queues. No partition is held.
pub fn leave_queues(state: &State, waiter: &Arc<Waiter>) {
    for key in &waiter.keys {
        state.keyspace.enter(partition_of(key)).dequeue(waiter, key);
    }
}

/// Ends the wait of a connection that was served, or whose waiter is out of its queues.
pub fn end(state: &State, client: &mut Client) {
    if client.blocked.take().is_some() {
        *client.shared.waiter.lock() = None;
        count(state, client, -1);
    }
}

/// Ends the wait of a connection whose request is to be asked again, and leaves that with it.
pub fn ask_again(state: &State, client: &mut Client) {
    if let Some(blocked) = &client.blocked {
        leave_queues(state, &blocked.waiter);
        client.again = Some(again(blocked));
        end(state, client);
    }
}

/// Ends the wait of a connection in vain, which is a call that ran; false if it is being served this moment.
pub fn give_up(state: &State, stats: &WorkerStats, client: &mut Client) -> bool {
    let row = client.blocked.as_ref().map(|blocked| blocked.waiter.row);
    let cancelled = cancel(state, client);
    if let (true, Some(row)) = (cancelled, row) {
        stats.commands[row].calls.add(1);
        stats.ran.add(1);
    }
    cancelled
}

/// Ends the wait of a connection from its own side; false if it is being served this moment.
pub fn cancel(state: &State, client: &mut Client) -> bool {
    let Some(blocked) = &client.blocked else { return true };
    let cancelled = blocked.waiter.cancel();
    if cancelled {
        leave_queues(state, &blocked.waiter);
        end(state, client);
    }
    cancelled
}
