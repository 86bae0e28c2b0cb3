//! A connection's life: read, run every complete request, write once, wait.
//!
//! A connection lives and dies on its worker. While its turn lasts it works in the worker's buffers; what is left over (half
//! a request, replies the socket did not take) moves into its own. Nothing is awaited in between, and never with a lock held.
//!
//! Invariant: it never waits for input alone while it has output unsent.

use super::codec::{Codec, Protocol, Turn};
use super::stream::Stream;
use super::{ears, forward, mail, on_stack, settings};
use crate::command::blocking;
use crate::command::call::Site;
use crate::command::client::Client;
use crate::config::id;
use crate::state::State;
use crate::state::clients::{ClientShared, client_flag};
use crate::state::limits;
use crate::state::replication::Waits;
use crate::worker::{Scratch, Worker};
use shoal_protocol::resp::Output;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tokio::io::ReadBuf;
use tokio::time::{Sleep, timeout_at};

/// Slices handed to one `writev`.
const SLICES: usize = 64;
/// Bytes read from a client that waits before it is left to the kernel.
const SET_ASIDE: usize = 1 << 20;
/// Bytes of unread replies that a connection which has yet to log in may leave.
const STRANGER_OUTPUT: usize = 1024;
/// Own buffers above this size are given back once they are empty.
const KEEP: usize = 16 * 1024;

/// One connection.
pub struct Connection {
    worker: Rc<Worker>,
    stream: Stream,
    client: Client,
    codec: Codec,
    /// Input not yet run: half a request, or what came behind a request that waits.
    input: Vec<u8>,
    /// Replies the socket did not take yet.
    output: Output,
    /// Rings when the time of a waiting request, or of the pause that holds one, is up.
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether CLIENT PAUSE holds the next request.
    held: bool,
    /// Whether the next request was held, and is about to be run.
    released: bool,
    /// Whether nothing is run before the output is sent.
    full: bool,
    /// What mail wakes.
    waker: Option<Waker>,
    /// How the last turn ended, if what follows from it is still to be done.
    next: Option<Turn>,
    /// How the turn ended whose output waits for other nodes.
    after: Turn,
}

/// Why [`Connection::turns`] ended.
enum End {
    Closed,
    /// A request wants to be run on a stack of its own.
    OnStack,
}

/// What ended a wait.
enum Event {
    /// So many bytes were read, into the worker's buffer or behind `input`.
    Read(usize, Into),
    Writable,
    Mail,
    TimeUp,
    /// The pause is over.
    Released,
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Into {
    Scratch,
    Own,
}

impl Connection {
    /// A connection just accepted.
    pub fn new(worker: Rc<Worker>, stream: Stream, protocol: Protocol, client: Client) -> Connection {
        Connection {
            worker,
            stream,
            client,
            codec: Codec::new(protocol),
            input: Vec::new(),
            output: Output::default(),
            timer: None,
            held: false,
            released: false,
            full: false,
            waker: None,
            next: None,
            after: Turn::Done,
        }
    }

    /// Serves the connection until it ends.
    pub async fn serve(mut self) {
        self.account();
        let mut this = Box::new(self);
        loop {
            match this.turns().await {
                Ok(End::OnStack) => {}
                Ok(End::Closed) | Err(_) => return,
            }
            let turns = on_stack::run(Rc::clone(&this.worker), move |scratch, pause| {
                let turn = this.turn_with_pause(scratch, pause);
                (this, turn)
            });
            let (back, turn) = turns.await;
            this = back;
            let Ok(turn) = turn else { return };
            this.next = Some(turn);
        }
    }

    /// Serves the connection until it ends, or until a request wants a stack of its own.
    async fn turns(&mut self) -> io::Result<End> {
        loop {
            if let Some(turn) = self.next.take() {
                match self.finish(turn).await? {
                    Some(end) => return Ok(end),
                    None => continue,
                }
            }
            let event = poll_fn(|task| self.poll_event(task)).await?;
            let turn = match event {
                Event::Closed => return Ok(End::Closed),
                Event::Writable => self.send_on(),
                Event::Mail => self.deliver(),
                Event::TimeUp => self.give_up_waiting(),
                Event::Released => self.release(),
                Event::Read(len, into) if self.waits() => self.set_aside(len, into),
                Event::Read(len, into) => self.turn(len, into),
            };
            if let Some(end) = self.finish(turn?).await? {
                return Ok(end);
            }
        }
    }

