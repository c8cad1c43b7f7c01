//! VES-ENC-1: the structure of an encrypted payload and the hash that binds it to its event.
//!
//! A sequencer holds no decryption key, so this file checks the shape and computes `payload_cipher_hash`; it
//! refuses to encrypt or decrypt. Version 1 is the only one taken: versions 2 and 3 name key encapsulations
//! whose ciphertexts do not fit the 32 bytes that the format gives them.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use crate::hash::Hash;
use crate::preimage::Preimage;

/// base64url without padding; padding is tolerated.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a text is not an encrypted payload of version 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncryptedError {
    /// It is not the JSON object that the format prescribes.
    #[error("not an encrypted payload: {problem}")]
    Syntax {
        /// What the parser said.
        problem: String,
    },
    /// `enc_version` is not 1.
    #[error(
        "enc_version {found} is not supported; this sequencer takes 1 (X25519, HKDF-SHA256, AES-256-GCM)"
    )]
    Version {
        /// The version that was sent.
        found: u32,
    },
    /// An algorithm name is not the one of version 1.
    #[error("{field} must be {expected} in enc_version 1")]
    Algorithm {
        /// The field with its path.
        field: &'static str,
        /// The name that version 1 has there.
        expected: &'static str,
    },
    /// A field is not base64url of the right number of bytes.
    #[error("{field}: {problem}")]
    Bytes {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// There are no recipients, or their ids do not ascend strictly.
    #[error("recipients: {problem}")]
    Recipients {
        /// Which of the two it is.
        problem: String,
    },
}

/// The wrapped content key for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The recipient's key id.
    pub kid: u32,
    /// The encapsulated key, 32 bytes.
    pub enc: [u8; 32],
    /// The wrapped content key with its tag, 48 bytes.
    pub ct: [u8; 48],
}

/// An encrypted payload whose structure is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptedPayload {
    /// The AES-GCM nonce, 12 bytes.
    pub nonce: [u8; 12],
    /// At least one byte.
    pub ciphertext: Vec<u8>,
    /// The AES-GCM tag, 16 bytes.
    pub tag: [u8; 16],
    /// At least one, by strictly ascending `kid`.
    pub recipients: Vec<Recipient>,
}

#[derive(Deserialize)]
struct Wire {
    aead: String,
    nonce_b64u: String,
    ciphertext_b64u: String,
    tag_b64u: String,
    hpke: WireHpke,
    recipients: Vec<WireRecipient>,
}

#[derive(Deserialize)]
struct WireHpke {
    mode: String,
    kem: String,
    kdf: String,
    aead: String,
}

#[derive(Deserialize)]
struct WireRecipient {
    recipient_kid: u32,
    enc_b64u: String,
    ct_b64u: String,
}

/// The version alone, so that a later version is named as such whatever else it changes.
#[derive(Deserialize)]
struct WireVersion {
    enc_version: u32,
}

impl EncryptedPayload {
    /// Parses the JSON of `payload_encrypted`.
    pub fn parse(json: &str) -> Result<Self, EncryptedError> {
        let syntax = |e: serde_json::Error| EncryptedError::Syntax { problem: e.to_string() };
        let found = serde_json::from_str::<WireVersion>(json).map_err(syntax)?.enc_version;
        if found != 1 {
            return Err(EncryptedError::Version { found });
        }
        let wire: Wire = serde_json::from_str(json).map_err(syntax)?;
        wire.check_algorithms()?;
        let ciphertext = decode("ciphertext_b64u", &wire.ciphertext_b64u)?;
        if ciphertext.is_empty() {
            return Err(EncryptedError::Bytes {
                field: "ciphertext_b64u",
                problem: "expected at least 1 byte".to_owned(),
            });
        }
        Ok(Self {
            nonce: decode_exact("nonce_b64u", &wire.nonce_b64u)?,
            ciphertext,
            tag: decode_exact("tag_b64u", &wire.tag_b64u)?,
            recipients: recipients(&wire.recipients)?,
        })
    }

    /// `payload_cipher_hash`: over the nonce, the associated data, the ciphertext, the tag and the recipients.
    pub fn cipher_hash(&self, aad: &Hash) -> Hash {
        Preimage::new("VES_PAYLOAD_CIPHER_V1")
            .u32(1)
            .bytes(&self.nonce)
            .hash(aad)
            .sized(&self.ciphertext)
            .bytes(&self.tag)
            .hash(&self.recipients_hash())
            .finish()
    }

    /// The hash over all recipients, in the order of their ids.
    pub fn recipients_hash(&self) -> Hash {
        let each = |preimage: Preimage, recipient: &Recipient| {
            preimage.u32(recipient.kid).sized(&recipient.enc).sized(&recipient.ct)
        };
        self.recipients.iter().fold(Preimage::new("VES_RECIPIENTS_V1"), each).finish()
    }
}

impl Wire {
    fn check_algorithms(&self) -> Result<(), EncryptedError> {
        let names = [
            ("aead", &self.aead, "AES-256-GCM"),
            ("hpke.mode", &self.hpke.mode, "base"),
            ("hpke.kem", &self.hpke.kem, "X25519-HKDF-SHA256"),
            ("hpke.kdf", &self.hpke.kdf, "HKDF-SHA256"),
            ("hpke.aead", &self.hpke.aead, "AES-256-GCM"),
        ];
        match names.into_iter().find(|(_, found, expected)| found != expected) {
            Some((field, _, expected)) => Err(EncryptedError::Algorithm { field, expected }),
            None => Ok(()),
        }
    }
}

fn recipients(wire: &[WireRecipient]) -> Result<Vec<Recipient>, EncryptedError> {
    let refuse = |problem: &str| Err(EncryptedError::Recipients { problem: problem.to_owned() });
    if wire.is_empty() {
        return refuse("expected at least one");
    }
    if !wire.is_sorted_by(|a, b| a.recipient_kid < b.recipient_kid) {
        return refuse("recipient_kid must ascend strictly");
    }
    wire.iter()
        .map(|one| {
            Ok(Recipient {
                kid: one.recipient_kid,
                enc: decode_exact("enc_b64u", &one.enc_b64u)?,
                ct: decode_exact("ct_b64u", &one.ct_b64u)?,
            })
        })
        .collect()
}

fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, EncryptedError> {
    BASE64URL
        .decode(text)
        .map_err(|e| EncryptedError::Bytes { field, problem: format!("not base64url: {e}") })
}

fn decode_exact<const N: usize>(field: &'static str, text: &str) -> Result<[u8; N], EncryptedError> {
    let bytes = decode(field, text)?;
    <[u8; N]>::try_from(bytes.as_slice()).map_err(|_| EncryptedError::Bytes {
        field,
        problem: format!("expected {N} bytes, found {}", bytes.len()),
    })
}
