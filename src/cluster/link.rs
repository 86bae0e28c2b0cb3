//! Links: authenticated, framed and multiplexed TCP connections between the nodes of a cluster.
//!
//! A link begins with a [`handshake`](self::Identity) in which both sides prove that they know the cluster's secret. After it
//! both send [frames](Frame): requests, which are answered in any order, and messages, which are not.
//!
//! Idea: one task per link ([`Link::run`]) does all reading and writing; whoever has a [`Sender`] leaves frames in its
//! queue. What is left there before the task runs goes out in one write, and all complete frames of one read are handled
//! before the next write. No task, timer or allocation is spent on a request.
//!
//! Bounds: requests wait when the queue is full ([`Limits`]). When the peer does not read its answers, its
//! requests are no longer read. Both sides of one link sending requests that both wait on like that would wait until
//! the silence limit ends the link; so heavy traffic takes a link for each direction, requests flowing from the side that
//! connected.
//!
//! Knows nothing of what frames mean. Invariant: every request ends, with an answer or an error, as long as the link's task
//! runs or is dropped.

mod frame;
mod handshake;
mod queue;
#[cfg(test)]
mod tests;

pub use frame::{BULK_LIMIT, CONTROL_LIMIT, FIRST_BULK_KIND, FIRST_OWN_KIND, Frame, TooLarge};
pub use handshake::{Identity, Peer, VERSIONS};
pub use queue::{CallError, Limits, Reply, Sender};

use bytes::BytesMut;
use handshake::{ANSWER, HELLO, MAGIC, PROOF, Verdict};
use queue::Fetched;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time::{Instant, Sleep, sleep, timeout};

/// Bytes asked of the kernel at a time, and the least room there is for them.
const READ: usize = 64 << 10;
const LEAST_READ: usize = 4 << 10;

/// A buffer that grew beyond this is given back once it is empty.
const KEPT: usize = 1 << 20;

/// Rounds of reading and writing before other tasks have their turn.
const ROUNDS: usize = 16;

/// Why a link did not come about, or ended.
#[derive(Debug)]
pub enum LinkError {
    /// The network said so.
    Io(io::Error),
    /// The handshake took too long.
    Timeout,
    /// What answers there is not a node of Shoal.
    NotShoal,
    /// There is no version of the protocol that both speak: first and last of each.
    Version {
        /// This node's.
        ours: (u16, u16),
        /// The peer's.
        theirs: (u16, u16),
    },
    /// The two do not know the same secret.
    WrongSecret,
    /// The peer is a member of another cluster.
    OtherCluster {
        /// This node's.
        ours: u64,
        /// The peer's.
        theirs: u64,
    },
    /// The peer is another node than the one that is meant.
    OtherNode {
        /// The node that is meant.
        meant: u64,
        /// The peer.
        found: u64,
    },
    /// The peer has this node's own name.
    Itself,
    /// The peer ended the connection.
    Ended,
    /// The peer has been silent for too long.
    Silent,
    /// The peer sent a frame that is too large.
    TooLarge(TooLarge),
    /// This side ended it.
    Closed,
}

impl std::fmt::Display for LinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LinkError::Io(error) => error.fmt(f),
            LinkError::Timeout => f.write_str("the peer did not answer the handshake in time"),
            LinkError::NotShoal => f.write_str("the peer does not speak the protocol of Shoal's nodes"),
            LinkError::Version { ours, theirs } => write!(
                f,
                "no common version of the protocol: this node speaks {} to {}, the peer {} to {}",
                ours.0, ours.1, theirs.0, theirs.1
            ),
            LinkError::WrongSecret => f.write_str("the peer does not know the same cluster secret"),
            LinkError::OtherCluster { ours, theirs } => {
                write!(f, "the peer is a member of the cluster {theirs:016x}, this node of {ours:016x}")
            }
            LinkError::OtherNode { meant, found } => {
                write!(f, "the peer is node {found:016x}, not node {meant:016x}")
            }
            LinkError::Itself => f.write_str("the peer has this node's own name"),
            LinkError::Ended => f.write_str("the peer ended the connection"),
            LinkError::Silent => f.write_str("the peer has been silent for too long"),
            LinkError::TooLarge(what) => what.fmt(f),
            LinkError::Closed => f.write_str("the link was closed"),
        }
    }
}

impl std::error::Error for LinkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LinkError::Io(error) => Some(error),
            LinkError::TooLarge(what) => Some(what),
            _ => None,
        }
    }
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                LinkError::Ended
            }
            _ => LinkError::Io(error),
        }
    }
}

