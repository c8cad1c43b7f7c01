//! A commitment's place in the chain, and corrections, as a store keeps them.
//!
//! A wrong commitment stays where it is: only its metadata say that it was corrected, and by which.

use std::fmt::Debug;

use async_trait::async_trait;
use bowline_types::{BatchId, StreamId};
use bowline_ves::Commitment;

use crate::{CommitmentOrigin, CommitmentRecord, InsertCommitment, StoreError};

/// Where a commitment stands, and what was said about it since.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainPlace {
    /// Counts the stream's commitments and corrections, from 1.
    pub position: u64,
    /// The correction to rely on instead.
    pub corrected_by: Option<BatchId>,
    /// Why it was corrected, or of a correction why it was made.
    pub reason: Option<String>,
}

/// A correction to insert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCorrection {
    /// The correction; it names the commitment that it corrects.
    pub commitment: Commitment,
    /// The tree's upper levels.
    pub upper_levels: Vec<u8>,
    /// Who had asked for the commitment that it corrects.
    pub origin: CommitmentOrigin,
    /// Why, for people.
    pub reason: String,
}

/// Which part of a chain to read, in its order.
#[derive(Debug, Clone, Copy)]
pub struct ChainQuery {
    /// The stream.
    pub stream: StreamId,
    /// Only what stands behind this position.
    pub after: u64,
    /// Only corrections.
    pub corrections_only: bool,
    /// So many at most.
    pub limit: usize,
}

/// Where corrections live.
#[async_trait]
pub trait CorrectionStore: Debug + Send + Sync + 'static {
    /// Makes a correction the stream's last commitment and marks the one that it corrects, in one transaction, if
    /// its predecessor still is the last one and nobody else corrected the same commitment.
    ///
    /// # Errors
    /// [`StoreError::Internal`] if it names no commitment of its stream and range.
    async fn insert_correction(&self, new: NewCorrection) -> Result<InsertCommitment, StoreError>;

    /// A part of a stream's chain: ordinary commitments and corrections, each after its predecessor.
    async fn chain(&self, query: ChainQuery) -> Result<Vec<CommitmentRecord>, StoreError>;
}
