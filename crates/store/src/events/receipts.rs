//! An event's receipt as it is kept: whole for what a client sent, which holds the same bytes; without signatures for
//! what the indexer writes of a chain. Nobody waits for those receipts, and two signatures are most of the work of an
//! event, so they are made when somebody asks. Ed25519 is deterministic: the same key makes the same ones every time.

use bowline_types::{EventId, StreamId, Timestamp, public_tenant};
use bowline_ves::{Hash, Placement, Receipt, SequencerSigner, Signature, receipt_hash};
use uuid::Uuid;

use crate::StoredEvent;

/// A receipt that may have no signatures yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReceipt {
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
    /// Which of the sequencer's keys signed, or would have.
    pub key_version: u32,
    /// Over the receipt hash, and over the attestation hash; none until somebody asks.
    pub signatures: Option<[Signature; 2]>,
}

impl From<Receipt> for StoredReceipt {
    fn from(receipt: Receipt) -> Self {
        Self {
            sequencer_id: receipt.sequencer_id,
            stream: receipt.stream,
            event_id: receipt.event_id,
            sequence_number: receipt.sequence_number,
            sequenced_at: receipt.sequenced_at,
            receipt_hash: receipt.receipt_hash,
            key_version: receipt.key_version,
            signatures: Some([receipt.signature, receipt.attestation]),
        }
    }
}

impl StoredReceipt {
    /// Whether a receipt of that stream may have no signatures: a client's event always has them, and one whose
    /// signatures are gone was tampered with.
    pub(crate) fn may_be_unsigned(stream: StreamId) -> bool {
        stream.tenant_id == public_tenant()
    }

    /// The receipt, if it has its signatures.
    pub fn signed(&self) -> Option<Receipt> {
        let [signature, attestation] = self.signatures?;
        Some(Receipt {
            sequencer_id: self.sequencer_id,
            stream: self.stream,
            event_id: self.event_id,
            sequence_number: self.sequence_number,
            sequenced_at: self.sequenced_at,
            receipt_hash: self.receipt_hash,
            signature,
            key_version: self.key_version,
            attestation,
        })
    }

    /// Whether its hash is that of the event with this signing hash, at this number.
    pub fn is_of(&self, signing_hash: &Hash) -> bool {
        receipt_hash(self.stream, self.event_id, self.sequence_number, signing_hash) == self.receipt_hash
    }

    /// The receipt, signed now by whoever is asked if it has no signatures yet.
    pub(crate) fn signed_by(&self, signer: &SequencerSigner, signing_hash: &Hash) -> Receipt {
        self.signed().unwrap_or_else(|| {
            signer.seal(self.stream, self.event_id, signing_hash, self.sequence_number, self.sequenced_at)
        })
    }
}

/// Signs those of the events' receipts that have no signatures yet, under the signer's id and key version.
pub fn sign_receipts(events: &mut [StoredEvent], signer: &SequencerSigner) {
    let mut unsigned: Vec<&mut StoredEvent> =
        events.iter_mut().filter(|event| event.receipt.signatures.is_none()).collect();
    if unsigned.is_empty() {
        return;
    }
    fn placement<'a>(event: &'a &mut StoredEvent) -> Placement<'a> {
        Placement {
            stream: event.receipt.stream,
            event_id: event.receipt.event_id,
            signing_hash: &event.signing_hash,
            sequence_number: event.receipt.sequence_number,
            sequenced_at: event.receipt.sequenced_at,
        }
    }
    let signed = signer.seal_all(&unsigned.iter().map(placement).collect::<Vec<_>>());
    for (event, receipt) in unsigned.iter_mut().zip(signed) {
        event.receipt = receipt.into();
    }
}
