//! Requests that other nodes answer: sent, waited for, and their answers put in the place of the reply.
//!
//! Each worker has a link to each peer, made when it is first needed. What one batch of a connection asks of other nodes leaves at
//! once; the answers are awaited in order. While nobody serves a key (its primary is dead, or moves) the request is held and sent
//! on under the next map, up to a deadline. What may have been carried out is never sent twice, unless it changes nothing.

use super::{across, items, on_stack, participant, run_memcache};
use crate::cluster::joining::address_of;
use crate::cluster::link::{CallError, Link, LinkError, Reply, Sender};
use crate::cluster::metadata::{Metadata, NodeId};
use crate::command::across::Across;
use crate::command::call::{self, Flow, Site};
use crate::command::client::{Client, Multi, Watching};
use crate::command::forward::{Cover, Forwarded, Merge, Part, Target};
use crate::command::tracking::{Tracked, remember_elsewhere};
use crate::command::{script, table};
use crate::state::clients::{ClientShared, Unblock};
use crate::state::partition::{PARTITIONS, partition_of};
use crate::worker::Worker;
use bytes::Bytes;
use redis_protocol::resp2::decode::decode as decode_reply;
use redis_protocol::resp2::types::{OwnedFrame, Resp2Frame};
use shoal_protocol::resp::{Limits, Mark, Output, OwnedArgs, Proto, RequestParser};
use smallvec::SmallVec;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The kinds of frames on data links.
pub(super) mod kind {
    /// A request to be answered by the node that serves its keys.
    pub const FORWARD: u8 = 0x80;
    /// Records of a feed; answered once they are applied.
    pub const FEED: u8 = 0x81;
    /// A blocking request, with a token.
    pub const BLOCKING: u8 = 0x82;
    /// The client of the blocking request with that token is gone.
    pub const CANCEL: u8 = 0x43;
    /// The blocking request with that token is to wait no more, as an [`Unblock`] says.
    pub const UNBLOCK: u8 = 0x46;
    /// Asks how many copies have all of some partitions.
    pub const COUNT: u8 = 0x4f;
    /// A message to the subscribers of a channel.
    pub const PUBLISH: u8 = 0x84;
    /// What the clients of a node are interested in; answered once it is known here.
    pub const LISTEN: u8 = 0x87;
    /// What a node that listens is to hear.
    pub const HEARD: u8 = 0x88;
    /// Answered once the settings of a version of the map hold.
    pub const SETTLED: u8 = 0x45;
    /// What is asked of those who take part in a transaction across nodes.
    pub const ACROSS: u8 = 0x85;
}

/// How long a request is held while nobody serves its keys; all of a batch together.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// How long a link may take to come about.
const CONNECT: Duration = Duration::from_millis(500);
/// How soon it is tried again with the same map: at first, and later.
const SOON: Duration = Duration::from_millis(1);
const AGAIN: Duration = Duration::from_millis(20);
/// How often one SCAN asks at most: neighbouring partitions lie on different nodes.
const SCAN_STEPS: usize = 2 * PARTITIONS;
/// Bytes before the request: database, version of the map by which it is sent, version of the protocol, what kind of request it is,
/// the ways of its connection ([`TRACKS`] and its kin), whose it is, how long the name is of the user whose rights hold, which follows.
pub(super) const HEAD: usize = 4 + 8 + 1 + 1 + 1 + 8 + 2;
/// The keys it reads are to be remembered.
pub(super) const TRACKS: u8 = 1;
/// Its reads leave the access clock alone.
pub(super) const NO_TOUCH: u8 = 2;
/// It brings in another server's data.
pub(super) const IMPORTS: u8 = 4;
/// The kinds of requests besides a single one.
pub(super) const TRANSACTION: u8 = 1;
pub(super) const MEMCACHED: u8 = 2;
pub(super) const COVER: u8 = 3;

/// How an answer to [`kind::BLOCKING`] begins: the reply follows.
pub(super) const ANSWERED: u8 = 0;
/// The same: nobody waits there any more, and the request that follows is to be asked of whoever serves the keys now.
pub(super) const SENT_ON: u8 = 1;

/// What a client hears when a request left and no answer came.
pub(super) const UNKNOWN: &[u8] =
    b"-UNKNOWN the node that was asked went away before it answered: the command may or may not have run\r\n";
/// What a client hears when those who have to agree to a change, or to have a copy of it, did not say so in time.
pub(super) const UNCONFIRMED: &[u8] =
    b"-UNKNOWN other nodes did not confirm it in time: the command may or may not have run; CLUSTER STATUS tells more\r\n";
