//! Anchors and leases.

use std::time::Duration;

use async_trait::async_trait;
use bowline_types::{BatchId, StreamId, Timestamp};
use uuid::Uuid;

use super::PostgresStore;
use crate::anchors::{
    AnchorBacklog, AnchorBlock, AnchorFilter, AnchorRow, AnchorSend, AnchorTarget, AnchoredEnd, Lease,
    PendingStream, ReportOutcome, ReportedAnchor, SendChange,
};
use crate::{AnchorStore, CommitmentRecord, LeaseStore, StoreError};

fn unbuilt<T>() -> Result<T, StoreError> {
    Err(StoreError::Internal("unbuilt".to_owned()))
}

#[async_trait]
impl LeaseStore for PostgresStore {
    async fn take_lease(
        &self,
        _name: &str,
        _holder: Uuid,
        _ttl: Duration,
        _now: Timestamp,
    ) -> Result<Option<Lease>, StoreError> {
        unbuilt()
    }
    async fn release_lease(&self, _lease: &Lease) -> Result<(), StoreError> {
        unbuilt()
    }
    async fn lease(&self, _name: &str) -> Result<Option<Lease>, StoreError> {
        unbuilt()
    }
}

#[async_trait]
impl AnchorStore for PostgresStore {
    async fn anchor_target(&self) -> Result<Option<AnchorTarget>, StoreError> {
        unbuilt()
    }
    async fn choose_anchor_target(
        &self,
        _lease: &Lease,
        _target: AnchorTarget,
        _now: Timestamp,
    ) -> Result<(), StoreError> {
        unbuilt()
    }
    async fn pending_streams(&self, _limit: usize) -> Result<Vec<PendingStream>, StoreError> {
        unbuilt()
    }
    async fn pending_of(
        &self,
        _stream: StreamId,
        _limit: usize,
    ) -> Result<Vec<CommitmentRecord>, StoreError> {
        unbuilt()
    }
    async fn pending(&self, _limit: usize) -> Result<(Vec<CommitmentRecord>, u64), StoreError> {
        unbuilt()
    }
    async fn wake_anchoring(&self) -> Result<(), StoreError> {
        unbuilt()
    }
    async fn anchor_backlog(&self) -> Result<AnchorBacklog, StoreError> {
        unbuilt()
    }
    async fn record_send(&self, _lease: &Lease, _send: AnchorSend) -> Result<(), StoreError> {
        unbuilt()
    }
    async fn change_send(
        &self,
        _lease: &Lease,
        _send_id: Uuid,
        _change: SendChange,
        _now: Timestamp,
    ) -> Result<(), StoreError> {
        unbuilt()
    }
    async fn live_sends(&self) -> Result<Vec<AnchorSend>, StoreError> {
        unbuilt()
    }
    async fn anchored_ends(
        &self,
        _after: Option<StreamId>,
        _limit: usize,
    ) -> Result<Vec<AnchoredEnd>, StoreError> {
        unbuilt()
    }
    async fn unmark_anchors(
        &self,
        _lease: &Lease,
        _stream: StreamId,
        _after: u64,
        _reason: &str,
        _now: Timestamp,
    ) -> Result<u64, StoreError> {
        unbuilt()
    }
    async fn block_anchors(&self, _lease: &Lease, _block: AnchorBlock) -> Result<(), StoreError> {
        unbuilt()
    }
    async fn unblock_anchors(&self, _stream: Option<StreamId>) -> Result<u64, StoreError> {
        unbuilt()
    }
    async fn anchor_blocks(&self, _limit: usize) -> Result<Vec<AnchorBlock>, StoreError> {
        unbuilt()
    }
    async fn anchor_rows(&self, _filter: AnchorFilter) -> Result<Vec<AnchorRow>, StoreError> {
        unbuilt()
    }
    async fn sends_of(&self, _batch_id: BatchId) -> Result<Vec<AnchorSend>, StoreError> {
        unbuilt()
    }
    async fn report_anchor(
        &self,
        _report: ReportedAnchor,
        _now: Timestamp,
    ) -> Result<ReportOutcome, StoreError> {
        unbuilt()
    }
}
