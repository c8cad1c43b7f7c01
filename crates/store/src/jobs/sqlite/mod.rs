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
use crate::sqlite::SqliteStore;
use crate::{
    AttemptRecord, BreakerKey, BreakerRecord, BreakerReport, Claim, ClaimedJob, JobFilter, JobRecord,
    JobReport, JobStore, QueueDepth, StoreError,
};

fn after(now: Timestamp, lease: Duration) -> Timestamp {
    let micros = i64::try_from(lease.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.micros().saturating_add(micros))
}

#[async_trait]
impl JobStore for SqliteStore {
    async fn claim_jobs(
        &self,
        claim: Claim,
        worker: &str,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<ClaimedJob>, StoreError> {
        let (changes, worker, until) = (self.changes.clone(), worker.to_owned(), after(now, lease));
        self.with_writer(move |connection| claims::claim(connection, &changes, &claim, &worker, until, now))
            .await
    }

    async fn report_jobs(&self, reports: Vec<JobReport>, now: Timestamp) -> Result<Vec<Uuid>, StoreError> {
        let changes = self.changes.clone();
        self.with_writer(move |connection| claims::report(connection, &changes, &reports, now)).await
    }

    async fn extend_claims(
        &self,
        claims: Vec<(Uuid, u32)>,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<(Uuid, u32)>, StoreError> {
        let (half, until) = (after(now, lease / 2), after(now, lease));
        self.with_writer(move |connection| claims::extend(connection, &claims, half, until)).await
    }

    async fn reclaim_jobs(&self, now: Timestamp) -> Result<u64, StoreError> {
        let changes = self.changes.clone();
        self.with_writer(move |connection| claims::reclaim(connection, &changes, now)).await
    }

    async fn give_up_barred(&self, before: Timestamp, now: Timestamp) -> Result<Vec<JobRecord>, StoreError> {
        let is_any =
            self.with_reader(move |connection| giving_up::is_any_barred(connection, before, now)).await?;
        if !is_any {
            return Ok(Vec::new());
        }
        self.with_writer(move |connection| giving_up::barred(connection, before, now)).await
    }

    async fn give_up_excess(&self, waiting_max: u64, now: Timestamp) -> Result<Vec<JobRecord>, StoreError> {
        let crowded = self.with_reader(move |connection| giving_up::crowded(connection, waiting_max)).await?;
        if crowded.is_empty() {
            return Ok(Vec::new());
        }
        self.with_writer(move |connection| giving_up::excess(connection, waiting_max, now)).await
    }

    async fn hand_over(&self, limit: usize, now: Timestamp) -> Result<Vec<JobRecord>, StoreError> {
        let changes = self.changes.clone();
        self.with_writer(move |connection| keeping::hand_over(connection, &changes, limit, now)).await
    }

    async fn take_back(&self, jobs: Option<Vec<Uuid>>) -> Result<u64, StoreError> {
        let changes = self.changes.clone();
        self.with_writer(move |connection| keeping::take_back(connection, &changes, jobs)).await
    }

    async fn handed(
        &self,
        before: Timestamp,
        after: Option<(Timestamp, Uuid)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, Uuid)>, StoreError> {
        self.with_reader(move |connection| keeping::handed(connection, before, after, limit)).await
    }

    async fn still_handed(&self, jobs: Vec<Uuid>) -> Result<Vec<Uuid>, StoreError> {
        self.with_reader(move |connection| keeping::still_handed(connection, &jobs)).await
    }

    async fn queue_depth(&self, now: Timestamp) -> Result<QueueDepth, StoreError> {
        let (depth, is_due) = self.with_reader(move |connection| keeping::depth(connection, now)).await?;
        if is_due {
            let changes = self.changes.clone();
            self.with_writer(move |connection| keeping::ready(connection, &changes, now)).await?;
        }
        Ok(depth)
    }

    async fn jobs(&self, filter: JobFilter) -> Result<Vec<JobRecord>, StoreError> {
        self.with_reader(move |connection| keeping::list(connection, &filter)).await
    }

    async fn attempts(&self, job_id: Uuid) -> Result<Vec<AttemptRecord>, StoreError> {
        self.with_reader(move |connection| keeping::attempts(connection, job_id)).await
    }

    async fn redeliver(&self, filter: JobFilter, now: Timestamp) -> Result<Vec<Uuid>, StoreError> {
        let changes = self.changes.clone();
        self.with_writer(move |connection| keeping::redeliver(connection, &changes, &filter, now)).await
    }

    async fn purge_jobs(&self, filter: JobFilter) -> Result<Vec<Uuid>, StoreError> {
        self.with_writer(move |connection| keeping::purge(connection, &filter)).await
    }

    async fn forget_jobs(&self, before: Timestamp, limit: u64) -> Result<u64, StoreError> {
        self.with_writer(move |connection| keeping::forget(connection, OVER, before, limit)).await
    }

    async fn forget_dead(&self, before: Timestamp, limit: u64) -> Result<u64, StoreError> {
        self.with_writer(move |connection| keeping::forget(connection, DEAD, before, limit)).await
    }

    async fn breakers(&self, keys: Option<Vec<BreakerKey>>) -> Result<Vec<BreakerRecord>, StoreError> {
        self.with_reader(move |connection| breakers::list(connection, keys)).await
    }

    async fn report_deliveries(
        &self,
        reports: Vec<BreakerReport>,
        now: Timestamp,
    ) -> Result<Vec<BreakerRecord>, StoreError> {
        let changes = self.changes.clone();
        self.with_writer(move |connection| breakers::report(connection, &changes, &reports, now)).await
    }

    async fn half_open_breakers(&self, now: Timestamp) -> Result<Vec<BreakerRecord>, StoreError> {
        let changes = self.changes.clone();
        self.with_writer(move |connection| breakers::half_open(connection, &changes, now)).await
    }

    async fn take_probe(&self, key: &BreakerKey, now: Timestamp) -> Result<bool, StoreError> {
        let key = key.clone();
        self.with_writer(move |connection| breakers::take_probe(connection, &key, now)).await
    }

    async fn reset_breaker(&self, key: &BreakerKey, _now: Timestamp) -> Result<bool, StoreError> {
        let (changes, key) = (self.changes.clone(), key.clone());
        self.with_writer(move |connection| breakers::reset(connection, &changes, &key)).await
    }
}
