//! A simulated node: the real state, the real deciding parts, and in the place of `server/member.rs` a driver on virtual time.

use crate::consensus::{self, Entry, Raft, Role};
use crate::data::DataPlane;
use crate::network::{self, Answer, Body, ConnId, Heard, Kind, Waiting};
use crate::planted::Fault;
use crate::world::{MS, World};
use shoal::cluster::lead::{Asker, Leader, choose_voters};
use shoal::cluster::lease::LEASE_MS;
use shoal::cluster::metadata::{Change, Member, NodeId, Outcome, Standing};
use shoal::config::Config;
use shoal::state::State;
use shoal::state::cluster::Cluster;
use shoal::state::copies::{self, Action, Copies, Pace, Position, Reason};
use std::collections::BTreeMap;
use std::sync::Arc;

const BEAT: u64 = 75 * MS;
const LOOK: u64 = 50 * MS;
const PATIENCE: u64 = 5000 * MS;

pub struct Node {
    pub id: NodeId,
    /// Grows with each process and with each end of one.
    pub life: u64,
    pub alive: bool,
    pub paused_until: u64,
    /// Its clock: what it said at the start of its process, when that was, and how fast it runs, in thousandths.
    clock: (u64, u64, u64),
    pub incarnation: u64,
    pub state: Arc<State>,
    pub copies: Copies,
    leader: Leader,
    is_looking: bool,
    pub raft: Raft,
    /// Connections it made.
    pub links: BTreeMap<(usize, bool), ConnId>,
    pub data: DataPlane,
    pub is_leaving: bool,
    /// Whether it says goodbye: it asks for no lease any more and follows no map.
    is_stopping: bool,
}

fn member(node: &Node) -> Member {
    Member {
        id: node.id,
        incarnation: node.incarnation,
        host: format!("n{}", node.id),
        port: 1,
        memcached_port: 0,
        cluster_port: 2,
        zone: String::new(),
        witness: false,
        standing: Standing::Up,
    }
}

fn new_state() -> Arc<State> {
    let mut config = Config::default();
    config.set("databases", "1").expect("a directive");
    let mut state = State::new(config, 1, shoal::command::acl::catalogue());
    state.cluster = Cluster::with_clock_by_hand();
    Arc::new(state)
}

/// What its clock says, in ns.
pub fn clock(w: &World, at: usize) -> u64 {
    let (base, since, rate) = w.nodes[at].clock;
    base + (w.now - since) * rate / 1000
}

/// Has its state know the time.
pub fn set_clock(w: &World, at: usize) {
    w.nodes[at].state.cluster.set_clock(clock(w, at));
}

fn process(w: &mut World, id: NodeId, raft: Raft, life: u64) -> Node {
    let incarnation = w.rng.u64(1..);
    let state = new_state();
    let rate = w.rng.u64(950..=1050);
    let base = w.rng.u64(MS..1_000_000 * MS);
    Node {
        id,
        life,
        alive: true,
        paused_until: 0,
        clock: (base, w.now, rate),
        incarnation,
        // Keys are few and small here: copies are to be filled in many parts.
        copies: Copies::new(id, incarnation, Pace { part: 24, window: 64 }),
        data: DataPlane::new(&state),
        state,
        leader: Leader::default(),
        is_looking: false,
        raft,
        links: BTreeMap::new(),
        is_leaving: false,
        is_stopping: false,
    }
}

/// A new node, which has yet to found or to join.
fn create(w: &mut World) -> usize {
    let id = w.nodes.len() as NodeId + 1;
    let node = process(w, id, Raft::default(), 1);
    w.nodes.push(node);
    w.nodes.len() - 1
}

