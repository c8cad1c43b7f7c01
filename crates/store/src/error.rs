//! Why a store could not do what it was asked, in the ways that a caller must tell apart.

use bowline_types::Code;

/// A store's refusal. Every variant but [`StoreError::OutcomeUnknown`] means that nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The store is away or overloaded; nothing was done, and the same call may succeed later.
    #[error("the store is away: {0}")]
    Unavailable(String),
    /// The connection broke during a commit: the change may or may not be durable. Replaying the same
    /// events finds out, since ingest is exactly-once.
    #[error("the store broke off during a commit, whose outcome is unknown: {0}")]
    OutcomeUnknown(String),
    /// The disk or the database's quota is full; nothing was done.
    #[error("the store has no room left: {0}")]
    Full(String),
    /// Agent keys have changed since the batch was verified: nothing was done, and it is to be verified anew.
    #[error("agent keys have changed since the events were verified (epoch {epoch})")]
    KeysChanged {
        /// The epoch of the agent keys as the append found it.
        epoch: u64,
    },
    /// Another process has taken the lease that the call was made under; nothing was done.
    #[error("another process holds the lease `{0}` now")]
    LeaseLost(String),
    /// A chain's checkpoint is not where the step starts: another process indexes that chain. Nothing was done.
    #[error("the checkpoint of chain {0} is not where the step starts")]
    SourceMoved(u64),
    /// A follower's cursor is not where the step starts: another process was faster. Nothing was done.
    #[error("the cursor is at {at}, and the step starts at {expected}")]
    CursorMoved {
        /// Where it is.
        at: u64,
        /// Where the step starts.
        expected: u64,
    },
    /// The database holds a schema that this binary does not know.
    #[error(
        "the database has schema version {found} and this binary knows {known}: run the newer binary that \
         migrated it, or restore a backup from before"
    )]
    NewerSchema {
        /// What the database has.
        found: i64,
        /// What this binary knows.
        known: i64,
    },
    /// The database lacks migrations and was opened without permission to apply them.
    #[error("the database has schema version {found} and needs {needed}: run `bowline migrate`")]
    NeedsMigration {
        /// What the database has.
        found: i64,
        /// What this binary needs.
        needed: i64,
    },
    /// The store holds something that it must never hold, or refused a statement of ours.
    #[error("the store failed: {0}")]
    Internal(String),
}

/// What a call is refused with while the store is known to be away.
pub(crate) const KNOWN_AWAY: &str = "its circuit breaker is open, probes go on";

impl StoreError {
    /// Whether the store was known to be away and was not even asked. Whoever found that out has logged it; the
    /// many calls that are refused because of it need not log it again.
    pub fn is_known_absence(&self) -> bool {
        matches!(self, Self::Unavailable(text) if text == KNOWN_AWAY)
    }

    /// The code that a client sees.
    pub const fn code(&self) -> Code {
        match self {
            Self::Unavailable(_) | Self::LeaseLost(_) | Self::SourceMoved(_) | Self::CursorMoved { .. } => {
                Code::ServiceUnavailable
            }
            Self::OutcomeUnknown(_) => Code::OutcomeUnknown,
            Self::Full(_) => Code::StorageFull,
            Self::KeysChanged { .. } => Code::KeysChanged,
            Self::NewerSchema { .. } | Self::NeedsMigration { .. } | Self::Internal(_) => Code::DatabaseError,
        }
    }

    /// Whether the same call may succeed later without anyone changing anything.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::OutcomeUnknown(_) | Self::Full(_) | Self::KeysChanged { .. } => true,
            Self::LeaseLost(_)
            | Self::SourceMoved(_)
            | Self::CursorMoved { .. }
            | Self::NewerSchema { .. }
            | Self::NeedsMigration { .. }
            | Self::Internal(_) => false,
        }
    }
}
