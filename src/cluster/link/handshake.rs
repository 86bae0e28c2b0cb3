//! Who is there: the first bytes of a link, before any frame.
//!
//! ```text
//! connecting                                             listening
//! magic, versions, cluster, node, incarnation, nonce  ->
//!                  <-  magic, status, version, cluster, node, incarnation, nonce, proof
//! proof                                               ->
//!                                                     <-  verdict
//! ```
//!
//! A proof is an HMAC-SHA256 under the cluster's secret over a label for its side and all that was said before: both
//! nonces, both identities, the versions offered and the one chosen. So neither side can answer with the other's proof, nobody
//! can replay one, and nobody in between can lower the version. The secret itself never travels.
//!
//! Pure but for the nonces. All messages have a fixed size: before the peer is known nothing is allocated.

use super::LinkError;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The versions of the protocol between nodes that this program speaks: first and last.
pub const VERSIONS: (u16, u16) = (1, 1);

/// Ends in a line end so that a server of another protocol answers at once that it does not understand.
pub(super) const MAGIC: [u8; 8] = *b"SHOAL1\r\n";
pub(super) const HELLO: usize = 8 + 4 + 24 + 32;
pub(super) const ANSWER: usize = 8 + 1 + 4 + 24 + 32 + PROOF;
pub(super) const PROOF: usize = 32;

const ANSWERED: u8 = 0;
const NO_COMMON_VERSION: u8 = 1;

/// What a node says of itself, and what it proves to be a member with.
#[derive(Clone)]
pub struct Identity {
    /// The cluster's name; 0 while it has none yet: a node about to join fits any cluster.
    pub cluster: u64,
    /// This node's name.
    pub node: u64,
    /// The random name of its process.
    pub incarnation: u64,
    /// What all nodes of the cluster know. Empty proves nothing: whoever listens then decides whom to accept.
    pub secret: Vec<u8>,
    /// The first and the last version of the protocol it speaks, commonly [`VERSIONS`].
    pub versions: (u16, u16),
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Identity { cluster, node, incarnation, versions, .. } = self;
        write!(f, "Identity {{ {cluster:x}/{node:x}/{incarnation:x}, versions {versions:?} }}")
    }
}

/// Who is at the other end, proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its cluster's name; 0 while it has none.
    pub cluster: u64,
    /// Its name.
    pub node: u64,
    /// The random name of its process.
    pub incarnation: u64,
    /// The version of the protocol spoken on this link.
    pub version: u16,
}

/// What the listening side thinks of a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Welcome = 0,
    WrongSecret = 1,
    OtherCluster = 2,
    Itself = 3,
}

/// Unpredictable bytes, used once.
pub(super) fn nonce() -> Result<[u8; 32], LinkError> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|error| LinkError::Io(std::io::Error::other(error.to_string())))?;
    Ok(nonce)
}

/// The first message of the connecting side.
pub(super) fn hello(me: &Identity, nonce: &[u8; 32]) -> [u8; HELLO] {
    let mut out = Writer { bytes: [0; HELLO], at: 0 };
    out.put(&MAGIC);
    out.put(&me.versions.0.to_le_bytes());
    out.put(&me.versions.1.to_le_bytes());
    out.identity(me);
    out.put(nonce);
    out.bytes
}

/// The listening side's answer to a hello, and what it thereby knows of the peer: unproven yet.
pub(super) fn answer(
    me: &Identity,
    nonce: &[u8; 32],
    hello: &[u8; HELLO],
) -> ([u8; ANSWER], Result<Peer, LinkError>) {
    let mut input = Reader { bytes: &hello[MAGIC.len()..] };
    let theirs = (input.u16(), input.u16());
    let version = me.versions.1.min(theirs.1);
    let common = version >= me.versions.0.max(theirs.0);
    let mut out = Writer { bytes: [0; ANSWER], at: 0 };
    out.put(&MAGIC);
    if !common {
        out.put(&[NO_COMMON_VERSION]);
        out.put(&me.versions.0.to_le_bytes());
        out.put(&me.versions.1.to_le_bytes());
        return (out.bytes, Err(LinkError::Version { ours: me.versions, theirs }));
    }
    out.put(&[ANSWERED]);
    out.put(&version.to_le_bytes());
    out.put(&0u16.to_le_bytes());
    out.identity(me);
    out.put(nonce);
    let proof = prove(&me.secret, b"shoal: the listening side", hello, &out.bytes[..ANSWER - PROOF]);
    out.put(&proof.finalize().into_bytes());
    (out.bytes, Ok(input.peer(version)))
}