/// The first node founds the cluster.
pub fn found(w: &mut World) {
    let at = create(w);
    let me = member(&w.nodes[at]);
    let copies = w.setting.copies;
    consensus::found(w, at, Change::Found { cluster: 1, member: me, copies });
    set_clock(w, at);
    let cluster = &w.nodes[at].state.cluster;
    cluster.extend_lease(cluster.now_ns() + LEASE_MS * MS);
    cluster.turn_on(w.nodes[at].id);
    begin(w, at);
    w.on_node(at, 0, move |w| follow(w, at));
}

/// A further node joins by any member that is there.
pub fn join(w: &mut World) {
    let at = create(w);
    w.note(|| format!("n{at} is new"));
    w.nodes[at].state.cluster.turn_on(w.nodes[at].id);
    begin(w, at);
    ask_to_join(w, at);
}

fn ask_to_join(w: &mut World, at: usize) {
    let others: Vec<usize> =
        (0..w.nodes.len()).filter(|other| *other != at && w.nodes[*other].alive).collect();
    let again = move |w: &mut World| w.on_node(at, 200 * MS, move |w| ask_to_join(w, at));
    if others.is_empty() {
        return again(w);
    }
    let seed = others[w.rng.usize(..others.len())];
    let (me, replaces) = (member(&w.nodes[at]), known_process(w, at));
    ask(w, at, seed, Body::Join(me, replaces), PATIENCE, move |w, heard| {
        if !matches!(heard, Heard::Answer(_)) {
            again(w);
        }
    });
}

/// Ends a node's process.
pub fn stop(w: &mut World, at: usize) {
    w.note(|| format!("n{at} is gone"));
    let life = w.nodes[at].life;
    w.nodes[at].alive = false;
    w.nodes[at].life += 1;
    w.nodes[at].paused_until = 0;
    consensus::lose_process(w, at);
    network::lose_process(w, at, life);
    crate::clients::lose_process(w, at);
    crate::checks::after_commit(w);
}

/// Starts a node again that has its disk, and an empty memory.
pub fn restart(w: &mut World, at: usize) {
    if w.nodes[at].alive {
        return;
    }
    w.note(|| format!("n{at} starts again"));
    let (id, raft, life) = (w.nodes[at].id, w.nodes[at].raft.reopened(), w.nodes[at].life + 1);
    w.nodes[at] = process(w, id, raft, life);
    w.nodes[at].state.cluster.turn_on(id);
    begin(w, at);
    w.on_node(at, 0, move |w| tell(w, at));
}

/// The process of a node that the cluster knows, as far as the node has heard.
fn known_process(w: &World, at: usize) -> u64 {
    consensus::map_of(w, at).members.get(&w.nodes[at].id).map_or(0, |member| member.incarnation)
}

/// Tells the cluster of the new process, again and again until it hears.
fn tell(w: &mut World, at: usize) {
    let (me, replaces) = (member(&w.nodes[at]), known_process(w, at));
    let then = move |w: &mut World, heard: Heard| {
        if !matches!(heard, Heard::Answer(_)) {
            w.on_node(at, 100 * MS, move |w| tell(w, at));
        }
    };
    if consensus::leader(w, at) == Some(w.nodes[at].id) {
        return admit(w, at, me, replaces, move |w, admitted| {
            then(w, if admitted { Heard::Answer(Answer::Done) } else { Heard::Refused });
        });
    }
    ask_leader(w, at, Body::Join(me, replaces), PATIENCE, then);
}

fn begin(w: &mut World, at: usize) {
    consensus::begin(w, at);
    w.on_node(at, 0, move |w| beat(w, at));
    w.on_node(at, MS, move |w| look(w, at));
    w.on_node(at, 2 * MS, move |w| care(w, at));
}

// Asking.

fn ask(
    w: &mut World,
    from: usize,
    to: usize,
    body: Body,
    limit: u64,
    then: impl FnOnce(&mut World, Heard) + 'static,
) {
    let waiting = Waiting::new(then);
    let late = waiting.clone();
    w.on_node(from, limit, move |w| late.tell(w, Heard::Unknown));
    link(w, from, to, Kind::Control, 2000 * MS, move |w, conn| match conn {
        Some(conn) => network::request(w, conn, body, waiting),
        None => waiting.tell(w, Heard::NotSent),
    });
}

