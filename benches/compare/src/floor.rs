//! The floor: the least a tokio server can do per request.
//!
//! One thread reads what a socket has, finds the complete requests in it, answers each with the same bytes
//! and writes once. It keeps nothing and looks nothing up. What a real server costs above it is its own doing.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::Failure;
use crate::workload::Protocol;

/// Serves until killed; `args`: protocol, port, kind of the constant reply, length of its value in bytes.
pub fn serve(args: &[String]) -> Result<(), Failure> {
    let [protocol, port, reply] = args else { return Err("floor PROTOCOL PORT REPLY".into()) };
    let protocol = match protocol.as_str() {
        "resp" => Protocol::Resp,
        "memcached" => Protocol::Memcached,
        other => return Err(format!("unknown protocol {other}").into()),
    };
    let reply: &'static [u8] = std::fs::read(reply)?.leak();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.parse()?)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // An error is the client going away: there is nobody to tell.
            tokio::task::spawn_local(async move { connection(stream, protocol, reply).await.unwrap_or(()) });
        }
    })
}

async fn connection(mut stream: TcpStream, protocol: Protocol, reply: &[u8]) -> std::io::Result<()> {
    let mut input = vec![0; 64 * 1024];
    let mut filled = 0;
    let mut output = Vec::new();
    loop {
        let n = stream.read(&mut input[filled..]).await?;
        if n == 0 {
            return Ok(());
        }
        filled += n;
        let mut used = 0;
        while let Some(len) = request(protocol, &input[used..filled]) {
            used += len;
            output.extend_from_slice(reply);
        }
        input.copy_within(used..filled, 0);
        filled -= used;
        if filled == input.len() {
            input.resize(2 * filled, 0);
        }
        if !output.is_empty() {
            stream.write_all(&output).await?;
            output.clear();
        }
    }
}

/// Bytes of the first request in `input`, if it is complete.
fn request(protocol: Protocol, input: &[u8]) -> Option<usize> {
    match protocol {
        Protocol::Resp => {
            let (count, mut at) = number_line(input, 0)?;
            for _ in 0..count {
                let (len, body) = number_line(input, at)?;
                at = body + len + 2;
            }
            (at <= input.len()).then_some(at)
        }
        Protocol::Memcached => {
            let end = input.iter().position(|&b| b == b'\n')? + 1;
            let line = &input[..end - 2];
            // `set key flags time bytes` and `ms key bytes ...` are followed by a value.
            let size = match line.get(..3) {
                Some(b"set") => line.rsplit(|&b| b == b' ').next(),
                Some(b"ms ") => line.split(|&b| b == b' ').nth(2),
                _ => None,
            };
            let total = end + size.map_or(0, |digits| decimal(digits) + 2);
            (total <= input.len()).then_some(total)
        }
    }
}

/// The number in a line such as `*3` or `$16` at `at`, and where the next line begins.
fn number_line(input: &[u8], at: usize) -> Option<(usize, usize)> {
    let rest = input.get(at + 1..)?;
    let end = rest.iter().position(|&b| b == b'\n')?;
    Some((decimal(&rest[..end - 1]), at + 1 + end + 1))
}

fn decimal(digits: &[u8]) -> usize {
    digits.iter().fold(0, |n, d| n * 10 + usize::from(d.wrapping_sub(b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_whole_or_not_there() {
        for (protocol, wire) in [
            (Protocol::Resp, &b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"[..]),
            (Protocol::Memcached, b"set k 0 0 10\r\n0123456789\r\n"),
            (Protocol::Memcached, b"ms k 2 T0\r\nab\r\n"),
            (Protocol::Memcached, b"get a b\r\n"),
        ] {
            for cut in 0..wire.len() {
                assert_eq!(request(protocol, &wire[..cut]), None);
            }
            assert_eq!(request(protocol, &[wire, b"*1"].concat()), Some(wire.len()));
        }
    }
}
