//! Triggers as owners of jobs: deliveries ask here for a trigger's actions and breaker.
//! It reads the store and decides nothing.

use std::sync::Arc;

use async_trait::async_trait;
use bowline_deliveries::{JobOwner, JobOwners, OwnerChanges, OwnerKind, OwnerRecord};
use bowline_store::{ChangeKind, LineStore, StoreError, TriggerChange};
use serde_json::{Value, json};
use uuid::Uuid;

/// The kind of triggers among the owners of jobs.
pub const TRIGGER: OwnerKind = OwnerKind::new("trigger");

/// Changes that are read at a time.
const CHANGES_MAX: usize = 1_000;

/// A trigger as the owner of its jobs.
pub fn trigger_owner(trigger_id: Uuid) -> JobOwner {
    JobOwner { kind: TRIGGER, id: trigger_id }
}

/// The triggers of a store.
#[derive(Debug)]
pub struct TriggerOwners {
    store: Arc<dyn LineStore>,
}

impl TriggerOwners {
    /// Those in `store`.
    pub fn new(store: Arc<dyn LineStore>) -> Self {
        Self { store }
    }
}

#[async_trait]
impl JobOwners for TriggerOwners {
    fn kind(&self) -> OwnerKind {
        TRIGGER
    }

    async fn owner(&self, id: Uuid) -> Result<Option<OwnerRecord>, StoreError> {
        let record = self.store.trigger(id).await?;
        Ok(record.map(|record| OwnerRecord {
            tenant_id: record.tenant_id,
            name: record.name,
            breaker: record.breaker,
            actions: record.actions,
        }))
    }

    fn revision(&self) -> u64 {
        self.store.changes().epoch(ChangeKind::TRIGGERS)
    }

    async fn changes(&self, after: u64) -> Result<OwnerChanges, StoreError> {
        // Read before the changes: one that comes meanwhile raises it again.
        let epoch = self.revision();
        let changes = self.store.trigger_changes(after, CHANGES_MAX).await?;
        let last = changes.last().map_or(epoch, TriggerChange::revision);
        let is_all = changes.len() < CHANGES_MAX;
        let changed = changes.iter().map(|change| match change {
            TriggerChange::Put(record) => record.trigger_id,
            TriggerChange::Deleted { trigger_id, .. } => *trigger_id,
        });
        Ok(OwnerChanges { changed: changed.collect(), revision: if is_all { last.max(epoch) } else { last } })
    }

    fn example_event(&self) -> Value {
        json!({
            "chain_id": 84532, "block_number": 1, "timestamp": 1_770_724_500, "registry": "reputation",
            "event_type": "NewFeedback", "agent_id": "0", "client_address": "0x0000000000000000000000000000000000000000",
            "feedback_index": "1", "value": "87", "value_raw": "87", "value_decimals": 0, "score": 87,
            "tag1": "test", "tag2": "", "endpoint": "", "file_uri": "", "is_test": true,
            "transaction_hash": format!("0x{}", "0".repeat(64)), "log_index": 0,
        })
    }
}
