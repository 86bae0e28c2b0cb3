use super::*;

fn pairs<'a>(words: &'a [&'a str]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone {
    words.chunks(2).map(|pair| (pair[0].as_bytes(), pair[1].as_bytes()))
}

fn text(entry: &Entry<'_>) -> Vec<String> {
    let flat = entry.pairs.iter().flat_map(|(field, value)| [field.to_vec(), value.to_vec()]);
    flat.map(|bytes| String::from_utf8(bytes).unwrap()).collect()
}

#[test]
fn entries_come_back_in_order_whatever_was_removed() {
    let mut rng = fastrand::Rng::with_seed(5);
    for limits in [StreamLimits::default(), StreamLimits { max_bytes: 0, max_entries: 3 }] {
        let mut stream = Stream::new();
        let mut model: BTreeMap<StreamId, Vec<String>> = BTreeMap::new();
        let mut id = StreamId { ms: 5, seq: 1 };
        for _ in 0..4000 {
            match rng.u8(..10) {
                0..6 => {
                    id = if rng.bool() {
                        id.next().unwrap()
                    } else {
                        StreamId { ms: id.ms + rng.u64(1..9), seq: 0 }
                    };
                    let words = if rng.bool() {
                        vec!["a".into(), rng.u32(..99).to_string(), "b".into(), "x".repeat(rng.usize(..40))]
                    } else {
                        vec![format!("f{}", rng.u8(..3)), "v".into()]
                    };
                    let refs: Vec<&str> = words.iter().map(String::as_str).collect();
                    stream.add(id, pairs(&refs), limits);
                    model.insert(id, words);
                }
                6..8 => {
                    let pick = model.keys().nth(rng.usize(..model.len().max(1))).copied();
                    if let Some(pick) = pick {
                        assert!(stream.remove(pick));
                        model.remove(&pick);
                    }
                    assert!(!stream.remove(StreamId { ms: id.ms + 1, seq: 7 }));
                }
                8 => {
                    let keep = rng.u64(..200);
                    let gone = stream.trim(Keep::Newest(keep), false, 0);
                    let excess = (model.len() as u64).saturating_sub(keep);
                    assert_eq!(gone, excess);
                    (0..excess).for_each(|_| drop(model.pop_first()));
                }
                _ => {
                    let from = StreamId { ms: id.ms.saturating_sub(rng.u64(..400)), seq: 0 };
                    let gone = stream.trim(Keep::From(from), false, 0);
                    let before = model.len();
                    model.retain(|id, _| *id >= from);
                    assert_eq!(gone as usize, before - model.len());
                }
            }
            assert_eq!(stream.len() as usize, model.len());
            let (a, b) = (rng.u64(..id.ms + 2), rng.u64(..id.ms + 2));
            let (start, end) = (StreamId { ms: a.min(b), seq: 0 }, StreamId { ms: a.max(b), seq: 3 });
            let expected: Vec<_> = model.range(start..=end).map(|(id, words)| (*id, words.clone())).collect();
            let found: Vec<_> = stream.range(start, end).map(|entry| (entry.id, text(&entry))).collect();
            assert_eq!(found, expected);
            let mut back: Vec<_> =
                stream.range_back(start, end).map(|entry| (entry.id, text(&entry))).collect();
            back.reverse();
            assert_eq!(back, expected);
        }
        let nodes: Vec<_> = stream.nodes().map(|(id, pack)| (id, pack.clone())).collect();
        let len = stream.len();
        let again = Stream::from_parts(nodes, len, stream.last_id, StreamId::MIN, 0, BTreeMap::new());
        assert_eq!(again.map(|stream| stream.len()), Some(len));
    }
}

#[test]
fn an_approximate_trim_takes_whole_nodes() {
    let mut stream = Stream::new();
    for ms in 1..=1000 {
        stream.add(StreamId { ms, seq: 0 }, pairs(&["item", "1"]), StreamLimits::default());
    }
    assert_eq!(stream.nodes().len(), 10);
    assert_eq!(stream.trim(Keep::Newest(550), true, 0), 400);
    assert_eq!(stream.trim(Keep::Newest(0), true, 250), 200);
    assert_eq!((stream.len(), stream.first_id()), (400, Some(StreamId { ms: 601, seq: 0 })));
}

#[test]
fn nodes_take_room_for_those_there_are() {
    let mut stream = Stream::new();
    let limits = StreamLimits { max_bytes: 0, max_entries: 1 };
    stream.add(StreamId { ms: 1, seq: 0 }, pairs(&["item", "1"]), limits);
    assert_eq!(stream.nodes.capacity(), 1);
    for ms in 2..=1000 {
        stream.add(StreamId { ms, seq: 0 }, pairs(&["item", "1"]), limits);
    }
    for ms in 500..=1000 {
        assert!(stream.remove(StreamId { ms, seq: 0 }));
    }
    assert_eq!(stream.trim(Keep::Newest(10), false, 0), 489);
    assert!(stream.nodes.capacity() <= 64, "{}", stream.nodes.capacity());
    let ids: Vec<u64> = stream.range(StreamId::MIN, StreamId::MAX).map(|entry| entry.id.ms).collect();
    assert_eq!(ids, (490..500).collect::<Vec<_>>());
}

#[test]
fn a_dump_that_names_a_node_twice_is_refused() {
    let mut stream = Stream::new();
    stream.add(StreamId { ms: 1, seq: 0 }, pairs(&["item", "1"]), StreamLimits::default());
    let node = || stream.nodes().map(|(id, pack)| (id, pack.clone())).next().unwrap();
    let of = |nodes, len| {
        Stream::from_parts(nodes, len, stream.last_id, StreamId::MIN, len, BTreeMap::new()).is_some()
    };
    assert!(of(vec![node()], 1) && !of(vec![node(), node()], 2));
}

#[test]
fn a_group_keeps_its_two_lists_in_step() {
    let mut group = Group::new(StreamId::MIN, None);
    assert!(group.consumer(b"a", 1).1 && group.consumer(b"b", 1).1 && !group.consumer(b"a", 2).1);
    let id = |ms| StreamId { ms, seq: 0 };
    (1..=4).for_each(|ms| group.deliver(id(ms), b"a", 1, 1));
    group.deliver(id(2), b"b", 5, 2);
    assert_eq!(group.consumers()[&b"a"[..]].pending().len(), 3);
    assert_eq!(group.pending()[&id(2)].consumer, b"b"[..].into());
    assert!(group.forget(id(1)) && !group.forget(id(1)));
    assert_eq!(group.remove_consumer(b"a"), Some(2));
    assert_eq!(group.pending().keys().copied().collect::<Vec<_>>(), [id(2)]);
}

#[test]
fn ids_are_read_and_stepped() {
    assert_eq!(StreamId::parse(b"5-7", 9), Some(StreamId { ms: 5, seq: 7 }));
    assert_eq!(StreamId::parse(b"5", 9), Some(StreamId { ms: 5, seq: 9 }));
    for bad in [&b""[..], b"-", b"5-", b"-5", b"a-1", b"1-2-3", b"1-2+"] {
        assert_eq!(StreamId::parse(bad, 0), None, "{}", bad.escape_ascii());
    }
    assert_eq!(StreamId { ms: 1, seq: u64::MAX }.next(), Some(StreamId { ms: 2, seq: 0 }));
    assert_eq!(StreamId { ms: 1, seq: 0 }.prev(), Some(StreamId { ms: 0, seq: u64::MAX }));
    assert_eq!((StreamId::MAX.next(), StreamId::MIN.prev()), (None, None));
}
