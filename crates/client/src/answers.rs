//! What the API answers, as types.
//!
//! Unknown fields are ignored, so a newer server is understood. Moments are texts in RFC 3339, as the server wrote
//! them. Nothing here judges an answer: what must be right is checked from the bytes themselves, with `bowline-ves`.

use bowline_types::{EventId, Secret, StoreId, StreamId, TenantId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::ApiError;

/// Parses an answer.
///
/// # Errors
/// [`ApiError::Unexpected`] if it is not the JSON of a `T`.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, ApiError> {
    serde_json::from_str(text).map_err(|error| ApiError::Unexpected { problem: error.to_string() })
}

/// One sequenced event.
#[derive(Debug, Deserialize)]
pub struct Event {
    /// Its number in the stream, from 1.
    pub sequence_number: u64,
    /// When it got its number.
    pub sequenced_at: String,
    /// Its id, which its author chose.
    pub event_id: EventId,
    /// What happened.
    pub event_type: String,
    /// What kind of thing it happened to.
    pub entity_type: String,
    /// Which one.
    pub entity_id: String,
    /// The payload as it was signed, which may be `null`; none if it is encrypted.
    #[serde(default, deserialize_with = "present")]
    pub payload: Option<Box<RawValue>>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

impl Event {
    /// Type and id of what the event is about: `order/o-1`.
    pub fn entity(&self) -> String {
        format!("{}/{}", self.entity_type, self.entity_id)
    }
}

/// A page of events, each as the server wrote it.
#[derive(Debug, Deserialize)]
pub struct RawPage {
    /// The events in their order.
    pub events: Vec<Box<RawValue>>,
    /// Where the next page begins; none at the head.
    pub next: Option<u64>,
}

/// A page of events.
#[derive(Debug, Deserialize)]
pub struct Page {
    /// The events in their order.
    pub events: Vec<Event>,
    /// Where the next page begins; none at the head.
    pub next: Option<u64>,
    /// The number of the stream's last event.
    pub head_sequence: u64,
}

/// How far one stream has got.
#[derive(Debug, Deserialize)]
pub struct Head {
    /// The stream's tenant.
    pub tenant_id: TenantId,
    /// The stream's store.
    pub store_id: StoreId,
    /// The number of its last event; 0 if it has none.
    pub head_sequence: u64,
    /// The last event that a commitment covers; 0 if none does.
    #[serde(default)]
    pub committed_sequence: u64,
    /// When the last event came.
    pub updated_at: Option<String>,
}

impl Head {
    /// The stream whose head it is.
    pub fn stream(&self) -> StreamId {
        StreamId::new(self.tenant_id, self.store_id)
    }
}

/// Every stream that the key may see.
#[derive(Debug, Deserialize)]
pub struct Streams {
    /// One entry a stream.
    pub streams: Vec<Head>,
}

/// Commitments of a stream.
#[derive(Debug, Deserialize)]
pub struct Commitments {
    /// Each as the server wrote it, for `bowline_ves::Commitment::from_json`.
    pub commitments: Vec<Box<RawValue>>,
}

/// A proof, as far as its table needs it.
#[derive(Debug, Deserialize)]
pub struct Proof {
    /// The event's number.
    pub sequence_number: u64,
    /// The commitment.
    pub batch_id: String,
    /// Its root, 32 bytes of hex.
    pub merkle_root: String,
    /// The event's leaf, 32 bytes of hex.
    pub leaf_hash: String,
    /// The leaf's place, from 0.
    pub leaf_index: u64,
    /// The siblings from the leaf to the root, 32 bytes of hex each.
    pub proof_path: Vec<String>,
}

/// Agents' registered keys.
#[derive(Debug, Deserialize)]
pub struct AgentKeys {
    /// One entry a key.
    pub keys: Vec<AgentKey>,
}

/// One of them.
#[derive(Debug, Deserialize)]
pub struct AgentKey {
    /// Whose key it is.
    pub agent_id: String,
    /// Which of the agent's keys.
    pub key_id: u32,
    /// 32 bytes of hex.
    pub public_key: String,
    /// `active`, `expired` or `revoked`.
    pub status: String,
    /// From when on it may sign.
    pub valid_from: Option<String>,
    /// Until when.
    pub valid_to: Option<String>,
    /// Until when it is still taken after a rotation.
    #[serde(default)]
    pub grace_until: Option<String>,
    /// When it was revoked.
    #[serde(default)]
    pub revoked_at: Option<String>,
    /// Why.
    #[serde(default)]
    pub revoked_reason: Option<String>,
}

/// What became of a rotation.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rotated {
    /// The new key's number.
    pub key_id: u32,
    /// The new key.
    pub key: AgentKey,
    /// The keys that run out or are revoked.
    pub retired: Vec<AgentKey>,
}

