//! The contract that every store of the line keeps, with what it must and must not do.
//!
//! The conformance suite in `tests/it` runs each sentence on each implementation. Parts of the contract that
//! are large stand in files of their own.

mod anchors;
mod keys;

mod budgets;
mod schemas;

mod corrections;
mod dead_letters;

mod diagnostics;

mod jobs;
mod sources;
mod triggers;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bowline_types::{AgentId, BatchId, EventId, StreamId, TenantId, Timestamp};
use bowline_ves::{Commitment, Hash, SequencerSigner};
use uuid::Uuid;

pub use self::anchors::{AnchorStore, LeaseStore};
pub use self::budgets::BudgetStore;
pub use self::diagnostics::Diagnostics;
pub use self::jobs::JobStore;
pub use self::keys::KeyStore;
pub use self::schemas::SchemaStore;
pub use self::sources::SourceStore;
pub use self::triggers::TriggerStore;
use crate::records::{
    AgentKeyRecord, ApiKeyRecord, AppendReport, CommitmentFilter, CommitmentOrigin, CommitmentRecord,
    CursorRecord, InsertCommitment, Page, ReadQuery, RegisterKey, SequencerKeyRecord, StoredEvent,
    StreamHead, VerifiedBatch,
};
use crate::{Changes, StoreError, Tail, WriteGate};

pub use self::corrections::CorrectionStore;
pub use self::dead_letters::DeadLetterStore;

/// Where the line lives.
///
/// Several processes may share one PostgreSQL store; an SQLite store belongs to one process. Dropping the
/// future of a call MUST NOT leave half of its change behind.
#[async_trait]
pub trait LineStore:
    AnchorStore
    + BudgetStore
    + CorrectionStore
    + DeadLetterStore
    + Diagnostics
    + JobStore
    + KeyStore
    + SchemaStore
    + SourceStore
    + TriggerStore
    + Debug
    + Send
    + Sync
    + 'static
{
    /// The engine's name, `sqlite` or `postgres`.
    fn engine(&self) -> &'static str;

    /// Sequences and writes a batch in one transaction, in the order given.
    ///
    /// - MUST be durable before it returns; on an error nothing of the batch is visible, unless the error is
    ///   [`StoreError::OutcomeUnknown`].
    /// - Sequence numbers of a stream are dense from 1. `sequenced_at` is `now`, or the stream's last
    ///   `sequenced_at` if the clock went back.
    /// - An event whose id the stream knows is replayed if signing hash and signature are equal, and
    ///   rejected as `duplicate_event_id` otherwise; also within one batch. Then `command_id` and
    ///   `base_version` are checked against the stream and the events before it in the batch.
    /// - A batch of which an event would be written is refused with [`StoreError::KeysChanged`] if agent keys
    ///   have changed since it was verified. The epoch MUST be read where no change of a key can be answered
    ///   between the reading and the commit.
    /// - Round trips do not grow with the number of events.
    async fn append(
        &self,
        batch: VerifiedBatch,
        signer: Arc<SequencerSigner>,
        now: Timestamp,
    ) -> Result<AppendReport, StoreError>;

    /// One page of events, ascending and without a gap among those that match.
    async fn read(&self, query: ReadQuery) -> Result<Page, StoreError>;

    /// The event of that id in the stream.
    async fn event(&self, stream: StreamId, event_id: EventId) -> Result<Option<StoredEvent>, StoreError>;

    /// How far the stream is; none if it has never had an event.
    async fn head(&self, stream: StreamId) -> Result<Option<StreamHead>, StoreError>;

    /// Every stream, ascending by id.
    async fn streams(&self) -> Result<Vec<StreamHead>, StoreError>;

    /// The stored Merkle leaves of `start..=end`, which all exist.
    ///
    /// # Errors
    /// [`StoreError::Internal`] if one is missing.
    async fn leaves(&self, stream: StreamId, start: u64, end: u64) -> Result<Vec<Hash>, StoreError>;

    /// Makes a commitment the stream's last one, if its predecessor still is: `sequence_start` follows the
    /// highest committed number and `prev_state_root` is the last one's state root (or there is none and the root
    /// is zero).
    ///
    /// # Errors
    /// [`StoreError::Internal`] if the stream does not reach to the commitment's end.
    async fn insert_commitment(
        &self,
        commitment: Commitment,
        upper_levels: Vec<u8>,
        origin: CommitmentOrigin,
    ) -> Result<InsertCommitment, StoreError>;

    /// The commitment of that id.
    async fn commitment(&self, batch_id: BatchId) -> Result<Option<CommitmentRecord>, StoreError>;

    /// The stream's last commitment: the last one of its chain, which may be a correction.
    async fn last_commitment(&self, stream: StreamId) -> Result<Option<CommitmentRecord>, StoreError>;

    /// The commitment whose range holds that sequence number; the last correction if it was corrected.
    async fn commitment_covering(
        &self,
        stream: StreamId,
        sequence_number: u64,
    ) -> Result<Option<CommitmentRecord>, StoreError>;

    /// Commitments of a stream, ascending by their range; corrections stand behind what they correct.
    async fn commitments(&self, filter: CommitmentFilter) -> Result<Vec<CommitmentRecord>, StoreError>;

    /// The upper tree levels that were stored with a commitment.
    async fn commitment_upper_levels(&self, batch_id: BatchId) -> Result<Option<Vec<u8>>, StoreError>;

    /// Registers an agent's key; a key id is bound to one key for ever, and bytes that were revoked under any
    /// of the agent's ids are never registered again.
    async fn register_agent_key(&self, key: AgentKeyRecord) -> Result<RegisterKey, StoreError>;

    /// One agent key.
    async fn agent_key(
        &self,
        tenant_id: TenantId,
        agent_id: AgentId,
        key_id: u32,
    ) -> Result<Option<AgentKeyRecord>, StoreError>;

    /// Keeps an API key, or replaces the record of the same hash.
    async fn put_api_key(&self, key: ApiKeyRecord) -> Result<(), StoreError>;

    /// The API key of that hash.
    async fn api_key(&self, key_hash: Hash) -> Result<Option<ApiKeyRecord>, StoreError>;

    /// Makes a sequencer's public key known and returns its version: the same key always gets the same one.
    async fn register_sequencer_key(
        &self,
        sequencer_id: Uuid,
        public_key: [u8; 32],
        now: Timestamp,
    ) -> Result<SequencerKeyRecord, StoreError>;

    /// Every sequencer key that ever signed here, ascending by version.
    async fn sequencer_keys(&self) -> Result<Vec<SequencerKeyRecord>, StoreError>;

    /// The last sequence number whose effects a follower finished in a stream; 0 if none.
    async fn cursor(&self, follower: &str, stream: StreamId) -> Result<u64, StoreError>;

    /// Moves a follower's cursor forward; a lower number than the stored one changes nothing, and neither
    /// does a stream that has no event.
    async fn advance_cursor(&self, cursor: CursorRecord) -> Result<(), StoreError>;

    /// Answers if the store can be read and written.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Who is woken when the store grows, also by other processes.
    fn tail(&self) -> &Tail;

    /// What caches of this process must hear of.
    fn changes(&self) -> &Changes;

    /// What keeps the line from growing when this node's disk has no room; none if the store is elsewhere.
    fn gate(&self) -> Option<&WriteGate> {
        None
    }

    /// Finishes what is under way and closes the store.
    async fn close(&self);
}
