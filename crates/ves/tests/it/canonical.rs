//! RFC 8785: its own examples, the traps of numbers and key order, and the laws of a canonical form.
//!
//! The laws are checked against serde_json's own reading of the same text, which shares no code with the
//! writer under test.

use bowline_ves::{CanonicalError, canonicalize};
use proptest::prelude::*;
use serde_json::Value;

fn canonical(json: &str) -> String {
    String::from_utf8(canonicalize(json).unwrap()).unwrap()
}

#[test]
fn the_examples_of_the_rfc() {
    // §3.2.2 and §3.2.4.
    let input = r#"{
        "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
        "literals": [null, true, false]
    }"#;
    let expected = concat!(
        r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"#,
        r#""string":"€$\u000f\nA'B\"\\\\\"/"}"#
    );
    assert_eq!(canonical(input), expected);
    // §3.2.3: the order of keys.
    let input = r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh",
        "1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control",
        "\u00f6":"Latin Small Letter O With Diaeresis"}"#;
    let expected = "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\
        \"\u{f6}\":\"Latin Small Letter O With Diaeresis\",\"\u{20ac}\":\"Euro Sign\",\
        \"\u{1f600}\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}";
    assert_eq!(canonical(input), expected);
}

/// Results of `rfc8785` 0.1.4 for Python, which has its own parser, its own numbers and its own order of keys: 150
/// numbers over the whole range of doubles, and 250 values.
#[test]
fn another_language_computes_the_same() {
    let golden = include_str!("rfc8785.jsonl");
    assert_eq!(golden.lines().count(), 400);
    for line in golden.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let input = case["input"].as_str().unwrap();
        assert_eq!(canonical(input), case["canonical"].as_str().unwrap(), "{input}");
    }
}

#[test]
fn numbers_are_written_as_ecmascript_writes_doubles() {
    // Appendix B of the RFC, and the edges between integer and exponent form.
    let cases = [
        ("0", "0"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("1.0", "1"),
        ("-1", "-1"),
        ("10E-1", "1"),
        ("5e-324", "5e-324"),
        ("-5e-324", "-5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("9007199254740992", "9007199254740992"),
        ("-9007199254740992", "-9007199254740992"),
        ("295147905179352830000", "295147905179352830000"),
        ("9.999999999999997e22", "9.999999999999997e+22"),
        ("1e23", "1e+23"),
        ("1.0000000000000001e23", "1.0000000000000001e+23"),
        ("999999999999999900000", "999999999999999900000"),
        ("1e21", "1e+21"),
        ("1000000000000000000000", "1e+21"),
        ("1000000000000000000", "1000000000000000000"),
        ("9.999999999999997e-7", "9.999999999999997e-7"),
        ("0.000001", "0.000001"),
        ("333333333.3333332", "333333333.3333332"),
        ("333333333.33333325", "333333333.33333325"),
        ("-0.0000033333333333333333", "-0.0000033333333333333333"),
        ("1424953923781206.25", "1424953923781206.2"),
        // Doubles that a fast and slightly wrong parser misses by one unit in the last place.
        ("0.1e-6", "1e-7"),
        ("9007199254740993.0", "9007199254740992"),
        ("2.2250738585072011e-308", "2.225073858507201e-308"),
        ("1.448997445238699", "1.448997445238699"),
    ];
    for (input, expected) in cases {
        assert_eq!(canonical(input), expected, "{input}");
    }
}

#[test]
fn an_integer_that_a_double_cannot_hold_is_refused() {
    let inexact = [
        "9007199254740993",
        "-9007199254740993",
        "12345678901234567890",
        "-9223372036854775807",
        "1152921504606846976",
        "18446744073709551615",
        "18446744073709551616",
        "-12345678901234567890123",
        "100000000000000000000000000000000000001",
    ];
    for literal in inexact {
        for json in [literal.to_owned(), format!(r#"{{"a\"1":[1e300,"1",{literal}]}}"#)] {
            let expected = CanonicalError::NumberNotExact { literal: literal.to_owned() };
            assert_eq!(canonicalize(&json), Err(expected), "{json}");
        }
    }
    // Digits within strings and floats are none of its business.
    assert_eq!(canonical(r#"["12345678901234567890", 1e300]"#), r#"["12345678901234567890",1e+300]"#);
    assert_eq!(canonical("12345678901234567890.0"), "12345678901234567000");
    assert_eq!(canonical("1e22"), "1e+22");
}

#[test]
fn what_is_not_json_is_refused() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let bad =
        ["", "{", "nul", "1 2", "01", "1e999", "{\"a\":1,}", "'a'", "\"\u{1}\"", r#""\ud800""#, "NaN", &deep];
    for json in bad {
        assert!(matches!(canonicalize(json), Err(CanonicalError::Syntax { .. })), "{json}");
    }
}

#[test]
fn the_last_of_equal_keys_wins_and_order_is_by_utf16() {
    assert_eq!(
        canonical(r#" {"b":1,"a":{"z":1,"y":2},"b":[{"d":1,"c":2}],"\u0061":3} "#),
        r#"{"a":3,"b":[{"c":2,"d":1}]}"#
    );
    assert_eq!(
        canonical("{\"\u{ffff}\":1,\"\u{10000}\":2,\"\u{d7ff}\":3,\"\":4}"),
        "{\"\":4,\"\u{d7ff}\":3,\"\u{10000}\":2,\"\u{ffff}\":1}"
    );
    assert_eq!(canonical("[{}, [], \"\\u007f/\\u001F\\b\"]"), "[{},[],\"\u{7f}/\\u001f\\b\"]");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1_i64 << 53)..=1 << 53).prop_map(Value::from),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(
                "\\PC{0,3}|[a-c\u{e000}-\u{ffff}\u{10000}-\u{10400}]{0,2}",
                inner,
                0..6
            )
            .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Whether two values are equal if every number is a double.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => left == right,
    }
}

/// The keys of every object, in the order of the text.
fn keys_in_order(canonical: &str) -> Vec<String> {
    // serde_json's own map is sorted, so the order is read with a visitor.
    struct Keys<'a>(&'a mut Vec<String>);
    impl<'de> serde::de::Visitor<'de> for Keys<'_> {
        type Value = ();
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key::<String>()? {
                self.0.push(key);
                map.next_value::<serde::de::IgnoredAny>()?;
            }
            Ok(())
        }
    }
    let mut keys = Vec::new();
    serde::Deserializer::deserialize_map(&mut serde_json::Deserializer::from_str(canonical), Keys(&mut keys))
        .unwrap();
    keys
}