/// What a change says of itself.
#[derive(Debug, Deserialize)]
pub struct Message {
    /// One line.
    pub message: String,
}

/// An API key that was just made.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MadeApiKey {
    /// The key itself: it is told once.
    pub api_key: Secret,
    /// What it is known by.
    pub key_hash_prefix: String,
    /// What it may do.
    pub permissions: String,
    /// Until when.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// Units a minute; none for the server's own limit.
    #[serde(default)]
    pub rate_limit: Option<u32>,
}

/// API keys of a tenant.
#[derive(Debug, Deserialize)]
pub struct ApiKeys {
    /// One entry a key.
    pub api_keys: Vec<ApiKey>,
}

/// One of them, without its secret.
#[derive(Debug, Deserialize)]
pub struct ApiKey {
    /// What it is known by.
    pub key_prefix: String,
    /// The agent that it belongs to, if one.
    pub agent_id: Option<String>,
    /// What it may do.
    pub permissions: Vec<String>,
    /// The stores that it opens; all if empty.
    pub store_ids: Vec<String>,
    /// `active`, `expired` or `revoked`.
    pub status: String,
    /// When it was made.
    pub created_at: String,
    /// Until when it opens something.
    pub expires_at: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<String>,
    /// Units a minute; none for the server's own limit.
    #[serde(default)]
    pub rate_limit: Option<u32>,
}

/// The sequencer's published keys.
#[derive(Debug, Deserialize)]
pub struct SequencerKeys {
    /// Which one signs now.
    pub current_key_version: u32,
    /// One entry a key.
    pub keys: Vec<SequencerKey>,
}

/// One of them.
#[derive(Debug, Deserialize)]
pub struct SequencerKey {
    /// Its version.
    pub key_version: u32,
    /// Whose key it is.
    pub sequencer_id: String,
    /// 32 bytes of hex.
    pub public_key: String,
}

/// What ingest answers for one batch.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ingested {
    /// Events that became part of the stream by this request.
    pub events_accepted: u64,
    /// Events that were not taken; the others were on the line before.
    pub events_rejected: u64,
    /// The number of the stream's last event.
    pub head_sequence: Option<u64>,
    /// Why, one entry an event that was not taken.
    #[serde(default)]
    pub rejections: Option<Vec<Rejection>>,
}

/// One event that was not taken.
#[derive(Debug, Deserialize)]
pub struct Rejection {
    /// The event, if its id could be read.
    #[serde(default)]
    pub event_id: Option<String>,
    /// The code.
    pub reason: String,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// Which event of the request it was, from 0.
    #[serde(default)]
    pub index: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_stays_as_it_was_sent() {
        let id = "64527dd3-a654-4410-9327-e58a1492ce77";
        let event: Event = parse(&format!(
            r#"{{"ves_version":1,"event_id":"{id}","event_type":"order.created","entity_type":"order","entity_id":"o-1",
                "payload":{{"amount":1.50}},"sequence_number":7,"sequenced_at":"2025-01-01T00:00:00+00:00","receipt":{{}}}}"#
        ))
        .unwrap();
        assert_eq!((event.sequence_number, event.entity().as_str()), (7, "order/o-1"));
        assert_eq!(event.payload.unwrap().get(), r#"{"amount":1.50}"#);
    }

    #[test]
    fn rejections_may_be_absent_or_null() {
        for rejections in ["", r#","rejections":null"#, r#","rejections":[]"#] {
            let text = format!(r#"{{"eventsAccepted":1,"eventsRejected":0,"headSequence":5{rejections}}}"#);
            let ingested: Ingested = parse(&text).unwrap();
            assert_eq!(ingested.rejections.unwrap_or_default().len(), 0);
        }
    }
}
