//! The network: connections on which requests go one way and answers the other, each in order, after some time.
//!
//! A direction between two nodes can be cut: what is on its way then waits, as TCP would send it again, until the cut ends or the
//! connection breaks. What is under way on a connection that breaks is lost, and each end finds out at another moment.

use crate::world::{MS, World};
use shoal::cluster::lead::Asker;
use shoal::cluster::metadata::{Change, Member, Outcome};
use shoal::state::copies::Position;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// A cut that lasts so long breaks the connections across it; in ms.
const SILENCE_MS: u64 = 3000;

/// By what a request is sent to a node: the version of the map, and the epoch of the request's partition there.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub version: u64,
    pub epoch: u64,
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum Body {
    Lease(Asker),
    Propose(Change),
    Positions(Vec<(u8, u64)>),
    Join(Member, u64),
    /// A request of a client, for a partition, with what was known when it was sent.
    Forward(Rc<Vec<Vec<u8>>>, Known),
    /// Records of a feed.
    Feed(Rc<Vec<u8>>),
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    Done,
    Lease(u64),
    Outcome(Outcome),
    Positions(Vec<Position>),
    Reply(Rc<Vec<u8>>),
}

/// What became of a request.
#[derive(Clone, Debug)]
pub enum Heard {
    Answer(Answer),
    Refused,
    /// It did not leave.
    NotSent,
    /// It left, and no answer came.
    Unknown,
}

type Callback = Box<dyn FnOnce(&mut World, Heard)>;
type Connected = Box<dyn FnOnce(&mut World, Option<ConnId>)>;

/// Somebody who waits for an answer, once.
#[derive(Clone)]
pub struct Waiting(Rc<RefCell<Option<Callback>>>);

impl Waiting {
    pub fn new(callback: impl FnOnce(&mut World, Heard) + 'static) -> Waiting {
        Waiting(Rc::new(RefCell::new(Some(Box::new(callback)))))
    }

    pub fn is_over(&self) -> bool {
        self.0.borrow().is_none()
    }

    pub fn tell(&self, world: &mut World, heard: Heard) {
        let callback = self.0.borrow_mut().take();
        if let Some(callback) = callback {
            callback(world, heard);
        }
    }
}

enum Message {
    Request(u64, Body),
    /// `None` is a refusal.
    Reply(u64, Option<Answer>),
}

#[derive(Default)]
struct Direction {
    queue: VecDeque<Message>,
    last: u64,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Control,
    Data,
}

pub type ConnId = usize;

struct Conn {
    /// Who made it and who was found: places and lives.
    ends: [(usize, u64); 2],
    directions: [Direction; 2],
    is_broken: bool,
    /// Whether who made it knows that it is broken.
    is_noticed: bool,
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
}

#[derive(Default)]
pub struct Network {
    conns: Vec<Conn>,
    /// Cuts by direction, with how many there are and which began last.
    cuts: BTreeMap<(usize, usize), (u32, u64)>,
    /// Everything takes longer, until this moment.
    pub slow_until: u64,
}

impl Network {
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.get(&(from, to)).is_some_and(|(count, _)| *count > 0)
    }

    /// The place of the node that made a connection.
    pub fn maker(&self, conn: ConnId) -> usize {
        self.conns[conn].ends[0].0
    }

    /// Whether what `at` has made of it may still be used by who made it.
    pub fn is_usable(&self, conn: ConnId) -> bool {
        !self.conns[conn].is_noticed
    }
}

/// How long a message takes.
pub fn delay(w: &mut World) -> u64 {
    let slow = w.now < w.net.slow_until;
    match w.rng.u32(..100) {
        0..90 if !slow => w.rng.u64(MS / 20..MS),
        90..99 if !slow => w.rng.u64(MS..8 * MS),
        _ => w.rng.u64(MS..80 * MS),
    }
}

/// Whether what `from` sends now would get to `to`'s machine, and a process is there.
pub fn reaches(w: &World, from: usize, to: usize) -> bool {
    from == to || (w.nodes[from].alive && w.nodes[to].alive && !w.net.is_cut(from, to))
}

/// Connects `from` to `to`, within `limit` ns.
pub fn connect(
    w: &mut World,
    from: usize,
    to: usize,
    limit: u64,
    then: impl FnOnce(&mut World, Option<ConnId>) + 'static,
) {
    let until = w.now + limit;
    let round_trip = delay(w) + delay(w);
    w.on_node(from, round_trip, move |w| try_connect(w, from, to, until, Box::new(then)));
}

fn try_connect(w: &mut World, from: usize, to: usize, until: u64, then: Connected) {
    let is_open =
        from != to && reaches(w, from, to) && reaches(w, to, from) && w.nodes[to].paused_until <= w.now;
    if is_open {
        let ends = [(from, w.nodes[from].life), (to, w.nodes[to].life)];
        w.net.conns.push(Conn {
            ends,
            directions: Default::default(),
            is_broken: false,
            is_noticed: false,
            waiting: BTreeMap::new(),
            next: 1,
        });
        let conn = w.net.conns.len() - 1;
        return then(w, Some(conn));
    }
    // Nobody listens there: that is heard at once.
    let is_refused = !w.nodes[to].alive && !w.net.is_cut(from, to) && !w.net.is_cut(to, from);
    if from == to || is_refused || w.now >= until {
        return then(w, None);
    }
    w.on_node(from, 15 * MS, move |w| try_connect(w, from, to, until, then));
}

