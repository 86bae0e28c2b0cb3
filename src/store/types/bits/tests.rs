//! Compared with redis-server on random input; here, the same rules bit by bit.

use super::*;
use proptest::prelude::*;

fn bits_of(bytes: &[u8]) -> Vec<bool> {
    (0..bytes.len() as u64 * 8).map(|offset| bit(bytes, offset)).collect()
}

#[test]
fn single_bits() {
    let mut bytes = [0u8; 2];
    assert!(!set_bit(&mut bytes, 0, true));
    assert!(!set_bit(&mut bytes, 15, true));
    assert_eq!(bytes, [0x80, 0x01]);
    assert!(bit(&bytes, 0) && bit(&bytes, 15) && !bit(&bytes, 1));
    assert!(!bit(&bytes, 16) && !bit(&bytes, u64::MAX));
    assert!(set_bit(&mut bytes, 0, false));
    assert_eq!(bytes, [0, 1]);
}

#[test]
fn counting() {
    let text = b"foobar";
    assert_eq!(count(text), 26);
    for (start, end, unit, expected) in [
        (0, 0, Unit::Byte, 4),
        (1, 1, Unit::Byte, 6),
        (0, -1, Unit::Byte, 26),
        (0, 100, Unit::Byte, 26),
        (-2, -1, Unit::Byte, 7),
        (5, 30, Unit::Bit, 17),
        (0, -1, Unit::Bit, 26),
        (3, 2, Unit::Byte, 0),
        (6, 9, Unit::Byte, 0),
        (-1, -100, Unit::Byte, 0),
        (i64::MIN, i64::MAX, Unit::Bit, 26),
        (i64::MAX, i64::MIN, Unit::Bit, 0),
    ] {
        assert_eq!(count_range(text, start, end, unit), expected, "{start} to {end} {unit:?}");
    }
    assert_eq!(count_range(b"", 0, -1, Unit::Byte), 0);
}

#[test]
fn positions() {
    let ones = b"\xff\xff\xff";
    for (bytes, wanted, start, end, unit, expected) in [
        (&b"\xff\xf0\x00"[..], false, 0, None, Unit::Byte, Some(12)),
        (b"\x00\xff\xf0", true, 0, None, Unit::Byte, Some(8)),
        (b"\x00\xff\xf0", true, 2, None, Unit::Byte, Some(16)),
        (b"\x00\xff\xf0", true, 7, Some(15), Unit::Bit, Some(8)),
        (b"\x00\x00\x00", true, 0, None, Unit::Byte, None),
        // The zeros behind the end count only where no end was asked for.
        (ones, false, 0, None, Unit::Byte, Some(24)),
        (ones, false, 1, None, Unit::Byte, Some(24)),
        (ones, false, 3, None, Unit::Byte, None),
        (ones, false, 0, Some(-1), Unit::Byte, None),
        (ones, false, 0, Some(100), Unit::Bit, None),
        // Cut to the first byte rather than empty, unlike when counting.
        (b"\x80", true, -1, Some(-100), Unit::Byte, Some(0)),
        (b"", false, 0, None, Unit::Byte, None),
        (b"", true, 0, None, Unit::Byte, None),
    ] {
        assert_eq!(
            position(bytes, wanted, start, end, unit),
            expected,
            "{bytes:?} {start} to {end:?} {unit:?}"
        );
    }
}

#[test]
fn combining() {
    let sources: [&[u8]; 3] = [b"\xf0\xff", b"\xcc", b"\xaa\x0f\x01"];
    for (operation, expected) in [
        (Operation::And, &b"\x80\x00\x00"[..]),
        (Operation::Or, b"\xfe\xff\x01"),
        (Operation::Xor, b"\x96\xf0\x01"),
        (Operation::Diff, b"\x10\xf0\x00"),
        (Operation::Diff1, b"\x0e\x00\x01"),
        (Operation::AndOr, b"\xe0\x0f\x00"),
        (Operation::One, b"\x16\xf0\x01"),
    ] {
        assert_eq!(combine(operation, &sources), expected, "{operation:?}");
        assert_eq!(Operation::parse(operation.name().to_lowercase().as_bytes()), Some(operation));
    }
    assert_eq!(combine(Operation::Not, &[b"\xf0\x00"]), b"\x0f\xff");
    assert_eq!(combine(Operation::And, &[]), b"");
    assert_eq!(combine(Operation::And, &[b"", b""]), b"");
    assert_eq!(Operation::parse(b"nand"), None);
}

#[test]
fn field_types_and_offsets() {
    for text in ["i64", "u63", "i1", "u1"] {
        assert!(FieldType::parse(text.as_bytes()).is_some(), "{text}");
    }
    for text in ["i65", "u64", "u0", "i0", "8", "I8", "u-1", "u08", "i", ""] {
        assert!(FieldType::parse(text.as_bytes()).is_none(), "{text}");
    }
    let field = FieldType::parse(b"u5").unwrap();
    for (text, expected) in [
        ("0", Some(0)),
        ("#3", Some(15)),
        ("4294967295", Some(4294967295)),
        ("4294967296", None),
        ("#4611686018427387904", None),
        ("-1", None),
        ("#-1", None),
        ("#", None),
        ("##1", None),
    ] {
        assert_eq!(field.parse_offset(text.as_bytes(), 512 << 20), expected, "{text}");
    }
    assert_eq!(field.bytes_needed(3), 1);
    assert_eq!(field.bytes_needed(4), 2);
}

