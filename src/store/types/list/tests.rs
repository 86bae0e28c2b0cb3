use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

const DEFAULT: ListLimits = ListLimits { max_listpack_size: -2 };

fn limits(max_listpack_size: i32) -> ListLimits {
    ListLimits { max_listpack_size }
}

fn list_of(values: impl IntoIterator<Item = Vec<u8>>, limits: ListLimits) -> List {
    let mut list = List::new();
    for value in values {
        list.push(End::Back, [&value[..]], limits);
    }
    list
}

fn numbered(count: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(|n| format!("value:{n}").into_bytes())
}

fn check(list: &List, model: &VecDeque<Vec<u8>>) {
    assert_eq!(list.len(), model.len());
    assert_eq!(list.is_empty(), model.is_empty());
    assert!(list.iter().map(Element::to_vec).eq(model.iter().cloned()));
    let backward = list.iter_from(model.len().wrapping_sub(1), End::Front);
    assert!(backward.map(Element::to_vec).eq(model.iter().rev().cloned()));
    for index in 0..model.len() {
        assert_eq!(list.get(index as i64).unwrap().to_vec(), model[index]);
        assert_eq!(list.get(index as i64 - model.len() as i64).unwrap().to_vec(), model[index]);
    }
    assert!(list.get(model.len() as i64).is_none());
    assert!(list.get(-(model.len() as i64) - 1).is_none());
    let packed: usize = list.packs().map(Pack::byte_len).sum();
    match &list.form {
        Form::Pack(_) => assert_eq!(list.allocated_bytes(), packed),
        Form::Row(row) => {
            assert!(list.packs().all(|pack| !pack.is_empty()));
            assert!(
                row.allocated_bytes() >= packed && row.allocated_bytes() < packed + 64 * (model.len() + 64)
            );
            assert_eq!(list.packs().map(Pack::len).sum::<usize>(), model.len());
        }
    }
}

#[test]
fn a_list_takes_two_words_beside_its_pack() {
    assert_eq!((size_of::<List>(), size_of::<Pack>()), (16, 8));
}

#[test]
fn limits_read_as_the_directive_says() {
    assert!(!DEFAULT.exceeded(8192, 100_000) && DEFAULT.exceeded(8193, 1));
    assert!(limits(-1).exceeded(4097, 1) && !limits(-5).exceeded(65_536, 1));
    assert!(limits(-6).exceeded(65_537, 1) && !limits(i32::MIN).exceeded(65_536, 1));
    assert!(!limits(3).exceeded(100, 3) && limits(3).exceeded(100, 4) && limits(3).exceeded(8193, 1));
    assert!(!limits(0).exceeded(10, 1) && limits(0).exceeded(10, 2));
    assert!(limits(i32::MAX).exceeded(8193, 2));
}

#[test]
fn grows_into_a_quicklist_where_redis_does() {
    // By count: the fourth element is one too many for 3.
    let mut list = list_of(numbered(3), limits(3));
    assert_eq!(list.encoding(), "listpack");
    list.push(End::Front, [&b"x"[..]], limits(3));
    assert_eq!(list.encoding(), "quicklist");
    // By size: the header's 7 bytes and the bytes of the text are compared with the limit.
    let mut list = List::new();
    list.push(End::Back, [&vec![b'v'; 4096 - 7][..]], limits(-1));
    assert_eq!(list.encoding(), "listpack");
    let mut list = List::new();
    list.push(End::Back, [&vec![b'v'; 4096 - 6][..]], limits(-1));
    assert_eq!(list.encoding(), "quicklist");
    // All arguments of one push are added up first.
    let half = vec![b'v'; 2048];
    let mut list = List::new();
    list.push(End::Back, [&half[..], &half], limits(-1));
    assert_eq!(list.encoding(), "quicklist");
    assert_eq!(list.len(), 2);
    // LSET and LINSERT count what they add, not what they replace.
    let mut list = list_of(numbered(3), limits(3));
    assert!(list.set(0, b"y", limits(3)));
    assert_eq!(list.encoding(), "quicklist");
    let mut list = list_of(numbered(3), limits(3));
    assert!(!list.insert_after(b"none", b"y", limits(3)));
    assert!(list.insert_after(b"value:1", b"y", limits(3)));
    assert_eq!(list.encoding(), "quicklist");
}