/// A link past its handshake. Nothing moves before [`Link::run`] is polled; dropped, the link ends.
pub struct Link {
    sender: Sender,
    stream: TcpStream,
    input: BytesMut,
    /// What is being written, and how much of it the kernel has taken.
    output: Vec<u8>,
    output_at: usize,
    fetched: Fetched,
    timer: Pin<Box<Sleep>>,
    /// Something moved since the timer went off last.
    heard: bool,
    wrote: bool,
    quiet: Duration,
}

impl Link {
    /// Connects to the node that listens at `address` and proves to each other who both are, within `limit`.
    pub async fn connect(
        address: impl ToSocketAddrs,
        me: &Identity,
        limits: Limits,
        limit: Duration,
    ) -> Result<Link, LinkError> {
        let shake = async {
            let stream = TcpStream::connect(address).await?;
            Link::begin(stream, me, limits, limit).await
        };
        timeout(limit, shake).await.unwrap_or(Err(LinkError::Timeout))
    }

    /// [`Link::connect`] over a connection that is there.
    pub async fn begin(
        mut stream: TcpStream,
        me: &Identity,
        limits: Limits,
        limit: Duration,
    ) -> Result<Link, LinkError> {
        let shake = async {
            stream.set_nodelay(true)?;
            let peer = introduce(&mut stream, me).await?;
            Ok(Link::new(stream, peer, limits))
        };
        timeout(limit, shake).await.unwrap_or(Err(LinkError::Timeout))
    }

    /// Lets whoever connected prove who he is, within `limit`. Until then no memory is taken.
    pub async fn accept(
        mut stream: TcpStream,
        me: &Identity,
        limits: Limits,
        limit: Duration,
    ) -> Result<Link, LinkError> {
        let shake = async {
            stream.set_nodelay(true)?;
            let peer = examine(&mut stream, me).await?;
            Ok(Link::new(stream, peer, limits))
        };
        timeout(limit, shake).await.unwrap_or(Err(LinkError::Timeout))
    }

    fn new(stream: TcpStream, peer: Peer, limits: Limits) -> Link {
        Link {
            sender: Sender::new(peer, limits),
            stream,
            input: BytesMut::new(),
            output: Vec::new(),
            output_at: 0,
            fetched: Fetched::default(),
            timer: Box::pin(sleep(limits.ping)),
            heard: false,
            wrote: false,
            quiet: Duration::ZERO,
        }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        self.sender.peer()
    }

    /// What sends on this link.
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// Moves frames until the link ends, and says why. `handle` gets the peer's requests and messages in the order they
    /// were sent; it answers a request by [`Sender::reply`] or [`Sender::refuse`], at once or later. It must not block.
    pub async fn run(self, handle: impl FnMut(&Sender, Frame)) -> Arc<LinkError> {
        self.run_batches(handle, |_| {}).await
    }

    /// As [`Link::run`]; `done` is called once all frames are handled that came by one read, before anything is written.
    pub async fn run_batches(
        mut self,
        mut handle: impl FnMut(&Sender, Frame),
        mut done: impl FnMut(&Sender),
    ) -> Arc<LinkError> {
        let error = std::future::poll_fn(|cx| self.turn(cx, &mut handle, &mut done)).await;
        self.sender.shared().close(error);
        self.sender.closed().unwrap_or_else(|| Arc::new(LinkError::Closed))
    }

