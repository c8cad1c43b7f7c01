//! Signed events, sequencers and the few calls that every test makes of them.
//!
//! Each test runs on both stores through the contract alone.

use std::sync::Arc;

use bowline_store::{AppendOutcome, AppendReport, LineStore, ReadQuery, StoredEvent, VerifiedBatch};
use bowline_types::{AgentId, EventId, StoreId, StreamId, TenantId, Timestamp};
use bowline_ves::{
    Draft, EncryptedPayload, Hash, Payload, Receipt, SecretKey, SequencerSigner, Signature, VerifiedEvent,
    event_signing_hash, payload_aad, sign_envelope, verify,
};
use uuid::Uuid;

/// An encrypted payload of version 1, oddly spaced; what it hides is of no matter here.
const ENCRYPTED: &str = r#"{ "enc_version":1, "aead":"AES-256-GCM","nonce_b64u":"AAAAAAAAAAAAAAAA","ciphertext_b64u":"c2VjcmV0",
  "tag_b64u":"AAAAAAAAAAAAAAAAAAAAAA","hpke":{"mode":"base","kem":"X25519-HKDF-SHA256","kdf":"HKDF-SHA256","aead":"AES-256-GCM"},
  "recipients":[{"recipient_kid":7,"enc_b64u":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","ct_b64u":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}"#;

/// A stream that nobody else uses.
pub fn new_stream() -> StreamId {
    StreamId::new(TenantId::random(), StoreId::random())
}

/// A moment on the test's clock.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_750_000_000 + seconds) * 1_000_000 + 123_456)
}

/// The agent's key of most tests.
pub fn agent_key() -> SecretKey {
    SecretKey::from_seed([7; 32])
}

/// The sequencer of most tests.
pub fn signer() -> Arc<SequencerSigner> {
    signer_of(1)
}

/// The sequencer's key of that version.
pub fn signer_of(key_version: u8) -> Arc<SequencerSigner> {
    let key = SecretKey::from_seed([key_version; 32]);
    Arc::new(SequencerSigner { sequencer_id: Uuid::from_u128(33), key_version: key_version.into(), key })
}

/// A new event to change and sign.
pub fn draft(stream: StreamId) -> Draft {
    Draft {
        stream,
        event_id: EventId::random(),
        source_agent_id: AgentId::from_bytes([2; 16]),
        agent_key_id: 1,
        entity_type: "order".to_owned(),
        entity_id: "o-1".to_owned(),
        event_type: "order.placed".to_owned(),
        created_at: "2025-06-01T12:00:00Z".to_owned(),
        payload: r#"{"total": 17}"#.into(),
        command_id: None,
        base_version: None,
    }
}

/// The draft, signed by the agent and verified.
pub fn signed(draft: Draft) -> VerifiedEvent {
    signed_by(draft, &agent_key())
}

/// The draft, signed with that key and verified.
pub fn signed_by(draft: Draft, key: &SecretKey) -> VerifiedEvent {
    let envelope = sign_envelope(draft, key).unwrap();
    verify(envelope, Ok(&key.public())).unwrap()
}

/// The draft with an encrypted payload, signed and verified.
pub fn encrypted(draft: Draft) -> VerifiedEvent {
    let mut envelope = sign_envelope(draft, &agent_key()).unwrap();
    envelope.payload = Payload::Encrypted(ENCRYPTED.into());
    envelope.payload_plain_hash = Hash::new([5; 32]);
    let aad = payload_aad(&envelope);
    envelope.payload_cipher_hash = EncryptedPayload::parse(ENCRYPTED).unwrap().cipher_hash(&aad);
    envelope.agent_signature = Signature::new([0; 64]);
    envelope.agent_signature = agent_key().sign(event_signing_hash(&envelope).as_bytes());
    verify(envelope, Ok(&agent_key().public())).unwrap()
}

/// So many new events of a stream.
pub fn new_events(stream: StreamId, count: usize) -> Vec<VerifiedEvent> {
    (0..count).map(|_| signed(draft(stream))).collect()
}

/// Events that were verified a moment ago, whatever has become of agent keys.
pub fn fresh(events: Vec<VerifiedEvent>) -> VerifiedBatch {
    VerifiedBatch { events, keys_epoch: u64::MAX }
}

/// Appends a batch that the store must not refuse.
pub async fn append(store: &Arc<dyn LineStore>, batch: Vec<VerifiedEvent>) -> AppendReport {
    append_at(store, batch, at(0)).await
}

/// Appends a batch at a moment.
pub async fn append_at(
    store: &Arc<dyn LineStore>,
    batch: Vec<VerifiedEvent>,
    now: Timestamp,
) -> AppendReport {
    store.append(fresh(batch), signer(), now).await.unwrap()
}

/// Appends so many new events to a stream, and returns their receipts.
pub async fn grow(store: &Arc<dyn LineStore>, stream: StreamId, count: usize) -> Vec<Receipt> {
    receipts(&append(store, new_events(stream, count)).await)
}

/// One word an outcome: `accepted 3`, `replayed 1`, or the reason of the rejection.
pub fn words(report: &AppendReport) -> Vec<String> {
    let word = |outcome: &AppendOutcome| match outcome {
        AppendOutcome::Accepted(receipt) => format!("accepted {}", receipt.sequence_number),
        AppendOutcome::Replayed(receipt) => format!("replayed {}", receipt.sequence_number),
        AppendOutcome::Rejected(rejection) => rejection.reason(),
    };
    report.outcomes.iter().map(word).collect()
}

/// The receipts of a batch that was taken whole.
pub fn receipts(report: &AppendReport) -> Vec<Receipt> {
    let receipt = |outcome: &AppendOutcome| match outcome {
        AppendOutcome::Accepted(receipt) | AppendOutcome::Replayed(receipt) => receipt.clone(),
        AppendOutcome::Rejected(rejection) => panic!("rejected: {rejection}"),
    };
    report.outcomes.iter().map(receipt).collect()
}

/// Every event of a stream, page by page; asserts that their numbers are 1, 2, 3, …
pub async fn whole(store: &Arc<dyn LineStore>, stream: StreamId) -> Vec<StoredEvent> {
    let events = pages(store, ReadQuery::from(stream, 1, 100)).await;
    let numbers: Vec<u64> = events.iter().map(|e| e.receipt.sequence_number).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    events
}

/// The events of every page of a query; asserts that no page but a first and last one is empty.
pub async fn pages(store: &Arc<dyn LineStore>, mut query: ReadQuery) -> Vec<StoredEvent> {
    let mut events = Vec::new();
    loop {
        let page = store.read(query.clone()).await.unwrap();
        assert!(page.events.len() <= query.limit);
        assert!(page.next.is_none() || !page.events.is_empty(), "an empty page that is not the last");
        events.extend(page.events);
        match page.next {
            Some(next) => query.from = next,
            None => return events,
        }
    }
}
