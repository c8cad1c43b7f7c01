//! How far each chain is on the line.

use std::sync::Arc;

use async_trait::async_trait;
use bowline_types::Timestamp;
use bowline_ves::SequencerSigner;

use super::SqliteStore;
use crate::{AppendReport, BlockMark, ChainAdvance, ChainCheckpoint, SourceStore, StoreError, VerifiedBatch};

#[async_trait]
impl SourceStore for SqliteStore {
    async fn append_from_chain(
        &self,
        _advance: ChainAdvance,
        _batch: VerifiedBatch,
        _signer: Arc<SequencerSigner>,
        _now: Timestamp,
    ) -> Result<AppendReport, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn chain_checkpoint(&self, _chain_id: u64) -> Result<Option<ChainCheckpoint>, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn chain_checkpoints(&self) -> Result<Vec<ChainCheckpoint>, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn block_marks(&self, _chain_id: u64) -> Result<Vec<BlockMark>, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }
}
