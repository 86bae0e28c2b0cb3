//! A node's part in transactions that other nodes, or itself, coordinate: it holds partitions, keeps what is prepared, applies what is
//! committed, and finds out what became of what it hears nothing of.
//!
//! What may be done when is decided by the partitions' ledgers (`state/across.rs`), under their locks. Here it is carried out: keys are
//! read, changes made, copies told. An answer is given once all that it rests on has arrived at the copies in sync.

use super::across;
use super::peer::{guest, wait};
use crate::cluster::link::BULK_LIMIT;
use crate::command::blocking::{self, Nothing, Timeout};
use crate::command::call::Site;
use crate::command::client::{Blocked, Client};
use crate::command::keys::matches;
use crate::command::replay::Replayer;
use crate::command::table;
use crate::state::State;
use crate::state::across::{
    ASK_NS, Answer, Ask, Change, HOLD_NS, KEEP_NS, Seen, TELL_NS, TransactionId, Wanted, Watched,
};
use crate::state::clients::Mail;
use crate::state::effect;
use crate::state::evict;
use crate::state::keyspace::{Guard, Held};
use crate::state::partition::{DbKey, Partition, partition_of};
use crate::state::replication::{Replication, Role, Waits};
use crate::state::tracking::Author;
use crate::state::unix_ms;
use crate::state::waiting::Waiter;
use crate::store::hash::hash;
use crate::store::table::Keyed;
use crate::worker::Worker;
use shoal_protocol::resp::{Output, OwnedArgs, Proto};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::yield_now;

/// How long a transaction waits for partitions that others hold before it has to let go of its own.
const WAIT: Duration = Duration::from_millis(100);
/// How often it is looked for what nobody says anything of.
const LOOK: Duration = Duration::from_millis(100);
/// How long somebody stands in the queues of keys for a request that is run elsewhere.
const WAIT_FOR_KEYS: Duration = Duration::from_secs(2);
/// How soon is looked again if nobody says that a partition was released.
const AGAIN: Duration = Duration::from_millis(1);
/// How many bytes of keys and values are sent for the sake of patterns: with them all, an answer fits a frame between nodes.
const LISTED_BYTES: usize = BULK_LIMIT / 2;

/// Waits until some partition is held no more, or a moment.
pub(super) async fn released(state: &State) {
    let seen = state.cluster.releases();
    let _ = tokio::time::timeout(AGAIN, poll_fn(|task| state.cluster.poll_release(seen, task))).await;
}

/// Has a request that waits for keys here wait no more.
pub(super) fn cancel(worker: &Worker, token: u64) {
    if let Some(guest) = worker.guests.borrow_mut().remove(&token) {
        guest.send(Mail::Close);
    }
}

/// Does what is asked of this node.
pub(super) async fn answer(worker: &Rc<Worker>, ask: Ask) -> Answer {
    if let Ask::Await { id, partitions, db, keys, token } = ask {
        let mut guest = loop {
            match begin_waiting(worker, id, &partitions, db, &keys) {
                Some(Some(guest)) => break guest,
                Some(None) => return Answer::Done,
                None => yield_now().await,
            }
        };
        worker.guests.borrow_mut().insert(token, Arc::clone(&guest.shared));
        let _ = wait(worker, &mut guest, &mut Output::default()).await;
        worker.guests.borrow_mut().remove(&token);
        return Answer::Done;
    }
    let until = Instant::now() + WAIT;
    loop {
        let tenure = worker.state.cluster.tenure();
        match try_answer(worker, &ask) {
            None => yield_now().await,
            Some((Answer::Busy, _)) if Instant::now() < until => released(&worker.state).await,
            Some((answer, mut waits)) => {
                // It was read in time if the lease still holds; later that says nothing of what was served elsewhere by then.
                let in_time = worker.state.cluster.has_lease_since(tenure);
                let arriving =
                    tokio::time::timeout(super::across::PATIENCE, poll_fn(|task| waits.poll(task)));
                let arrived = arriving.await.unwrap_or(false);
                return if arrived && in_time { answer } else { Answer::Unknown };
            }
        }
    }
}

