//! What both stores decide alike about jobs: limits, which states a change reaches, and texts that a row can hold.

use crate::job_records::{JobEnd, JobFilter, JobRecord, JobState};

/// Jobs whose time has come that one call makes ready at most.
pub(crate) const READIED_MAX: i64 = 1_000;

/// Jobs whose lease has run out that one call lets wait again at most.
pub(crate) const RECLAIMED_MAX: i64 = 1_000;

/// How far is counted.
pub(crate) const COUNTED_MAX: i64 = 100_000;

/// Why a job waits again whose worker is gone.
pub(crate) const LEASE_RAN_OUT: &str = "the worker's lease ran out";

/// The state that a report leads to.
pub(crate) fn state_after(end: &JobEnd) -> JobState {
    match end {
        JobEnd::Succeeded => JobState::Succeeded,
        JobEnd::Retry { .. } => JobState::Waiting,
        JobEnd::Dead => JobState::Dead,
        JobEnd::Cancelled => JobState::Cancelled,
    }
}

/// The states, as a list in SQL, whose jobs may be delivered again.
pub(crate) fn redelivered(filter: &JobFilter) -> &'static str {
    if filter.job_id.is_some() { "'dead', 'cancelled', 'succeeded'" } else { "'dead', 'cancelled'" }
}

/// The states, as a list in SQL, of jobs that are over.
pub(crate) const ENDED: &str = "'succeeded', 'dead', 'cancelled'";

/// Sorts jobs as they are claimed.
pub(crate) fn in_order_of_claims(jobs: &mut [JobRecord]) {
    jobs.sort_by_key(claim_order);
}

/// Where a job stands among those that wait.
pub(crate) fn claim_order(record: &JobRecord) -> (std::cmp::Reverse<i32>, u64, uuid::Uuid) {
    (std::cmp::Reverse(record.job.priority), record.tag, record.job.job_id)
}

/// A text without what PostgreSQL can't keep: receivers answer with any bytes.
pub(crate) fn kept_text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
