//! Jobs without a trigger, for tests of the queue alone. They are written as matching writes them.

use std::sync::Arc;

use bowline_store::{ClaimedJob, JobEnd, JobReport, LineStore, MatchCommit, NewJob};
use bowline_types::{EventId, StoreId, StreamId, TenantId, Timestamp};
use uuid::Uuid;

use crate::rig::begin;

/// That many seconds after the tests' beginning of time.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + seconds * 1_000_000)
}

/// A job to be made.
pub(crate) fn made(tenant_id: TenantId) -> NewJob {
    NewJob {
        job_id: Uuid::new_v4(),
        tenant_id,
        trigger_id: Uuid::from_u128(7),
        action_id: Uuid::nil(),
        action_type: "rest".to_owned(),
        priority: 0,
        stream: StreamId::new(tenant_id, StoreId::random()),
        sequence_number: 1,
        event_id: EventId::random(),
        occurrence: Uuid::new_v4(),
        event: "{}".to_owned(),
    }
}

pub(crate) fn several(tenant_id: TenantId, count: usize) -> Vec<NewJob> {
    (0..count).map(|_| made(tenant_id)).collect()
}

pub(crate) fn ids(jobs: &[NewJob]) -> Vec<Uuid> {
    jobs.iter().map(|job| job.job_id).collect()
}

/// Writes jobs of the first event of a new stream.
pub(crate) async fn insert(store: &Arc<dyn LineStore>, jobs: &[NewJob]) {
    let stream = StreamId::new(TenantId::random(), StoreId::random());
    begin(store, stream, at(0)).await;
    let jobs = jobs.iter().map(|job| NewJob { stream, ..job.clone() }).collect();
    let commit = MatchCommit {
        follower: "triggers",
        stream,
        from: 0,
        to: 1,
        state: Vec::new(),
        jobs,
        retracted: Vec::new(),
        processed: Vec::new(),
        processor: "test".to_owned(),
    };
    store.commit_matches(commit, at(0)).await.unwrap();
}

/// Reports that claimed jobs ended.
pub(crate) async fn end(store: &Arc<dyn LineStore>, claimed: &[ClaimedJob], end: JobEnd) {
    let report = |claimed: &ClaimedJob| JobReport {
        job_id: claimed.job.job.job_id,
        claim: claimed.claim,
        end: end.clone(),
        attempt: None,
        error: None,
    };
    let reports = claimed.iter().map(report).collect();
    assert_eq!(store.report_jobs(reports, at(5)).await.unwrap().len(), claimed.len());
}
