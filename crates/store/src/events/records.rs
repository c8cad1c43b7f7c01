//! Events as they go into a store and come out of it, in the words of the line rather than of a database.
//!
//! No record knows how it is kept; each engine's `rows` converts.

use std::collections::HashMap;

use bowline_types::{StreamId, Timestamp};
use bowline_ves::{Envelope, Hash, Receipt, Rejection, VerifiedEvent};

use crate::StoredReceipt;

/// Events to append, and what was known of the agents' keys when they were verified.
#[derive(Debug, Clone)]
pub struct VerifiedBatch {
    /// In the order in which they are to be written.
    pub events: Vec<VerifiedEvent>,
    /// The epoch of the agent keys that the verification relied on: no older key was used.
    pub keys_epoch: u64,
}

/// What became of one event of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendOutcome {
    /// It has a sequence number now, and is durable.
    Accepted(Receipt),
    /// It was there already with the same content; this is the receipt of that time.
    Replayed(Receipt),
    /// It was refused and left no trace.
    Rejected(Rejection),
}

/// What became of an append, event by event.
#[derive(Debug, Clone)]
pub struct AppendReport {
    /// One outcome an event, in the order of the batch.
    pub outcomes: Vec<AppendOutcome>,
    /// The head of every stream that the batch names, after the append.
    pub heads: HashMap<StreamId, u64>,
}

impl AppendReport {
    /// How many events were written.
    pub(crate) fn written(&self) -> usize {
        self.outcomes.iter().filter(|outcome| matches!(outcome, AppendOutcome::Accepted(_))).count()
    }
}

/// An event as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// As the agent signed it.
    pub envelope: Envelope,
    /// Its signing hash.
    pub signing_hash: Hash,
    /// How many events of the stream, this one included, name the same entity.
    pub entity_version: u64,
    /// Its place and time in the line.
    pub receipt: StoredReceipt,
}

/// Only events of one entity type, or of one entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityFilter {
    /// The type.
    pub entity_type: String,
    /// The entity; all of the type if absent.
    pub entity_id: Option<String>,
}

/// Which events to read: from a sequence number upwards, filtered before the page is cut.
#[derive(Debug, Clone)]
pub struct ReadQuery {
    /// The stream.
    pub stream: StreamId,
    /// The first sequence number, inclusive.
    pub from: u64,
    /// The last sequence number, inclusive.
    pub to: Option<u64>,
    /// Events on the page at most.
    pub limit: usize,
    /// Payload bytes on the page; the event that exceeds it is the last.
    pub bytes_max: usize,
    /// Only this entity or entity type.
    pub entity: Option<EntityFilter>,
    /// Only this event type.
    pub event_type: Option<String>,
}

impl ReadQuery {
    /// Everything from `from`, one page of `limit` events.
    pub fn from(stream: StreamId, from: u64, limit: usize) -> Self {
        Self { stream, from, to: None, limit, bytes_max: usize::MAX, entity: None, event_type: None }
    }
}

/// One page of events, ascending.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The events.
    pub events: Vec<StoredEvent>,
    /// Where the next page begins; none when this page reached the last matching event.
    pub next: Option<u64>,
}

/// A stream and how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamHead {
    /// The stream.
    pub stream: StreamId,
    /// Its last sequence number.
    pub head: u64,
    /// The last sequence number under a commitment; 0 if there is none.
    pub committed: u64,
    /// When the last event was sequenced.
    pub updated_at: Timestamp,
}

/// An event that is there already, as far as a replay needs it.
#[derive(Debug, Clone)]
pub(crate) struct KnownEvent {
    pub(crate) signing_hash: Hash,
    pub(crate) signature: bowline_ves::Signature,
    pub(crate) receipt: StoredReceipt,
}