#[test]
fn shrinks_into_a_listpack_at_half_the_limit() {
    let list = list_of(numbered(11), limits(10));
    assert_eq!((list.encoding(), list.packs().count()), ("quicklist", 2));
    // The back pack goes first, then the front one has to fall to five.
    let mut popped = list.clone();
    for left in (0..11).rev() {
        popped.pop(End::Back, limits(10), |_| ()).unwrap();
        assert_eq!(popped.encoding(), if left > 5 { "quicklist" } else { "listpack" });
    }
    assert!(popped.pop(End::Back, limits(10), |_| ()).is_none());
    let mut trimmed = list.clone();
    trimmed.trim(1..7, limits(10));
    assert_eq!((trimmed.len(), trimmed.encoding()), (6, "quicklist"));
    trimmed.trim(1..6, limits(10));
    assert_eq!((trimmed.len(), trimmed.encoding()), (5, "listpack"));
    let mut removed = list.clone();
    removed.trim(0..6, limits(10));
    assert_eq!(removed.encoding(), "quicklist");
    assert_eq!(removed.remove(0, b"value:3", limits(10)), 1);
    assert_eq!(removed.encoding(), "listpack");
    let mut list = List::new();
    list.push(End::Back, [&b"a"[..], &[b'v'; 9000]], DEFAULT);
    assert_eq!(list.encoding(), "quicklist");
    list.set(1, b"b", DEFAULT);
    assert_eq!(list.packs().count(), 2);
    list.pop(End::Back, DEFAULT, |_| ());
    assert_eq!(list.encoding(), "listpack");
    let mut emptied = list_of(numbered(100), limits(3));
    emptied.trim(5..5, limits(3));
    assert_eq!((emptied.len(), emptied.encoding()), (0, "listpack"));
}

#[test]
fn big_elements_keep_to_themselves() {
    let big = vec![b'b'; 10_000];
    let mut list = List::new();
    list.push(End::Back, [&b"a"[..], &big, b"c"], DEFAULT);
    assert_eq!(list.packs().map(Pack::len).collect::<Vec<_>>(), [1, 1, 1]);
    assert!(list.insert_before(b"c", &big, DEFAULT));
    assert!(list.insert_after(b"c", b"d", DEFAULT));
    assert_eq!(list.packs().map(Pack::len).collect::<Vec<_>>(), [1, 1, 1, 2]);
    assert!(list.set(-1, &big, DEFAULT));
    let sizes: Vec<_> = list.iter().map(Element::text_len).collect();
    assert_eq!(sizes, [1, 10_000, 10_000, 1, 10_000]);
    assert!(list.insert_before(&big, b"x", limits(4)));
    check(&list, &[b"a".to_vec(), b"x".to_vec(), big.clone(), big.clone(), b"c".to_vec(), big].into());
}

#[test]
fn inserting_in_a_full_pack_splits_it_and_leaves_no_crumbs() {
    let mut list = list_of(numbered(2000), limits(-1));
    let mut model: VecDeque<_> = numbered(2000).collect();
    for step in 0..2000 {
        let value = format!("new:{step}").into_bytes();
        assert!(list.insert_before(b"value:1000", &value, limits(-1)));
        let at = model.iter().position(|own| own == b"value:1000").unwrap();
        model.insert(at, value);
    }
    check(&list, &model);
    let average = list.packs().map(Pack::byte_len).sum::<usize>() / list.packs().count();
    assert!(average > 1500, "{average}");
}

#[test]
fn a_million_elements_are_found_by_index() {
    let list = list_of((0..1_000_000).map(|n: u32| n.to_string().into_bytes()), DEFAULT);
    for index in [0, 1, 499_999, 500_000, 999_999] {
        assert_eq!(list.get(index), Some(Element::Int(index)));
        assert_eq!(list.get(index - 1_000_000), Some(Element::Int(index)));
    }
    assert_eq!(list.iter_from(700_000, End::Front).nth(10), Some(Element::Int(699_990)));
    assert_eq!(list.iter_from(1_000_000, End::Back).next(), None);
}

