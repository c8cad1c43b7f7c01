//! Events as an indexer writes them, on the stream of chain 1.

use std::sync::Arc;

use bowline_runtime::{Clock, SystemClock};
use bowline_store::{LineStore, StoredEvent, VerifiedBatch};
use bowline_types::{EventId, StreamId, chain_agent, chain_stream};
use bowline_ves::{Draft, SecretKey, SequencerSigner, VerifiedEvent, sign_envelope, verify};
use serde_json::{Value, json};
use uuid::Uuid;

/// The chain's stream.
pub(crate) fn chain() -> StreamId {
    chain_stream(1)
}

/// A log of the reputation registry; what differs is given.
pub(crate) fn payload(occurrence: u128, fields: Value) -> Value {
    let mut all = json!({
        "chain_id": 1, "block_number": 10, "block_hash": "0x00", "timestamp": 1_750_000_000 + occurrence as u64,
        "transaction_hash": "0x01", "log_index": 0, "address": "0x02", "registry": "reputation",
        "event_type": "NewFeedback", "occurrence": Uuid::from_u128(occurrence).to_string(), "agent_id": "7",
        "client_address": "0x03", "feedback_index": occurrence.to_string(), "value": "80", "score": 80, "tag1": "fast",
    });
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    all
}

/// A signed event of a stream.
pub(crate) fn event(stream: StreamId, event_type: &str, payload: &Value) -> VerifiedEvent {
    let key = SecretKey::from_seed([7; 32]);
    let draft = Draft {
        stream,
        event_id: EventId::random(),
        source_agent_id: chain_agent(1),
        agent_key_id: 1,
        entity_type: "agent".to_owned(),
        entity_id: payload.get("agent_id").and_then(Value::as_str).unwrap_or("7").to_owned(),
        event_type: event_type.to_owned(),
        created_at: "2025-06-01T12:00:00Z".to_owned(),
        payload: payload.to_string().into(),
        command_id: None,
        base_version: None,
    };
    verify(sign_envelope(draft, &key).unwrap(), Ok(&key.public())).unwrap()
}

/// A feedback.
pub(crate) fn feedback(occurrence: u128, fields: Value) -> VerifiedEvent {
    let payload = payload(occurrence, fields);
    event(chain(), payload["event_type"].as_str().unwrap(), &payload)
}

/// The chain takes that event back.
pub(crate) fn retraction(of: &VerifiedEvent) -> VerifiedEvent {
    let mut payload: Value = serde_json::from_str(of.envelope.payload.text()).unwrap();
    payload["retracts"] = of.envelope.event_id.to_string().into();
    event(of.envelope.stream, "Retracted", &payload)
}

/// Appends events and returns them as they are stored.
pub(crate) async fn append(store: &Arc<dyn LineStore>, events: Vec<VerifiedEvent>) -> Vec<StoredEvent> {
    let names: Vec<_> = events.iter().map(|e| (e.envelope.stream, e.envelope.event_id)).collect();
    let key = SecretKey::from_seed([1; 32]);
    let signer = Arc::new(SequencerSigner { sequencer_id: Uuid::from_u128(33), key_version: 1, key });
    let batch = VerifiedBatch { events, keys_epoch: u64::MAX };
    store.append(batch, signer, SystemClock.now()).await.unwrap();
    let mut stored = Vec::new();
    for (stream, event_id) in names {
        stored.push(store.event(stream, event_id).await.unwrap().unwrap());
    }
    stored
}
