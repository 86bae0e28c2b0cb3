//! The dumps are redis-server 7.0's, of keys made by the commands beside them.

use proptest::prelude::*;

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

fn view(value: &Value) -> ValueRef<'_> {
    match value {
        Value::String(text) => ValueRef::Inline(text),
        Value::Object(object) => ValueRef::Object(object),
    }
}

/// The value in words, sets and large hashes in the order of their members.
fn words(value: &Value) -> String {
    let text = |element: Element<'_>| String::from_utf8(element.to_vec()).unwrap();
    let join = |mut words: Vec<String>, sort: bool| {
        if sort {
            words.sort();
        }
        words.join(" ")
    };
    match value {
        Value::String(text) => String::from_utf8(text.clone()).unwrap(),
        Value::Object(Object::List(list)) => join(list.iter().map(text).collect(), false),
        Value::Object(Object::Set(set)) => join(set.iter().map(text).collect(), true),
        Value::Object(Object::ZSet(zset)) => {
            join(zset.iter().map(|(member, score)| format!("{}:{score}", text(member))).collect(), false)
        }
        Value::Object(Object::Hash(hash)) => {
            let expiry = |field: Element<'_>| hash.expiry(&field.to_vec()).unwrap();
            let word = |(field, value): (Element<'_>, Element<'_>)| match expiry(field) {
                None => format!("{}={}", text(field), text(value)),
                Some(time_ms) => format!("{}={}@{time_ms}", text(field), text(value)),
            };
            join(hash.iter().map(word).collect(), true)
        }
        Value::Object(Object::Stream(stream)) => format!("a stream of {}", stream.len()),
    }
}

fn with_footer(mut body: Vec<u8>, version: u16) -> Vec<u8> {
    body.extend(version.to_le_bytes());
    body.extend(CRC64.checksum(&body).to_le_bytes());
    body
}

fn read(payload: &[u8]) -> Result<String, RestoreError> {
    restore(payload, &Limits::default(), Leniency::default()).map(|value| words(&value))
}

#[test]
fn what_redis_dumps() {
    let long = "a".repeat(60);
    for (command, dumped, expected) in [
        ("SET hello", "000568656c6c6f0a006372df766534200a", "hello"),
        ("SET -7", "00c0f90a005e26d130d7a242ab", "-7"),
        ("SET 1000", "00c1e8030a0089d1478ebac4b764", "1000"),
        ("SET 100000", "00c2a08601000a00f12403506f2fa674", "100000"),
        ("SET 123456789012", "000c3132333435363738393031320a00911001b1d116e7ac", "123456789012"),
        ("SET aaa...", "00c3093c016161e02f000161610a00a67e08b217d09780", &long),
        (
            "RPUSH a b 3 d e 6, four elements a node",
            "120202121200000004008161028162020301816402ff020c0c00000002008165020601ff0a006b3158366c1f01a5",
            "a b 3 d e 6",
        ),
        ("SADD 1 -2 70000", "0b140400000003000000feffffff01000000701101000a0030527df8cc311f3b", "-2 1 70000"),
        ("SADD a b 3", "02030161c00301620a00eaa41ffde2981ee0", "3 a b"),
        ("HSET f v n 12", "1012120000000400816602817602816e020c01ff0a0001369481d35b8974", "f=v n=12"),
        (
            "ZADD 1.5 a -inf b 7 c",
            "111d1d0000000600816202842d696e660581610283312e35048163020701ff0a0051045ee1e370efe5",
            "b:-inf a:1.5 c:7",
        ),
        ("HSET f v n 12, large", "040201660176016ec00c0a002acab7136ca4a7ab", "f=v n=12"),
        (
            "ZADD 1.5 a -inf b 7 c, large",
            "050301630000000000001c400161000000000000f83f0162000000000000f0ff0a0006e21aed5b026243",
            "b:-inf a:1.5 c:7",
        ),
    ] {
        let value = restore(&bytes(dumped), &Limits::default(), Leniency::default()).unwrap();
        assert_eq!(words(&value), expected, "{command}");
        assert_eq!(read(&dump(view(&value))).unwrap(), expected, "{command}");
    }
}

/// Where the encodings agree, so do the bytes, but for version and checksum.
#[test]
fn dumps_as_redis_does() {
    for dumped in [
        "000568656c6c6f0a006372df766534200a",
        "00c2a08601000a00f12403506f2fa674",
        "0b140400000003000000feffffff01000000701101000a0030527df8cc311f3b",
        "1012120000000400816602817602816e020c01ff0a0001369481d35b8974",
        "111d1d0000000600816202842d696e660581610283312e35048163020701ff0a0051045ee1e370efe5",
    ] {
        let dumped = bytes(dumped);
        let body = &dumped[..dumped.len() - FOOTER];
        let value = restore(&dumped, &Limits::default(), Leniency::default()).unwrap();
        assert_eq!(dump(view(&value)), with_footer(body.to_vec(), 11));
    }
    let integer = dump(ValueRef::Int(-7));
    assert_eq!(integer[..integer.len() - FOOTER], [0, INT8, 0xf9]);
}

