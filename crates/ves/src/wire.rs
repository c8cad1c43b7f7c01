//! Writes one JSON object field by field into a byte buffer, without an intermediate tree: pages of a thousand
//! events are written this way.
//!
//! Every object stands on one line, because exports and event streams are line-based. It refuses to check the
//! raw JSON it is given: that text was validated when it was parsed.

use std::fmt::{self, Write as _};

use crate::canonical::push_string;
use crate::hash::push_hex;

/// An object that is being written; `finish` closes it.
pub(crate) struct ObjectWriter<'a> {
    out: &'a mut Vec<u8>,
    separator: u8,
}

/// Lets `write!` append to a byte buffer.
struct Utf8<'a>(&'a mut Vec<u8>);

impl fmt::Write for Utf8<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl<'a> ObjectWriter<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, separator: b'{' }
    }

    fn name(&mut self, name: &str) {
        self.out.extend_from_slice(&[self.separator, b'"']);
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.separator = b',';
    }

    pub(crate) fn string(&mut self, name: &str, value: &str) {
        self.name(name);
        push_string(self.out, value);
    }

    pub(crate) fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        // Writing to a buffer does not fail.
        let _ = write!(Utf8(self.out), "{value}");
    }

    /// A value whose text needs no escapes: an id, a time.
    pub(crate) fn plain(&mut self, name: &str, value: impl fmt::Display) {
        self.name(name);
        let _ = write!(Utf8(self.out), "\"{value}\"");
    }

    pub(crate) fn prefixed_hex(&mut self, name: &str, bytes: &[u8]) {
        self.name(name);
        self.out.extend_from_slice(b"\"0x");
        push_hex(self.out, bytes);
        self.out.push(b'"');
    }

    /// Valid JSON as it is, save that line breaks become blanks: within valid JSON they can only stand
    /// between tokens, so the value is the same.
    pub(crate) fn raw(&mut self, name: &str, json: &str) {
        self.name(name);
        let start = self.out.len();
        self.out.extend_from_slice(json.as_bytes());
        for byte in &mut self.out[start..] {
            if matches!(*byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }

    pub(crate) fn finish(self) {
        if self.separator == b'{' {
            self.out.push(b'{');
        }
        self.out.push(b'}');
    }
}

/// The text of a buffer that only `ObjectWriter` has filled, which is UTF-8 by construction.
pub(crate) fn into_text(out: Vec<u8>) -> String {
    match String::from_utf8(out) {
        Ok(text) => text,
        Err(not_utf8) => String::from_utf8_lossy(not_utf8.as_bytes()).into_owned(),
    }
}
