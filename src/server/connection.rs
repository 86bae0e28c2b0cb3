//! A connection's life: read, run every complete request, write once, wait.
//!
//! A connection lives and dies on its worker. While its turn lasts it works in the worker's buffers; what is left over (half
//! a request, replies the socket did not take) moves into its own. Nothing is awaited in between, and never with a lock held.
//!
//! Invariant: it never waits for input alone while it has output unsent.

use crate::command::call::{self, Flow, Site};
use crate::command::client::Client;
use crate::command::{blocking, error};
use crate::state::State;
use crate::state::clients::Mail;
use crate::worker::{Scratch, Worker};
use shoal_protocol::resp::{Limits, Output, RequestParser};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// Slices handed to one `writev`.
const SLICES: usize = 64;
/// Bytes read from a client that waits before it is left to the kernel.
const SET_ASIDE: usize = 1 << 20;
/// Own buffers above this size are given back once they are empty.
const KEEP: usize = 16 * 1024;

/// One connection.
pub struct Connection {
    worker: Rc<Worker>,
    stream: TcpStream,
    client: Client,
    parser: RequestParser,
    /// Input not yet run: half a request, or what came behind a request that waits.
    input: Vec<u8>,
    /// Replies the socket did not take yet.
    output: Output,
    /// Rings when the time of a waiting request, or of the pause that holds one, is up.
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether CLIENT PAUSE holds the next request.
    held: bool,
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

/// How a turn ended.
#[derive(PartialEq, Eq)]
enum Turn {
    Done,
    Again,
    Hold,
    Close,
}

impl Connection {
    /// A connection just accepted.
    pub fn new(worker: Rc<Worker>, stream: TcpStream, client: Client) -> Connection {
        Connection {
            worker,
            stream,
            client,
            parser: RequestParser::new(),
            input: Vec::new(),
            output: Output::default(),
            timer: None,
            held: false,
        }
    }

    /// Serves the connection until it ends.
    pub async fn serve(mut self) {
        let _ = self.turns().await;
        self.end();
    }

    async fn turns(&mut self) -> io::Result<()> {
        loop {
            let event = poll_fn(|task| self.poll_event(task)).await?;
            let turn = match event {
                Event::Closed => return Ok(()),
                Event::Writable => self.flush(),
                Event::Mail => self.deliver(),
                Event::TimeUp => self.give_up_waiting(),
                Event::Released => self.release(),
                Event::Read(len, into) if self.waits() => self.set_aside(len, into),
                Event::Read(len, into) => self.turn(len, into),
            };
            let mut turn = turn?;
            while turn == Turn::Again {
                tokio::task::yield_now().await;
                turn = self.turn(0, Into::Own)?;
            }
            match turn {
                Turn::Close => return self.drain().await,
                Turn::Hold => self.hold(),
                Turn::Done | Turn::Again => {}
            }
        }
    }

    fn poll_event(&mut self, task: &mut Context<'_>) -> Poll<io::Result<Event>> {
        self.client.shared.wake_with(task.waker());
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
            // Reading on is how a client is found to be gone; but not without bound.
            if self.input.len() >= SET_ASIDE {
                return Poll::Pending;
            }
        }
        let (len, into) = if self.input.is_empty() {
            let mut scratch = self.worker.scratch.borrow_mut();
            let mut buf = ReadBuf::new(&mut scratch.input);
            std::task::ready!(Pin::new(&mut self.stream).poll_read(task, &mut buf))?;
            (buf.filled().len(), Into::Scratch)
        } else {
            let want = self.parser.missing().clamp(KEEP, 64 << 20);
            let start = self.input.len();
            self.input.reserve(want);
            let mut buf = ReadBuf::uninit(self.input.spare_capacity_mut());
            std::task::ready!(Pin::new(&mut self.stream).poll_read(task, &mut buf))?;
            let len = buf.filled().len();
            // SAFETY: `filled` are bytes that the read initialised, right behind the first `start`.
            unsafe { self.input.set_len(start + len) };
            (len, Into::Own)
        };
        Poll::Ready(Ok(if len == 0 { Event::Closed } else { Event::Read(len, into) }))
    }

    /// Whether requests are to be set aside, not run.
    fn waits(&self) -> bool {
        self.held || self.client.blocked.is_some()
    }

    /// Begins to hold the next request until the pause is over.
    fn hold(&mut self) {
        self.held = true;
        self.worker.state.pause.hold(&self.client.shared);
        self.worker.state.clients.blocked.fetch_add(1, Ordering::Relaxed);
    }