/// What is asked, and what the answer has to wait for; nothing if a partition is taken.
fn try_answer(worker: &Worker, ask: &Ask) -> Option<(Answer, Waits)> {
    let mut work = Work { worker, waits: Waits::default(), ready: Vec::new() };
    let answer = match ask {
        Ask::Hold { id, wanted, needs_memory, tracks } => work.hold(*id, wanted, *needs_memory, *tracks),
        Ask::Release { id, partitions } => work.release(*id, partitions),
        Ask::Prepare { id, home, changes } => work.prepare(*id, *home, changes),
        Ask::Decide { id, home, change, prepared, within_ns } => {
            work.decide(*id, *home, change, prepared, *within_ns)
        }
        Ask::Finish { id, partitions, commit } => work.finish(*id, partitions, *commit),
        Ask::Forget { id, home } => work.forget(*id, *home),
        Ask::Outcome { id, home } => work.outcome(*id, *home),
        Ask::Look { partition, db, keys } => work.look(*partition, *db, keys),
        Ask::Await { .. } => Some(Answer::Refused),
    }?;
    let Work { waits, ready, .. } = work;
    serve(worker, ready);
    Some((answer, waits))
}

/// Lets go of partitions that `id` holds, with somebody put into the queues of `keys`: nothing that happens to them is missed. Nobody is
/// if they are held no more; nothing is done if a partition is taken.
fn begin_waiting(
    worker: &Worker,
    id: TransactionId,
    partitions: &[u8],
    db: usize,
    keys: &[Vec<u8>],
) -> Option<Option<Client>> {
    let state = &*worker.state;
    let mut work = Work { worker, waits: Waits::default(), ready: Vec::new() };
    let mut held = work.enter(partitions.iter().copied())?;
    let now_ns = work.now_ns();
    let is_held = held.iter_mut().all(|(_, partition)| {
        let epoch = led(partition).map_or(0, |own| own.epoch);
        partition.ledger().is_some_and(|ledger| ledger.is_held_by(id, epoch, now_ns))
    });
    let mut guest = is_held.then(|| guest(state));
    if let Some(client) = &mut guest {
        // That it is run is all that is wanted.
        let request =
            OwnedArgs::from_iter([&b"EXISTS"[..]].into_iter().chain(keys.iter().map(Vec::as_slice)));
        let row = table::find(request.as_args()).map_or(0, |row| row.id);
        let who = (Arc::clone(&client.shared), Arc::clone(&client.user));
        let named: Vec<Box<[u8]>> = keys.iter().map(|key| key.as_slice().into()).collect();
        let waiter = Arc::new(Waiter::new(who, db, Proto::Resp2, row, request, named));
        for key in keys {
            let number = partition_of(key);
            if let Some((_, partition)) = held.iter_mut().find(|(other, _)| *other == number) {
                partition.enqueue(&waiter, key);
            }
        }
        *client.shared.waiter.lock() = Some(Arc::clone(&waiter));
        let deadline = Some(Instant::now() + WAIT_FOR_KEYS);
        client.blocked = Some(Blocked { waiter, deadline, nothing: Nothing::Null, timeout: Timeout::NEVER });
    }
    for (_, partition) in &mut held {
        partition.with_ledger(|ledger| ledger.release(id));
        work.let_go(partition);
    }
    let ready = work.ready;
    drop(held);
    serve(worker, ready);
    Some(guest)
}

/// Serves those who wait for keys.
fn serve(worker: &Worker, ready: Vec<DbKey>) {
    let state = &*worker.state;
    if !ready.is_empty() {
        let (mut client, mut out) = (guest(state), Output::default());
        let mut scratch = worker.scratch.borrow_mut();
        scratch.clock.sync();
        let mut site = Site {
            state,
            stats: worker.stats(),
            client: &mut client,
            out: &mut out,
            clock: &mut scratch.clock,
            pause: None,
        };
        blocking::serve(&mut site, ready);
    }
    state.settle_tracking();
}

/// Whether this node serves the partition at this moment; its place in the cluster, if so.
fn led(partition: &mut Partition) -> Option<&mut Replication> {
    partition.replication.as_deref_mut().filter(|own| own.role == Role::Primary)
}

struct Work<'w> {
    worker: &'w Worker,
    waits: Waits,
    ready: Vec<DbKey>,
}