/// How that begins which a client hears when nobody served the keys for too long; why follows.
const NOBODY: &[u8] = b"-CLUSTERDOWN no node serves these keys at present";
/// How errors begin that the text protocols of memcached have for this.
const MEMCACHED_ERROR: &[u8] = b"SERVER_ERROR ";

/// A request under way, and to whom.
type Asked = (NodeId, Reply);

/// Has everything that `client` left for others answered, and puts the answers where they belong in `out`. What nobody serves is waited for
/// up to `until`, which what was answered by somebody, however long that took, puts off.
pub(super) async fn answer(worker: &Rc<Worker>, client: &mut Client, out: &mut Output, until: &mut Instant) {
    let mut forwarded = std::mem::take(&mut client.forwarded);
    client.is_owed = false;
    if !super::settings::known(worker, client, *until).await {
        client.killed = true;
        return;
    }
    for part in forwarded.iter_mut().flat_map(|request| &mut request.parts) {
        take_scripts_along(worker, part).await;
    }
    for request in &forwarded {
        if let Some(tracker) = &request.caller.tracker {
            // Before they are read: they may change at once.
            let requests = request.parts.iter().flat_map(|part| &part.requests);
            requests.for_each(|args| remember_elsewhere(&worker.state, tracker, args.as_args()));
        }
    }
    // All leave before any is awaited.
    let mut asked: Vec<Option<Asked>> = Vec::with_capacity(forwarded.len());
    {
        let map = worker.state.cluster.map();
        for request in &forwarded {
            asked.extend(request.parts.iter().map(|part| ask_now(worker, &map, request, part)));
        }
    }
    let mut asked = asked.into_iter();
    let mut inserts: Vec<(Mark, Bytes)> = Vec::with_capacity(forwarded.len());
    for request in &mut forwarded {
        let began = Instant::now();
        if let Some(across) = request.across.take() {
            let answer = across::answer(worker, client, request, *across, *until).await;
            put_off(until, began, &answer);
            inserts.push((request.mark, answer.into()));
            continue;
        }
        let mut asked: SmallVec<[Option<Asked>; 1]> = asked.by_ref().take(request.parts.len()).collect();
        if let Some(answer) = at_once(request, &mut asked) {
            inserts.push((request.mark, answer));
            continue;
        }
        let mut answers = Vec::with_capacity(request.parts.len());
        for (part, asked) in request.parts.iter().zip(asked) {
            answers.push(resolve(worker, client, request, part, asked, *until).await);
        }
        let answer = match request.merge {
            Merge::Scan(wanted) => scan_on(worker, client, request, wanted, answers, *until).await,
            _ => merge(request, request.proto, answers),
        };
        put_off(until, began, &answer);
        let answer = if request.is_silent { Bytes::new() } else { answer.into() };
        inserts.push((request.mark, answer));
    }
    out.splice(inserts);
}

/// The time since `began` does not count where there was somebody to answer.
fn put_off(until: &mut Instant, began: Instant, answer: &[u8]) {
    if !is_nobodys(answer) {
        *until += began.elapsed();
    }
}

/// Whether an answer says that there is nobody to give one.
fn is_nobodys(answer: &[u8]) -> bool {
    answer.starts_with(NOBODY)
        || answer.strip_prefix(MEMCACHED_ERROR).is_some_and(|rest| rest.starts_with(&NOBODY[1..]))
}

/// The answer to a request that was passed on as it stands, if it is here: those behind the first of a batch nearly always are.
fn at_once(request: &Forwarded, asked: &mut [Option<Asked>]) -> Option<Bytes> {
    let ([part], [Some((_, reply))], Merge::Only) = (&*request.parts, asked, request.merge) else {
        return None;
    };
    if request.is_silent || part.token != 0 {
        return None;
    }
    match Pin::new(reply).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(answer)) if !answer.starts_with(b"-NOSCRIPT ") => Some(answer),
        _ => None,
    }
}

/// Tells those who were asked that nobody waits for their answers any more.
pub(super) fn cancel(worker: &Worker, tokens: &[u64]) {
    for sender in worker.links.borrow().values() {
        for token in tokens {
            // A link that takes nothing is about to end, which ends the wait too.
            let _ = sender.try_send(kind::CANCEL, &token.to_le_bytes());
        }
    }
}

