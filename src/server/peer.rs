//! What other nodes ask of this one over data links: to answer a request, and to apply what a feed carries.
//!
//! A link lives on one worker, as a connection does. Its requests are run in the order they came; one that finds a partition taken waits,
//! and what came behind it too. A node that does not serve the keys asked for says so and does nothing: whoever asked knows
//! better by then, or soon will.

use super::forward::{self, HEAD, kind};
use super::{ears, on_stack, participant, run_memcache, settings};
use crate::cluster::link::{Frame, Identity, Limits, Link, LinkError, Sender};
use crate::cluster::metadata::NodeId;
use crate::command::blocking;
use crate::command::call::{self, Flow, Site};
use crate::command::client::Client;
use crate::command::follow::{Follower, Verdict};
use crate::command::forward::Cover;
use crate::command::tracking::Tracked;
use crate::state::State;
use crate::state::clients::Unblock;
use crate::state::ears::Ear;
use crate::state::replication::{Record, Waits};
use crate::state::tracking::Author;
use crate::worker::Worker;
use shoal_protocol::resp::{Limits as ParseLimits, Output, OwnedArgs, Proto, RequestParser};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// How long a peer may take to prove who it is.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(2);

/// What a link is for: its first byte, before the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// To speak of the cluster.
    Control = b'C' as isize,
    /// To carry requests and copies.
    Data = b'D' as isize,
}

/// A link to the node that listens for others at `address`; to no other than `meant`, if that is known: one that has lost its disk comes
/// back at the same address by another name, and what it says is not to be taken for what the former says.
pub(super) async fn connect(
    address: &str,
    meant: Option<NodeId>,
    purpose: Purpose,
    me: &Identity,
) -> Result<Link, LinkError> {
    let mut stream = TcpStream::connect(address).await.map_err(LinkError::Io)?;
    stream.write_all(&[purpose as u8]).await.map_err(LinkError::Io)?;
    let link = Link::begin(stream, me, Limits::default(), HANDSHAKE).await?;
    match (meant, link.peer().node) {
        (Some(meant), found) if meant != found => Err(LinkError::OtherNode { meant, found }),
        _ => Ok(link),
    }
}

/// Serves a data link that a peer has made.
pub(super) async fn serve(worker: Rc<Worker>, stream: std::net::TcpStream) {
    let Some(identity) = worker.state.cluster.identity() else { return };
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    let link = match Link::accept(stream, &identity, Limits::default(), HANDSHAKE).await {
        Ok(link) => link,
        Err(error) => return tracing::warn!("refused a link: {error}"),
    };
    let node = link.peer().node;
    let peer = Rc::new(RefCell::new(Peer::new(Rc::clone(&worker), node)));
    let applier = Rc::new(Applier::new(Rc::clone(&worker), node));
    let (own, same) = (Rc::clone(&peer), Rc::clone(&peer));
    let handle = move |sender: &Sender, frame: Frame| match frame.kind {
        kind::FEED => Applier::take(&applier, sender, frame),
        // Never behind requests that wait for what it may release.
        kind::ACROSS => drop(tokio::task::spawn_local(take_part(Rc::clone(&worker), sender.clone(), frame))),
        _ => Peer::take(&own, sender, frame),
    };
    let end = link.run_batches(handle, move |sender| same.borrow_mut().settle(sender)).await;
    tracing::debug!("a link from node {node:016x} has ended: {end}");
    peer.borrow_mut().leave();
}

/// A request as another node sent it.
struct Request<'f> {
    db: usize,
    /// The version of the map by which it was sent.
    known: u64,
    proto: Proto,
    /// See [`forward::TRANSACTION`] and its kin.
    kind: u8,
    /// The partitions it is about, if it is about partitions.
    cover: Option<Cover>,
    /// The ways of its connection: [`forward::TRACKS`] and its kin.
    ways: u8,
    /// The connection of the peer.
    client: u64,
    /// Whose rights hold for what the request runs; empty where everything is allowed.
    user: &'f [u8],
    /// The request itself, which is where the parser found it, unless it is memcached's or a transaction.
    bytes: &'f [u8],
    /// Those of a transaction.
    requests: Vec<OwnedArgs>,
}

