//! What caches must hear of: each kind of record that processes cache has an epoch, a number that grows with
//! every change that makes an older copy wrong.
//!
//! The change raises the epoch in its own transaction, so no process can see the one without the other. Here is
//! the highest epoch that this process has heard of: at once from itself, by notification from the other
//! processes, and from a poll once a second in case a notification was lost. Whoever must not be late at all
//! reads the epoch within the transaction that relies on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// A kind of record that processes cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// The agents' signing keys.
    AgentKeys,
    /// API keys.
    ApiKeys,
    /// Payload schemas.
    Schemas,
    /// What the anchoring process should look at at once.
    Anchors,
    /// Triggers.
    Triggers,
    /// Jobs for workers.
    Jobs,
    /// The circuit breakers before deliveries.
    Breakers,
}

impl ChangeKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::AgentKeys,
        Self::ApiKeys,
        Self::Schemas,
        Self::Anchors,
        Self::Triggers,
        Self::Jobs,
        Self::Breakers,
    ];

    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentKeys => "agent_keys",
            Self::ApiKeys => "api_keys",
            Self::Schemas => "schemas",
            Self::Anchors => "anchors",
            Self::Triggers => "triggers",
            Self::Jobs => "jobs",
            Self::Breakers => "breakers",
        }
    }

    /// The kind of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    const fn index(self) -> usize {
        match self {
            Self::AgentKeys => 0,
            Self::ApiKeys => 1,
            Self::Schemas => 2,
            Self::Anchors => 3,
            Self::Triggers => 4,
            Self::Jobs => 5,
            Self::Breakers => 6,
        }
    }
}

/// The epochs that this process has heard of; cheap to clone.
#[derive(Debug, Clone)]
pub struct Changes {
    epochs: Arc<[AtomicU64; ChangeKind::ALL.len()]>,
    any: Arc<watch::Sender<u64>>,
}

impl Default for Changes {
    fn default() -> Self {
        Self { epochs: Arc::default(), any: Arc::new(watch::Sender::new(0)) }
    }
}

impl Changes {
    /// The epoch of that kind. A copy that was read from the store after this call began is no older than it.
    pub fn epoch(&self, kind: ChangeKind) -> u64 {
        self.epochs[kind.index()].load(Ordering::Acquire)
    }

    /// Changes whenever an epoch has grown.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.any.subscribe()
    }

    /// Takes note of an epoch; a lower one than the known changes nothing.
    pub(crate) fn observe(&self, kind: ChangeKind, epoch: u64) {
        if self.epochs[kind.index()].fetch_max(epoch, Ordering::AcqRel) < epoch {
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
        changes.observe(ChangeKind::ApiKeys, 2);
        assert!(woken.has_changed().unwrap());
        woken.mark_unchanged();
        changes.observe(ChangeKind::ApiKeys, 1);
        assert!(!woken.has_changed().unwrap());
        assert_eq!(ChangeKind::ALL.map(|kind| changes.epoch(kind)), [0, 2, 0, 0, 0, 0, 0]);
        assert!(ChangeKind::ALL.iter().all(|kind| ChangeKind::parse(kind.as_str()) == Some(*kind)));
    }
}
