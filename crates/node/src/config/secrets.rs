//! The key under which secrets are kept, as an operator writes it.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// 32 bytes, in hex or in base64 of any kind.
pub(crate) fn parse_secrets_key(text: &str) -> Result<[u8; 32], String> {
    let text = text.trim();
    let bytes = hex::decode(text.trim_start_matches("0x"))
        .ok()
        .or_else(|| STANDARD.decode(text).ok())
        .or_else(|| STANDARD_NO_PAD.decode(text).ok())
        .or_else(|| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok())
        .ok_or("is neither hex nor base64")?;
    let count = bytes.len();
    bytes
        .try_into()
        .map_err(|_| format!("has {count} bytes and must have 32; `openssl rand -hex 32` makes one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_and_base64_are_understood() {
        let key = [0xfb; 32];
        for text in [hex::encode(key), STANDARD.encode(key), URL_SAFE_NO_PAD.encode(key)] {
            assert_eq!(parse_secrets_key(&text), Ok(key), "{text}");
        }
        assert!(parse_secrets_key("abcd").unwrap_err().contains("has 2 bytes"));
        assert!(parse_secrets_key("no key!").unwrap_err().contains("neither"));
    }
}