/// Why a request is not run.
enum Refused {
    /// Its user is unknown here.
    User,
    /// The peer does not listen to this node yet.
    Unheard,
}

impl Refused {
    fn answer(self, sender: &Sender, id: u64) {
        match self {
            Refused::User => {
                sender.reply(id, b"-NOPERM the user is not known to the node that serves these keys\r\n");
            }
            Refused::Unheard => sender.refuse(id, "nobody listens"),
        }
    }
}

/// Does what a transaction across nodes asks.
async fn take_part(worker: Rc<Worker>, sender: Sender, frame: Frame) {
    match postcard::from_bytes(&frame.payload) {
        Ok(ask) => {
            let answer = participant::answer(&worker, ask).await;
            let answer = postcard::to_stdvec(&answer).unwrap_or_default();
            sender.reply(frame.id, &answer);
        }
        Err(_) => sender.refuse(frame.id, "a request that cannot be understood"),
    }
}

/// The requests of one peer's worker.
struct Peer {
    worker: Rc<Worker>,
    /// Which peer.
    node: NodeId,
    /// By what it hears of this node, if this is the link for that.
    ear: Option<Arc<Ear>>,
    client: Client,
    out: Output,
    parser: RequestParser,
    /// What could not be run yet.
    backlog: VecDeque<(Sender, Frame)>,
    /// Whether that is because a transaction across nodes holds its keys.
    is_held: bool,
    /// Whether the clock has been read for the requests that came together.
    is_begun: bool,
    /// Whether answers were given that count only if this node still serves what they are about.
    is_unsettled: bool,
    /// What the cluster's tenure was before that.
    tenure: u64,
    /// Blocking requests that wait, by their tokens.
    guests: HashMap<u64, Arc<crate::state::clients::ClientShared>>,
}

impl Peer {
    fn new(worker: Rc<Worker>, node: NodeId) -> Peer {
        let client = guest(&worker.state);
        Peer {
            worker,
            node,
            ear: None,
            client,
            out: Output::default(),
            parser: RequestParser::new(),
            backlog: VecDeque::new(),
            is_held: false,
            is_begun: false,
            is_unsettled: false,
            tenure: 0,
            guests: HashMap::new(),
        }
    }

    /// Runs a frame, or sees to it that it is run after those that came before it.
    fn take(this: &Rc<RefCell<Peer>>, sender: &Sender, frame: Frame) {
        let mut peer = this.borrow_mut();
        if !peer.backlog.is_empty() {
            return peer.backlog.push_back((sender.clone(), frame));
        }
        if !Peer::handle(this, &mut peer, sender, &frame) {
            peer.backlog.push_back((sender.clone(), frame));
            tokio::task::spawn_local(Peer::work_off(Rc::clone(this)));
        }
    }

    async fn work_off(this: Rc<RefCell<Peer>>) {
        let worker = Rc::clone(&this.borrow().worker);
        loop {
            if std::mem::take(&mut this.borrow_mut().is_held) {
                participant::released(&worker.state).await;
            } else {
                tokio::task::yield_now().await;
            }
            let mut peer = this.borrow_mut();
            let Some((sender, frame)) = peer.backlog.pop_front() else { return };
            let is_done = Peer::handle(&this, &mut peer, &sender, &frame);
            peer.settle(&sender);
            if !is_done {
                peer.backlog.push_front((sender, frame));
            } else if peer.backlog.is_empty() {
                return;
            }
        }
    }

