//! The actions of triggers as workers need them: ready, and kept for as long as nobody changes the trigger.
//! It reads the store and never writes, and what it keeps is bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bowline_store::{BreakerSettings, ChangeKind, LineStore, StoreError, TriggerChange, TriggerRecord};
use uuid::Uuid;

use super::action::Readied;
use super::actions::Actions;

/// Triggers that are kept at most; then all are let go of.
const KEPT_MAX: usize = 10_000;

/// Changes that are read at a time.
const CHANGES_MAX: usize = 1_000;

/// A trigger as far as deliveries go.
#[derive(Debug)]
pub(crate) struct KnownTrigger {
    pub(crate) name: String,
    pub(crate) breaker: BreakerSettings,
    actions: HashMap<Uuid, Readied>,
}

impl KnownTrigger {
    pub(crate) fn action(&self, action_id: Uuid) -> Option<&Readied> {
        self.actions.get(&action_id)
    }
}

/// The triggers that jobs were about lately.
#[derive(Debug)]
pub(crate) struct Catalog {
    store: Arc<dyn LineStore>,
    actions: Arc<Actions>,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    triggers: HashMap<Uuid, Option<Arc<KnownTrigger>>>,
    /// All changes up to this revision are known.
    revision: u64,
}

impl Catalog {
    pub(crate) fn new(store: Arc<dyn LineStore>, actions: Arc<Actions>) -> Self {
        let revision = store.changes().epoch(ChangeKind::Triggers);
        Self { store, actions, kept: Mutex::new(Kept { triggers: HashMap::new(), revision }) }
    }

    /// A trigger; none if it is gone.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn trigger(&self, trigger_id: Uuid) -> Result<Option<Arc<KnownTrigger>>, StoreError> {
        self.forget_changed().await?;
        if let Some(known) = self.kept().triggers.get(&trigger_id) {
            return Ok(known.clone());
        }
        let before = self.kept().revision;
        let record = self.store.trigger(trigger_id).await?;
        let known = record.map(|record| Arc::new(self.ready(&record)));
        let mut kept = self.kept();
        // What changed while it was read may not be in it.
        if kept.revision == before {
            if kept.triggers.len() >= KEPT_MAX {
                kept.triggers.clear();
            }
            kept.triggers.insert(trigger_id, known.clone());
        }
        Ok(known)
    }

    fn ready(&self, record: &TriggerRecord) -> KnownTrigger {
        let ready = |action| self.actions.ready(record.tenant_id, action);
        let actions = record.actions.iter().map(|action| (action.action_id, ready(action))).collect();
        KnownTrigger { name: record.name.clone(), breaker: record.breaker, actions }
    }

    async fn forget_changed(&self) -> Result<(), StoreError> {
        loop {
            let epoch = self.store.changes().epoch(ChangeKind::Triggers);
            let known = self.kept().revision;
            if epoch <= known {
                return Ok(());
            }
            let changes = self.store.trigger_changes(known, CHANGES_MAX).await?;
            let mut kept = self.kept();
            for change in &changes {
                let trigger_id = match change {
                    TriggerChange::Put(record) => record.trigger_id,
                    TriggerChange::Deleted { trigger_id, .. } => *trigger_id,
                };
                kept.triggers.remove(&trigger_id);
            }
            let last = changes.last().map_or(epoch, TriggerChange::revision);
            let is_all = changes.len() < CHANGES_MAX;
            kept.revision = kept.revision.max(if is_all { last.max(epoch) } else { last });
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
