//! The data plane of a simulated node: the real commands, partitions, feeds and followers; in the place of `server/{connection,forward,
//! peer,feeder}.rs` what they do, on virtual time.

use crate::network::{self, Answer, Body, ConnId, Heard, Kind, Known, Waiting};
use crate::node;
use crate::planted::Fault;
use crate::world::{MS, World};
use shoal::cluster::metadata::NodeId;
use shoal::command::call::{self, Flow, Site};
use shoal::command::client::Client;
use shoal::command::clock::Clock;
use shoal::command::follow::{Follower, Verdict};
use shoal::command::forward::Target;
use shoal::state::State;
use shoal::state::replication::{Feed, Record, Waits};
use shoal_protocol::resp::{Output, OwnedArgs};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// How long a request is held while nobody serves its keys.
const DEADLINE: u64 = 10_000 * MS;
const CONNECT: u64 = 500 * MS;
const AGAIN: u64 = 20 * MS;
const UNDER_WAY: usize = 64;

/// What a client hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Reply(Vec<u8>),
    /// It may or may not have been done.
    Unknown,
    /// It was not done.
    Nobody,
}

type Done = Box<dyn FnOnce(&mut World, Said)>;
type Settled = Box<dyn FnOnce(&mut World, bool)>;

/// A feed being sent.
struct Feeder {
    feed: Arc<Feed>,
    conn: Option<ConnId>,
    /// Records sent, and frames under way.
    sent: u64,
    under_way: usize,
}

/// What comes by one connection from a peer's feed.
struct Applier {
    follower: Follower,
    queue: VecDeque<(u64, Rc<Vec<u8>>)>,
    /// How far into the first frame it got, and under which map it could go no further.
    offset: usize,
    waits_since: Option<u64>,
}

/// A request under way to another node.
struct Asked {
    waiting: Waiting,
    node: NodeId,
    partition: u8,
}

pub struct DataPlane {
    feeders: Vec<Feeder>,
    appliers: BTreeMap<ConnId, Applier>,
    /// Answers that wait until all is at the replicas.
    unsettled: Vec<(Waits, Settled)>,
    asked: Vec<Asked>,
    client: Client,
    guest: Client,
    clock: Clock,
}

impl DataPlane {
    pub fn new(state: &State) -> DataPlane {
        let client = || Client::new(state.clients.detached(), Arc::clone(state.acl.peer()));
        let mut guest = client();
        guest.is_peer = true;
        DataPlane {
            feeders: Vec::new(),
            appliers: BTreeMap::new(),
            unsettled: Vec::new(),
            asked: Vec::new(),
            client: client(),
            guest,
            clock: Clock::new(),
        }
    }
}

/// What came of running a request.
enum Ran {
    Answered(Vec<u8>, Waits),
    /// Whoever serves the partition is to be asked; whether that may be done twice.
    Elsewhere(u8, bool),
    Refused,
}

fn run(w: &mut World, at: usize, request: &[Vec<u8>], as_peer: bool) -> Ran {
    let node = &mut w.nodes[at];
    let state = Arc::clone(&node.state);
    let client = if as_peer { &mut node.data.guest } else { &mut node.data.client };
    let mut out = Output::default();
    let args = OwnedArgs::from_iter(request.iter().map(Vec::as_slice));
    let mut site = Site {
        state: &state,
        stats: state.stats.worker(0),
        client,
        out: &mut out,
        clock: &mut node.data.clock,
        pause: None,
    };
    let flow = call::call(&mut site, args.as_args(), None);
    assert_eq!(flow, Flow::Next, "nobody else is in a partition");
    let forwarded = client.forwarded.pop();
    let (refused, waits) = (std::mem::take(&mut client.refused), std::mem::take(&mut client.waits));
    (client.is_unsettled, client.is_owed) = (false, false);
    let waits = if w.errs(Fault::AcknowledgesEarly, 100) { Waits::default() } else { waits };
    if refused {
        return Ran::Refused;
    }
    if let Some(forwarded) = forwarded {
        let part = &forwarded.parts[0];
        let Target::Partition(partition) = part.target else { panic!("a request about a key") };
        return Ran::Elsewhere(partition, part.is_repeatable);
    }
    let reply = out.take_bytes();
    crate::checks::after_serving(w, at, key_of(request));
    Ran::Answered(reply, waits)
}