impl<'w> Work<'w> {
    fn state(&self) -> &'w State {
        &self.worker.state
    }

    fn now_ns(&self) -> u64 {
        self.state().cluster.now_ns()
    }

    /// Enters partitions (ascending, no doubles).
    fn enter(&self, partitions: impl Iterator<Item = u8>) -> Option<Held<'w>> {
        self.state().keyspace.try_enter_all(partitions)
    }

    /// Whether this node serves all of them at this moment.
    fn serves(&self, held: &mut Held<'_>) -> bool {
        held.iter_mut().all(|(_, partition)| led(partition).is_some()) && self.state().cluster.has_lease()
    }

    fn hold(
        &mut self,
        id: TransactionId,
        wanted: &[Wanted],
        needs_memory: bool,
        tracks: bool,
    ) -> Option<Answer> {
        let state = self.state();
        // Of those who are connected here it is known already.
        let tracker = if tracks && id.node != state.cluster.me() {
            // Without an ear nobody could be told. It is on its way.
            let Some((tracker, is_new)) = state.ears.reader(id.node) else { return Some(Answer::Elsewhere) };
            if is_new {
                state.tracking.start(&tracker);
            }
            Some(tracker)
        } else {
            None
        };
        if !wanted.is_sorted_by(|a, b| a.partition < b.partition) {
            return Some(Answer::Refused);
        }
        if needs_memory
            && evict::is_over(state)
            && !evict::make_room(state, self.worker.stats(), unix_ms(), usize::MAX)
        {
            return Some(Answer::NoMemory);
        }
        let mut held = self.enter(wanted.iter().map(|wanted| wanted.partition))?;
        if !self.serves(&mut held) {
            return Some(Answer::Elsewhere);
        }
        if held.iter().any(|(_, partition)| partition.is_held()) {
            return Some(Answer::Busy);
        }
        let now_ns = self.now_ns();
        let for_ns = HOLD_NS.min(state.cluster.lease_left_ms() * 1_000_000);
        let listed: Vec<Vec<Vec<u8>>> =
            held.iter().zip(wanted).map(|((_, partition), wanted)| wanted_of(partition, wanted)).collect();
        let mut states = Vec::with_capacity(wanted.len());
        let mut bytes = 0;
        for ((number, partition), keys) in held.iter().zip(&listed) {
            let state = states_of(partition, keys);
            bytes += state.len();
            states.push((*number, state));
            if bytes > LISTED_BYTES && wanted.iter().any(|wanted| !wanted.patterns.is_empty()) {
                return Some(Answer::TooMuch);
            }
        }
        let mut unchanged = true;
        for (((_, partition), wanted), keys) in held.iter_mut().zip(wanted).zip(&listed) {
            let Some(own) = led(partition) else { return Some(Answer::Elsewhere) };
            own.add_waits(&mut self.waits, false);
            let epoch = own.epoch;
            partition.with_ledger(|ledger| ledger.hold(id, epoch, now_ns));
            unchanged &= wanted.watched.iter().all(|watched| is_unchanged(partition, epoch, watched));
            for key in keys.iter().filter(|_| tracker.is_some()) {
                tracker.iter().for_each(|tracker| state.tracking.remember(partition, key, tracker));
            }
        }
        Some(Answer::Held { states, unchanged, for_ns })
    }

    fn release(&mut self, id: TransactionId, partitions: &[u8]) -> Option<Answer> {
        let mut held = self.enter(partitions.iter().copied())?;
        for (_, partition) in &mut held {
            partition.with_ledger(|ledger| ledger.release(id));
            self.let_go(partition);
        }
        Some(Answer::Done)
    }

    /// Says that a partition may be held no more.
    fn let_go(&mut self, partition: &mut Partition) {
        let deferred = partition.with_ledger(|ledger| ledger.take_deferred());
        self.ready.extend(deferred);
        self.state().cluster.note_release();
    }

    /// Sends what was done to a partition to its copies, and has the answer wait for it.
    fn tell(&mut self, number: u8, partition: &mut Partition, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(own) = &mut partition.replication {
            if own.is_copied() {
                write(own.effects());
            }
            own.commit(number);
            own.add_waits(&mut self.waits, false);
        }
    }

    fn prepare(&mut self, id: TransactionId, home: u8, changes: &[(u8, Change)]) -> Option<Answer> {
        if !changes.is_sorted_by(|a, b| a.0 < b.0) {
            return Some(Answer::Refused);
        }
        let mut held = self.enter(changes.iter().map(|(number, _)| *number))?;
        if !self.serves(&mut held) {
            return Some(Answer::Elsewhere);
        }
        let now_ns = self.now_ns();
        for ((number, partition), (_, change)) in held.iter_mut().zip(changes) {
            let Some(epoch) = led(partition).map(|own| own.epoch) else { return Some(Answer::Elsewhere) };
            let kept =
                partition.with_ledger(|ledger| ledger.prepare(id, epoch, now_ns, home, change.clone()));
            if !kept {
                return Some(Answer::Refused);
            }
            self.tell(*number, partition, |out| effect::write_prepare(out, id, home, change));
        }
        Some(Answer::Done)
    }

    fn decide(
        &mut self,
        id: TransactionId,
        home: u8,
        change: &Change,
        prepared: &[u8],
        within_ns: u64,
    ) -> Option<Answer> {
        let mut held = self.enter(std::iter::once(home))?;
        if !self.serves(&mut held) {
            return Some(Answer::Elsewhere);
        }
        let now_ns = self.now_ns();
        let (_, mut partition) = held.pop()?;
        let Some(epoch) = led(&mut partition).map(|own| own.epoch) else { return Some(Answer::Elsewhere) };
        if !partition.with_ledger(|ledger| ledger.decide(id, epoch, now_ns, within_ns, prepared)) {
            return Some(Answer::Refused);
        }
        Some(self.apply(id, (home, partition), change, |out, knows| {
            if !prepared.is_empty() {
                effect::write_decide(out, id, prepared);
            }
            if !knows {
                out.extend_from_slice(&change.effects);
            }
        }))
    }

    /// Makes a change, which `write` tells copies of, unless they know what became of the keys.
    fn apply(
        &mut self,
        id: TransactionId,
        (number, partition): (u8, Guard<'w>),
        change: &Change,
        write: impl FnOnce(&mut Vec<u8>, bool),
    ) -> Answer {
        let (state, stats) = (self.state(), self.worker.stats());
        let mut replayer = Replayer::new(state);
        let node = if id.node == state.cluster.me() { 0 } else { id.node };
        let by = Author { node, client: change.client };
        let Some(mut partition) =
            replayer.change(state, stats, (number, partition), (change, by), &mut self.ready)
        else {
            tracing::error!("a change of another node's transaction cannot be understood");
            return Answer::Unknown;
        };
        // One that is being filled may lack what the change was made of.
        let knows = partition.is_filling();
        if knows {
            partition.note_states_of(&change.keys);
        }
        self.tell(number, &mut partition, |out| write(out, knows));
        self.let_go(&mut partition);
        Answer::Done
    }

    fn finish(&mut self, id: TransactionId, partitions: &[u8], commit: bool) -> Option<Answer> {
        let mut held = self.enter(partitions.iter().copied())?;
        if !self.serves(&mut held) {
            return Some(Answer::Elsewhere);
        }
        for (number, mut partition) in held {
            match partition.with_ledger(|ledger| ledger.finish(id)) {
                Some(prepared) if commit => {
                    let tell = |out: &mut Vec<u8>, knows: bool| effect::write_finish(out, id, !knows);
                    if self.apply(id, (number, partition), &prepared.change, tell) != Answer::Done {
                        return Some(Answer::Unknown);
                    }
                }
                Some(_) => {
                    self.tell(number, &mut partition, |out| effect::write_finish(out, id, false));
                    self.let_go(&mut partition);
                }
                // It is done: whoever asks is told once all copies know.
                None => {
                    self.tell(number, &mut partition, |_| {});
                    self.let_go(&mut partition);
                }
            }
        }
        Some(Answer::Done)
    }

    fn forget(&mut self, id: TransactionId, home: u8) -> Option<Answer> {
        let mut held = self.enter(std::iter::once(home))?;
        if !self.serves(&mut held) {
            return Some(Answer::Elsewhere);
        }
        for (number, partition) in &mut held {
            if partition.with_ledger(|ledger| ledger.forget(id)) {
                self.tell(*number, partition, |out| effect::write_forget(out, id));
            }
        }
        Some(Answer::Done)
    }

    fn outcome(&mut self, id: TransactionId, home: u8) -> Option<Answer> {
        let mut held = self.enter(std::iter::once(home))?;
        if !self.serves(&mut held) {
            return Some(Answer::Elsewhere);
        }
        let now_ns = self.now_ns();
        let (_, mut partition) = held.pop()?;
        let epoch = led(&mut partition).map_or(0, |own| own.epoch);
        let answer = partition.with_ledger(|ledger| ledger.outcome(id, epoch, now_ns));
        self.tell(home, &mut partition, |_| {});
        self.let_go(&mut partition);
        Some(answer)
    }

    fn look(&mut self, number: u8, db: usize, keys: &[Vec<u8>]) -> Option<Answer> {
        let state = self.state();
        let mut held = self.enter(std::iter::once(number))?;
        if !self.serves(&mut held) || db >= state.keyspace.databases() {
            return Some(Answer::Elsewhere);
        }
        let (_, mut partition) = held.pop()?;
        if partition.is_held() {
            return Some(Answer::Busy);
        }
        let Some(own) = led(&mut partition) else { return Some(Answer::Elsewhere) };
        own.add_waits(&mut self.waits, false);
        let (epoch, now_ms) = (own.epoch, unix_ms());
        let mut seen = Vec::with_capacity(keys.len());
        for key in keys {
            let h = hash(key);
            let table = &mut partition.dbs[db];
            let lives = table.find(h, key).is_some_and(|entry| !entry.is_expired(now_ms));
            let version = if lives { table.version(h, key, || state.versions.next()) } else { None };
            seen.push(version.map_or(Seen::Absent, |version| Seen::Version { epoch, version }));
        }
        Some(Answer::Seen(seen))
    }
}

