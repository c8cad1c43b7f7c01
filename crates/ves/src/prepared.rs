//! A public key with a precomputed table, for a key that verifies many signatures.
//!
//! The table (about 30 KiB) turns the variable-base multiplication of a verification into table lookups. Its
//! decisions are those of strict verification, always: the invariant that the tests of this crate guard. It
//! refuses to be made for a key that `AgentPublicKey` would not take.

use std::fmt;

use curve25519_dalek::EdwardsPoint;
use curve25519_dalek::edwards::EdwardsBasepointTable;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::BasepointTable;
use sha2::{Digest, Sha512};

use crate::hash::Signature;
use crate::keys::AgentPublicKey;

/// An `AgentPublicKey` that verifies faster. It costs about 30 KiB and a millisecond to make, so it pays from
/// some sixty signatures on.
#[derive(Clone)]
pub struct PreparedKey {
    key: AgentPublicKey,
    /// Multiples of −A.
    negated: Box<EdwardsBasepointTable>,
}

impl PreparedKey {
    /// Computes the table of a key.
    pub fn new(key: AgentPublicKey) -> Self {
        Self { key, negated: Box::new(EdwardsBasepointTable::create(&-key.point())) }
    }

    /// The key that the table was made of.
    pub fn key(&self) -> &AgentPublicKey {
        &self.key
    }

    /// Whether `signature` is this key's over `message`; decides exactly as `AgentPublicKey::verify`.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        let (r_bytes, s_bytes) = signature.as_bytes().split_at(32);
        let Ok(s_bytes) = <[u8; 32]>::try_from(s_bytes) else { return false };
        let Some(s) = Option::<Scalar>::from(Scalar::from_canonical_bytes(s_bytes)) else { return false };
        let digest = Sha512::new_with_prefix(r_bytes)
            .chain_update(self.key.to_bytes())
            .chain_update(message)
            .finalize();
        let h = Scalar::from_bytes_mod_order_wide(&digest.into());
        let expected = EdwardsPoint::mul_base(&s) + self.negated.mul_base(&h);
        // Equal encodings mean that R decodes to `expected` and is canonical, so the order of R can be
        // judged by the order of `expected`, and R need not be decompressed.
        expected.compress().as_bytes() == r_bytes && !expected.is_small_order()
    }
}

impl fmt::Debug for PreparedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PreparedKey({})", self.key)
    }
}
