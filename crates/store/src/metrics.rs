//! The store's metrics, each present at zero from the start.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

pub(crate) const DB_POOL_CONNECTIONS: &str = "db_pool_connections";
pub(crate) const DB_POOL_IDLE: &str = "db_pool_idle_connections";
pub(crate) const DB_POOL_MAX: &str = "db_pool_max_connections";
pub(crate) const ERRORS: &str = "bowline_store_errors_total";
pub(crate) const APPEND_SECONDS: &str = "bowline_store_append_seconds";
pub(crate) const GROUP_EVENTS: &str = "bowline_store_group_events";

/// Names, describes and zeroes every metric of this crate.
pub(crate) fn declare() {
    describe_gauge!(DB_POOL_CONNECTIONS, Unit::Count, "Open database connections");
    describe_gauge!(DB_POOL_IDLE, Unit::Count, "Open database connections that nobody uses");
    describe_gauge!(DB_POOL_MAX, Unit::Count, "Database connections that may be open");
    describe_counter!(ERRORS, Unit::Count, "Calls that the store refused, by kind");
    describe_histogram!(APPEND_SECONDS, Unit::Seconds, "Time of one group commit");
    describe_histogram!(GROUP_EVENTS, Unit::Count, "Events that one group commit wrote");
    for name in [DB_POOL_CONNECTIONS, DB_POOL_IDLE, DB_POOL_MAX] {
        gauge!(name).set(0.0);
    }
    for kind in ["unavailable", "outcome_unknown", "full", "keys_changed", "lease_lost", "internal"] {
        counter!(ERRORS, "kind" => kind).absolute(0);
    }
    drop((histogram!(APPEND_SECONDS), histogram!(GROUP_EVENTS)));
    bowline_runtime::CircuitBreaker::declare(crate::postgres::BREAKER);
}

/// Records a group commit: how long it took, and how many events it wrote.
pub(crate) fn record_append(took: Duration, written: usize) {
    histogram!(APPEND_SECONDS).record(took);
    histogram!(GROUP_EVENTS).record(written as f64);
}

/// Counts a refusal and hands it on.
pub(crate) fn count_error(error: crate::StoreError) -> crate::StoreError {
    let kind = match &error {
        crate::StoreError::Unavailable(_) => "unavailable",
        crate::StoreError::OutcomeUnknown(_) => "outcome_unknown",
        crate::StoreError::Full(_) => "full",
        crate::StoreError::KeysChanged { .. } => "keys_changed",
        crate::StoreError::LeaseLost(_) => "lease_lost",
        crate::StoreError::SourceMoved(_) => "source_moved",
        crate::StoreError::CursorMoved { .. } => "cursor_moved",
        crate::StoreError::NewerSchema { .. }
        | crate::StoreError::NeedsMigration { .. }
        | crate::StoreError::Internal(_) => "internal",
    };
    counter!(ERRORS, "kind" => kind).increment(1);
    error
}
