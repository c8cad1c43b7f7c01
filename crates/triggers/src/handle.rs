//! All that callers may do with triggers: make, change, explain and try them out.
//!
//! Every call names the organization, and another one's triggers are absent to it. Events are matched elsewhere.

mod backtest;
mod backtest_cursor;
mod backtests;
mod breaker;
mod compose;
mod dry_run;
mod explanation;
mod parts;

use std::sync::Arc;

use bowline_deliveries::ActionRules;
use bowline_store::{ChangeKind, PutTrigger, StateKey, StoreError, TriggerFilter, TriggerRecord};
use bowline_types::{StreamId, TenantId, Timestamp};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

pub use self::backtest::{Backtest, BacktestQuery, Bucket, Fired};
use self::backtests::Backtests;
pub use self::dry_run::{EventRef, Rule};
pub use self::explanation::{Compared, ConditionExplanation, EventSummary, Explanation, ScopeCheck};
use crate::input::{TriggerChanges, TriggerInput, TriggerView};
use crate::service::Dependencies;
use crate::{Config, Missing, TriggerError};

/// Which of an organization's triggers to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct TriggerList {
    /// Only those that are, or are not, matched.
    pub enabled: Option<bool>,
    /// Only of that chain.
    pub chain_id: Option<u64>,
    /// How many to leave out first.
    pub offset: u64,
    /// How many at most.
    pub limit: usize,
}

/// The state of one condition for one subject.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConditionState {
    /// The condition.
    pub condition_id: Uuid,
    /// The stream of the events.
    pub stream: StreamId,
    /// The agent; empty for events without one.
    pub subject: String,
    /// Its state.
    pub state: Value,
    /// Since when.
    pub updated_at: Timestamp,
}

/// What may be done with triggers; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    dependencies: Dependencies,
    backtests: Backtests,
}

impl Handle {
    pub(crate) fn new(config: Config, dependencies: Dependencies) -> Self {
        let backtests = Backtests::new(config.backtests_max);
        Self(Arc::new(Inner { config, dependencies, backtests }))
    }

    /// Makes a trigger.
    ///
    /// # Errors
    /// [`TriggerError::Invalid`], [`TriggerError::TooMany`], or the store's.
    pub async fn create(
        &self,
        tenant_id: TenantId,
        input: TriggerInput,
    ) -> Result<TriggerView, TriggerError> {
        let now = self.now();
        let record = compose::new_record(tenant_id, input, self.actions(), now)?;
        self.put(record, None).await
    }

    /// One trigger.
    ///
    /// # Errors
    /// [`TriggerError::Absent`], or the store's.
    pub async fn get(&self, tenant_id: TenantId, trigger_id: Uuid) -> Result<TriggerView, TriggerError> {
        Ok(self.view(&self.record(tenant_id, trigger_id).await?))
    }

