//! What both stores decide alike about jobs: limits, which states a change reaches, and texts that a row can hold.
//! Where a new job stands among those that wait is decided in `lanes`.

use bowline_types::Timestamp;

use crate::jobs::records::{JobEnd, JobFilter, JobRecord, JobState};

/// Jobs whose time has come that one call makes ready at most.
pub(crate) const READIED_MAX: i64 = 1_000;

/// Jobs whose lease has run out that one call lets wait again at most.
pub(crate) const RECLAIMED_MAX: i64 = 1_000;

/// Jobs that one call gives up at most.
pub(crate) const GIVEN_UP_MAX: i64 = 1_000;

/// How far is counted.
pub(crate) const COUNTED_MAX: i64 = 100_000;

/// Why a job waits again whose worker is gone.
pub(crate) const LEASE_RAN_OUT: &str = "the worker's lease ran out";

/// Why a job was given up whose organization has too many waiting ones.
pub(crate) fn tenant_queue_full(waiting_max: u64) -> String {
    format!("TENANT_QUEUE_FULL: more than {waiting_max} jobs of the organization wait")
}

/// Why a job was given up that no circuit breaker let pass.
pub(crate) const BARRED_TOO_LONG: &str = "BARRED_TOO_LONG: its circuit breaker stayed open for too long";

/// The state that a report leads to.
pub(crate) fn state_after(end: &JobEnd) -> JobState {
    match end {
        JobEnd::Succeeded => JobState::Succeeded,
        JobEnd::Retry { .. } | JobEnd::Barred { .. } => JobState::Waiting,
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

/// Of them, in SQL and as an index finds the oldest ones, those that are forgotten soon, and dead letters.
pub(crate) const OVER: [&str; 2] = ["state IN ('succeeded', 'cancelled')", "ended_at"];
pub(crate) const DEAD: [&str; 2] = ["state = 'dead'", "created_at"];

/// Sorts jobs as they are claimed.
pub(crate) fn in_order_of_claims(jobs: &mut [JobRecord]) {
    jobs.sort_by_key(claim_order);
}

/// Where a job stands among those that wait.
pub(crate) fn claim_order(record: &JobRecord) -> (u64, std::cmp::Reverse<i32>, uuid::Uuid) {
    (record.tag, std::cmp::Reverse(record.job.priority), record.job.job_id)
}

/// What a report does to the row of its job, beside the state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wait {
    /// When the job is due again; none if it is over.
    pub(crate) due_at: Option<Timestamp>,
    /// Whether the attempt that began with the claim does not count.
    pub(crate) is_given_back: bool,
    /// Whether a circuit breaker kept it from being made.
    pub(crate) is_barred: bool,
}

impl Wait {
    pub(crate) fn of(end: &JobEnd) -> Self {
        let over = Self { due_at: None, is_given_back: false, is_barred: false };
        match end {
            JobEnd::Retry { due_at, counts } => {
                Self { due_at: Some(*due_at), is_given_back: !counts, ..over }
            }
            JobEnd::Barred { due_at } => Self { due_at: Some(*due_at), is_given_back: true, is_barred: true },
            JobEnd::Succeeded | JobEnd::Dead | JobEnd::Cancelled => over,
        }
    }
}

/// A text without what PostgreSQL can't keep: receivers answer with any bytes.
pub(crate) fn kept_text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
