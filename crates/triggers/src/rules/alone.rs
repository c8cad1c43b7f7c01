//! The index alone, for whoever measures it: no store, no memory, no jobs.
//!
//! It is the index that matching has, and nothing is done for it that matching does not do.

use bowline_store::{StoredEvent, TriggerRecord};

use super::index::{Index, Seen};
use super::{Facts, Rule};
use crate::FieldProblem;

/// Enabled triggers in memory, found by what an event has.
#[derive(Debug, Default)]
pub struct TriggerIndex {
    index: Index,
    seen: Seen,
}

/// What holding an event against all triggers came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Triggers whose conditions without memory the event satisfies.
    pub passed: usize,
    /// Triggers whose conditions were looked at.
    pub looked_at: usize,
}

impl TriggerIndex {
    /// Puts a trigger in, in place of the one with its id.
    ///
    /// # Errors
    /// What is wrong with its conditions.
    pub fn insert(&mut self, record: &TriggerRecord) -> Result<(), Vec<FieldProblem>> {
        self.index.insert(Rule::compile(record)?);
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads an event's payload and holds it against all triggers.
    ///
    /// # Errors
    /// A chain's event that no indexer writes.
    pub fn hold(&mut self, event: &StoredEvent) -> Result<Held, String> {
        let facts = Facts::of(event)?;
        let (passed, looked_at) = self.index.passed(&facts, &mut self.seen);
        Ok(Held { passed: passed.len(), looked_at })
    }
}
