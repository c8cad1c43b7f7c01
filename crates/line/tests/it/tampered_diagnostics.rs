//! Facts of the tampered store are those of the store within.

use async_trait::async_trait;
use bowline_store::{DeadLetterFacts, Diagnostics, Scope, StoreError, StoreFacts};
use bowline_types::{EventId, StreamId, Timestamp};

use crate::tampered::TamperedStore;

#[async_trait]
impl Diagnostics for TamperedStore {
    async fn database_time(&self) -> Result<Timestamp, StoreError> {
        self.store.database_time().await
    }

    async fn diagnose(&self, scope: Scope) -> Result<StoreFacts, StoreError> {
        self.store.diagnose(scope).await
    }

    async fn streams_of_event(&self, event_id: EventId) -> Result<Vec<StreamId>, StoreError> {
        self.store.streams_of_event(event_id).await
    }

    async fn dead_letters_of_event(&self, event_id: EventId) -> Result<Vec<DeadLetterFacts>, StoreError> {
        self.store.dead_letters_of_event(event_id).await
    }
}
