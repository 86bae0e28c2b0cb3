//! What must hold for any bytes taken as RESP replies. Run by the fuzz target, and by `cargo test` on the corpus and mutations of it.

use shoal_protocol::resp::{FrameScanner, Output, Proto, Reply, ReplyError, frame_len};

/// Replies: their ends are found alike however the bytes are cut; a reply that can be decoded is written so that it reads back.
pub fn check(data: &[u8]) {
    let whole = ends(data, data.len().max(1));
    for piece in [1, 2, 3, 7] {
        assert_eq!(ends(data, piece), whole, "in pieces of {piece}: {}", data.escape_ascii());
    }
    let Ok(Some((reply, len))) = Reply::decode(data) else { return };
    assert_eq!(whole.0.first(), Some(&len));
    for proto in [Proto::Resp2, Proto::Resp3] {
        let wire = write(&reply, proto);
        assert_eq!(frame_len(&wire), Ok(Some(wire.len())));
        // Compared as bytes, as NaN is unequal to itself; the first writing may have taken line ends out of texts.
        let (again, _) = Reply::decode(&wire).expect("own writing").expect("own writing, complete");
        assert_eq!(write(&again, proto).escape_ascii().to_string(), wire.escape_ascii().to_string());
    }
}

fn write(reply: &Reply, proto: Proto) -> Vec<u8> {
    let mut out = Output::new(proto);
    reply.write(&mut out);
    out.take_bytes()
}

/// Lengths of the replies in `data`, and the error that ends them if it is not the end of the bytes.
fn ends(data: &[u8], piece: usize) -> (Vec<usize>, Option<ReplyError>) {
    let mut scanner = FrameScanner::new();
    let (mut lengths, mut start, mut end) = (Vec::new(), 0, 0);
    loop {
        match scanner.scan(&data[start..end]) {
            Ok(Some(len)) => {
                assert!(len > 0 && start + len <= end);
                lengths.push(len);
                start += len;
            }
            Ok(None) if end == data.len() => return (lengths, None),
            Ok(None) => end = (end + piece).min(data.len()),
            Err(error) => return (lengths, Some(error)),
        }
    }
}
