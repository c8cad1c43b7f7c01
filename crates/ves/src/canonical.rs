//! RFC 8785 canonical JSON: the one spelling of a payload that is hashed.
//!
//! The text is read once by serde_json and written while it is read; only an object whose keys arrive out of
//! order is rearranged afterwards, so the common payload costs one buffer and no tree. Keys are ordered by
//! UTF-16 code units, the last of equal keys wins, numbers are written as ECMAScript writes doubles.
//!
//! It refuses an integer literal that a double cannot hold: two payloads that differ only there would have
//! the same hash. A literal with a fraction or an exponent is the double it parses to.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::literal;

/// Why a text has no canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    /// It is not JSON, nests deeper than 128 levels, or holds a number beyond the range of a double.
    #[error("not canonicalizable JSON: {problem}")]
    Syntax {
        /// What the parser said, with line and column.
        problem: String,
    },
    /// An integer literal whose canonical form would denote another number.
    #[error("the integer {literal} is not exact in an IEEE double; send it as a string")]
    NumberNotExact {
        /// The literal as it was sent, shortened to 64 characters.
        literal: String,
    },
}

/// The RFC 8785 form of one JSON text.
///
/// `json` is a whole JSON document; blanks around it are allowed. Equal values have equal results, and the
/// result is its own canonical form.
pub fn canonicalize(json: &str) -> Result<Vec<u8>, CanonicalError> {
    let writer = Writer {
        out: RefCell::new(Vec::with_capacity(json.len())),
        inexact: Cell::new(None),
        literals_in_doubt: Cell::new(false),
    };
    let mut parser = serde_json::Deserializer::from_str(json);
    let read = Value(&writer).deserialize(&mut parser).and_then(|()| parser.end());
    if let Err(problem) = read {
        return Err(match writer.inexact.take() {
            Some(integer) => CanonicalError::NumberNotExact { literal: integer.to_string() },
            None => CanonicalError::Syntax { problem: problem.to_string() },
        });
    }
    if writer.literals_in_doubt.get()
        && let Some(text) = literal::first_inexact_integer(json)
    {
        return Err(CanonicalError::NumberNotExact { literal: text.chars().take(64).collect() });
    }
    Ok(writer.out.into_inner())
}

/// Integers up to this magnitude are exact in a double and print as they are.
const EXACT_MAX: u64 = 1 << 53;

/// From this magnitude on serde_json reports integers as doubles, so only the text can tell which they were.
const INTEGER_AS_FLOAT_MIN: f64 = 9_223_372_036_854_775_808.0;

/// What one run over a text has written and noticed. The cells are there because every nested visitor
/// shares it; a run is single-threaded.
struct Writer {
    out: RefCell<Vec<u8>>,
    /// The integer that made the run stop.
    inexact: Cell<Option<i128>>,
    /// A number was met whose literal must be looked at again.
    literals_in_doubt: Cell<bool>,
}

impl Writer {
    fn push(&self, bytes: &[u8]) {
        self.out.borrow_mut().extend_from_slice(bytes);
    }

    fn len(&self) -> usize {
        self.out.borrow().len()
    }

    fn integer<E: serde::de::Error>(&self, negative: bool, magnitude: u64) -> Result<(), E> {
        let mut digits = [0_u8; 20];
        let digits = decimal(magnitude, &mut digits);
        if magnitude > EXACT_MAX {
            // Between 2^53 and 2^64 no exponent is printed, so the digits must be the same.
            let mut buffer = ryu_js::Buffer::new();
            if buffer.format_finite(magnitude as f64).as_bytes() != digits {
                let signed = i128::from(magnitude) * if negative { -1 } else { 1 };
                self.inexact.set(Some(signed));
                return Err(E::custom("inexact integer"));
            }
        }
        let mut out = self.out.borrow_mut();
        if negative {
            out.push(b'-');
        }
        out.extend_from_slice(digits);
        Ok(())
    }
}

