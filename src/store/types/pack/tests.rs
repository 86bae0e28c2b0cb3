use super::*;
use proptest::prelude::*;

fn texts(pack: &Pack) -> Vec<Vec<u8>> {
    pack.iter().map(Element::to_vec).collect()
}

fn check(pack: &Pack, model: &[Vec<u8>]) {
    assert!(Pack::validate(pack.as_bytes()), "{:?}", pack.as_bytes());
    assert_eq!(texts(pack), model);
    assert_eq!(pack.len(), model.len());
    assert_eq!(pack.is_empty(), model.is_empty());
    let mut backward: Vec<_> = pack.iter().rev().map(Element::to_vec).collect();
    backward.reverse();
    assert_eq!(backward, model);
    for index in 0..model.len() {
        let negative = index as isize - model.len() as isize;
        for at in [pack.seek(index as isize), pack.seek(negative)] {
            assert_eq!(pack.at(at.unwrap()).to_vec(), model[index]);
        }
    }
    assert!(pack.seek(model.len() as isize).is_none());
    assert!(pack.seek(-(model.len() as isize) - 1).is_none());
}

/// Every integer width and string header, at its bounds.
fn bounds() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    for edge in [0i64, 0x7F, 0xFFF, 0x7FFF, 0x7F_FFFF, 0x7FFF_FFFF] {
        for number in [edge - 1, edge, edge + 1, -edge - 2, -edge - 1, -edge] {
            all.push(number.to_string().into_bytes());
        }
    }
    all.extend([i64::MIN, i64::MIN + 1, i64::MAX].map(|n| n.to_string().into_bytes()));
    for text in ["", "-", "-0", "00", "01", "+1", " 1", "1 ", "9223372036854775808", "-9223372036854775809"] {
        all.push(text.into());
    }
    all.push(b"99999999999999999999".to_vec());
    all.push(b"184467440737095516160".to_vec());
    for len in [1, 63, 64, 125, 126, 127, 4095, 4096, 16_377, 16_378, 16_379, 2_097_145, 2_097_146] {
        all.push(vec![b'x'; len]);
    }
    all
}

#[test]
fn every_width_comes_back() {
    let all = bounds();
    let mut pack = Pack::new();
    for text in &all {
        pack.push_back(text);
        assert_eq!(Element::from(text).text_len(), text.len());
    }
    check(&pack, &all);
    check(&Pack::of(&all), &all);
    let mut at_once = Pack::new();
    at_once.push_back_all(all.iter().map(Element::from));
    assert_eq!(at_once.as_bytes(), pack.as_bytes());
    for text in &all {
        let before = pack.byte_len();
        pack.push_front(text);
        assert_eq!(pack.byte_len() - before, Element::from(text).packed_len());
        let found = pack.find(text, HEADER, 0).unwrap();
        assert_eq!(found, HEADER);
        assert_eq!(pack.at(found).text_len(), text.len());
        pack.remove(found);
    }
    check(&pack, &all);
}

/// A text looked for by the bytes of its entry may be found within others, or where a value stands.
#[test]
fn what_reads_like_an_entry_is_not_taken_for_one() {
    let name = b"name-7";
    let spelled = [&[0x80 | 6][..], name, &[7]].concat();
    let within = [b"before ", &spelled[..], b" behind"].concat();
    for filler in [&b"0123456789"[..], b"12", b"other", &[b'x'; 80]] {
        for real in 0..12 {
            // Names and values in turn; all the decoys come before the real name.
            let mut pack = Pack::new();
            for nth in 0..real {
                let value = [name, &within[..], filler][nth % 3];
                pack.push_back_pair([filler, &within[..]][nth % 2], value);
            }
            assert_eq!(pack.find(name, HEADER, 1), None);
            let at = pack.end_position();
            pack.push_back_pair(name, filler);
            pack.push_back_pair(name, name);
            assert_eq!(pack.find(name, HEADER, 1), Some(at), "{real} pairs with {filler:?}");
            assert_eq!(pack.pairs_between(HEADER, at), real);
            assert_eq!(pack.pass_pairs(HEADER, real), at);
            let first = pack.positions_from(HEADER).find(|&at| pack.at(at).eq_bytes(name));
            assert_eq!(pack.find(name, HEADER, 0), first);
        }
    }
}

