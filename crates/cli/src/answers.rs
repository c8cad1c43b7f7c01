//! What the API answers, as far as tables need it.
//!
//! Unknown fields are ignored, so a newer server is understood. It refuses to judge an answer: what must be
//! right is checked by `bowline verify` from the bytes themselves.

use bowline_types::{EventId, StoreId, StreamId, TenantId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::client::ApiError;
use crate::exit::Failure;
use crate::output::shown;

/// Characters of a payload that a table shows.
const PAYLOAD_CHARS_MAX: usize = 80;

/// Parses an answer that is shown as a table.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| ApiError::Unexpected { problem: error.to_string() }.into())
}

/// One sequenced event.
#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) sequence_number: u64,
    pub(crate) sequenced_at: String,
    pub(crate) event_id: EventId,
    pub(crate) event_type: String,
    pub(crate) entity_type: String,
    pub(crate) entity_id: String,
    // A payload of `null` is a payload.
    #[serde(default, deserialize_with = "present")]
    payload: Option<Box<RawValue>>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

impl Event {
    /// The beginning of the payload, or what stands in its place.
    pub(crate) fn payload_shown(&self) -> String {
        match &self.payload {
            Some(payload) => shown(payload.get(), PAYLOAD_CHARS_MAX),
            None => "(encrypted)".to_owned(),
        }
    }

    pub(crate) fn entity(&self) -> String {
        format!("{}/{}", self.entity_type, self.entity_id)
    }

    /// The columns of a table of events.
    pub(crate) const HEADER: [&'static str; 5] = ["seq", "sequenced at", "event type", "entity", "payload"];

    pub(crate) fn row(&self) -> [String; 5] {
        [
            self.sequence_number.to_string(),
            self.sequenced_at.clone(),
            self.event_type.clone(),
            self.entity(),
            self.payload_shown(),
        ]
    }
}

/// A page of events, each as the server wrote it.
#[derive(Debug, Deserialize)]
pub(crate) struct RawPage {
    pub(crate) events: Vec<Box<RawValue>>,
    pub(crate) next: Option<u64>,
}

/// A page of events.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    pub(crate) events: Vec<Event>,
    pub(crate) next: Option<u64>,
    pub(crate) head_sequence: u64,
}

/// How far one stream has got.
#[derive(Debug, Deserialize)]
pub(crate) struct Head {
    pub(crate) tenant_id: TenantId,
    pub(crate) store_id: StoreId,
    pub(crate) head_sequence: u64,
    #[serde(default)]
    pub(crate) committed_sequence: u64,
    pub(crate) updated_at: Option<String>,
}

impl Head {
    pub(crate) fn stream(&self) -> StreamId {
        StreamId::new(self.tenant_id, self.store_id)
    }
}

/// Every stream that the key may see.
#[derive(Debug, Deserialize)]
pub(crate) struct Streams {
    pub(crate) streams: Vec<Head>,
}

/// Commitments of a stream.
#[derive(Debug, Deserialize)]
pub(crate) struct Commitments {
    pub(crate) commitments: Vec<Box<RawValue>>,
}

/// A proof, as far as its table needs it.
#[derive(Debug, Deserialize)]
pub(crate) struct Proof {
    pub(crate) sequence_number: u64,
    pub(crate) batch_id: String,
    pub(crate) merkle_root: String,
    pub(crate) leaf_hash: String,
    pub(crate) leaf_index: u64,
    pub(crate) proof_path: Vec<String>,
}

/// Agents' registered keys.
#[derive(Debug, Deserialize)]
pub(crate) struct AgentKeys {
    pub(crate) keys: Vec<AgentKey>,
}

/// One of them.
#[derive(Debug, Deserialize)]
pub(crate) struct AgentKey {
    pub(crate) agent_id: String,
    pub(crate) key_id: u32,
    pub(crate) public_key: String,
    pub(crate) status: String,
    pub(crate) valid_from: Option<String>,
    pub(crate) valid_to: Option<String>,
    #[serde(default)]
    pub(crate) grace_until: Option<String>,
    #[serde(default)]
    pub(crate) revoked_at: Option<String>,
    #[serde(default)]
    pub(crate) revoked_reason: Option<String>,
}

/// What became of a rotation.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rotated {
    pub(crate) key_id: u32,
    pub(crate) key: AgentKey,
    pub(crate) retired: Vec<AgentKey>,
}

/// What a change says of itself.
#[derive(Debug, Deserialize)]
pub(crate) struct Message {
    pub(crate) message: String,
}

/// An API key that was just made.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MadeApiKey {
    pub(crate) api_key: String,
    pub(crate) key_hash_prefix: String,
    pub(crate) permissions: String,
    #[serde(default)]
    pub(crate) expires_at: Option<String>,
    #[serde(default)]
    pub(crate) rate_limit: Option<u32>,
}

/// API keys of a tenant.
#[derive(Debug, Deserialize)]
pub(crate) struct ApiKeys {
    pub(crate) api_keys: Vec<ApiKey>,
}

/// One of them, without its secret.
#[derive(Debug, Deserialize)]
pub(crate) struct ApiKey {
    pub(crate) key_prefix: String,
    pub(crate) agent_id: Option<String>,
    pub(crate) permissions: Vec<String>,
    pub(crate) store_ids: Vec<String>,
    pub(crate) status: String,
    pub(crate) created_at: String,
    pub(crate) expires_at: Option<String>,
    pub(crate) revoked_at: Option<String>,
    #[serde(default)]
    pub(crate) rate_limit: Option<u32>,
}

/// The sequencer's published keys.
#[derive(Debug, Deserialize)]
pub(crate) struct SequencerKeys {
    pub(crate) current_key_version: u32,
    pub(crate) keys: Vec<SequencerKey>,
}

/// One of them.
#[derive(Debug, Deserialize)]
pub(crate) struct SequencerKey {
    pub(crate) key_version: u32,
    pub(crate) sequencer_id: String,
    pub(crate) public_key: String,
}

/// What ingest answers for one batch.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ingested {
    pub(crate) events_accepted: u64,
    pub(crate) events_rejected: u64,
    pub(crate) head_sequence: Option<u64>,
    #[serde(default)]
    pub(crate) rejections: Option<Vec<Rejection>>,
}

/// One event that was not taken.
#[derive(Debug, Deserialize)]
pub(crate) struct Rejection {
    #[serde(default)]
    pub(crate) event_id: Option<String>,
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) message: String,
    /// Which event of the request it was, from 0.
    #[serde(default)]
    pub(crate) index: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_becomes_a_row_and_its_payload_stays_as_sent() {
        let id = "64527dd3-a654-4410-9327-e58a1492ce77";
        let event: Event = parse(&format!(
            r#"{{"ves_version":1,"event_id":"{id}","event_type":"order.created","entity_type":"order","entity_id":"o-1",
                "payload":{{"amount":1.50}},"sequence_number":7,"sequenced_at":"2025-01-01T00:00:00+00:00","receipt":{{}}}}"#
        ))
        .unwrap();
        assert_eq!(event.row()[0], "7");
        assert_eq!(event.row()[3..], ["order/o-1".to_owned(), r#"{"amount":1.50}"#.to_owned()]);
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
