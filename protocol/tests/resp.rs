//! The RESP codec from outside: random requests and replies survive the wire, the `redis-protocol` crate agrees with us on what
//! they are, and the fuzz corpus with mutations of it breaks nothing.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use redis_protocol::resp2::{decode, types::OwnedFrame};
use shoal_protocol::resp::{Limits, Output, OwnedArgs, Proto, Reply, RequestParser};

#[path = "../fuzz/checks/resp_reply.rs"]
mod resp_reply;
#[path = "../fuzz/checks/resp_request.rs"]
mod resp_request;

/// Bytes that are likely to matter to the codec, and any others.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..20),
        vec(prop::sample::select(b"\r\n$*0129-\"'\\ x".to_vec()), 0..20),
        vec(any::<u8>(), 0..3000),
    ]
}

/// Text of a line: no line end in it.
fn text() -> impl Strategy<Value = Vec<u8>> {
    "[ -~]{0,20}".prop_map(String::into_bytes)
}

fn reply(proto: Proto) -> BoxedStrategy<Reply> {
    let common = prop_oneof![
        text().prop_map(Reply::Simple),
        text().prop_map(Reply::Error),
        any::<i64>().prop_map(Reply::Int),
        bytes().prop_map(Reply::Bulk),
        Just(Reply::Null),
    ];
    if proto == Proto::Resp2 {
        return common.prop_recursive(4, 40, 8, |inner| vec(inner, 0..8).prop_map(Reply::Array)).boxed();
    }
    let leaf = prop_oneof![
        common,
        any::<f64>().prop_filter("NaN is unequal to itself", |value| !value.is_nan()).prop_map(Reply::Double),
        any::<bool>().prop_map(Reply::Bool),
        "-?[1-9][0-9]{0,40}".prop_map(|digits| Reply::BigNumber(digits.into_bytes())),
        bytes().prop_map(|text| Reply::Verbatim(*b"txt", text)),
    ];
    leaf.prop_recursive(4, 40, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Reply::Array),
            vec(inner.clone(), 0..8).prop_map(Reply::Set),
            vec(inner.clone(), 0..8).prop_map(Reply::Push),
            vec((inner.clone(), inner), 0..8).prop_map(Reply::Map),
        ]
    })
    .boxed()
}

fn write(reply: &Reply, proto: Proto) -> Vec<u8> {
    let mut out = Output::new(proto);
    reply.write(&mut out);
    out.take_bytes()
}

/// The crate's frame as a reply of ours.
fn from_crate(frame: OwnedFrame) -> Reply {
    match frame {
        OwnedFrame::SimpleString(text) => Reply::Simple(text),
        OwnedFrame::Error(text) => Reply::Error(text.into_bytes()),
        OwnedFrame::Integer(value) => Reply::Int(value),
        OwnedFrame::BulkString(value) => Reply::Bulk(value),
        OwnedFrame::Array(frames) => Reply::Array(frames.into_iter().map(from_crate).collect()),
        OwnedFrame::Null => Reply::Null,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn requests_survive_the_wire(requests in vec(vec(bytes(), 1..6), 1..5), piece in 1usize..100) {
        let requests: Vec<OwnedArgs> = requests.iter().map(|args| args.iter().collect()).collect();
        let mut wire = Vec::new();
        requests.iter().for_each(|args| args.as_args().write_request(&mut wire));
        let mut parser = RequestParser::new();
        let (mut start, mut end) = (0, 0);
        for request in &requests {
            let parsed = loop {
                match parser.parse(&wire[start..end], &Limits::default()).unwrap() {
                    Some(parsed) => break parsed,
                    None => end = (end + piece).min(wire.len()),
                }
            };
            prop_assert_eq!(parser.args(&wire[start..end]), request.as_args());
            let (frame, len) = decode::decode(&wire[start..]).unwrap().unwrap();
            prop_assert_eq!(len, parsed.consumed);
            let args = request.as_args().iter().map(|arg| Reply::Bulk(arg.to_vec())).collect();
            prop_assert_eq!(from_crate(frame), Reply::Array(args));
            start += parsed.consumed;
        }
        prop_assert_eq!(start, wire.len());
    }

    #[test]
    fn replies_survive_the_wire(reply in reply(Proto::Resp3)) {
        let wire = write(&reply, Proto::Resp3);
        prop_assert_eq!(Reply::decode(&wire), Ok(Some((reply, wire.len()))));
    }

    #[test]
    fn the_other_crate_reads_the_same_replies(reply in reply(Proto::Resp2)) {
        let wire = write(&reply, Proto::Resp2);
        prop_assert_eq!(Reply::decode(&wire), Ok(Some((reply.clone(), wire.len()))));
        let (frame, len) = decode::decode(&wire).unwrap().unwrap();
        prop_assert_eq!((from_crate(frame), len), (reply, wire.len()));
    }

    #[test]
    fn any_bytes_keep_the_promises(data in bytes()) {
        resp_request::check(&data);
        resp_reply::check(&data);
    }
}

#[test]
fn request_corpus_and_mutations() {
    replay("resp_request", resp_request::check);
}

#[test]
fn reply_corpus_and_mutations() {
    replay("resp_reply", resp_reply::check);
}

/// Runs `check` on each file of a fuzz corpus and on a fixed series of mutations of them.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(corpus.len() > 5, "the corpus is in the repository");
    corpus.iter().for_each(|data| check(data));
    let mut random = Random(0x5eed);
    for _ in 0..20_000 {
        let mut data = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut data, &corpus, &mut random);
        }
        check(&data);
    }
}

fn mutate(data: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    const TOKENS: [&[u8]; 10] =
        [b"\r\n", b"*2\r\n", b"$3\r\n", b"|1\r\n", b"%1\r\n", b"\r", b"-1", b"\"", b"\\x4", b"99999999999"];
    let at = random.below(data.len() + 1);
    match random.below(6) {
        0 if at < data.len() => data[at] = random.below(256) as u8,
        1 => data.truncate(at),
        2 => {
            let end = (at + random.below(8)).min(data.len());
            data.drain(at..end);
        }
        3 => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len() + 1);
            data.splice(at..at, other[from..].iter().copied());
        }
        4 if at < data.len() => data[at] = data[at].wrapping_add(1),
        _ => {
            let token = TOKENS[random.below(TOKENS.len())];
            data.splice(at..at, token.iter().copied());
        }
    }
}

/// A fixed series of numbers (xorshift), so that a failure comes back.
struct Random(u64);

impl Random {
    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
