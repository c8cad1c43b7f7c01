//! Anchors: which contract they go to, calls of it on their way, and the marks on commitments.
//!
//! A mark and the send that it comes from change in one transaction. Whatever the anchoring process writes shares
//! its lease's row first, in the same transaction: a takeover waits for it, and what comes after one is refused. The
//! commitments' rows order the anchoring process and those who report anchors of their own.

mod audit;
mod read;
mod rows;
mod send;
mod target;

use async_trait::async_trait;
use bowline_types::{BatchId, StreamId, Timestamp};
use sqlx::PgTransaction;
use uuid::Uuid;

pub(crate) use self::audit::breaks;
use crate::tables::records::{
    AnchorBacklog, AnchorBlock, AnchorFilter, AnchorRow, AnchorSend, AnchorTarget, AnchoredEnd,
    PendingStream, ReportOutcome, ReportedAnchor, SendChange,
};
use crate::tables::{ANCHORS, AnchorStore};
use bowline_store::PostgresStore;
use bowline_store::tables::postgres::bump;
use bowline_store::tables::postgres::{refuse, refuse_commit};
use bowline_store::{CommitmentRecord, Lease, LineStore, StoreError};

/// Anchors' tables in PostgreSQL.
#[derive(Debug, Clone)]
pub(super) struct PostgresAnchors(pub(super) PostgresStore);

impl PostgresAnchors {
    async fn begin(&self) -> Result<PgTransaction<'static>, StoreError> {
        self.0.pool()?.begin().await.map_err(|e| refuse(&e))
    }

    /// A transaction that `lease` allows until its end.
    async fn begin_under(&self, lease: &Lease) -> Result<PgTransaction<'static>, StoreError> {
        let mut transaction = self.begin().await?;
        bowline_store::tables::postgres::hold(&mut transaction, lease).await?;
        Ok(transaction)
    }

    async fn choose(&self, lease: &Lease, target: AnchorTarget, now: Timestamp) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        bowline_store::tables::postgres::seize(&mut transaction, lease).await?;
        match target::choose(&mut transaction, target, now).await? {
            true => self.commit_news(transaction).await,
            false => commit(transaction).await,
        }
    }

    async fn record(&self, lease: &Lease, send: &AnchorSend) -> Result<(), StoreError> {
        let mut transaction = self.begin_under(lease).await?;
        send::record(&mut transaction, send).await?;
        commit(transaction).await
    }

    async fn change_under(
        &self,
        lease: &Lease,
        send_id: Uuid,
        change: &SendChange,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin_under(lease).await?;
        send::change(&mut transaction, send_id, change, now).await?;
        commit(transaction).await
    }

    async fn unmark(&self, lease: &Lease, lost: &send::Lost<'_>, now: Timestamp) -> Result<u64, StoreError> {
        let mut transaction = self.begin_under(lease).await?;
        let unmarked = send::unmark(&mut transaction, lost, now).await.map_err(|e| refuse(&e))?;
        commit(transaction).await?;
        Ok(unmarked)
    }

    async fn block(&self, lease: &Lease, block: &AnchorBlock) -> Result<(), StoreError> {
        let mut transaction = self.begin_under(lease).await?;
        target::block(&mut transaction, block).await?;
        commit(transaction).await
    }

    async fn unblock(&self, stream: Option<StreamId>) -> Result<u64, StoreError> {
        let mut transaction = self.begin().await?;
        let unblocked = target::unblock(&mut transaction, stream).await.map_err(|e| refuse(&e))?;
        self.commit_news(transaction).await?;
        Ok(unblocked)
    }

    async fn report(&self, report: &ReportedAnchor, now: Timestamp) -> Result<ReportOutcome, StoreError> {
        let mut transaction = self.begin().await?;
        let outcome = send::report(&mut transaction, report, now).await?;
        commit(transaction).await?;
        Ok(outcome)
    }

    /// Commits and tells everybody, this process at once.
    async fn commit_news(&self, mut transaction: PgTransaction<'static>) -> Result<(), StoreError> {
        let epoch = bump(&mut transaction, ANCHORS).await.map_err(|e| refuse(&e))?;
        commit(transaction).await?;
        self.0.changes().observe(ANCHORS, epoch);
        Ok(())
    }

    /// A transaction whose statements all see one moment.
    async fn begin_reading(&self) -> Result<PgTransaction<'static>, StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::raw_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .execute(&mut *transaction)
            .await
            .map_err(|e| refuse(&e))?;
        Ok(transaction)
    }

    async fn pending_page(&self, limit: usize) -> Result<(Vec<CommitmentRecord>, u64), StoreError> {
        let mut transaction = self.begin_reading().await?;
        read::pending(&mut transaction, limit).await.map_err(|e| refuse(&e))
    }

    async fn rows(&self, filter: AnchorFilter) -> Result<Vec<AnchorRow>, StoreError> {
        let mut transaction = self.begin_reading().await?;
        read::anchor_rows(&mut transaction, filter).await.map_err(|e| refuse(&e))
    }
}