/// What the connecting side makes of the answer: its own proof, and the peer.
pub(super) fn judge(
    me: &Identity,
    hello: &[u8; HELLO],
    answer: &[u8; ANSWER],
) -> Result<(Peer, [u8; PROOF]), LinkError> {
    let (said, proof) = answer.split_at(ANSWER - PROOF);
    let mut input = Reader { bytes: &said[MAGIC.len()..] };
    let status = input.take::<1>()[0];
    let (version, last) = (input.u16(), input.u16());
    if status == NO_COMMON_VERSION {
        return Err(LinkError::Version { ours: me.versions, theirs: (version, last) });
    }
    if status != ANSWERED || version < me.versions.0 || version > me.versions.1 {
        return Err(LinkError::NotShoal);
    }
    let peer = input.peer(version);
    let expected = prove(&me.secret, b"shoal: the listening side", hello, said);
    expected.verify_slice(proof).map_err(|_| LinkError::WrongSecret)?;
    let mine = prove(&me.secret, b"shoal: the connecting side", hello, answer);
    Ok((peer, mine.finalize().into_bytes().into()))
}

/// What the listening side makes of the proof of `peer`.
pub(super) fn verdict(
    me: &Identity,
    peer: &Peer,
    hello: &[u8; HELLO],
    answer: &[u8; ANSWER],
    proof: &[u8; PROOF],
) -> Verdict {
    let expected = prove(&me.secret, b"shoal: the connecting side", hello, answer);
    if expected.verify_slice(proof).is_err() {
        return Verdict::WrongSecret;
    }
    match fits(me, peer) {
        Ok(()) => Verdict::Welcome,
        Err(LinkError::Itself) => Verdict::Itself,
        Err(_) => Verdict::OtherCluster,
    }
}

/// Whether a proven peer is one to speak to.
pub(super) fn fits(me: &Identity, peer: &Peer) -> Result<(), LinkError> {
    if peer.node == me.node {
        return Err(LinkError::Itself);
    }
    if peer.cluster != me.cluster && peer.cluster != 0 && me.cluster != 0 {
        return Err(LinkError::OtherCluster { ours: me.cluster, theirs: peer.cluster });
    }
    Ok(())
}

/// What a verdict means to the side that reads it.
pub(super) fn read_verdict(verdict: u8, me: &Identity, peer: &Peer) -> Result<(), LinkError> {
    match verdict {
        v if v == Verdict::Welcome as u8 => Ok(()),
        v if v == Verdict::WrongSecret as u8 => Err(LinkError::WrongSecret),
        v if v == Verdict::OtherCluster as u8 => {
            Err(LinkError::OtherCluster { ours: me.cluster, theirs: peer.cluster })
        }
        v if v == Verdict::Itself as u8 => Err(LinkError::Itself),
        _ => Err(LinkError::NotShoal),
    }
}

fn prove(secret: &[u8], label: &[u8], first: &[u8], second: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(label);
    mac.update(first);
    mac.update(second);
    mac
}

/// Fills an array from the front.
struct Writer<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Writer<N> {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    fn identity(&mut self, me: &Identity) {
        self.put(&me.cluster.to_le_bytes());
        self.put(&me.node.to_le_bytes());
        self.put(&me.incarnation.to_le_bytes());
    }
}

