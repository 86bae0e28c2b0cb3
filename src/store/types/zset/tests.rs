use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const LIMITS: ZSetLimits = ZSetLimits { max_listpack_entries: 128, max_listpack_value: 64 };

fn of(members: &[(&str, f64)]) -> ZSet {
    let mut set = ZSet::new();
    for (member, score) in members {
        set.add(member.as_bytes(), *score, AddOptions::default(), LIMITS);
    }
    set
}

/// The same members in both forms.
fn both(members: &[(&str, f64)]) -> [ZSet; 2] {
    let (small, mut large) = (of(members), of(members));
    large.enlarge();
    assert_eq!((small.encoding(), large.encoding()), ("listpack", "skiplist"));
    [small, large]
}

fn pairs<'z>(members: impl Iterator<Item = (Element<'z>, f64)>) -> Vec<(Vec<u8>, f64)> {
    members.map(|(member, score)| (member.to_vec(), score)).collect()
}

fn names<'z>(members: impl Iterator<Item = (Element<'z>, f64)>) -> String {
    let names: Vec<String> =
        members.map(|(member, _)| String::from_utf8(member.to_vec()).expect("ASCII")).collect();
    names.join(" ")
}

#[test]
fn packs_are_those_of_redis() {
    // Taken from DUMP of redis 7.2 semantics: integers as integers, -0 as 0, the rest as text.
    let set = of(&[("a", -0.0), ("7", 1.5), ("c", f64::INFINITY), ("d", -3.0), ("e", 1e20), ("f", 1e15)]);
    let pack = set.as_pack().expect("small");
    let texts: Vec<Vec<u8>> = pack.iter().map(Element::to_vec).collect();
    let expected: [&[u8]; 12] =
        [b"d", b"-3", b"a", b"0", b"7", b"1.5", b"f", b"1000000000000000", b"e", b"1e+20", b"c", b"inf"];
    assert_eq!(texts, expected);
    assert!(matches!(pack.get(1), Some(Element::Int(-3))) && matches!(pack.get(4), Some(Element::Int(7))));
}

#[test]
fn encodings_follow_the_limits() {
    let mut set = ZSet::new();
    for n in 0..128 {
        set.add(n.to_string().as_bytes(), 0.0, AddOptions::default(), LIMITS);
    }
    set.add(b"0", 1.0, AddOptions::default(), LIMITS);
    assert_eq!((set.encoding(), set.len()), ("listpack", 128));
    assert_eq!(
        set.add(b"new", 1.0, AddOptions { touch: Touch::Present, ..AddOptions::default() }, LIMITS),
        Added::Refused
    );
    assert_eq!(set.encoding(), "listpack");
    set.add(b"new", 1.0, AddOptions::default(), LIMITS);
    assert_eq!((set.encoding(), set.len()), ("skiplist", 129));
    set.remove_ranks(0..100);
    assert_eq!((set.encoding(), set.len()), ("skiplist", 29));
    set.compact(LIMITS);
    assert_eq!((set.encoding(), set.len()), ("listpack", 29));

    for (len, encoding) in [(64, "listpack"), (65, "skiplist")] {
        let mut set = of(&[("1", 1.0)]);
        set.add(&vec![b'x'; len], 2.0, AddOptions::default(), LIMITS);
        assert_eq!(set.encoding(), encoding);
        assert_eq!(set.rank(&vec![b'x'; len], false), Some((1, 2.0)));
        set.compact(LIMITS);
        assert_eq!(set.encoding(), encoding);
    }
    for (members, longest, encoding) in [(128, 64, "listpack"), (129, 1, "skiplist"), (1, 65, "skiplist")] {
        let mut set = ZSet::new();
        set.expect_members(members, longest, LIMITS);
        assert_eq!(set.encoding(), encoding);
    }
}

