//! What of a rate limit is taken, as the processes share it.
//!
//! A store only keeps it and says who was first; what the charges mean is for whoever limits.

use bowline_types::Timestamp;

/// One budget as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetRecord {
    /// Whose it is, such as `tenant:UUID`.
    pub name: String,
    /// Grows with every change, also over a deletion.
    pub version: u64,
    /// What is taken, in the limiter's own words.
    pub charges: String,
    /// When nothing of it matters any more.
    pub expires_at: Timestamp,
}
