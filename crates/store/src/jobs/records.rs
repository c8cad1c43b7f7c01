//! What a store keeps of jobs: what is to be delivered, every attempt, and the circuit breakers before destinations.
//! A job's row is the truth about it, whatever handed it to a worker.

use bowline_types::{EventId, StreamId, TenantId, Timestamp};
use uuid::Uuid;

use crate::BreakerSettings;

/// The lowest priority of a job; what is kept of a lower one counts as this.
pub const PRIORITY_MIN: i32 = -10;

/// The highest priority of a job; what is kept of a higher one counts as this.
pub const PRIORITY_MAX: i32 = 10;

/// A job to be: one action of one trigger for one occurrence. Its id is made of these three, and is the idempotency
/// key of every delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Its id.
    pub job_id: Uuid,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The trigger.
    pub trigger_id: Uuid,
    /// Its action.
    pub action_id: Uuid,
    /// `rest`, `telegram` or `mcp`.
    pub action_type: String,
    /// Higher goes first among its tenant's, [`PRIORITY_MIN`] to [`PRIORITY_MAX`].
    pub priority: i32,
    /// The event's stream.
    pub stream: StreamId,
    /// Its number.
    pub sequence_number: u64,
    /// The event.
    pub event_id: EventId,
    /// What happened, whichever block it stands in: the same for an event that comes back after a reorganization.
    pub occurrence: Uuid,
    /// What templates may name, as JSON text of an object.
    pub event: String,
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Nobody has it; it may be due later.
    Waiting,
    /// A worker has it.
    Running,
    /// It was delivered.
    Succeeded,
    /// It was given up: a dead letter, until somebody has it delivered again or purges it.
    Dead,
    /// It will not be delivered: its event was taken back, or its trigger deleted.
    Cancelled,
}

impl JobState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Running, Self::Succeeded, Self::Dead, Self::Cancelled];

    /// The word in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// A job as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRecord {
    /// What it is.
    pub job: NewJob,
    /// Where it is.
    pub state: JobState,
    /// Its place among all jobs: lower goes first; among equal ones higher priority does.
    pub tag: u64,
    /// Attempts that were begun.
    pub attempts: u32,
    /// How many of these before somebody had it delivered again: only later ones count against a limit.
    pub attempts_before: u32,
    /// Not before.
    pub due_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What went wrong last, or why it was cancelled.
    pub last_error: Option<String>,
}

/// A job in a worker's hands. What the worker writes about it names the claim, and counts only while it is the
/// job's last one.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimedJob {
    /// The job.
    pub job: JobRecord,
    /// The claim's number within the job, from 1.
    pub claim: u32,
}

/// Which jobs a worker wants.
#[derive(Debug, Clone)]
pub enum Claim {
    /// Those that are due, tenants in turns, each one's higher priority first: `limit` at most.
    Next {
        /// How many at most.
        limit: usize,
    },
    /// These, if they wait.
    These(Vec<Uuid>),
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptStatus {
    /// The receiver took it.
    Succeeded,
    /// It did not.
    Failed,
}

impl AttemptStatus {
    /// The word in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "success",
            Self::Failed => "failed",
        }
    }
}

/// One attempt at a delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRecord {
    /// The job.
    pub job_id: Uuid,
    /// Its number within the job, from 1.
    pub attempt: u32,
    /// How it ended.
    pub status: AttemptStatus,
    /// When it began.
    pub executed_at: Timestamp,
    /// Milliseconds that it took.
    pub duration_ms: u64,
    /// The HTTP status, if there was one.
    pub http_status: Option<u16>,
    /// What went wrong, without secrets.
    pub error_message: Option<String>,
    /// The beginning of what the receiver answered.
    pub response_data: Option<String>,
    /// Host and port, or another short name of the receiver.
    pub destination: String,
    /// Who delivered.
    pub worker: String,
}

/// What becomes of a claimed job.
#[derive(Debug, Clone, PartialEq)]
pub enum JobEnd {
    /// It was delivered.
    Succeeded,
    /// It waits again, until then.
    Retry {
        /// Not before.
        due_at: Timestamp,
        /// Whether an attempt was made, and counts.
        counts: bool,
    },
    /// A circuit breaker kept the attempt from being made: it waits again, until then, and no attempt counts.
    Barred {
        /// Not before.
        due_at: Timestamp,
    },
    /// It is a dead letter now.
    Dead,
    /// It will not be delivered.
    Cancelled,
}

/// What a worker has to say of one claimed job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobReport {
    /// The job.
    pub job_id: Uuid,
    /// The claim.
    pub claim: u32,
    /// What becomes of it.
    pub end: JobEnd,
    /// The attempt, if one was made.
    pub attempt: Option<AttemptRecord>,
    /// Why, if it did not succeed.
    pub error: Option<String>,
}

/// Which jobs to list or to act on.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Only of that organization.
    pub tenant_id: Option<TenantId>,
    /// Only in that state.
    pub state: Option<JobState>,
    /// Only of that trigger.
    pub trigger_id: Option<Uuid>,
    /// Only for that event.
    pub event_id: Option<EventId>,
    /// Only that one.
    pub job_id: Option<Uuid>,
    /// Only made before that moment and id (descending order): where the page before ended.
    pub before: Option<(Timestamp, Uuid)>,
    /// How many at most.
    pub limit: usize,
}

/// How full the queue is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Jobs that wait, due or not; counted up to a hundred thousand.
    pub waiting: u64,
    /// Jobs that are due.
    pub due: u64,
    /// Jobs in workers' hands.
    pub running: u64,
    /// Dead letters.
    pub dead: u64,
    /// When the job that has been due longest became due.
    pub oldest_due_at: Option<Timestamp>,
}

/// What a circuit breaker stands before.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BreakerKey {
    /// The deliveries of a trigger.
    Trigger(Uuid),
    /// The deliveries to a host, whoever's they are.
    Destination(String),
}

/// A circuit breaker's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Everything passes.
    Closed,
    /// Nothing passes.
    Open,
    /// A few pass, to try it out.
    HalfOpen,
}

impl BreakerState {
    /// The word in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }

    /// The state of that word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Closed, Self::Open, Self::HalfOpen].into_iter().find(|state| state.as_str() == word)
    }
}

/// A circuit breaker as it is kept. One that is closed without a failure may have no row.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerRecord {
    /// What it stands before.
    pub key: BreakerKey,
    /// Its state.
    pub state: BreakerState,
    /// Failures in a row.
    pub failure_count: u32,
    /// The last one.
    pub last_failure_at: Option<Timestamp>,
    /// Since when it is open.
    pub opened_at: Option<Timestamp>,
    /// Deliveries that are trying it out.
    pub probes: u32,
    /// When it opens and closes.
    pub settings: BreakerSettings,
}

/// What a delivery means for a circuit breaker.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerReport {
    /// Which.
    pub key: BreakerKey,
    /// How the delivery ended.
    pub succeeded: bool,
    /// When it opens and closes, from now on.
    pub settings: BreakerSettings,
}
