//! What a store keeps of commitments that were wrong.
//!
//! A wrong commitment stays where it is: only its metadata say that it was corrected, and by which.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::corrections::{ChainQuery, NewCorrection};
use crate::{CommitmentRecord, InsertCommitment, StoreError};

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
