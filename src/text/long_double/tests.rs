//! Expected values are replies of redis-server to `SET k a`, `INCRBYFLOAT k b`.

use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Option<LongDouble> {
    LongDouble::parse(text.as_bytes())
}

fn print(value: LongDouble) -> String {
    let mut out = Vec::new();
    value.format(&mut out);
    String::from_utf8(out).unwrap()
}

fn sum(a: &str, b: &str) -> String {
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) if (a + b).is_finite() => print(a + b),
        (Some(_), Some(_)) => "not finite".into(),
        _ => "not a float".into(),
    }
}

#[test]
fn adds_and_prints_as_redis() {
    for (a, b, expected) in [
        ("0", "0", "0"),
        ("10.50", "0.1", "10.6"),
        ("5.0e3", "2.0e2", "5200"),
        ("3", "-1.1", "1.9"),
        ("0.1", "0.2", "0.3"),
        ("1", "1e-20", "1"),
        ("0", "1e-17", "0.00000000000000001"),
        ("0", "0.5e-17", "0"),
        ("0", "1.5e-17", "0.00000000000000002"),
        ("0", "-1e-20", "0"),
        ("-0", "-0", "0"),
        ("0", "-0.000000000000000005000000001", "-0.00000000000000001"),
        ("0.00000000000000001", "-1", "-0.99999999999999999"),
        ("1.00000000000000001", "0", "1.00000000000000001"),
        ("9223372036854775807", "1", "9223372036854775808"),
        ("18446744073709551615", "1", "18446744073709551616"),
        ("18446744073709551616", "1", "18446744073709551616"),
        ("18446744073709551615", "0.5", "18446744073709551616"),
        ("18446744073709551617.5", "0", "18446744073709551618"),
        ("36893488147419103233", "0", "36893488147419103232"),
        ("36893488147419103235", "0", "36893488147419103236"),
        ("-36893488147419103233.0000001", "0", "-36893488147419103232"),
        ("123456789012345678901234567890", "1", "123456789012345678899921813504"),
        ("1e40", "1", "9999999999999999999783686092270256259072"),
        ("1e60", "-1e60", "0"),
        ("1e60", "1e41", "1000000000000000000086485709358482415298754521487419434336256"),
        ("0x10", "0.5", "16.5"),
        ("0x1.8p1", "0x.8", "3.5"),
        ("0x1p-16445", "-0x1p-16445", "0"),
    ] {
        assert_eq!(sum(a, b), expected, "{a} + {b}");
        assert_eq!(sum(b, a), expected, "{b} + {a}");
    }
}

#[test]
fn the_edges_of_the_format() {
    let largest = "1.18973149535723176502e4932";
    for (a, b, expected) in [
        (largest, largest, "not finite"),
        ("1.2e4932", "0", "not a float"),
        ("1e-4951", "0", "not a float"),
        ("1e-4952", "0", "not a float"),
        ("1e-99999999999999999999", "0", "not a float"),
        ("0x1p-16446", "0", "not a float"),
        ("inf", "1", "not finite"),
        ("inf", "-inf", "not finite"),
        ("1", "-Infinity", "not finite"),
        ("nan", "1", "not a float"),
        ("1", "nan", "not a float"),
        ("1e", "1", "not a float"),
        ("abc", "1", "not a float"),
    ] {
        assert_eq!(sum(a, b), expected, "{a} + {b}");
    }
    let printed = print(parse(largest).unwrap());
    assert_eq!(printed.len(), 4933);
    assert!(printed.starts_with("11897314953572317650212638530309702051690633222946242004"));
    assert!(printed.ends_with("31762345960769508849149662444156604419552086811989770240"));
    assert_eq!(parse(&printed), parse(largest));
}

#[test]
fn long_texts() {
    let tiny = format!("0.{}1", "0".repeat(4949));
    assert_eq!(parse(&tiny), parse("1e-4950"));
    let long = |digits: usize| format!("0.1{}", "0".repeat(digits));
    assert_eq!(parse(&long(MAX_TEXT_LEN - 3)), parse("0.1"));
    assert_eq!(parse(&long(MAX_TEXT_LEN - 2)), None);
    // Just above and just below a tie between two neighbours.
    let tie = "18446744073709551617";
    assert_eq!(sum(&format!("{tie}.{}1", "0".repeat(3000)), "0"), "18446744073709551618");
    assert_eq!(sum(&format!("{tie}.{}", "0".repeat(3000)), "0"), "18446744073709551616");
}

proptest! {
    #[test]
    fn short_and_general_conversion_agree(number: u64, scale in -18i64..20) {
        let digits = number.to_string();
        let decimal = Decimal { negative: false, whole: digits.as_bytes(), fraction: b"", exponent: scale };
        let short = LongDouble::round(&to_binary(&decimal).unwrap());
        prop_assert_eq!(short, LongDouble::round(&to_binary_big(false, digits.as_bytes(), scale)));
    }

    #[test]
    fn never_panics(a: Vec<u8>, b in "[-+]?[0-9]{0,40}[.]?[0-9]{0,40}(e-?[0-9]{1,5})?") {
        if let (Some(a), Some(b)) = (LongDouble::parse(&a), LongDouble::parse(b.as_bytes())) {
            (a + b).format(&mut Vec::new());
        }
        if let Some(b) = LongDouble::parse(b.as_bytes()) {
            (b + b).format(&mut Vec::new());
        }
    }
}