#[test]
fn a_small_set_made_at_once_is_as_if_added_to() {
    let mut rng = fastrand::Rng::with_seed(12);
    for _ in 0..400 {
        let names = rng.usize(1..2_000);
        let scores = [0.0, -0.0, 1.0, -3.5, 1e20, f64::INFINITY, f64::NEG_INFINITY, 0.1];
        let members: Vec<(f64, String)> = (0..rng.usize(1..140))
            .map(|_| (scores[rng.usize(..scores.len())], rng.usize(..names).to_string()))
            .collect();
        let refs: Vec<(f64, &[u8])> = members.iter().map(|(score, name)| (*score, name.as_bytes())).collect();
        let different = refs.iter().map(|(_, name)| name).collect::<std::collections::HashSet<_>>().len();
        let model: Vec<_> = members.iter().map(|(score, name)| (name.as_str(), *score)).collect();
        match ZSet::small_of(&refs, LIMITS) {
            Some(set) => {
                assert_eq!(different, refs.len());
                let expected = of(&model);
                assert_eq!(set.as_pack().map(Pack::as_bytes), expected.as_pack().map(Pack::as_bytes));
            }
            None => assert!(different < refs.len() || refs.len() > 128, "{members:?}"),
        }
    }
    assert!(ZSet::small_of(&[(1.0, &[b'x'; 65])], LIMITS).is_none());
    assert!(ZSet::small_of(&[], LIMITS).is_none());
}

#[test]
fn options_of_add() {
    let nx = AddOptions { touch: Touch::Absent, ..AddOptions::default() };
    let xx = AddOptions { touch: Touch::Present, ..AddOptions::default() };
    let gt = AddOptions { direction: Direction::Up, ..AddOptions::default() };
    let lt = AddOptions { direction: Direction::Down, ..AddOptions::default() };
    let incr = AddOptions { increment: true, ..AddOptions::default() };
    let incr_gt = AddOptions { direction: Direction::Up, ..incr };
    for mut set in both(&[("m", 5.0), ("inf", f64::INFINITY)]) {
        for (member, score, options, expected) in [
            ("m", 6.0, nx, Added::Refused),
            ("n", 6.0, xx, Added::Refused),
            ("n", 6.0, nx, Added::New(6.0)),
            ("m", 5.0, xx, Added::Same(5.0)),
            ("m", 4.0, xx, Added::Changed(4.0)),
            ("m", 3.0, gt, Added::Refused),
            ("m", 4.0, gt, Added::Refused),
            ("m", 7.0, gt, Added::Changed(7.0)),
            ("m", 8.0, lt, Added::Refused),
            ("m", 2.0, lt, Added::Changed(2.0)),
            ("new", 2.0, gt, Added::New(2.0)),
            ("m", 1.5, incr, Added::Changed(3.5)),
            ("m", 0.0, incr, Added::Same(3.5)),
            ("m", -1.0, incr_gt, Added::Refused),
            ("other", 9.0, incr, Added::New(9.0)),
            ("inf", f64::NEG_INFINITY, incr, Added::NotANumber),
            ("inf", f64::NEG_INFINITY, AddOptions { touch: Touch::Absent, ..incr }, Added::Refused),
            ("m", f64::NAN, AddOptions::default(), Added::NotANumber),
            ("inf", f64::NEG_INFINITY, AddOptions::default(), Added::Changed(f64::NEG_INFINITY)),
        ] {
            assert_eq!(set.add(member.as_bytes(), score, options, LIMITS), expected, "{member} {score}");
        }
        assert_eq!(names(set.iter()), "inf new m n other");
        assert_eq!(Added::Same(1.0).score(), Some(1.0));
        assert_eq!(Added::Refused.score(), None);
    }
}

#[test]
fn minus_zero_equals_zero() {
    for mut set in both(&[("b", 0.0), ("a", 0.0)]) {
        assert_eq!(set.add(b"b", -0.0, AddOptions::default(), LIMITS), Added::Same(0.0));
        set.add(b"c", -0.0, AddOptions::default(), LIMITS);
        assert_eq!(names(set.iter()), "a b c");
        let zero = ScoreRange::parse(b"0", b"0").expect("numbers");
        assert_eq!(set.score_ranks(&zero), 0..3);
        let keeps_sign = set.encoding() == "skiplist";
        assert_eq!(set.score(b"c").expect("added").is_sign_negative(), keeps_sign);
    }
}

#[test]
fn integers_sort_as_text_among_equal_scores() {
    for set in both(&[("10", 1.0), ("9", 1.0), ("1", 1.0), ("a", 1.0), ("-5", 1.0), ("", 1.0)]) {
        assert_eq!(names(set.iter()), " -5 1 10 9 a");
        let range = LexRange::parse(b"[1", b"(9").expect("bounds");
        assert_eq!(names(set.range_by_lex(&range, false)), "1 10");
        assert_eq!(set.rank(b"10", true), Some((2, 1.0)));
    }
}

