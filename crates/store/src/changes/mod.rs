//! What caches must hear of: each kind of record that processes cache has an epoch, a number that grows with
//! every change that makes an older copy wrong.
//!
//! The change raises the epoch in its own transaction, so no process can see the one without the other. Here is
//! the highest epoch that this process has heard of: at once from itself, by notification from the other
//! processes, and from a poll once a second in case a notification was lost. Whoever must not be late at all
//! reads the epoch within the transaction that relies on it.

pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

/// A kind of record that processes cache: a word, which its owner declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChangeKind(&'static str);

impl ChangeKind {
    /// The agents' signing keys.
    pub const AGENT_KEYS: Self = Self::new("agent_keys");
    /// API keys.
    pub const API_KEYS: Self = Self::new("api_keys");
    /// Payload schemas.
    pub const SCHEMAS: Self = Self::new("schemas");
    /// Triggers.
    pub const TRIGGERS: Self = Self::new("triggers");
    /// Jobs for workers.
    pub const JOBS: Self = Self::new("jobs");
    /// The circuit breakers before deliveries.
    pub const BREAKERS: Self = Self::new("breakers");

    /// A kind of that word, the key of its row in `change_epochs`.
    pub const fn new(word: &'static str) -> Self {
        Self(word)
    }

    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

/// The epochs that this process has heard of; cheap to clone.
#[derive(Debug, Clone)]
pub struct Changes {
    epochs: Arc<RwLock<HashMap<String, u64>>>,
    any: Arc<watch::Sender<u64>>,
}

impl Default for Changes {
    fn default() -> Self {
        Self { epochs: Arc::default(), any: Arc::new(watch::Sender::new(0)) }
    }
}

impl Changes {
    /// The epoch of that kind; 0 before the first change. A copy that was read from the store after this call began
    /// is no older than it.
    pub fn epoch(&self, kind: ChangeKind) -> u64 {
        let epochs = self.epochs.read().unwrap_or_else(PoisonError::into_inner);
        epochs.get(kind.as_str()).copied().unwrap_or(0)
    }

    /// Changes whenever an epoch has grown.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.any.subscribe()
    }

    /// Takes note of an epoch that was raised and committed; a lower one than the known changes nothing.
    pub fn observe(&self, kind: ChangeKind, epoch: u64) {
        self.hear(kind.as_str(), epoch);
    }

    /// Like [`Changes::observe`], by the word of the table's row: there are as many as kinds were ever declared.
    pub(crate) fn hear(&self, word: &str, epoch: u64) {
        let has_grown = {
            let mut epochs = self.epochs.write().unwrap_or_else(PoisonError::into_inner);
            match epochs.get_mut(word) {
                Some(known) if *known >= epoch => false,
                Some(known) => {
                    *known = epoch;
                    true
                }
                None => {
                    epochs.insert(word.to_owned(), epoch);
                    epoch > 0
                }
            }
        };
        if has_grown {
            self.any.send_modify(|changes| *changes = changes.wrapping_add(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_only_grows_and_wakes_who_waits() {
        let changes = Changes::default();
        let mut woken = changes.watch();
        changes.hear("api_keys", 2);
        assert!(woken.has_changed().unwrap());
        woken.mark_unchanged();
        changes.hear("api_keys", 1);
        assert!(!woken.has_changed().unwrap());
        let kinds = [ChangeKind::AGENT_KEYS, ChangeKind::API_KEYS, ChangeKind::SCHEMAS];
        assert_eq!(kinds.map(|kind| changes.epoch(kind)), [0, 2, 0]);
    }

    #[test]
    fn a_kind_that_only_another_process_knows_is_heard_too() {
        let changes = Changes::default();
        changes.hear("of_a_later_release", 7);
        assert_eq!(changes.epoch(ChangeKind::new("of_a_later_release")), 7);
    }
}