/// Reads messages of fixed size: what it is asked for is there.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.bytes.split_first_chunk().expect("messages have a fixed size");
        self.bytes = rest;
        *taken
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn peer(&mut self, version: u16) -> Peer {
        Peer { cluster: self.u64(), node: self.u64(), incarnation: self.u64(), version }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(node: u64, secret: &str) -> Identity {
        Identity { cluster: 5, node, incarnation: 100 + node, secret: secret.into(), versions: VERSIONS }
    }

    /// What both sides make of each other.
    fn meet(a: &Identity, b: &Identity) -> (Result<Peer, LinkError>, Verdict) {
        let hello = hello(a, &[1; 32]);
        let (answer, peer) = answer(b, &[2; 32], &hello);
        let peer = peer.unwrap();
        match judge(a, &hello, &answer) {
            Ok((other, proof)) => {
                let verdict = verdict(b, &peer, &hello, &answer, &proof);
                (read_verdict(verdict as u8, a, &other).map(|()| other), verdict)
            }
            Err(error) => (Err(error), verdict(b, &peer, &hello, &answer, &[0; PROOF])),
        }
    }

    #[test]
    fn equal_secrets_meet_and_others_do_not() {
        for secret in ["", "s", &"long".repeat(100)] {
            let (peer, verdict) = meet(&identity(1, secret), &identity(2, secret));
            assert_eq!(peer.unwrap(), Peer { cluster: 5, node: 2, incarnation: 102, version: 1 });
            assert_eq!(verdict, Verdict::Welcome);
        }
        for (one, other) in [("a", "b"), ("", "b"), ("a", ""), ("a", "A")] {
            let (peer, verdict) = meet(&identity(1, one), &identity(2, other));
            assert!(matches!(peer, Err(LinkError::WrongSecret)), "{peer:?}");
            assert_eq!(verdict, Verdict::WrongSecret);
        }
    }

    #[test]
    fn clusters_do_not_mix_and_a_newcomer_fits_any() {
        let (a, mut b) = (identity(1, "s"), identity(2, "s"));
        b.cluster = 6;
        let (peer, verdict) = meet(&a, &b);
        assert!(matches!(peer, Err(LinkError::OtherCluster { ours: 5, theirs: 6 })), "{peer:?}");
        assert_eq!(verdict, Verdict::OtherCluster);
        b.cluster = 0;
        assert!(meet(&a, &b).0.is_ok() && meet(&b, &a).0.is_ok());
        let (peer, verdict) = meet(&a, &a);
        assert!(matches!(peer, Err(LinkError::Itself)) && verdict == Verdict::Itself);
    }

    #[test]
    fn the_highest_common_version_is_spoken() {
        let speaks = |versions| Identity { versions, ..identity(versions.0 as u64 * 100, "s") };
        let at = |a, b| meet(&speaks(a), &Identity { node: 9, ..speaks(b) }).0.unwrap().version;
        assert_eq!((at((1, 4), (2, 3)), at((2, 3), (1, 4)), at((1, 1), (1, 9))), (3, 3, 1));
        let hello = hello(&speaks((1, 2)), &[0; 32]);
        let (answer, seen) = answer(&speaks((3, 5)), &[0; 32], &hello);
        assert!(matches!(seen, Err(LinkError::Version { ours: (3, 5), theirs: (1, 2) })));
        let told = judge(&speaks((1, 2)), &hello, &answer);
        assert!(matches!(told, Err(LinkError::Version { ours: (1, 2), theirs: (3, 5) })));
    }

    /// A proof covers every byte that was said: none can be changed on the way, and the other side's proof is no proof.
    #[test]
    fn no_byte_can_be_changed_on_the_way() {
        let (a, b) = (identity(1, "s"), Identity { versions: (1, 3), ..identity(2, "s") });
        let a = Identity { versions: (1, 3), ..a };
        let sent = hello(&a, &[1; 32]);
        for at in MAGIC.len()..HELLO {
            let mut changed = sent;
            changed[at] ^= 1;
            let (answer, _) = answer(&b, &[2; 32], &changed);
            assert!(judge(&a, &sent, &answer).is_err(), "byte {at} of the hello");
        }
        let (answered, peer) = answer(&b, &[2; 32], &sent);
        for at in MAGIC.len()..ANSWER {
            let mut changed = answered;
            changed[at] ^= 1;
            // What the field after the version says is not read, but it is proven.
            assert!(judge(&a, &sent, &changed).is_err(), "byte {at} of the answer");
        }
        let reflected: [u8; PROOF] = answered[ANSWER - PROOF..].try_into().unwrap();
        assert_eq!(verdict(&b, &peer.unwrap(), &sent, &answered, &reflected), Verdict::WrongSecret);
    }

    #[test]
    fn random_messages_never_panic() {
        let mut random = fastrand::Rng::with_seed(43);
        let me = identity(1, "s");
        for _ in 0..2000 {
            let (mut hello, mut answered) = ([0; HELLO], [0; ANSWER]);
            random.fill(&mut hello);
            random.fill(&mut answered);
            answered[8] = random.u8(..3);
            let _ = answer(&me, &[0; 32], &hello);
            assert!(judge(&me, &hello, &answered).is_err());
        }
    }
}