#[test]
fn fields() {
    let (i5, u4, u8) = (FieldType::parse(b"i5"), FieldType::parse(b"u4"), FieldType::parse(b"u8"));
    let (i5, u4, u8) = (i5.unwrap(), u4.unwrap(), u8.unwrap());
    let mut bytes = [0u8; 14];
    assert_eq!(i5.increment(&mut bytes, 100, 1, Overflow::Wrap), Some(1));
    assert_eq!(u4.get(&bytes, 0), 0);
    assert_eq!(u8.set(&mut bytes, 3, 255, Overflow::Wrap), Some(0));
    assert_eq!(bytes[..2], [0x1f, 0xe0]);
    assert_eq!(u8.increment(&mut bytes, 3, 10, Overflow::Saturate), Some(255));
    assert_eq!(u8.increment(&mut bytes, 3, 10, Overflow::Fail), None);
    assert_eq!(u8.increment(&mut bytes, 3, 10, Overflow::Wrap), Some(9));
    assert_eq!(u8.increment(&mut bytes, 3, -10, Overflow::Saturate), Some(0));
    assert_eq!(u8.set(&mut bytes, 3, -1, Overflow::Saturate), Some(0));
    assert_eq!(u8.get(&bytes, 3), 255);
    assert_eq!(i5.set(&mut bytes, 100, -17, Overflow::Saturate), Some(1));
    assert_eq!(i5.get(&bytes, 100), -16);
    assert_eq!(i5.increment(&mut bytes, 100, -1, Overflow::Wrap), Some(15));
    // Behind the end there are zeros.
    assert_eq!(u8.get(b"\xff", 4), 0xf0);
    assert_eq!(u8.get(b"\xff", u64::MAX - 100), 0);
    assert_eq!(Overflow::parse(b"SAT"), Some(Overflow::Saturate));
    assert_eq!(Overflow::parse(b"none"), None);
}

proptest! {
    #[test]
    fn ranges_as_bit_by_bit(
        bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 1..40),
        from in 0usize..320,
        len in 0usize..320,
        wanted: bool,
    ) {
        let bits = bits_of(&bytes);
        let (start, end) = (from.min(bits.len() - 1), (from + len).min(bits.len() - 1));
        let range = &bits[start..=end];
        let (start, end) = (start as i64, end as i64);
        let ones = range.iter().filter(|&&bit| bit).count() as u64;
        prop_assert_eq!(count_range(&bytes, start, end, Unit::Bit), ones);
        let first = range.iter().position(|&bit| bit == wanted).map(|at| at as u64 + start as u64);
        prop_assert_eq!(position(&bytes, wanted, start, Some(end), Unit::Bit), first);
    }

    #[test]
    fn combinations_as_bit_by_bit(sources in prop::collection::vec(any::<Vec<u8>>(), 1..5), pad in 0usize..2) {
        // The second run crosses the border between two pieces.
        let sources: Vec<Vec<u8>> = sources.iter().map(|s| [&vec![0x55; pad * 4090], &s[..]].concat()).collect();
        let views: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
        for (operation, rule) in [
            (Operation::And, (|first, others, n| first && others == n) as fn(bool, usize, usize) -> bool),
            (Operation::Or, |first, others, _| first || others > 0),
            (Operation::Xor, |first, others, _| (usize::from(first) + others) % 2 == 1),
            (Operation::Diff, |first, others, _| first && others == 0),
            (Operation::Diff1, |first, others, _| !first && others > 0),
            (Operation::AndOr, |first, others, _| first && others > 0),
            (Operation::One, |first, others, _| usize::from(first) + others == 1),
        ] {
            let result = combine(operation, &views);
            prop_assert_eq!(result.len(), views.iter().map(|v| v.len()).max().unwrap());
            for offset in 0..result.len() as u64 * 8 {
                let others = views[1..].iter().filter(|v| bit(v, offset)).count();
                prop_assert_eq!(bit(&result, offset), rule(bit(views[0], offset), others, views.len() - 1));
            }
        }
    }

    #[test]
    fn a_field_is_what_was_put_and_nothing_else_changes(
        mut bytes in prop::collection::vec(any::<u8>(), 48),
        offset in 0u64..320,
        bits in 1u32..65,
        signed: bool,
        value: i64,
    ) {
        let field = FieldType { signed, bits: if signed { bits } else { bits.min(63) } };
        let before = bits_of(&bytes);
        let old = field.get(&bytes, offset);
        prop_assert_eq!(field.set(&mut bytes, offset, value, Overflow::Wrap), Some(old));
        prop_assert_eq!(field.get(&bytes, offset), field.extend(value as u64));
        prop_assert_eq!(field.set(&mut bytes, offset, old, Overflow::Fail), Some(field.extend(value as u64)));
        prop_assert_eq!(bits_of(&bytes), before);
    }
}