    /// Does what is due after a turn that ended so.
    async fn finish(&mut self, mut turn: Turn) -> io::Result<Option<End>> {
        loop {
            match turn {
                Turn::Again | Turn::Held => {
                    if turn == Turn::Held {
                        super::participant::released(&self.worker.state).await;
                    } else {
                        tokio::task::yield_now().await;
                    }
                    // What making room for the request has to tell comes before its reply.
                    if self.client.shared.has_mail() {
                        let (state, stats) = (&self.worker.state, self.worker.stats());
                        mail::open(state, stats, &mut self.client, &mut self.output);
                    }
                    turn = if self.client.killed { Turn::Close } else { self.turn(0, Into::Own)? };
                    if self.released && !matches!(turn, Turn::Again | Turn::Held) {
                        self.has_gone_on();
                    }
                }
                Turn::Settle => turn = self.settle().await?,
                _ => break,
            }
        }
        if let Some(counting) = self.client.counting.take()
            && let Some(blocked) = &self.client.blocked
        {
            let (worker, waiter) = (Rc::clone(&self.worker), Arc::clone(&blocked.waiter));
            let written = self.client.written;
            tokio::task::spawn_local(super::counting::answer(worker, waiter, counting, written));
        }
        match turn {
            Turn::Close if self.client.killed => return Ok(Some(End::Closed)),
            Turn::Close => {
                self.drain().await?;
                return Ok(Some(End::Closed));
            }
            Turn::OnStack => return Ok(Some(End::OnStack)),
            Turn::Hold => self.hold(),
            Turn::Full => self.full = true,
            Turn::Done | Turn::Again | Turn::Held | Turn::Settle => {}
        }
        Ok(None)
    }

    fn poll_event(&mut self, task: &mut Context<'_>) -> Poll<io::Result<Event>> {
        self.leave_waker(task);
        if self.client.shared.has_mail() {
            return Poll::Ready(Ok(Event::Mail));
        }
        if !self.output.is_empty() && self.stream.poll_write_ready(task)?.is_ready() {
            return Poll::Ready(Ok(Event::Writable));
        }
        if self.held && self.poll_pause(task).is_ready() {
            return Poll::Ready(Ok(Event::Released));
        }
        if self.waits() {
            if self.client.blocked.is_some() && self.poll_timer(task).is_ready() {
                return Poll::Ready(Ok(Event::TimeUp));
            }
            // Reading on is how a client is found to be gone; but not without bound. One that sends all its requests before
            // it reads a reply must be let finish.
            if self.input.len() >= SET_ASIDE && !self.full {
                return Poll::Pending;
            }
        }
        let (len, into) = if self.input.is_empty() {
            let mut scratch = self.worker.scratch.borrow_mut();
            let mut buf = ReadBuf::new(&mut scratch.input);
            std::task::ready!(self.stream.poll_read(task, &mut buf))?;
            (buf.filled().len(), Into::Scratch)
        } else {
            let start = self.input.len();
            // Not twice the room of what is there: half of a long request would count for a whole one. Nor more than it needs, in however
            // many pieces it comes.
            let (missing, spare) = (self.codec.missing(), self.input.capacity() - start);
            if spare == 0 || spare < missing {
                self.input.reserve_exact(missing.clamp(KEEP, 64 << 20).max(start / 8));
            }
            let mut buf = ReadBuf::uninit(self.input.spare_capacity_mut());
            std::task::ready!(self.stream.poll_read(task, &mut buf))?;
            let len = buf.filled().len();
            // SAFETY: `filled` are bytes that the read initialised, right behind the first `start`.
            unsafe { self.input.set_len(start + len) };
            (len, Into::Own)
        };
        Poll::Ready(Ok(if len == 0 { Event::Closed } else { Event::Read(len, into) }))
    }

    /// Has mail wake the task. It is the same task for all of its life, so this is done once, not at every turn.
    fn leave_waker(&mut self, task: &Context<'_>) {
        let waker = task.waker();
        if !self.waker.as_ref().is_some_and(|left| left.will_wake(waker)) {
            self.client.shared.wake_with(waker);
            self.waker = Some(waker.clone());
        }
    }

    /// Whether requests are to be set aside, not run.
    fn waits(&self) -> bool {
        self.held || self.full || self.client.blocked.is_some()
    }

