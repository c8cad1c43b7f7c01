//! The contract of the anchors' outbox.
//!
//! Everything that the one anchoring process writes carries its [`Lease`]; it is refused with
//! [`StoreError::LeaseLost`] if another process has taken it since, and a takeover waits for writes under way.

mod outbox;
pub(crate) mod postgres;
mod records;
pub(crate) mod sqlite;

use async_trait::async_trait;
use bowline_types::{BatchId, StreamId, Timestamp};
use std::fmt::Debug;
use std::sync::Arc;
use uuid::Uuid;

pub use self::records::{
    AnchorBacklog, AnchorBlock, AnchorBreak, AnchorFilter, AnchorRow, AnchorSend, AnchorTarget,
    AnchorTransaction, AnchoredEnd, MinedAt, PendingStream, ReportOutcome, ReportedAnchor, SendChange,
    SendOrigin, SendState,
};
use bowline_store::{ChangeKind, CommitmentRecord, Engine, Lease, StoreError};

/// What the anchoring process should look at at once.
pub const ANCHORS: ChangeKind = ChangeKind::new("anchors");

/// Anchors' tables in that database.
pub fn open(engine: &Engine) -> Arc<dyn AnchorStore> {
    match engine {
        Engine::Sqlite(store) => Arc::new(sqlite::SqliteAnchors(store.clone())),
        Engine::Postgres(store) => Arc::new(postgres::PostgresAnchors(store.clone())),
    }
}

/// Where anchors live.
#[async_trait]
pub trait AnchorStore: Debug + Send + Sync + 'static {
    /// The contract that this store's anchors go to; none before the first one was chosen.
    async fn anchor_target(&self) -> Result<Option<AnchorTarget>, StoreError>;

    /// Makes it the one that anchors go to from now on.
    ///
    /// The marks of all commitments are replaced by what is known of the new target, in the same transaction:
    /// everything else is pending again. Sends to the old one that are open or mined become void, and
    /// [`ANCHORS`] is raised. Choosing the present one changes nothing.
    async fn choose_anchor_target(
        &self,
        lease: &Lease,
        target: AnchorTarget,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Streams with pending commitments, without those that are blocked: the one that waits longest first.
    async fn pending_streams(&self, limit: usize) -> Result<Vec<PendingStream>, StoreError>;

    /// A stream's pending commitments in the order of its chain.
    async fn pending_of(&self, stream: StreamId, limit: usize) -> Result<Vec<CommitmentRecord>, StoreError>;

    /// Pending commitments of all streams, the oldest first, and in the order of the chain within a stream; with
    /// how many there are.
    async fn pending(&self, limit: usize) -> Result<(Vec<CommitmentRecord>, u64), StoreError>;

    /// Raises [`ANCHORS`]: the anchoring process, wherever it runs, looks at once.
    async fn wake_anchoring(&self) -> Result<(), StoreError>;

    /// What waits, what is under way, what is done.
    async fn anchor_backlog(&self) -> Result<AnchorBacklog, StoreError>;

    /// Records a send, its transactions and its commitments. Its state may be open or, if it was found on the
    /// chain, mined. A commitment that is marked, or in another send to the same target that is not void, fails
    /// the call with [`StoreError::Internal`], and so does one that is not there, or another target than the present.
    async fn record_send(&self, lease: &Lease, send: AnchorSend) -> Result<(), StoreError>;

    /// Writes down what became of a send. [`SendChange::Anchored`] marks its commitments; they are marked with
    /// `now`, and its transactions and the bytes of its call are dropped. A change that does not fit the send's state
    /// fails with [`StoreError::Internal`]: only what is mined becomes anchored, and what is anchored or void stays
    /// so. To be told again that it is open, anchored or void changes nothing.
    async fn change_send(
        &self,
        lease: &Lease,
        send_id: Uuid,
        change: SendChange,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Sends to the present target that are open or mined, by nonce, those without one first.
    async fn live_sends(&self) -> Result<Vec<AnchorSend>, StoreError>;

    /// Ends of what is marked as anchored on the present target, by stream, only streams after `after`.
    async fn anchored_ends(
        &self,
        after: Option<StreamId>,
        limit: usize,
    ) -> Result<Vec<AnchoredEnd>, StoreError>;

    /// Takes the marks of a stream's commitments behind that position away, for that reason: the chain has lost
    /// them. Their sends become void if none of their commitments is marked any more. Marks of reports behind that
    /// position go, too. Returns how many it were.
    async fn unmark_anchors(
        &self,
        lease: &Lease,
        stream: StreamId,
        after: u64,
        reason: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError>;

    /// Sets a stream aside until [`Self::unblock_anchors`]; the first reason stays.
    async fn block_anchors(&self, lease: &Lease, block: AnchorBlock) -> Result<(), StoreError>;

    /// Lets a stream, or all streams, be tried again, and raises [`ANCHORS`], so that the
    /// anchoring process looks at once. Returns how many were blocked.
    async fn unblock_anchors(&self, stream: Option<StreamId>) -> Result<u64, StoreError>;

    /// Streams that are set aside, the oldest first.
    async fn anchor_blocks(&self, limit: usize) -> Result<Vec<AnchorBlock>, StoreError>;

    /// A stream's commitments in the order of its chain, each with its anchor.
    async fn anchor_rows(&self, filter: AnchorFilter) -> Result<Vec<AnchorRow>, StoreError>;

    /// Every send that ever held that commitment, void ones too, oldest first.
    async fn sends_of(&self, batch_id: BatchId) -> Result<Vec<AnchorSend>, StoreError>;

    /// Records somebody else's anchor: a send of the origin `reported` in the state `anchored`, and the mark. What was
    /// reported before another target was chosen may be reported again and is marked again. The send tells where it
    /// was mined only if the report names the block; the mark has the transaction in any case.
    async fn report_anchor(
        &self,
        report: ReportedAnchor,
        now: Timestamp,
    ) -> Result<ReportOutcome, StoreError>;
}
