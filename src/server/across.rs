//! Coordinates what runs across nodes: the partitions of all its keys are held where they are served, it runs here on what they hold,
//! and what changed is applied everywhere or nowhere.
//!
//! See `state/across.rs` for what is asked of whom and why that is safe, and `command/across.rs` for the run. Whatever goes wrong before
//! anything is decided is undone and tried again, up to a deadline. Nodes are asked to hold in one order, so that two transactions
//! that want each other's partitions do not wait for each other; and none waits for long.
//!
//! Invariant: the client hears of success once the decision has arrived at all copies in sync of the home, and hears an
//! error that leaves it open only where nobody can be asked any more.

use super::forward::{
    DEADLINE, UNKNOWN, find_script, kind, link, nobody_serves, own_script, resolve, unblocked,
};
use super::participant;
use crate::cluster::link::CallError;
use crate::cluster::metadata::NodeId;
use crate::command::across::{Across, Ran, Work};
use crate::command::call::Site;
use crate::command::client::{Client, WouldWait};
use crate::command::database;
use crate::command::forward::Forwarded;
use crate::command::keys::Needed;
use crate::command::tracking::remember_elsewhere;
use crate::command::{error, script, table, transaction};
use crate::state::across::{Answer, Ask, Change, Grants, TransactionId, Wanted, Watched};
use crate::state::clients::{ClientShared, Unblock};
use crate::state::partition::partition_of;
use crate::worker::Worker;
use shoal_protocol::resp::{Args, Output, OwnedArgs};
use std::collections::{BTreeMap, HashSet};
use std::future::poll_fn;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::{spawn_local, yield_now};

/// How long an answer is awaited.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// How long a transaction that met another waits at most before it tries again, in us, at first and later.
const BACKOFF_US: (u64, u64) = (500, 20_000);
/// How soon somebody else is asked who was not there.
const AGAIN: Duration = Duration::from_millis(20);
/// How long a request waits for its keys before it looks for them again, whatever it heard.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Keys of a partition that are looked at with one question.
const LOOKED_AT: usize = 1000;
/// How often a run may ask for keys it was not given.
const RERUNS: usize = 1000;

const ENDLESS: &[u8] =
    b"-ERR the script asks for further keys, which other nodes serve, whenever it is run: declare its keys\r\n";

const OVERRAN: &[u8] =
    b"-ERR the script ran for more than a second on keys of several partitions, and changed nothing\r\n";
const TOO_MUCH: &[u8] =
    b"-ERR the keys that other nodes serve and that are asked for by a pattern are too much to be brought together\r\n";

/// How an attempt ended.
enum Attempt {
    /// It took too long.
    Overran,
    /// This is the reply.
    Answered(Vec<u8>),
    /// Nothing was done.
    Again,
    /// Nothing was done: these are needed too.
    Missed(Needed),
    /// Nothing was done, as there is nothing to take, and all is held still.
    Waits { holds: Holds, id: TransactionId, request: WouldWait },
    /// It is unknown what was done.
    Unknown,
}

/// What is held where: the partitions by node.
type Holds = Vec<(NodeId, Vec<u8>)>;

/// What the keys are, by partition, as effects.
type States = [(u8, Vec<u8>)];

/// The reply to a request that runs across nodes.
pub(super) async fn answer(
    worker: &Rc<Worker>,
    client: &mut Client,
    request: &Forwarded,
    mut across: Across,
    until: Instant,
) -> Vec<u8> {
    for (row, args) in &mut across.requests {
        if let Some(known) = with_source(worker, client, request, args.as_args(), until).await
            && let Ok(found) = table::find(known.as_args())
        {
            (*row, *args) = (found, known);
        }
        if let Some(tracker) = &request.caller.tracker {
            // Before they are read: they may change at once.
            remember_elsewhere(&worker.state, tracker, args.as_args());
        }
    }
    let reply = match across.work {
        Work::Watch => watch(worker, client, request, &mut across, until).await,
        Work::Single | Work::Transaction => run(worker, client, request, &mut across, until).await,
    };
    transaction::end_watches(&worker.state, std::mem::take(&mut across.watching));
    reply
}

/// A request for a script that is not known here, with the script itself, if any node knows it.
async fn with_source(
    worker: &Rc<Worker>,
    client: &mut Client,
    request: &Forwarded,
    args: Args<'_>,
    until: Instant,
) -> Option<OwnedArgs> {
    let digest = script::digest(args)?;
    if own_script(worker, digest).await.is_some() {
        return None;
    }
    let source = find_script(worker, client, request, digest, until).await?;
    Some(script::with_source(args, &source))
}

