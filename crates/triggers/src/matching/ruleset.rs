//! The compiled triggers of this process, kept up with what changes in the store.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use bowline_store::{LineStore, StoreError, TriggerChange};
use metrics::gauge;
use tokio::sync::Mutex;

use crate::metrics::RULES;
use crate::rules::{Index, Rule};

/// Changes that are read at a time.
const CHANGES_AT_ONCE: usize = 2_000;

/// The triggers, and up to which revision.
#[derive(Debug, Default)]
pub(crate) struct Ruleset {
    index: RwLock<Index>,
    /// The revision; the task that holds the lock reads changes.
    known: Mutex<u64>,
}

impl Ruleset {
    /// The triggers as they are known.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads changes. A lane that read events before this call knows every trigger that was made before them.
    pub(crate) async fn refresh(&self, store: &dyn LineStore) -> Result<(), StoreError> {
        let mut known = self.known.lock().await;
        loop {
            let changes = store.trigger_changes(*known, CHANGES_AT_ONCE).await?;
            let Some(last) = changes.last().map(TriggerChange::revision) else { return Ok(()) };
            let is_all = changes.len() < CHANGES_AT_ONCE;
            // Compiled before the lock is taken: others go on matching.
            let compiled: Vec<(uuid::Uuid, Option<Rule>)> = changes.iter().map(compile).collect();
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            for (trigger_id, rule) in compiled {
                match rule {
                    Some(rule) => index.insert(rule),
                    None => index.remove(trigger_id),
                }
            }
            gauge!(RULES).set(index.len() as f64);
            drop(index);
            *known = last;
            if is_all {
                return Ok(());
            }
        }
    }
}

/// The trigger's rule; none if it is not to be matched.
fn compile(change: &TriggerChange) -> (uuid::Uuid, Option<Rule>) {
    let record = match change {
        TriggerChange::Deleted { trigger_id, .. } => return (*trigger_id, None),
        TriggerChange::Put(record) => record,
    };
    if !record.enabled {
        return (record.trigger_id, None);
    }
    let rule = Rule::compile(record).map_err(|problems| {
        let problem = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let trigger_id = record.trigger_id;
        tracing::warn!(component = "triggers", %trigger_id, problem, "Trigger can't be matched, it is left out");
    });
    (record.trigger_id, rule.ok())
}
