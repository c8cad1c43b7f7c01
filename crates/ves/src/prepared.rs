//! A public key with a precomputed table, for a key that verifies many signatures.
//!
//! The table turns the variable-base multiplication of a verification into look-ups. Its decisions are those of
//! strict verification, always: the invariant that the tests of this crate guard. It refuses to be made for a
//! key that `AgentPublicKey` would not take.

use std::fmt;

use curve25519_dalek::EdwardsPoint;
use curve25519_dalek::edwards::EdwardsBasepointTable;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::BasepointTable;
use sha2::{Digest, Sha512};

use crate::hash::Signature;
use crate::keys::AgentPublicKey;
use crate::wide::{self, WideTable};

/// An `AgentPublicKey` that verifies faster. It costs about 30 KiB and a millisecond to make, so it pays from
/// some sixty signatures on; a wide one costs 640 KiB and is the fastest.
#[derive(Clone)]
pub struct PreparedKey {
    key: AgentPublicKey,
    /// Multiples of −A.
    negated: Table,
}

#[derive(Clone)]
enum Table {
    Narrow(Box<EdwardsBasepointTable>),
    Wide(WideTable),
}

/// A verification that may lack its last step, the encoding of a point, which is cheaper for several at once.
/// Each is still decided by itself.
#[derive(Debug, Clone, Copy)]
pub struct Verification(Step);

#[derive(Debug, Clone, Copy)]
enum Step {
    Decided(bool),
    Encode(Expected),
}

/// What R must be.
#[derive(Debug, Clone, Copy)]
struct Expected {
    point: EdwardsPoint,
    r_bytes: [u8; 32],
}

impl Verification {
    /// One that is finished.
    pub const fn decided(valid: bool) -> Self {
        Self(Step::Decided(valid))
    }

    /// Whether each is a signature: what each would say alone, for the price of one inversion.
    pub fn settle(all: &[Self]) -> Vec<bool> {
        let points: Vec<EdwardsPoint> = all
            .iter()
            .filter_map(|one| match &one.0 {
                Step::Decided(_) => None,
                Step::Encode(expected) => Some(expected.point),
            })
            .collect();
        let mut encoded = EdwardsPoint::compress_batch_alloc(&points).into_iter();
        all.iter()
            .map(|one| match &one.0 {
                Step::Decided(valid) => *valid,
                Step::Encode(expected) => {
                    encoded.next().is_some_and(|e| expected.is_encoded_as(e.as_bytes()))
                }
            })
            .collect()
    }
}

impl Expected {
    /// Equal encodings mean that R decodes to the point and is canonical, so the order of R can be judged by
    /// the order of the point, and R need not be decompressed.
    fn is_encoded_as(&self, encoded: &[u8; 32]) -> bool {
        *encoded == self.r_bytes && !self.point.is_small_order()
    }
}

impl PreparedKey {
    /// Computes the table of a key.
    pub fn new(key: AgentPublicKey) -> Self {
        Self { key, negated: Table::Narrow(Box::new(EdwardsBasepointTable::create(&-key.point()))) }
    }

    /// Computes the large table of a key.
    pub fn wide(key: AgentPublicKey) -> Self {
        Self { key, negated: Table::Wide(WideTable::new(-key.point())) }
    }

    /// The key that the table was made of.
    pub fn key(&self) -> &AgentPublicKey {
        &self.key
    }

    /// Whether `signature` is this key's over `message`; decides exactly as `AgentPublicKey::verify`.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        self.expect(message, signature).is_some_and(|e| e.is_encoded_as(e.point.compress().as_bytes()))
    }

    /// All of a verification but its last step.
    pub fn begin(&self, message: &[u8], signature: &Signature) -> Verification {
        Verification(self.expect(message, signature).map_or(Step::Decided(false), Step::Encode))
    }

    /// None if it is decided already that this is no signature.
    fn expect(&self, message: &[u8], signature: &Signature) -> Option<Expected> {
        let (r_bytes, s_bytes) = signature.as_bytes().split_at(32);
        let (r_bytes, s_bytes) = (<[u8; 32]>::try_from(r_bytes).ok()?, <[u8; 32]>::try_from(s_bytes).ok()?);
        let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(s_bytes))?;
        let digest = Sha512::new_with_prefix(r_bytes)
            .chain_update(self.key.to_bytes())
            .chain_update(message)
            .finalize();
        let h = Scalar::from_bytes_mod_order_wide(&digest.into());
        let h_times_negated = match &self.negated {
            Table::Narrow(table) => table.mul_base(&h),
            Table::Wide(table) => table.add_multiple(EdwardsPoint::default(), &h),
        };
        Some(Expected { point: wide::BASE.add_multiple(h_times_negated, &s), r_bytes })
    }
}

impl fmt::Debug for PreparedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PreparedKey({})", self.key)
    }
}