    /// Begins to hold the next request until the pause is over.
    fn hold(&mut self) {
        self.held = true;
        self.client.shared.set_flag(client_flag::HELD, true);
        self.worker.state.pause.hold(&self.client.shared);
        self.worker.state.clients.blocked.fetch_add(1, Ordering::Relaxed);
    }

    fn let_go(&mut self) {
        if std::mem::take(&mut self.held) {
            self.timer = None;
            self.client.shared.set_flag(client_flag::HELD, false);
            self.worker.state.clients.blocked.fetch_sub(1, Ordering::Relaxed);
            self.released = true;
        }
    }

    /// The request that was held has been run, or will never be.
    fn has_gone_on(&mut self) {
        if std::mem::take(&mut self.released) && !self.held {
            self.worker.state.pause.release(self.client.shared.id);
        }
    }

    /// Ready when the pause is over.
    fn poll_pause(&mut self, task: &mut Context<'_>) -> Poll<()> {
        let now_ms = crate::state::unix_ms();
        let Some((_, until_ms)) = self.worker.state.pause.at(now_ms) else { return Poll::Ready(()) };
        let left = std::time::Duration::from_millis((until_ms - now_ms) as u64);
        let timer = self.timer.insert(Box::pin(tokio::time::sleep(left)));
        timer.as_mut().poll(task)
    }

    /// Goes on with the request that was held.
    fn release(&mut self) -> io::Result<Turn> {
        self.let_go();
        Ok(Turn::Again)
    }

    /// Ready when the time of the waiting request is up.
    fn poll_timer(&mut self, task: &mut Context<'_>) -> Poll<()> {
        let deadline = self.client.blocked.as_ref().and_then(|blocked| blocked.deadline);
        let Some(deadline) = deadline else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        timer.as_mut().poll(task)
    }

    /// Ends a wait whose time is up.
    fn give_up_waiting(&mut self) -> io::Result<Turn> {
        self.timer = None;
        let Some(nothing) = self.client.blocked.as_ref().map(|blocked| blocked.nothing) else {
            return Ok(Turn::Done);
        };
        if !blocking::give_up(&self.worker.state, self.worker.stats(), &mut self.client) {
            // It is being served this very moment: look again soon, unless the reply is here first.
            let soon = tokio::time::sleep(std::time::Duration::from_millis(1));
            self.timer = Some(Box::pin(soon));
            return Ok(Turn::Done);
        }
        nothing.reply(&mut self.output);
        self.resume()
    }

    /// Sends what is due, and goes on with the input set aside unless the connection still waits.
    fn resume(&mut self) -> io::Result<Turn> {
        if let Some(request) = self.client.again.take() {
            let rest = std::mem::take(&mut self.input);
            request.as_args().write_request(&mut self.input);
            self.input.extend_from_slice(&rest);
        }
        let turn = self.send_on()?;
        if self.waits() {
            return Ok(turn);
        }
        self.timer = None;
        Ok(if turn == Turn::Done && !self.input.is_empty() { Turn::Again } else { turn })
    }

    /// Keeps what a waiting client sends for later.
    fn set_aside(&mut self, len: usize, into: Into) -> io::Result<Turn> {
        if into == Into::Scratch {
            self.input.extend_from_slice(&self.worker.scratch.borrow().input[..len]);
        }
        self.note_input(len);
        self.account();
        Ok(if self.has_sent_too_much(0) { self.kill() } else { Turn::Done })
    }

    fn note_input(&self, len: usize) {
        let (stats, figures) = (self.worker.stats(), &self.client.shared.figures);
        stats.input_bytes.add(len as u64);
        stats.reads.add(1);
        let before = figures.net_in.load(Ordering::Relaxed);
        figures.net_in.store(before + len as u64, Ordering::Relaxed);
    }

    /// Whether `client-query-buffer-limit` is passed with `more` bytes of input.
    fn has_sent_too_much(&self, more: usize) -> bool {
        let queued = self.client.multi.as_ref().map_or(0, |multi| multi.bytes);
        let limit = self.worker.state.config.size(id::CLIENT_QUERY_BUFFER_LIMIT);
        let too_much = self.input.len() + more + queued > limit;
        if too_much {
            self.worker.stats().input_limit_disconnections.add(1);
            let shared = &self.client.shared;
            tracing::warn!(
                "closing client {} ({}) that reached max query buffer length",
                shared.id,
                shared.addr
            );
        }
        too_much
    }

