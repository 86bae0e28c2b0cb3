use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const LIMITS: SetLimits =
    SetLimits { max_intset_entries: 512, max_listpack_entries: 128, max_listpack_value: 64 };

fn of(members: impl IntoIterator<Item = String>) -> Set {
    let mut set = Set::new();
    members.into_iter().for_each(|member| assert!(set.add(member.as_bytes(), LIMITS)));
    set
}

/// Forty members in each form.
fn all_forms() -> [Set; 3] {
    let mut sets = [of(ints(40)), of(ints(40)), of(ints(40))];
    sets[1].form = Form::Pack(Pack::of(0..40i64));
    sets[2].make_table();
    assert_eq!(sets.each_ref().map(Set::encoding), ["intset", "listpack", "hashtable"]);
    sets
}

fn ints(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| n.to_string())
}

fn texts(set: &Set) -> BTreeSet<Vec<u8>> {
    set.iter().map(Element::to_vec).collect()
}

/// The value of an integer member, as an index.
fn index(member: Element<'_>) -> usize {
    member.int().expect("an integer") as usize
}

#[test]
fn forms_follow_the_limits() {
    // Integers stay integers up to their own limit and then go straight to a table.
    let mut set = of(ints(512));
    assert_eq!(set.encoding(), "intset");
    assert!(!set.add(b"511", LIMITS) && set.add(-1, LIMITS));
    assert_eq!((set.encoding(), set.len()), ("hashtable", 513));
    assert!(set.remove(b"-1") && set.encoding() == "hashtable");
    set.compact_ints(LIMITS);
    assert_eq!((set.encoding(), set.len()), ("intset", 512));

    // A text turns few integers into a pack, many into a table.
    for (count, encoding) in [(0, "listpack"), (127, "listpack"), (128, "hashtable")] {
        let mut set = of(ints(count));
        assert!(set.add(b"01", LIMITS));
        assert_eq!((set.encoding(), set.len()), (encoding, count + 1), "{count}");
        assert!(!set.add(b"01", LIMITS) && (count == 0 || !set.add(b"0", LIMITS)));
        set.compact_ints(LIMITS);
        assert_eq!(set.encoding(), encoding);
    }

    // A pack lasts to its limits of number and length.
    for (len, encoding) in [(64, "listpack"), (65, "hashtable")] {
        let mut set = of(["a".into()]);
        assert!(set.add(&vec![b'x'; len], LIMITS));
        assert_eq!(set.encoding(), encoding);
        let mut set = of(["1".into()]);
        assert!(set.add(&vec![b'x'; len], LIMITS));
        assert_eq!(set.encoding(), encoding);
    }
    let mut set = of(ints(127).chain(["a".into()]));
    assert_eq!(set.encoding(), "listpack");
    assert!(!set.add(b"5", LIMITS) && set.encoding() == "listpack");
    assert!(set.add(b"b", LIMITS) && set.encoding() == "hashtable" && set.len() == 129);

    // Integers longer than a pack may hold.
    let narrow = SetLimits { max_listpack_value: 3, ..LIMITS };
    for (member, encoding) in [("-12", "listpack"), ("1234", "hashtable"), ("-123", "hashtable")] {
        let mut set = of([member.into(), "7".into()]);
        assert!(set.add(b"a", narrow));
        assert_eq!(set.encoding(), encoding, "{member}");
    }
}

#[test]
fn hints_choose_the_first_form() {
    for (first, count, encoding) in [
        ("1", 512, "intset"),
        ("1", 513, "hashtable"),
        ("a", 128, "listpack"),
        ("01", 128, "listpack"),
        ("a", 129, "hashtable"),
    ] {
        assert_eq!(Set::for_members(first.as_bytes(), count, LIMITS).encoding(), encoding, "{first} {count}");
    }
    let few_ints = SetLimits { max_intset_entries: 2, ..LIMITS };
    assert_eq!(Set::for_members(b"1", 3, few_ints).encoding(), "listpack");
    let mut set = of(ints(3));
    set.expect_members(512, LIMITS);
    assert_eq!(set.encoding(), "intset");
    set.expect_members(513, LIMITS);
    assert_eq!((set.encoding(), set.len()), ("hashtable", 3));
}

#[test]
fn dumps_are_checked() {
    let pack = |texts: &[&str]| Pack::of(texts.iter().map(|text| text.as_bytes()));
    let set = Set::from_pack(pack(&["a", "1", "b"]), LIMITS).expect("three members");
    assert_eq!((set.len(), set.as_pack().map(Pack::len)), (3, Some(3)));
    assert!(Set::from_pack(pack(&[]), LIMITS).is_none());
    assert!(Set::from_pack(pack(&["a", "1", "a"]), LIMITS).is_none());
    let tight = SetLimits { max_listpack_entries: 2, max_intset_entries: 2, ..LIMITS };
    assert_eq!(Set::from_pack(pack(&["a", "1", "b"]), tight).expect("three members").encoding(), "hashtable");

    let three = of(ints(3)).as_intset().expect("integers").clone();
    assert_eq!(Set::from_intset(three.clone(), LIMITS).expect("not empty").encoding(), "intset");
    assert_eq!(Set::from_intset(three, tight).expect("not empty").encoding(), "hashtable");
    assert!(Set::from_intset(IntSet::new(), LIMITS).is_none());
}

