//! PostgreSQL's errors in the store's words, by SQLSTATE class (PostgreSQL manual, appendix A).

use crate::StoreError;

/// An error before the commit: nothing was changed.
pub(super) fn refuse(error: &sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => StoreError::Unavailable(error.to_string()),
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            let text = format!("{} ({code})", database.message());
            match code.as_ref() {
                // Disk full, and the quotas that behave alike.
                "53100" | "53400" => StoreError::Full(text),
                // Deadlock and serialization, lock and statement timeouts: try again.
                "40001" | "40P01" | "55P03" | "57014" => StoreError::Unavailable(text),
                // Connections, resources, and a server that starts or stops.
                _ if ["08", "53", "57"].iter().any(|class| code.starts_with(class)) => StoreError::Unavailable(text),
                // A standby after a failover, or a database made read-only on purpose.
                "25006" => StoreError::Unavailable(text),
                _ => StoreError::Internal(text),
            }
        }
        _ => StoreError::Internal(error.to_string()),
    }
}

/// An error of the commit itself: if the connection broke, nobody here knows how it ended.
pub(super) fn refuse_commit(error: &sqlx::Error) -> StoreError {
    match refuse(error) {
        StoreError::Unavailable(text) => StoreError::OutcomeUnknown(text),
        other => other,
    }
}
