//! The index of triggers alone, for measurements: no store, no state, no jobs.
//!
//! It is the index that matching uses, and does nothing that matching does not do.

use bowline_store::{StoredEvent, TriggerRecord};

use super::index::{Index, VisitedSlots};
use super::{Facts, Rule};
use crate::FieldProblem;

/// Enabled triggers in memory, found by the fields of an event.
#[derive(Debug, Default)]
pub struct TriggerIndex {
    index: Index,
    visited: VisitedSlots,
}

/// The result of a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexLookup {
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
    pub fn hold(&mut self, event: &StoredEvent) -> Result<IndexLookup, String> {
        let facts = Facts::of(event)?;
        let (passed, looked_at) = self.index.passed(&facts, &mut self.visited);
        Ok(IndexLookup { passed: passed.len(), looked_at })
    }
}
