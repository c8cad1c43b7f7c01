//! Anchors: which contract they go to, calls of it on their way, and the marks on commitments.
//!
//! A mark and the send that it comes from change in one transaction. Whatever the anchoring process writes looks at
//! its lease first, in the same transaction.

mod audit;
mod read;
mod rows;
mod send;
mod target;

use async_trait::async_trait;
use bowline_types::{BatchId, StreamId, Timestamp};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use uuid::Uuid;

pub(crate) use self::audit::breaks;
use crate::tables::records::{
    AnchorBacklog, AnchorBlock, AnchorFilter, AnchorRow, AnchorSend, AnchorTarget, AnchoredEnd,
    PendingStream, ReportOutcome, ReportedAnchor, SendChange,
};
use crate::tables::{ANCHORS, AnchorStore};
use bowline_store::SqliteStore;
use bowline_store::tables::sqlite::Failure;
use bowline_store::tables::sqlite::bump;
use bowline_store::{CommitmentRecord, Lease, LineStore, StoreError};

/// Anchors' tables in SQLite.
#[derive(Debug, Clone)]
pub(super) struct SqliteAnchors(pub(super) SqliteStore);

impl SqliteAnchors {
    /// Runs `work` in a transaction that `lease` allows.
    async fn under<T, F>(&self, lease: &Lease, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        let lease = lease.clone();
        let run = move |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            bowline_store::tables::sqlite::hold(&transaction, &lease)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        self.0.with_writer(run).await
    }

    /// Runs `work` in a transaction, and raises the epoch of anchors with it if it says so.
    async fn raising<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<(T, bool), Failure> + Send + 'static,
    {
        let changes = self.0.changes().clone();
        let run = move |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let (done, is_news) = work(&transaction)?;
            let epoch = if is_news { bump(&transaction, ANCHORS)? } else { 0 };
            transaction.commit()?;
            changes.observe(ANCHORS, epoch);
            Ok(done)
        };
        self.0.with_writer(run).await
    }
}

#[async_trait]
impl AnchorStore for SqliteAnchors {
    async fn anchor_target(&self) -> Result<Option<AnchorTarget>, StoreError> {
        self.0.with_reader(|connection| target::present(connection)).await
    }

    async fn choose_anchor_target(
        &self,
        lease: &Lease,
        target: AnchorTarget,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let lease = lease.clone();
        let choose = move |transaction: &Transaction<'_>| {
            bowline_store::tables::sqlite::hold(transaction, &lease)?;
            Ok(((), target::choose(transaction, target, now)?))
        };
        self.raising(choose).await
    }

    async fn pending_streams(&self, limit: usize) -> Result<Vec<PendingStream>, StoreError> {
        self.0.with_reader(move |connection| read::pending_streams(connection, limit)).await
    }

    async fn pending_of(&self, stream: StreamId, limit: usize) -> Result<Vec<CommitmentRecord>, StoreError> {
        self.0.with_reader(move |connection| read::pending_of(connection, stream, limit)).await
    }

    async fn pending(&self, limit: usize) -> Result<(Vec<CommitmentRecord>, u64), StoreError> {
        self.0.with_reader(move |connection| read::pending(connection, limit)).await
    }

    async fn wake_anchoring(&self) -> Result<(), StoreError> {
        self.raising(|_| Ok(((), true))).await
    }

    async fn anchor_backlog(&self) -> Result<AnchorBacklog, StoreError> {
        self.0.with_reader(|connection| read::backlog(connection)).await
    }

    async fn record_send(&self, lease: &Lease, send: AnchorSend) -> Result<(), StoreError> {
        self.under(lease, move |transaction| send::record(transaction, &send)).await
    }

    async fn change_send(
        &self,
        lease: &Lease,
        send_id: Uuid,
        change: SendChange,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.under(lease, move |transaction| send::change(transaction, send_id, &change, now)).await
    }

    async fn live_sends(&self) -> Result<Vec<AnchorSend>, StoreError> {
        self.0.with_reader(read::live_sends).await
    }

    async fn anchored_ends(
        &self,
        after: Option<StreamId>,
        limit: usize,
    ) -> Result<Vec<AnchoredEnd>, StoreError> {
        self.0.with_reader(move |connection| read::anchored_ends(connection, after, limit)).await
    }

    async fn unmark_anchors(
        &self,
        lease: &Lease,
        stream: StreamId,
        after: u64,
        reason: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let reason = reason.to_owned();
        self.under(lease, move |transaction| send::unmark(transaction, stream, after, &reason, now)).await
    }

    async fn block_anchors(&self, lease: &Lease, block: AnchorBlock) -> Result<(), StoreError> {
        self.under(lease, move |transaction| target::block(transaction, &block)).await
    }

    async fn unblock_anchors(&self, stream: Option<StreamId>) -> Result<u64, StoreError> {
        self.raising(move |transaction| Ok((target::unblock(transaction, stream)?, true))).await
    }

    async fn anchor_blocks(&self, limit: usize) -> Result<Vec<AnchorBlock>, StoreError> {
        self.0.with_reader(move |connection| target::blocks(connection, limit)).await
    }

    async fn anchor_rows(&self, filter: AnchorFilter) -> Result<Vec<AnchorRow>, StoreError> {
        self.0.with_reader(move |connection| read::anchor_rows(connection, filter)).await
    }

    async fn sends_of(&self, batch_id: BatchId) -> Result<Vec<AnchorSend>, StoreError> {
        self.0.with_reader(move |connection| read::sends_of(connection, batch_id)).await
    }

    async fn report_anchor(
        &self,
        report: ReportedAnchor,
        now: Timestamp,
    ) -> Result<ReportOutcome, StoreError> {
        let record = move |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let outcome = send::report(&transaction, &report, now)?;
            transaction.commit()?;
            Ok(outcome)
        };
        self.0.with_writer(record).await
    }
}