proptest! {
    #[test]
    fn a_canonical_form_keeps_the_value_and_is_its_own_form(value in any_json()) {
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let once = canonical(&pretty);
        prop_assert_eq!(&canonical(&once), &once);
        prop_assert_eq!(&canonical(&value.to_string()), &once);
        let back: Value = serde_json::from_str(&once).unwrap();
        prop_assert!(same(&back, &value), "{} from {}", once, value);
    }

    #[test]
    fn keys_ascend_by_utf16_and_shuffling_them_changes_nothing(
        entries in prop::collection::vec(("[a-b\u{d7f0}-\u{d7ff}\u{e000}-\u{e010}\u{fff0}-\u{10010}\"\\\\]{0,3}", 0..9_u8), 0..12)
    ) {
        let object = |entries: &[(String, u8)]| {
            let members: Vec<String> =
                entries.iter().map(|(key, n)| format!("{}:{n}", Value::from(key.as_str()))).collect();
            format!("{{{}}}", members.join(","))
        };
        let once = canonical(&object(&entries));
        let keys = keys_in_order(&once);
        let units: Vec<Vec<u16>> = keys.iter().map(|key| key.encode_utf16().collect()).collect();
        prop_assert!(units.is_sorted_by(|a, b| a < b));
        // Without duplicates the order of the members is of no account.
        let mut distinct: Vec<(String, u8)> = Vec::new();
        for (key, n) in entries.iter().rev() {
            if !distinct.iter().any(|(known, _)| known == key) {
                distinct.push((key.clone(), *n));
            }
        }
        prop_assert_eq!(canonical(&object(&distinct)), once);
    }

    #[test]
    fn an_integer_is_either_exact_or_refused(digits in "-?[1-9][0-9]{0,24}") {
        let exact = |printed: &str| {
            let Some((mantissa, exponent)) = printed.split_once("e+") else { return printed.to_owned() };
            let negative = mantissa.starts_with('-');
            let significant = mantissa.replace(['.', '-'], "");
            let zeros = exponent.parse::<usize>().unwrap() + 1 - significant.len();
            format!("{}{significant}{}", if negative { "-" } else { "" }, "0".repeat(zeros))
        };
        let printed = ryu_js::Buffer::new().format(digits.parse::<f64>().unwrap()).to_owned();
        match canonicalize(&digits) {
            Ok(bytes) => prop_assert_eq!(exact(std::str::from_utf8(&bytes).unwrap()), digits),
            Err(CanonicalError::NumberNotExact { literal }) => {
                prop_assert_eq!(&literal, &digits);
                prop_assert_ne!(exact(&printed), digits);
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
