//! The health checks of triggers: what an operator asks when events are not matched, each a pure function of
//! [`TriggerFacts`].
//!
//! No check gathers facts. Without a trigger there is nothing to judge; the fix of a finding is a command or a setting that
//! exists.

mod matching;
mod servers;

use bowline_runtime::{Check, Finding, Seen};
use bowline_store::StoreFacts;
use bowline_types::Timestamp;

/// Everything that these checks look at.
#[derive(Debug, Clone)]
pub struct TriggerFacts {
    /// The store.
    pub store: Seen<StoreFacts>,
    /// Our own moment.
    pub now: Timestamp,
}

/// Every check, in the order in which an operator would go.
pub const CHECKS: &[Check<TriggerFacts>] = &[
    Check { name: "matching", about: "events are matched as they come", judge: matching::matching },
    Check { name: "set_aside", about: "every event could be matched", judge: matching::set_aside },
    Check { name: "db_active", about: "few statements run at a time", judge: servers::active },
];

/// The checks' thresholds, in one place, with the unit in the name. They are the runbook's.
mod threshold {
    /// Events that matching may be behind.
    pub(super) const BEHIND_EVENTS: u64 = 1_000;
    /// That events may wait while none is matched.
    pub(super) const STILL_SECS: i64 = 300;
    /// Statements at a time.
    pub(super) const ACTIVE_WARN: u64 = 50;
    /// Statements at a time.
    pub(super) const ACTIVE_FAIL: u64 = 100;
}

/// One fact of the store, or the finding that it is not there.
fn fact<T>(facts: &TriggerFacts, pick: impl FnOnce(&StoreFacts) -> &Seen<T>) -> Result<&T, Finding> {
    let store = facts.store.as_ref().map_err(|reason| Finding::skipped(format!("no store: {reason}")))?;
    pick(store).as_ref().map_err(Finding::skipped)
}

/// Whole seconds from then to now.
fn secs_since(then: Timestamp, now: Timestamp) -> i64 {
    (now.micros() - then.micros()) / 1_000_000
}

#[cfg(test)]
mod tests;