/// The bytes Redis 7.0 writes for RPUSH of the same (list-max-listpack-size -5, DUMP).
#[test]
fn the_bytes_are_redis_s() {
    let pack =
        Pack::of([&b"a"[..], b"1", b"-1", b"4095", b"-4097", b"8388607", b"-2147483648", b"99999999999"]);
    let expected = b"\x2b\0\0\0\x08\0\x81a\x02\x01\x01\xdf\xff\x02\xcf\xff\x02\xf1\xff\xef\x03\
        \xf2\xff\xff\x7f\x04\xf3\0\0\0\x80\x05\xf4\xff\xe7\x76\x48\x17\0\0\0\x09\xff";
    assert_eq!(pack.as_bytes(), expected);
}

#[test]
fn text_and_integer_are_equal_by_text() {
    assert_eq!(Element::Int(12), Element::Str(b"12"));
    assert_eq!(Element::Str(b"12"), Element::Int(12));
    assert_ne!(Element::Str(b"012"), Element::Int(12));
    assert_ne!(Element::Str(b"a"), Element::Str(b"b"));
    assert_eq!(Element::Str(b"-5").int(), Some(-5));
    assert_eq!(Element::Str(b"x").int(), None);
}

/// A foreign pack may hold digits as a string; they are found all the same.
#[test]
fn digits_kept_as_text_are_found() {
    let pack = Pack::from_bytes(b"\x0b\0\0\0\x01\0\x8212\x03\xff").unwrap();
    assert_eq!(pack.find(b"12", HEADER, 0), Some(HEADER));
}

#[test]
fn find_passes_over_values() {
    let pack = Pack::of(b"a b c a b".split(|&b| b == b' '));
    let field = pack.find(b"b", HEADER, 1).unwrap();
    assert_eq!(Some(field), pack.seek(4));
    assert_eq!(pack.find(b"b", HEADER, 2), None);
    assert_eq!(pack.find(b"z", HEADER, 0), None);
    assert_eq!(Pack::new().find(b"z", HEADER, 0), None);
}

#[test]
fn counts_past_the_header_are_walked() {
    let mut pack = Pack::of((0..65_534).map(Element::Int));
    assert_eq!(pack.len(), 65_534);
    pack.push_back(1i64);
    assert_eq!(pack.len(), 65_535);
    pack.push_front(2i64);
    assert_eq!(pack.len(), 65_536);
    assert!(Pack::validate(pack.as_bytes()));
    assert_eq!(pack.get(-1), Some(Element::Int(1)));
    assert_eq!(pack.get(65_536), None);
    assert_eq!(pack.get(-65_537), None);
    pack.remove_range(10, 100_000);
    assert_eq!(pack.len(), 10);
    pack.remove_range(0, 10);
    assert_eq!(pack.as_bytes(), Pack::new().as_bytes());
    let long = Pack::of((0..40_000).map(Element::Int));
    let mut twice = long.clone();
    twice.append(&long);
    assert_eq!(twice.len(), 80_000);
    assert!(Pack::validate(twice.as_bytes()));
}

