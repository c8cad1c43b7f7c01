//! The embedded store with a hand on every call that a test may want to hold, change or refuse.
//!
//! What is not tampered with goes to SQLite as it is, and so does the contract: a tampered call is either
//! refused before it reaches the store or answered from what the store said.

mod jobs;
mod leases;
mod letters;
mod registries;
mod sources;
mod triggers;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bowline_store::{
    AppendReport, Changes, CommitmentFilter, CommitmentOrigin, CommitmentRecord, CommitmentStore, CursorLag,
    CursorRecord, CursorStore, Engine, EventStore, InsertCommitment, LineStore, Page, ReadQuery, SqliteStore,
    StoreError, StoredEvent, StreamHead, Tail, VerifiedBatch,
};
use bowline_types::{BatchId, EventId, StreamId, Timestamp};
use bowline_ves::{Commitment, Hash, SequencerSigner};
use tokio::sync::watch;

use crate::support::soon;

type Hook<A> = Mutex<Option<Box<dyn FnMut(A) -> Option<StoreError> + Send>>>;

/// A store that can be tampered with.
pub(crate) struct TamperedStore {
    pub(crate) store: SqliteStore,
    /// While this is false, appends wait.
    open: watch::Sender<bool>,
    append_sizes: watch::Sender<Vec<usize>>,
    on_append: Hook<Vec<EventId>>,
    on_read: Hook<u64>,
    pub(crate) reads: AtomicUsize,
    /// How many times the streams were listed: once in each pass of a reconciler.
    pub(crate) listings: AtomicUsize,
    pub(crate) key_look_ups: AtomicUsize,
    /// Whether every agent key has been revoked behind the line's back.
    pub(crate) revoked: AtomicBool,
    pub(crate) keys_away: AtomicBool,
    pub(crate) letters_away: AtomicBool,
    /// Whether wake-ups and news of changes are lost.
    pub(crate) deaf: AtomicBool,
    silence: Tail,
    standstill: Changes,
    /// The stream whose leaves can't be read.
    pub(crate) leafless: Mutex<Option<StreamId>>,
}

impl std::fmt::Debug for TamperedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TamperedStore").field("store", &self.store).finish_non_exhaustive()
    }
}

impl TamperedStore {
    pub(crate) fn new(store: SqliteStore) -> Self {
        Self {
            store,
            open: watch::Sender::new(true),
            append_sizes: watch::Sender::default(),
            on_append: Hook::default(),
            on_read: Hook::default(),
            reads: AtomicUsize::default(),
            listings: AtomicUsize::default(),
            key_look_ups: AtomicUsize::default(),
            revoked: AtomicBool::default(),
            keys_away: AtomicBool::default(),
            letters_away: AtomicBool::default(),
            deaf: AtomicBool::default(),
            silence: Tail::default(),
            standstill: Changes::default(),
            leafless: Mutex::default(),
        }
    }

    /// Lets appends wait from now on.
    pub(crate) fn hold_appends(&self) {
        self.open.send_replace(false);
    }

    /// Lets the waiting appends go on, and all later ones.
    pub(crate) fn release_appends(&self) {
        self.open.send_replace(true);
    }

    /// How many events each append brought, whether it succeeded or not.
    pub(crate) fn append_sizes(&self) -> Vec<usize> {
        self.append_sizes.borrow().clone()
    }

    /// Waits until so many appends have reached the store.
    pub(crate) async fn appends_reach(&self, count: usize) {
        soon(self.append_sizes.subscribe().wait_for(|sizes| sizes.len() >= count)).await.unwrap();
    }

    /// Looks at the ids of each append, and may refuse it.
    pub(crate) fn on_append(&self, hook: impl FnMut(Vec<EventId>) -> Option<StoreError> + Send + 'static) {
        *self.on_append.lock().unwrap() = Some(Box::new(hook));
    }

    /// Looks at the first number of each read, and may refuse it.
    pub(crate) fn on_read(&self, hook: impl FnMut(u64) -> Option<StoreError> + Send + 'static) {
        *self.on_read.lock().unwrap() = Some(Box::new(hook));
    }
}

