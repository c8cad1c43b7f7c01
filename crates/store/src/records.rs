//! What goes into a store and comes out of it, in the words of the line rather than of a database.
//!
//! No record knows how it is kept; the conversions are in each store's `rows`.

mod budgets;
mod schemas;

use std::collections::HashMap;

use bowline_types::{AgentId, StoreId, StreamId, TenantId, Timestamp};
use bowline_ves::{Commitment, Envelope, Hash, Receipt, Rejection, VerifiedEvent};
use uuid::Uuid;

pub use self::budgets::BudgetRecord;
pub use self::schemas::{
    InsertSchema, SchemaCompatibility, SchemaFilter, SchemaHead, SchemaRecord, SchemaStatus,
};
use crate::{StoreError, StoredReceipt};

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

/// Who asked for a commitment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitmentOrigin {
    /// A client, over the API: automatic commitments stay off this stream unless told otherwise.
    Client,
    /// The node's own policy by count or age.
    Automatic,
}

impl CommitmentOrigin {
    /// The word in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Automatic => "automatic",
        }
    }
}

/// A commitment as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitmentRecord {
    /// The commitment.
    pub commitment: Commitment,
    /// Who asked for it.
    pub origin: CommitmentOrigin,
    /// Where it stands in its stream's chain.
    pub chain: crate::ChainPlace,
    /// Where it is on an outside chain, once that is final.
    pub anchor: Option<crate::AnchorMark>,
}

/// Which commitments to list, ascending by their first sequence number.
#[derive(Debug, Clone, Copy)]
pub struct CommitmentFilter {
    /// The stream.
    pub stream: StreamId,
    /// Only commitments that begin at this sequence number or later.
    pub from: u64,
    /// Only those that carry no [`crate::AnchorMark`].
    pub unanchored_only: bool,
    /// So many at most.
    pub limit: usize,
}

/// Whether a commitment found its place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsertCommitment {
    /// It is the stream's last commitment now.
    Inserted,
    /// Another one was inserted since its predecessor was read; nothing was changed.
    Superseded,
}

/// Whether a key is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentKeyStatus {
    /// It may sign.
    Active,
    /// It was withdrawn.
    Revoked,
    /// Its time is over.
    Expired,
}

impl AgentKeyStatus {
    /// The word in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }

    /// The status of that word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Active, Self::Revoked, Self::Expired].into_iter().find(|s| s.as_str() == word)
    }
}

/// An agent's public key as registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentKeyRecord {
    /// The agent's tenant.
    pub tenant_id: TenantId,
    /// The agent.
    pub agent_id: AgentId,
    /// Which of the agent's keys.
    pub key_id: u32,
    /// Ed25519 public key.
    pub public_key: [u8; 32],
    /// Whether it may sign.
    pub status: AgentKeyStatus,
    /// First moment of validity, inclusive.
    pub valid_from: Option<Timestamp>,
    /// Last moment of validity, inclusive.
    pub valid_to: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Why it was revoked, if somebody said so.
    pub revoked_reason: Option<String>,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// What became of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterKey {
    /// The key is new.
    Created,
    /// The same key stood there already.
    Unchanged,
    /// Another key has that id.
    Conflict,
    /// These bytes were revoked, under this id or under another one of the agent's.
    Revoked,
}

/// What a credential may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Read events, receipts, proofs and commitments.
    Read,
    /// Append events and create commitments.
    Write,
    /// Register keys and everything else.
    Admin,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// The word in the database, in tokens and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// The permission of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.as_str() == word)
    }
}

/// An API key; the key itself is never kept, only its SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// SHA-256 of the key.
    pub key_hash: Hash,
    /// Whose it is; the nil tenant may act for every tenant.
    pub tenant_id: TenantId,
    /// The agent that it is bound to, if any.
    pub agent_id: Option<AgentId>,
    /// What it may do.
    pub permissions: Vec<Permission>,
    /// The stores that it may touch; empty for all of the tenant's.
    pub store_ids: Vec<StoreId>,
    /// Whether it may be used; not once it was revoked.
    pub active: bool,
    /// Its last moment, inclusive.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Requests and events that it may bring a minute; none for as many as its tenant may.
    pub rate_limit: Option<u32>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A sequencer's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequencerKeyRecord {
    /// The number that receipts carry, from 1.
    pub key_version: u32,
    /// The sequencer that signs with it.
    pub sequencer_id: Uuid,
    /// Ed25519 public key.
    pub public_key: [u8; 32],
    /// When it was first used.
    pub created_at: Timestamp,
}

/// How far a follower is in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorRecord {
    /// The follower's name.
    pub follower: String,
    /// The stream.
    pub stream: StreamId,
    /// The last sequence number whose effects are done.
    pub sequence_number: u64,
}

/// An event that is there already, as far as a replay needs it.
#[derive(Debug, Clone)]
pub(crate) struct KnownEvent {
    pub(crate) signing_hash: Hash,
    pub(crate) signature: bowline_ves::Signature,
    pub(crate) receipt: StoredReceipt,
}

/// The refusal of a commitment to events that are not there: nobody could ever prove one of them.
pub(crate) fn beyond_head(commitment: &Commitment, head: u64) -> StoreError {
    let (stream, end) = (commitment.stream, commitment.sequence_end);
    StoreError::Internal(format!("a commitment up to {end} of stream {stream}, whose head is {head}"))
}

/// The refusal of a correction that does not fit what it names.
pub(crate) fn corrects_nothing(commitment: &Commitment) -> StoreError {
    let (stream, start, end) = (commitment.stream, commitment.sequence_start, commitment.sequence_end);
    StoreError::Internal(format!(
        "a correction over {start} to {end} of stream {stream} that corrects nothing there"
    ))
}

/// An API key's comma-separated lists as a store keeps them; none if a word in them is not known. An empty
/// list of stores means all of them, so a word that can't be read must never just be left out.
pub(crate) fn parse_scopes(permissions: &str, stores: &str) -> Option<(Vec<Permission>, Vec<StoreId>)> {
    fn split(text: &str) -> impl Iterator<Item = &str> {
        text.split(',').filter(|word| !word.is_empty())
    }
    let permissions = split(permissions).map(Permission::parse).collect::<Option<_>>()?;
    let stores = split(stores).map(|word| word.parse().ok()).collect::<Option<_>>()?;
    Some((permissions, stores))
}

/// The comma-separated list that [`parse_scopes`] reads.
pub(crate) fn join_words(words: impl Iterator<Item = impl ToString>) -> String {
    words.map(|word| word.to_string()).collect::<Vec<_>>().join(",")
}