    /// Runs a frame; false if it must be tried again.
    fn handle(this: &Rc<RefCell<Peer>>, peer: &mut Peer, sender: &Sender, frame: &Frame) -> bool {
        match frame.kind {
            kind::FORWARD => peer.run(sender, frame),
            kind::BLOCKING => peer.begin_blocking(this, sender, frame),
            kind::CANCEL => {
                let token = frame.payload.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
                if let Some(guest) = token.and_then(|token| peer.guests.remove(&token)) {
                    guest.send(crate::state::clients::Mail::Close);
                } else if let Some(token) = token {
                    participant::cancel(&peer.worker, token);
                }
                true
            }
            kind::UNBLOCK => {
                if let Some((token, &[how])) = frame.payload.split_first_chunk()
                    && let Some(guest) = peer.guests.get(&u64::from_le_bytes(*token))
                {
                    let error = how == Unblock::Error as u8;
                    guest.unblock(if error { Unblock::Error } else { Unblock::TimeUp });
                }
                true
            }
            kind::LISTEN => {
                ears::listen(&peer.worker, &mut peer.ear, sender, frame);
                true
            }
            kind::SETTLED => {
                settings::tell_settled(&peer.worker, sender, frame);
                true
            }
            kind::COUNT => {
                let (sender, frame, state) = (sender.clone(), frame.clone(), Arc::clone(&peer.worker.state));
                tokio::task::spawn_local(async move {
                    let count = super::counting::asked(&state, &frame.payload).await;
                    sender.reply(frame.id, &count);
                });
                true
            }
            kind::PUBLISH => {
                publish(&peer.worker.state, &frame.payload);
                true
            }
            _ => {
                sender.refuse(frame.id, "unknown kind of request");
                true
            }
        }
    }

    fn run(&mut self, sender: &Sender, frame: &Frame) -> bool {
        let Some(asked) = self.read(&frame.payload) else {
            sender.refuse(frame.id, "a request that cannot be understood");
            return true;
        };
        if let Err(refused) = take_on(&self.worker.state, self.node, &mut self.client, &asked) {
            refused.answer(sender, frame.id);
            return true;
        }
        self.out.proto = asked.proto;
        let begins = !std::mem::replace(&mut self.is_begun, true);
        if !self.is_unsettled {
            self.tenure = self.worker.state.cluster.tenure();
        }
        let parser = &self.parser;
        let flow =
            enter(&self.worker, &mut self.client, &mut self.out, begins, |mut site| match asked.kind {
                forward::MEMCACHED => run_memcache::run_one(site, asked.bytes),
                forward::TRANSACTION => forward::run(site, true, &asked.requests),
                _ => call::call(&mut site, parser.args(asked.bytes), None),
            });
        if flow == Flow::OnStack {
            let is_transaction = asked.kind == forward::TRANSACTION;
            let requests = match asked.kind {
                forward::TRANSACTION => asked.requests,
                _ => vec![OwnedArgs::from(self.parser.args(asked.bytes))],
            };
            return self.run_on_stack(sender, frame.id, (is_transaction, requests));
        }
        // What was read counts only if it was read in time, whatever it has to wait for: see `settle`.
        self.is_unsettled |= flow == Flow::Next;
        self.is_held = flow == Flow::Held;
        conclude(&self.worker, (sender, frame.id), &mut self.client, &mut self.out, flow)
    }

    /// Runs what may pause in its midst, for the client as it is now; false if it must be tried again. What comes behind it goes on during
    /// a pause.
    fn run_on_stack(
        &mut self,
        sender: &Sender,
        id: u64,
        (is_transaction, requests): (bool, Vec<OwnedArgs>),
    ) -> bool {
        let mut client = std::mem::replace(&mut self.client, guest(&self.worker.state));
        let mut out = std::mem::take(&mut self.out);
        let worker = Rc::clone(&self.worker);
        let mut running = Box::pin(on_stack::run(Rc::clone(&worker), move |scratch, pause| {
            scratch.clock.sync();
            let (state, stats, clock) = (&*worker.state, worker.stats(), &mut scratch.clock);
            let site = Site { state, stats, client: &mut client, out: &mut out, clock, pause: Some(pause) };
            let flow = forward::run(site, is_transaction, &requests);
            (client, out, flow)
        }));
        if let Poll::Ready((client, out, flow)) =
            running.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        {
            (self.client, self.out) = (client, out);
            self.is_unsettled |= flow == Flow::Next;
            self.is_held = flow == Flow::Held;
            return conclude(&self.worker, (sender, id), &mut self.client, &mut self.out, flow);
        }
        let (worker, sender, tenure) = (Rc::clone(&self.worker), sender.clone(), self.tenure);
        tokio::task::spawn_local(async move {
            let (mut client, mut out, flow) = running.await;
            if !worker.state.cluster.has_lease_since(tenure)
                || !conclude(&worker, (&sender, id), &mut client, &mut out, flow)
            {
                sender.close();
            }
        });
        true
    }

