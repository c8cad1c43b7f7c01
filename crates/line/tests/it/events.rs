//! Streams, signed events and sequencers for the tests, made as cheaply as they may be.
//!
//! An event here is signed but not verified again, except where verification itself is the matter.

use std::sync::Arc;

use bowline_store::{AppendOutcome, AppendReport};
use bowline_types::{AgentId, EventId, StoreId, StreamId, TenantId, Timestamp};
use bowline_ves::{
    Draft, Envelope, Receipt, SecretKey, SequencerSigner, VerifiedEvent, event_signing_hash, sign_envelope,
};
use uuid::Uuid;

/// A stream that nobody else uses.
pub(crate) fn new_stream() -> StreamId {
    StreamId::new(TenantId::random(), StoreId::random())
}

/// Two streams, in the order in which a store lists them.
pub(crate) fn two_streams() -> [StreamId; 2] {
    let mut streams = [new_stream(), new_stream()];
    streams.sort();
    streams
}

/// A moment on the test's clock.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_750_000_000 + seconds) * 1_000_000)
}

pub(crate) fn agent() -> AgentId {
    AgentId::from_bytes([2; 16])
}

pub(crate) fn agent_key() -> SecretKey {
    SecretKey::from_seed([7; 32])
}

pub(crate) fn signer() -> Arc<SequencerSigner> {
    let key = SecretKey::from_seed([1; 32]);
    Arc::new(SequencerSigner { sequencer_id: Uuid::from_u128(33), key_version: 1, key })
}

/// A new event to change and sign.
pub(crate) fn draft(stream: StreamId) -> Draft {
    Draft {
        stream,
        event_id: EventId::random(),
        source_agent_id: agent(),
        agent_key_id: 1,
        entity_type: "order".to_owned(),
        entity_id: "o-1".to_owned(),
        event_type: "order.placed".to_owned(),
        created_at: "2025-06-01T12:00:00Z".to_owned(),
        payload: r#"{"total":17}"#.into(),
        command_id: None,
        base_version: None,
    }
}

/// A new event as its agent sends it.
pub(crate) fn envelope(stream: StreamId) -> Envelope {
    sign_envelope(draft(stream), &agent_key()).unwrap()
}

/// The envelope as if it had been verified.
pub(crate) fn verified(envelope: Envelope) -> VerifiedEvent {
    let signing_hash = event_signing_hash(&envelope);
    let created_at = envelope.created_at_timestamp().unwrap();
    VerifiedEvent { envelope, signing_hash, created_at }
}

/// New events of a stream.
pub(crate) fn new_events(stream: StreamId, count: usize) -> Vec<VerifiedEvent> {
    (0..count).map(|_| verified(envelope(stream))).collect()
}

pub(crate) fn ids(events: &[VerifiedEvent]) -> Vec<EventId> {
    events.iter().map(|event| event.envelope.event_id).collect()
}

/// The receipts of a report in which everything was accepted.
pub(crate) fn accepted<'a>(report: &'a AppendReport) -> Vec<&'a Receipt> {
    let receipt = |outcome: &'a AppendOutcome| match outcome {
        AppendOutcome::Accepted(receipt) => receipt,
        other => panic!("{other:?}"),
    };
    report.outcomes.iter().map(receipt).collect()
}
