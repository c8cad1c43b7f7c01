//! The owners of recent jobs with their actions ready, kept until the owner changes.
//! It reads and never writes; its size is bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bowline_store::{BreakerSettings, StoreError};
use uuid::Uuid;

use super::{JobOwner, JobOwners, OwnerKind, OwnerRecord};
use crate::actions::{Actions, ReadyAction};

/// Owners of one kind that are kept at most; then all are dropped.
const KEPT_MAX: usize = 10_000;

/// An owner whose actions are parsed and whose secrets are opened.
#[derive(Debug)]
pub(crate) struct ReadyOwner {
    pub(crate) name: String,
    pub(crate) breaker: BreakerSettings,
    actions: HashMap<Uuid, ReadyAction>,
}

impl ReadyOwner {
    pub(crate) fn action(&self, action_id: Uuid) -> Option<&ReadyAction> {
        self.actions.get(&action_id)
    }
}

/// Why an owner can't be told. Its jobs wait.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OwnerError {
    /// No part of this process has owners of that kind.
    #[error("this process knows no owners of the kind {0}")]
    UnknownKind(OwnerKind),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The owners of recent jobs.
#[derive(Debug)]
pub(crate) struct OwnerCache {
    actions: Arc<Actions>,
    kinds: HashMap<OwnerKind, KindCache>,
}

/// Those of one kind.
#[derive(Debug)]
struct KindCache {
    owners: Arc<dyn JobOwners>,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    owners: HashMap<Uuid, Option<Arc<ReadyOwner>>>,
    /// All changes up to this revision are known.
    revision: u64,
}

impl OwnerCache {
    pub(crate) fn new(owners: &HashMap<OwnerKind, Arc<dyn JobOwners>>, actions: Arc<Actions>) -> Self {
        let cache = |owners: &Arc<dyn JobOwners>| {
            let kept = Kept { owners: HashMap::new(), revision: owners.revision() };
            KindCache { owners: Arc::clone(owners), kept: Mutex::new(kept) }
        };
        Self { actions, kinds: owners.iter().map(|(kind, owners)| (*kind, cache(owners))).collect() }
    }

    /// An owner; none if it was deleted.
    ///
    /// # Errors
    /// Its kind is not known here, or the store did not answer.
    pub(crate) async fn owner(&self, owner: JobOwner) -> Result<Option<Arc<ReadyOwner>>, OwnerError> {
        let kind = self.kinds.get(&owner.kind).ok_or(OwnerError::UnknownKind(owner.kind))?;
        kind.forget_changed().await?;
        if let Some(known) = kind.kept().owners.get(&owner.id) {
            return Ok(known.clone());
        }
        let before = kind.kept().revision;
        let record = kind.owners.owner(owner.id).await?;
        let ready = record.map(|record| Arc::new(self.ready(record)));
        let mut kept = kind.kept();
        // A change during the read may be missing from the record.
        if kept.revision == before {
            if kept.owners.len() >= KEPT_MAX {
                kept.owners.clear();
            }
            kept.owners.insert(owner.id, ready.clone());
        }
        Ok(ready)
    }

    fn ready(&self, record: OwnerRecord) -> ReadyOwner {
        let OwnerRecord { tenant_id, name, breaker, actions } = record;
        let ready = |action| self.actions.ready(tenant_id, action);
        let actions = actions.iter().map(|action| (action.action_id, ready(action))).collect();
        ReadyOwner { name, breaker, actions }
    }
}

impl KindCache {
    async fn forget_changed(&self) -> Result<(), StoreError> {
        loop {
            let known = self.kept().revision;
            if self.owners.revision() <= known {
                return Ok(());
            }
            let changes = self.owners.changes(known).await?;
            let mut kept = self.kept();
            for id in &changes.changed {
                kept.owners.remove(id);
            }
            kept.revision = kept.revision.max(changes.revision);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