    /// A page of triggers, the oldest first, and how many match in all.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(
        &self,
        tenant_id: TenantId,
        list: TriggerList,
    ) -> Result<(Vec<TriggerView>, u64), TriggerError> {
        let TriggerList { enabled, chain_id, offset, limit } = list;
        let filter = TriggerFilter { tenant_id: Some(tenant_id), enabled, chain_id, offset, limit };
        let (records, total) = self.0.dependencies.store.triggers(filter).await?;
        Ok((records.iter().map(|record| self.view(record)).collect(), total))
    }

    /// A page of the triggers of all organizations, each with its own, and how many match in all.
    ///
    /// # Errors
    /// The store's.
    pub async fn list_all(
        &self,
        list: TriggerList,
    ) -> Result<(Vec<(TenantId, TriggerView)>, u64), TriggerError> {
        let TriggerList { enabled, chain_id, offset, limit } = list;
        let filter = TriggerFilter { tenant_id: None, enabled, chain_id, offset, limit };
        let (records, total) = self.0.dependencies.store.triggers(filter).await?;
        Ok((records.iter().map(|record| (record.tenant_id, self.view(record))).collect(), total))
    }

    /// The organization of a trigger.
    ///
    /// # Errors
    /// [`TriggerError::Absent`], or the store's.
    pub async fn owner(&self, trigger_id: Uuid) -> Result<TenantId, TriggerError> {
        let found = self.0.dependencies.store.trigger(trigger_id).await?;
        found.map(|record| record.tenant_id).ok_or(TriggerError::Absent(Missing::Trigger))
    }

    /// Writes a trigger anew, as a whole. Conditions and actions that are the same, or name the one that they
    /// replace, keep their ids, and with them what they remember.
    ///
    /// # Errors
    /// [`TriggerError::Changed`] if the revision is not `expected`, and as [`Self::create`].
    pub async fn update(
        &self,
        tenant_id: TenantId,
        trigger_id: Uuid,
        input: TriggerInput,
        expected: Option<u64>,
    ) -> Result<TriggerView, TriggerError> {
        self.rewrite(tenant_id, trigger_id, expected, |_| Ok(input.clone())).await
    }

    /// Changes what is named.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub async fn change(
        &self,
        tenant_id: TenantId,
        trigger_id: Uuid,
        changes: TriggerChanges,
        expected: Option<u64>,
    ) -> Result<TriggerView, TriggerError> {
        self.rewrite(tenant_id, trigger_id, expected, |input| Ok(compose::changed(input, changes.clone())))
            .await
    }

    /// Deletes a trigger, its state, and its jobs that no worker has begun.
    ///
    /// # Errors
    /// [`TriggerError::Absent`], or the store's.
    pub async fn delete(&self, tenant_id: TenantId, trigger_id: Uuid) -> Result<(), TriggerError> {
        let deleted = self.0.dependencies.store.delete_trigger(tenant_id, trigger_id, self.now()).await?;
        if deleted { Ok(()) } else { Err(TriggerError::Absent(Missing::Trigger)) }
    }

    /// The state of a trigger's conditions, `limit` entries at most.
    ///
    /// # Errors
    /// [`TriggerError::Absent`], or the store's.
    pub async fn trigger_state(
        &self,
        tenant_id: TenantId,
        trigger_id: Uuid,
        limit: usize,
    ) -> Result<Vec<ConditionState>, TriggerError> {
        self.record(tenant_id, trigger_id).await?;
        let state = self.0.dependencies.store.state_of_trigger(trigger_id, limit).await?;
        let shown = state.into_iter().map(|(key, text, updated_at)| {
            let StateKey { condition_id, stream, subject, .. } = key;
            let state = serde_json::from_str(&text).unwrap_or(Value::String(text));
            ConditionState { condition_id, stream, subject, state, updated_at }
        });
        Ok(shown.collect())
    }

    /// The revision up to which this process knows that triggers changed.
    pub fn revision(&self) -> u64 {
        self.0.dependencies.store.changes().epoch(ChangeKind::TRIGGERS)
    }

    /// Reads a trigger, changes it and writes it; again if another call changed it meanwhile and the caller named no
    /// revision.
    async fn rewrite(
        &self,
        tenant_id: TenantId,
        trigger_id: Uuid,
        expected: Option<u64>,
        make: impl Fn(TriggerInput) -> Result<TriggerInput, TriggerError>,
    ) -> Result<TriggerView, TriggerError> {
        loop {
            let before = self.record(tenant_id, trigger_id).await?;
            if expected.is_some_and(|expected| expected != before.revision) {
                return Err(TriggerError::Changed { revision: before.revision });
            }
            let input = make(self.view(&before).into_input())?;
            let revision = before.revision;
            let record = compose::next_record(before, input, self.actions(), self.now())?;
            match self.put(record, Some(revision)).await {
                Err(TriggerError::Changed { .. }) if expected.is_none() => {}
                done => return done,
            }
        }
    }

    async fn put(
        &self,
        mut record: TriggerRecord,
        expected: Option<u64>,
    ) -> Result<TriggerView, TriggerError> {
        let Inner { config, dependencies, .. } = &*self.0;
        match dependencies.store.put_trigger(record.clone(), expected, config.per_tenant_max).await? {
            PutTrigger::Written(revision) => {
                record.revision = revision;
                Ok(self.view(&record))
            }
            PutTrigger::Absent => Err(TriggerError::Absent(Missing::Trigger)),
            PutTrigger::Changed(revision) => Err(TriggerError::Changed { revision }),
            PutTrigger::TooMany { max } => Err(TriggerError::TooMany { max }),
        }
    }

    async fn record(&self, tenant_id: TenantId, trigger_id: Uuid) -> Result<TriggerRecord, TriggerError> {
        let found: Result<_, StoreError> = self.0.dependencies.store.trigger(trigger_id).await;
        found?.filter(|record| record.tenant_id == tenant_id).ok_or(TriggerError::Absent(Missing::Trigger))
    }

    fn view(&self, record: &TriggerRecord) -> TriggerView {
        TriggerView::of(record, self.actions())
    }

    fn actions(&self) -> &dyn ActionRules {
        &*self.0.dependencies.actions
    }

    fn store(&self) -> &dyn bowline_store::LineStore {
        &*self.0.dependencies.store
    }

    fn now(&self) -> Timestamp {
        self.0.dependencies.clock.now()
    }
}