#[test]
fn every_encoding_comes_back() {
    let tight = Limits {
        list: crate::store::types::list::ListLimits { max_listpack_size: 3 },
        hash: crate::store::types::hash::HashLimits { max_listpack_entries: 0, ..Default::default() },
        set: crate::store::types::set::SetLimits {
            max_intset_entries: 0,
            max_listpack_entries: 0,
            ..Default::default()
        },
        zset: crate::store::types::zset::ZSetLimits { max_listpack_entries: 0, ..Default::default() },
    };
    let long = "text ".repeat(50);
    let members: Vec<String> =
        (0..40).map(|i| format!("{long}{i}")).chain((0..40).map(|i| i.to_string())).collect();
    for limits in [Limits::default(), tight] {
        let (mut list, mut set, mut zset, mut hash) = (List::new(), Set::new(), ZSet::new(), Hash::new());
        for (member, score) in members.iter().map(String::as_bytes).zip(0..) {
            list.push(End::Back, [member], limits.list);
            set.add(member, limits.set);
            zset.add(member, f64::from(score) / 3.0, AddOptions::default(), limits.zset);
            hash.set(member, member, limits.hash);
        }
        for object in [Object::List(list), Object::Set(set), Object::ZSet(zset), Object::Hash(hash)] {
            for compress in [false, true] {
                let mut out = Vec::new();
                append_value(ValueRef::Object(&object), compress, &mut out);
                out.push(b'!');
                let mut reader = Reader::new(&out);
                let value = take_value(&mut reader, &limits).unwrap();
                assert_eq!(words(&value), words(&Value::Object(object.clone())));
                assert_eq!(reader.byte(), Some(b'!'));
            }
        }
    }
}

#[test]
fn fields_that_expire() {
    let mut hash = Hash::new();
    for (field, expiry_ms) in [(b"a", None), (b"b", Some(1_700_000_000_000)), (b"c", Some(5))] {
        hash.set(field, b"1", Limits::default().hash);
        hash.set_expiry(field, expiry_ms);
    }
    let dumped = dump(ValueRef::Object(&Object::Hash(hash)));
    let version = &dumped[dumped.len() - FOOTER..][..2];
    assert_eq!(version, VALKEY_VERSION.to_le_bytes());
    assert_eq!(read(&dumped).unwrap(), "a=1 b=1@1700000000000 c=1@5");

    // As Redis writes them: relative to the earliest, or a pack of triples.
    let earliest = 1000i64.to_le_bytes();
    let large =
        [&[kind::HASH_EXPIRING_REDIS], &earliest[..], b"\x02", b"\x00\x01a\x01x", b"\x01\x01b\x01y"].concat();
    assert_eq!(read(&with_footer(large.clone(), 12)).unwrap(), "a=x b=y@1000");
    assert_eq!(read(&with_footer(large, 80)), Err(RestoreError::Format));
    let pack = Pack::of(["b", "y", "1000", "a", "x", "0"].map(str::as_bytes));
    let mut small = [&[kind::HASH_EXPIRING_PACK_REDIS], &earliest[..]].concat();
    Writer::new(&mut small, false).string(pack.as_bytes());
    assert_eq!(read(&with_footer(small, 12)).unwrap(), "a=x b=y@1000");
}

/// What Redis 2.2 to 6.2 wrote; made by hand and read alike by redis-server.
#[test]
fn packed_forms_of_old() {
    let ziplist = b"\x1c\0\0\0\x16\0\0\0\x04\0\0\x01a\x03\xf3\x02\xc0\xe8\x03\x04\xf0\x00\x00\x80\xff";
    let total = ziplist.len() as u8;
    let mut ziplist = ziplist.to_vec();
    ziplist[0] = total;
    let of_kind = |kind: u8, block: &[u8]| {
        let mut body = vec![kind];
        Writer::new(&mut body, false).string(block);
        with_footer(body, 9)
    };
    assert_eq!(read(&of_kind(kind::LIST_ZIPLIST, &ziplist)).unwrap(), "a 2 1000 -8388608");
    assert_eq!(read(&of_kind(kind::HASH_ZIPLIST, &ziplist)).unwrap(), "1000=-8388608 a=2");
    let mut quicklist = vec![kind::LIST_OF_ZIPLISTS, 2];
    for _ in 0..2 {
        Writer::new(&mut quicklist, false).string(&ziplist);
    }
    assert_eq!(read(&with_footer(quicklist, 9)).unwrap(), "a 2 1000 -8388608 a 2 1000 -8388608");
    let zipmap = b"\x02\x01f\x01\x00v\x02ab\x01\x03c...\xff";
    assert_eq!(read(&of_kind(kind::HASH_ZIPMAP, zipmap)).unwrap(), "ab=c f=v");

    for (at, byte) in [(0, total + 1), (8, 5), (11, 2), (11, 0x41)] {
        let mut bad = ziplist.clone();
        bad[at] = byte;
        assert_eq!(read(&of_kind(kind::LIST_ZIPLIST, &bad)), Err(RestoreError::Format), "{at}");
    }
    // A length of three written in four bytes.
    let overlong = b"\x01\xfe\x03\x00\x00\x00abc\x03\x00def\xff";
    assert_eq!(read(&of_kind(kind::HASH_ZIPMAP, overlong)), Err(RestoreError::Format));
    for cut in 0..zipmap.len() {
        assert_eq!(read(&of_kind(kind::HASH_ZIPMAP, &zipmap[..cut])), Err(RestoreError::Format));
    }
}

