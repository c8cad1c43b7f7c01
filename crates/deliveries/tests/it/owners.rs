//! The owners of the tests' jobs: triggers as the store keeps them, since a job's row names one.
//! What a subsystem does with them beside deliveries is none of these tests' business.

use std::sync::Arc;

use async_trait::async_trait;
use bowline_deliveries::{JobOwners, OwnerChanges, OwnerKind, OwnerRecord};
use bowline_store::{ChangeKind, LineStore, StoreError, TriggerChange};
use serde_json::{Value, json};
use uuid::Uuid;

/// The kind of the tests' owners.
pub(crate) const TEST_KIND: OwnerKind = OwnerKind::new("trigger");

#[derive(Debug)]
pub(crate) struct TestOwners(pub(crate) Arc<dyn LineStore>);

#[async_trait]
impl JobOwners for TestOwners {
    fn kind(&self) -> OwnerKind {
        TEST_KIND
    }

    async fn owner(&self, id: Uuid) -> Result<Option<OwnerRecord>, StoreError> {
        Ok(self.0.trigger(id).await?.map(|record| OwnerRecord {
            tenant_id: record.tenant_id,
            name: record.name,
            breaker: record.breaker,
            actions: record.actions,
        }))
    }

    fn revision(&self) -> u64 {
        self.0.changes().epoch(ChangeKind::TRIGGERS)
    }

    async fn changes(&self, after: u64) -> Result<OwnerChanges, StoreError> {
        let epoch = self.revision();
        let changes = self.0.trigger_changes(after, 1_000).await?;
        let revision = changes.last().map_or(epoch, TriggerChange::revision).max(epoch);
        let changed = changes.into_iter().map(|change| match change {
            TriggerChange::Put(record) => record.trigger_id,
            TriggerChange::Deleted { trigger_id, .. } => trigger_id,
        });
        Ok(OwnerChanges { changed: changed.collect(), revision })
    }

    fn example_event(&self) -> Value {
        json!({ "agent_id": "0", "score": 87 })
    }
}

/// Two parts of a node may not own jobs of one kind: which one would answer is chance.
#[tokio::test]
async fn a_kind_has_one_part_of_the_node() {
    let place = crate::test_store::TestStore::new(crate::test_store::Engine::Sqlite).await;
    let store = place.open().await;
    let owners: Vec<Arc<dyn JobOwners>> =
        vec![Arc::new(TestOwners(Arc::clone(&store))), Arc::new(TestOwners(Arc::clone(&store)))];
    let dependencies = bowline_deliveries::Dependencies {
        store,
        clock: Arc::new(bowline_runtime::SystemClock),
        queue: None,
        owners,
        secrets_key: [7; 32],
        instance: "one".to_owned(),
    };
    let refused = bowline_deliveries::Deliveries::build(&crate::rig::config(), dependencies).unwrap_err();
    assert!(refused.contains("trigger"), "{refused}");
}