async fn run(
    worker: &Rc<Worker>,
    client: &mut Client,
    request: &Forwarded,
    across: &mut Across,
    mut until: Instant,
) -> Vec<u8> {
    let began = Instant::now();
    let mut needed = across.needed();
    let (mut reruns, mut backoff_us, mut waited) = (0, BACKOFF_US.0, false);
    loop {
        match attempt(worker, client, request, (across, waited), &needed, until).await {
            Attempt::Answered(reply) => {
                // One that failed may have done so before it got there.
                if reruns > 0 || !reply.starts_with(b"-") {
                    across.note_wandering(&worker.state, reruns > 0);
                }
                return reply;
            }
            Attempt::Overran => {
                across.note_wandering(&worker.state, reruns > 0);
                // What keeps to the keys it declares may run as long as it likes where these are.
                let part = across.part(worker.state.cluster.me()).filter(|_| reruns == 0);
                let Some(part) = part else { return OVERRAN.to_vec() };
                return resolve(worker, client, request, &part, None, Instant::now() + DEADLINE).await;
            }
            Attempt::Missed(more) => {
                needed.extend(more);
                reruns += 1;
                if reruns > RERUNS {
                    return ENDLESS.to_vec();
                }
            }
            Attempt::Waits { holds, id, request: WouldWait { request: again, timeout, nothing } } => {
                // As it stands now: what is new to it is what comes from here on.
                across.requests.iter_mut().for_each(|(_, args)| args.clone_from(&again));
                waited = true;
                let ends = timeout.and_then(|timeout| began.checked_add(timeout));
                let is_over = || ends.is_some_and(|ends| ends <= Instant::now());
                let unblocked =
                    wait_for_keys(worker, &client.shared, (request.db, &needed.keys), id, holds, ends).await;
                let ended = unblocked.or_else(|| is_over().then_some(Unblock::TimeUp));
                // Somebody serves its keys; the deadline is for when nobody does.
                until = Instant::now() + DEADLINE;
                if let Some(how) = ended {
                    let mut out = Output::new(request.proto);
                    match how {
                        Unblock::TimeUp => nothing.reply(&mut out),
                        Unblock::Error => {
                            out.error(error::UNBLOCKED.text());
                            worker.state.count_error(worker.stats(), error::UNBLOCKED.text());
                        }
                    }
                    return out.take_bytes();
                }
            }
            Attempt::Again => {
                let wait = fastrand::u64(backoff_us / 2..=backoff_us);
                backoff_us = (backoff_us * 2).min(BACKOFF_US.1);
                tokio::time::sleep(Duration::from_micros(wait)).await;
            }
            Attempt::Unknown => return UNKNOWN.to_vec(),
        }
        if Instant::now() > until {
            let partitions: Vec<u8> = needed.keys.iter().map(|key| partition_of(key)).collect();
            return nobody_serves(worker, &partitions);
        }
    }
}

