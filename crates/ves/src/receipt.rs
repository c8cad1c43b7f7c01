//! The sequencer's receipt: which event got which number, and when, under two signatures.
//!
//! The first signature covers the receipt hash, as VES v1 clients check it; the second, the attestation, also
//! covers the time, the sequencer and the key version, which the first leaves open. This file refuses to read
//! the clock and to number anything: it seals what it is told.

use bowline_types::{EventId, StoreId, StreamId, TenantId, Timestamp};
use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use crate::check::VerifyKey;
use crate::hash::{Hash, Signature};
use crate::keys::SecretKey;
use crate::preimage::{attestation_hash, receipt_hash};

/// Why a receipt does not prove what it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The receipt hash is not the one of the event and the number.
    #[error("the receipt hash is not that of this event at sequence number {sequence_number}")]
    Hash {
        /// The number that the receipt gives.
        sequence_number: u64,
    },
    /// The sequencer's signature over the receipt hash is wrong.
    #[error("the sequencer's signature over the receipt is wrong")]
    Signature,
    /// The sequencer's signature over receipt, time, sequencer and key version is wrong.
    #[error("the sequencer's attestation of the time is wrong")]
    Attestation,
    /// The text is not a receipt.
    #[error("not a receipt: {problem}")]
    Malformed {
        /// What was expected and what was found.
        problem: String,
    },
}

/// A signed statement that an event has a sequence number since a certain time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The sequencer that gave the number.
    pub sequencer_id: Uuid,
    /// Tenant and store.
    pub stream: StreamId,
    /// The event.
    pub event_id: EventId,
    /// Its number in the stream, from 1.
    pub sequence_number: u64,
    /// When it got the number.
    pub sequenced_at: Timestamp,
    /// Over stream, event, number and signing hash.
    pub receipt_hash: Hash,
    /// Over `receipt_hash`.
    pub signature: Signature,
    /// Which of the sequencer's keys signed.
    pub key_version: u32,
    /// Over the attestation hash.
    pub attestation: Signature,
}

/// A sequencer's identity and key.
#[derive(Debug, Clone)]
pub struct SequencerSigner {
    /// The sequencer's id, the same for all of its keys.
    pub sequencer_id: Uuid,
    /// Counts the sequencer's keys.
    pub key_version: u32,
    /// The key of that version.
    pub key: SecretKey,
}

/// An event's place in the line, to be sealed.
#[derive(Debug, Clone, Copy)]
pub struct Placement<'a> {
    /// Tenant and store.
    pub stream: StreamId,
    /// The event.
    pub event_id: EventId,
    /// What its agent signed.
    pub signing_hash: &'a Hash,
    /// Its number in the stream.
    pub sequence_number: u64,
    /// When it got the number.
    pub sequenced_at: Timestamp,
}

impl SequencerSigner {
    /// Signs that each event has its place: the receipts of [`Self::seal`], cheaper together.
    pub fn seal_all(&self, placements: &[Placement<'_>]) -> Vec<Receipt> {
        let hash = |p: &Placement<'_>| {
            let receipt = receipt_hash(p.stream, p.event_id, p.sequence_number, p.signing_hash);
            [receipt, attestation_hash(&receipt, p.sequenced_at, self.sequencer_id, self.key_version)]
        };
        let hashes: Vec<Hash> = placements.iter().flat_map(hash).collect();
        let messages: Vec<&[u8; 32]> = hashes.iter().map(Hash::as_bytes).collect();
        let signatures = self.key.sign_all(&messages);
        let pairs = hashes.chunks_exact(2).zip(signatures.chunks_exact(2));
        placements
            .iter()
            .zip(pairs)
            .map(|(p, (hashes, signatures))| Receipt {
                sequencer_id: self.sequencer_id,
                stream: p.stream,
                event_id: p.event_id,
                sequence_number: p.sequence_number,
                sequenced_at: p.sequenced_at,
                receipt_hash: hashes[0],
                signature: signatures[0],
                key_version: self.key_version,
                attestation: signatures[1],
            })
            .collect()
    }

    /// Signs that the event of this stream, id and signing hash has this number since then.
    pub fn seal(
        &self,
        stream: StreamId,
        event_id: EventId,
        signing_hash: &Hash,
        sequence_number: u64,
        sequenced_at: Timestamp,
    ) -> Receipt {
        let receipt_hash = receipt_hash(stream, event_id, sequence_number, signing_hash);
        let attested = attestation_hash(&receipt_hash, sequenced_at, self.sequencer_id, self.key_version);
        Receipt {
            sequencer_id: self.sequencer_id,
            stream,
            event_id,
            sequence_number,
            sequenced_at,
            receipt_hash,
            signature: self.key.sign(receipt_hash.as_bytes()),
            key_version: self.key_version,
            attestation: self.key.sign(attested.as_bytes()),
        }
    }
}