/// The keys that are wanted of a partition: those that are named, and those that are there of the patterns.
fn wanted_of(partition: &Partition, wanted: &Wanted) -> Vec<Vec<u8>> {
    let mut keys = wanted.keys.clone();
    if !wanted.patterns.is_empty() {
        let all = partition.dbs.iter().flat_map(|db| db.iter()).map(Keyed::key);
        let is_wanted = |key: &&[u8]| wanted.patterns.iter().any(|pattern| matches(pattern, key));
        keys.extend(all.filter(is_wanted).map(<[u8]>::to_vec));
        keys.sort_unstable();
        keys.dedup();
    }
    keys
}

/// What keys are, in all databases, as effects on nothing.
fn states_of(partition: &Partition, keys: &[Vec<u8>]) -> Vec<u8> {
    let mut states = Vec::new();
    for key in keys {
        let h = hash(key);
        for (number, db) in partition.dbs.iter().enumerate() {
            if let Some(entry) = db.find(h, key) {
                effect::write_put(&mut states, number, entry);
            }
        }
    }
    states
}

/// Whether a key is still what it was when it began to be watched.
fn is_unchanged(partition: &Partition, epoch: u64, watched: &Watched) -> bool {
    let Some(db) = partition.dbs.get(watched.db) else { return false };
    let entry = db.find(hash(&watched.key), &watched.key).filter(|entry| !entry.is_expired(unix_ms()));
    match (watched.seen, entry) {
        (Seen::Absent, None) => true,
        (Seen::Version { epoch: then, version }, Some(entry)) => {
            then == epoch && entry.extras().cas == version
        }
        _ => false,
    }
}

