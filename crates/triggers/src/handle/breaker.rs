//! A trigger's circuit breaker: how it stands, when it opens, and closing it by hand.
//! What opens it is counted where deliveries are concluded.

use bowline_store::{BreakerKey, BreakerRecord, BreakerState, TriggerRecord};
use bowline_types::TenantId;
use uuid::Uuid;

use super::Handle;
use crate::TriggerError;
use crate::input::{BreakerInput, TriggerChanges};

impl Handle {
    /// A trigger's circuit breaker; a closed one without a failure if it has never had any.
    ///
    /// # Errors
    /// [`TriggerError::Absent`], or the store's.
    pub async fn breaker(
        &self,
        tenant_id: TenantId,
        trigger_id: Uuid,
    ) -> Result<BreakerRecord, TriggerError> {
        let record = self.record(tenant_id, trigger_id).await?;
        self.breaker_of(&record).await
    }

    /// Changes when a trigger's circuit breaker opens and closes.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub async fn set_breaker(
        &self,
        tenant_id: TenantId,
        trigger_id: Uuid,
        settings: BreakerInput,
    ) -> Result<BreakerRecord, TriggerError> {
        let changes = TriggerChanges { breaker: Some(settings), ..TriggerChanges::default() };
        self.change(tenant_id, trigger_id, changes, None).await?;
        self.breaker(tenant_id, trigger_id).await
    }

    /// Closes a trigger's circuit breaker and forgets its failures.
    ///
    /// # Errors
    /// [`TriggerError::Absent`], or the store's.
    pub async fn reset_breaker(
        &self,
        tenant_id: TenantId,
        trigger_id: Uuid,
    ) -> Result<BreakerRecord, TriggerError> {
        let record = self.record(tenant_id, trigger_id).await?;
        self.0.dependencies.store.reset_breaker(&BreakerKey::Trigger(trigger_id), self.now()).await?;
        self.breaker_of(&record).await
    }

    async fn breaker_of(&self, record: &TriggerRecord) -> Result<BreakerRecord, TriggerError> {
        let key = BreakerKey::Trigger(record.trigger_id);
        let found = self.0.dependencies.store.breakers(Some(vec![key.clone()])).await?.pop();
        let closed = BreakerRecord {
            key,
            state: BreakerState::Closed,
            failure_count: 0,
            last_failure_at: None,
            opened_at: None,
            probes: 0,
            settings: record.breaker,
        };
        // The row has the settings of the last delivery; the trigger's are those of the next one.
        Ok(BreakerRecord { settings: record.breaker, ..found.unwrap_or(closed) })
    }
}