fn refusal<A>(hook: &Hook<A>, argument: A) -> Result<(), StoreError> {
    hook.lock().unwrap().as_mut().and_then(|hook| hook(argument)).map_or(Ok(()), Err)
}

#[async_trait]
impl LineStore for TamperedStore {
    fn engine(&self) -> Engine {
        self.store.engine()
    }

    fn schema_version(&self) -> i64 {
        self.store.schema_version()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.store.ping().await
    }

    fn tail(&self) -> &Tail {
        if self.deaf.load(Ordering::SeqCst) { &self.silence } else { self.store.tail() }
    }

    fn changes(&self) -> &Changes {
        if self.deaf.load(Ordering::SeqCst) { &self.standstill } else { self.store.changes() }
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

#[async_trait]
impl EventStore for TamperedStore {
    async fn append(
        &self,
        batch: VerifiedBatch,
        signer: Arc<SequencerSigner>,
        now: Timestamp,
    ) -> Result<AppendReport, StoreError> {
        self.append_sizes.send_modify(|sizes| sizes.push(batch.events.len()));
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
        refusal(&self.on_append, crate::events::ids(&batch.events))?;
        self.store.append(batch, signer, now).await
    }

    async fn read(&self, query: ReadQuery) -> Result<Page, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        refusal(&self.on_read, query.from)?;
        self.store.read(query).await
    }

    async fn event(&self, stream: StreamId, event_id: EventId) -> Result<Option<StoredEvent>, StoreError> {
        self.store.event(stream, event_id).await
    }

    async fn head(&self, stream: StreamId) -> Result<Option<StreamHead>, StoreError> {
        self.store.head(stream).await
    }

    async fn streams(&self) -> Result<Vec<StreamHead>, StoreError> {
        self.listings.fetch_add(1, Ordering::SeqCst);
        self.store.streams().await
    }

    async fn leaves(&self, stream: StreamId, start: u64, end: u64) -> Result<Vec<Hash>, StoreError> {
        if *self.leafless.lock().unwrap() == Some(stream) {
            return Err(StoreError::Internal("a leaf is missing".to_owned()));
        }
        self.store.leaves(stream, start, end).await
    }
}

#[async_trait]
impl CommitmentStore for TamperedStore {
    async fn insert_commitment(
        &self,
        commitment: Commitment,
        upper_levels: Vec<u8>,
        origin: CommitmentOrigin,
    ) -> Result<InsertCommitment, StoreError> {
        self.store.insert_commitment(commitment, upper_levels, origin).await
    }

    async fn commitment(&self, batch_id: BatchId) -> Result<Option<CommitmentRecord>, StoreError> {
        self.store.commitment(batch_id).await
    }

    async fn last_commitment(&self, stream: StreamId) -> Result<Option<CommitmentRecord>, StoreError> {
        self.store.last_commitment(stream).await
    }

    async fn commitment_covering(
        &self,
        stream: StreamId,
        sequence_number: u64,
    ) -> Result<Option<CommitmentRecord>, StoreError> {
        self.store.commitment_covering(stream, sequence_number).await
    }

    async fn commitments(&self, filter: CommitmentFilter) -> Result<Vec<CommitmentRecord>, StoreError> {
        self.store.commitments(filter).await
    }

    async fn commitment_upper_levels(&self, batch_id: BatchId) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.commitment_upper_levels(batch_id).await
    }
}

#[async_trait]
impl CursorStore for TamperedStore {
    async fn cursor(&self, follower: &str, stream: StreamId) -> Result<u64, StoreError> {
        self.store.cursor(follower, stream).await
    }

    async fn advance_cursor(&self, cursor: CursorRecord) -> Result<(), StoreError> {
        self.store.advance_cursor(cursor).await
    }

    async fn lagging(
        &self,
        follower: &str,
        after: Option<StreamId>,
        limit: usize,
    ) -> Result<Vec<CursorLag>, StoreError> {
        self.store.lagging(follower, after, limit).await
    }
}
