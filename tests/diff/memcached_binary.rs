//! The binary protocol of memcached: requests drawn by opcode, answers compared field by field.
//!
//! Versions are each server's own: they are compared by the order in which they first came. Now and then a request is broken
//! on purpose; where that ends the connection, its last words are compared and both sides begin anew.

use std::collections::BTreeMap;
use std::io;

use fastrand::Rng;
use shoal_testkit::Server;
use shoal_testkit::memcache_binary::{Client, Packet};

const KEYS: &[&str] = &["a", "b", "n", "m", "p:1"];
/// Nothing near 2^63, as in the text protocol.
const VALUES: &[&str] = &["", "x", "abc", "0", "5", "99", "18446744073709551616", "-3", "7 ", "hello world"];

/// One request.
#[derive(Debug, Clone)]
struct Request {
    packet: Packet,
    /// Which of the versions seen is compared, counted from the last.
    compare: Option<usize>,
    /// Whether it ends the connection.
    closes: bool,
}

fn draw(rng: &mut Rng) -> Request {
    const OPCODES: &[u8] = &[
        0x00, 0x00, 0x00, 0x01, 0x01, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e,
        0x0f, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x20, 0x22, 0x23, 0x24,
    ];
    let opcode = of(rng, OPCODES);
    let key = of(rng, KEYS).as_bytes();
    let number = |n: u32| n.to_be_bytes().to_vec();
    let time = of(rng, &[0, 0, 0, 1000, 100_000, 2_592_001]);
    let flags = of(rng, &[0, 1, u32::MAX]);
    let (extras, key, value) = match opcode {
        0x01..=0x03 | 0x11..=0x13 => ([number(flags), number(time)].concat(), key, value(rng)),
        0x05 | 0x06 | 0x15 | 0x16 => {
            let (delta, initial) = (of(rng, &[0, 1, 5, 1_000_000]), of(rng, &[0_u64, 5, 1 << 40]));
            let exptime = of(rng, &[0, u32::MAX, 1000]);
            (
                [&u64::to_be_bytes(delta)[..], &initial.to_be_bytes(), &number(exptime)].concat(),
                key,
                Vec::new(),
            )
        }
        0x0e | 0x0f | 0x19 | 0x1a => (Vec::new(), key, value(rng)),
        0x1c..=0x1e | 0x23 | 0x24 => (number(time), key, Vec::new()),
        // memcached loses its place behind the keys of opcodes it does not know.
        0x0a | 0x0b | 0x1b | 0x20 => (Vec::new(), &b""[..], Vec::new()),
        _ => (Vec::new(), key, Vec::new()),
    };
    let mut packet = Packet { opaque: rng.u32(1..1000), ..Packet::request(opcode, &extras, key, &value) };
    let compare = if rng.u32(..4) == 0 { Some(rng.usize(..3)) } else { None };
    let closes = rng.u32(..40) == 0 && opcode != 0x1b && !(0x20..=0x22).contains(&opcode);
    if closes {
        // Input left unread when a connection is closed can cost the other side its last words.
        packet.value.clear();
        match rng.u32(..3) {
            0 => packet.extras.push(0),
            1 => packet.key = vec![b'k'; 251],
            _ => packet.magic = b'g',
        }
    }
    Request { packet, compare, closes }
}

fn of<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())]
}

fn value(rng: &mut Rng) -> Vec<u8> {
    match rng.u32(..12) {
        0 => vec![b'v'; rng.usize(..6000)],
        _ => of(rng, VALUES).into(),
    }
}

/// Where and how two servers first differed.
pub struct Difference {
    at: usize,
    reference: Vec<Packet>,
    subject: Vec<Packet>,
}

/// A sequence of requests.
pub struct Sequence(Vec<Request>);

impl Sequence {
    /// Draws one.
    pub fn draw(seed: u64) -> Sequence {
        let mut rng = Rng::with_seed(seed);
        Sequence((0..rng.usize(20..80)).map(|_| draw(&mut rng)).collect())
    }

