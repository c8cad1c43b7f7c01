//! The contract of sources: what they write and how far that brings them is one transaction.

pub(crate) mod postgres;
pub(crate) mod records;
pub(crate) mod sqlite;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bowline_types::Timestamp;
use bowline_ves::SequencerSigner;

use crate::StoreError;
use crate::events::records::VerifiedBatch;
use crate::sources::records::{BlockMark, ChainAdvance, ChainCheckpoint};

/// Where sources keep their place.
#[async_trait]
pub trait SourceStore: Debug + Send + Sync + 'static {
    /// Appends a batch (it may be empty) and moves a chain's checkpoint with it, in one transaction; returns where the
    /// stream is then. Receipts are kept without signatures: `signer` is only named in them.
    ///
    /// - [`StoreError::SourceMoved`] if the stored checkpoint is not the expected one: another process indexes that
    ///   chain, or an earlier call of this one arrived after all. Nothing was written.
    /// - Every event of the batch MUST be new and is written in the order given; one that is there already fails the
    ///   call with [`StoreError::Internal`], and nothing was written.
    /// - Otherwise as [`crate::LineStore::append`], and readers of the tail are woken alike.
    /// - Of a chain's marks the newest 1,024 are kept, and the newest one always.
    async fn append_from_chain(
        &self,
        advance: ChainAdvance,
        batch: VerifiedBatch,
        signer: Arc<SequencerSigner>,
        now: Timestamp,
    ) -> Result<u64, StoreError>;

    /// How far a chain is; none if it was never indexed.
    async fn chain_checkpoint(&self, chain_id: u64) -> Result<Option<ChainCheckpoint>, StoreError>;

    /// Every chain, ascending by id.
    async fn chain_checkpoints(&self) -> Result<Vec<ChainCheckpoint>, StoreError>;

    /// The marks that are kept of a chain, the newest first.
    async fn block_marks(&self, chain_id: u64) -> Result<Vec<BlockMark>, StoreError>;
}
