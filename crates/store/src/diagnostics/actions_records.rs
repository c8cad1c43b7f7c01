//! Facts about what comes onto the line from chains, is matched, and is delivered.
//!
//! Counts stop at a limit, so that a question about a queue of millions is answered as soon as any other.

use bowline_types::Timestamp;

/// Rows that are counted at most: more are told as so many.
pub(crate) const COUNTED_MAX: u32 = 100_000;
/// Jobs of each kind whose attempts are looked at.
pub(crate) const JOBS_LOOKED_AT_MAX: u32 = 500;
/// Minutes that count as recent for matching, which the runbook asks for.
pub(crate) const MATCHED_MINUTES: i64 = 5;
/// Minutes that count as recent for deliveries.
pub(crate) const DELIVERED_MINUTES: i64 = 15;
/// The name under which matching keeps its cursors.
pub(crate) const MATCHER: &str = "triggers";

/// A chain on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceFacts {
    /// Its id by EIP-155.
    pub chain_id: u64,
    /// The last block whose logs are on the line.
    pub block: Option<u64>,
    /// Reorganizations that were written down.
    pub generation: u64,
    /// When its checkpoint moved last.
    pub updated_at: Timestamp,
}

/// How matching is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatchingFacts {
    /// Triggers that are matched.
    pub triggers: u64,
    /// Events of the chains' streams, and of others that are matched, that were not matched yet.
    pub behind_events: u64,
    /// When the last event was matched.
    pub last_at: Option<Timestamp>,
    /// Events matched in the last five minutes, counted up to 100,000.
    pub matched: u64,
    /// Of those of the last hour, the ones that were set aside.
    pub set_aside: u64,
}

/// How deliveries are doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionFacts {
    /// Jobs that wait, counted up to 100,000.
    pub waiting: u64,
    /// Jobs in workers' hands.
    pub running: u64,
    /// Dead letters, counted up to 100,000.
    pub dead: u64,
    /// Since when the job is due that has been due longest.
    pub oldest_due_at: Option<Timestamp>,
    /// Attempts of the last fifteen minutes that were looked at, by destination; those that failed most first.
    pub attempts: Vec<DestinationFacts>,
}

/// Recent attempts at one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationFacts {
    /// Host and port, or another short name.
    pub destination: String,
    /// Attempts.
    pub attempts: u64,
    /// Of them, those that failed.
    pub failed: u64,
    /// What one of those said.
    pub error: Option<String>,
}

/// A circuit breaker that is not closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBreaker {
    /// `trigger` or `destination`.
    pub kind: &'static str,
    /// The trigger's id, or the destination.
    pub name: String,
    /// `open` or `half_open`.
    pub state: String,
    /// Failures in a row.
    pub failure_count: u64,
    /// The last one.
    pub last_failure_at: Option<Timestamp>,
}
