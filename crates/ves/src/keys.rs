//! Ed25519 keys: the public key that verifies, and the secret key that signs and is wiped when dropped.
//!
//! Verification is strict: RFC 8032 with canonical encodings only, and no small-order key or R, so that one
//! signature fits one message and one key. This file refuses to print a secret and to keep a key registry.

use std::fmt;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use ed25519_dalek::{SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use crate::hash::{HexError, Signature, parse_hex};

/// Bytes that are not a usable key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not the hex of 32 bytes.
    #[error("the key is not 32 bytes of hex: {0}")]
    Hex(#[from] HexError),
    /// The bytes do not decode to a point of the curve.
    #[error("the 32 bytes are not an Ed25519 public key")]
    NotAPoint,
    /// The point has small order or a second spelling, so signatures under it prove nothing.
    #[error("the Ed25519 public key is weak or not canonically encoded")]
    Weak,
    /// The operating system gave no random bytes.
    #[error("no randomness: {0}")]
    NoRandomness(String),
}

/// An Ed25519 public key that is safe to verify with: an agent's or a sequencer's.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AgentPublicKey(VerifyingKey);

impl AgentPublicKey {
    /// The key of 32 bytes; refuses bytes that are no point, weak keys and second spellings of a point.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
        if key.is_weak() || key.to_edwards().compress().as_bytes() != bytes {
            return Err(KeyError::Weak);
        }
        Ok(Self(key))
    }

    /// The key of 64 hex digits, with or without `0x`.
    pub fn parse_hex(text: &str) -> Result<Self, KeyError> {
        Self::from_bytes(&parse_hex(text)?)
    }

    /// The 32 bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Whether `signature` is this key's over `message`, by the strict rules.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature.as_bytes());
        self.0.verify_strict(message, &signature).is_ok()
    }

    pub(crate) fn point(&self) -> EdwardsPoint {
        self.0.to_edwards()
    }
}

/// `0x` and the lower-case hex.
impl Serialize for AgentPublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("0x{self}"))
    }
}

impl<'de> Deserialize<'de> for AgentPublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse_hex(&text).map_err(D::Error::custom)
    }
}

impl fmt::Display for AgentPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for AgentPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An Ed25519 secret key with its expansion, so that a signature costs no extra hash. Both parts are wiped
/// when it is dropped.
pub struct SecretKey {
    signing: SigningKey,
    expanded: ExpandedSecretKey,
}

impl SecretKey {
    /// The key of a 32-byte seed (RFC 8032 §5.1.5). Every seed is a key.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self { signing: SigningKey::from_bytes(&seed), expanded: ExpandedSecretKey::from(&seed) }
    }

    /// A fresh key from the operating system's randomness.
    pub fn random() -> Result<Self, KeyError> {
        let mut seed = [0_u8; 32];
        getrandom::fill(&mut seed).map_err(|e| KeyError::NoRandomness(e.to_string()))?;
        Ok(Self::from_seed(seed))
    }

    /// The key of a seed of 64 hex digits, with or without `0x`.
    pub fn parse_hex(text: &str) -> Result<Self, KeyError> {
        Ok(Self::from_seed(parse_hex(text)?))
    }

    /// The seed, for the one place that stores it.
    pub fn seed(&self) -> [u8; 32] {
        self.signing.to_bytes()
    }

    /// The public key that verifies what this key signs.
    pub fn public(&self) -> AgentPublicKey {
        AgentPublicKey(self.signing.verifying_key())
    }

    /// The signatures over each message, those of [`Self::sign`], for the price of one inversion.
    pub fn sign_all<M: AsRef<[u8]>>(&self, messages: &[M]) -> Vec<Signature> {
        let public = self.signing.verifying_key();
        let hashed = |parts: [&[u8]; 3]| {
            let digest = parts.iter().fold(Sha512::new(), |hash, part| hash.chain_update(part)).finalize();
            Scalar::from_bytes_mod_order_wide(&Zeroizing::new(digest.into()))
        };
        // RFC 8032 §5.1.6: r = H(prefix ‖ M), R = r·B, S = r + H(R ‖ A ‖ M)·a.
        let prefix = &self.expanded.hash_prefix[..];
        let nonces: Vec<Zeroizing<Scalar>> =
            messages.iter().map(|m| Zeroizing::new(hashed([prefix, m.as_ref(), &[]]))).collect();
        let points: Vec<EdwardsPoint> = nonces.iter().map(|r| EdwardsPoint::mul_base(r)).collect();
        let encoded = EdwardsPoint::compress_batch_alloc(&points);
        let sign = |((m, r), encoded): ((&M, &Zeroizing<Scalar>), &CompressedEdwardsY)| {
            let challenge = hashed([encoded.as_bytes(), public.as_bytes(), m.as_ref()]);
            let s = challenge * self.expanded.scalar + **r;
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(encoded.as_bytes());
            signature[32..].copy_from_slice(s.as_bytes());
            Signature::new(signature)
        };
        messages.iter().zip(&nonces).zip(&encoded).map(sign).collect()
    }

    /// The signature over `message` (RFC 8032, deterministic).
    pub fn sign(&self, message: &[u8]) -> Signature {
        let signature = raw_sign::<Sha512>(&self.expanded, message, &self.signing.verifying_key());
        Signature::new(signature.to_bytes())
    }
}

impl Clone for SecretKey {
    fn clone(&self) -> Self {
        Self::from_seed(self.seed())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public())
    }
}