/// The first key that a request names: keys have a colon, nothing else has.
fn key_of(request: &[Vec<u8>]) -> &[u8] {
    request.iter().find(|word| word.contains(&b':')).expect("a request names a key")
}

/// Runs a client's request at the node it is connected to.
pub fn execute(w: &mut World, at: usize, request: Rc<Vec<Vec<u8>>>, done: Done) {
    match run(w, at, &request, false) {
        Ran::Answered(reply, waits) => settle_answer(w, at, reply, waits, done),
        Ran::Elsewhere(partition, is_repeatable) => {
            let until = w.now + DEADLINE;
            resolve(w, at, Forwarded { request, partition, is_repeatable, until }, done);
        }
        Ran::Refused => panic!("a client's request is sent elsewhere"),
    }
}

/// Answers once all that the answer is out of is where it has to be.
fn settle_answer(w: &mut World, at: usize, reply: Vec<u8>, waits: Waits, done: Done) {
    let had_to_wait = !waits.is_empty();
    let settled = move |w: &mut World, arrived: bool| {
        let in_time = had_to_wait || w.nodes[at].state.cluster.has_lease();
        done(w, if arrived && in_time { Said::Reply(reply) } else { Said::Unknown });
    };
    if had_to_wait {
        w.nodes[at].data.unsettled.push((waits, Box::new(settled)));
    } else {
        settled(w, true);
    }
}

/// A request that another node is to answer.
struct Forwarded {
    request: Rc<Vec<Vec<u8>>>,
    partition: u8,
    is_repeatable: bool,
    until: u64,
}

fn resolve(w: &mut World, at: usize, this: Forwarded, done: Done) {
    let map = w.nodes[at].state.cluster.map();
    match map.primary(this.partition) {
        None => resolve_again(w, at, this, done),
        Some(me) if me == w.nodes[at].id => {
            w.nodes[at].data.guest.known = u64::MAX;
            match run(w, at, &this.request, true) {
                Ran::Answered(reply, waits) => settle_answer(w, at, reply, waits, done),
                Ran::Elsewhere(..) | Ran::Refused => resolve_again(w, at, this, done),
            }
        }
        Some(other) => {
            node::link(w, at, crate::consensus::place(other), Kind::Data, CONNECT, move |w, conn| {
                let Some(conn) = conn else { return resolve_again(w, at, this, done) };
                let (request, partition) = (Rc::clone(&this.request), this.partition);
                let waiting = Waiting::new(move |w, heard| match heard {
                    Heard::Answer(Answer::Reply(reply)) => done(w, Said::Reply(reply.to_vec())),
                    Heard::Answer(other) => panic!("{other:?} is no reply"),
                    Heard::Refused | Heard::NotSent => resolve_again(w, at, this, done),
                    Heard::Unknown if this.is_repeatable => resolve_again(w, at, this, done),
                    Heard::Unknown => done(w, Said::Unknown),
                });
                let asked = &mut w.nodes[at].data.asked;
                asked.retain(|asked| !asked.waiting.is_over());
                asked.push(Asked { waiting: waiting.clone(), node: other, partition });
                // The map may be a newer one by now.
                let map = w.nodes[at].state.cluster.map();
                let epoch = map.partitions[usize::from(partition)].epoch;
                let known = Known { version: map.version, epoch };
                network::request(w, conn, Body::Forward(request, known), waiting);
            });
        }
    }
}

