//! Where a back-test ended, and what its conditions remembered then: everything that its next part needs.
//!
//! The text goes through the client, so it has a bound, and what is in it decides nothing but that client's answer.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bowline_store::TriggerRecord;
use bowline_types::StreamId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::BacktestQuery;
use crate::rules::State;

/// Bytes of memory that go into a cursor at most.
const MEMORY_BYTES_MAX: usize = 256 << 10;

/// What conditions remember, by their place in the trigger and by agent.
pub(super) type Memories = HashMap<(usize, String), State>;

/// A cursor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Cursor {
    name: String,
    pub(super) stream: StreamId,
    pub(super) next: u64,
    memory: Vec<(usize, String, State)>,
}

impl Cursor {
    /// Which back-test it is of: trigger and range decide.
    pub(super) fn name(record: &TriggerRecord, query: &BacktestQuery) -> String {
        let mut hasher = Sha256::new();
        hasher.update(format!(
            "{:?} {:?} {:?} {:?}",
            record.chain_id, record.registry, query.since, query.until
        ));
        for condition in &record.conditions {
            let (kind, field, operator) = (&condition.condition_type, &condition.field, &condition.operator);
            hasher.update(format!(
                "\n{kind} {field:?} {operator:?} {:?} {:?}",
                condition.value, condition.config
            ));
        }
        hex::encode(hasher.finalize().get(..8).unwrap_or_default())
    }

    /// The cursor of a text, if it is of that back-test.
    pub(super) fn read(text: &str, name: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let cursor: Self = serde_json::from_slice(&bytes).ok()?;
        (cursor.name == name).then_some(cursor)
    }

    /// The text, and whether what is remembered was too much for it.
    pub(super) fn write(name: String, stream: StreamId, next: u64, memories: &Memories) -> (String, bool) {
        let memory =
            memories.iter().map(|((place, subject), state)| (*place, subject.clone(), state.clone()));
        let mut cursor = Self { name, stream, next, memory: memory.collect() };
        let mut bytes = serde_json::to_vec(&cursor).unwrap_or_default();
        let lost = bytes.len() > MEMORY_BYTES_MAX;
        if lost {
            cursor.memory.clear();
            bytes = serde_json::to_vec(&cursor).unwrap_or_default();
        }
        (URL_SAFE_NO_PAD.encode(bytes), lost)
    }

    pub(super) fn memories(self) -> Memories {
        self.memory.into_iter().map(|(place, subject, state)| ((place, subject), state)).collect()
    }
}
