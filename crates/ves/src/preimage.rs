//! Every hash preimage of VES v1, in one place, byte for byte.
//!
//! All are SHA-256 over an ASCII domain without a terminator, then the parts; integers are big-endian, a UUID
//! is its 16 raw bytes, a text is its length in bytes as u32 followed by its UTF-8. This file refuses to parse
//! or to judge: it hashes what it is given. `BOWLINE_RECEIPT_V2` is ours; the others are those of VES v1.

use std::sync::OnceLock;

use bowline_types::{EventId, StreamId, Timestamp};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::envelope::Envelope;
use crate::hash::{Hash, Signature};

/// A preimage under construction.
pub(crate) struct Preimage(Sha256);

impl Preimage {
    pub(crate) fn new(domain: &str) -> Self {
        Self(Sha256::new_with_prefix(domain))
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update(bytes);
        self
    }

    pub(crate) fn u32(self, number: u32) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    pub(crate) fn u64(self, number: u64) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    /// `U32(length in bytes)` and the bytes. Shape limits keep every such part far below 4 GiB; a longer one
    /// would be given the length `u32::MAX`, which no other text of this process can have.
    pub(crate) fn sized(self, bytes: &[u8]) -> Self {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX)).bytes(bytes)
    }

    pub(crate) fn stream(self, stream: StreamId) -> Self {
        self.bytes(stream.tenant_id.as_bytes()).bytes(stream.store_id.as_bytes())
    }

    pub(crate) fn hash(self, hash: &Hash) -> Self {
        self.bytes(hash.as_bytes())
    }

    pub(crate) fn finish(self) -> Hash {
        Hash::new(self.0.finalize().into())
    }
}

/// The hash of a payload: of its canonical JSON, with the 16-byte salt before it if the payload is encrypted.
pub fn payload_plain_hash(canonical: &[u8], salt: Option<&[u8; 16]>) -> Hash {
    let preimage = Preimage::new("VES_PAYLOAD_PLAIN_V1");
    match salt {
        Some(salt) => preimage.bytes(salt).bytes(canonical).finish(),
        None => preimage.bytes(canonical).finish(),
    }
}

/// The 32 bytes that an agent signs. `command_id` and `base_version` are not part of it.
pub fn event_signing_hash(envelope: &Envelope) -> Hash {
    let preimage = Preimage::new("VES_EVENTSIG_V1").u32(envelope.ves_version);
    identity(preimage, envelope)
        .u32(envelope.payload.kind())
        .hash(&envelope.payload_plain_hash)
        .hash(&envelope.payload_cipher_hash)
        .finish()
}

/// The associated data of an encrypted payload: like the signing hash, without version, kind and cipher hash.
pub fn payload_aad(envelope: &Envelope) -> Hash {
    identity(Preimage::new("VES_PAYLOAD_AAD_V1"), envelope).hash(&envelope.payload_plain_hash).finish()
}

/// The parts that name an event, in the order that the signing hash and the associated data share.
fn identity(preimage: Preimage, envelope: &Envelope) -> Preimage {
    preimage
        .stream(envelope.stream)
        .bytes(envelope.event_id.as_bytes())
        .bytes(envelope.source_agent_id.as_bytes())
        .u32(envelope.agent_key_id)
        .sized(envelope.entity_type.as_bytes())
        .sized(envelope.entity_id.as_bytes())
        .sized(envelope.event_type.as_bytes())
        .sized(envelope.created_at.as_bytes())
}

/// The Merkle leaf of one sequenced event: it binds the position and the agent's signature.
pub fn leaf_hash(stream: StreamId, sequence_number: u64, signing_hash: &Hash, signature: &Signature) -> Hash {
    Preimage::new("VES_LEAF_V1")
        .stream(stream)
        .u64(sequence_number)
        .hash(signing_hash)
        .bytes(signature.as_bytes())
        .finish()
}

/// The leaf that fills a tree up to the next power of two.
pub fn pad_leaf() -> Hash {
    static PAD: OnceLock<Hash> = OnceLock::new();
    *PAD.get_or_init(|| Preimage::new("VES_PAD_LEAF_V1").finish())
}

/// An inner node of the tree.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Preimage::new("VES_NODE_V1").hash(left).hash(right).finish()
}

/// The 32-byte name of a stream.
pub fn stream_hash(stream: StreamId) -> Hash {
    Preimage::new("VES_STREAM_V1").stream(stream).finish()
}

/// The state root after a commitment over `start..=end`: it chains to `prev`, zero for the first one.
pub fn state_root(
    stream: StreamId,
    prev: &Hash,
    merkle_root: &Hash,
    start: u64,
    end: u64,
    leaf_count: u32,
) -> Hash {
    Preimage::new("VES_STATE_ROOT_V1")
        .hash(&stream_hash(stream))
        .hash(prev)
        .hash(merkle_root)
        .u64(start)
        .u64(end)
        .u32(leaf_count)
        .finish()
}

/// What the sequencer's first signature covers: which event got which number.
pub fn receipt_hash(stream: StreamId, event_id: EventId, sequence_number: u64, signing_hash: &Hash) -> Hash {
    Preimage::new("VES_RECEIPT_V1")
        .stream(stream)
        .bytes(event_id.as_bytes())
        .u64(sequence_number)
        .hash(signing_hash)
        .finish()
}

/// What the sequencer's second signature covers: the receipt, when it was given, by whom and with which key.
///
/// `sequenced_at` enters as the text that `Timestamp` prints, which is what stands on the wire.
pub fn attestation_hash(
    receipt_hash: &Hash,
    sequenced_at: Timestamp,
    sequencer_id: Uuid,
    key_version: u32,
) -> Hash {
    Preimage::new("BOWLINE_RECEIPT_V2")
        .hash(receipt_hash)
        .sized(sequenced_at.to_string().as_bytes())
        .bytes(sequencer_id.as_bytes())
        .u32(key_version)
        .finish()
}

/// What whoever registers a key signs with that key, to show that it is theirs.
pub fn key_possession_hash(public_key: &[u8]) -> Hash {
    Preimage::new("VES_POP_V1").bytes(public_key).finish()
}
