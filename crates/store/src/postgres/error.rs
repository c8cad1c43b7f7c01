//! PostgreSQL's errors in the store's words, by SQLSTATE class (PostgreSQL manual, appendix A).
//!
//! It never calls a store unavailable where a change may have been made.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::StoreError;

/// Between two lines of the log that say the same of the pool: under load every call could write one.
const EXHAUSTED_PAUSE: Duration = Duration::from_secs(1);

/// An error before the commit: nothing was changed.
pub fn refuse(error: &sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => StoreError::Unavailable(error.to_string()),
        sqlx::Error::PoolTimedOut => exhausted(error),
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            let text = format!("{} ({code})", database.message());
            match code.as_ref() {
                // Disk full, and the quotas that behave alike.
                "53100" | "53400" => StoreError::Full(text),
                // Deadlock and serialization, lock and statement timeouts: try again.
                "40001" | "40P01" | "55P03" | "57014" => StoreError::Unavailable(text),
                // Connections, resources, and a server that starts or stops.
                _ if ["08", "53", "57"].iter().any(|class| code.starts_with(class)) => {
                    StoreError::Unavailable(text)
                }
                // A standby after a failover, or a database made read-only on purpose.
                "25006" => StoreError::Unavailable(text),
                _ => StoreError::Internal(text),
            }
        }
        _ => StoreError::Internal(error.to_string()),
    }
}

/// No connection became free in time. An operator must act: more connections, or fewer that are held for long.
fn exhausted(error: &sqlx::Error) -> StoreError {
    static TOLD: Mutex<Option<(Instant, u64)>> = Mutex::new(None);
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    let untold = match told.as_mut() {
        Some((when, untold)) if when.elapsed() < EXHAUSTED_PAUSE => {
            *untold += 1;
            None
        }
        told => Some(told.map_or(0, |(_, untold)| *untold)),
    };
    if let Some(untold) = untold {
        *told = Some((Instant::now(), 0));
        tracing::error!(component = "store", cause = %error, untold, "Failed to acquire connection from pool");
    }
    StoreError::Unavailable(format!("Failed to acquire connection from pool: {error}"))
}

/// An error of a commit, or of a statement that is a transaction by itself: if the connection broke, nobody
/// here knows how it ended.
pub fn refuse_commit(error: &sqlx::Error) -> StoreError {
    match refuse(error) {
        StoreError::Unavailable(text) if !rolled_back(error) => StoreError::OutcomeUnknown(text),
        other => other,
    }
}

/// Whether the statement was never sent, or the server itself said that it failed.
fn rolled_back(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
        // Class 08 and a server that is going down tell of the connection, not of the transaction.
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            !code.starts_with("08") && !code.starts_with("57P")
        }
        _ => false,
    }
}