#[test]
fn ranges() {
    let members = [("a", 1.0), ("b", 2.0), ("c", 2.0), ("d", 3.5), ("e", f64::INFINITY)];
    for set in both(&members) {
        let by_score = |min: &str, max: &str, reverse: bool| {
            let range = ScoreRange::parse(min.as_bytes(), max.as_bytes()).expect("two bounds");
            names(set.range_by_score(&range, reverse))
        };
        assert_eq!(by_score("-inf", "+inf", false), "a b c d e");
        assert_eq!(by_score("2", "(3.5", false), "b c");
        assert_eq!(by_score("(1", "inf", true), "e d c b");
        assert_eq!(by_score("(2", "(2", false), "");
        assert_eq!(by_score("3", "1", false), "");
        assert_eq!(by_score("4", "5", true), "");
        let all = set.range_by_score(&ScoreRange::ALL, true).skip(1).take(2);
        assert_eq!(all.len(), 2);
        assert_eq!(names(all), "d c");
        for (start, stop, reverse, expected) in [
            (0, -1, false, "a b c d e"),
            (0, -1, true, "e d c b a"),
            (1, 2, true, "d c"),
            (-2, 100, false, "d e"),
            (-100, 0, false, "a"),
            (3, 1, false, ""),
            (5, 9, false, ""),
            (-9, -7, true, ""),
            (i64::MIN, i64::MAX, true, "e d c b a"),
            (i64::MAX, i64::MIN, false, ""),
        ] {
            assert_eq!(names(set.range_by_rank(start, stop, reverse)), expected, "{start} {stop} {reverse}");
        }
        assert_eq!(names(set.get(2).into_iter()), "c");
        assert!(set.get(5).is_none() && set.get(usize::MAX).is_none());
    }
}

#[test]
fn popping_and_removing() {
    let members = [("a", 1.0), ("b", 2.0), ("c", 2.0), ("d", 3.5), ("e", 9.0)];
    for mut set in both(&members) {
        let mut taken = String::new();
        let mut note = |member: &[u8], score: f64| {
            taken += &format!("{}{score} ", String::from_utf8_lossy(member));
        };
        assert_eq!(set.pop(true, 2, &mut note), 2);
        assert_eq!(set.pop(false, 1, &mut note), 1);
        assert_eq!(set.pop(false, 0, &mut note), 0);
        assert_eq!(names(set.iter()), "b c");
        assert_eq!(set.pop(true, 99, &mut note), 2);
        assert_eq!(set.pop(true, 99, &mut note), 0);
        assert_eq!(taken, "e9 d3.5 a1 c2 b2 ");
        assert!(set.is_empty());
    }
    for mut set in both(&members) {
        assert_eq!((set.remove(b"c"), set.remove(b"c")), (Some(2.0), None));
        assert_eq!(set.remove_ranks(set.score_ranks(&ScoreRange::parse(b"2", b"4").expect("bounds"))), 2);
        assert_eq!(set.remove_ranks(7..9), 0);
        assert_eq!(names(set.iter()), "a e");
        assert_eq!(set.remove_ranks(1..usize::MAX), 1);
        assert_eq!(names(set.clone().iter()), "a");
    }
}