#[test]
#[cfg_attr(miri, ignore = "many rounds, and nothing unsafe that others do not reach")]
fn draws_are_fair_in_every_form() {
    let mut rng = fastrand::Rng::with_seed(2);
    let fair = |drawn: &[u32], what: &str| {
        let expected = drawn.iter().sum::<u32>() / 40;
        let tolerance = 6 * expected.isqrt();
        assert!(drawn.iter().all(|n| n.abs_diff(expected) < tolerance), "{what}: {drawn:?}");
    };
    for set in all_forms() {
        let mut drawn = [0; 40];
        (0..40_000).for_each(|_| drawn[index(set.random(&mut rng).expect("not empty"))] += 1);
        fair(&drawn, "random");
        let mut drawn = [0; 40];
        set.random_many(40_000, &mut rng, |member| drawn[index(member)] += 1);
        fair(&drawn, "random_many");
        for (count, rounds) in [(1, 40_000), (5, 8_000), (30, 2_000)] {
            let mut drawn = [0; 40];
            for _ in 0..rounds {
                let mut different = BTreeSet::new();
                set.sample(count, &mut rng, |member| {
                    drawn[index(member)] += 1;
                    different.insert(index(member));
                });
                assert_eq!(different.len(), count);
            }
            fair(&drawn, "sample");
        }
        let (mut one, mut many) = ([0; 40], [0; 40]);
        for _ in 0..4_000 {
            let mut copy = set.clone();
            let member = copy.pop_random(&mut rng).expect("not empty");
            one[index(Element::Str(&member))] += 1;
            assert!(copy.len() == 39 && !copy.contains(&member));
            let mut copy = set.clone();
            let popped = copy.pop_many(10, &mut rng, |member| many[index(Element::Str(member))] += 1);
            assert_eq!((popped, copy.len(), copy.encoding()), (10, 30, set.encoding()));
        }
        fair(&one, "pop_random");
        fair(&many, "pop_many");
    }
}

#[test]
fn emptied_sets_have_nothing_to_draw() {
    let mut rng = fastrand::Rng::with_seed(2);
    for mut set in all_forms() {
        let all = texts(&set);
        let mut popped = BTreeSet::new();
        assert_eq!(set.pop_many(99, &mut rng, |member| assert!(popped.insert(member.to_vec()))), 40);
        assert_eq!(popped, all);
        assert!(set.is_empty() && set.random(&mut rng).is_none() && set.pop_random(&mut rng).is_none());
        set.random_many(3, &mut rng, |_| panic!("nothing to visit"));
        set.sample(3, &mut rng, |_| panic!("nothing to visit"));
        assert_eq!(set.pop_many(3, &mut rng, |_| panic!("nothing to take")), 0);
        assert!(set.add(b"7", LIMITS) && set.pop_random(&mut rng) == Some(b"7".to_vec()));
    }
}

#[test]
#[cfg_attr(miri, ignore = "many rounds, and nothing unsafe that others do not reach")]
fn a_walk_meets_everyone() {
    for set in [of(ints(100)), of(ints(50).chain(["a".into()])), of(ints(5_000))] {
        let (mut cursor, mut met) = (0, BTreeMap::<Vec<u8>, u32>::new());
        loop {
            cursor = set.scan(cursor, 10, |member| *met.entry(member.to_vec()).or_default() += 1);
            if cursor == 0 {
                break;
            }
        }
        assert!(met.len() == set.len() && met.values().all(|&times| times == 1), "{}", set.encoding());
    }
}

#[test]
#[cfg_attr(miri, ignore = "many rounds, and nothing unsafe that others do not reach")]
fn memory_is_accounted_for() {
    let mut set = of(ints(10_000));
    let per_member = set.allocated_bytes() / 10_000;
    assert!((14..30).contains(&per_member), "{per_member}");
    (0..10_000).for_each(|n| assert!(set.remove(n)));
    assert!(set.allocated_bytes() <= size_of::<Members>());
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (-20..400i64).prop_map(|n| n.to_string().into_bytes()),
        1 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        1 => prop::collection::vec(b'0'..b'4', 0..4),
        1 => prop::collection::vec(any::<u8>(), 0..70),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]

    #[test]
    fn behaves_as_a_set(
        only_ints: bool,
        steps in prop::collection::vec((member(), 0..10u8), 0..if cfg!(miri) { 60 } else { 700 }),
        max_listpack_entries in prop::sample::select(vec![0usize, 10, 128, 1_000]),
        max_intset_entries in prop::sample::select(vec![0usize, 10, 128, 1_000]),
    ) {
        let limits = SetLimits { max_intset_entries, max_listpack_entries, max_listpack_value: 64 };
        let (mut set, mut model) = (Set::new(), BTreeSet::new());
        let mut rng = fastrand::Rng::with_seed(1);
        for (member, what) in steps {
            if only_ints && parse_i64(&member).is_none() {
                continue;
            }
            match what {
                0 | 1 => prop_assert_eq!(set.remove(&member), model.remove(&member)),
                2 => {
                    let popped = set.pop_random(&mut rng);
                    prop_assert_eq!(popped.is_some(), !model.is_empty());
                    popped.iter().for_each(|popped| assert!(model.remove(popped)));
                }
                _ => {
                    // As an integer or as text, it is the same member.
                    let new = match parse_i64(&member) {
                        Some(int) if what % 2 == 0 => set.add(int, limits),
                        _ => set.add(&member, limits),
                    };
                    prop_assert_eq!(new, model.insert(member.clone()));
                    prop_assert!(set.contains(&member));
                }
            }
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(set.is_empty(), model.is_empty());
        }
        prop_assert_eq!(texts(&set), model.clone());
        prop_assert_eq!(texts(&set.clone()), model);
        prop_assert_eq!(set.iter().count(), set.len());
        if let Some(ints) = set.as_intset() {
            prop_assert!(set.is_empty() || IntSet::validate(ints.as_bytes()));
        }
        if let Some(pack) = set.as_pack() {
            prop_assert!(Pack::validate(pack.as_bytes()));
        }
    }
}
