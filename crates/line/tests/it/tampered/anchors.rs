//! Anchors and leases of the tampered store: nobody tampers with these, so they go to SQLite as they are.
//! What becomes of them is the store's own test's business.

use std::time::Duration;

use async_trait::async_trait;
use bowline_store::{
    AnchorBacklog, AnchorBlock, AnchorFilter, AnchorRow, AnchorSend, AnchorStore, AnchorTarget, AnchoredEnd,
    CommitmentRecord, Lease, LeaseStore, PendingStream, ReportOutcome, ReportedAnchor, SendChange,
    StoreError,
};
use bowline_types::{BatchId, StreamId, Timestamp};
use uuid::Uuid;

use super::TamperedStore;

#[async_trait]
impl LeaseStore for TamperedStore {
    async fn take_lease(
        &self,
        name: &str,
        holder: Uuid,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Option<Lease>, StoreError> {
        self.store.take_lease(name, holder, ttl, now).await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        self.store.release_lease(lease).await
    }

    async fn lease(&self, name: &str) -> Result<Option<Lease>, StoreError> {
        self.store.lease(name).await
    }
}

#[async_trait]
impl AnchorStore for TamperedStore {
    async fn anchor_target(&self) -> Result<Option<AnchorTarget>, StoreError> {
        self.store.anchor_target().await
    }

    async fn choose_anchor_target(
        &self,
        lease: &Lease,
        target: AnchorTarget,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.store.choose_anchor_target(lease, target, now).await
    }

    async fn pending_streams(&self, limit: usize) -> Result<Vec<PendingStream>, StoreError> {
        self.store.pending_streams(limit).await
    }

    async fn pending_of(&self, stream: StreamId, limit: usize) -> Result<Vec<CommitmentRecord>, StoreError> {
        self.store.pending_of(stream, limit).await
    }

    async fn pending(&self, limit: usize) -> Result<(Vec<CommitmentRecord>, u64), StoreError> {
        self.store.pending(limit).await
    }

    async fn wake_anchoring(&self) -> Result<(), StoreError> {
        self.store.wake_anchoring().await
    }

    async fn anchor_backlog(&self) -> Result<AnchorBacklog, StoreError> {
        self.store.anchor_backlog().await
    }

    async fn record_send(&self, lease: &Lease, send: AnchorSend) -> Result<(), StoreError> {
        self.store.record_send(lease, send).await
    }

    async fn change_send(
        &self,
        lease: &Lease,
        send_id: Uuid,
        change: SendChange,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.store.change_send(lease, send_id, change, now).await
    }

    async fn live_sends(&self) -> Result<Vec<AnchorSend>, StoreError> {
        self.store.live_sends().await
    }

    async fn anchored_ends(
        &self,
        after: Option<StreamId>,
        limit: usize,
    ) -> Result<Vec<AnchoredEnd>, StoreError> {
        self.store.anchored_ends(after, limit).await
    }

    async fn unmark_anchors(
        &self,
        lease: &Lease,
        stream: StreamId,
        after: u64,
        reason: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.store.unmark_anchors(lease, stream, after, reason, now).await
    }

    async fn block_anchors(&self, lease: &Lease, block: AnchorBlock) -> Result<(), StoreError> {
        self.store.block_anchors(lease, block).await
    }

    async fn unblock_anchors(&self, stream: Option<StreamId>) -> Result<u64, StoreError> {
        self.store.unblock_anchors(stream).await
    }

    async fn anchor_blocks(&self, limit: usize) -> Result<Vec<AnchorBlock>, StoreError> {
        self.store.anchor_blocks(limit).await
    }

    async fn anchor_rows(&self, filter: AnchorFilter) -> Result<Vec<AnchorRow>, StoreError> {
        self.store.anchor_rows(filter).await
    }

    async fn sends_of(&self, batch_id: BatchId) -> Result<Vec<AnchorSend>, StoreError> {
        self.store.sends_of(batch_id).await
    }

    async fn report_anchor(
        &self,
        report: ReportedAnchor,
        now: Timestamp,
    ) -> Result<ReportOutcome, StoreError> {
        self.store.report_anchor(report, now).await
    }
}
