//! What waits to go out on a link, and the requests whose answers are awaited.
//!
//! Idea: one buffer and one table of requests per link, behind one lock that is held for nanoseconds; a [`Sender`] fills
//! them from any task, the link's own task empties them. All that is appended before that task runs leaves in one write. A
//! request costs no allocation, no task and no timer.
//!
//! Every frame's place in the stream is known, and how far the kernel has taken the stream. So when the link
//! ends, a request is either certain never to have left ([`CallError::NotSent`]), or of unknown outcome.
//!
//! Invariant: a slot is taken by exactly one [`Reply`], which gives it back when it is dropped; an id is never used twice, so
//! an answer that comes too late answers nothing.

use super::frame::{self, FIRST_OWN_KIND, REFUSAL, REPLY, TooLarge};
use super::{LinkError, Peer};
use bytes::Bytes;
use parking_lot::Mutex;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::Notify;

/// Bounds of a link.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that may wait to be sent before requests have to wait. Larger frames go one at a time.
    pub queue: usize,
    /// Requests that may await their answers.
    pub in_flight: usize,
    /// After so much silence the peer is asked for a sign of life.
    pub ping: Duration,
    /// After so much silence the link ends. A peer whose thread is busy that long counts as silent.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            queue: 4 << 20,
            in_flight: 1 << 16,
            ping: Duration::from_millis(500),
            silence: Duration::from_secs(5),
        }
    }
}

/// Why a request has no answer.
#[derive(Clone, Debug)]
pub enum CallError {
    /// The peer has not seen it and never will: it may be sent elsewhere.
    NotSent(Arc<LinkError>),
    /// It left, whole, and the link ended: whether it was carried out is unknown.
    Unknown(Arc<LinkError>),
    /// The queue is full: try again, or wait with [`Sender::request`]. Nothing was sent.
    Full,
    /// It is larger than a frame of its kind may be. Nothing was sent.
    TooLarge(TooLarge),
    /// The peer says that it did not carry it out, and why.
    Refused(Bytes),
}

impl CallError {
    /// Whether it is certain that the peer did not carry the request out.
    pub fn is_harmless(&self) -> bool {
        !matches!(self, CallError::Unknown(_))
    }
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CallError::NotSent(why) => write!(f, "not sent: {why}"),
            CallError::Unknown(why) => write!(f, "outcome unknown: {why}"),
            CallError::Full => f.write_str("too much waits to be sent"),
            CallError::TooLarge(what) => what.fmt(f),
            CallError::Refused(why) => write!(f, "refused: {}", String::from_utf8_lossy(why)),
        }
    }
}

impl std::error::Error for CallError {}

/// The sending side of a link. Cheap to clone; usable from any task and any thread.
#[derive(Clone)]
pub struct Sender {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    peer: Peer,
    limits: Limits,
    state: Mutex<State>,
    /// There is room again.
    room: Notify,
}

struct State {
    /// Frames the link's task has not fetched.
    out: Vec<u8>,
    /// The stream's length up to the end of `out`.
    appended: u64,
    /// How much of the stream the kernel has taken.
    written: u64,
    /// Bytes of answers appended, and how many of them have been written.
    answers: u64,
    answers_written: u64,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Somebody waits for room.
    starved: bool,
    closed: Option<Arc<LinkError>>,
    task: Option<Waker>,
}

struct Slot {
    /// The upper half of the ids of its requests.
    generation: u32,
    /// Where in the stream its request ends.
    end: u64,
    answer: Answer,
}

enum Answer {
    Free,
    Awaited(Option<Waker>),
    Here(Result<Bytes, CallError>),
}

/// The answer to a request. Dropped, the answer is no longer wanted; the request is carried out all the same.
pub struct Reply {
    shared: Arc<Shared>,
    slot: u32,
}

impl Sender {
    pub(super) fn new(peer: Peer, limits: Limits) -> Sender {
        let state = State {
            out: Vec::new(),
            appended: 0,
            written: 0,
            answers: 0,
            answers_written: 0,
            slots: Vec::new(),
            free: Vec::new(),
            starved: false,
            closed: None,
            task: None,
        };
        Sender { shared: Arc::new(Shared { peer, limits, state: Mutex::new(state), room: Notify::new() }) }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.shared.peer
    }

    /// Queues a request now, in the order of the calls; the answer is awaited in the [`Reply`]. `kind` lies below
    /// [`FIRST_OWN_KIND`]. Fails with anything but [`CallError::Unknown`] and [`CallError::Refused`].
    pub fn try_request(&self, kind: u8, payload: &[u8]) -> Result<Reply, CallError> {
        self.try_request_with(kind, payload.len(), |out| out.extend_from_slice(payload))
    }

