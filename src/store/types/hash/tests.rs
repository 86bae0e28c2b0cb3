use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};

const DEFAULT: HashLimits = HashLimits { max_listpack_entries: 512, max_listpack_value: 64 };

fn limits(max_listpack_entries: usize, max_listpack_value: usize) -> HashLimits {
    HashLimits { max_listpack_entries, max_listpack_value }
}

fn numbered(count: usize, limits: HashLimits) -> Hash {
    let mut hash = Hash::new();
    for n in 0..count {
        assert!(hash.set(format!("field:{n}").as_bytes(), n.to_string().as_bytes(), limits));
    }
    hash
}

fn pairs(hash: &Hash) -> BTreeMap<Vec<u8>, Vec<u8>> {
    hash.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

#[test]
fn a_hash_takes_two_words_beside_its_pack() {
    assert_eq!((size_of::<Hash>(), size_of::<Pack>()), (16, 8));
    assert_eq!(size_of::<Field>(), 8);
}

#[test]
fn becomes_a_table_where_redis_does() {
    let mut hash = numbered(512, DEFAULT);
    assert_eq!(hash.encoding(), "listpack");
    assert!(!hash.set(b"field:7", b"again", DEFAULT));
    assert_eq!(hash.encoding(), "listpack");
    assert!(hash.set(b"one more", b"", DEFAULT));
    assert_eq!((hash.encoding(), hash.len()), ("hashtable", 513));
    assert_eq!(hash.get(b"field:7"), Some(Element::Str(b"again")));
    for n in 0..512 {
        assert!(hash.remove(format!("field:{n}").as_bytes()));
    }
    assert_eq!((hash.encoding(), hash.len()), ("hashtable", 1));

    for (name, value, encoding) in [(64, 64, "listpack"), (65, 1, "hashtable"), (1, 65, "hashtable")] {
        let mut hash = numbered(2, DEFAULT);
        assert!(hash.set(&vec![b'n'; name], &vec![b'v'; value], DEFAULT));
        assert_eq!((hash.encoding(), hash.len()), (encoding, 3));
    }
    let mut hash = numbered(2, DEFAULT);
    assert!(!hash.set(b"field:0", &[b'v'; 65], DEFAULT));
    assert_eq!(hash.encoding(), "hashtable");
    let mut hash = Hash::new();
    hash.expect_fields(512, DEFAULT);
    assert_eq!(hash.encoding(), "listpack");
    hash.expect_fields(513, DEFAULT);
    assert_eq!(hash.encoding(), "hashtable");
    assert_eq!(numbered(1, limits(0, 64)).encoding(), "hashtable");
}

#[test]
fn fields_set_at_once_are_as_if_set_one_by_one() {
    let mut rng = fastrand::Rng::with_seed(11);
    for round in 0..600 {
        let names = rng.usize(1..60);
        let limits = limits(rng.usize(1..40), rng.usize(4..40));
        let text = |n: usize| if n.is_multiple_of(3) { n.to_string() } else { "x".repeat(n % 37) + "-" };
        let words: Vec<(String, String)> = (0..rng.usize(1..50))
            .map(|_| (format!("f{}", rng.usize(..names)), text(rng.usize(..200))))
            .collect();
        let mut hash = Hash::new();
        if round % 4 == 0 {
            hash.set(b"f1", b"before", limits);
        }
        let mut model = hash.clone();
        let bytes = words.iter().map(|(field, value)| (field.as_bytes(), value.as_bytes()));
        let added = hash.set_all(bytes.clone(), limits);
        model.expect_fields(words.len(), limits);
        let expected = bytes.filter(|(field, value)| model.set(field, value, limits)).count();
        assert_eq!(
            (added, hash.encoding(), pairs(&hash)),
            (expected, model.encoding(), pairs(&model)),
            "{words:?}"
        );
        assert_eq!(hash.as_pack().map(Pack::as_bytes), model.as_pack().map(Pack::as_bytes));
    }
}

#[test]
fn integers_are_texts_in_both_forms() {
    for limits in [DEFAULT, limits(0, 0)] {
        let mut hash = Hash::new();
        assert!(hash.set(b"7", b"-12", limits));
        assert!(!hash.set_if_absent(b"7", b"13", limits));
        assert!(hash.set_if_absent(b"07", b"13", limits));
        assert_eq!(hash.get(b"7").unwrap().to_vec(), b"-12");
        assert_eq!(hash.get(b"7").unwrap().int(), Some(-12));
        assert_eq!((hash.value_len(b"7"), hash.value_len(b"none")), (3, 0));
        assert!(!hash.contains(b"12"));
        assert_eq!(hash.clone().len(), 2);
    }
}

#[test]
fn dumped_packs_are_checked() {
    let good = numbered(20, DEFAULT);
    let back = Hash::from_pack(good.as_pack().unwrap().clone(), DEFAULT).unwrap();
    assert_eq!(pairs(&back), pairs(&good));
    let big = Hash::from_pack(good.as_pack().unwrap().clone(), limits(19, 64)).unwrap();
    assert_eq!((big.encoding(), pairs(&big)), ("hashtable", pairs(&good)));
    assert!(big.as_pack().is_none());
    assert!(Hash::from_pack(Pack::new(), DEFAULT).is_none());
    assert!(Hash::from_pack(Pack::of([1i64, 2, 3]), DEFAULT).is_none());
    assert!(Hash::from_pack(Pack::of([1i64, 2, 1, 3]), DEFAULT).is_none());
}

#[test]
fn draws_are_fair_in_both_forms() {
    let mut rng = fastrand::Rng::with_seed(3);
    for limits in [DEFAULT, limits(0, 0)] {
        let hash = numbered(100, limits);
        let mut drawn: HashMap<Vec<u8>, u32> = HashMap::new();
        for _ in 0..20_000 {
            *drawn.entry(hash.random(&mut rng).unwrap().0.to_vec()).or_default() += 1;
        }
        hash.random_many(20_000, &mut rng, |name, _| *drawn.entry(name.to_vec()).or_default() += 1);
        for count in [10, 50] {
            for _ in 0..20_000 / count {
                let mut seen = BTreeSet::new();
                hash.sample(count, &mut rng, |name, value| {
                    assert_eq!(name.to_vec(), [b"field:", &value.to_vec()[..]].concat());
                    assert!(seen.insert(name.to_vec()));
                    *drawn.entry(name.to_vec()).or_default() += 1;
                });
                assert_eq!(seen.len(), count);
            }
        }
        // 800 expected of each; 170 is six standard deviations.
        assert!(drawn.len() == 100 && drawn.values().all(|&n| n.abs_diff(800) < 170), "{drawn:?}");
        for count in [100, 1000] {
            let mut all = 0;
            hash.sample(count, &mut rng, |_, _| all += 1);
            assert_eq!(all, 100);
        }
    }
    let empty = Hash::new();
    assert!(empty.random(&mut rng).is_none());
    empty.random_many(3, &mut rng, |_, _| panic!("nothing to visit"));
    empty.sample(3, &mut rng, |_, _| panic!("nothing to visit"));
}

#[test]
fn a_scan_meets_every_field() {
    for (limits, steps) in [(DEFAULT, 1), (limits(0, 0), 2)] {
        let hash = numbered(500, limits);
        let (mut cursor, mut calls, mut met) = (0, 0, BTreeMap::new());
        loop {
            cursor = hash.scan(cursor, 10, |name, value| drop(met.insert(name.to_vec(), value.to_vec())));
            calls += 1;
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(met, pairs(&hash));
        assert!(calls >= steps);
    }
}

#[test]
fn fields_expire_in_their_order() {
    let mut hash = numbered(6, DEFAULT);
    assert!(!hash.set_expiry(b"none", Some(1)));
    assert!(hash.set_expiry(b"field:1", None));
    assert_eq!((hash.encoding(), hash.next_expiry()), ("listpack", None));
    for (name, expiry) in [("field:1", 30), ("field:2", 10), ("field:3", 20), ("field:4", 20), ("field:5", 5)]
    {
        assert!(hash.set_expiry(name.as_bytes(), Some(expiry)));
    }
    assert_eq!((hash.encoding(), hash.next_expiry()), ("hashtable", Some(5)));
    assert_eq!(hash.expiry(b"field:2"), Some(Some(10)));
    assert_eq!(hash.expiry(b"field:0"), Some(None));
    assert_eq!(hash.expiry(b"none"), None);

    // A plain set takes the expiry away, an increment keeps it, a removal forgets it.
    hash.set(b"field:2", b"x", DEFAULT);
    hash.set_keeping_expiry(b"field:3", b"longer than before", DEFAULT);
    assert!(hash.remove(b"field:5"));
    assert_eq!(hash.next_expiry(), Some(20));
    let copy = hash.clone();
    assert_eq!((copy.next_expiry(), copy.len()), (Some(20), 5));

    let mut gone = Vec::new();
    assert_eq!(hash.expire_due(19, 10, |name| gone.push(name.to_vec())), 0);
    assert_eq!(hash.expire_due(20, 1, |name| gone.push(name.to_vec())), 1);
    assert_eq!(hash.expire_due(25, 10, |name| gone.push(name.to_vec())), 1);
    gone.sort();
    assert_eq!(gone, [b"field:3".to_vec(), b"field:4".to_vec()]);
    assert_eq!(hash.next_expiry(), Some(30));
    assert!(hash.set_expiry(b"field:1", None));
    assert_eq!(hash.next_expiry(), None);
    assert_eq!(hash.expire_due(u64::MAX, 10, |_| ()), 0);
    assert_eq!(pairs(&hash).len(), 3);
}

/// Among so many names a few share their 32-bit hash; with one time for all, they share their pair too.
#[test]
fn fields_that_share_time_and_hash_all_expire() {
    let mut hash = numbered(150_000, DEFAULT);
    for n in 0..150_000 {
        hash.set_expiry(format!("field:{n}").as_bytes(), Some(9));
    }
    for n in 0..75_000 {
        assert!(hash.remove(format!("field:{n}").as_bytes()));
    }
    assert_eq!(hash.expire_due(9, 1000, |_| ()), 1000);
    assert_eq!(hash.expire_due(9, usize::MAX, |_| ()), 74_000);
    assert_eq!((hash.len(), hash.next_expiry()), (0, None));
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0u8..40).prop_map(|n| n.to_string().into_bytes()),
        2 => (0u8..20).prop_map(|n| vec![b'f'; usize::from(n)]),
        1 => (60usize..70).prop_map(|len| vec![b'v'; len]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_changes_match_a_map(
        entries in prop_oneof![Just(0usize), Just(512), 1usize..30],
        ops in prop::collection::vec((0u8..10, text(), text(), 0u64..30), 1..200)
    ) {
        let limits = limits(entries, 64);
        let mut hash = Hash::new();
        let mut model: BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)> = BTreeMap::new();
        for (op, name, value, time) in ops {
            match op {
                0 => prop_assert_eq!(hash.remove(&name), model.remove(&name).is_some()),
                1 => {
                    let new = !model.contains_key(&name);
                    prop_assert_eq!(hash.set_if_absent(&name, &value, limits), new);
                    model.entry(name).or_insert((value, None));
                }
                2 => {
                    let expiry = model.get(&name).and_then(|own| own.1);
                    hash.set_keeping_expiry(&name, &value, limits);
                    model.insert(name, (value, expiry));
                }
                3 if time > 3 => {
                    let expiry = Some(time + 100).filter(|_| time > 6);
                    prop_assert_eq!(hash.set_expiry(&name, expiry), model.contains_key(&name));
                    if let Some(own) = model.get_mut(&name) { own.1 = expiry; }
                }
                4 if time < 10 => {
                    let mut gone = BTreeSet::new();
                    hash.expire_due(110 + time, usize::MAX, |name| assert!(gone.insert(name.to_vec())));
                    let due = |own: &Option<u64>| own.is_some_and(|expiry| expiry <= 110 + time);
                    let expected: BTreeSet<_> =
                        model.iter().filter(|(_, own)| due(&own.1)).map(|(name, _)| name.clone()).collect();
                    prop_assert_eq!(&gone, &expected);
                    model.retain(|_, own| !due(&own.1));
                }
                _ => {
                    prop_assert_eq!(hash.set(&name, &value, limits), !model.contains_key(&name));
                    model.insert(name, (value, None));
                }
            }
            prop_assert_eq!(hash.len(), model.len());
            prop_assert_eq!(hash.is_empty(), model.is_empty());
            prop_assert_eq!(hash.next_expiry(), model.values().filter_map(|own| own.1).min());
        }
        for (name, (value, expiry)) in &model {
            prop_assert_eq!(&hash.get(name).unwrap().to_vec(), value);
            prop_assert_eq!(hash.value_len(name), value.len());
            prop_assert_eq!(hash.expiry(name), Some(*expiry));
        }
        let expected: BTreeMap<_, _> = model.into_iter().map(|(name, own)| (name, own.0)).collect();
        prop_assert_eq!(pairs(&hash), expected.clone());
        prop_assert_eq!(pairs(&hash.clone()), expected);
        if let Form::Table(fields) = &hash.form {
            let blocks: usize = fields.table().iter().map(Field::allocated_bytes).sum();
            prop_assert!(fields.allocated_bytes() >= blocks);
            if hash.next_expiry().is_none() {
                prop_assert_eq!(fields.allocated_bytes(), blocks + fields.table().allocated_bytes());
            }
        }
    }
}

/// What is due but has to stay is neither found nor drawn, and makes way for what is stored in its place.
#[test]
fn what_is_hidden_counts_and_is_not_found() {
    let mut hash = numbered(40, DEFAULT);
    (0..30).for_each(|n| assert!(hash.set_expiry(format!("field:{n}").as_bytes(), Some(5))));
    hash.hide_due(4);
    assert_eq!((hash.visible_len(), hash.visible().count()), (40, 40));
    hash.hide_due(5);
    assert_eq!((hash.len(), hash.visible_len(), hash.visible().count()), (40, 10, 10));
    let (hidden, seen) = (b"field:7", b"field:35");
    assert!(!hash.contains(hidden) && hash.contains(seen));
    assert_eq!(
        (hash.get(hidden), hash.expiry(hidden), hash.stored_expiry(hidden)),
        (None, None, Some(Some(5)))
    );
    assert!(!hash.remove(hidden) && !hash.set_expiry(hidden, None));
    let mut rng = fastrand::Rng::with_seed(1);
    let mut drawn = Vec::new();
    hash.sample(12, &mut rng, |name, _| drawn.push(name.to_vec()));
    assert_eq!(drawn.len(), 10);
    hash.random_many(100, &mut rng, |name, _| drawn.push(name.to_vec()));
    drawn.extend((0..100).filter_map(|_| Some(hash.random(&mut rng)?.0.to_vec())));
    let mut cursor = hash.scan(0, 10, |name, _| drawn.push(name.to_vec()));
    while cursor != 0 {
        cursor = hash.scan(cursor, 10, |name, _| drawn.push(name.to_vec()));
    }
    assert!(drawn.len() == 220 && drawn.iter().all(|name| hash.contains(name)));
    // A clone hides them as well.
    assert_eq!(hash.clone().visible_len(), 10);
    assert!(hash.set_keeping_expiry(hidden, b"new", DEFAULT), "it is a new one");
    assert_eq!((hash.len(), hash.visible_len(), hash.expiry(hidden)), (40, 11, Some(None)));
    assert_eq!(hash.expire_due(5, usize::MAX, |_| {}), 29);
    assert_eq!((hash.len(), hash.visible_len()), (11, 11));
}
