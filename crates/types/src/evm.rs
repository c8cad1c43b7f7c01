//! What names things on an EVM chain: addresses and hashes.
//!
//! Both print as lower-case hex with `0x`, and parse with or without it, in any case.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Text that is not the hex of a value of the right length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not {digits} hex digits")]
pub struct ParseEvmError {
    given: String,
    digits: usize,
}

macro_rules! evm_bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
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
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [b'0'; 2 * $len + 2];
                text[1] = b'x';
                hex::encode_to_slice(self.0, &mut text[2..]).map_err(|_| fmt::Error)?;
                f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseEvmError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                // What is longer may be a key that stands in the wrong place.
                let given = if text.len() > 2 * $len + 2 { "a longer text" } else { text };
                let refuse = || ParseEvmError { given: given.to_owned(), digits: 2 * $len };
                let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
                if digits.len() != 2 * $len {
                    return Err(refuse());
                }
                let mut bytes = [0_u8; $len];
                for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                    let digit = |at: usize| pair.get(at).and_then(|digit| char::from(*digit).to_digit(16));
                    let (Some(high), Some(low)) = (digit(0), digit(1)) else { return Err(refuse()) };
                    *byte = u8::try_from(high << 4 | low).map_err(|_| refuse())?;
                }
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

evm_bytes!(
    /// An account or a contract.
    EvmAddress,
    20
);
evm_bytes!(
    /// The hash of a transaction or of a block.
    EvmHash,
    32
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_0x_and_printed_with_it() {
        let text = "0x5fbdb2315678afecb367f032d93f642f64180aa3";
        let address: EvmAddress = "5FbDB2315678afecb367f032d93F642f64180aa3".parse().unwrap();
        assert_eq!(address.to_string(), text);
        assert_eq!(text.parse::<EvmAddress>().unwrap(), address);
    }

    #[test]
    fn other_lengths_and_other_letters_are_refused() {
        for bad in ["", "0x", "0x5fbdb2315678afecb367f032d93f642f64180aa", "zz", &"é".repeat(20)] {
            assert!(bad.parse::<EvmAddress>().is_err(), "{bad}");
        }
        assert!("+f".repeat(20).parse::<EvmAddress>().is_err());
    }
}
