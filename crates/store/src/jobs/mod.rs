//! The contract of jobs: the table is the truth, whatever hands jobs to workers.
//!
//! A job's row says whether it waits, who has it and how it ended. An engine that hands jobs out faster (Redis) only
//! carries ids: a worker has a job when the row says so.

pub(crate) mod breaking;
pub(crate) mod lanes;
pub(crate) mod postgres;
pub(crate) mod queueing;
pub(crate) mod records;
pub(crate) mod sqlite;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use bowline_types::Timestamp;
use uuid::Uuid;

use crate::StoreError;
use crate::jobs::records::{
    AttemptRecord, BreakerKey, BreakerRecord, BreakerReport, Claim, ClaimedJob, JobFilter, JobRecord,
    JobReport, QueueDepth,
};

/// Where jobs live.
///
/// `now` is the time that rows get. Leases go by the store's own clock, so that a worker whose clock is wrong neither
/// loses jobs nor gets others': PostgreSQL's is the server's; SQLite is one process's, and `now` is its clock.
#[async_trait]
pub trait JobStore: Debug + Send + Sync + 'static {
    /// Gives waiting jobs to `worker` for `lease`, in one transaction; several workers never get the same one.
    ///
    /// A tenant with many jobs does not hold up the others, whatever their priority: at insertion a job gets a tag, one
    /// more than the larger of its tenant's last tag of that priority or a higher one and the highest tag that was
    /// claimed, and claims go by tag and then by priority (`lanes`).
    async fn claim_jobs(
        &self,
        claim: Claim,
        worker: &str,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<ClaimedJob>, StoreError>;

    /// Writes what became of claimed jobs, with their attempts, in one transaction. A report under a claim that is not
    /// the job's last one changes nothing but that its attempt is kept. Returns the jobs whose reports counted.
    async fn report_jobs(&self, reports: Vec<JobReport>, now: Timestamp) -> Result<Vec<Uuid>, StoreError>;

    /// Prolongs those of these claims that are still held and have half of `lease` left or less, and returns all that
    /// are still held. A claim that is not returned is lost: its job may be in another worker's hands.
    async fn extend_claims(
        &self,
        claims: Vec<(Uuid, u32)>,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<(Uuid, u32)>, StoreError>;

    /// Lets jobs whose worker's lease has run out wait again; returns how many. The attempt counts: nobody can know
    /// whether it was begun.
    async fn reclaim_jobs(&self, now: Timestamp) -> Result<u64, StoreError>;

    /// Gives up jobs that have waited behind open circuit breakers since before that moment, the oldest first: a
    /// thousand at most. They are dead letters from now on, with that reason. Returns them.
    ///
    /// A job that is due is not given up: it asks its breaker first. The time in which it was due and no worker took it
    /// does not count, and whatever else than a breaker keeps it waiting begins the time anew.
    async fn give_up_barred(&self, before: Timestamp, now: Timestamp) -> Result<Vec<JobRecord>, StoreError>;

    /// Gives up waiting jobs of each tenant that has more than `waiting_max` of them, as many as are too many: those that
    /// circuit breakers bar and that are not due, or that were tried before, the oldest first; never one that is due for
    /// its first attempt. A thousand at most; they are dead letters from now on, with that reason. Returns them.
    async fn give_up_excess(&self, waiting_max: u64, now: Timestamp) -> Result<Vec<JobRecord>, StoreError>;

    /// Jobs that are due and were not handed to the engine yet, in the order of claims; they count as handed over from
    /// now on, until they wait anew.
    async fn hand_over(&self, limit: usize, now: Timestamp) -> Result<Vec<JobRecord>, StoreError>;

    /// Forgets that jobs were handed over: the engine has lost them. All that wait, or these.
    async fn take_back(&self, jobs: Option<Vec<Uuid>>) -> Result<u64, StoreError>;

    /// Waiting jobs that were handed over before `before`, with when: ascending by time and id, after that place,
    /// `limit` at most.
    async fn handed(
        &self,
        before: Timestamp,
        after: Option<(Timestamp, Uuid)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, Uuid)>, StoreError>;

    /// Which of these wait and count as handed over.
    async fn still_handed(&self, jobs: Vec<Uuid>) -> Result<Vec<Uuid>, StoreError>;

    /// How full the queue is.
    async fn queue_depth(&self, now: Timestamp) -> Result<QueueDepth, StoreError>;

    /// Jobs, the newest first.
    async fn jobs(&self, filter: JobFilter) -> Result<Vec<JobRecord>, StoreError>;

    /// Every attempt at a job, the first one first.
    async fn attempts(&self, job_id: Uuid) -> Result<Vec<AttemptRecord>, StoreError>;

    /// Dead or cancelled (or, by id, delivered) jobs wait again, under the same ids: `filter.limit` at most. Returns
    /// them.
    async fn redeliver(&self, filter: JobFilter, now: Timestamp) -> Result<Vec<Uuid>, StoreError>;

    /// Deletes ended jobs that match, with their attempts: `filter.limit` at most. Returns them.
    async fn purge_jobs(&self, filter: JobFilter) -> Result<Vec<Uuid>, StoreError>;

    /// Deletes delivered and cancelled jobs that ended before `before`, with their attempts: `limit` at most.
    async fn forget_jobs(&self, before: Timestamp, limit: u64) -> Result<u64, StoreError>;

    /// Deletes dead letters that were given up before `before`, with their attempts: `limit` at most.
    async fn forget_dead(&self, before: Timestamp, limit: u64) -> Result<u64, StoreError>;

    /// Circuit breakers that are not closed, or were asked for by key.
    async fn breakers(&self, keys: Option<Vec<BreakerKey>>) -> Result<Vec<BreakerRecord>, StoreError>;

    /// Counts deliveries, in order, and returns the breakers whose state changed, as they are now. Raises
    /// [`crate::ChangeKind::BREAKERS`] if one did.
    ///
    /// Closed: a success forgets the failures, and so many failures in a row open it. Half open: a success closes it, a
    /// failure opens it. Open: nothing changes but the last failure.
    async fn report_deliveries(
        &self,
        reports: Vec<BreakerReport>,
        now: Timestamp,
    ) -> Result<Vec<BreakerRecord>, StoreError>;

    /// Makes breakers half open whose time has come, and returns them.
    async fn half_open_breakers(&self, now: Timestamp) -> Result<Vec<BreakerRecord>, StoreError>;

    /// Takes one of the places for trying a half-open breaker out; false if all are taken, or if it is not half open.
    /// A place that was taken and never reported on is free again when the breaker's time has passed once more.
    async fn take_probe(&self, key: &BreakerKey, now: Timestamp) -> Result<bool, StoreError>;

    /// Closes a breaker and forgets its failures; false if there was nothing to do.
    async fn reset_breaker(&self, key: &BreakerKey, now: Timestamp) -> Result<bool, StoreError>;
}