async fn commit(transaction: PgTransaction<'static>) -> Result<(), StoreError> {
    transaction.commit().await.map_err(|e| refuse_commit(&e))
}

#[async_trait]
impl AnchorStore for PostgresAnchors {
    async fn anchor_target(&self) -> Result<Option<AnchorTarget>, StoreError> {
        self.0.counted(target::present(self.0.pool()?).await.map_err(|e| refuse(&e)))
    }

    async fn choose_anchor_target(
        &self,
        lease: &Lease,
        target: AnchorTarget,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.counted(self.choose(lease, target, now).await)
    }

    async fn pending_streams(&self, limit: usize) -> Result<Vec<PendingStream>, StoreError> {
        self.0.counted(read::pending_streams(self.0.pool()?, limit).await.map_err(|e| refuse(&e)))
    }

    async fn pending_of(&self, stream: StreamId, limit: usize) -> Result<Vec<CommitmentRecord>, StoreError> {
        self.0.counted(read::pending_of(self.0.pool()?, stream, limit).await.map_err(|e| refuse(&e)))
    }

    async fn pending(&self, limit: usize) -> Result<(Vec<CommitmentRecord>, u64), StoreError> {
        self.0.counted(self.pending_page(limit).await)
    }

    async fn wake_anchoring(&self) -> Result<(), StoreError> {
        let transaction = self.begin().await;
        let woken = match transaction {
            Ok(transaction) => self.commit_news(transaction).await,
            Err(error) => Err(error),
        };
        self.0.counted(woken)
    }

    async fn anchor_backlog(&self) -> Result<AnchorBacklog, StoreError> {
        self.0.counted(read::backlog(self.0.pool()?).await.map_err(|e| refuse(&e)))
    }

    async fn record_send(&self, lease: &Lease, send: AnchorSend) -> Result<(), StoreError> {
        self.0.counted(self.record(lease, &send).await)
    }

    async fn change_send(
        &self,
        lease: &Lease,
        send_id: Uuid,
        change: SendChange,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.counted(self.change_under(lease, send_id, &change, now).await)
    }

    async fn live_sends(&self) -> Result<Vec<AnchorSend>, StoreError> {
        self.0.counted(read::live_sends(self.0.pool()?).await.map_err(|e| refuse(&e)))
    }

    async fn anchored_ends(
        &self,
        after: Option<StreamId>,
        limit: usize,
    ) -> Result<Vec<AnchoredEnd>, StoreError> {
        self.0.counted(read::anchored_ends(self.0.pool()?, after, limit).await.map_err(|e| refuse(&e)))
    }

    async fn unmark_anchors(
        &self,
        lease: &Lease,
        stream: StreamId,
        after: u64,
        reason: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.0.counted(self.unmark(lease, &send::Lost { stream, after, reason }, now).await)
    }

    async fn block_anchors(&self, lease: &Lease, block: AnchorBlock) -> Result<(), StoreError> {
        self.0.counted(self.block(lease, &block).await)
    }

    async fn unblock_anchors(&self, stream: Option<StreamId>) -> Result<u64, StoreError> {
        self.0.counted(self.unblock(stream).await)
    }

    async fn anchor_blocks(&self, limit: usize) -> Result<Vec<AnchorBlock>, StoreError> {
        self.0.counted(target::blocks(self.0.pool()?, limit).await.map_err(|e| refuse(&e)))
    }

    async fn anchor_rows(&self, filter: AnchorFilter) -> Result<Vec<AnchorRow>, StoreError> {
        self.0.counted(self.rows(filter).await)
    }

    async fn sends_of(&self, batch_id: BatchId) -> Result<Vec<AnchorSend>, StoreError> {
        self.0.counted(read::sends_of(self.0.pool()?, batch_id).await.map_err(|e| refuse(&e)))
    }

    async fn report_anchor(
        &self,
        report: ReportedAnchor,
        now: Timestamp,
    ) -> Result<ReportOutcome, StoreError> {
        self.0.counted(self.report(&report, now).await)
    }
}
