//! The byte rules of VES v1 (Verifiable Event Sync): what is hashed, what is signed, and how a third party
//! checks it without asking anyone.
//!
//! Everything here is a function of its arguments: canonical JSON, envelopes, preimages, Ed25519 signatures,
//! Merkle trees, commitments, receipts, exports and the offline verifier. This crate refuses to do I/O beyond
//! `BufRead` and `Write` parameters, to read a clock, to be async, and to know a key registry: whoever calls
//! it brings the resolved key and the moment.

mod canonical;
mod chain;
mod check;
mod commitment;
mod encrypted;
mod envelope;
mod export;
mod fields;
mod hash;
mod keys;
mod literal;
mod merkle;
mod preimage;
mod prepared;
mod proof;
mod receipt;
mod rejection;
mod sign;
mod tiled;
mod trust;
mod verify_export;
mod wide;
mod wire;

pub use canonical::{CanonicalError, canonicalize};
pub use chain::Corrected;
pub use check::{
    Rejected, VerifiedEvent, VerifyKey, check_hashes, check_scheme, check_signature, verify, verify_all,
};
pub use commitment::{Commitment, CommitmentError};
pub use encrypted::{EncryptedError, EncryptedPayload, Recipient};
pub use envelope::{Envelope, Malformed, Payload};
pub use export::{AgentKeyRecord, EXPORT_VERSION, ExportHeader, ExportWriter, SequencerKeyRecord};
pub use hash::{Hash, HexError, Signature};
pub use keys::{AgentPublicKey, KeyError, SecretKey};
pub use merkle::{Tree, padded_leaf_count, root, tree_depth};
pub use preimage::{
    attestation_hash, event_signing_hash, key_possession_hash, leaf_hash, node_hash, pad_leaf, payload_aad,
    payload_plain_hash, receipt_hash, state_root, stream_hash,
};
pub use prepared::{PreparedKey, Verification};
pub use proof::{InclusionProof, PROOF_PATH_MAX, ProofError, proof_from_tile};
pub use receipt::{Placement, Receipt, ReceiptError, SequencerSigner};
pub use rejection::Rejection;
pub use sign::{Draft, sign_envelope, sign_events};
pub use tiled::TiledTree;
pub use trust::{AGENT_KEYS_MAX, TrustedKeys};
pub use verify_export::{EXPORT_LINE_BYTES_MAX, ExportError, ExportReport, verify_export};
