//! Judges one parsed envelope against the key that it names: payload hash, cipher hash, key, signature, in
//! that order and with one reason per failure.
//!
//! It refuses to look a key up, to know the time, and to judge the envelope against the stream: duplicates,
//! commands and base versions are for whoever holds the stream.

use bowline_types::Timestamp;

use crate::canonical::{CanonicalError, canonicalize};
use crate::encrypted::EncryptedPayload;
use crate::envelope::{self, Envelope, Payload};
use crate::fields::malformed;
use crate::hash::{Hash, Signature};
use crate::keys::AgentPublicKey;
use crate::preimage::{event_signing_hash, payload_aad, payload_plain_hash};
use crate::prepared::PreparedKey;
use crate::rejection::Rejection;

/// A key that can verify an Ed25519 signature; all implementations decide alike.
pub trait VerifyKey {
    /// Whether `signature` is this key's over `message`, by the strict rules.
    fn verify(&self, message: &[u8], signature: &Signature) -> bool;
}

impl VerifyKey for AgentPublicKey {
    fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        Self::verify(self, message, signature)
    }
}

impl VerifyKey for PreparedKey {
    fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        Self::verify(self, message, signature)
    }
}

/// An envelope whose hashes and signature are right.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedEvent {
    /// As it was sent.
    pub envelope: Envelope,
    /// What the agent signed.
    pub signing_hash: Hash,
    /// `envelope.created_at`, parsed.
    pub created_at: Timestamp,
}

/// An envelope that was not taken, given back with the reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejected {
    /// As it was sent.
    pub envelope: Envelope,
    /// Why not.
    pub rejection: Rejection,
}

/// Verifies one envelope. `key` is the resolved key, or why the key that the envelope names is not valid;
/// it is looked at only after the hashes are right.
pub fn verify<K: VerifyKey + ?Sized>(
    envelope: Envelope,
    key: Result<&K, String>,
) -> Result<VerifiedEvent, Box<Rejected>> {
    match judge(&envelope, key) {
        Ok((signing_hash, created_at)) => Ok(VerifiedEvent { envelope, signing_hash, created_at }),
        Err(rejection) => Err(Box::new(Rejected { envelope, rejection })),
    }
}

fn judge<K: VerifyKey + ?Sized>(
    envelope: &Envelope,
    key: Result<&K, String>,
) -> Result<(Hash, Timestamp), Rejection> {
    let created_at =
        envelope.created_at_timestamp().map_err(|problem| malformed("created_at", problem.to_string()))?;
    check_scheme(envelope)?;
    check_hashes(envelope)?;
    let key = key.map_err(Rejection::AgentKeyInvalid)?;
    let signing_hash = event_signing_hash(envelope);
    check_signature(envelope, &signing_hash, key)?;
    Ok((signing_hash, created_at))
}

/// Whether the envelope's signature scheme is Ed25519.
pub fn check_scheme(envelope: &Envelope) -> Result<(), Rejection> {
    envelope::check_scheme(envelope.agent_signature_scheme)
}

/// Whether the payload's hashes are the ones that the envelope claims. Of an encrypted payload only the cipher
/// hash can be checked: the plain hash is bound by it through the associated data.
pub fn check_hashes(envelope: &Envelope) -> Result<(), Rejection> {
    match &envelope.payload {
        Payload::Plain(text) => {
            let canonical = canonicalize(text).map_err(payload_rejection)?;
            if payload_plain_hash(&canonical, None) != envelope.payload_plain_hash {
                return Err(Rejection::InvalidPayloadHash);
            }
            if envelope.payload_cipher_hash != Hash::ZERO {
                return Err(Rejection::InvalidCipherHash);
            }
            Ok(())
        }
        Payload::Encrypted(text) => {
            let encrypted = EncryptedPayload::parse(text)
                .map_err(|problem| malformed("payload_encrypted", problem.to_string()))?;
            if encrypted.cipher_hash(&payload_aad(envelope)) != envelope.payload_cipher_hash {
                return Err(Rejection::InvalidCipherHash);
            }
            Ok(())
        }
    }
}

/// Whether the envelope carries that key's signature over `signing_hash`.
pub fn check_signature<K: VerifyKey + ?Sized>(
    envelope: &Envelope,
    signing_hash: &Hash,
    key: &K,
) -> Result<(), Rejection> {
    if key.verify(signing_hash.as_bytes(), &envelope.agent_signature) {
        Ok(())
    } else {
        Err(Rejection::InvalidSignature)
    }
}

pub(crate) fn payload_rejection(problem: CanonicalError) -> Rejection {
    match problem {
        CanonicalError::NumberNotExact { literal } => Rejection::InexactNumber { literal },
        CanonicalError::Syntax { problem } => malformed("payload", problem),
    }
}