/// A connection that is there already, or a new one.
pub fn link(
    w: &mut World,
    from: usize,
    to: usize,
    kind: Kind,
    limit: u64,
    then: impl FnOnce(&mut World, Option<ConnId>) + 'static,
) {
    let key = (to, kind == Kind::Data);
    if let Some(conn) = w.nodes[from].links.get(&key).copied().filter(|conn| w.net.is_usable(*conn)) {
        return then(w, Some(conn));
    }
    network::connect(w, from, to, limit, move |w, conn| {
        if let Some(conn) = conn {
            w.nodes[from].links.insert(key, conn);
        }
        then(w, conn);
    });
}

fn ask_leader(
    w: &mut World,
    at: usize,
    body: Body,
    limit: u64,
    then: impl FnOnce(&mut World, Heard) + 'static,
) {
    let known =
        consensus::leader(w, at).filter(|leader| consensus::map_of(w, at).members.contains_key(leader));
    match known {
        Some(leader) => ask(w, at, consensus::place(leader), body, limit, then),
        None => then(w, Heard::NotSent),
    }
}

/// Has the leader make a change; `None` if nobody knows what became of it.
fn propose(
    w: &mut World,
    at: usize,
    change: Change,
    then: impl FnOnce(&mut World, Option<Outcome>) + 'static,
) {
    consensus::propose(w, at, Entry::Change(change.clone()), move |w, outcome| match outcome {
        Ok(outcome) => then(w, Some(outcome)),
        Err(()) => ask_leader(w, at, Body::Propose(change), PATIENCE, move |w, heard| match heard {
            Heard::Answer(Answer::Outcome(outcome)) => then(w, Some(outcome)),
            _ => then(w, None),
        }),
    });
}

/// What comes by a connection.
pub fn handle(w: &mut World, at: usize, conn: ConnId, id: u64, body: Body) {
    match body {
        Body::Lease(asker) => {
            let left = grant(w, at, asker);
            network::reply(w, conn, id, left.map(Answer::Lease));
        }
        Body::Propose(change) => consensus::propose(w, at, Entry::Change(change), move |w, outcome| {
            network::reply(w, conn, id, outcome.ok().map(Answer::Outcome));
        }),
        Body::Positions(asked) => {
            let state = &w.nodes[at].state;
            let positions = asked.iter().map(|(number, epoch)| copies::positions(state, *number, *epoch));
            let positions = positions.collect::<Result<Vec<Position>, _>>();
            network::reply(w, conn, id, positions.ok().map(Answer::Positions));
        }
        Body::Join(member, replaces) => {
            if w.nodes[at].raft.role == Role::Leader {
                return admit(w, at, member, replaces, move |w, admitted| {
                    network::reply(w, conn, id, admitted.then_some(Answer::Done));
                });
            }
            ask_leader(w, at, Body::Join(member, replaces), PATIENCE, move |w, heard| {
                let admitted = matches!(heard, Heard::Answer(_));
                network::reply(w, conn, id, admitted.then_some(Answer::Done));
            });
        }
        Body::Forward(request, known) => crate::data::serve(w, at, conn, id, &request, known),
        Body::Feed(records) => crate::data::take_records(w, at, conn, id, records),
    }
}

fn admit(
    w: &mut World,
    at: usize,
    member: Member,
    replaces: u64,
    then: impl FnOnce(&mut World, bool) + 'static,
) {
    consensus::propose(w, at, Entry::Learner(member.id), move |w, added| match added {
        Ok(_) => {
            let change = Change::Admit { member, replaces };
            consensus::propose(w, at, Entry::Change(change), move |w, joined| {
                then(w, joined.is_ok_and(|outcome| !matches!(outcome, Outcome::Refused(_))));
            });
        }
        Err(()) => then(w, false),
    });
}