    fn turn(
        &mut self,
        cx: &mut Context<'_>,
        handle: &mut impl FnMut(&Sender, Frame),
        done: &mut impl FnMut(&Sender),
    ) -> Poll<LinkError> {
        for _ in 0..ROUNDS {
            let moved = match self.read(cx, handle, done).and_then(|read| Ok(read | self.write(cx)?)) {
                Ok(moved) => moved,
                Err(error) => return Poll::Ready(error),
            };
            if !moved {
                ready!(self.watch(cx));
                return Poll::Ready(LinkError::Silent);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what waits, as far as the kernel takes it; whether it took anything.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, LinkError> {
        let mut moved = false;
        loop {
            if self.output_at == self.output.len() {
                if self.output.capacity() > KEPT {
                    self.output = Vec::new();
                }
                self.output.clear();
                self.output_at = 0;
                let fetched = self.sender.shared().fetch(&mut self.output, cx.waker());
                self.fetched = fetched.map_err(|_| LinkError::Closed)?;
                if self.output.is_empty() {
                    return Ok(moved);
                }
            }
            match Pin::new(&mut self.stream).poll_write(cx, &self.output[self.output_at..]) {
                Poll::Pending => return Ok(moved),
                Poll::Ready(written) => {
                    let written = written?;
                    if written == 0 {
                        return Err(LinkError::Ended);
                    }
                    self.output_at += written;
                    let whole = self.output_at == self.output.len();
                    self.sender.shared().note_written(written, &self.fetched, whole);
                    (moved, self.wrote) = (true, true);
                }
            }
        }
    }

    /// Reads once and handles what is complete; whether anything came.
    fn read(
        &mut self,
        cx: &mut Context<'_>,
        handle: &mut impl FnMut(&Sender, Frame),
        done: &mut impl FnMut(&Sender),
    ) -> Result<bool, LinkError> {
        if self.clogged() {
            return Ok(false);
        }
        if self.input.capacity() - self.input.len() < LEAST_READ {
            self.input.reserve(READ);
        }
        let read = pin!(self.stream.read_buf(&mut self.input));
        match read.poll(cx) {
            Poll::Pending => return Ok(false),
            Poll::Ready(read) => {
                if read? == 0 {
                    return Err(LinkError::Ended);
                }
            }
        }
        self.heard = true;
        let shared = self.sender.shared();
        shared.awake();
        while let Some(frame) = frame::take(&mut self.input).map_err(LinkError::TooLarge)? {
            match frame.kind {
                frame::REPLY => shared.complete(frame.id, Ok(frame.payload)),
                frame::REFUSAL => shared.complete(frame.id, Err(CallError::Refused(frame.payload))),
                frame::PING => shared.append_own(frame::PONG),
                kind if kind < FIRST_OWN_KIND => handle(&self.sender, frame),
                // A sign of life, or what a later version says.
                _ => {}
            }
        }
        done(&self.sender);
        Ok(true)
    }

    /// Whether the peer leaves too many answers unread to be asked for more requests.
    fn clogged(&self) -> bool {
        self.sender.shared().answers_waiting() > self.sender.shared().limits().queue
    }

    /// Ready when the peer has been silent for too long.
    fn watch(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let limits = *self.sender.shared().limits();
            // A peer that is not listened to shows by taking answers that it lives.
            let lives = self.heard || (self.wrote && self.clogged());
            self.quiet = if lives { Duration::ZERO } else { self.quiet + limits.ping };
            if self.quiet >= limits.silence {
                return Poll::Ready(());
            }
            if !self.heard && self.sender.backlog() == 0 {
                self.sender.shared().append_own(frame::PING);
                // It goes out in another turn.
                cx.waker().wake_by_ref();
            }
            (self.heard, self.wrote) = (false, false);
            self.timer.as_mut().reset(Instant::now() + limits.ping);
        }
        Poll::Pending
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.sender.shared().close(LinkError::Closed);
    }
}

/// The handshake of the connecting side.
async fn introduce(stream: &mut TcpStream, me: &Identity) -> Result<Peer, LinkError> {
    let hello = handshake::hello(me, &handshake::nonce()?);
    stream.write_all(&hello).await?;
    let mut answer = [0; ANSWER];
    // A server of another protocol says something shorter.
    stream.read_exact(&mut answer[..MAGIC.len()]).await?;
    if !answer.starts_with(&MAGIC) {
        return Err(LinkError::NotShoal);
    }
    stream.read_exact(&mut answer[MAGIC.len()..]).await?;
    match handshake::judge(me, &hello, &answer) {
        Ok((peer, proof)) => {
            stream.write_all(&proof).await?;
            let verdict = stream.read_u8().await?;
            handshake::read_verdict(verdict, me, &peer)?;
            handshake::fits(me, &peer)?;
            Ok(peer)
        }
        Err(error) => {
            // No proof: the other side can say then what is wrong, too.
            let _ = stream.write_all(&[0; PROOF]).await;
            Err(error)
        }
    }
}

/// The handshake of the listening side.
async fn examine(stream: &mut TcpStream, me: &Identity) -> Result<Peer, LinkError> {
    let mut hello = [0; HELLO];
    stream.read_exact(&mut hello[..MAGIC.len()]).await?;
    if !hello.starts_with(&MAGIC) {
        return Err(LinkError::NotShoal);
    }
    stream.read_exact(&mut hello[MAGIC.len()..]).await?;
    let (answer, peer) = handshake::answer(me, &handshake::nonce()?, &hello);
    stream.write_all(&answer).await?;
    let peer = peer?;
    let mut proof = [0; PROOF];
    stream.read_exact(&mut proof).await?;
    let verdict = handshake::verdict(me, &peer, &hello, &answer, &proof);
    let told = stream.write_all(&[verdict as u8]).await;
    match verdict {
        Verdict::Welcome => told?,
        Verdict::WrongSecret => return Err(LinkError::WrongSecret),
        Verdict::OtherCluster => {
            return Err(LinkError::OtherCluster { ours: me.cluster, theirs: peer.cluster });
        }
        Verdict::Itself => return Err(LinkError::Itself),
    }
    Ok(peer)
}
