//! The contract of triggers and of matching.

pub(crate) mod postgres;
pub(crate) mod records;
pub(crate) mod sqlite;

use std::fmt::Debug;

use async_trait::async_trait;
use bowline_types::{EventId, StreamId, TenantId, Timestamp};
use uuid::Uuid;

use crate::StoreError;
use crate::triggers::records::{
    MatchCommit, ProcessedEvent, PutTrigger, StateKey, TriggerChange, TriggerFilter, TriggerRecord,
};

/// Where triggers live.
#[async_trait]
pub trait TriggerStore: Debug + Send + Sync + 'static {
    /// Writes a trigger as a whole. With `expected` it must be there with that revision, and be of that organization;
    /// without, it is new. Raises [`crate::ChangeKind::TRIGGERS`]; the raised epoch is the trigger's revision.
    async fn put_trigger(
        &self,
        trigger: TriggerRecord,
        expected: Option<u64>,
        per_tenant_max: u64,
    ) -> Result<PutTrigger, StoreError>;

    /// Deletes a trigger, its state and its circuit breaker; jobs of it that nobody has begun are cancelled. False if
    /// the organization has no such trigger.
    async fn delete_trigger(
        &self,
        tenant_id: TenantId,
        trigger_id: Uuid,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// One trigger.
    async fn trigger(&self, trigger_id: Uuid) -> Result<Option<TriggerRecord>, StoreError>;

    /// A page of triggers, ascending by time of making and id, and how many match in all.
    async fn triggers(&self, filter: TriggerFilter) -> Result<(Vec<TriggerRecord>, u64), StoreError>;

    /// What changed after a revision, ascending, `limit` at most. A reader that starts at 0 gets every trigger that is
    /// there; deletions are remembered for a week, and one that asks from before that starts at 0.
    async fn trigger_changes(&self, after: u64, limit: usize) -> Result<Vec<TriggerChange>, StoreError>;

    /// What is remembered under these keys; those that remember nothing are left out.
    async fn trigger_state(&self, keys: Vec<StateKey>) -> Result<Vec<(StateKey, String)>, StoreError>;

    /// A trigger's whole memory, `limit` entries at most, ascending by key.
    async fn state_of_trigger(
        &self,
        trigger_id: Uuid,
        limit: usize,
    ) -> Result<Vec<(StateKey, String, Timestamp)>, StoreError>;

    /// Writes a step of matching and moves the cursor, in one transaction.
    ///
    /// [`StoreError::CursorMoved`] if the cursor is not where the step starts: another process was faster, and nothing
    /// was written. Raises [`crate::ChangeKind::JOBS`] if there are jobs.
    async fn commit_matches(&self, step: MatchCommit, now: Timestamp) -> Result<(), StoreError>;

    /// Whether and how an event was matched, by follower.
    async fn processed_event(
        &self,
        stream: StreamId,
        event_id: EventId,
    ) -> Result<Option<ProcessedEvent>, StoreError>;

    /// Forgets rows of events that were matched before `before`, `limit` at most; returns how many.
    async fn forget_processed(&self, before: Timestamp, limit: u64) -> Result<u64, StoreError>;
}
