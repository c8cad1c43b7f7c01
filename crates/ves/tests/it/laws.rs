//! What must hold for every text that anyone may send, whatever it is: the laws of the byte rules.
//!
//! Each law takes bytes and panics if they break it. The properties of this suite run them on what proptest makes
//! up, and the targets in `fuzz/` on what libFuzzer finds; what that has found lies in `fuzz/seeds` and is run here
//! ever after. RFC 8785 is checked against another crate's writer, which orders and escapes for itself and prints
//! numbers with the library that ours uses too; `rfc8785.jsonl` has results of one that shares nothing with it.

use std::collections::HashMap;

use bowline_ves::{
    CanonicalError, Commitment, EncryptedPayload, Envelope, Receipt, TrustedKeys, canonicalize, check_hashes,
    event_signing_hash, payload_plain_hash, verify_export,
};
use serde_json::Value;

/// A canonical form is its own form and the one that others compute, and what has none is no JSON that others take.
pub(crate) fn canonical(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match canonicalize(text) {
        Ok(once) => {
            assert_eq!(canonicalize(std::str::from_utf8(&once).unwrap()).unwrap(), once, "of {text}");
            assert_eq!(other_canonical(text), once, "of {text}");
        }
        Err(CanonicalError::Syntax { problem }) => {
            assert!(serde_json::from_str::<Value>(text).is_err(), "{problem}: {text}");
        }
        // Others write another number than the one that was sent.
        Err(CanonicalError::NumberNotExact { literal }) => {
            assert!(text.contains(literal.as_str()), "{literal} in {text}");
            assert_ne!(other_canonical(&literal), literal.as_bytes());
        }
    }
}

/// Two texts have the same payload hash exactly if their values are the same, as another implementation sees it.
pub(crate) fn equality(left: &str, right: &str) {
    let (Ok(one), Ok(other)) = (canonicalize(left), canonicalize(right)) else { return };
    let alike = payload_plain_hash(&one, None) == payload_plain_hash(&other, None);
    assert_eq!(alike, other_canonical(left) == other_canonical(right), "{left} and {right}");
}

/// What is parsed survives being printed and parsed again, and says the same then.
pub(crate) fn envelope(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let parsed = match Envelope::parse(text) {
        Ok(parsed) => parsed,
        Err(malformed) => {
            assert!(malformed.to_string().len() < 1_000, "a message as long as what was sent: {malformed}");
            return;
        }
    };
    let printed = parsed.to_json();
    assert!(!printed.contains(['\n', '\r']), "{printed}");
    let again = Envelope::parse(&printed).unwrap();
    assert_eq!(again.to_json(), printed);
    assert_eq!(event_signing_hash(&again), event_signing_hash(&parsed));
    assert_eq!(check_hashes(&again), check_hashes(&parsed));
    let at = "2025-01-01T00:00:00.123Z".parse().unwrap();
    assert_eq!(Envelope::parse(&parsed.sequenced_json(7, at)).unwrap(), again);
}

/// Nothing that claims to be evidence makes the verifier panic, and what is evidence survives being printed.
pub(crate) fn evidence(bytes: &[u8]) {
    let pinned = TrustedKeys { sequencer_keys: Vec::new(), agent_keys: HashMap::new() };
    if let Err(error) = verify_export(bytes, &pinned, |_| {}) {
        assert!(!error.to_string().is_empty());
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(receipt) = Receipt::parse(text) {
        assert_eq!(Receipt::parse(&receipt.to_json().to_string()).unwrap(), receipt);
    }
    if let Ok(commitment) = Commitment::from_json(text) {
        assert_eq!(Commitment::from_json(&commitment.to_json().to_string()).unwrap(), commitment);
        // Whether it holds is of no account; that the question is answered is.
        let _ = (commitment.check(), commitment.follows(None), commitment.follows(Some(&commitment)));
    }
    if let Ok(encrypted) = EncryptedPayload::parse(text) {
        let _ = (encrypted.recipients_hash(), encrypted.cipher_hash(&bowline_ves::Hash::ZERO));
    }
}

fn other_canonical(text: &str) -> Vec<u8> {
    let value: Value = serde_json::from_str(text).unwrap();
    serde_json_canonicalizer::to_vec(&value).unwrap()
}