    /// Whether more replies are unread than the connection's class allows.
    fn is_over_output_limit(&self) -> bool {
        let (state, shared) = (&self.worker.state, &self.client.shared);
        let now_ms = shared.active_ms.load(Ordering::Relaxed);
        let over = limits::overflows(state, shared, self.output.len(), now_ms);
        if over {
            limits::note_overflow(self.worker.stats(), shared, self.output.len());
        }
        over
    }

    fn kill(&mut self) -> Turn {
        self.client.killed = true;
        self.client.closing = true;
        Turn::Close
    }

    /// Tells what others may want to know of it, and what memory it uses.
    fn account(&mut self) {
        let figures = &self.client.shared.figures;
        figures.input.store(self.input.len().saturating_sub(self.codec.parsed()), Ordering::Relaxed);
        figures.input_spare.store(self.input.capacity() - self.input.len(), Ordering::Relaxed);
        figures.output.store(self.output.len(), Ordering::Relaxed);
        let buffers = self.input.capacity() + self.output.memory().max(self.output.len());
        let bytes = size_of::<Connection>() + size_of::<ClientShared>() + buffers + self.client.memory();
        limits::account(&self.worker.state, self.worker.stats(), &self.client.shared, bytes);
    }

    /// Runs what has been read and sends the replies.
    fn turn(&mut self, len: usize, into: Into) -> io::Result<Turn> {
        let worker = Rc::clone(&self.worker);
        self.turn_in(&mut worker.scratch.borrow_mut(), len, into, None)
    }

    /// Runs what has been set aside where it can be paused.
    fn turn_with_pause(&mut self, scratch: &mut Scratch, pause: &dyn Fn()) -> io::Result<Turn> {
        self.turn_in(scratch, 0, Into::Own, Some(pause))
    }

    fn turn_in(
        &mut self,
        scratch: &mut Scratch,
        len: usize,
        into: Into,
        pause: Option<&dyn Fn()>,
    ) -> io::Result<Turn> {
        let worker = Rc::clone(&self.worker);
        let Scratch { input, output, clock, ahead } = scratch;
        clock.sync();
        if !self.client.is_unsettled {
            self.client.tenure = worker.state.cluster.tenure();
        }
        let shared = &self.client.shared;
        shared.active_ms.store(clock.unix_ms, Ordering::Relaxed);
        if len > 0 {
            self.note_input(len);
        }
        if self.has_sent_too_much(if into == Into::Own { 0 } else { len }) {
            return Ok(self.kill());
        }
        // Replies go behind what is still unsent, else into the worker's buffer.
        if self.output.is_empty() {
            output.proto = self.output.proto;
            std::mem::swap(&mut self.output, output);
        }
        let own = std::mem::take(&mut self.input);
        // Into its own buffer more may be read at once than the scratch buffer holds.
        let fresh = if into == Into::Own { &[][..] } else { &input[..len] };
        let bytes = if into == Into::Own { &own[..] } else { fresh };
        let (state, stats) = (&*worker.state, worker.stats());
        let mut site = Site { state, stats, client: &mut self.client, out: &mut self.output, clock, pause };
        let (consumed, turn) = self.codec.run(&mut site, ahead, bytes);
        self.keep(own, fresh, consumed, into);
        if self.input.is_empty() {
            self.codec.shrink(KEEP);
        }
        if self.is_over_output_limit() {
            return Ok(self.kill());
        }
        if !self.is_settled() {
            self.after = turn;
            return Ok(Turn::Settle);
        }
        let flushed = self.flush()?;
        if self.output.len() > STRANGER_OUTPUT && self.client.needs_login() {
            return Ok(self.kill());
        }
        if self.output.is_empty() {
            output.clear();
            output.proto = self.output.proto;
            std::mem::swap(&mut self.output, output);
        }
        self.account();
        Ok(match turn {
            Turn::Done => flushed,
            Turn::Full if self.output.is_empty() => Turn::Again,
            Turn::Full
            | Turn::Again
            | Turn::Held
            | Turn::Hold
            | Turn::OnStack
            | Turn::Settle
            | Turn::Close => turn,
        })
    }

