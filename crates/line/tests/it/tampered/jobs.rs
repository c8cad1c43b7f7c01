//! The tampered store's jobs go to SQLite as they are.
//! No test tampers with them; what becomes of jobs is the store's own tests' business.

use std::time::Duration;

use async_trait::async_trait;
use bowline_store::{
    AttemptRecord, BreakerKey, BreakerRecord, BreakerReport, Claim, ClaimedJob, JobFilter, JobRecord,
    JobReport, JobStore, QueueDepth, StoreError,
};
use bowline_types::Timestamp;
use uuid::Uuid;

use super::TamperedStore;

#[async_trait]
impl JobStore for TamperedStore {
    async fn claim_jobs(
        &self,
        claim: Claim,
        worker: &str,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<ClaimedJob>, StoreError> {
        self.store.claim_jobs(claim, worker, lease, now).await
    }

    async fn report_jobs(&self, reports: Vec<JobReport>, now: Timestamp) -> Result<Vec<Uuid>, StoreError> {
        self.store.report_jobs(reports, now).await
    }

    async fn extend_claims(
        &self,
        claims: Vec<(Uuid, u32)>,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<(Uuid, u32)>, StoreError> {
        self.store.extend_claims(claims, lease, now).await
    }

    async fn reclaim_jobs(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.store.reclaim_jobs(now).await
    }

    async fn give_up_barred(&self, before: Timestamp, now: Timestamp) -> Result<Vec<JobRecord>, StoreError> {
        self.store.give_up_barred(before, now).await
    }

    async fn give_up_excess(&self, waiting_max: u64, now: Timestamp) -> Result<Vec<JobRecord>, StoreError> {
        self.store.give_up_excess(waiting_max, now).await
    }

    async fn hand_over(&self, limit: usize, now: Timestamp) -> Result<Vec<JobRecord>, StoreError> {
        self.store.hand_over(limit, now).await
    }

    async fn take_back(&self, jobs: Option<Vec<Uuid>>) -> Result<u64, StoreError> {
        self.store.take_back(jobs).await
    }

    async fn handed(
        &self,
        before: Timestamp,
        after: Option<(Timestamp, Uuid)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, Uuid)>, StoreError> {
        self.store.handed(before, after, limit).await
    }

    async fn still_handed(&self, jobs: Vec<Uuid>) -> Result<Vec<Uuid>, StoreError> {
        self.store.still_handed(jobs).await
    }

    async fn queue_depth(&self, now: Timestamp) -> Result<QueueDepth, StoreError> {
        self.store.queue_depth(now).await
    }

    async fn jobs(&self, filter: JobFilter) -> Result<Vec<JobRecord>, StoreError> {
        self.store.jobs(filter).await
    }

    async fn attempts(&self, job_id: Uuid) -> Result<Vec<AttemptRecord>, StoreError> {
        self.store.attempts(job_id).await
    }

    async fn redeliver(&self, filter: JobFilter, now: Timestamp) -> Result<Vec<Uuid>, StoreError> {
        self.store.redeliver(filter, now).await
    }

    async fn purge_jobs(&self, filter: JobFilter) -> Result<Vec<Uuid>, StoreError> {
        self.store.purge_jobs(filter).await
    }

    async fn forget_jobs(&self, before: Timestamp, limit: u64) -> Result<u64, StoreError> {
        self.store.forget_jobs(before, limit).await
    }

    async fn forget_dead(&self, before: Timestamp, limit: u64) -> Result<u64, StoreError> {
        self.store.forget_dead(before, limit).await
    }

    async fn breakers(&self, keys: Option<Vec<BreakerKey>>) -> Result<Vec<BreakerRecord>, StoreError> {
        self.store.breakers(keys).await
    }

    async fn report_deliveries(
        &self,
        reports: Vec<BreakerReport>,
        now: Timestamp,
    ) -> Result<Vec<BreakerRecord>, StoreError> {
        self.store.report_deliveries(reports, now).await
    }

    async fn half_open_breakers(&self, now: Timestamp) -> Result<Vec<BreakerRecord>, StoreError> {
        self.store.half_open_breakers(now).await
    }

    async fn take_probe(&self, key: &BreakerKey, now: Timestamp) -> Result<bool, StoreError> {
        self.store.take_probe(key, now).await
    }

    async fn reset_breaker(&self, key: &BreakerKey, now: Timestamp) -> Result<bool, StoreError> {
        self.store.reset_breaker(key, now).await
    }
}