/// Tells those who were asked how the wait is to end that CLIENT UNBLOCK ends, should it; for ever.
pub(super) async fn pass_on_unblock(worker: &Worker, client: &ClientShared, tokens: &[u64]) {
    loop {
        let how = unblocked(client).await;
        for sender in worker.links.borrow().values() {
            for token in tokens {
                let mut payload = token.to_le_bytes().to_vec();
                payload.push(how as u8);
                let _ = sender.try_send(kind::UNBLOCK, &payload);
            }
        }
    }
}

/// How a wait at other nodes is to end, once CLIENT UNBLOCK says so.
pub(super) async fn unblocked(client: &ClientShared) -> Unblock {
    // The connection's task is woken for it.
    poll_fn(|_| client.take_unblock().map_or(Poll::Pending, Poll::Ready)).await
}

/// The version a part is asked for: answers that are merged are read first.
fn proto(request: &Forwarded) -> Proto {
    if request.merge == Merge::Only { request.proto } else { Proto::Resp2 }
}

fn node_of(map: &Metadata, part: &Part) -> Option<NodeId> {
    match part.target {
        Target::Node(node) => Some(node),
        Target::Partition(partition) => map.primary(partition),
        Target::Cover(cover) => {
            let shares = cover.by_primary(map);
            // Several are taken apart once they turn out to be (`resolve`).
            shares.into_keys().next().flatten()
        }
    }
}

/// Who is to be asked by the map as it is now.
fn asks(worker: &Worker, part: &Part) -> Option<NodeId> {
    node_of(&worker.state.cluster.map(), part)
}

/// Sends a part if that can be done without waiting.
fn ask_now(worker: &Worker, map: &Metadata, request: &Forwarded, part: &Part) -> Option<Asked> {
    let node = node_of(map, part)?;
    let links = worker.links.borrow();
    let sender = links.get(&node)?;
    Some((node, send(worker, sender, request, part).ok()?))
}

fn send(worker: &Worker, sender: &Sender, request: &Forwarded, part: &Part) -> Result<Reply, CallError> {
    let user = request.caller.user.as_ref().map_or(0, |user| user.name.len());
    if user > usize::from(u16::MAX) {
        return Err(CallError::Full);
    }
    let size = user + part.requests.iter().map(|args| args.as_args().extent() + 64).sum::<usize>();
    let kind = if part.token == 0 { kind::FORWARD } else { kind::BLOCKING };
    sender.try_request_with(kind, 8 + HEAD + size, |out| {
        if part.token != 0 {
            out.extend_from_slice(&part.token.to_le_bytes());
        }
        out.extend_from_slice(&(request.db as u32).to_le_bytes());
        out.extend_from_slice(&worker.state.cluster.version().to_le_bytes());
        out.push(u8::from(proto(request) == Proto::Resp3));
        out.push(match part.target {
            _ if part.is_memcached => MEMCACHED,
            _ if part.is_transaction => TRANSACTION,
            Target::Cover(_) => COVER,
            Target::Partition(_) | Target::Node(_) => 0,
        });
        let user = request.caller.user.as_ref().map_or(&b""[..], |user| &*user.name);
        let caller = &request.caller;
        let ways =
            [(caller.tracker.is_some(), TRACKS), (caller.no_touch, NO_TOUCH), (caller.imports, IMPORTS)];
        out.push(ways.into_iter().filter(|(has, _)| *has).map(|(_, way)| way).sum());
        out.extend_from_slice(&request.caller.client.to_le_bytes());
        out.extend_from_slice(&(user.len() as u16).to_le_bytes());
        out.extend_from_slice(user);
        if let Target::Cover(cover) = part.target {
            out.extend_from_slice(&cover.to_bytes());
        }
        match &*part.requests {
            [raw] if part.is_memcached => out.extend_from_slice(&raw.as_args()[0]),
            requests => requests.iter().for_each(|args| args.as_args().write_request(out)),
        }
    })
}

/// The answer to a part, wherever it comes from in the end. A script that who is asked does not know is sent along once it is found.
pub(super) async fn resolve(
    worker: &Rc<Worker>,
    client: &mut Client,
    request: &Forwarded,
    part: &Part,
    asked: Option<Asked>,
    until: Instant,
) -> Vec<u8> {
    let answer = resolve_as_it_stands(worker, client, request, part, asked, until).await;
    let digest = script::digest(part.requests[0].as_args()).filter(|_| answer.starts_with(b"-NOSCRIPT "));
    let Some(digest) = digest else { return answer };
    let Some(source) = find_script(worker, client, request, digest, until).await else {
        return answer;
    };
    let requests = vec![script::with_source(part.requests[0].as_args(), &source)];
    let part = Part { requests, places: Vec::new(), ..*part };
    resolve_as_it_stands(worker, client, request, &part, None, until).await
}

