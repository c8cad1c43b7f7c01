//! What is to be delivered, every attempt, and circuit breakers.
//! The work is in the files below, in native SQL; what both stores decide alike is in `breaking` and `queueing`.

mod breakers;
mod claims;
mod giving_up;
pub(crate) mod insert;
mod keeping;
mod rows;

use std::time::Duration;

use async_trait::async_trait;
use bowline_types::Timestamp;
use uuid::Uuid;

use crate::jobs::queueing::{DEAD, OVER};
use crate::postgres::PostgresStore;
use crate::postgres::error::{refuse, refuse_commit};
use crate::{
    AttemptRecord, BreakerKey, BreakerRecord, BreakerReport, Claim, ClaimedJob, JobFilter, JobRecord,
    JobReport, JobStore, QueueDepth, StoreError,
};

#[async_trait]
impl JobStore for PostgresStore {
    async fn claim_jobs(
        &self,
        claim: Claim,
        worker: &str,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<ClaimedJob>, StoreError> {
        let claimed = claims::claim(self.pool()?, &self.changes, &claim, worker, lease, now).await;
        self.counted(claimed.map_err(|e| refuse_commit(&e)))
    }

    async fn report_jobs(&self, reports: Vec<JobReport>, now: Timestamp) -> Result<Vec<Uuid>, StoreError> {
        let reported = claims::report(self.pool()?, &self.changes, &reports, now).await;
        self.counted(reported.map_err(|e| refuse_commit(&e)))
    }

    async fn extend_claims(
        &self,
        claims: Vec<(Uuid, u32)>,
        lease: Duration,
        _now: Timestamp,
    ) -> Result<Vec<(Uuid, u32)>, StoreError> {
        let extended = claims::extend(self.pool()?, &claims, lease).await;
        self.counted(extended.map_err(|e| refuse_commit(&e)))
    }

    async fn reclaim_jobs(&self, now: Timestamp) -> Result<u64, StoreError> {
        let reclaimed = claims::reclaim(self.pool()?, &self.changes, now).await;
        self.counted(reclaimed.map_err(|e| refuse_commit(&e)))
    }

    async fn give_up_barred(&self, before: Timestamp, now: Timestamp) -> Result<Vec<JobRecord>, StoreError> {
        let given_up = giving_up::barred(self.pool()?, before, now).await;
        self.counted(given_up.map_err(|e| refuse_commit(&e)))
    }

    async fn give_up_excess(&self, waiting_max: u64, now: Timestamp) -> Result<Vec<JobRecord>, StoreError> {
        let given_up = giving_up::excess(self.pool()?, waiting_max, now).await;
        self.counted(given_up.map_err(|e| refuse_commit(&e)))
    }

    async fn hand_over(&self, limit: usize, now: Timestamp) -> Result<Vec<JobRecord>, StoreError> {
        let handed = keeping::hand_over(self.pool()?, &self.changes, limit, now).await;
        self.counted(handed.map_err(|e| refuse_commit(&e)))
    }

    async fn take_back(&self, jobs: Option<Vec<Uuid>>) -> Result<u64, StoreError> {
        let taken = keeping::take_back(self.pool()?, &self.changes, jobs.as_deref()).await;
        self.counted(taken.map_err(|e| refuse_commit(&e)))
    }

    async fn handed(
        &self,
        before: Timestamp,
        after: Option<(Timestamp, Uuid)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, Uuid)>, StoreError> {
        self.counted(keeping::handed(self.pool()?, before, after, limit).await.map_err(|e| refuse(&e)))
    }

    async fn still_handed(&self, jobs: Vec<Uuid>) -> Result<Vec<Uuid>, StoreError> {
        self.counted(keeping::still_handed(self.pool()?, &jobs).await.map_err(|e| refuse(&e)))
    }

    async fn queue_depth(&self, now: Timestamp) -> Result<QueueDepth, StoreError> {
        self.counted(keeping::depth(self.pool()?, &self.changes, now).await.map_err(|e| refuse(&e)))
    }

    async fn jobs(&self, filter: JobFilter) -> Result<Vec<JobRecord>, StoreError> {
        self.counted(keeping::list(self.pool()?, &filter).await.map_err(|e| refuse(&e)))
    }

    async fn attempts(&self, job_id: Uuid) -> Result<Vec<AttemptRecord>, StoreError> {
        self.counted(keeping::attempts(self.pool()?, job_id).await.map_err(|e| refuse(&e)))
    }

    async fn redeliver(&self, filter: JobFilter, now: Timestamp) -> Result<Vec<Uuid>, StoreError> {
        let redelivered = keeping::redeliver(self.pool()?, &self.changes, &filter, now).await;
        self.counted(redelivered.map_err(|e| refuse_commit(&e)))
    }

    async fn purge_jobs(&self, filter: JobFilter) -> Result<Vec<Uuid>, StoreError> {
        self.counted(keeping::purge(self.pool()?, &filter).await.map_err(|e| refuse_commit(&e)))
    }

    async fn forget_jobs(&self, before: Timestamp, limit: u64) -> Result<u64, StoreError> {
        self.counted(keeping::forget(self.pool()?, OVER, before, limit).await.map_err(|e| refuse_commit(&e)))
    }

    async fn forget_dead(&self, before: Timestamp, limit: u64) -> Result<u64, StoreError> {
        self.counted(keeping::forget(self.pool()?, DEAD, before, limit).await.map_err(|e| refuse_commit(&e)))
    }

    async fn breakers(&self, keys: Option<Vec<BreakerKey>>) -> Result<Vec<BreakerRecord>, StoreError> {
        self.counted(breakers::list(self.pool()?, keys).await.map_err(|e| refuse(&e)))
    }

    async fn report_deliveries(
        &self,
        reports: Vec<BreakerReport>,
        now: Timestamp,
    ) -> Result<Vec<BreakerRecord>, StoreError> {
        let turned = breakers::report(self.pool()?, &self.changes, &reports, now).await;
        self.counted(turned.map_err(|e| refuse_commit(&e)))
    }

    async fn half_open_breakers(&self, now: Timestamp) -> Result<Vec<BreakerRecord>, StoreError> {
        let turned = breakers::half_open(self.pool()?, &self.changes, now).await;
        self.counted(turned.map_err(|e| refuse_commit(&e)))
    }

    async fn take_probe(&self, key: &BreakerKey, now: Timestamp) -> Result<bool, StoreError> {
        self.counted(breakers::take_probe(self.pool()?, key, now).await.map_err(|e| refuse_commit(&e)))
    }

    async fn reset_breaker(&self, key: &BreakerKey, _now: Timestamp) -> Result<bool, StoreError> {
        let reset = breakers::reset(self.pool()?, &self.changes, key).await;
        self.counted(reset.map_err(|e| refuse_commit(&e)))
    }
}
