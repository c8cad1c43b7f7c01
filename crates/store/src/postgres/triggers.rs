//! Rules, what they remember, and what was matched.

use async_trait::async_trait;
use bowline_types::{EventId, StreamId, TenantId, Timestamp};
use uuid::Uuid;

use super::PostgresStore;
use crate::{
    MatchCommit, ProcessedEvent, PutTrigger, StateKey, StoreError, TriggerChange, TriggerFilter,
    TriggerRecord, TriggerStore,
};

#[async_trait]
impl TriggerStore for PostgresStore {
    async fn put_trigger(
        &self,
        _trigger: TriggerRecord,
        _expected: Option<u64>,
        _per_tenant_max: u64,
    ) -> Result<PutTrigger, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn delete_trigger(
        &self,
        _tenant_id: TenantId,
        _trigger_id: Uuid,
        _now: Timestamp,
    ) -> Result<bool, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn trigger(&self, _trigger_id: Uuid) -> Result<Option<TriggerRecord>, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn triggers(&self, _filter: TriggerFilter) -> Result<(Vec<TriggerRecord>, u64), StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn trigger_changes(&self, _after: u64, _limit: usize) -> Result<Vec<TriggerChange>, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn trigger_state(&self, _keys: Vec<StateKey>) -> Result<Vec<(StateKey, String)>, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn state_of_trigger(
        &self,
        _trigger_id: Uuid,
        _limit: usize,
    ) -> Result<Vec<(StateKey, String, Timestamp)>, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn commit_matches(&self, _step: MatchCommit, _now: Timestamp) -> Result<(), StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn processed_event(
        &self,
        _stream: StreamId,
        _event_id: EventId,
    ) -> Result<Option<ProcessedEvent>, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn forget_processed(&self, _before: Timestamp, _limit: u64) -> Result<u64, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }
}