#[test]
fn forms_with_one_string_an_element() {
    assert_eq!(read(&with_footer(b"\x01\x02\x01a\xc0\x05".to_vec(), 6)).unwrap(), "a 5");
    assert_eq!(
        read(&with_footer(b"\x03\x03\x01a\x031.5\x01b\xfe\x01c\xff".to_vec(), 6)).unwrap(),
        "c:-inf a:1.5 b:inf"
    );
    assert_eq!(read(&with_footer(b"\x03\x01\x01a\xfd".to_vec(), 6)), Err(RestoreError::Format));
    // A list node that is one long element.
    assert_eq!(read(&with_footer(b"\x12\x01\x01\x03abc".to_vec(), 11)).unwrap(), "abc");
}

#[test]
fn footers() {
    let good = dump(ValueRef::Int(1));
    for (at, by) in [(1, 1), (good.len() - 9, 1), (good.len() - 1, 1)] {
        let mut bad = good.clone();
        bad[at] ^= by;
        assert_eq!(read(&bad), Err(RestoreError::Footer));
    }
    for short in [&b""[..], b"123456789", &good[..good.len() - 1]] {
        assert_eq!(read(short), Err(RestoreError::Footer));
    }
    assert_eq!(read(&with_footer(vec![0, INT8, 1], 0)), Err(RestoreError::Footer));
    assert_eq!(read(&with_footer(vec![0, INT8, 1], 82)), Err(RestoreError::Footer));
    assert_eq!(read(&with_footer(Vec::new(), 11)), Err(RestoreError::Format));
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    let lenient = |payload: &[u8], any_version, any_checksum| {
        restore(payload, &Limits::default(), Leniency { any_version, any_checksum })
            .map(|value| words(&value))
    };
    assert_eq!(lenient(&bad, false, true).unwrap(), "1");
    assert_eq!(lenient(&bad, true, false), Err(RestoreError::Footer));
    assert_eq!(lenient(&with_footer(vec![0, INT8, 1], 82), true, false).unwrap(), "1");
}

#[test]
fn values_that_make_no_sense() {
    for body in [
        &b"\x00"[..],                                     // nothing
        b"\x00\x05abc",                                   // short
        b"\x00\x01ab",                                    // long
        b"\x00\x82\x00",                                  // no such length
        b"\x00\xc4",                                      // no such special form
        b"\x00\xc3\x02\xbf\xff\x00a",                     // compressed beyond reason
        b"\x06\x00",                                      // a module's
        b"\x63\x00",                                      // no such type
        b"\x01\x00",                                      // an empty list
        b"\x02\x00",                                      // an empty set
        b"\x02\x02\x01a\x01a",                            // twice the same member
        b"\x04\x02\x01a\x01b\x01a\x01c",                  // twice the same field
        b"\x05\x01\x01a\x00\x00\x00\x00\x00\x00\xf8\x7f", // not a number
        b"\x02\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a", // a count from nowhere
        b"\x12\x01\x03\x01a",                             // no such list node
        b"\x12\x01\x02\x07\x07\x00\x00\x00\x01\x00\xff",  // a pack with the wrong count
        b"\x0b\x08\x02\x00\x00\x00\x00\x00\x00\x00",      // no integers
    ] {
        assert_eq!(read(&with_footer(body.to_vec(), 11)), Err(RestoreError::Format), "{body:x?}");
    }
}

#[test]
fn lengths_of_all_sizes() {
    for length in [0, 63, 64, 16383, 16384, u32::MAX as usize, u32::MAX as usize + 1, usize::MAX] {
        let mut out = Vec::new();
        Writer::new(&mut out, false).length(length);
        let mut reader = Reader::new(&out);
        assert_eq!(reader.length(), Some(length as u64));
        assert!(reader.is_done());
    }
}

proptest! {
    #[test]
    fn any_string_comes_back(text: Vec<u8>, times in 1usize..5) {
        let text = text.repeat(times);
        let Ok(Value::String(read)) = restore(&dump(ValueRef::Inline(&text)), &Limits::default(), Leniency::default()) else {
            panic!("a string is a string");
        };
        prop_assert_eq!(read, text);
    }

    #[test]
    fn any_body_is_refused_or_sound(kind in 0u8..26, body: Vec<u8>, version in prop::sample::select(vec![9u16, 12, 80])) {
        let payload = with_footer([&[kind], &body[..]].concat(), version);
        if let Ok(value) = restore(&payload, &Limits::default(), Leniency::default()) {
            prop_assert!(restore(&dump(view(&value)), &Limits::default(), Leniency::default()).is_ok());
        }
    }
}