    /// Its number of requests.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Plays it to both servers, emptied before.
    pub fn play(&self, reference: &Server, subject: &Server) -> io::Result<Option<Difference>> {
        let mut sides = [Side::new(reference)?, Side::new(subject)?];
        for (at, request) in self.0.iter().enumerate() {
            let left = sides[0].exchange(request)?;
            let right = sides[1].exchange(request).unwrap_or_default();
            if left != right {
                return Ok(Some(Difference { at, reference: left, subject: right }));
            }
            // memcached leaves blanks behind a number that got shorter; what comes of them is not compared.
            if !request.closes && matches!(request.packet.opcode, 0x05 | 0x06 | 0x15 | 0x16) {
                let look = Packet::request(0x00, b"", &request.packet.key, b"").bytes();
                let [left, right] = &mut sides;
                if left.client.exchange(&look)?.first().map(|found| found.value.len())
                    != right.client.exchange(&look)?.first().map(|found| found.value.len())
                {
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    /// Leaves out what is not needed to see a difference of the same kind.
    pub fn shrink(
        &self,
        found: Difference,
        reference: &Server,
        subject: &Server,
    ) -> io::Result<(Sequence, Difference)> {
        let kind = self.kind(&found);
        let mut best = Sequence(self.0[..=found.at].to_vec());
        let mut difference = found;
        for at in (0..best.len()).rev() {
            let mut shorter = Sequence(best.0.clone());
            shorter.0.remove(at);
            if let Some(d) = shorter.play(reference, subject)?.filter(|d| shorter.kind(d) == kind) {
                difference = d;
                best = shorter;
            }
        }
        Ok((best, difference))
    }

    /// Differences with the same text are taken for the same mistake.
    pub fn kind(&self, d: &Difference) -> String {
        let statuses = |replies: &[Packet]| replies.iter().map(|reply| reply.status).collect::<Vec<_>>();
        let opcode = self.0[d.at].packet.opcode;
        format!("opcode {opcode:#04x}: {:?} for {:?}", statuses(&d.subject), statuses(&d.reference))
    }

    /// What to show of a difference.
    pub fn report(&self, d: &Difference) -> String {
        let mut out = String::new();
        for request in &self.0 {
            let Request { packet, compare, closes } = request;
            out.push_str(&format!("> {} compare {compare:?} closes {closes}\n", shown(packet)));
        }
        for (side, replies) in [("reference", &d.reference), ("subject", &d.subject)] {
            let replies: Vec<String> = replies.iter().map(shown).collect();
            out.push_str(&format!("  {side}: {}\n", replies.join(", ")));
        }
        out
    }
}

fn shown(packet: &Packet) -> String {
    let Packet { magic, opcode, status, cas, extras, key, value, .. } = packet;
    let short = &value[..value.len().min(60)];
    format!(
        "[{magic:#x} opcode {opcode:#04x} status {status} cas {cas} extras {} key {} value {} ({} bytes)]",
        extras.escape_ascii(),
        key.escape_ascii(),
        short.escape_ascii(),
        value.len()
    )
}

/// One server's side of a sequence.
struct Side<'s> {
    server: &'s Server,
    client: Client,
    /// Versions seen, and the order in which they first came.
    versions: BTreeMap<u64, u64>,
    seen: Vec<u64>,
}

impl<'s> Side<'s> {
    fn new(server: &'s Server) -> io::Result<Side<'s>> {
        let mut client = Client::connect(server.memcached_addr())?;
        for key in KEYS {
            client.exchange(&Packet::request(0x04, b"", key.as_bytes(), b"").bytes())?;
        }
        Ok(Side { server, client, versions: BTreeMap::new(), seen: Vec::new() })
    }

    fn exchange(&mut self, request: &Request) -> io::Result<Vec<Packet>> {
        let compare = request.compare.map(|back| self.seen.iter().rev().nth(back).copied().unwrap_or(12345));
        let bytes = Packet { cas: compare.unwrap_or(0), ..request.packet.clone() }.bytes();
        let replies = if request.closes {
            let fresh = Client::connect(self.server.memcached_addr())?;
            std::mem::replace(&mut self.client, fresh).last_words(&bytes)?
        } else {
            self.client.exchange(&bytes)?
        };
        Ok(replies.into_iter().map(|reply| Packet { cas: self.number(reply.cas), ..reply }).collect())
    }

    fn number(&mut self, version: u64) -> u64 {
        if version == 0 {
            return 0;
        }
        let next = self.seen.len() as u64 + 1;
        let number = *self.versions.entry(version).or_insert(next);
        if number == next {
            self.seen.push(version);
        }
        number
    }
}