fn resolve_again(w: &mut World, at: usize, this: Forwarded, done: Done) {
    if w.now > this.until {
        return done(w, Said::Nobody);
    }
    let soon = w.rng.u64(MS..AGAIN);
    w.on_node(at, soon, move |w| resolve(w, at, this, done));
}

/// Under a new map: who was asked and has been replaced since will never answer.
pub fn look_at_map(w: &mut World, at: usize) {
    let map = w.nodes[at].state.cluster.map();
    let gone = |asked: &Asked| !map.serves(asked.node) && map.primary(asked.partition) != Some(asked.node);
    let (over, left): (Vec<Asked>, Vec<Asked>) =
        std::mem::take(&mut w.nodes[at].data.asked).into_iter().partition(gone);
    w.nodes[at].data.asked = left;
    over.into_iter().for_each(|asked| asked.waiting.tell(w, Heard::Unknown));
}

/// Answers another node's request.
pub fn serve(w: &mut World, at: usize, conn: ConnId, id: u64, request: &[Vec<u8>], known: Known) {
    let is_blind = w.errs(Fault::RunsLate, 100);
    w.nodes[at].data.guest.known = if is_blind { u64::MAX } else { known.version };
    let ran = run(w, at, request, true);
    if matches!(ran, Ran::Answered(..)) {
        crate::checks::after_serving_late(w, at, key_of(request), known);
    }
    let (reply, waits) = match ran {
        Ran::Answered(reply, waits) => (Answer::Reply(Rc::new(reply)), waits),
        Ran::Refused | Ran::Elsewhere(..) => return network::reply(w, conn, id, None),
    };
    let had_to_wait = !waits.is_empty();
    let settled = move |w: &mut World, arrived: bool| {
        if arrived && (had_to_wait || w.nodes[at].state.cluster.has_lease()) {
            network::reply(w, conn, id, Some(reply));
        } else {
            network::break_off(w, conn);
        }
    };
    if had_to_wait {
        w.nodes[at].data.unsettled.push((waits, Box::new(settled)));
    } else {
        settled(w, true);
    }
}

// Feeds.

/// Begins to send a feed.
pub fn begin_feed(w: &mut World, at: usize, feed: Arc<Feed>) {
    w.note(|| format!("n{at} begins feed {} to {}", feed.number, feed.node));
    w.nodes[at].data.feeders.push(Feeder { feed: Arc::clone(&feed), conn: None, sent: 0, under_way: 0 });
    connect_feed(w, at, feed, 10);
}

fn connect_feed(w: &mut World, at: usize, feed: Arc<Feed>, tries: u32) {
    let to = crate::consensus::place(feed.node);
    network::connect(w, at, to, CONNECT, move |w, conn| match conn {
        _ if feed.is_over() => {}
        Some(conn) => {
            let feeders = &mut w.nodes[at].data.feeders;
            if let Some(feeder) = feeders.iter_mut().find(|feeder| Arc::ptr_eq(&feeder.feed, &feed)) {
                feeder.conn = Some(conn);
            }
        }
        None if tries > 1 => w.on_node(at, 50 * MS, move |w| connect_feed(w, at, feed, tries - 1)),
        None => feed.break_off(),
    });
}

/// Sends what feeds hold.
fn send_feeds(w: &mut World, at: usize) {
    let mut feeders = std::mem::take(&mut w.nodes[at].data.feeders);
    feeders.retain_mut(|feeder| {
        let Some(conn) = feeder.conn else { return !feeder.feed.is_over() };
        if feeder.feed.is_over() || feeder.feed.is_broken() {
            network::break_off(w, conn);
            return false;
        }
        let mut task = Context::from_waker(Waker::noop());
        if feeder.under_way < UNDER_WAY
            && let Poll::Ready(bytes) = feeder.feed.poll_unsent(&mut task)
        {
            let mut rest = &bytes[..];
            while Record::read(&mut rest).is_some() {
                feeder.sent += 1;
            }
            feeder.under_way += 1;
            let (feed, position) = (Arc::clone(&feeder.feed), feeder.sent);
            let waiting = Waiting::new(move |w, heard| acknowledged(w, at, &feed, position, &heard));
            network::request(w, conn, Body::Feed(Rc::new(bytes)), waiting);
        }
        true
    });
    // A feed that broke at once is no more.
    feeders.append(&mut w.nodes[at].data.feeders);
    w.nodes[at].data.feeders = feeders;
}