/// What nobody has said anything of for a while.
#[derive(Default)]
struct Overdue {
    /// Prepared partitions, with the transaction and its home.
    prepared: Vec<(u8, TransactionId, u8)>,
    /// Decisions: home, transaction, those prepared, whether all may forget.
    decisions: Vec<(u8, TransactionId, Vec<u8>, bool)>,
}

/// Ends holds whose time is over, asks what became of what is prepared, and tells of decisions, as long as the node runs.
pub(super) async fn keep(worker: Rc<Worker>) {
    loop {
        tokio::time::sleep(LOOK).await;
        if !worker.state.cluster.is_on() {
            continue;
        }
        let overdue = look_through(&worker);
        for (number, id, home) in overdue.prepared {
            let commit = match across::ask_of(&worker, home, Ask::Outcome { id, home }).await {
                Some(Answer::Committed) => true,
                Some(Answer::Aborted) => false,
                _ => continue,
            };
            let _ = answer(&worker, Ask::Finish { id, partitions: vec![number], commit }).await;
        }
        for (home, id, prepared, may_forget) in overdue.decisions {
            let mut all_know = true;
            for number in prepared {
                let finish = Ask::Finish { id, partitions: vec![number], commit: true };
                all_know &= across::ask_of(&worker, number, finish).await == Some(Answer::Done);
            }
            if all_know && may_forget {
                let _ = answer(&worker, Ask::Forget { id, home }).await;
            }
        }
    }
}

fn look_through(worker: &Worker) -> Overdue {
    let state = &worker.state;
    let now_ns = state.cluster.now_ns();
    let (mut overdue, mut ready) = (Overdue::default(), Vec::new());
    for number in 0..=u8::MAX {
        let Some(mut partition) = state.keyspace.try_enter(number) else { continue };
        if partition.ledger().is_none() {
            continue;
        }
        let is_led = partition.is_led();
        partition.with_ledger(|ledger| {
            if ledger.expire(now_ns) {
                state.cluster.note_release();
            }
            if !is_led {
                return;
            }
            ready.extend(ledger.take_deferred());
            let prepared = ledger.prepared().filter(|p| now_ns.saturating_sub(p.since_ns) > ASK_NS);
            overdue.prepared.extend(prepared.map(|p| (number, p.id, p.home)));
            for (id, decision) in ledger.decisions() {
                let age_ns = now_ns.saturating_sub(decision.since_ns);
                if age_ns > TELL_NS {
                    overdue.decisions.push((number, id, decision.prepared.clone(), age_ns > KEEP_NS));
                }
            }
        });
    }
    serve(worker, ready);
    overdue
}
