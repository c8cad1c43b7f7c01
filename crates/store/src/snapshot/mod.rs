//! One moment of a whole store, read without writing anything: what an audit and a backup go by.
//!
//! A [`Snapshot`] reads what is there and not what should be there: an event that can't be read is an
//! [`Unreadable`] among its neighbours and not an error, and whatever lies beyond a counter is read too. It
//! needs no lock on the data folder, takes none that a writer would wait for, and judges nothing itself.

pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::fmt::Debug;

use async_trait::async_trait;
use bowline_types::{AgentId, StreamId, TenantId};
use bowline_ves::Hash;
use sqlx::PgConnection;
use uuid::Uuid;

use self::sqlite::SqliteSnapshot;
use crate::{CommitmentRecord, CursorRecord, SequencerKeyRecord, StoreError, StoredEvent};

/// A consistent view of a store that other processes may go on writing.
#[async_trait]
pub trait Snapshot: Debug + Send {
    /// The engine's name, `sqlite` or `postgres`.
    fn engine(&self) -> &'static str;

    /// The schema version that the store has.
    fn schema_version(&self) -> i64;

    /// What the engine says of its own files, indexes and references: at most `limit` problems.
    async fn engine_problems(&mut self, limit: usize) -> Result<Vec<EngineProblem>, StoreError>;

    /// Every stream of which there is any trace, ascending by id.
    async fn streams(&mut self) -> Result<Vec<StreamTrace>, StoreError>;

    /// The events from sequence number `from` upwards, ascending: at most `limit`, and no further one once
    /// their payloads have more than `bytes_max` bytes. Empty when there are no more.
    async fn events(
        &mut self,
        stream: StreamId,
        from: u64,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<EventTrace>, StoreError>;

    /// A stream's commitments behind the one with that first number and that place in the chain, ascending by
    /// both, `limit` at most.
    async fn commitments(
        &mut self,
        stream: StreamId,
        after: (u64, u64),
        limit: usize,
    ) -> Result<Vec<CommitmentTrace>, StoreError>;

    /// A stream's commitments behind that place in the chain, in the chain's order and without their upper tree
    /// levels, `limit` at most.
    async fn chain(
        &mut self,
        stream: StreamId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<CommitmentTrace>, StoreError>;

    /// The state root after a stream's last commitment.
    async fn last_state_root(&mut self, stream: StreamId) -> Result<Option<Hash>, StoreError>;

    /// Events whose entity version does not follow that of the entity's event before, `limit` at most.
    async fn entity_breaks(
        &mut self,
        of: Option<StreamId>,
        limit: usize,
    ) -> Result<Vec<EntityBreak>, StoreError>;

    /// Event and command ids that several events of a stream have, `limit` at most of each kind.
    async fn repeated_ids(
        &mut self,
        of: Option<StreamId>,
        limit: usize,
    ) -> Result<Vec<RepeatedId>, StoreError>;

    /// The connection of the view, for a subsystem that reads tables of its own in the same moment.
    fn connection(&mut self) -> SnapshotConnection<'_>;

    /// Where every follower is, ascending by follower and stream.
    async fn cursors(&mut self) -> Result<Vec<CursorRecord>, StoreError>;

    /// The bytes of an agent's registered key, whatever its status.
    async fn agent_key(
        &mut self,
        tenant_id: TenantId,
        agent_id: AgentId,
        key_id: u32,
    ) -> Result<Option<[u8; 32]>, StoreError>;

    /// Every sequencer key, ascending by version.
    async fn sequencer_keys(&mut self) -> Result<Vec<SequencerKeyRecord>, StoreError>;
}

/// The connection of a [`Snapshot`]: which engine's SQL it takes.
#[derive(Debug)]
pub enum SnapshotConnection<'s> {
    /// A read transaction on the file; [`SqliteSnapshot::run`] reads in it.
    Sqlite(&'s SqliteSnapshot),
    /// A transaction that only reads.
    Postgres(&'s mut PgConnection),
}

/// What an engine found wrong with itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineProblem {
    /// The stream that it concerns, if it concerns one.
    pub stream: Option<StreamId>,
    /// What was checked, such as `integrity_check`.
    pub check: &'static str,
    /// What should be the case.
    pub expected: String,
    /// What is the case, as the engine says it.
    pub found: String,
}

/// What a store has of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamTrace {
    /// The stream.
    pub stream: StreamId,
    /// What its counter says; none if it has no counter.
    pub counter: Option<u64>,
    /// The highest sequence number that an event has; 0 if there is no event.
    pub last_event: u64,
    /// The highest sequence number that a leaf has, where leaves are kept apart; else `last_event`.
    pub last_leaf: u64,
    /// How many events the table itself has, where an index could hide some and the engine does not tell.
    pub rows: Option<u64>,
}

/// A row that can't be read as what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable(pub String);

/// An event as it lies in the store.
#[derive(Debug, Clone)]
pub struct EventTrace {
    /// Its number.
    pub sequence_number: u64,
    /// The stored leaf; none if there is none, or none of 32 bytes.
    pub leaf: Option<Hash>,
    /// The event.
    pub event: Result<StoredEvent, Unreadable>,
}

/// A commitment as it lies in the store.
#[derive(Debug, Clone)]
pub struct CommitmentTrace {
    /// Its first number.
    pub sequence_start: u64,
    /// Its place in the chain, from 1.
    pub chain_position: u64,
    /// The commitment with its upper tree levels.
    pub commitment: Result<(CommitmentRecord, Vec<u8>), Unreadable>,
}

/// An event with an entity version that is not the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityBreak {
    /// The stream.
    pub stream: StreamId,
    /// The event.
    pub sequence_number: u64,
    /// The entity's type.
    pub entity_type: String,
    /// The entity.
    pub entity_id: String,
    /// One more than the entity's event before has, or 1.
    pub expected: u64,
    /// What the event has.
    pub found: i64,
}

/// An id that is there more than once in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepeatedId {
    /// The stream.
    pub stream: StreamId,
    /// `event_id` or `command_id`.
    pub kind: &'static str,
    /// The id.
    pub id: Uuid,
    /// The first event that has it.
    pub first: u64,
    /// The last event that has it.
    pub last: u64,
    /// How many have it.
    pub count: u64,
}