/// Tries once.
async fn attempt(
    worker: &Rc<Worker>,
    client: &mut Client,
    request: &Forwarded,
    (across, waited): (&Across, bool),
    needed: &Needed,
    until: Instant,
) -> Attempt {
    let cluster = &worker.state.cluster;
    let id = TransactionId { node: cluster.me(), number: fastrand::u64(..) };
    let Some(nodes) = by_node(worker, across, needed) else { return Attempt::Again };
    // A key watched here whose partition has moved may have been changed there.
    let map = cluster.map();
    let mut unchanged =
        across.watching.keys.iter().all(|(_, key)| map.primary(partition_of(key)) == Some(cluster.me()));
    let (mut holds, mut grants, mut all) = (Holds::new(), Grants::default(), Vec::new());
    for (node, wanted) in nodes {
        let partitions: Vec<u8> = wanted.iter().map(|wanted| wanted.partition).collect();
        holds.push((node, partitions.clone()));
        let asked_ns = cluster.now_ns();
        let tracks = request.caller.tracker.is_some();
        let hold = Ask::Hold { id, wanted, needs_memory: across.needs_memory(), tracks };
        match ask(worker, node, hold).await {
            Ok(Answer::Held { states, unchanged: same, for_ns }) => {
                grants.add(partitions, asked_ns, cluster.now_ns(), for_ns);
                unchanged &= same;
                all.extend(states);
            }
            Ok(Answer::NoMemory) => {
                release(worker, id, holds);
                return Attempt::Answered([b"-", error::OOM.text(), b"\r\n"].concat());
            }
            Ok(Answer::TooMuch) => {
                release(worker, id, holds);
                return Attempt::Answered(TOO_MUCH.to_vec());
            }
            _ => {
                release(worker, id, holds);
                return Attempt::Again;
            }
        }
    }
    if !grants.were_held_at_once() {
        release(worker, id, holds);
        return Attempt::Again;
    }
    let mut out = Output::new(request.proto);
    if !unchanged {
        release(worker, id, holds);
        out.null_array();
        return Attempt::Answered(out.take_bytes());
    }
    all.sort_unstable_by_key(|(number, _)| *number);
    let changes = loop {
        match execute(worker, client, request, (across, waited), (needed, &all), &mut out) {
            Ran::Done(changes) => break changes,
            Ran::Contended => yield_now().await,
            other => {
                return match other {
                    Ran::Waits(request) => Attempt::Waits { holds, id, request },
                    Ran::Missed(more) => {
                        release(worker, id, holds);
                        Attempt::Missed(more)
                    }
                    Ran::Overran => {
                        release(worker, id, holds);
                        Attempt::Overran
                    }
                    Ran::Done(_) | Ran::Contended => Attempt::Again,
                };
            }
        }
    };
    let reply = out.take_bytes();
    if changes.is_empty() {
        release(worker, id, holds);
        return Attempt::Answered(reply);
    }
    match commit(worker, id, holds, &grants, changes, until).await {
        Committed::Yes => Attempt::Answered(reply),
        Committed::No => Attempt::Again,
        Committed::Unknown if across.changes_nothing() => Attempt::Again,
        Committed::Unknown => Attempt::Unknown,
    }
}

/// Lets go of everything and waits until one of `keys` may have changed, or for some time. What CLIENT UNBLOCK says ends it early.
async fn wait_for_keys(
    worker: &Rc<Worker>,
    client: &ClientShared,
    (db, keys): (usize, &[Box<[u8]>]),
    id: TransactionId,
    holds: Holds,
    ends: Option<Instant>,
) -> Option<Unblock> {
    let token = fastrand::u64(1..);
    let changed = Rc::new(Notify::new());
    let nodes: Vec<NodeId> = holds.iter().map(|(node, _)| *node).collect();
    for (node, partitions) in holds {
        let (worker, changed) = (Rc::clone(worker), Rc::clone(&changed));
        let is_there = |key: &&[u8]| partitions.contains(&partition_of(key));
        let keys = keys.iter().map(|key| &**key).filter(is_there).map(<[u8]>::to_vec).collect();
        let what = Ask::Await { id, partitions, db, keys, token };
        spawn_local(async move {
            let _ = ask(&worker, node, what).await;
            changed.notify_one();
        });
    }
    let again = Instant::now() + LOOK_AGAIN;
    let until = ends.map_or(again, |ends| ends.min(again));
    let ended = tokio::select! {
        _ = tokio::time::timeout_at(until.into(), changed.notified()) => None,
        how = unblocked(client) => Some(how),
    };
    participant::cancel(worker, token);
    for node in nodes {
        if let Some(sender) = worker.links.borrow().get(&node) {
            // One that takes nothing is about to end.
            let _ = sender.try_send(kind::CANCEL, &token.to_le_bytes());
        }
    }
    ended
}

/// What is wanted of whom; nothing while somebody serves none of his partitions.
fn by_node(worker: &Worker, across: &Across, needed: &Needed) -> Option<BTreeMap<NodeId, Vec<Wanted>>> {
    let map = worker.state.cluster.map();
    let mut all: BTreeMap<u8, Wanted> = BTreeMap::new();
    fn of(all: &mut BTreeMap<u8, Wanted>, partition: u8) -> &mut Wanted {
        all.entry(partition).or_insert_with(|| Wanted { partition, ..Wanted::default() })
    }
    for key in &needed.keys {
        of(&mut all, partition_of(key)).keys.push(key.to_vec());
    }
    for pattern in &needed.patterns {
        for partition in database::partitions_of(pattern) {
            of(&mut all, partition).patterns.push(pattern.to_vec());
        }
    }
    for watched in &across.watching.elsewhere {
        of(&mut all, partition_of(&watched.key)).watched.push(watched.clone());
    }
    let mut nodes: BTreeMap<NodeId, Vec<Wanted>> = BTreeMap::new();
    for (partition, wanted) in all {
        let node = map.primary(partition).filter(|node| map.serves(*node))?;
        nodes.entry(node).or_default().push(wanted);
    }
    Some(nodes)
}

