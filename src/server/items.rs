//! Items of memcached that several nodes hold: one `get` of many keys taken further apart, and its answers put together.
//!
//! Items are answered in the order of their keys, on which some clients rely: what is not found is told by what comes next.

use crate::command::forward::{Part, Target};
use crate::state::partition::partition_of;
use shoal_protocol::memcache::Fault;
use shoal_protocol::resp::OwnedArgs;

const END: &[u8] = b"END\r\n";

/// A part that is a `get`, `gets`, `gat` or `gats`, key by key.
pub(super) fn singly(part: &Part) -> Vec<Part> {
    let args = part.requests[0].as_args();
    let words = words(&args[0]);
    let (head, keys) = words.split_at(words.len() - part.places.len());
    let of_key = |(key, place): (&&[u8], &usize)| {
        let line = [&head.join(&b' ')[..], b" ", key, b"\r\n"].concat();
        let requests = vec![OwnedArgs::from_iter([&line[..]])];
        Part { target: Target::Partition(partition_of(key)), requests, places: vec![*place], ..*part }
    };
    keys.iter().zip(&part.places).map(of_key).collect()
}

/// The items of the answers to all parts in the order of their keys, or the first answer that is an error.
pub(super) fn merge(parts: &[Part], answers: &[Vec<u8>]) -> Vec<u8> {
    let mut found: Vec<(usize, &[u8])> = Vec::new();
    for (part, answer) in parts.iter().zip(answers) {
        let mut rest = match answer.strip_suffix(END) {
            Some(items) => items,
            // A key that is no string is no item, as where one node serves all.
            None if *answer == Fault::WrongType.line() => continue,
            None => return answer.clone(),
        };
        let args = part.requests[0].as_args();
        let words = words(&args[0]);
        let mut keys = words[words.len() - part.places.len()..].iter().zip(&part.places);
        while let Some((key, item, behind)) = first(rest) {
            let place = keys.find(|(asked, _)| **asked == key).map_or(usize::MAX, |(_, place)| *place);
            found.push((place, item));
            rest = behind;
        }
    }
    found.sort_by_key(|(place, _)| *place);
    let mut all = Vec::with_capacity(answers.iter().map(Vec::len).sum());
    found.iter().for_each(|(_, item)| all.extend_from_slice(item));
    all.extend_from_slice(END);
    all
}

/// The key of the first of some items, `VALUE key flags bytes ...`, the item itself and what is behind it.
fn first(items: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let line = memchr::memchr(b'\n', items)? + 1;
    let words = words(&items[..line]);
    let bytes: usize = std::str::from_utf8(words.get(3)?).ok()?.parse().ok()?;
    let (item, behind) = items.split_at_checked(line.checked_add(bytes)?.checked_add(2)?)?;
    Some((words[1], item, behind))
}

fn words(line: &[u8]) -> Vec<&[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(line: &str, places: &[usize]) -> Part {
        Part {
            target: Target::Partition(0),
            requests: vec![OwnedArgs::from_iter([line.as_bytes()])],
            is_transaction: false,
            is_memcached: true,
            token: 0,
            is_repeatable: true,
            places: places.to_vec(),
        }
    }

    fn merged(parts: &[Part], answers: &[&str]) -> String {
        let answers: Vec<Vec<u8>> = answers.iter().map(|answer| answer.as_bytes().to_vec()).collect();
        String::from_utf8(merge(parts, &answers)).expect("text")
    }

    /// Cache::Memcached::Fast takes an item that comes before its turn for one that was not asked for: it saw a third of a get.
    #[test]
    fn items_come_in_the_order_of_their_keys() {
        let parts = [part("get a c b a\r\n", &[0, 2, 4, 5]), part("get x y\r\n", &[1, 3])];
        let one = "VALUE a 0 1\r\n1\r\nVALUE b 7 6 99\r\nEND\r\n!\r\nVALUE a 0 1\r\n1\r\nEND\r\n";
        let other = "VALUE y 0 0\r\n\r\nEND\r\n";
        let all = "VALUE a 0 1\r\n1\r\nVALUE y 0 0\r\n\r\nVALUE b 7 6 99\r\nEND\r\n!\r\nVALUE a 0 1\r\n1\r\nEND\r\n";
        assert_eq!(merged(&parts, &[one, other]), all);
        assert_eq!(merged(&parts, &["END\r\n", "END\r\n"]), "END\r\n");
        let no_string = String::from_utf8(Fault::WrongType.line().to_vec()).expect("text");
        assert_eq!(merged(&parts, &[&no_string, other]), "VALUE y 0 0\r\n\r\nEND\r\n");
        assert_eq!(merged(&parts, &["END\r\n", "SERVER_ERROR no\r\n"]), "SERVER_ERROR no\r\n");
    }

    #[test]
    fn a_get_is_taken_apart_key_by_key() {
        let parts = singly(&part("gat 60  a b\r\n", &[3, 5]));
        let lines: Vec<Vec<u8>> = parts.iter().map(|part| part.requests[0].as_args()[0].to_vec()).collect();
        assert_eq!(lines, [b"gat 60 a\r\n", b"gat 60 b\r\n"]);
        assert!(parts.iter().zip([3, 5]).all(|(part, place)| part.places == [place] && part.is_memcached));
        assert!(parts[0].target == Target::Partition(partition_of(b"a")));
    }
}