    /// Keeps the input that was not run.
    fn keep(&mut self, mut own: Vec<u8>, scratch: &[u8], consumed: usize, into: Into) {
        if into == Into::Scratch {
            self.input.extend_from_slice(&scratch[consumed..]);
            return;
        }
        if consumed == own.len() {
            own.clear();
            if own.capacity() > KEEP {
                own = Vec::new();
            }
        } else if consumed > 0 {
            own.drain(..consumed);
        }
        self.input = own;
    }

    /// Whether the output may be sent: no other node has a part in it, or all have done theirs.
    #[inline]
    fn is_settled(&self) -> bool {
        !self.worker.state.cluster.is_on()
            || (self.client.waits.is_empty()
                && self.client.forwarded.is_empty()
                && self.client.asked.is_empty()
                && self.client.interest.is_none()
                && !self.client.is_unsettled)
    }

    /// Whether what was read since this was last asked was read while this node served it: it did if it still does. This is asked before
    /// anything is waited for, as what arrives later says nothing of what was served elsewhere by then.
    fn read_in_time(&mut self) -> bool {
        let cluster = &self.worker.state.cluster;
        let in_time =
            !std::mem::take(&mut self.client.is_unsettled) || cluster.has_lease_since(self.client.tenure);
        self.client.tenure = cluster.tenure();
        in_time
    }

    /// Waits for other nodes, then sends the output and goes on as the turn ended.
    async fn settle(&mut self) -> io::Result<Turn> {
        let was_in_time = self.read_in_time();
        let mut until = Instant::now() + forward::DEADLINE;
        if !self.client.forwarded.is_empty() {
            let parts = self.client.forwarded.iter().flat_map(|request| &request.parts);
            let tokens: Vec<u64> = parts.map(|part| part.token).filter(|token| *token != 0).collect();
            let mut across = self.client.forwarded.iter().filter_map(|request| request.across.as_ref());
            let may_wait = across.any(|across| across.may_wait());
            let shared = Arc::clone(&self.client.shared);
            let answered = forward::answer(&self.worker, &mut self.client, &mut self.output, &mut until);
            if tokens.is_empty() && !may_wait {
                answered.await;
            } else {
                // What may wait for long ends with its client.
                let is_there = {
                    let _waits = WaitElsewhere::begin(&self.worker.state, &shared);
                    tokio::select! {
                        () = answered => true,
                        () = until_closed(&mut self.stream, &mut self.input) => false,
                        () = forward::pass_on_unblock(&self.worker, &shared, &tokens), if !may_wait => true,
                    }
                };
                if !is_there {
                    forward::cancel(&self.worker, &tokens);
                    return Ok(self.kill());
                }
            }
        }
        if self.client.killed {
            return Ok(self.kill());
        }
        // What was answered in the place of others was read later.
        let in_time = was_in_time && self.read_in_time();
        let asked = std::mem::take(&mut self.client.asked);
        let agreed = asked.is_empty() || settings::agreed(&self.worker, asked).await;
        if let Some(version) = self.client.interest.take() {
            ears::told(&self.worker, version).await;
        }
        let waits = &mut self.client.waits;
        // Who does not keep up is cut off long before, unless most voters are gone.
        let arriving = timeout_at(until.into(), poll_fn(|task| waits.poll(task)));
        let arrived = if agreed { arriving.await.ok() } else { None };
        if arrived != Some(true) || !in_time {
            self.client.waits = Waits::default();
            self.output.clear();
            self.output.raw(if arrived.is_none() { forward::UNCONFIRMED } else { forward::UNKNOWN });
            self.client.closing = true;
        }
        let after = std::mem::replace(&mut self.after, Turn::Done);
        let flushed = self.flush()?;
        Ok(match after {
            Turn::Done | Turn::Settle => flushed,
            Turn::Full if self.output.is_empty() => Turn::Again,
            _ if self.client.closing => Turn::Close,
            after => after,
        })
    }

