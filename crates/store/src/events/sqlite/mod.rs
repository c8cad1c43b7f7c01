//! Events in SQLite.

pub(crate) mod append;
pub(crate) mod read;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bowline_types::{EventId, StreamId, Timestamp};
use bowline_ves::{Hash, SequencerSigner};
use rusqlite::Connection;

use crate::events::records::{AppendReport, Page, ReadQuery, StoredEvent, StreamHead, VerifiedBatch};
use crate::sqlite::SqliteStore;
use crate::{EventStore, StoreError, metrics};

#[async_trait]
impl EventStore for SqliteStore {
    async fn append(
        &self,
        batch: VerifiedBatch,
        signer: Arc<SequencerSigner>,
        now: Timestamp,
    ) -> Result<AppendReport, StoreError> {
        self.gate.pass().map_err(metrics::count_error)?;
        let (tail, heard) = (self.tail.clone(), self.changes.clone());
        let append = move |connection: &mut Connection| {
            let began = Instant::now();
            let report = append::append(connection, &heard, batch, &signer, now)?;
            metrics::record_append(began.elapsed(), report.written());
            // Here and not where the answer is awaited: the caller may be gone, and the followers still wait.
            for (stream, head) in &report.heads {
                tail.advance(*stream, *head);
            }
            Ok(report)
        };
        self.with_writer(append).await
    }

    async fn read(&self, query: ReadQuery) -> Result<Page, StoreError> {
        self.with_reader(move |connection| read::page(connection, &query)).await
    }

    async fn event(&self, stream: StreamId, event_id: EventId) -> Result<Option<StoredEvent>, StoreError> {
        self.with_reader(move |connection| read::event(connection, stream, event_id)).await
    }

    async fn head(&self, stream: StreamId) -> Result<Option<StreamHead>, StoreError> {
        self.with_reader(move |connection| read::head(connection, stream)).await
    }

    async fn streams(&self) -> Result<Vec<StreamHead>, StoreError> {
        self.with_reader(|connection| read::streams(connection)).await
    }

    async fn leaves(&self, stream: StreamId, start: u64, end: u64) -> Result<Vec<Hash>, StoreError> {
        self.with_reader(move |connection| read::leaves(connection, stream, start, end)).await
    }
}
