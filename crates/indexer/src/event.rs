//! A log as an event of the line: its names, its payload, and the event that takes it back.
//!
//! A log's *occurrence* is what it says and in which transaction, whatever block that is in: a transaction that is
//! mined again has the same ones. An event's id is of its place in the chain, the chain's generation and its occurrence:
//! a log that comes back after a reorganization is an event of its own, and ids ascend with blocks, so that a store's
//! index of them grows at its end.

use std::collections::HashMap;
use std::sync::Arc;

use alloy_primitives::{B256, hex};
use bowline_evm::Log;
use bowline_store::StoredEvent;
use bowline_types::{AgentId, EventId, EvmAddress, EvmHash, StreamId, Timestamp, chain_agent, chain_stream};
use bowline_ves::Draft;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::decode::Decoder;

/// The namespace of the ids of retractions.
const NAMESPACE: Uuid = Uuid::from_u128(0x626f_776c_696e_6500_8000_6c6f_6773_3031);

/// What a log is called that can't be read.
pub(crate) const UNKNOWN: &str = "Unknown";
/// The event that takes a log back.
pub(crate) const RETRACTED: &str = "Retracted";

/// The last second that RFC 3339 has.
const SECONDS_MAX: u64 = 253_402_300_799;

/// A log with what belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) log: Log,
    /// Its block's time.
    pub(crate) timestamp: u64,
    /// How many equal logs the transaction has before it.
    pub(crate) equal_before: u32,
}

/// Who writes a chain's events, and how.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    pub(crate) chain_id: u64,
    pub(crate) stream: StreamId,
    pub(crate) agent: AgentId,
    pub(crate) key_id: u32,
    pub(crate) decoder: Arc<Decoder>,
}

/// A draft, and what the metrics count.
#[derive(Debug)]
pub(crate) struct Drafted {
    pub(crate) draft: Draft,
    pub(crate) registry: Arc<str>,
    pub(crate) is_decoded: bool,
}

impl Author {
    pub(crate) fn new(chain_id: u64, key_id: u32, decoder: Arc<Decoder>) -> Self {
        let (stream, agent) = (chain_stream(chain_id), chain_agent(chain_id));
        Self { chain_id, stream, agent, key_id, decoder }
    }

    /// The log's event; none if its contract is not watched.
    pub(crate) fn draft(&self, entry: &Entry, generation: u64) -> Option<Drafted> {
        let Entry { log, timestamp, equal_before } = entry;
        let (registry, decoded) = self.decoder.decode(log)?;
        let occurrence = occurrence(self.chain_id, log, *equal_before);
        let is_decoded = decoded.is_some();
        let (event_type, values) = match decoded {
            Some(decoded) => (decoded.event_type, decoded.values),
            None => (UNKNOWN.into(), raw(log)),
        };
        let address = log.address().to_string();
        let agent_id =
            values.get("agent_id").and_then(Value::as_str).filter(|_| Decoder::is_registry(&registry));
        let (entity_type, entity_id) = match agent_id {
            Some(agent_id) => ("agent", agent_id.to_owned()),
            None => ("contract", address.clone()),
        };
        let own: [(&str, Value); 10] = [
            ("chain_id", self.chain_id.into()),
            ("block_number", log.block_number().into()),
            ("block_hash", log.block_hash().to_string().into()),
            ("timestamp", (*timestamp).into()),
            ("transaction_hash", log.tx_hash().to_string().into()),
            ("log_index", log.index().into()),
            ("address", address.into()),
            ("registry", (*registry).into()),
            ("event_type", (*event_type).into()),
            ("occurrence", occurrence.to_string().into()),
        ];
        let seconds = i64::try_from((*timestamp).min(SECONDS_MAX)).unwrap_or_default();
        let draft = Draft {
            stream: self.stream,
            event_id: event_id(log.block_number(), log.index(), generation, occurrence),
            source_agent_id: self.agent,
            agent_key_id: self.key_id,
            entity_type: entity_type.to_owned(),
            entity_id,
            event_type: (*event_type).to_owned(),
            created_at: Timestamp::from_micros(seconds * 1_000_000).to_string(),
            payload: payload(&values, &own).into(),
            command_id: None,
            base_version: None,
        };
        Some(Drafted { draft, registry, is_decoded })
    }

    /// The event that takes another one back.
    pub(crate) fn retraction(&self, event: &StoredEvent) -> Result<Draft, String> {
        let envelope = &event.envelope;
        let payload: Map<String, Value> = serde_json::from_str(envelope.payload.text())
            .map_err(|e| format!("a payload can't be read: {e}"))?;
        let mut payload = payload;
        payload.insert("retracts".to_owned(), envelope.event_id.to_string().into());
        let name = [RETRACTED.as_bytes(), envelope.event_id.as_bytes()].concat();
        Ok(Draft {
            stream: self.stream,
            event_id: EventId::new(Uuid::new_v5(&NAMESPACE, &name)),
            source_agent_id: self.agent,
            agent_key_id: self.key_id,
            entity_type: envelope.entity_type.clone(),
            entity_id: envelope.entity_id.clone(),
            event_type: RETRACTED.to_owned(),
            created_at: envelope.created_at.clone(),
            payload: Value::Object(payload).to_string().into(),
            command_id: None,
            base_version: None,
        })
    }
}

