//! What is to be delivered, every attempt, and circuit breakers.

use std::time::Duration;

use async_trait::async_trait;
use bowline_types::Timestamp;
use uuid::Uuid;

use super::SqliteStore;
use crate::{
    AttemptRecord, BreakerKey, BreakerRecord, BreakerReport, Claim, ClaimedJob, JobFilter, JobRecord,
    JobReport, JobStore, QueueDepth, StoreError,
};

#[async_trait]
impl JobStore for SqliteStore {
    async fn claim_jobs(
        &self,
        _claim: Claim,
        _worker: &str,
        _lease: Duration,
        _now: Timestamp,
    ) -> Result<Vec<ClaimedJob>, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn report_jobs(&self, _reports: Vec<JobReport>, _now: Timestamp) -> Result<Vec<Uuid>, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn extend_claims(
        &self,
        _claims: Vec<(Uuid, u32)>,
        _lease: Duration,
        _now: Timestamp,
    ) -> Result<(), StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn reclaim_jobs(&self, _now: Timestamp) -> Result<u64, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn hand_over(&self, _limit: usize, _now: Timestamp) -> Result<Vec<JobRecord>, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn take_back(&self, _jobs: Option<Vec<Uuid>>) -> Result<u64, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn queue_depth(&self, _now: Timestamp) -> Result<QueueDepth, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn jobs(&self, _filter: JobFilter) -> Result<Vec<JobRecord>, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn attempts(&self, _job_id: Uuid) -> Result<Vec<AttemptRecord>, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn redeliver(&self, _filter: JobFilter, _now: Timestamp) -> Result<Vec<Uuid>, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn purge_jobs(&self, _filter: JobFilter) -> Result<Vec<Uuid>, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn forget_jobs(&self, _before: Timestamp, _limit: u64) -> Result<u64, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn breakers(&self, _keys: Option<Vec<BreakerKey>>) -> Result<Vec<BreakerRecord>, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn report_deliveries(
        &self,
        _reports: Vec<BreakerReport>,
        _now: Timestamp,
    ) -> Result<Vec<BreakerRecord>, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn half_open_breakers(&self, _now: Timestamp) -> Result<Vec<BreakerRecord>, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn take_probe(&self, _key: &BreakerKey, _now: Timestamp) -> Result<bool, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }

    async fn reset_breaker(&self, _key: &BreakerKey, _now: Timestamp) -> Result<bool, StoreError> {
        Err(StoreError::Internal("not here yet".to_owned()))
    }
}
