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
use crate::prepared::{PreparedKey, Verification};
use crate::rejection::Rejection;

/// A key that can verify an Ed25519 signature; all implementations decide alike.
pub trait VerifyKey {
    /// Whether `signature` is this key's over `message`, by the strict rules.
    fn verify(&self, message: &[u8], signature: &Signature) -> bool;

    /// The same decision, whose last step may be shared with others.
    fn begin(&self, message: &[u8], signature: &Signature) -> Verification {
        Verification::decided(self.verify(message, signature))
    }
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

    fn begin(&self, message: &[u8], signature: &Signature) -> Verification {
        Self::begin(self, message, signature)
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
    let begun = begin(&envelope, key);
    let valid = begun.as_ref().is_ok_and(|begun| Verification::settle(&[begun.verification])[0]);
    conclude(envelope, begun, valid)
}

/// Verifies envelopes as [`verify`] does each, in order, sharing what can be shared.
pub fn verify_all<'k, K: VerifyKey + ?Sized + 'k>(
    envelopes: Vec<Envelope>,
    key: impl Fn(&Envelope) -> Result<&'k K, String>,
) -> Vec<Result<VerifiedEvent, Box<Rejected>>> {
    let begun: Vec<_> = envelopes.iter().map(|envelope| begin(envelope, key(envelope))).collect();
    let verifications: Vec<Verification> = begun
        .iter()
        .map(|begun| begun.as_ref().map_or(Verification::decided(false), |begun| begun.verification))
        .collect();
    let valid = Verification::settle(&verifications);
    let together = envelopes.into_iter().zip(begun).zip(valid);
    together.map(|((envelope, begun), valid)| conclude(envelope, begun, valid)).collect()
}

/// An envelope that is right but for its signature, which is not yet decided.
struct Begun {
    signing_hash: Hash,
    created_at: Timestamp,
    verification: Verification,
}

fn begin<K: VerifyKey + ?Sized>(envelope: &Envelope, key: Result<&K, String>) -> Result<Begun, Rejection> {
    let created_at =
        envelope.created_at_timestamp().map_err(|problem| malformed("created_at", problem.to_string()))?;
    check_scheme(envelope)?;
    check_hashes(envelope)?;
    let key = key.map_err(Rejection::AgentKeyInvalid)?;
    let signing_hash = event_signing_hash(envelope);
    let verification = key.begin(signing_hash.as_bytes(), &envelope.agent_signature);
    Ok(Begun { signing_hash, created_at, verification })
}

fn conclude(
    envelope: Envelope,
    begun: Result<Begun, Rejection>,
    valid: bool,
) -> Result<VerifiedEvent, Box<Rejected>> {
    match begun {
        Ok(Begun { signing_hash, created_at, .. }) if valid => {
            Ok(VerifiedEvent { envelope, signing_hash, created_at })
        }
        Ok(_) => Err(Box::new(Rejected { envelope, rejection: Rejection::InvalidSignature })),
        Err(rejection) => Err(Box::new(Rejected { envelope, rejection })),
    }
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