#[test]
fn positions_follow_lpos() {
    for limits in [DEFAULT, limits(2)] {
        let list = list_of(b"a b c 1 2 3 c c".split(|&b| b == b' ').map(<[u8]>::to_vec), limits);
        let all = usize::MAX;
        assert_eq!(list.positions(b"c", 1, 1, all), [2]);
        assert_eq!(list.positions(b"c", 2, 1, all), [6]);
        assert_eq!(list.positions(b"c", -1, 2, all), [7, 6]);
        assert_eq!(list.positions(b"c", -2, all, all), [6, 2]);
        assert_eq!(list.positions(b"c", 1, all, 7), [2, 6]);
        assert_eq!(list.positions(b"2", 1, all, all), [4]);
        assert_eq!(list.positions(b"a", -1, all, 7), [0usize; 0]);
        assert_eq!(list.positions(b"c", i64::MIN, all, all), [0usize; 0]);
    }
    assert_eq!(List::new().positions(b"a", -1, 1, 1), [0usize; 0]);
}

#[test]
fn dumps_come_back_whatever_their_packs() {
    let values: VecDeque<_> = numbered(3000).collect();
    for from in [DEFAULT, limits(1), limits(-5), limits(100)] {
        for to in [DEFAULT, limits(1), limits(-5), limits(100)] {
            let list = list_of(values.iter().cloned(), from);
            check(&List::from_packs(list.packs().cloned(), to).unwrap(), &values);
        }
    }
    let small = list_of(numbered(3), DEFAULT);
    let back = List::from_packs(small.packs().cloned().chain([Pack::new()]), DEFAULT).unwrap();
    assert_eq!(back.encoding(), "listpack");
    assert!(List::from_packs([Pack::new()], DEFAULT).is_none());
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0u8..6).prop_map(|n| n.to_string().into_bytes()),
        3 => (0usize..300).prop_map(|len| vec![b'v'; len]),
        1 => (4000usize..9000).prop_map(|len| vec![b'w'; len]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_changes_match_a_deque(
        limit in prop_oneof![Just(-1), Just(-2), 0i32..9],
        ops in prop::collection::vec((0u8..16, any::<prop::sample::Index>(), value(), -3i64..4), 1..150)
    ) {
        let limits = limits(limit);
        let (mut list, mut model) = (List::new(), VecDeque::<Vec<u8>>::new());
        for (op, index, value, count) in ops {
            let at = if model.is_empty() { 0 } else { index.index(model.len()) };
            match op {
                0..3 => { list.push(End::Front, [&value[..]], limits); model.push_front(value); }
                3 => {
                    list.push(End::Back, [&value[..], b"0", &value], limits);
                    model.extend([value.clone(), b"0".to_vec(), value]);
                }
                4 => prop_assert_eq!(list.pop(End::Front, limits, |e| e.to_vec()), model.pop_front()),
                5 => prop_assert_eq!(list.pop(End::Back, limits, |e| e.to_vec()), model.pop_back()),
                6 | 7 => {
                    prop_assert_eq!(list.set(at as i64, &value, limits), !model.is_empty());
                    if let Some(own) = model.get_mut(at) { *own = value; }
                }
                8..11 => {
                    let pivot = model.get(at).cloned().unwrap_or_default();
                    let expected = model.iter().position(|own| *own == pivot);
                    let done = if op == 8 {
                        list.insert_after(&pivot, &value, limits)
                    } else {
                        list.insert_before(&pivot, &value, limits)
                    };
                    prop_assert_eq!(done, expected.is_some());
                    if let Some(place) = expected { model.insert(place + usize::from(op == 8), value); }
                }
                11 => {
                    let all: Vec<_> = (0..model.len()).filter(|&i| model[i] == value).collect();
                    let most = if count == 0 { all.len() } else { all.len().min(count.unsigned_abs() as usize) };
                    let gone = if count < 0 { &all[all.len() - most..] } else { &all[..most] };
                    gone.iter().rev().for_each(|&i| drop(model.remove(i)));
                    prop_assert_eq!(list.remove(count, &value, limits), most);
                }
                12 if count == 0 => {
                    list.trim(at..model.len().saturating_sub(2), limits);
                    model.truncate(model.len().saturating_sub(2));
                    model.drain(..at.min(model.len()));
                }
                _ => { list.push(End::Back, [&value[..]], limits); model.push_back(value); }
            }
        }
        check(&list, &model);
    }
}