    /// Sends what the socket takes. What others may look up is told first: who has read the reply may ask for it.
    fn flush(&mut self) -> io::Result<Turn> {
        self.client.tell_figures();
        if !self.is_settled() {
            return Ok(Turn::Settle);
        }
        while !self.output.is_empty() {
            let net_out = &self.client.shared.figures.net_out;
            let (before, due) = (net_out.load(Ordering::Relaxed), self.output.len());
            net_out.store(before + due as u64, Ordering::Relaxed);
            let written = self.write();
            let sent = *written.as_ref().unwrap_or(&0);
            if sent < due {
                net_out.store(before + sent as u64, Ordering::Relaxed);
            }
            match written {
                Ok(sent) => {
                    let stats = self.worker.stats();
                    stats.output_bytes.add(sent as u64);
                    stats.writes.add(1);
                    self.output.advance(sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(if self.client.closing { Turn::Close } else { Turn::Done })
    }

    /// Writes what the socket takes at once. One piece, as nearly all replies are, costs the kernel less by a plain `send`.
    fn write(&self) -> io::Result<usize> {
        match self.output.contiguous() {
            Some(bytes) => self.stream.try_write(bytes),
            None => self.write_pieces(),
        }
    }

    #[cold]
    fn write_pieces(&self) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = self.output.io_slices(&mut slices);
        self.stream.try_write_vectored(&slices[..count])
    }

    /// Sends more, and goes on with what had to wait for that.
    fn send_on(&mut self) -> io::Result<Turn> {
        let turn = self.flush()?;
        self.client.shared.figures.output.store(self.output.len(), Ordering::Relaxed);
        if turn == Turn::Done && self.full && self.output.is_empty() {
            self.full = false;
            return Ok(Turn::Again);
        }
        Ok(turn)
    }

    /// Sends what came by mail.
    fn deliver(&mut self) -> io::Result<Turn> {
        mail::open(&self.worker.state, self.worker.stats(), &mut self.client, &mut self.output);
        if self.client.killed || self.is_over_output_limit() {
            return Ok(self.kill());
        }
        let turn = self.resume()?;
        self.account();
        Ok(turn)
    }

    /// Sends the last replies of a connection that is closed by us, as far as the client takes them in time.
    async fn drain(&mut self) -> io::Result<()> {
        let send = async {
            while !self.output.is_empty() {
                self.stream.writable().await?;
                let _ = self.flush()?;
            }
            Ok(())
        };
        tokio::time::timeout(std::time::Duration::from_secs(5), send).await.unwrap_or(Ok(()))
    }
}

/// A connection whose request may be waiting for a key at other nodes.
struct WaitElsewhere<'a> {
    state: &'a State,
    client: &'a ClientShared,
}

impl<'a> WaitElsewhere<'a> {
    fn begin(state: &'a State, client: &'a ClientShared) -> WaitElsewhere<'a> {
        client.set_flag(client_flag::WAITS_ELSEWHERE, true);
        state.clients.blocked.fetch_add(1, Ordering::Relaxed);
        WaitElsewhere { state, client }
    }
}

impl Drop for WaitElsewhere<'_> {
    fn drop(&mut self) {
        self.client.set_flag(client_flag::WAITS_ELSEWHERE, false);
        // What came too late is not for the next request that waits.
        let _ = self.client.take_unblock();
        self.state.clients.blocked.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads on behind `input` until the client is gone, or more is there than is kept aside.
async fn until_closed(stream: &mut Stream, input: &mut Vec<u8>) {
    while input.len() < SET_ASIDE {
        input.reserve(KEEP);
        let start = input.len();
        let read = poll_fn(|task| {
            let mut buf = ReadBuf::uninit(input.spare_capacity_mut());
            stream.poll_read(task, &mut buf).map_ok(|()| buf.filled().len())
        });
        match read.await {
            Ok(len @ 1..) => {
                // SAFETY: the read initialised `len` bytes right behind the first `start`.
                unsafe { input.set_len(start + len) };
            }
            _ => return,
        }
    }
    std::future::pending().await
}

/// However it ends, by a panic in a command too, nobody may go on reckoning with it.
impl Drop for Connection {
    fn drop(&mut self) {
        while !blocking::cancel(&self.worker.state, &mut self.client) {
            // It is being served this very moment, which takes microseconds.
            mail::open(&self.worker.state, self.worker.stats(), &mut self.client, &mut self.output);
            std::thread::yield_now();
        }
        self.let_go();
        self.has_gone_on();
        self.worker.state.monitors.remove(&self.client.shared);
        crate::command::transaction::leave(&self.worker.state, &mut self.client);
        crate::command::tracking::stop(&self.worker.state, &mut self.client);
        crate::command::pubsub::leave_all(&self.worker.state, &mut self.client);
        limits::account(&self.worker.state, self.worker.stats(), &self.client.shared, 0);
        self.worker.state.clients.remove(self.client.shared.id);
    }
}
