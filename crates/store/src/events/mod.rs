//! Events: how they get their numbers, and how they are read.
//!
//! `sequencing` decides the order (pure, shared by both engines); `sqlite` and `postgres` write and read it in native
//! SQL. This module guards invariants 1 to 4: durable before the answer, dense numbers, replays, bytes as signed.

pub(crate) mod postgres;
pub(crate) mod receipts;
pub(crate) mod records;
pub(crate) mod sequencing;
pub(crate) mod sqlite;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bowline_types::{EventId, StreamId, Timestamp};
use bowline_ves::{Hash, SequencerSigner};

use self::records::{AppendReport, Page, ReadQuery, StoredEvent, StreamHead, VerifiedBatch};
use crate::StoreError;

/// Where events live, in the order that they got.
#[async_trait]
pub trait EventStore: Debug + Send + Sync + 'static {
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
}