/// The decimal digits of `number`, written to the end of `buffer`.
fn decimal(mut number: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut start = buffer.len();
    loop {
        start -= 1;
        buffer[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &buffer[start..];
        }
    }
}

/// Writes `text` as a JSON string with the escapes that RFC 8785 prescribes and no others.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut clean_from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[clean_from..at]);
        clean_from = at + 1;
        let short = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0c => b'f',
            b'\r' => b'r',
            _ => {
                out.extend_from_slice(b"\\u00");
                crate::hash::push_hex(out, &[byte]);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.extend_from_slice(&bytes[clean_from..]);
    out.push(b'"');
}

/// One member of an object: its key and where its canonical `"key":value` stands in the output.
struct Member<'de> {
    key: Cow<'de, str>,
    start: usize,
    end: usize,
}

/// The order of RFC 8785 §3.2.3: by UTF-16 code units.
///
/// UTF-8 bytes have the same order except where a character beyond the basic plane (first byte from 0xF0,
/// in UTF-16 a surrogate 0xD800..) meets one of U+E000..U+FFFF (first byte 0xEE or 0xEF).
fn utf16_order(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    match left.iter().zip(right).find(|(a, b)| a != b) {
        None => left.len().cmp(&right.len()),
        Some((&a, &b)) => match (a >= 0xF0, b >= 0xF0) {
            (true, false) if b >= 0xEE => Ordering::Less,
            (false, true) if a >= 0xEE => Ordering::Greater,
            _ => a.cmp(&b),
        },
    }
}

/// Puts the members that stand from `from` on into canonical order and drops all but the last of equal keys.
fn rearrange(out: &mut Vec<u8>, from: usize, members: &mut Vec<Member<'_>>) {
    // Equal keys: the later one first, so that removing the following duplicates keeps it.
    members.sort_by(|a, b| utf16_order(&a.key, &b.key).then(b.start.cmp(&a.start)));
    members.dedup_by(|later, kept| later.key == kept.key);
    let written = out.split_off(from);
    for (index, member) in members.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&written[member.start - from..member.end - from]);
    }
}

/// Reads one value and writes its canonical form.
#[derive(Clone, Copy)]
struct Value<'w>(&'w Writer);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.push(b"null");
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.0.push(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.0.integer(false, value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.0.integer(value < 0, value.unsigned_abs())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        if !value.is_finite() {
            return Err(E::custom("number out of range"));
        }
        if value.abs() >= INTEGER_AS_FLOAT_MIN {
            self.0.literals_in_doubt.set(true);
        }
        self.0.push(ryu_js::Buffer::new().format_finite(value).as_bytes());
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        push_string(&mut self.0.out.borrow_mut(), value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.0.push(b"[");
        let start = self.0.len();
        loop {
            let before = self.0.len();
            if before > start {
                self.0.push(b",");
            }
            if items.next_element_seed(self)?.is_none() {
                self.0.out.borrow_mut().truncate(before);
                self.0.push(b"]");
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        self.0.push(b"{");
        let from = self.0.len();
        let mut members: Vec<Member<'de>> = Vec::with_capacity(8);
        let mut ordered = true;
        while let Some(key) = entries.next_key_seed(Key)? {
            if let Some(previous) = members.last() {
                ordered &= utf16_order(&previous.key, &key) == Ordering::Less;
                self.0.push(b",");
            }
            let start = self.0.len();
            push_string(&mut self.0.out.borrow_mut(), &key);
            self.0.push(b":");
            entries.next_value_seed(self)?;
            members.push(Member { key, start, end: self.0.len() });
        }
        let mut out = self.0.out.borrow_mut();
        if !ordered {
            rearrange(&mut out, from, &mut members);
        }
        out.push(b'}');
        Ok(())
    }
}

/// Reads an object key, borrowed from the text unless it holds an escape.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}
