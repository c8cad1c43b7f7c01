//! The health checks of deliveries: what an operator asks when jobs pile up or are not delivered, each a pure function of
//! [`DeliveryFacts`].
//!
//! No check gathers facts. The fix of a finding is a command or a setting that exists.

mod queue;
mod redis;

use bowline_runtime::{Check, Finding, Seen};
use bowline_store::StoreFacts;
use bowline_types::Timestamp;

/// Everything that these checks look at.
#[derive(Debug, Clone)]
pub struct DeliveryFacts {
    /// The store.
    pub store: Seen<StoreFacts>,
    /// Redis; none if the settings name none.
    pub redis: Option<Seen<RedisFacts>>,
    /// Our own moment.
    pub now: Timestamp,
}

/// A Redis server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedisFacts {
    /// Bytes that it uses.
    pub memory_bytes: u64,
}

/// Every check, in the order in which an operator would go.
pub const CHECKS: &[Check<DeliveryFacts>] = &[
    Check { name: "queue_depth", about: "jobs do not pile up", judge: queue::queue_depth },
    Check { name: "deliveries", about: "nine of ten deliveries succeed", judge: queue::deliveries },
    Check { name: "job_letters", about: "jobs that were given up", judge: queue::job_letters },
    Check { name: "breakers", about: "no circuit breaker holds deliveries back", judge: queue::breakers },
    Check { name: "redis", about: "Redis answers and has memory left", judge: redis::redis },
];

/// Jobs that wait, from which on matching is held.
pub const QUEUE_FULL_JOBS: u64 = threshold::QUEUE_FAIL;

/// The checks' thresholds, in one place, with the unit in the name. They are the runbook's.
mod threshold {
    /// Jobs that wait on an ordinary day, at most.
    pub(super) const QUEUE_USUAL: u64 = 1_000;
    /// Jobs that wait, from which on workers should be added.
    pub(super) const QUEUE_WARN: u64 = 10_000;
    /// Jobs that wait, from which on matching is held.
    pub(super) const QUEUE_FAIL: u64 = 50_000;
    /// Of the deliveries.
    pub(super) const FAILED_WARN_PERCENT: u64 = 10;
    /// Of the deliveries.
    pub(super) const FAILED_FAIL_PERCENT: u64 = 50;
    /// Attempts below which a rate says nothing.
    pub(super) const ATTEMPTS_MIN: u64 = 10;
    /// That a job may be due while none is delivered.
    pub(super) const STILL_SECS: i64 = 300;
    /// Of Redis.
    pub(super) const REDIS_BYTES: u64 = 500_000_000;
}

/// One fact of the store, or the finding that it is not there.
fn fact<T>(facts: &DeliveryFacts, pick: impl FnOnce(&StoreFacts) -> &Seen<T>) -> Result<&T, Finding> {
    let store = facts.store.as_ref().map_err(|reason| Finding::skipped(format!("no store: {reason}")))?;
    pick(store).as_ref().map_err(Finding::skipped)
}

/// Whole seconds from then to now.
fn secs_since(then: Timestamp, now: Timestamp) -> i64 {
    (now.micros() - then.micros()) / 1_000_000
}

#[cfg(test)]
mod tests;
