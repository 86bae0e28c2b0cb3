//! Expected values come from redis-server, asked with PFADD, PFCOUNT, PFMERGE, PFDEBUG and GET.

use super::*;
use proptest::prelude::*;

const SPARSE_MAX_BYTES: usize = 3000;

/// What PFADD does to a key.
fn pfadd(hll: &mut Vec<u8>, element: &[u8]) -> bool {
    let news = would_change(hll, element).unwrap();
    let changed = add(hll, element, SPARSE_MAX_BYTES).unwrap();
    assert_eq!(news, changed);
    if changed {
        invalidate_count(hll);
    }
    changed
}

fn sketch(elements: std::ops::Range<u32>) -> Vec<u8> {
    let mut hll = empty();
    for i in elements {
        pfadd(&mut hll, format!("element-{i}").as_bytes());
    }
    hll
}

fn union(sketches: &[&Vec<u8>]) -> Union {
    let mut union = Union::default();
    for hll in sketches {
        union.merge(hll).unwrap();
    }
    union
}

/// FNV-1a: a short stand-in for 12 KiB of expected bytes.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &b| (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn the_bytes_and_counts_of_redis() {
    let mut hll = empty();
    invalidate_count(&mut hll);
    let mut added = 0;
    for (elements, expected_count, expected_bytes, expected_digest) in [
        (0, 0, 18, 0x524bc36d036c0579),
        (1, 1, 21, 0x301de8924104c45d),
        (3, 3, 27, 0x313ad69506643ada),
        (10, 10, 48, 0x4c218268c081e84e),
        (100, 100, 287, 0x2746080e0e26c833),
        (500, 492, 1022, 0x5e5e87b5016f9cca),
        (1000, 994, 1870, 0xc8706e9cfa427690),
        (1500, 1495, 2685, 0xc987eb753263df20),
        (2000, 2002, 12304, 0x7a8ea55cc093c637),
        (5000, 4972, 12304, 0xb12bcda3d2c06f93),
        (20000, 19902, 12304, 0x35377852840fd5fb),
        (100000, 100917, 12304, 0xdd7b052178eac124),
    ] {
        for i in added..elements {
            pfadd(&mut hll, format!("element-{i}").as_bytes());
        }
        added = elements;
        assert_eq!((hll.len(), digest(&hll)), (expected_bytes, expected_digest), "{elements} elements");
        assert_eq!(count(&hll), Ok(expected_count), "{elements} elements");
        assert_eq!(cached_count(&hll), None);
        cache_count(&mut hll, expected_count);
        assert_eq!(cached_count(&hll), Some(expected_count));
    }
}

#[test]
fn decoding() {
    assert_eq!(decode(&empty()).unwrap(), "Z:16384");
    assert_eq!(decode(&sketch(0..3)).unwrap(), "Z:4161 v:1,1 Z:1906 v:3,1 Z:5936 v:2,1 Z:4378");
    assert_eq!(decode(&sketch(0..3000)), None);
}

#[test]
fn dense_and_sparse_agree() {
    let mut hll = sketch(0..700);
    let (counted, registers) = (count(&hll), union(&[&hll]));
    cache_count(&mut hll, 5);
    assert_eq!(to_dense(&mut hll), Ok(true));
    assert_eq!(to_dense(&mut hll), Ok(false));
    assert_eq!(encoding(&hll), Some(Encoding::Dense));
    assert_eq!(cached_count(&hll), Some(5));
    assert_eq!(count(&hll), counted);
    assert_eq!(union(&[&hll]).registers(), registers.registers());
    assert!(!pfadd(&mut hll, b"element-699"));
}

#[test]
fn a_union_counts_and_stores_as_one_sketch_would() {
    for (a, b) in [(0..300, 200..500), (0..300, 200..9000), (0..9000, 5000..20000), (0..0, 0..3)] {
        let whole = sketch(a.start..b.end);
        let union = union(&[&sketch(a), &sketch(b)]);
        assert_eq!(Ok(union.count()), count(&whole));
        let mut stored = empty();
        union.store(&mut stored, SPARSE_MAX_BYTES).unwrap();
        assert_eq!(count(&stored), count(&whole));
        assert_eq!(cached_count(&stored), None);
        assert_eq!(encoding(&stored), encoding(&whole));
    }
}

#[test]
fn what_does_not_look_like_a_sketch() {
    let good = sketch(0..10);
    let with = |at: usize, byte: u8| {
        let mut bad = good.clone();
        bad[at] = byte;
        bad
    };
    for bad in [b"".to_vec(), b"HYLL".to_vec(), with(0, b'h'), with(4, 0), with(4, 2), vec![0; DENSE_BYTES]] {
        assert_eq!(encoding(&bad), None);
        assert_eq!(count(&bad), Err(Corrupted));
        assert_eq!(add(&mut bad.clone(), b"x", SPARSE_MAX_BYTES), Err(Corrupted));
    }
}

#[test]
fn registers_that_make_no_sense() {
    let good = sketch(0..10);
    for bad in [
        [&good[..], b"hello"].concat(),
        good[..good.len() - 1].to_vec(),
        good[..HEADER].to_vec(),
        [&good[..HEADER], &[0x7f]].concat(),
    ] {
        assert_eq!(encoding(&bad), Some(Encoding::Sparse));
        assert_eq!(count(&bad), Err(Corrupted));
        assert_eq!(to_dense(&mut bad.clone()), Err(Corrupted));
        assert_eq!(Union::default().merge(&bad), Err(Corrupted));
    }
}

/// Redis once summed such runs past the range of an int and wrote out of bounds (CVE-2025-32023).
#[test]
fn runs_beyond_the_last_register() {
    let header = &empty()[..HEADER];
    let mut bad = [header, &[0x7f, 0xff, 0x3f].repeat(5000), &[0x80]].concat();
    assert_eq!(count(&bad), Err(Corrupted));
    assert_eq!(Union::default().merge(&bad), Err(Corrupted));
    assert_eq!(add(&mut bad, b"foo", SPARSE_MAX_BYTES), Err(Corrupted));
}

proptest! {
    #[test]
    fn any_registers_are_safe(registers: Vec<u8>, dense: bool, elements: Vec<Vec<u8>>) {
        let mut hll = [&empty()[..HEADER], &registers].concat();
        if dense {
            hll[4] = 0;
            hll.resize(DENSE_BYTES, 0xff);
        }
        for element in &elements {
            let _ = would_change(&hll, element);
            let _ = add(&mut hll, element, SPARSE_MAX_BYTES);
        }
        let _ = (count(&hll), decode(&hll));
        let mut union = Union::default();
        let _ = union.merge(&hll);
        let _ = union.store(&mut hll, SPARSE_MAX_BYTES);
    }
}
