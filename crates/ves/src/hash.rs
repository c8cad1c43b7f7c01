//! The two fixed-width byte strings of the protocol: a 32-byte SHA-256 value and a 64-byte Ed25519 signature.
//!
//! Both print as lower-case hex, bare through `Display` and with `0x` through `prefixed` and serde. Parsing is
//! lenient as the wire rules are: with or without `0x`, in any case. It refuses every other length, so a
//! truncated value is never padded in silence.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Text that is not the hex of a value of the right length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HexError {
    /// The number of hex digits is not the one that the value needs.
    #[error("expected {expected} hex digits, found {found}")]
    Length {
        /// Hex digits that the value has.
        expected: usize,
        /// Bytes of text that were given, without the `0x`.
        found: usize,
    },
    /// A character is not a hex digit.
    #[error("not hexadecimal: {problem}")]
    Digit {
        /// Which character stands where.
        problem: String,
    },
}

/// Decodes exactly `N` bytes of hex, with or without `0x`.
pub(crate) fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if digits.len() != 2 * N {
        return Err(HexError::Length { expected: 2 * N, found: digits.len() });
    }
    let mut bytes = [0_u8; N];
    match hex::decode_to_slice(digits, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(problem) => Err(HexError::Digit { problem: problem.to_string() }),
    }
}

/// Appends the bare lower-case hex of `bytes`.
pub(crate) fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(2 * bytes.len());
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

macro_rules! fixed_bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Wraps the raw bytes.
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The value of a slice that has exactly the right length, else nothing.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// Parses hex with or without `0x`, in any case; every other length is an error.
            pub fn parse_hex(text: &str) -> Result<Self, HexError> {
                parse_hex(text).map(Self)
            }

            /// `0x` and the lower-case hex.
            pub fn prefixed(&self) -> String {
                format!("0x{self}")
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0_u8; 2 * $len];
                hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
                f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&format_args!("0x{self}"))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse_hex(&text).map_err(D::Error::custom)
            }
        }
    };
}

fixed_bytes!(
    /// A SHA-256 value: 32 bytes.
    Hash,
    32
);
fixed_bytes!(
    /// An Ed25519 signature: the 32 bytes of R, then the 32 bytes of s.
    Signature,
    64
);

impl Hash {
    /// 32 zero bytes: "no value" in the protocol, such as the cipher hash of a plain payload.
    pub const ZERO: Self = Self([0; 32]);
}
