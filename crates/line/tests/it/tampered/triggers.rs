//! The tampered store's triggers go to SQLite as they are.

use async_trait::async_trait;
use bowline_store::{
    MatchCommit, ProcessedEvent, PutTrigger, StateKey, StoreError, TriggerChange, TriggerFilter,
    TriggerRecord, TriggerStore,
};
use bowline_types::{EventId, StreamId, TenantId, Timestamp};
use uuid::Uuid;

use super::TamperedStore;

#[async_trait]
impl TriggerStore for TamperedStore {
    async fn put_trigger(
        &self,
        trigger: TriggerRecord,
        expected: Option<u64>,
        per_tenant_max: u64,
    ) -> Result<PutTrigger, StoreError> {
        self.store.put_trigger(trigger, expected, per_tenant_max).await
    }

    async fn delete_trigger(
        &self,
        tenant_id: TenantId,
        trigger_id: Uuid,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.store.delete_trigger(tenant_id, trigger_id, now).await
    }

    async fn trigger(&self, trigger_id: Uuid) -> Result<Option<TriggerRecord>, StoreError> {
        self.store.trigger(trigger_id).await
    }

    async fn triggers(&self, filter: TriggerFilter) -> Result<(Vec<TriggerRecord>, u64), StoreError> {
        self.store.triggers(filter).await
    }

    async fn trigger_changes(&self, after: u64, limit: usize) -> Result<Vec<TriggerChange>, StoreError> {
        self.store.trigger_changes(after, limit).await
    }

    async fn trigger_state(&self, keys: Vec<StateKey>) -> Result<Vec<(StateKey, String)>, StoreError> {
        self.store.trigger_state(keys).await
    }

    async fn state_of_trigger(
        &self,
        trigger_id: Uuid,
        limit: usize,
    ) -> Result<Vec<(StateKey, String, Timestamp)>, StoreError> {
        self.store.state_of_trigger(trigger_id, limit).await
    }

    async fn commit_matches(&self, step: MatchCommit, now: Timestamp) -> Result<(), StoreError> {
        self.store.commit_matches(step, now).await
    }

    async fn processed_event(
        &self,
        stream: StreamId,
        event_id: EventId,
    ) -> Result<Option<ProcessedEvent>, StoreError> {
        self.store.processed_event(stream, event_id).await
    }

    async fn forget_processed(&self, before: Timestamp, limit: u64) -> Result<u64, StoreError> {
        self.store.forget_processed(before, limit).await
    }
}