    /// Ends what is done at one go, before any answer leaves: if this node has lost its lease meanwhile, none does.
    fn settle(&mut self, sender: &Sender) {
        self.is_begun = false;
        if std::mem::take(&mut self.is_unsettled) && !self.worker.state.cluster.has_lease_since(self.tenure) {
            sender.close();
        }
    }

    /// Takes a forwarded request apart.
    fn read<'f>(&mut self, payload: &'f [u8]) -> Option<Request<'f>> {
        let (head, rest) = payload.split_first_chunk::<HEAD>()?;
        let db = u32::from_le_bytes(head[..4].try_into().ok()?) as usize;
        let known = u64::from_le_bytes(head[4..12].try_into().ok()?);
        let proto = if head[12] == 1 { Proto::Resp3 } else { Proto::Resp2 };
        let (kind, ways) = (head[13], head[14]);
        let client = u64::from_le_bytes(head[15..23].try_into().ok()?);
        let len = u16::from_le_bytes(head[23..25].try_into().ok()?);
        let (user, mut bytes) = rest.split_at_checked(usize::from(len))?;
        let mut cover = None;
        if kind == forward::COVER {
            let partitions;
            (partitions, bytes) = bytes.split_first_chunk()?;
            cover = Some(Cover::from_bytes(partitions));
        }
        let limits = ParseLimits { authenticated: true, ..ParseLimits::default() };
        let mut requests = Vec::new();
        match kind {
            forward::MEMCACHED => {}
            forward::TRANSACTION => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    let parsed = self.parser.parse(rest, &limits).ok()??;
                    requests.push(OwnedArgs::from(self.parser.args(rest)));
                    rest = &rest[parsed.consumed..];
                }
            }
            _ => drop(self.parser.parse(bytes, &limits).ok()??),
        }
        Some(Request { db, known, proto, kind, cover, ways, client, user, bytes, requests })
    }

    /// Runs a request that may wait for a key. It has a client of its own, which a later frame may cancel.
    fn begin_blocking(&mut self, this: &Rc<RefCell<Peer>>, sender: &Sender, frame: &Frame) -> bool {
        let (token, request) = match frame.payload.split_first_chunk::<8>() {
            Some((token, request)) => (u64::from_le_bytes(*token), request),
            None => (0, &[][..]),
        };
        let Some(asked) = self.read(request) else {
            sender.refuse(frame.id, "a request that cannot be understood");
            return true;
        };
        let mut client = guest(&self.worker.state);
        if let Err(refused) = take_on(&self.worker.state, self.node, &mut client, &asked) {
            refused.answer(sender, frame.id);
            return true;
        }
        let mut out = Output::new(asked.proto);
        let parser = &self.parser;
        let flow = enter(&self.worker, &mut client, &mut out, true, |mut site| {
            call::call(&mut site, parser.args(asked.bytes), None)
        });
        if flow != Flow::Next {
            self.is_held = flow == Flow::Held;
            return false;
        }
        if client.refused {
            sender.refuse(frame.id, "moved");
            return true;
        }
        self.guests.insert(token, Arc::clone(&client.shared));
        let (worker, sender, id) = (Rc::clone(&self.worker), sender.clone(), frame.id);
        let this = Rc::downgrade(this);
        tokio::task::spawn_local(async move {
            let waited = wait(&worker, &mut client, &mut out).await;
            if let Some(peer) = this.upgrade() {
                peer.borrow_mut().guests.remove(&token);
            }
            match waited {
                Waited::Lost => sender.close(),
                // What was read counts only if it was read in time.
                Waited::Answered if !worker.state.cluster.has_lease() => sender.close(),
                Waited::Answered => sender.reply(id, &[&[forward::ANSWERED], &*out.take_bytes()].concat()),
                Waited::SentOn(request) => {
                    let mut bytes = vec![forward::SENT_ON];
                    request.as_args().write_request(&mut bytes);
                    sender.reply(id, &bytes);
                }
                Waited::Cancelled => sender.refuse(id, "cancelled"),
            }
        });
        true
    }

    /// The link is gone: nobody waits for anything any more.
    fn leave(&mut self) {
        self.backlog.clear();
        if let Some(ear) = self.ear.take() {
            ears::close(&self.worker, &ear);
        }
        for (_, guest) in self.guests.drain() {
            guest.send(crate::state::clients::Mail::Close);
        }
    }
}