    /// [`Sender::try_request`] with a payload that `fill` appends to the output, of about `size` bytes. `fill` must only append,
    /// and runs under the link's lock.
    pub fn try_request_with(
        &self,
        kind: u8,
        size: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Reply, CallError> {
        debug_assert!(kind < FIRST_OWN_KIND, "kind {kind} belongs to the link");
        let mut state = self.shared.state.lock();
        self.shared.check_room(&state, size, true)?;
        let slot = state.free.last().copied().unwrap_or(state.slots.len() as u32);
        let generation = state.slots.get(slot as usize).map_or(0, |slot| slot.generation);
        // Never 0, which wants no answer.
        let id = u64::from(generation) << 32 | (u64::from(slot) + 1);
        let wake = state.append(kind, id, fill)?;
        let taken = Slot { generation, end: state.appended, answer: Answer::Awaited(None) };
        match state.free.pop() {
            Some(_) => state.slots[slot as usize] = taken,
            None => state.slots.push(taken),
        }
        drop(state);
        wake_up(wake);
        Ok(Reply { shared: Arc::clone(&self.shared), slot })
    }

    /// Sends a request, waiting for room if need be, and awaits the answer.
    pub async fn request(&self, kind: u8, payload: &[u8]) -> Result<Bytes, CallError> {
        loop {
            match self.try_request(kind, payload) {
                Ok(reply) => return reply.await,
                Err(CallError::Full) => self.room(payload.len(), true).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Queues a message that wants no answer; whether it arrives stays unknown.
    pub fn try_send(&self, kind: u8, payload: &[u8]) -> Result<(), CallError> {
        debug_assert!(kind < FIRST_OWN_KIND, "kind {kind} belongs to the link");
        let mut state = self.shared.state.lock();
        self.shared.check_room(&state, payload.len(), false)?;
        let wake = state.append(kind, 0, |out| out.extend_from_slice(payload))?;
        drop(state);
        wake_up(wake);
        Ok(())
    }

    /// Queues a message that wants no answer, waiting for room if need be.
    pub async fn send(&self, kind: u8, payload: &[u8]) -> Result<(), CallError> {
        loop {
            match self.try_send(kind, payload) {
                Err(CallError::Full) => self.room(payload.len(), false).await,
                done => return done,
            }
        }
    }

    /// Answers the peer's request `id`; does nothing if that is 0 or the link has ended. Never waits: while answers pile up
    /// because the peer does not read them, no more of its requests are read. An answer larger than
    /// [`frame::BULK_LIMIT`] becomes a refusal.
    pub fn reply(&self, id: u64, payload: &[u8]) {
        self.reply_with(id, |out| out.extend_from_slice(payload));
    }

    /// [`Sender::reply`] with a payload that `fill` appends to the output; it must only append, and runs under the link's lock.
    pub fn reply_with(&self, id: u64, fill: impl FnOnce(&mut Vec<u8>)) {
        self.answer(REPLY, id, fill);
    }

    /// Tells the peer that its request `id` was not carried out, and why.
    pub fn refuse(&self, id: u64, why: &str) {
        self.answer(REFUSAL, id, |out| out.extend_from_slice(why.as_bytes()));
    }

    fn answer(&self, kind: u8, id: u64, fill: impl FnOnce(&mut Vec<u8>)) {
        if id == 0 {
            return;
        }
        let mut state = self.shared.state.lock();
        if state.closed.is_some() {
            return;
        }
        let before = state.appended;
        let mut wake = state.append(kind, id, fill);
        if wake.is_err() {
            wake = state.append(REFUSAL, id, |out| out.extend_from_slice(b"the answer is too large"));
        }
        state.answers += state.appended - before;
        drop(state);
        wake_up(wake.ok().flatten());
    }

    /// Ends the link, from this side: what awaits an answer gets an error at once.
    pub fn close(&self) {
        self.shared.close(LinkError::Closed);
    }

    /// Whether the link has ended, and why.
    pub fn closed(&self) -> Option<Arc<LinkError>> {
        self.shared.state.lock().closed.clone()
    }

    /// Requests that await their answers.
    pub fn in_flight(&self) -> usize {
        let state = self.shared.state.lock();
        state.slots.len() - state.free.len()
    }

    /// Bytes that wait to be sent.
    pub fn backlog(&self) -> usize {
        self.shared.state.lock().backlog()
    }

    async fn room(&self, size: usize, request: bool) {
        let notified = self.shared.room.notified();
        let mut notified = pin!(notified);
        // From here on no call is missed.
        notified.as_mut().enable();
        {
            let mut state = self.shared.state.lock();
            if !matches!(self.shared.check_room(&state, size, request), Err(CallError::Full)) {
                return;
            }
            state.starved = true;
        }
        notified.await;
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl State {
    /// Appends a frame, and gives the link's task if it is asleep and has to be woken.
    fn append(
        &mut self,
        kind: u8,
        id: u64,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Option<Waker>, CallError> {
        let before = self.out.len();
        frame::append(&mut self.out, kind, id, fill).map_err(CallError::TooLarge)?;
        self.appended += (self.out.len() - before) as u64;
        Ok(self.task.take())
    }

    fn backlog(&self) -> usize {
        (self.appended - self.written) as usize
    }

    /// The slot awaiting the answer to `id`.
    fn awaiting(&mut self, id: u64) -> Option<&mut Slot> {
        let slot = self.slots.get_mut((id as u32).checked_sub(1)? as usize)?;
        let awaits = slot.generation == (id >> 32) as u32 && matches!(slot.answer, Answer::Awaited(_));
        awaits.then_some(slot)
    }
}

impl Shared {
    fn check_room(&self, state: &State, size: usize, request: bool) -> Result<(), CallError> {
        if let Some(why) = &state.closed {
            return Err(CallError::NotSent(Arc::clone(why)));
        }
        let backlog = state.backlog();
        let full = backlog > 0 && backlog + size > self.limits.queue;
        let taken = state.slots.len() - state.free.len();
        if full || (request && taken >= self.limits.in_flight) { Err(CallError::Full) } else { Ok(()) }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The link's task runs: nobody need wake it until it has fetched all there is.
    pub(super) fn awake(&self) {
        self.state.lock().task = None;
    }

    /// Exchanges the emptied buffer `sent` for what waits. Nothing waits: `waker` is called once something does.
    pub(super) fn fetch(&self, sent: &mut Vec<u8>, waker: &Waker) -> Result<Fetched, Arc<LinkError>> {
        let mut state = self.state.lock();
        if let Some(why) = &state.closed {
            return Err(Arc::clone(why));
        }
        std::mem::swap(&mut state.out, sent);
        if sent.is_empty() && !state.task.as_ref().is_some_and(|task| task.will_wake(waker)) {
            state.task = Some(waker.clone());
        }
        Ok(Fetched { answers: state.answers })
    }

    /// Notes that the kernel took `bytes` more, and gives the bytes of answers that have not been fetched and written.
    pub(super) fn note_written(&self, bytes: usize, fetched: &Fetched, whole: bool) {
        let mut state = self.state.lock();
        state.written += bytes as u64;
        if whole {
            state.answers_written = fetched.answers;
        }
        let call = state.starved && state.backlog() <= self.limits.queue / 2;
        if call {
            state.starved = false;
        }
        drop(state);
        if call {
            self.room.notify_waiters();
        }
    }

    /// Bytes of answers the peer has not taken.
    pub(super) fn answers_waiting(&self) -> usize {
        let state = self.state.lock();
        (state.answers - state.answers_written) as usize
    }

    /// Hands an answer to whom awaits it.
    pub(super) fn complete(&self, id: u64, answer: Result<Bytes, CallError>) {
        let mut state = self.state.lock();
        let Some(slot) = state.awaiting(id) else { return };
        let before = std::mem::replace(&mut slot.answer, Answer::Here(answer));
        drop(state);
        if let Answer::Awaited(waker) = before {
            wake_up(waker);
        }
    }

    /// A frame of the link's own, from its own task, which need not be woken.
    pub(super) fn append_own(&self, kind: u8) {
        let mut state = self.state.lock();
        let task = state.task.take();
        // Without a payload it is not too large.
        let _ = state.append(kind, 0, |_| {});
        state.task = task;
    }

    /// Ends the link; the first reason stays.
    pub(super) fn close(&self, why: LinkError) {
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return;
        }
        let why = Arc::new(why);
        state.closed = Some(Arc::clone(&why));
        state.out = Vec::new();
        let written = state.written;
        let mut wakers = Vec::from_iter(state.task.take());
        for slot in &mut state.slots {
            if let Answer::Awaited(waker) = &mut slot.answer {
                wakers.extend(waker.take());
                let why = Arc::clone(&why);
                // An incomplete frame is as good as none: the peer waits for the rest of it.
                let left = slot.end <= written;
                slot.answer =
                    Answer::Here(Err(if left { CallError::Unknown(why) } else { CallError::NotSent(why) }));
            }
        }
        drop(state);
        self.room.notify_waiters();
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// What was fetched to be written.
#[derive(Clone, Copy, Default)]
pub(super) struct Fetched {
    /// Bytes of answers appended up to its end.
    answers: u64,
}

impl Future for Reply {
    type Output = Result<Bytes, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.shared.state.lock();
        let slot = &mut state.slots[self.slot as usize];
        match &mut slot.answer {
            Answer::Awaited(waker) => {
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
            Answer::Here(answer) => Poll::Ready(answer.clone()),
            Answer::Free => unreachable!("a slot is given back when its reply is dropped"),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        let slot = &mut state.slots[self.slot as usize];
        slot.generation = slot.generation.wrapping_add(1);
        let answer = std::mem::replace(&mut slot.answer, Answer::Free);
        state.free.push(self.slot);
        let call = state.starved && state.backlog() <= self.shared.limits.queue / 2;
        if call {
            state.starved = false;
        }
        drop(state);
        drop(answer);
        if call {
            self.shared.room.notify_waiters();
        }
    }
}

fn wake_up(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