// Leases.

fn beat(w: &mut World, at: usize) {
    if w.nodes[at].is_stopping {
        return;
    }
    let me = w.nodes[at].id;
    let asker = Asker {
        node: me,
        incarnation: w.nodes[at].incarnation,
        version: w.nodes[at].state.cluster.version(),
    };
    let asked_ns = clock(w, at);
    let then = move |w: &mut World, left_ns: Option<u64>| {
        if let Some(left_ns) = left_ns.filter(|_| !w.nodes[at].is_stopping) {
            let more_ns = if w.errs(Fault::OutstaysItsLease, 100) { 3000 * MS } else { 0 };
            w.nodes[at].state.cluster.extend_lease(asked_ns + left_ns + more_ns);
        }
        w.on_node(at, BEAT, move |w| beat(w, at));
    };
    if consensus::leader(w, at) == Some(me) {
        let left_ns = grant(w, at, asker);
        return then(w, left_ns);
    }
    ask_leader(w, at, Body::Lease(asker), 3 * BEAT, move |w, heard| match heard {
        Heard::Answer(Answer::Lease(left_ns)) => then(w, Some(left_ns)),
        _ => then(w, None),
    });
}

fn grant(w: &mut World, at: usize, asker: Asker) -> Option<u64> {
    let (map, now_ns) = (consensus::map_of(w, at), clock(w, at));
    w.nodes[at].leader.grant(&map, asker, now_ns).ok()
}

// Leading.

fn look(w: &mut World, at: usize) {
    w.on_node(at, LOOK, move |w| look(w, at));
    if w.nodes[at].is_looking {
        return;
    }
    if w.nodes[at].raft.role != Role::Leader {
        return w.nodes[at].leader.resign();
    }
    let term = w.nodes[at].raft.term;
    w.nodes[at].leader.lead(term);
    let asked_ns = clock(w, at);
    if !w.nodes[at].leader.is_to_prove(asked_ns) {
        return look_after_members(w, at);
    }
    w.nodes[at].is_looking = true;
    consensus::confirm(w, at, move |w, leads| {
        w.nodes[at].is_looking = false;
        if leads {
            let (now_ns, map, term) = (clock(w, at), consensus::map_of(w, at), w.nodes[at].raft.term);
            w.nodes[at].leader.proved(term, asked_ns, &map, now_ns);
            look_after_members(w, at);
        }
    });
}

fn look_after_members(w: &mut World, at: usize) {
    let (map, now_ns) = (consensus::map_of(w, at), clock(w, at));
    let changes = w.nodes[at].leader.wants(&map, now_ns);
    if changes.is_empty() {
        return set_voters(w, at);
    }
    w.nodes[at].is_looking = true;
    consensus::propose(w, at, Entry::Change(Change::Several(changes)), move |w, outcome| {
        w.nodes[at].is_looking = false;
        if outcome.is_ok() {
            set_voters(w, at);
        }
    });
}

fn set_voters(w: &mut World, at: usize) {
    let map = consensus::map_of(w, at);
    let now_ns = clock(w, at);
    let is_there = |node| w.nodes[at].leader.has_heard_of(node, now_ns);
    if let Some(voters) = choose_voters(&map, &w.group.voters, &w.group.learners, is_there) {
        w.nodes[at].is_looking = true;
        consensus::propose(w, at, Entry::Voters(voters), move |w, _| w.nodes[at].is_looking = false);
    }
}

// Following, and caring for copies.

/// Looks at the metadata it knows.
pub fn follow(w: &mut World, at: usize) {
    let map = consensus::map_of(w, at);
    let node = &mut w.nodes[at];
    let knows = map.members.get(&node.id).is_some_and(|me| me.incarnation == node.incarnation);
    if !knows || node.is_stopping || map.version == node.state.cluster.version() {
        return;
    }
    let version = map.version;
    let now_ns = node.state.cluster.now_ns();
    let actions = node.copies.adopt(&node.state, map, now_ns);
    w.note(|| format!("n{at} adopts {version}"));
    carry_out(w, at, actions);
    crate::data::look_at_map(w, at);
    let soon = w.rng.u64(..MS / 4);
    w.on_node(at, soon, move |w| care_once(w, at));
}

