//! Values of the ABI as JSON, without loss: what may not fit a double is a text.
//! Which of a type's values are texts depends on the type alone, so that a field is always of one kind.

use alloy_dyn_abi::DynSolValue;
use alloy_primitives::{I256, hex};
use serde_json::{Map, Value};

/// Bits of an integer type that always fits a double.
const NUMBER_BITS_MAX: usize = 48;

/// A value: integers of up to 48 bits are numbers and wider ones texts, bytes and addresses lower-case hex.
pub(crate) fn json(value: &DynSolValue) -> Value {
    let all = |values: &[DynSolValue]| Value::Array(values.iter().map(json).collect());
    match value {
        DynSolValue::Bool(yes) => Value::Bool(*yes),
        DynSolValue::Int(int, bits) => number(int.to_string(), *bits),
        DynSolValue::Uint(uint, bits) => number(uint.to_string(), *bits),
        DynSolValue::FixedBytes(word, size) => Value::String(hex::encode_prefixed(&word[..*size])),
        DynSolValue::Address(address) => Value::String(hex::encode_prefixed(address)),
        DynSolValue::Function(function) => Value::String(hex::encode_prefixed(function)),
        DynSolValue::Bytes(bytes) => Value::String(hex::encode_prefixed(bytes)),
        DynSolValue::String(text) => Value::String(text.clone()),
        DynSolValue::Array(values) | DynSolValue::FixedArray(values) | DynSolValue::Tuple(values) => {
            all(values)
        }
        // Only what `eip712` adds, which no event has.
        #[allow(unreachable_patterns)]
        other => Value::String(format!("{other:?}")),
    }
}

/// A word that says more than its type allows is a text too.
fn number(digits: String, bits: usize) -> Value {
    let exact = digits.parse::<i64>().ok().filter(|number| number.unsigned_abs() < 1 << NUMBER_BITS_MAX);
    match exact {
        Some(number) if bits <= NUMBER_BITS_MAX => Value::from(number),
        _ => Value::String(digits),
    }
}

/// 32 bytes as the text that they are padded from, or in hex if they are none.
pub(crate) fn padded_text(value: &DynSolValue) -> Value {
    let DynSolValue::FixedBytes(word, 32) = value else { return json(value) };
    let text_bytes = word.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    match std::str::from_utf8(&word[..text_bytes]) {
        Ok(text) if !text.chars().any(char::is_control) => Value::String(text.to_owned()),
        _ => json(value),
    }
}

/// Adds to a feedback what its versions say in different ways: `value` is exact, `score` the nearest number to it.
pub(crate) fn add_feedback_value(values: &mut Map<String, Value>) {
    let raw = values.get("value_raw").and_then(Value::as_str).map(str::to_owned);
    let decimals = values.get("value_decimals").and_then(Value::as_u64);
    match (raw, decimals, values.get("score").and_then(Value::as_u64)) {
        (Some(raw), Some(decimals), _) => {
            let value = scaled(&raw, usize::try_from(decimals).unwrap_or_default());
            values.insert("score".to_owned(), nearest(&value));
            values.insert("value".to_owned(), Value::String(value));
        }
        (None, None, Some(score)) => {
            values.insert("value".to_owned(), Value::String(score.to_string()));
            values.insert("value_raw".to_owned(), Value::String(score.to_string()));
            values.insert("value_decimals".to_owned(), Value::from(0));
        }
        _ => {}
    }
}

/// Digits with the point so many places from their end, without zeros at the end.
fn scaled(raw: &str, decimals: usize) -> String {
    let (sign, digits) = raw.strip_prefix('-').map_or(("", raw), |digits| ("-", digits));
    let padded = format!("{digits:0>width$}", width = decimals + 1);
    let (whole, fraction) = padded.split_at(padded.len() - decimals);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    if raw.parse::<I256>().is_ok_and(|value| value.is_zero()) {
        return "0".to_owned();
    }
    format!("{sign}{whole}{point}{fraction}")
}

fn nearest(value: &str) -> Value {
    match value.parse::<i64>() {
        Ok(whole) if whole.unsigned_abs() < 1 << NUMBER_BITS_MAX => Value::from(whole),
        _ => value.parse::<f64>().map_or(Value::Null, Value::from),
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{B256, U256};

    use super::*;

    #[test]
    fn a_scaled_value_is_exact() {
        let cases = [
            ("-125", 1, "-12.5"),
            ("-1250", 2, "-12.5"),
            ("5", 0, "5"),
            ("500", 2, "5"),
            ("0", 18, "0"),
            ("-1", 18, "-0.000000000000000001"),
            ("170141183460469231731687303715884105727", 18, "170141183460469231731.687303715884105727"),
        ];
        for (raw, decimals, expected) in cases {
            assert_eq!(scaled(raw, decimals), expected);
        }
        assert_eq!(nearest("-12.5").to_string(), "-12.5");
        assert_eq!(nearest("85").to_string(), "85");
        assert!(nearest("170141183460469231731.687303715884105727").as_f64().unwrap() > 1e20);
    }

    #[test]
    fn integers_are_numbers_only_if_their_type_fits() {
        assert_eq!(json(&DynSolValue::Uint(U256::from(7), 8)), 7);
        assert_eq!(json(&DynSolValue::Uint(U256::from(7), 64)), "7");
        assert_eq!(json(&DynSolValue::Uint(U256::MAX, 256)), U256::MAX.to_string());
        assert_eq!(json(&DynSolValue::Int(I256::MINUS_ONE, 32)), -1);
        assert_eq!(json(&DynSolValue::Uint(U256::MAX, 8)), U256::MAX.to_string());
    }

    #[test]
    fn padded_texts_are_texts_if_they_can_be() {
        let word = |text: &[u8]| {
            let mut word = B256::ZERO;
            word[..text.len()].copy_from_slice(text);
            DynSolValue::FixedBytes(word, 32)
        };
        assert_eq!(padded_text(&word(b"quality")), "quality");
        assert_eq!(padded_text(&word(b"")), "");
        assert!(padded_text(&word(&[0xff; 32])).as_str().unwrap().starts_with("0xff"));
        assert!(padded_text(&word(b"a\0b")).as_str().unwrap().starts_with("0x"));
    }
}
