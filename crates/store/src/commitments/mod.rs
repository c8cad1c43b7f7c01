//! Commitments: what covers which events, each chained to its predecessor.
//!
//! A commitment is inserted only behind the stream's last one, and never deleted (invariant 8).

pub(crate) mod corrections;
pub(crate) mod postgres;
pub(crate) mod records;
pub(crate) mod sqlite;

use std::fmt::Debug;

use async_trait::async_trait;
use bowline_types::{BatchId, StreamId};
use bowline_ves::Commitment;

use self::records::{CommitmentFilter, CommitmentOrigin, CommitmentRecord, InsertCommitment};
use crate::StoreError;

/// Where commitments live.
#[async_trait]
pub trait CommitmentStore: Debug + Send + Sync + 'static {
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
}
