//! Events in PostgreSQL.

pub(crate) mod append;
pub(crate) mod read;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bowline_types::{EventId, StreamId, Timestamp};
use bowline_ves::{Hash, SequencerSigner};

use crate::events::records::{AppendReport, Page, ReadQuery, StoredEvent, StreamHead, VerifiedBatch};
use crate::events::sequencing::Source;
use crate::metrics::record_append;
use crate::postgres::PostgresStore;
use crate::{ChangeKind, EventStore, StoreError};

#[async_trait]
impl EventStore for PostgresStore {
    async fn append(
        &self,
        batch: VerifiedBatch,
        signer: Arc<SequencerSigner>,
        now: Timestamp,
    ) -> Result<AppendReport, StoreError> {
        let began = Instant::now();
        let append = append::Append {
            batch: Arc::new(batch.events),
            keys_epoch: batch.keys_epoch,
            signer,
            now,
            source: Source::Client,
        };
        let appended = append.run(self.pool()?, &self.contention).await;
        if let Err(StoreError::KeysChanged { epoch }) = &appended {
            self.changes.observe(ChangeKind::AGENT_KEYS, *epoch);
        }
        let report = self.counted(appended)?;
        record_append(began.elapsed(), report.written());
        self.tell_planner(report.outcomes.len() as u64);
        for (stream, head) in &report.heads {
            self.tail.advance(*stream, *head);
        }
        Ok(report)
    }

    async fn read(&self, query: ReadQuery) -> Result<Page, StoreError> {
        self.counted(read::page(self.pool()?, &query).await)
    }

    async fn event(&self, stream: StreamId, event_id: EventId) -> Result<Option<StoredEvent>, StoreError> {
        self.counted(read::event(self.pool()?, stream, event_id).await)
    }

    async fn head(&self, stream: StreamId) -> Result<Option<StreamHead>, StoreError> {
        self.counted(read::head(self.pool()?, stream).await)
    }

    async fn streams(&self) -> Result<Vec<StreamHead>, StoreError> {
        self.counted(read::streams(self.pool()?).await)
    }

    async fn leaves(&self, stream: StreamId, start: u64, end: u64) -> Result<Vec<Hash>, StoreError> {
        self.counted(read::leaves(self.pool()?, stream, start, end).await)
    }
}