/// Makes `client` stand for whom a request is asked.
fn take_on(state: &State, node: NodeId, client: &mut Client, asked: &Request) -> Result<(), Refused> {
    client.db = asked.db.min(state.keyspace.databases() - 1);
    client.author = Author { node, client: asked.client };
    client.user = match asked.user {
        b"" => Arc::clone(state.acl.peer()),
        // What the request runs in its turn is checked against the rules of the one who asked.
        name => state.acl.user(name).ok_or(Refused::User)?,
    };
    (client.cover, client.known) = (asked.cover, asked.known);
    client.tracking = None;
    client.no_touch = asked.ways & forward::NO_TOUCH != 0;
    client.imports = asked.ways & forward::IMPORTS != 0;
    if asked.ways & forward::TRACKS != 0 {
        // Without an ear nobody could be told. It is on its way.
        let (tracker, is_new) = state.ears.reader(node).ok_or(Refused::Unheard)?;
        if is_new {
            state.tracking.start(&tracker);
        }
        client.tracking = Some(Tracked { tracker, caching: false });
    }
    Ok(())
}

/// A client that stands for those of another node.
pub(super) fn guest(state: &State) -> Client {
    let mut client = Client::new(state.clients.detached(), Arc::clone(state.acl.peer()));
    client.is_peer = true;
    client
}

/// Runs something for `client`; what `begins` with it is told the time anew.
fn enter(
    worker: &Worker,
    client: &mut Client,
    out: &mut Output,
    begins: bool,
    run: impl FnOnce(Site) -> Flow,
) -> Flow {
    let mut scratch = worker.scratch.borrow_mut();
    if begins {
        scratch.clock.sync();
    }
    let (state, stats, clock) = (&*worker.state, worker.stats(), &mut scratch.clock);
    run(Site { state, stats, client, out, clock, pause: None })
}

/// Answers what was run for `client`; false if that must be tried again.
fn conclude(
    worker: &Rc<Worker>,
    (sender, id): (&Sender, u64),
    client: &mut Client,
    out: &mut Output,
    flow: Flow,
) -> bool {
    if std::mem::take(&mut client.refused) {
        out.clear();
        client.waits = Waits::default();
        sender.refuse(id, "moved");
        return true;
    }
    if flow != Flow::Next {
        out.clear();
        return false;
    }
    let mut waits = std::mem::take(&mut client.waits);
    let asked = std::mem::take(&mut client.asked);
    if waits.is_empty()
        && asked.is_empty()
        && let Some(reply) = out.contiguous()
    {
        sender.reply(id, reply);
        out.clear();
        return true;
    }
    let reply = out.take_bytes();
    if waits.is_empty() && asked.is_empty() {
        sender.reply(id, &reply);
        return true;
    }
    let (sender, worker) = (sender.clone(), Rc::clone(worker));
    tokio::task::spawn_local(async move {
        let agreed = asked.is_empty() || settings::agreed(&worker, asked).await;
        let arriving = tokio::time::timeout(forward::DEADLINE, poll_fn(|task| waits.poll(task)));
        let arrived = agreed && arriving.await.unwrap_or(false);
        if arrived { sender.reply(id, &reply) } else { sender.close() }
    });
    true
}