fn acknowledged(w: &mut World, at: usize, feed: &Arc<Feed>, position: u64, heard: &Heard) {
    let feeders = &mut w.nodes[at].data.feeders;
    if let Some(feeder) = feeders.iter_mut().find(|feeder| Arc::ptr_eq(&feeder.feed, feed)) {
        feeder.under_way -= 1;
    }
    match heard {
        Heard::Answer(_) => feed.ack(position),
        _ if !feed.is_over() && !feed.is_broken() => {
            w.note(|| format!("n{at}'s feed {} to {} breaks: {heard:?}", feed.number, feed.node));
            feed.break_off();
        }
        _ => {}
    }
}

/// Takes a frame of a feed.
pub fn take_records(w: &mut World, at: usize, conn: ConnId, id: u64, records: Rc<Vec<u8>>) {
    let node = &mut w.nodes[at];
    let from = w.net.maker(conn) as NodeId + 1;
    let applier = node.data.appliers.entry(conn).or_insert_with(|| Applier {
        follower: Follower::new(&node.state, from),
        queue: VecDeque::new(),
        offset: 0,
        waits_since: None,
    });
    applier.queue.push_back((id, records));
}

/// Applies what has come.
fn apply_records(w: &mut World, at: usize) {
    let conns: Vec<ConnId> = w.nodes[at].data.appliers.keys().copied().collect();
    for conn in conns {
        let Some(mut applier) = w.nodes[at].data.appliers.remove(&conn) else { continue };
        let state = Arc::clone(&w.nodes[at].state);
        while let Some((id, records)) = applier.queue.front().cloned() {
            if applier.waits_since == Some(state.cluster.version()) {
                break;
            }
            applier.waits_since = None;
            let mut rest = &records[applier.offset..];
            if rest.is_empty() {
                network::reply(w, conn, id, Some(Answer::Done));
            } else {
                let (record, effects) = Record::read(&mut rest).expect("a record as it was written");
                let mut effects = effects.to_vec();
                if matches!(record, Record::Entry(_)) {
                    if w.errs(Fault::AppliesTwice, 5) {
                        effects.extend_from_within(..);
                    }
                    if w.errs(Fault::LeavesOut, 5) {
                        effects.clear();
                    }
                }
                match applier.follower.apply(&state, record, &effects) {
                    Verdict::Applied => {
                        applier.offset = records.len() - rest.len();
                        continue;
                    }
                    Verdict::Early => {
                        applier.waits_since = Some(state.cluster.version());
                        break;
                    }
                    Verdict::Wrong => {
                        w.note(|| format!("n{at} refuses {record:?}"));
                        network::reply(w, conn, id, None);
                    }
                }
            }
            applier.queue.pop_front();
            applier.offset = 0;
        }
        w.nodes[at].data.appliers.insert(conn, applier);
    }
}

/// Whatever can go on at a node after something has happened there.
pub fn settle(w: &mut World, at: usize) {
    if !w.nodes[at].alive {
        return;
    }
    apply_records(w, at);
    let mut task = Context::from_waker(Waker::noop());
    let mut ready = Vec::new();
    let unsettled = &mut w.nodes[at].data.unsettled;
    let mut next = 0;
    while next < unsettled.len() {
        match unsettled[next].0.poll(&mut task) {
            Poll::Ready(arrived) => ready.push((unsettled.remove(next).1, arrived)),
            Poll::Pending => next += 1,
        }
    }
    ready.into_iter().for_each(|(settled, arrived)| settled(w, arrived));
    if w.nodes[at].alive {
        send_feeds(w, at);
    }
}