/// Runs it on what the keys are.
fn execute(
    worker: &Worker,
    client: &mut Client,
    request: &Forwarded,
    (across, waited): (&Across, bool),
    (needed, states): (&Needed, &States),
    out: &mut Output,
) -> Ran {
    let mut scratch = worker.scratch.borrow_mut();
    scratch.clock.sync();
    out.clear();
    client.select(request.db);
    let mut site = Site {
        state: &worker.state,
        stats: worker.stats(),
        client,
        out,
        clock: &mut scratch.clock,
        pause: None,
    };
    across.run(&mut site, needed, states, waited)
}

/// Whether changes were made.
enum Committed {
    Yes,
    No,
    Unknown,
}

/// Has `changes` made, all or none.
async fn commit(
    worker: &Rc<Worker>,
    id: TransactionId,
    holds: Holds,
    grants: &Grants,
    mut changes: Vec<(u8, Change)>,
    until: Instant,
) -> Committed {
    let me = worker.state.cluster.me();
    let node_of = |partition: u8| {
        holds.iter().find(|(_, held)| held.contains(&partition)).map_or(me, |(node, _)| *node)
    };
    // Decided here, nobody has to be asked.
    let at = changes.iter().position(|(number, _)| node_of(*number) == me).unwrap_or(0);
    let (home, change) = changes.remove(at);
    let mut prepared: Vec<u8> = Vec::with_capacity(changes.len());
    let mut by_node: BTreeMap<NodeId, Vec<(u8, Change)>> = BTreeMap::new();
    for (number, change) in changes {
        prepared.push(number);
        by_node.entry(node_of(number)).or_default().push((number, change));
    }
    let asks = by_node.into_iter().map(|(node, changes)| (node, Ask::Prepare { id, home, changes }));
    if !all_done(worker, asks).await {
        undo(worker, id, holds, prepared);
        return Committed::No;
    }
    let within_ns = grants.within_ns(home, &prepared);
    let decide = Ask::Decide { id, home, change, prepared: prepared.clone(), within_ns };
    let decided = match ask(worker, node_of(home), decide).await {
        Ok(Answer::Done) => Committed::Yes,
        Ok(Answer::Unknown) | Err(CallError::Unknown(_)) if prepared.is_empty() => Committed::Unknown,
        Ok(Answer::Unknown) | Err(CallError::Unknown(_)) => ask_home(worker, id, home, until).await,
        Ok(_) | Err(_) => Committed::No,
    };
    match decided {
        Committed::Yes => conclude(worker, id, holds, home, prepared),
        Committed::No => undo(worker, id, holds, prepared),
        // Those who are prepared find out.
        Committed::Unknown => release(worker, id, holds),
    }
    decided
}

/// Finds out what was decided.
async fn ask_home(worker: &Rc<Worker>, id: TransactionId, home: u8, until: Instant) -> Committed {
    while Instant::now() < until {
        match ask_of(worker, home, Ask::Outcome { id, home }).await {
            Some(Answer::Committed) => return Committed::Yes,
            Some(Answer::Aborted) => return Committed::No,
            _ => tokio::time::sleep(AGAIN).await,
        }
    }
    Committed::Unknown
}

/// Tells all that it is committed. Who does not hear it asks, or is told by the home.
fn conclude(worker: &Rc<Worker>, id: TransactionId, holds: Holds, home: u8, prepared: Vec<u8>) {
    let worker = Rc::clone(worker);
    spawn_local(async move {
        let asks = holds.into_iter().flat_map(|(node, partitions)| {
            let (finish, read): (Vec<u8>, Vec<u8>) =
                partitions.into_iter().filter(|number| *number != home).partition(|n| prepared.contains(n));
            let finish = Ask::Finish { id, partitions: finish, commit: true };
            [(node, finish), (node, Ask::Release { id, partitions: read })]
        });
        let told_somebody = !prepared.is_empty();
        if all_done(&worker, asks.filter(|(_, ask)| !ask.is_idle())).await && told_somebody {
            let _ = ask_of(&worker, home, Ask::Forget { id, home }).await;
        }
    });
}