/// Sends a request on a connection that its maker knows nothing bad of.
pub fn request(w: &mut World, conn: ConnId, body: Body, waiting: Waiting) {
    let this = &mut w.net.conns[conn];
    if this.is_noticed {
        return waiting.tell(w, Heard::NotSent);
    }
    let id = this.next;
    this.next += 1;
    this.waiting.insert(id, waiting);
    send(w, conn, 0, Message::Request(id, body));
}

pub fn reply(w: &mut World, conn: ConnId, id: u64, answer: Option<Answer>) {
    send(w, conn, 1, Message::Reply(id, answer));
}

fn send(w: &mut World, conn: ConnId, direction: usize, message: Message) {
    if w.net.conns[conn].is_broken {
        return;
    }
    let soon = w.now + delay(w);
    let way = &mut w.net.conns[conn].directions[direction];
    way.last = soon.max(way.last + 1);
    way.queue.push_back(message);
    let wait = way.last - w.now;
    w.after(wait, move |w| deliver(w, conn, direction));
}

fn deliver(w: &mut World, conn: ConnId, direction: usize) {
    let this = &w.net.conns[conn];
    let (from, to) = (this.ends[direction], this.ends[1 - direction]);
    if this.is_broken {
        return;
    }
    if w.net.is_cut(from.0, to.0) {
        return w.after(10 * MS, move |w| deliver(w, conn, direction));
    }
    let Some(message) = w.net.conns[conn].directions[direction].queue.pop_front() else { return };
    w.on_life(to, 0, move |w| match message {
        Message::Request(id, body) => crate::node::handle(w, to.0, conn, id, body),
        Message::Reply(id, answer) => {
            if let Some(waiting) = w.net.conns[conn].waiting.remove(&id) {
                waiting.tell(w, answer.map_or(Heard::Refused, Heard::Answer));
            }
        }
    });
}

/// Breaks a connection: what is under way is lost.
pub fn break_off(w: &mut World, conn: ConnId) {
    let this = &mut w.net.conns[conn];
    if this.is_broken {
        return;
    }
    this.is_broken = true;
    this.directions.iter_mut().for_each(|way| way.queue.clear());
    let maker = this.ends[0];
    let soon = w.between_ms(0, 100);
    w.on_life(maker, soon, move |w| {
        let this = &mut w.net.conns[conn];
        this.is_noticed = true;
        for (_, waiting) in std::mem::take(&mut this.waiting) {
            waiting.tell(w, Heard::Unknown);
        }
    });
}

/// The connections between two nodes that are not broken.
pub fn between(w: &World, a: usize, b: usize) -> Vec<ConnId> {
    let joins = |conn: &Conn| {
        let ends = (conn.ends[0].0, conn.ends[1].0);
        !conn.is_broken && (ends == (a, b) || ends == (b, a))
    };
    (0..w.net.conns.len()).filter(|conn| joins(&w.net.conns[*conn])).collect()
}

/// Cuts one direction for some time.
pub fn cut(w: &mut World, from: usize, to: usize, duration: u64) {
    let since = w.now;
    let entry = w.net.cuts.entry((from, to)).or_default();
    entry.0 += 1;
    entry.1 = since;
    w.after(SILENCE_MS * MS, move |w| {
        if w.net.cuts.get(&(from, to)).is_some_and(|(count, began)| *count > 0 && *began == since) {
            for conn in between(w, from, to) {
                break_off(w, conn);
            }
        }
    });
    w.after(duration, move |w| {
        if let Some(entry) = w.net.cuts.get_mut(&(from, to)) {
            entry.0 = entry.0.saturating_sub(1);
        }
    });
}

/// Ends all cuts.
pub fn heal(w: &mut World) {
    w.net.cuts.clear();
    w.net.slow_until = 0;
}

/// The process at `place` is gone: what it had sent may still arrive, or not.
pub fn lose_process(w: &mut World, place: usize, life: u64) {
    for conn in 0..w.net.conns.len() {
        let this = &mut w.net.conns[conn];
        let Some(end) = this.ends.iter().position(|end| *end == (place, life)) else { continue };
        if this.is_broken {
            continue;
        }
        let len = this.directions[end].queue.len();
        let kept = if len > 0 && w.rng.bool() { w.rng.usize(..=len) } else { 0 };
        w.net.conns[conn].directions[end].queue.truncate(kept);
        if kept == 0 {
            break_off(w, conn);
        } else {
            let wait = w.between_ms(1, 30);
            w.after(wait, move |w| break_off(w, conn));
        }
    }
}