/// The script with a digest, if any node knows it.
pub(super) async fn find_script(
    worker: &Rc<Worker>,
    client: &mut Client,
    request: &Forwarded,
    digest: &[u8],
    until: Instant,
) -> Option<Vec<u8>> {
    if let Some(source) = own_script(worker, digest).await {
        return Some(source);
    }
    let cluster = &worker.state.cluster;
    for node in cluster.homes().into_iter().filter(|node| *node != cluster.me()) {
        let part = Part {
            target: Target::Node(node),
            requests: vec![OwnedArgs::from_iter([b"SCRIPT".as_slice(), b"SHOW", digest])],
            is_transaction: false,
            is_memcached: false,
            token: 0,
            is_repeatable: true,
            places: Vec::new(),
        };
        // Nobody is asked for long who may be gone.
        let asked = resolve_as_it_stands(worker, client, request, &part, None, until);
        let Ok(answer) = tokio::time::timeout(CONNECT, asked).await else { continue };
        if let Ok(Some((OwnedFrame::BulkString(source), _))) = decode_reply(&answer) {
            return Some(source);
        }
    }
    None
}

/// The script with a digest, if this node knows it.
pub(super) async fn own_script(worker: &Rc<Worker>, digest: &[u8]) -> Option<Vec<u8>> {
    loop {
        match script::source(&worker.state, digest) {
            Ok(source) => return source,
            Err(script::Busy) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

/// Within a transaction it is too late to find out that a script is not known: it takes those with it that this node knows.
async fn take_scripts_along(worker: &Rc<Worker>, part: &mut Part) {
    for args in part.requests.iter_mut().filter(|_| part.is_transaction) {
        if let Some(digest) = script::digest(args.as_args())
            && let Some(source) = own_script(worker, digest).await
        {
            *args = script::with_source(args.as_args(), &source);
        }
    }
}

async fn resolve_as_it_stands(
    worker: &Rc<Worker>,
    client: &mut Client,
    request: &Forwarded,
    part: &Part,
    mut asked: Option<Asked>,
    until: Instant,
) -> Vec<u8> {
    let cluster = &worker.state.cluster;
    let mut is_again = false;
    let mut pause = SOON;
    loop {
        if std::mem::replace(&mut is_again, true)
            && let Some(across) = scattered(worker, part)
        {
            return Box::pin(across::answer(worker, client, request, across, until)).await;
        }
        let seen = cluster.version();
        let answer = match asked.take() {
            Some(asked) => await_reply(worker, part, asked, seen).await,
            None => match asks(worker, part) {
                Some(node) if node == cluster.me() => match run_here(worker, client, request, part).await {
                    Some(answer) => return answer,
                    None => Err(CallError::Full),
                },
                Some(node) => match link(worker, node).await {
                    Some(sender) => match send(worker, &sender, request, part) {
                        Ok(reply) => await_reply(worker, part, (node, reply), seen).await,
                        Err(error) => Err(error),
                    },
                    None => Err(CallError::Full),
                },
                None => Err(CallError::Full),
            },
        };
        match answer {
            Ok(bytes) if part.token != 0 => match bytes.split_first() {
                Some((&ANSWERED, reply)) => return reply.to_vec(),
                Some((&SENT_ON, again)) => {
                    let Some(again) = read_request(again) else { return fail(client, part, UNKNOWN) };
                    let part = Part { requests: vec![again], places: Vec::new(), ..*part };
                    // It has been waiting; the deadline is for when nobody serves its keys.
                    let until = Instant::now() + DEADLINE;
                    return Box::pin(resolve_as_it_stands(worker, client, request, &part, None, until)).await;
                }
                _ => return fail(client, part, UNKNOWN),
            },
            Ok(bytes) => return bytes.to_vec(),
            Err(CallError::TooLarge(_)) => {
                return b"-ERR the request is too large to be passed on to another node\r\n".to_vec();
            }
            // Its keys may have come to lie apart.
            Err(CallError::Refused(_)) if part.places.len() > 1 => {
                return Box::pin(resolve_each(worker, client, request, part, until)).await;
            }
            Err(error) if error.is_harmless() || part.is_repeatable => {}
            Err(_) => return fail(client, part, UNKNOWN),
        }
        if Instant::now() > until {
            return fail(client, part, &nobody(worker, part));
        }
        let newer = std::future::poll_fn(|task| cluster.poll_newer(seen, task));
        let _ = tokio::time::timeout(pause, newer).await;
        pause = AGAIN.min(pause * 2);
        if let Target::Cover(cover) = part.target {
            let shares = cover.by_primary(&cluster.map());
            if shares.len() > 1 {
                let shares = shares.into_values();
                return Box::pin(resolve_shares(worker, client, request, part, shares, until)).await;
            }
        }
    }
}

/// A request as it is sent on links.
fn read_request(bytes: &[u8]) -> Option<OwnedArgs> {
    let mut parser = RequestParser::new();
    parser.parse(bytes, &Limits { authenticated: true, ..Limits::default() }).ok()??;
    Some(OwnedArgs::from(parser.args(bytes)))
}

/// The answer to a part on partitions that have come to be served by several nodes.
async fn resolve_shares(
    worker: &Rc<Worker>,
    client: &mut Client,
    request: &Forwarded,
    part: &Part,
    shares: impl Iterator<Item = Cover>,
    until: Instant,
) -> Vec<u8> {
    let mut answers = Vec::new();
    for share in shares {
        let requests = part.requests.clone();
        let one = Part { target: Target::Cover(share), requests, places: Vec::new(), ..*part };
        answers.push(resolve(worker, client, request, &one, None, until).await);
    }
    merge(request, proto(request), answers)
}

/// What a part is whose keys have come to be served by several nodes; nothing if they have not.
fn scattered(worker: &Worker, part: &Part) -> Option<Across> {
    if part.is_memcached || !part.places.is_empty() || !matches!(part.target, Target::Partition(_)) {
        return None;
    }
    let queue: Option<Vec<_>> =
        part.requests.iter().map(|args| Some((table::find(args.as_args()).ok()?, args.clone()))).collect();
    let queue = queue?;
    let across = match &*queue {
        [(row, args)] if !part.is_transaction => Across::single(row, args.as_args()),
        queue => Across::transaction(queue, Watching::default()),
    };
    let map = worker.state.cluster.map();
    let mut nodes = across.needed().keys.into_iter().map(|key| map.primary(partition_of(&key)));
    let first = nodes.next()?;
    nodes.any(|node| node != first).then_some(across)
}

/// The answer to a part of several keys, asked for key by key.
async fn resolve_each(
    worker: &Rc<Worker>,
    client: &mut Client,
    request: &Forwarded,
    part: &Part,
    until: Instant,
) -> Vec<u8> {
    if part.is_memcached {
        let parts = items::singly(part);
        let mut answers = Vec::with_capacity(parts.len());
        for one in &parts {
            answers.push(resolve(worker, client, request, one, None, until).await);
        }
        return items::merge(&parts, &answers);
    }
    let args = part.requests[0].as_args();
    let stride = (args.len() - 1) / part.places.len();
    let mut answers = Vec::with_capacity(part.places.len());
    for (at, place) in part.places.iter().enumerate() {
        let first = 1 + at * stride;
        let mut own = OwnedArgs::from(args.first(1));
        args.from(first).first(stride).iter().for_each(|arg| own.push(arg));
        let one = Part {
            target: Target::Partition(partition_of(&args[first])),
            requests: vec![own],
            places: vec![*place],
            ..*part
        };
        answers.push(resolve(worker, client, request, &one, None, until).await);
    }
    let Merge::Places(_) = request.merge else { return merge(request, proto(request), answers) };
    if let Some(error) = take_error(&mut answers) {
        return error;
    }
    // Each is an array of one, and they are in the order of this part's keys.
    let mut all = format!("*{}\r\n", answers.len()).into_bytes();
    for answer in &answers {
        all.extend_from_slice(answer.strip_prefix(b"*1\r\n").unwrap_or(answer));
    }
    all
}

/// An error as the client's protocol has it; the binary one of memcached has none for this.
fn fail(client: &mut Client, part: &Part, error: &[u8]) -> Vec<u8> {
    if !part.is_memcached {
        return error.to_vec();
    }
    let is_binary = part.requests[0].as_args()[0].first() == Some(&shoal_protocol::memcache::binary::MAGIC);
    if is_binary {
        client.closing = true;
        return Vec::new();
    }
    [MEMCACHED_ERROR, &error[1..]].concat()
}

/// What a client hears when nobody served the keys of a part for too long.
fn nobody(worker: &Worker, part: &Part) -> Vec<u8> {
    let partitions: Vec<u8> = match part.target {
        Target::Partition(partition) => vec![partition],
        Target::Cover(cover) => (0..=u8::MAX).filter(|partition| cover.has(*partition)).collect(),
        Target::Node(_) => Vec::new(),
    };
    nobody_serves(worker, &partitions)
}

/// What a client hears when nobody served some of `partitions` for too long.
pub(super) fn nobody_serves(worker: &Worker, partitions: &[u8]) -> Vec<u8> {
    let cluster = &worker.state.cluster;
    let map = cluster.map();
    let silent = partitions.iter().find(|partition| map.is_unserved(**partition));
    let why = match silent {
        _ if cluster.contact.search().is_some() => "this node waits to be let into its cluster".to_string(),
        _ if !cluster.has_lease() => "this node hears of no leader that most voters follow".to_string(),
        Some(partition) => {
            let holders = &map.partitions[usize::from(*partition)].in_sync;
            let names: Vec<String> = holders.iter().map(|node| map.name(*node)).collect();
            format!("all copies are at nodes that are down, {}", names.join(" and "))
        }
        None => "who serves them does not answer".to_string(),
    };
    [NOBODY, b": ", why.as_bytes(), b"; CLUSTER STATUS tells more\r\n"].concat()
}

/// The answer of the node that was asked, unless another takes its place before it answers: then it never will.
async fn await_reply(
    worker: &Worker,
    part: &Part,
    (asked, mut reply): Asked,
    mut seen: u64,
) -> Result<Bytes, CallError> {
    let cluster = &worker.state.cluster;
    loop {
        tokio::select! {
            biased;
            answer = &mut reply => return answer,
            () = poll_fn(|task| cluster.poll_newer(seen, task)) => {}
        }
        seen = cluster.version();
        let map = cluster.map();
        // A planned hand-over answers all it was asked; one that fell silent does not.
        let still_leads = |partition| map.primary(partition) == Some(asked);
        if !map.serves(asked) && !matches!(part.target, Target::Partition(p) if still_leads(p)) {
            return Err(CallError::Unknown(Arc::new(LinkError::Silent)));
        }
    }
}

/// Runs a part on this node; nothing if it does not serve the keys after all.
async fn run_here(
    worker: &Rc<Worker>,
    client: &mut Client,
    request: &Forwarded,
    part: &Part,
) -> Option<Vec<u8>> {
    let mut out = Output::new(proto(request));
    let db = std::mem::replace(&mut client.db, request.db);
    let was_peer = std::mem::replace(&mut client.is_peer, true);
    let multi = client.multi.take();
    let cover = match part.target {
        Target::Cover(cover) => Some(cover),
        Target::Partition(_) | Target::Node(_) => None,
    };
    client.cover = cover;
    let caching = client.tracking.as_ref().map(|tracked| tracked.caching);
    loop {
        if let Some(tracked) = &mut client.tracking {
            tracked.remember_if(request.caller.tracker.is_some());
        }
        // It may have been held for longer than a lease lasts.
        if !client.is_unsettled {
            client.tenure = worker.state.cluster.tenure();
        }
        let flow = {
            let mut scratch = worker.scratch.borrow_mut();
            scratch.clock.sync();
            let site = Site {
                state: &worker.state,
                stats: worker.stats(),
                client,
                out: &mut out,
                clock: &mut scratch.clock,
                pause: None,
            };
            if part.is_memcached {
                run_memcache::run_one(site, &part.requests[0].as_args()[0])
            } else {
                run(site, part.is_transaction, &part.requests)
            }
        };
        let flow = match flow {
            Flow::OnStack => run_as_guest(worker, client, request, part, &mut out).await,
            flow => flow,
        };
        if client.refused {
            break;
        }
        match flow {
            Flow::Next => break,
            Flow::Held => participant::released(&worker.state).await,
            _ => tokio::task::yield_now().await,
        }
    }
    (client.db, client.is_peer, client.multi, client.cover) = (db, was_peer, multi, None);
    if let (Some(tracked), Some(caching)) = (&mut client.tracking, caching) {
        tracked.caching = caching;
    }
    let refused = std::mem::take(&mut client.refused);
    (!refused).then(|| out.take_bytes())
}

/// Runs scripts, which may pause in their midst, on a stack of their own. Somebody stands for `client` there, who may be gone before they
/// end.
async fn run_as_guest(
    worker: &Rc<Worker>,
    client: &mut Client,
    request: &Forwarded,
    part: &Part,
    out: &mut Output,
) -> Flow {
    let mut guest = super::peer::guest(&worker.state);
    (guest.db, guest.known, guest.author) = (request.db, client.known, client.author);
    guest.user = Arc::clone(&client.user);
    (guest.no_touch, guest.imports) = (client.no_touch, client.imports);
    guest.tracking = request.caller.tracker.clone().map(|tracker| {
        let mut tracked = Tracked { tracker, caching: false };
        tracked.remember_if(true);
        tracked
    });
    let (node, is_transaction, requests) = (Rc::clone(worker), part.is_transaction, part.requests.clone());
    let mut reply = std::mem::take(out);
    let running = on_stack::run(Rc::clone(worker), move |scratch, pause| {
        scratch.clock.sync();
        let (state, stats, clock) = (&*node.state, node.stats(), &mut scratch.clock);
        let site = Site { state, stats, client: &mut guest, out: &mut reply, clock, pause: Some(pause) };
        let flow = run(site, is_transaction, &requests);
        (guest, reply, flow)
    });
    let (guest, reply, flow) = running.await;
    *out = reply;
    client.waits.append(guest.waits);
    client.asked.extend(guest.asked);
    client.is_unsettled |= guest.is_unsettled;
    client.refused |= guest.refused;
    flow
}

/// Runs the requests of a part.
pub(super) fn run(mut site: Site, is_transaction: bool, requests: &[OwnedArgs]) -> Flow {
    if !is_transaction {
        return requests.first().map_or(Flow::Next, |args| call::call(&mut site, args.as_args(), None));
    }
    let mut multi = Multi::default();
    for args in requests {
        match table::find(args.as_args()) {
            Ok(row) => multi.queue.push((row, args.clone())),
            Err(_) => multi.aborted = true,
        }
    }
    site.client.multi = Some(multi);
    let exec = OwnedArgs::from_iter([b"EXEC".as_slice()]);
    call::call(&mut site, exec.as_args(), None)
}

/// The link to `node`, made if there is none.
pub(super) async fn link(worker: &Rc<Worker>, node: NodeId) -> Option<Sender> {
    let _alone = worker.connecting.lock().await;
    if let Some(sender) = worker.links.borrow().get(&node)
        && sender.closed().is_none()
    {
        return Some(sender.clone());
    }
    let link = connect(worker, node).await?;
    let sender = link.sender();
    tokio::task::spawn_local(async move { link.run(|_, _| {}).await });
    worker.links.borrow_mut().insert(node, sender.clone());
    Some(sender)
}

/// A data link to `node`.
pub(super) async fn connect(worker: &Worker, node: NodeId) -> Option<Link> {
    let address = address_of(&worker.state.cluster.map(), node)?;
    let identity = worker.state.cluster.identity()?;
    let connecting = super::peer::connect(&address, Some(node), super::peer::Purpose::Data, &identity);
    match tokio::time::timeout(CONNECT, connecting).await {
        Ok(Ok(link)) => Some(link),
        Ok(Err(why)) => {
            tracing::debug!("no link to {address}: {why}");
            None
        }
        Err(_) => None,
    }
}

/// The first answer that is an error: that of one is the error of all.
fn take_error(answers: &mut Vec<Vec<u8>>) -> Option<Vec<u8>> {
    let at = answers.iter().position(|answer| answer.first() == Some(&b'-'))?;
    Some(answers.swap_remove(at))
}

/// One reply out of the answers to all parts.
fn merge(request: &Forwarded, proto: Proto, mut answers: Vec<Vec<u8>>) -> Vec<u8> {
    if request.merge == Merge::Only {
        return answers.pop().unwrap_or_default();
    }
    if request.merge == Merge::Items {
        return items::merge(&request.parts, &answers);
    }
    if request.merge == Merge::Success {
        return success(answers);
    }
    if let Some(error) = take_error(&mut answers) {
        return error;
    }
    let frames: Vec<OwnedFrame> =
        answers.iter().filter_map(|answer| Some(decode_reply(answer).ok()??.0)).collect();
    let mut out = Output::new(proto);
    match request.merge {
        Merge::Only | Merge::Same => out.raw(&answers.pop().unwrap_or_default()),
        Merge::Items | Merge::Success | Merge::Scan(_) => unreachable!("merged above"),
        Merge::Sum => out.int(frames.iter().filter_map(as_int).sum()),
        Merge::Any => match frames.iter().find_map(OwnedFrame::as_bytes) {
            Some(bytes) => out.bulk(bytes),
            None => out.null(),
        },
        Merge::Concat => {
            let all: Vec<&OwnedFrame> = frames.iter().flat_map(elements).collect();
            out.array(all.len());
            all.into_iter().for_each(|element| bulk(&mut out, Some(element)));
        }
        Merge::Union => {
            let mut all: Vec<&[u8]> =
                frames.iter().flat_map(elements).filter_map(OwnedFrame::as_bytes).collect();
            all.sort_unstable();
            all.dedup();
            out.array(all.len());
            all.into_iter().for_each(|element| out.bulk(element));
        }
        Merge::Greatest | Merge::Counts => {
            let first = frames.first().map_or(&[][..], elements);
            out.array(first.len());
            for (at, element) in first.iter().enumerate() {
                let numbers = frames.iter().filter_map(|frame| as_int(elements(frame).get(at)?));
                match (as_int(element), request.merge) {
                    (None, _) => bulk(&mut out, Some(element)),
                    (Some(_), Merge::Greatest) => out.int(numbers.max().unwrap_or_default()),
                    (Some(_), _) => out.int(numbers.sum()),
                }
            }
        }
        Merge::Places(count) => {
            let mut places: Vec<Option<&OwnedFrame>> = vec![None; count];
            for (part, frame) in request.parts.iter().zip(&frames) {
                for (place, element) in part.places.iter().zip(elements(frame)) {
                    places[*place] = Some(element);
                }
            }
            out.array(count);
            places.into_iter().for_each(|element| bulk(&mut out, element));
        }
    }
    out.take_bytes()
}

/// The first answer that is no error, else one that says more than that there is nothing to be done.
fn success(mut answers: Vec<Vec<u8>>) -> Vec<u8> {
    let is_error = |answer: &Vec<u8>| answer.first() == Some(&b'-');
    let says_little = |answer: &Vec<u8>| answer.starts_with(b"-NOTBUSY") || answer.starts_with(b"-NOSCRIPT");
    let best = answers.iter().position(|answer| !is_error(answer));
    let best = best.or_else(|| answers.iter().position(|answer| !says_little(answer)));
    answers.swap_remove(best.unwrap_or(0))
}

/// Goes on with a SCAN where the one who was asked has no more, until there are as many keys as are `wanted`.
async fn scan_on(
    worker: &Rc<Worker>,
    client: &mut Client,
    request: &Forwarded,
    wanted: usize,
    mut answers: Vec<Vec<u8>>,
    until: Instant,
) -> Vec<u8> {
    let mut answer = answers.pop().unwrap_or_default();
    let mut keys: Vec<OwnedFrame> = Vec::new();
    for step in 1.. {
        let Some((cursor, found)) = scanned(&answer) else { return answer };
        keys.extend(found);
        let partition = cursor.parse().ok().and_then(|cursor: u64| u8::try_from(cursor >> 32).ok());
        let Some(partition) = partition.filter(|_| cursor != "0" && keys.len() < wanted && step < SCAN_STEPS)
        else {
            let mut out = Output::new(request.proto);
            out.array(2);
            out.bulk(cursor.as_bytes());
            out.array(keys.len());
            keys.iter().for_each(|key| bulk(&mut out, Some(key)));
            return out.take_bytes();
        };
        let asked = request.parts[0].requests[0].as_args();
        let mut next = OwnedArgs::from_iter([&asked[0], cursor.as_bytes()]);
        asked.from(2).iter().for_each(|arg| next.push(arg));
        let target = Target::Partition(partition);
        let part = Part { target, requests: vec![next], places: Vec::new(), ..request.parts[0] };
        answer = resolve(worker, client, request, &part, None, until).await;
    }
    answer
}

/// The cursor and the keys that a SCAN answered.
fn scanned(answer: &[u8]) -> Option<(String, Vec<OwnedFrame>)> {
    match decode_reply(answer).ok()??.0 {
        OwnedFrame::Array(mut both) if both.len() == 2 => {
            let OwnedFrame::Array(keys) = both.pop()? else { return None };
            let cursor = String::from_utf8(both.pop()?.as_bytes()?.to_vec()).ok()?;
            Some((cursor, keys))
        }
        _ => None,
    }
}

fn as_int(frame: &OwnedFrame) -> Option<i64> {
    match frame {
        OwnedFrame::Integer(n) => Some(*n),
        _ => None,
    }
}

fn elements(frame: &OwnedFrame) -> &[OwnedFrame] {
    match frame {
        OwnedFrame::Array(elements) => elements,
        _ => &[],
    }
}

fn bulk(out: &mut Output, frame: Option<&OwnedFrame>) {
    match frame.and_then(OwnedFrame::as_bytes) {
        Some(bytes) => out.bulk(bytes),
        None => out.null(),
    }
}