/// What an event of that type takes back; none if it is another event.
pub(crate) fn retracts(event: &StoredEvent) -> Option<EventId> {
    #[derive(serde::Deserialize)]
    struct Retraction {
        retracts: EventId,
    }
    if event.envelope.event_type != RETRACTED {
        return None;
    }
    serde_json::from_str::<Retraction>(event.envelope.payload.text()).ok().map(|found| found.retracts)
}

/// The fields of a payload in the order of their keys, of which no two are equal.
struct Fields<'a>(Vec<(&'a str, &'a Value)>);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// The text of an event's payload: a log's values, and what every event has.
fn payload(values: &Map<String, Value>, own: &[(&str, Value)]) -> String {
    let values = values.iter().map(|(key, value)| (key.as_str(), value));
    let mut fields: Vec<_> = values.chain(own.iter().map(|(key, value)| (*key, value))).collect();
    fields.sort_unstable_by_key(|(key, _)| *key);
    // Serializing values does not fail.
    serde_json::to_string(&Fields(fields)).unwrap_or_default()
}

/// Counts equal logs of a transaction; logs are in the order of their blocks.
pub(crate) fn entries(logs: Vec<(Log, u64)>) -> Vec<Entry> {
    type Content<'a> = (EvmHash, EvmAddress, &'a [B256], &'a [u8]);
    let mut seen: HashMap<Content<'_>, u32> = HashMap::with_capacity(logs.len());
    let counts: Vec<u32> = logs
        .iter()
        .map(|(log, _)| {
            let count = seen.entry((log.tx_hash(), log.address(), &log.topics, &log.data)).or_insert(0);
            *count += 1;
            *count - 1
        })
        .collect();
    drop(seen);
    let entry = |((log, timestamp), equal_before)| Entry { log, timestamp, equal_before };
    logs.into_iter().zip(counts).map(entry).collect()
}

/// A UUID of version 8: the first bits of a SHA-256.
fn occurrence(chain_id: u64, log: &Log, equal_before: u32) -> Uuid {
    let mut hash = Sha256::new()
        .chain_update(chain_id.to_be_bytes())
        .chain_update(log.tx_hash().as_bytes())
        .chain_update(log.address().as_bytes())
        .chain_update(equal_before.to_be_bytes())
        .chain_update((log.topics.len() as u64).to_be_bytes());
    for topic in &log.topics {
        hash.update(topic);
    }
    let digest: [u8; 32] = hash.chain_update(&log.data).finalize().into();
    uuid::Builder::from_custom_bytes(std::array::from_fn(|index| digest[index])).into_uuid()
}

/// A UUID of version 8 (RFC 9562 §5.8): 40 bits of the block's number, 20 of the log's index in it, and after the
/// variant 16 of the generation and 46 of the occurrence. No two logs that a stream can hold have the first three in
/// common, whatever somebody makes their contents be.
fn event_id(block: u64, log_index: u64, generation: u64, occurrence: Uuid) -> EventId {
    let (block, index) = (u128::from(block) & 0xff_ffff_ffff, u128::from(log_index) & 0xf_ffff);
    let place = block << 20 | index;
    let rest = (u128::from(generation) & 0xffff) << 46 | occurrence.as_u128() & 0x3fff_ffff_ffff;
    EventId::new(Uuid::from_u128((place >> 12) << 80 | 8 << 76 | (place & 0xfff) << 64 | 2 << 62 | rest))
}

fn raw(log: &Log) -> Map<String, Value> {
    let topics = log.topics.iter().map(|topic| Value::String(hex::encode_prefixed(topic))).collect();
    let mut raw = Map::new();
    raw.insert("topics".to_owned(), Value::Array(topics));
    raw.insert("data".to_owned(), Value::String(hex::encode_prefixed(&log.data)));
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_ascend_with_the_chain_and_no_two_logs_share_one() {
        let occurrence = Uuid::from_u128(u128::MAX);
        let id = |block, index, generation| event_id(block, index, generation, occurrence).uuid();
        assert_eq!(id(37_478_106, 258, 3).to_string(), "00023bde-da00-8102-8000-ffffffffffff");
        let ascending = [
            id(0, 0, 0),
            id(0, 1, 0),
            id(0, 4_096, 0),
            id(0, (1 << 20) - 1, 7),
            id(1, 0, 0),
            id(1, 0, 1),
            id(u64::from(u32::MAX), 5, 65_535),
            id((1 << 40) - 1, 0, 0),
        ];
        assert!(ascending.is_sorted() && ascending.windows(2).all(|pair| pair[0] != pair[1]));
        for id in ascending {
            assert_eq!((id.get_version_num(), id.get_variant()), (8, uuid::Variant::RFC4122));
        }
        // The same log in the same block after a reorganization is another event, and so is another log in its place.
        assert_ne!(id(5, 5, 0), id(5, 5, 1));
        assert_ne!(id(5, 5, 0), event_id(5, 5, 0, Uuid::nil()).uuid());
    }
}
