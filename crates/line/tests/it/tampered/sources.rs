//! The tampered store's sources go to SQLite as they are.

use std::sync::Arc;

use async_trait::async_trait;
use bowline_store::{BlockMark, ChainAdvance, ChainCheckpoint, SourceStore, StoreError, VerifiedBatch};
use bowline_types::Timestamp;
use bowline_ves::SequencerSigner;

use super::TamperedStore;

#[async_trait]
impl SourceStore for TamperedStore {
    async fn append_from_chain(
        &self,
        advance: ChainAdvance,
        batch: VerifiedBatch,
        signer: Arc<SequencerSigner>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.store.append_from_chain(advance, batch, signer, now).await
    }

    async fn chain_checkpoint(&self, chain_id: u64) -> Result<Option<ChainCheckpoint>, StoreError> {
        self.store.chain_checkpoint(chain_id).await
    }

    async fn chain_checkpoints(&self) -> Result<Vec<ChainCheckpoint>, StoreError> {
        self.store.chain_checkpoints().await
    }

    async fn block_marks(&self, chain_id: u64) -> Result<Vec<BlockMark>, StoreError> {
        self.store.block_marks(chain_id).await
    }
}
