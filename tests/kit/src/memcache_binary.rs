//! A blocking client of memcached's binary protocol that delimits replies with a no-op.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::resp::PATIENCE;

/// Length of every header, in bytes.
const HEADER: usize = 24;

/// The opcode of the no-op.
const NOOP: u8 = 0x0a;

/// The opaque of the no-op that ends an exchange.
const FENCE: u32 = 0x0bad_f00d;

/// A packet, to the server or from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packet {
    /// 0x80 of a request, 0x81 of a reply.
    pub magic: u8,
    /// What is asked for.
    pub opcode: u8,
    /// 0 of a request; of a reply, unless 0, what went wrong.
    pub status: u16,
    /// Repeated by replies.
    pub opaque: u32,
    /// The version of an item.
    pub cas: u64,
    /// What belongs to the opcode.
    pub extras: Vec<u8>,
    /// The key of an item.
    pub key: Vec<u8>,
    /// The value of an item, or words.
    pub value: Vec<u8>,
}

impl Packet {
    /// A request; what is not given is empty.
    pub fn request(opcode: u8, extras: &[u8], key: &[u8], value: &[u8]) -> Packet {
        let (extras, key, value) = (extras.to_vec(), key.to_vec(), value.to_vec());
        Packet { magic: 0x80, opcode, extras, key, value, ..Packet::default() }
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let body = self.extras.len() + self.key.len() + self.value.len();
        let mut bytes = vec![self.magic, self.opcode];
        bytes.extend((self.key.len() as u16).to_be_bytes());
        bytes.extend([self.extras.len() as u8, 0]);
        bytes.extend(self.status.to_be_bytes());
        bytes.extend((body as u32).to_be_bytes());
        bytes.extend(self.opaque.to_be_bytes());
        bytes.extend(self.cas.to_be_bytes());
        for part in [&self.extras, &self.key, &self.value] {
            bytes.extend_from_slice(part);
        }
        bytes
    }
}

/// A connection to a memcached server.
pub struct Client {
    stream: TcpStream,
}

impl Client {
    /// Connects, and settles on the binary protocol.
    pub fn connect(addr: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Client { stream };
        client.exchange(&[]).map(|_| client)
    }

    /// Sends bytes and returns every packet answered to them; an error if the server closes.
    pub fn exchange(&mut self, request: &[u8]) -> io::Result<Vec<Packet>> {
        let fence = Packet { opaque: FENCE, ..Packet::request(NOOP, b"", b"", b"") };
        self.stream.write_all(&[request, &fence.bytes()].concat())?;
        let mut replies = Vec::new();
        loop {
            let reply = self.read()?;
            if (reply.opcode, reply.opaque) == (NOOP, FENCE) {
                return Ok(replies);
            }
            replies.push(reply);
        }
    }

    /// Sends a request and returns what is answered to it before the server closes, which it must.
    pub fn last_words(mut self, request: &[u8]) -> io::Result<Vec<Packet>> {
        self.stream.write_all(request)?;
        let mut replies = Vec::new();
        loop {
            match self.read() {
                Ok(reply) => replies.push(reply),
                Err(e) if closed(&e) => return Ok(replies),
                Err(e) => return Err(e),
            }
        }
    }

    fn read(&mut self) -> io::Result<Packet> {
        let mut header = [0; HEADER];
        self.stream.read_exact(&mut header)?;
        let short = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let long = |at: usize| (u32::from(short(at)) << 16) | u32::from(short(at + 2));
        let mut body = vec![0; long(8) as usize];
        self.stream.read_exact(&mut body)?;
        let mut key = body.split_off((header[4] as usize).min(body.len()));
        let value = key.split_off((short(2) as usize).min(key.len()));
        Ok(Packet {
            magic: header[0],
            opcode: header[1],
            status: short(6),
            opaque: long(12),
            cas: (u64::from(long(16)) << 32) | u64::from(long(20)),
            extras: body,
            key,
            value,
        })
    }
}

/// Whether the other side has gone.
fn closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
}