impl Receipt {
    /// What the attestation covers.
    pub fn attestation_hash(&self) -> Hash {
        attestation_hash(&self.receipt_hash, self.sequenced_at, self.sequencer_id, self.key_version)
    }

    /// Checks both signatures, and with the event's signing hash also that the receipt is that event's.
    pub fn verify<K: VerifyKey + ?Sized>(
        &self,
        signing_hash: Option<&Hash>,
        key: &K,
    ) -> Result<(), ReceiptError> {
        let sequence_number = self.sequence_number;
        let expected = |hash| receipt_hash(self.stream, self.event_id, sequence_number, hash);
        if signing_hash.is_some_and(|hash| expected(hash) != self.receipt_hash) {
            return Err(ReceiptError::Hash { sequence_number });
        }
        if !key.verify(self.receipt_hash.as_bytes(), &self.signature) {
            return Err(ReceiptError::Signature);
        }
        if !key.verify(self.attestation_hash().as_bytes(), &self.attestation) {
            return Err(ReceiptError::Attestation);
        }
        Ok(())
    }

    /// The receipt as clients get it: camelCase, hashes and signatures in bare hex.
    pub fn to_json(&self) -> serde_json::Value {
        // Serializing strings and numbers into a tree does not fail.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Parses what `to_json` or the serializer wrote. An attestation of another version or over another
    /// hash than the fields give is refused.
    pub fn parse(json: &str) -> Result<Self, ReceiptError> {
        let malformed = |problem: String| ReceiptError::Malformed { problem };
        let wire: Wire = serde_json::from_str(json).map_err(|e| malformed(e.to_string()))?;
        if wire.signature_alg != "ed25519" || wire.receipt_signature_scheme.is_some_and(|scheme| scheme > 1) {
            return Err(malformed(format!("expected signatureAlg ed25519, found {}", wire.signature_alg)));
        }
        if wire.attestation.version != 2 {
            return Err(malformed(format!("attestation version {} is not 2", wire.attestation.version)));
        }
        let receipt = Self {
            sequencer_id: wire.sequencer_id,
            stream: StreamId::new(wire.tenant_id, wire.store_id),
            event_id: wire.event_id,
            sequence_number: wire.sequence_number,
            sequenced_at: wire.sequenced_at,
            receipt_hash: wire.receipt_hash,
            signature: wire.sequencer_signature,
            key_version: wire.sequencer_key_version,
            attestation: wire.attestation.signature,
        };
        if receipt.attestation_hash() != wire.attestation.hash {
            return Err(ReceiptError::Attestation);
        }
        Ok(receipt)
    }
}

/// The receipt's JSON. What VES v1 has comes first; tenant, store and attestation are ours.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    sequencer_id: Uuid,
    event_id: EventId,
    sequence_number: u64,
    sequenced_at: Timestamp,
    #[serde(serialize_with = "bare")]
    receipt_hash: Hash,
    signature_alg: String,
    #[serde(serialize_with = "bare")]
    sequencer_signature: Signature,
    sequencer_key_version: u32,
    receipt_signature_scheme: Option<u32>,
    tenant_id: TenantId,
    store_id: StoreId,
    attestation: WireAttestation,
}

#[derive(Serialize, Deserialize)]
struct WireAttestation {
    version: u32,
    #[serde(serialize_with = "bare")]
    hash: Hash,
    #[serde(serialize_with = "bare")]
    signature: Signature,
}

pub(crate) fn bare<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl Serialize for Receipt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wire {
            sequencer_id: self.sequencer_id,
            event_id: self.event_id,
            sequence_number: self.sequence_number,
            sequenced_at: self.sequenced_at,
            receipt_hash: self.receipt_hash,
            signature_alg: "ed25519".to_owned(),
            sequencer_signature: self.signature,
            sequencer_key_version: self.key_version,
            receipt_signature_scheme: Some(1),
            tenant_id: self.stream.tenant_id,
            store_id: self.stream.store_id,
            attestation: WireAttestation {
                version: 2,
                hash: self.attestation_hash(),
                signature: self.attestation,
            },
        }
        .serialize(serializer)
    }
}