/// Drops what is prepared and lets go of the rest.
fn undo(worker: &Rc<Worker>, id: TransactionId, holds: Holds, prepared: Vec<u8>) {
    if prepared.is_empty() {
        return release(worker, id, holds);
    }
    let worker = Rc::clone(worker);
    spawn_local(async move {
        let asks =
            holds.into_iter().map(|(node, partitions)| (node, Ask::Finish { id, partitions, commit: false }));
        let _ = all_done(&worker, asks).await;
    });
}

/// Lets go of everything; nothing is prepared.
fn release(worker: &Rc<Worker>, id: TransactionId, holds: Holds) {
    let worker = Rc::clone(worker);
    spawn_local(async move {
        let asks = holds.into_iter().map(|(node, partitions)| (node, Ask::Release { id, partitions }));
        let _ = all_done(&worker, asks).await;
    });
}

/// Asks several at once; whether all say that it is done.
async fn all_done(worker: &Rc<Worker>, asks: impl Iterator<Item = (NodeId, Ask)>) -> bool {
    let under_way: Vec<_> = asks
        .map(|(node, what)| {
            let worker = Rc::clone(worker);
            spawn_local(async move { matches!(ask(&worker, node, what).await, Ok(Answer::Done)) })
        })
        .collect();
    let mut all = true;
    for asked in under_way {
        all &= asked.await.unwrap_or(false);
    }
    all
}

/// Asks whoever serves `partition`; nothing if that is nobody, or he does not answer.
pub(super) async fn ask_of(worker: &Rc<Worker>, partition: u8, what: Ask) -> Option<Answer> {
    let node = worker.state.cluster.map().primary(partition)?;
    ask(worker, node, what).await.ok()
}

/// Asks a node. If it is not there any more, it is unknown what it did.
async fn ask(worker: &Rc<Worker>, node: NodeId, what: Ask) -> Result<Answer, CallError> {
    let cluster = &worker.state.cluster;
    if node == cluster.me() {
        return Ok(participant::answer(worker, what).await);
    }
    let sender = link(worker, node).await.ok_or(CallError::Full)?;
    let payload = postcard::to_stdvec(&what).map_err(|_| CallError::Full)?;
    let until = tokio::time::Instant::now() + PATIENCE;
    let mut seen = cluster.version();
    let mut reply = sender.try_request(kind::ACROSS, &payload)?;
    loop {
        tokio::select! {
            biased;
            answer = &mut reply => {
                return Ok(postcard::from_bytes(&answer?).unwrap_or(Answer::Unknown));
            }
            () = poll_fn(|task| cluster.poll_newer(seen, task)) => {}
            () = tokio::time::sleep_until(until) => return Ok(Answer::Unknown),
        }
        seen = cluster.version();
        if !cluster.map().serves(node) {
            return Ok(Answer::Unknown);
        }
    }
}

/// WATCH of keys of which other nodes serve some: remembers what each is now.
async fn watch(
    worker: &Rc<Worker>,
    client: &mut Client,
    request: &Forwarded,
    across: &mut Across,
    until: Instant,
) -> Vec<u8> {
    let db = request.db;
    let watching = &client.watching;
    let elsewhere = watching.elsewhere.iter().map(|watched| (watched.db, &*watched.key));
    let known = watching.keys.iter().map(|(db, key)| (*db, &**key)).chain(elsewhere);
    let mut known: HashSet<Vec<u8>> =
        known.filter(|(other, _)| *other == db).map(|(_, key)| key.to_vec()).collect();
    let mut wanted: BTreeMap<u8, Vec<Watched>> = BTreeMap::new();
    for watched in std::mem::take(&mut across.watching.elsewhere) {
        if known.insert(watched.key.clone()) {
            wanted.entry(partition_of(&watched.key)).or_default().push(watched);
        }
    }
    for (partition, mut wanted) in wanted {
        for some in wanted.chunks_mut(LOOKED_AT) {
            let keys: Vec<Vec<u8>> = some.iter().map(|watched| watched.key.clone()).collect();
            let seen = loop {
                let look = Ask::Look { partition, db, keys: keys.clone() };
                match ask_of(worker, partition, look).await {
                    Some(Answer::Seen(seen)) if seen.len() == keys.len() => break seen,
                    _ if Instant::now() > until => return nobody_serves(worker, &[partition]),
                    _ => tokio::time::sleep(AGAIN).await,
                }
            };
            for (watched, seen) in some.iter_mut().zip(seen) {
                (watched.db, watched.seen) = (db, seen);
            }
        }
        client.watching.elsewhere.extend(wanted);
    }
    b"+OK\r\n".to_vec()
}
