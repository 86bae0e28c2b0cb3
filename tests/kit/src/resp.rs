//! A blocking RESP client that hides nothing: one request out, one [`Value`] in, pushes as they come.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::value::{Value, decode};

/// How long [`Client::recv`] waits before it gives the server up.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to a RESP server.
pub struct Client {
    stream: TcpStream,
    /// Bytes received and not yet handed out.
    pending: Vec<u8>,
}

impl Client {
    /// Connects; the protocol is RESP2 until `HELLO 3`.
    pub fn connect(addr: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, pending: Vec::new() })
    }

    /// Connects and says `HELLO resp`.
    pub fn connect_resp(addr: SocketAddr, resp: u8) -> io::Result<Client> {
        let mut client = Client::connect(addr)?;
        let hello = client.call(&["HELLO", &resp.to_string()])?;
        match hello.is_error() {
            true => Err(io::Error::other(format!("HELLO {resp}: {hello}"))),
            false => Ok(client),
        }
    }

    /// Sends one request and reads the next reply.
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Value> {
        self.send(args)?;
        self.recv()
    }

    /// Splits `line` at white space (quotes as in transcripts) and calls it.
    pub fn line(&mut self, line: &str) -> io::Result<Value> {
        let args = crate::notation::words(line).map_err(io::Error::other)?;
        self.call(&args)
    }

    /// Sends one request.
    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<()> {
        self.stream.write_all(&encode(args))
    }

    /// Sends bytes as they stand.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads the next reply or push; an error when the server closes or stays silent for [`PATIENCE`].
    pub fn recv(&mut self) -> io::Result<Value> {
        match self.recv_within(PATIENCE)? {
            Some(value) => Ok(value),
            None => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no reply; so far: {}", self.pending.escape_ascii()),
            )),
        }
    }

    /// Reads the next reply or push if it comes within `patience`.
    pub fn recv_within(&mut self, patience: Duration) -> io::Result<Option<Value>> {
        let deadline = Instant::now() + patience;
        let mut chunk = [0; 65536];
        loop {
            if let Some((value, used)) = decode(&self.pending).map_err(io::Error::other)? {
                self.pending.drain(..used);
                return Ok(Some(value));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed")),
                Ok(n) => self.pending.extend_from_slice(&chunk[..n]),
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Whether the server closes the connection within [`PATIENCE`], replies before that being dropped.
    pub fn closes(&mut self) -> bool {
        loop {
            match self.recv() {
                Ok(_) => continue,
                Err(e) => return !matches!(e.kind(), io::ErrorKind::TimedOut | io::ErrorKind::Other),
            }
        }
    }
}

/// A request as clients write it: an array of bulk strings.
pub fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}