/// How a wait for a key ended.
pub(super) enum Waited {
    /// The request was answered, or its time was up.
    Answered,
    /// This is to be asked of whoever serves the keys now.
    SentOn(OwnedArgs),
    /// Nobody waits any more.
    Cancelled,
    /// It was answered, but what that changed may be lost: this node is primary no more.
    Lost,
}

/// Waits as long as the request of `client` does.
pub(super) async fn wait(worker: &Worker, client: &mut Client, out: &mut Output) -> Waited {
    while let Some(blocked) = &client.blocked {
        let (deadline, nothing) = (blocked.deadline, blocked.nothing);
        let mail = poll_fn(|task| {
            client.shared.wake_with(task.waker());
            if client.shared.has_mail() { Poll::Ready(()) } else { Poll::Pending }
        });
        let rung = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline.into(), mail).await.is_ok(),
            None => {
                mail.await;
                true
            }
        };
        if rung {
            super::mail::open(&worker.state, worker.stats(), client, out);
        } else if blocking::give_up(&worker.state, worker.stats(), client) {
            nothing.reply(out);
        } else {
            tokio::task::yield_now().await;
        }
        if client.killed {
            while !blocking::cancel(&worker.state, client) {
                super::mail::open(&worker.state, worker.stats(), client, out);
                tokio::task::yield_now().await;
            }
            return Waited::Cancelled;
        }
    }
    if let Some(request) = client.again.take() {
        return Waited::SentOn(request);
    }
    let waits = &mut client.waits;
    if poll_fn(|task| waits.poll(task)).await { Waited::Answered } else { Waited::Lost }
}

/// Delivers what was published at another node.
fn publish(state: &State, payload: &[u8]) {
    let Some((len, rest)) = payload.split_first_chunk::<4>() else { return };
    let Some((channel, message)) = rest.split_at_checked(u32::from_le_bytes(*len) as usize) else { return };
    state.pubsub.publish(channel, message);
}

/// Has what one peer's feed carries applied.
struct Applier {
    worker: Rc<Worker>,
    node: u64,
    queue: RefCell<VecDeque<(Sender, Frame)>>,
    follower: RefCell<Follower>,
}

impl Applier {
    fn new(worker: Rc<Worker>, node: u64) -> Applier {
        let follower = RefCell::new(Follower::new(&worker.state, node));
        Applier { worker, node, queue: RefCell::default(), follower }
    }

    fn take(this: &Rc<Applier>, sender: &Sender, frame: Frame) {
        let mut queue = this.queue.borrow_mut();
        queue.push_back((sender.clone(), frame));
        if queue.len() == 1 {
            tokio::task::spawn_local(Applier::work_off(Rc::clone(this)));
        }
    }

    async fn work_off(this: Rc<Applier>) {
        loop {
            let Some((sender, frame)) = this.queue.borrow().front().cloned() else { return };
            if this.apply(&frame.payload).await {
                sender.reply(frame.id, &[]);
            } else {
                sender.refuse(frame.id, "a record that does not follow what is here");
            }
            let mut queue = this.queue.borrow_mut();
            queue.pop_front();
            if queue.is_empty() {
                return;
            }
        }
    }

    /// Applies all records; false at the first that is wrong.
    async fn apply(&self, mut records: &[u8]) -> bool {
        while !records.is_empty() {
            let Some((record, effects)) = Record::read(&mut records) else { return false };
            loop {
                let seen = self.worker.state.cluster.version();
                let verdict = self.follower.borrow_mut().apply(&self.worker.state, record, effects);
                match verdict {
                    // Much at once: others have their turn.
                    Verdict::Applied if matches!(record, Record::Part(_)) => {
                        tokio::task::yield_now().await;
                        break;
                    }
                    Verdict::Applied => break,
                    Verdict::Wrong => {
                        let name = self.worker.state.cluster.map().name(self.node);
                        tracing::warn!("node {name} sent a record that does not belong here: {record:?}");
                        return false;
                    }
                    Verdict::Early => {
                        let cluster = &self.worker.state.cluster;
                        poll_fn(|task| cluster.poll_newer(seen, task)).await;
                    }
                }
            }
        }
        true
    }
}
