//! Converts one JSON field at a time, so that an error names the field, what was expected and what was found.
//!
//! It refuses to know any object: the callers pass the field's name and its raw text. What it shows of a
//! value is cut to a few dozen characters, so an answer never repeats a payload.

use std::borrow::Cow;
use std::str::FromStr;

use serde_json::value::RawValue;

use crate::rejection::Rejection;

/// Characters of an offending value that a message shows.
const SHOWN_CHARS_MAX: usize = 48;

pub(crate) type Field<'a> = Option<&'a RawValue>;

pub(crate) fn malformed(field: &'static str, problem: impl Into<String>) -> Rejection {
    Rejection::MalformedEvent { field, problem: problem.into() }
}

/// The raw text of a value, cut where it gets long.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn expected(field: &'static str, what: &str, raw: Field<'_>) -> Rejection {
    match raw {
        None => malformed(field, format!("expected {what}, but it is missing or null")),
        Some(raw) => malformed(field, format!("expected {what}, found {}", shown(raw.get()))),
    }
}

/// A string; borrowed from the text unless it holds an escape.
pub(crate) fn text<'a>(field: &'static str, what: &str, raw: Field<'a>) -> Result<Cow<'a, str>, Rejection> {
    let value = raw.ok_or_else(|| expected(field, what, raw))?.get();
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match inner {
        Some(inner) if !inner.contains('\\') => Ok(Cow::Borrowed(inner)),
        Some(_) => serde_json::from_str(value).map(Cow::Owned).map_err(|_| expected(field, what, raw)),
        None => Err(expected(field, what, raw)),
    }
}

/// An integer of the given type; what does not fit is refused as out of range.
pub(crate) fn integer<T: FromStr>(field: &'static str, what: &str, raw: Field<'_>) -> Result<T, Rejection> {
    let value = raw.ok_or_else(|| expected(field, what, raw))?;
    value.get().parse().map_err(|_| expected(field, what, raw))
}

/// A string that parses as `T`, such as a UUID.
pub(crate) fn parsed<T: FromStr>(field: &'static str, what: &str, raw: Field<'_>) -> Result<T, Rejection> {
    text(field, what, raw)?.parse().map_err(|_| expected(field, what, raw))
}

/// A value in hex, with or without `0x`.
pub(crate) fn hex<T>(
    field: &'static str,
    what: &str,
    raw: Field<'_>,
    parse: impl Fn(&str) -> Result<T, crate::hash::HexError>,
) -> Result<T, Rejection> {
    parse(&text(field, what, raw)?).map_err(|problem| malformed(field, format!("expected {what}: {problem}")))
}

/// Checks a signed label: 1 to `max` bytes, and no NUL, which a database text column could not hold.
pub(crate) fn check_label(field: &'static str, label: &str, max: usize) -> Result<(), Rejection> {
    if label.is_empty() || label.len() > max {
        return Err(malformed(field, format!("expected 1 to {max} bytes, found {}", label.len())));
    }
    check_no_nul(field, label)
}

pub(crate) fn check_no_nul(field: &'static str, label: &str) -> Result<(), Rejection> {
    if label.contains('\0') {
        return Err(malformed(field, "a NUL character is not allowed"));
    }
    Ok(())
}
