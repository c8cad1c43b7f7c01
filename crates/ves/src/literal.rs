//! Looks at the integer literals of a JSON text: the parser has already turned the large ones into doubles,
//! so only the text still tells `1e300` from three hundred digits that no double holds.
//!
//! It runs only on text that a JSON parser has accepted, and only when a number of magnitude 2^63 or more was
//! met. It refuses to judge fractions and exponents: those are the double that they parse to.

/// The first integer literal (no `.`, no exponent) whose ECMAScript form denotes another number.
pub(crate) fn first_inexact_integer(json: &str) -> Option<&str> {
    let bytes = json.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at + 1),
            b'-' | b'0'..=b'9' => {
                let end = number_end(bytes, at);
                let literal = json.get(at..end).unwrap_or_default();
                if !is_exact(literal) {
                    return Some(literal);
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    None
}

/// The index after the closing quote of a string whose content starts at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// The index after the last byte of the number that starts at `at`.
fn number_end(bytes: &[u8], at: usize) -> usize {
    let part_of_number = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    at + bytes.get(at..).map_or(0, |rest| rest.iter().take_while(part_of_number).count()).max(1)
}

/// Whether the ECMAScript form of an integer literal denotes the same number; true for every other literal.
fn is_exact(literal: &str) -> bool {
    let digits = literal.strip_prefix('-').unwrap_or(literal);
    // Up to 15 digits every integer is exact.
    if digits.len() <= 15 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return true;
    }
    let Ok(value) = digits.parse::<f64>() else { return false };
    let mut buffer = ryu_js::Buffer::new();
    let printed = buffer.format(value);
    match printed.split_once("e+") {
        None => printed == digits,
        // `d.ddde+NN`: the same number if it has NN + 1 digits and the significant ones agree.
        Some((mantissa, exponent)) => {
            let significant: String = mantissa.chars().filter(char::is_ascii_digit).collect();
            exponent.parse() == Ok(digits.len() - 1)
                && significant.trim_end_matches('0') == digits.trim_end_matches('0')
        }
    }
}
