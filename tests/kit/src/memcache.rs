//! A blocking memcached text client that delimits replies with the meta no-op.
//!
//! Idea: the text protocol has no frame around a reply, and quiet or `noreply` requests have none at all.
//! `mn` is always answered by `MN`, so a request followed by `mn` is over when the `MN` comes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::resp::PATIENCE;

/// A connection to a memcached server.
pub struct Client {
    stream: TcpStream,
}

impl Client {
    /// Connects.
    pub fn connect(addr: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client { stream })
    }

    /// Sends `request` (whole lines with their CR LF) and returns every byte answered to it.
    pub fn exchange(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        const FENCE: &[u8] = b"MN\r\n";
        let mut out = request.to_vec();
        out.extend_from_slice(b"mn\r\n");
        self.stream.write_all(&out)?;
        let mut reply = Vec::new();
        let mut chunk = [0; 65536];
        loop {
            let at_line = reply.len() == FENCE.len() || reply.ends_with(b"\r\nMN\r\n");
            if at_line && reply.ends_with(FENCE) {
                reply.truncate(reply.len() - FENCE.len());
                return Ok(reply);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(cut("the server closed", &reply)),
                Ok(n) => reply.extend_from_slice(&chunk[..n]),
                Err(e) => return Err(cut(&e.to_string(), &reply)),
            }
        }
    }

    /// [`Client::exchange`] for text: `request` gets its last CR LF, the reply is shown as text.
    pub fn line(&mut self, request: &str) -> io::Result<String> {
        let reply = self.exchange(format!("{request}\r\n").as_bytes())?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    }

    /// Whether the server closes the connection after `request`, all replies being dropped.
    pub fn closes_after(&mut self, request: &[u8]) -> io::Result<bool> {
        self.stream.write_all(request)?;
        let mut chunk = [0; 65536];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(true),
                Err(_) => return Ok(false),
            }
        }
    }
}

fn cut(why: &str, so_far: &[u8]) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("{why} after \"{}\"", so_far.escape_ascii()))
}
