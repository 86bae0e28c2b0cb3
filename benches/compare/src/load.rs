//! The load: connections in one thread, each sending a batch, reading its replies, sending the next.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use fastrand::Rng;
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::workload::{Reply, Workload};

/// What a run of the load came to.
pub struct Outcome {
    /// Requests answered.
    pub requests: u64,
    /// From sending a batch to its last reply, in nanoseconds.
    pub latency: Histogram<u64>,
}

/// Which keys a run asks for.
#[derive(Clone, Copy)]
pub enum Keys {
    /// Drawn from the workload's key space with this seed.
    Drawn(u64),
    /// Each in this range once.
    Each { from: u64, to: u64 },
    /// Drawn from these with this seed.
    Among(&'static [u64], u64),
}

/// Sends about `requests` requests (all keys of [`Keys::Each`]) over `connections` connections to `addr`.
pub fn run(
    addr: SocketAddr,
    workload: &Workload,
    connections: usize,
    requests: u64,
    keys: Keys,
) -> io::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let mut tasks = Vec::new();
        let mut streams = Vec::new();
        for _ in 0..connections {
            let stream = TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
        for (i, stream) in streams.into_iter().enumerate() {
            let share = Share::of(i as u64, connections as u64, requests, keys);
            tasks.push(tokio::task::spawn_local(drive(stream, *workload, share)));
        }
        let mut latency = histogram();
        let mut answered = 0;
        for task in tasks {
            let (requests, seen) = task.await.map_err(io::Error::other)??;
            latency.add(seen).map_err(io::Error::other)?;
            answered += requests;
        }
        Ok(Outcome { requests: answered, latency })
    })
}

/// For times of up to a minute, in nanoseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("a minute in three digits is within bounds")
}

/// One connection's part of the work.
struct Share {
    rng: Rng,
    /// The next key, when each key is asked for once.
    next: Option<u64>,
    /// The keys that are asked for, if only some are.
    among: Option<&'static [u64]>,
    left: u64,
}

impl Share {
    fn of(index: u64, of: u64, requests: u64, keys: Keys) -> Share {
        let rng = |seed| Rng::with_seed(seed ^ (index << 32));
        match keys {
            Keys::Drawn(seed) => Share { rng: rng(seed), next: None, among: None, left: requests / of },
            Keys::Among(keys, seed) => {
                Share { rng: rng(seed), next: None, among: Some(keys), left: requests / of }
            }
            Keys::Each { from, to } => {
                let bound = |i: u64| from + (to - from) * i / of;
                let next = bound(index);
                let left = bound(index + 1) - next;
                Share { rng: Rng::with_seed(index), next: Some(next), among: None, left }
            }
        }
    }
}

async fn drive(
    mut stream: TcpStream,
    workload: Workload,
    mut share: Share,
) -> io::Result<(u64, Histogram<u64>)> {
    let mut latency = histogram();
    let mut out = Vec::new();
    let mut input = vec![0; 256 * 1024];
    let total = share.left;
    while share.left > 0 {
        out.clear();
        let batch = share.left.min(workload.pipeline as u64);
        for _ in 0..batch {
            match (&mut share.next, share.among) {
                (Some(next), _) => {
                    workload.request_for(*next, &mut share.rng, &mut out);
                    *next += 1;
                }
                (None, Some(keys)) => {
                    let key = keys[share.rng.usize(..keys.len())];
                    workload.request_for(key, &mut share.rng, &mut out);
                }
                (None, None) => workload.request(&mut share.rng, &mut out),
            }
        }
        let sent = Instant::now();
        stream.write_all(&out).await?;
        let (mut filled, mut used, mut answered) = (0, 0, 0);
        while answered < batch {
            if filled == input.len() {
                input.copy_within(used.., 0);
                filled -= used;
                used = 0;
                if filled == input.len() {
                    input.resize(2 * filled, 0);
                }
            }
            let n = stream.read(&mut input[filled..]).await?;
            if n == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed"));
            }
            filled += n;
            while used < filled {
                match workload.protocol.reply(&input[used..filled]) {
                    Reply::Whole(n) => {
                        used += n;
                        answered += 1;
                    }
                    Reply::Partial => break,
                    Reply::Wrong => {
                        let text = input[used..filled.min(used + 80)].escape_ascii();
                        return Err(io::Error::other(format!("{}: answered {text}", workload.name)));
                    }
                }
            }
        }
        latency.saturating_record(sent.elapsed().as_nanos() as u64);
        share.left -= batch;
    }
    Ok((total, latency))
}
