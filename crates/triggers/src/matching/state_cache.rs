//! The state of conditions, as this process last read or wrote it.
//!
//! It is true only while this process has the stream's lease and its pages are committed: a lane that loses the lease, or
//! fails to commit, drops all of it.

use std::collections::{HashMap, HashSet};

use bowline_store::{LineStore, StateKey, StoreError};

use crate::rules::{Fallback, State};

/// Entries that one stream's lane keeps at most.
const ENTRIES_MAX: usize = 20_000;

/// Entries that are read at a time.
const READ_AT_ONCE: usize = 1_000;

/// The state of one stream's conditions.
#[derive(Debug, Default)]
pub(crate) struct StateCache {
    entries: HashMap<StateKey, State>,
    changed: HashSet<StateKey>,
}

impl StateCache {
    /// Reads the keys that are not cached yet.
    pub(crate) async fn load(
        &mut self,
        store: &dyn LineStore,
        keys: Vec<(StateKey, Fallback)>,
    ) -> Result<(), StoreError> {
        if self.entries.len() > ENTRIES_MAX && self.changed.is_empty() {
            self.entries.clear();
        }
        let mut missing: Vec<(StateKey, Fallback)> =
            keys.into_iter().filter(|(key, _)| !self.entries.contains_key(key)).collect();
        missing.sort_by(|left, right| left.0.cmp(&right.0));
        missing.dedup_by(|left, right| left.0 == right.0);
        for chunk in missing.chunks(READ_AT_ONCE) {
            let found = store.trigger_state(chunk.iter().map(|(key, _)| key.clone()).collect()).await?;
            let found: HashMap<StateKey, String> = found.into_iter().collect();
            for (key, fallback) in chunk {
                let state = State::read(found.get(key).map(String::as_str), *fallback);
                self.entries.insert(key.clone(), state);
            }
        }
        Ok(())
    }

    /// The state of a key; the empty state if it was never read.
    pub(crate) fn get(&self, key: &StateKey, fallback: Fallback) -> State {
        self.entries.get(key).cloned().unwrap_or_else(|| State::read(None, fallback))
    }

    pub(crate) fn set(&mut self, key: StateKey, state: State) {
        self.changed.insert(key.clone());
        self.entries.insert(key, state);
    }

    /// The changes since the last call, as the store keeps them.
    pub(crate) fn take_changes(&mut self) -> Vec<(StateKey, Option<String>)> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        changed.map(|key| (key.clone(), self.entries.get(&key).and_then(State::write))).collect()
    }
}