#[test]
fn bad_packs_are_refused() {
    let good = Pack::of([&b"field"[..], b"12345"]);
    assert!(Pack::from_bytes(good.as_bytes()).is_some());
    for cut in 0..good.byte_len() {
        assert!(!Pack::validate(&good.as_bytes()[..cut]));
    }
    let bad: [&[u8]; 7] = [
        b"",
        b"\x07\0\0\0\x01\0\xff",
        b"\x08\0\0\0\0\0\xff",
        b"\x08\0\0\0\0\0\xff\xff",
        b"\x0a\0\0\0\x01\0\x81a\x03\xff",
        b"\x0b\0\0\0\x01\0\xf0\xff\xff\xff\xff",
        b"\x0a\0\0\0\x01\0\xf5a\x02\xff",
    ];
    for bytes in bad {
        assert!(!Pack::validate(bytes), "{bytes:?}");
    }
    let unknown_count = b"\x0a\0\0\0\xff\xff\x81a\x02\xff";
    assert_eq!(Pack::from_bytes(unknown_count).unwrap().len(), 1);
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        (-5000i64..5000).prop_map(|n| n.to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..8),
        (0usize..200).prop_map(|len| vec![b'v'; len]),
        (4090usize..4100).prop_map(|len| vec![b'w'; len]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_changes_match_a_vec(
        ops in prop::collection::vec((0u8..11, any::<prop::sample::Index>(), text(), 0usize..4), 1..80)
    ) {
        let (mut pack, mut model) = (Pack::new(), Vec::<Vec<u8>>::new());
        for (op, index, text, count) in ops {
            let at = if model.is_empty() { 0 } else { index.index(model.len()) };
            let position = pack.seek(at as isize);
            match (op, position) {
                (0, _) => { pack.push_front(&text); model.insert(0, text); }
                (1, Some(position)) => { pack.insert_before(position, &text); model.insert(at, text); }
                (2, Some(position)) => {
                    let new = pack.insert_after(position, &text);
                    prop_assert_eq!(pack.at(new).to_vec(), &text[..]);
                    model.insert(at + 1, text);
                }
                (3, Some(position)) => { pack.replace(position, &text); model[at] = text; }
                (4, Some(position)) => {
                    let next = pack.remove(position);
                    model.remove(at);
                    prop_assert_eq!(next, pack.seek(at as isize));
                }
                (5, Some(_)) => {
                    let expected = count.min(model.len() - at);
                    prop_assert_eq!(pack.remove_range(at as isize, count), expected);
                    model.drain(at..at + expected);
                }
                (6, Some(position)) => {
                    let tail = pack.split_off(position);
                    check(&tail, &model[at..]);
                    check(&pack, &model[..at]);
                    pack.append(&tail);
                }
                (8, Some(_)) => {
                    let bit = count.min(1) as u8;
                    let before = model.len();
                    model.retain(|own| own.len() as u8 & 1 == bit);
                    prop_assert_eq!(pack.retain(|e| e.text_len() as u8 & 1 == bit), before - model.len());
                }
                (9, _) => {
                    pack.push_back_pair(&text, count as i64);
                    model.extend([text, count.to_string().into_bytes()]);
                }
                (7, Some(_)) => {
                    let expected = model.iter().position(|own| *own == text);
                    let found = pack.find(&text, HEADER, 0);
                    prop_assert_eq!(found, expected.and_then(|nth| pack.seek(nth as isize)));
                }
                _ => { pack.push_back(&text); model.push(text); }
            }
        }
        check(&pack, &model);
        check(&Pack::from_bytes(pack.as_bytes()).unwrap(), &model);
    }

    #[test]
    fn whatever_validates_can_be_walked(
        elements in prop::collection::vec(text(), 0..12),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        tail in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let mut bytes = Pack::of(&elements).as_bytes().to_vec();
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.extend(tail);
        if let Some(mut pack) = Pack::from_bytes(&bytes) {
            let forward = texts(&pack);
            let mut backward: Vec<_> = pack.iter().rev().map(Element::to_vec).collect();
            backward.reverse();
            prop_assert_eq!(&forward, &backward);
            pack.push_back(b"more");
            pack.remove_range(0, 1);
            prop_assert!(Pack::validate(pack.as_bytes()));
        }
    }

    #[test]
    fn noise_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        Pack::validate(&bytes);
        let total = bytes.len() as u32;
        if bytes.len() >= Pack::EMPTY_BYTES {
            bytes[..4].copy_from_slice(&total.to_le_bytes());
            bytes[4..6].copy_from_slice(&[0xFF; 2]);
            *bytes.last_mut().unwrap() = END;
        }
        if let Some(pack) = Pack::from_bytes(&bytes) {
            prop_assert_eq!(pack.iter().count(), pack.iter().rev().count());
        }
    }
}