fn care(w: &mut World, at: usize) {
    care_once(w, at);
    let is_busy = w.nodes[at].copies.is_busy(&w.nodes[at].state.cluster.map());
    w.on_node(at, if is_busy { 10 * MS } else { 100 * MS }, move |w| care(w, at));
}

fn care_once(w: &mut World, at: usize) {
    let node = &mut w.nodes[at];
    let now_ns = node.state.cluster.now_ns();
    let actions = node.copies.look(&node.state, now_ns);
    carry_out(w, at, actions);
}

fn carry_out(w: &mut World, at: usize, actions: Vec<Action>) {
    for action in actions {
        match action {
            Action::Send(feed) => crate::data::begin_feed(w, at, feed),
            Action::Propose(reason, change) => propose_for(w, at, reason, change),
            Action::AskPositions { node, partitions } => ask_positions(w, at, node, partitions),
        }
    }
}

fn propose_for(w: &mut World, at: usize, reason: Reason, change: Change) {
    w.note(|| format!("n{at} asks for {}", brief(&Entry::Change(change.clone()))));
    propose(w, at, change.clone(), move |w, outcome| {
        let node = &mut w.nodes[at];
        let actions = node.copies.proposed(reason, &change, outcome);
        carry_out(w, at, actions);
    });
}

fn ask_positions(w: &mut World, at: usize, id: NodeId, partitions: Vec<(u8, u64)>) {
    let body = Body::Positions(partitions.clone());
    ask(w, at, consensus::place(id), body, 500 * MS, move |w, heard| {
        let told =
            if let Heard::Answer(Answer::Positions(positions)) = heard { Some(positions) } else { None };
        w.note(|| format!("n{at} hears from n{} of positions {partitions:?}: {told:?}", id - 1));
        let node = &mut w.nodes[at];
        let now_ns = node.state.cluster.now_ns();
        let actions = node.copies.told_positions(&node.state, (id, &partitions), told.as_deref(), now_ns);
        carry_out(w, at, actions);
    });
}

// Leaving.

/// A node is told to stop: it hands over, says so, and ends.
pub fn leave(w: &mut World, at: usize) {
    w.note(|| format!("n{at} leaves"));
    let until = w.now + 2000 * MS;
    hand_over(w, at, until, false);
}

fn hand_over(w: &mut World, at: usize, until: u64, asked: bool) {
    let map = w.nodes[at].state.cluster.map();
    let left = w.nodes[at].copies.hand_over_all(&map).filter(|_| w.now < until);
    let Some(left) = left else { return say_goodbye(w, at) };
    if asked {
        return w.on_node(at, 10 * MS, move |w| hand_over(w, at, until, true));
    }
    propose(w, at, left, move |w, outcome| {
        w.on_node(at, 10 * MS, move |w| hand_over(w, at, until, outcome.is_some()));
    });
}

fn say_goodbye(w: &mut World, at: usize) {
    let (me, node) = (w.nodes[at].id, &mut w.nodes[at]);
    node.is_stopping = true;
    if node.copies.leads_any(&node.state.cluster.map()) {
        node.state.cluster.end_lease();
    }
    propose(w, at, Change::Down(me), move |w, _| w.on_node(at, MS, move |w| stop(w, at)));
}

/// A change in few words.
pub fn brief(entry: &Entry) -> String {
    match entry {
        Entry::Change(Change::Admit { member, replaces }) => {
            format!("Admit({} {:x} in place of {replaces:x})", member.id, member.incarnation)
        }
        Entry::Change(Change::Several(changes)) => format!("{changes:?}"),
        other => format!("{other:?}"),
    }
}