    fn let_go(&mut self) {
        if std::mem::take(&mut self.held) {
            self.timer = None;
            self.worker.state.pause.release(self.client.shared.id);
            self.worker.state.clients.blocked.fetch_sub(1, Ordering::Relaxed);
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
        if !blocking::cancel(&self.worker.state, &mut self.client) {
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
        let turn = self.flush()?;
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
        Ok(Turn::Done)
    }

    /// Runs what has been read and sends the replies.
    fn turn(&mut self, len: usize, into: Into) -> io::Result<Turn> {
        let worker = Rc::clone(&self.worker);
        let mut scratch = worker.scratch.borrow_mut();
        let Scratch { input, output, clock } = &mut *scratch;
        clock.sync();
        let shared = &self.client.shared;
        shared.active_ms.store(clock.unix_ms, Ordering::Relaxed);
        worker.stats().input_bytes.add(len as u64);
        // Replies go behind what is still unsent, else into the worker's buffer.
        if self.output.is_empty() {
            output.proto = self.output.proto;
            std::mem::swap(&mut self.output, output);
        }
        let own = std::mem::take(&mut self.input);
        // Into its own buffer more may be read at once than the scratch buffer holds.
        let fresh = if into == Into::Own { &[][..] } else { &input[..len] };
        let bytes = if into == Into::Own { &own[..] } else { fresh };
        let (consumed, turn) =
            run(&worker, &mut self.client, &mut self.parser, &mut self.output, clock, bytes);
        self.keep(own, fresh, consumed, into);
        let flushed = self.flush()?;
        if self.output.is_empty() {
            output.clear();
            output.proto = self.output.proto;
            std::mem::swap(&mut self.output, output);
        }
        Ok(if turn == Turn::Done { flushed } else { turn })
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

    /// Sends what the socket takes.
    fn flush(&mut self) -> io::Result<Turn> {
        while !self.output.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.output.io_slices(&mut slices);
            match self.stream.try_write_vectored(&slices[..count]) {
                Ok(sent) => {
                    self.worker.stats().output_bytes.add(sent as u64);
                    self.output.advance(sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(if self.client.closing { Turn::Close } else { Turn::Done })
    }

    /// Sends what came by mail.
    fn deliver(&mut self) -> io::Result<Turn> {
        open_mail(&self.worker.state, &mut self.client, &mut self.output);
        self.resume()
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

    fn end(&mut self) {
        while !blocking::cancel(&self.worker.state, &mut self.client) {
            // It is being served this very moment, which takes microseconds.
            open_mail(&self.worker.state, &mut self.client, &mut self.output);
            std::thread::yield_now();
        }
        self.let_go();
        self.worker.state.monitors.remove(self.client.shared.id);
        crate::command::transaction::leave(&self.worker.state, &mut self.client);
        crate::command::tracking::stop(&self.worker.state, &mut self.client);
        crate::command::pubsub::leave_all(&self.worker.state, &mut self.client);
        self.worker.state.clients.remove(self.client.shared.id);
    }
}

/// Takes the mail out of the inbox and puts pushes behind the replies.
fn open_mail(state: &State, client: &mut Client, out: &mut Output) {
    while let Some(mail) = client.shared.receive() {
        match mail {
            Mail::Push(bytes) => out.raw(&bytes),
            Mail::Unblocked(bytes) => {
                out.raw(&bytes);
                blocking::end(state, client);
            }
            Mail::Unblock { error } => {
                let nothing = client.blocked.as_ref().map(|blocked| blocked.nothing);
                if let Some(nothing) = nothing
                    && blocking::cancel(state, client)
                {
                    if error {
                        out.error(error::UNBLOCKED.text());
                        state.errors.count(error::UNBLOCKED.text());
                    } else {
                        nothing.reply(out);
                    }
                }
            }
            Mail::Close => client.closing = true,
        }
    }
}

/// Runs every complete request in `bytes`; returns how many bytes were used up.
fn run(
    worker: &Worker,
    client: &mut Client,
    parser: &mut RequestParser,
    out: &mut Output,
    clock: &mut crate::command::clock::Clock,
    bytes: &[u8],
) -> (usize, Turn) {
    let limits = Limits::default();
    let mut consumed = 0;
    let mut site = Site { state: &worker.state, stats: worker.stats(), client, out, clock };
    while consumed < bytes.len() {
        let rest = &bytes[consumed..];
        match parser.parse(rest, &limits) {
            Ok(None) => break,
            Ok(Some(parsed)) => {
                match call::call(&mut site, parser.args(rest)) {
                    Flow::Next => {}
                    Flow::Contended => return (consumed, Turn::Again),
                    Flow::Paused => return (consumed, Turn::Hold),
                }
                consumed += parsed.consumed;
                // A message to itself comes right behind the reply of the command that sent it.
                if site.client.shared.has_mail() {
                    open_mail(site.state, site.client, site.out);
                }
                if site.client.closing {
                    return (consumed, Turn::Close);
                }
                if site.client.blocked.is_some() {
                    break;
                }
            }
            Err(error) => {
                site.out.error(format!("ERR {error}"));
                site.client.closing = true;
                return (bytes.len(), Turn::Close);
            }
        }
    }
    (consumed, Turn::Done)
}