#[test]
fn foreign_packs_are_checked() {
    let pack = |texts: &[&str]| Pack::of(texts.iter().map(|text| text.as_bytes()));
    let good = pack(&["b", "-inf", "c", "1", "a", "1.5", "d", "1.5"]);
    assert_eq!(names(ZSet::from_pack(good.clone(), LIMITS).expect("in order").iter()), "b c a d");
    let tight = ZSetLimits { max_listpack_entries: 3, ..LIMITS };
    assert_eq!(ZSet::from_pack(good, tight).expect("in order").encoding(), "skiplist");
    for (texts, flaw) in [
        (&[][..], "empty"),
        (&["a"], "odd"),
        (&["a", "x"], "not a score"),
        (&["a", "nan"], "not a number"),
        (&["a", "2", "b", "1"], "descending"),
        (&["b", "1", "a", "1"], "descending members"),
        (&["a", "1", "a", "1"], "twice the same"),
        (&["a", "1", "a", "2"], "twice the same member"),
    ] {
        assert!(ZSet::from_pack(pack(texts), LIMITS).is_none(), "{flaw}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "many rounds, and nothing unsafe that others do not reach")]
fn draws_are_fair() {
    let members: Vec<(String, f64)> = (0..40).map(|n| (n.to_string(), f64::from(n))).collect();
    let members: Vec<(&str, f64)> = members.iter().map(|(member, score)| (member.as_str(), *score)).collect();
    let mut rng = fastrand::Rng::with_seed(11);
    for set in both(&members) {
        // 2 of 40 takes the sparse way in the large form, 30 the dense one.
        for (count, rounds) in [(0, 40_000), (1, 40_000), (2, 20_000), (30, 2_000)] {
            let mut drawn = [0u32; 40];
            for _ in 0..rounds {
                let mut visited = 0;
                match count {
                    0 => drawn[set.random(&mut rng).expect("not empty").1 as usize] += 1,
                    1 => set.random_many(1, &mut rng, |_, score| {
                        visited += 1;
                        drawn[score as usize] += 1;
                    }),
                    _ => set.sample(count, &mut rng, |_, score| {
                        visited += 1;
                        drawn[score as usize] += 1;
                    }),
                }
                assert_eq!(visited, count);
            }
            let expected = (count.max(1) * rounds / 40) as u32;
            let tolerance = 6 * expected.isqrt();
            assert!(drawn.iter().all(|n| n.abs_diff(expected) < tolerance), "{count}: {drawn:?}");
        }
        let mut drawn = [0u32; 40];
        set.random_many(40_000, &mut rng, |_, score| drawn[score as usize] += 1);
        assert!(drawn.iter().all(|n| n.abs_diff(1_000) < 200), "{drawn:?}");
        let mut all = Vec::new();
        set.sample(99, &mut rng, |member, score| all.push((member.to_vec(), score)));
        assert_eq!(all, pairs(set.iter()));
    }
    assert!(ZSet::new().random(&mut rng).is_none());
}

#[test]
#[cfg_attr(miri, ignore = "many rounds, and nothing unsafe that others do not reach")]
fn a_walk_meets_everyone() {
    let members: Vec<(String, f64)> = (0..2_000).map(|n| (n.to_string(), f64::from(n % 7))).collect();
    let members: Vec<(&str, f64)> = members.iter().map(|(member, score)| (member.as_str(), *score)).collect();
    for set in [of(&members[..100]), of(&members)] {
        let (mut cursor, mut met) = (0, BTreeMap::new());
        loop {
            cursor = set.scan(cursor, 10, |member, score| {
                met.insert(member.to_vec(), score);
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(met.len(), set.len());
        assert!(met.iter().all(|(member, score)| set.score(member) == Some(*score)));
    }
}

#[test]
#[cfg_attr(miri, ignore = "many rounds, and nothing unsafe that others do not reach")]
fn memory_is_accounted_for() {
    let mut set = ZSet::new();
    set.expect_members(1_000, 1, LIMITS);
    let empty = set.allocated_bytes();
    for n in 0..1_000u32 {
        set.add(format!("member:{n}").as_bytes(), f64::from(n), AddOptions::default(), LIMITS);
        set.add(b"member:0", f64::from(n), AddOptions::default(), LIMITS);
    }
    let per_member = (set.allocated_bytes() - empty) / 1_000;
    assert!((40..80).contains(&per_member), "{per_member}");
    set.remove(b"member:7");
    set.remove_ranks(0..500);
    set.pop(true, 500, |_, _| ());
    assert!(set.is_empty() && set.allocated_bytes() < empty + 1_000);
}

/// What a sorted set should do, plainly: a map, and a sort whenever order is asked for.
#[derive(Default)]
struct Model(BTreeMap<Vec<u8>, f64>);

impl Model {
    fn order(&self) -> Vec<(Vec<u8>, f64)> {
        let mut order: Vec<(Vec<u8>, f64)> = self.0.iter().map(|(m, s)| (m.clone(), *s)).collect();
        order.sort_by(|(m, s), (n, t)| s.partial_cmp(t).expect("no NaN").then_with(|| m.cmp(n)));
        order
    }

    fn forget(&mut self, gone: &[(Vec<u8>, f64)]) {
        gone.iter().for_each(|(member, _)| assert!(self.0.remove(member).is_some()));
    }

    fn remove_if(&mut self, test: impl Fn(&[u8], f64) -> bool) -> usize {
        let before = self.0.len();
        self.0.retain(|member, score| !test(member, *score));
        before - self.0.len()
    }
}

/// One step of a random walk over both.
#[derive(Clone, Debug)]
enum Step {
    Add(Vec<u8>, f64),
    Increment(Vec<u8>, f64),
    Remove(Vec<u8>),
    RemoveRanks(usize, usize),
    RemoveScores(ScoreRange),
    Pop(bool, usize),
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (-20..20i32).prop_map(|n| f64::from(n) / 2.0),
        1 => prop::sample::select(vec![0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, 1e300, 5e-324, 1e17]),
        1 => any::<f64>().prop_filter("a number", |score| !score.is_nan()),
    ]
}

fn score_range() -> impl Strategy<Value = ScoreRange> {
    (score(), score(), any::<bool>(), any::<bool>()).prop_map(|(min, max, min_exclusive, max_exclusive)| {
        ScoreRange { min, max, min_exclusive, max_exclusive }
    })
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (0..300u32).prop_map(|n| n.to_string().into_bytes()),
        prop::collection::vec(b'a'..b'e', 0..4),
        prop::collection::vec(any::<u8>(), 0..70),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (member(), score()).prop_map(|(m, s)| Step::Add(m, s)),
        3 => (member(), score()).prop_map(|(m, s)| Step::Increment(m, s)),
        4 => member().prop_map(Step::Remove),
        1 => (0..200usize, 0..20usize).prop_map(|(start, n)| Step::RemoveRanks(start, start + n)),
        1 => (score_range(), 0..4u8).prop_map(|(mut range, wide)| {
            if wide > 0 {
                range.max = range.min + 1.0;
            }
            if range.max.is_nan() { Step::Pop(false, 1) } else { Step::RemoveScores(range) }
        }),
        1 => (any::<bool>(), 0..5usize).prop_map(|(highest, n)| Step::Pop(highest, n)),
    ]
}

fn walk(set: &mut ZSet, steps: Vec<Step>, limits: ZSetLimits) {
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Add(member, score) => {
                let outcome = set.add(&member, score, AddOptions::default(), limits);
                match model.0.insert(member, score) {
                    None => assert_eq!(outcome, Added::New(score)),
                    Some(old) if old == score => assert_eq!(outcome, Added::Same(score)),
                    Some(_) => assert_eq!(outcome, Added::Changed(score)),
                }
            }
            Step::Increment(member, by) => {
                let outcome =
                    set.add(&member, by, AddOptions { increment: true, ..AddOptions::default() }, limits);
                let sum = model.0.get(&member).unwrap_or(&0.0) + by;
                if sum.is_nan() {
                    assert_eq!(outcome, Added::NotANumber);
                } else {
                    assert_eq!(outcome.score(), Some(sum));
                    model.0.insert(member, sum);
                }
            }
            Step::Remove(member) => assert_eq!(set.remove(&member), model.0.remove(&member)),
            Step::RemoveRanks(start, end) => {
                let order = model.order();
                let gone = &order[start.min(order.len())..end.min(order.len())];
                model.forget(gone);
                assert_eq!(set.remove_ranks(start..end), gone.len());
            }
            Step::RemoveScores(range) => {
                let count = model.remove_if(|_, score| range.contains(score));
                assert_eq!(set.remove_ranks(set.score_ranks(&range)), count);
            }
            Step::Pop(highest, count) => {
                let mut order = model.order();
                if highest {
                    order.reverse();
                }
                order.truncate(count);
                let mut taken = Vec::new();
                assert_eq!(set.pop(highest, count, |m, s| taken.push((m.to_vec(), s))), order.len());
                assert_eq!(taken, order);
                model.forget(&order);
            }
        }
        assert_eq!(set.len(), model.0.len());
    }
    let order = model.order();
    assert_eq!(pairs(set.iter()), order);
    assert_eq!(
        pairs(set.clone().iter_ranks(0..usize::MAX, true)),
        order.iter().rev().cloned().collect::<Vec<_>>()
    );
    for (rank, (member, score)) in order.iter().enumerate() {
        assert_eq!(set.rank(member, false), Some((rank, *score)));
        assert_eq!(set.rank(member, true), Some((order.len() - 1 - rank, *score)));
        assert_eq!(set.score(member), Some(*score));
    }
    if let Some(pack) = set.as_pack() {
        assert!(Pack::validate(pack.as_bytes()));
        assert_eq!(ZSet::from_pack(pack.clone(), limits).is_some(), !set.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]

    #[test]
    fn behaves_as_a_sorted_map(
        steps in prop::collection::vec(step(), 0..if cfg!(miri) { 60 } else { 400 }),
        max_listpack_entries in prop::sample::select(vec![0usize, 10, 128, 1000]),
    ) {
        walk(&mut ZSet::new(), steps, ZSetLimits { max_listpack_entries, ..LIMITS });
    }

    #[test]
    fn ranges_are_those_of_a_filter(
        members in prop::collection::vec((member(), score()), 0..150),
        range in score_range(),
        (offset, count) in (0..20usize, 0..20usize),
        reverse: bool,
        max_listpack_entries in prop::sample::select(vec![0usize, 1000]),
    ) {
        let limits = ZSetLimits { max_listpack_entries, max_listpack_value: 100 };
        let (mut set, mut model) = (ZSet::new(), Model::default());
        for (member, score) in members {
            set.add(&member, score, AddOptions::default(), limits);
            model.0.insert(member, score);
        }
        let mut expected: Vec<_> = model.order().into_iter().filter(|(_, score)| range.contains(*score)).collect();
        prop_assert_eq!(set.score_ranks(&range).len(), expected.len());
        if reverse {
            expected.reverse();
        }
        let page = set.range_by_score(&range, reverse).skip(offset).take(count);
        let expected: Vec<_> = expected.into_iter().skip(offset).take(count).collect();
        prop_assert_eq!(page.len(), expected.len());
        prop_assert_eq!(pairs(page), expected);
    }

    #[test]
    fn lex_ranges_are_those_of_a_filter(
        members in prop::collection::btree_set(member(), 0..150),
        min in member(),
        max in member(),
        kinds in (0..4u8, 0..4u8),
        reverse: bool,
        max_listpack_entries in prop::sample::select(vec![0usize, 1000]),
    ) {
        let limits = ZSetLimits { max_listpack_entries, max_listpack_value: 100 };
        let mut set = ZSet::new();
        for member in &members {
            set.add(member, 3.0, AddOptions::default(), limits);
        }
        let bound = |kind, member| match kind {
            0 => LexBound::Lowest,
            1 => LexBound::Inclusive(member),
            2 => LexBound::Exclusive(member),
            _ => LexBound::Highest,
        };
        let range = LexRange { min: bound(kinds.0, min.as_slice()), max: bound(kinds.1, max.as_slice()) };
        let mut expected: Vec<_> =
            members.into_iter().filter(|member| range.contains(member)).map(|member| (member, 3.0)).collect();
        if reverse {
            expected.reverse();
        }
        prop_assert_eq!(pairs(set.range_by_lex(&range, reverse)), expected);
    }
}

/// Enough members for a tree of three levels, with the work of a leaderboard.
#[test]
#[cfg_attr(miri, ignore = "takes hours there; the random walks cover deep trees with small nodes")]
fn a_large_set_under_random_work() {
    let mut rng = fastrand::Rng::with_seed(5);
    let (mut set, mut model) = (ZSet::new(), Model::default());
    for round in 0..100_000 {
        let member = rng.u32(..30_000).to_string().into_bytes();
        let score = f64::from(rng.u32(..5_000)) / 4.0;
        match rng.u8(..10) {
            0 | 1 => assert_eq!(set.remove(&member), model.0.remove(&member)),
            // A step that seldom leaves the leaf.
            2..5 => {
                let step = if round % 2 == 0 { 0.25 } else { -0.25 };
                set.add(&member, step, AddOptions { increment: true, ..AddOptions::default() }, LIMITS);
                *model.0.entry(member).or_default() += step;
            }
            _ => {
                set.add(&member, score, AddOptions::default(), LIMITS);
                model.0.insert(member, score);
            }
        }
        if round % 20_000 == 19_999 {
            let order = model.order();
            assert_eq!(pairs(set.iter()), order);
            for rank in (0..order.len()).step_by(97) {
                assert_eq!(set.rank(&order[rank].0, false), Some((rank, order[rank].1)));
                assert_eq!(pairs(set.get(rank).into_iter()), order[rank..=rank]);
            }
            let from = rng.usize(..order.len());
            let gone = &order[from..order.len().min(from + 3_000)];
            model.forget(gone);
            assert_eq!(set.remove_ranks(from..from + 3_000), gone.len());
        }
    }
}
