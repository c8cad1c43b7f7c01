//! Matching: every event once, whatever stops, comes back, fails or fills up.
//!
//! Each test runs on both stores, with the tasks that a process runs.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bowline_runtime::{Clock, SystemClock};
use bowline_store::{Claim, JobEnd, JobReport, JobState};
use bowline_triggers::MatchingConfig;
use bowline_types::{StoreId, StreamId, TenantId};
use serde_json::json;
use uuid::Uuid;

use crate::events::{append, chain, event, feedback, payload, retraction};
use crate::handle::input;
use crate::support::{Process, TestStore, quick, until};

const FOLLOWER: &str = "triggers";

async fn matched_up_to(process: &Process, stream: StreamId, number: u64) {
    until("the cursor", || async { process.store.cursor(FOLLOWER, stream).await.unwrap() >= number }).await;
}

pub(crate) async fn of_two_services_none_loses_and_none_doubles(place: Arc<TestStore>) {
    let owner = Process::idle(&place).await;
    let conditions = json!([{"condition_type": "score_threshold", "operator": "<", "value": 60}]);
    owner.handle.create(TenantId::random(), input(conditions)).await.unwrap();
    // On SQLite the processes are two services on one store.
    let store = |owner: &Process| Arc::clone(&owner.store);
    let two = matches!(*place, TestStore::Database { .. });
    let open = || async { if two { place.open().await } else { store(&owner) } };
    let mut services = vec![Process::start(open().await, quick()), Process::start(open().await, quick())];
    for batch in 0..20_u128 {
        let events = (0..25).map(|index| {
            let occurrence = batch * 25 + index;
            feedback(occurrence, json!({"value": if occurrence % 2 == 0 { "10" } else { "90" }}))
        });
        append(&owner.store, events.collect()).await;
        if batch % 5 == 4 {
            services.remove(0).stop().await;
            services.push(Process::start(open().await, quick()));
        }
    }
    matched_up_to(&owner, chain(), 500).await;
    let jobs = owner.jobs(None).await;
    let occurrences: HashSet<Uuid> = jobs.iter().map(|record| record.job.occurrence).collect();
    assert_eq!((jobs.len(), occurrences.len()), (250, 250));
    for service in services {
        service.stop().await;
    }
}

pub(crate) async fn what_the_chain_takes_back_is_reversed(place: Arc<TestStore>) {
    let process = Process::matching(&place, quick()).await;
    let tenant = TenantId::random();
    let conditions = json!([
        {"condition_type": "event_type_equals", "value": "NewFeedback"},
        {"condition_type": "ema_threshold", "operator": "<", "value": 1000, "config": {"window_size": 3}},
        {"condition_type": "rate_limit", "operator": ">=", "value": 1, "config": {"time_window": "1h"}},
    ]);
    let made = process.handle.create(tenant, input(conditions)).await.unwrap();
    let remembered = |process: &Process| {
        let (handle, id) = (process.handle.clone(), made.id);
        async move {
            let state = handle.trigger_state(tenant, id, 10).await.unwrap();
            let ema =
                state.iter().find_map(|entry| entry.state.get("ema").and_then(serde_json::Value::as_f64));
            let times = state.iter().find_map(|entry| entry.state.get("recent_timestamps").cloned());
            let times = times.and_then(|times| times.as_array().map(Vec::len)).unwrap_or(0);
            (ema.unwrap_or(-1.0), times)
        }
    };
    let events: Vec<_> = [(1, "80"), (2, "20"), (3, "50")]
        .map(|(index, value)| feedback(index, json!({"value": value})))
        .into();
    append(&process.store, events.clone()).await;
    matched_up_to(&process, chain(), 3).await;
    assert_eq!(remembered(&process).await, (50.0, 3));

    // The chain takes the last one back, and then has it in another block.
    append(&process.store, vec![retraction(&events[2])]).await;
    matched_up_to(&process, chain(), 4).await;
    assert_eq!(remembered(&process).await, (50.0, 2));
    assert_eq!(process.jobs(Some(JobState::Cancelled)).await.len(), 1);
    append(&process.store, vec![feedback(3, json!({"value": "50", "block_number": 11}))]).await;
    matched_up_to(&process, chain(), 5).await;
    assert_eq!(remembered(&process).await, (50.0, 3));
    assert_eq!(process.jobs(Some(JobState::Waiting)).await.len(), 3);

    // A client revokes the second one: what is left is 80 and 50.
    let fields = json!({"event_type": "FeedbackRevoked", "feedback_index": "2"});
    let revocation = event(chain(), "FeedbackRevoked", &payload(9, fields));
    append(&process.store, vec![revocation.clone()]).await;
    matched_up_to(&process, chain(), 6).await;
    assert_eq!(remembered(&process).await.0, 65.0);
    // And the chain takes the revocation back.
    append(&process.store, vec![retraction(&revocation)]).await;
    matched_up_to(&process, chain(), 7).await;
    assert_eq!(remembered(&process).await, (50.0, 3));
    process.stop().await;
}

pub(crate) async fn a_full_queue_holds_matching_up(place: Arc<TestStore>) {
    let config = MatchingConfig { page_events: 5, queue_high_depth: 5, queue_critical_depth: 20, ..quick() };
    let process = Process::matching(&place, config).await;
    process.handle.create(TenantId::random(), input(json!([]))).await.unwrap();
    append(&process.store, (1..=60).map(|index| feedback(index, json!({}))).collect()).await;
    let mut delivered = 0;
    while delivered < 60 {
        until("jobs", || async {
            process.jobs(Some(JobState::Waiting)).await.len() >= 20.min(60 - delivered)
        })
        .await;
        assert!(process.jobs(Some(JobState::Waiting)).await.len() < 25, "nothing comes on top");
        let now = SystemClock.now();
        let lease = Duration::from_secs(60);
        let claimed = process.store.claim_jobs(Claim::Next { limit: 10 }, "w", lease, now).await.unwrap();
        delivered += claimed.len();
        let end = |job: bowline_store::ClaimedJob| JobReport {
            job_id: job.job.job.job_id,
            claim: job.claim,
            end: JobEnd::Succeeded,
            attempt: None,
            error: None,
        };
        process.store.report_jobs(claimed.into_iter().map(end).collect(), now).await.unwrap();
    }
    assert_eq!(process.jobs(Some(JobState::Succeeded)).await.len(), 60);
    process.stop().await;
}

pub(crate) async fn an_organization_whose_jobs_are_barred_holds_up_no_other(place: Arc<TestStore>) {
    let config = MatchingConfig { page_events: 5, queue_high_depth: 5, queue_critical_depth: 40, ..quick() };
    let process = Process::matching(&place, config).await;
    let (well, barred) = (TenantId::random(), TenantId::random());
    for tenant_id in [well, barred] {
        process.handle.create(tenant_id, input(json!([]))).await.unwrap();
    }
    append(&process.store, (1..=100).map(|index| feedback(index, json!({}))).collect()).await;
    // A worker to which the receivers of one organization are away for long.
    let (lease, deadline) = (Duration::from_secs(60), tokio::time::Instant::now() + Duration::from_secs(60));
    let mut delivered = 0;
    while delivered < 100 {
        assert!(tokio::time::Instant::now() < deadline, "{delivered} of 100 were matched and delivered");
        let now = SystemClock.now();
        let claimed = process.store.claim_jobs(Claim::Next { limit: 10 }, "w", lease, now).await.unwrap();
        if claimed.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let end = |job: bowline_store::ClaimedJob| {
            let later = bowline_types::Timestamp::from_micros(now.micros() + 3_600_000_000);
            let is_barred = job.job.job.tenant_id == barred;
            let end = if is_barred { JobEnd::Barred { due_at: later } } else { JobEnd::Succeeded };
            JobReport { job_id: job.job.job.job_id, claim: job.claim, end, attempt: None, error: None }
        };
        let reports: Vec<JobReport> = claimed.into_iter().map(end).collect();
        delivered += reports.iter().filter(|report| report.end == JobEnd::Succeeded).count();
        process.store.report_jobs(reports, now).await.unwrap();
    }
    // Nothing is lost: the oldest of its jobs are dead letters that say why, the others wait.
    let dead = process.jobs(Some(JobState::Dead)).await;
    let waiting = process.jobs(Some(JobState::Waiting)).await;
    assert_eq!((dead.len() + waiting.len(), process.jobs(Some(JobState::Succeeded)).await.len()), (100, 100));
    assert!(dead.len() >= 50, "{}", dead.len());
    for job in dead {
        let error = job.last_error.unwrap();
        assert!(
            job.job.tenant_id == barred && error.starts_with("TENANT_QUEUE_FULL: more than 16 jobs"),
            "{error}"
        );
    }
    process.stop().await;
}

pub(crate) async fn what_cannot_be_matched_is_set_aside(place: Arc<TestStore>) {
    let process = Process::matching(&place, quick()).await;
    process.handle.create(TenantId::random(), input(json!([]))).await.unwrap();
    let poison = event(chain(), "NewFeedback", &json!(["no", "object"]));
    let stored = append(&process.store, vec![feedback(1, json!({})), poison, feedback(2, json!({}))]).await;
    matched_up_to(&process, chain(), 3).await;
    let row = process.store.processed_event(chain(), stored[1].envelope.event_id).await.unwrap().unwrap();
    assert!(row.problem.unwrap().contains("not an object"));
    let row = process.store.processed_event(chain(), stored[2].envelope.event_id).await.unwrap().unwrap();
    assert_eq!((row.problem, row.triggers_matched, row.actions_enqueued), (None, 1, 1));
    assert_eq!(process.jobs(None).await.len(), 2);
    process.stop().await;
}

pub(crate) async fn events_from_before_a_trigger_do_not_fire(place: Arc<TestStore>) {
    let owner = Process::idle(&place).await;
    append(&owner.store, vec![feedback(1, json!({}))]).await;
    owner.handle.create(TenantId::random(), input(json!([]))).await.unwrap();
    append(&owner.store, vec![feedback(2, json!({}))]).await;
    let process = Process::start(Arc::clone(&owner.store), quick());
    matched_up_to(&process, chain(), 2).await;
    let jobs = process.jobs(None).await;
    assert_eq!(jobs.iter().map(|record| record.job.sequence_number).collect::<Vec<_>>(), [2]);
    assert!(
        jobs[0].job.event.contains(r#""sequence_number":2"#) && jobs[0].job.event.contains(r#""value":"80""#)
    );
    process.stop().await;
}

pub(crate) async fn what_no_wake_up_told_is_found(place: Arc<TestStore>) {
    let process = Process::matching(&place, quick()).await;
    process.handle.create(TenantId::random(), input(json!([]))).await.unwrap();
    append(&process.store, vec![feedback(1, json!({}))]).await;
    matched_up_to(&process, chain(), 1).await;
    // Another process wakes nobody here on SQLite; on PostgreSQL its notification comes.
    let other = place.open().await;
    append(&other, vec![feedback(2, json!({}))]).await;
    matched_up_to(&process, chain(), 2).await;
    assert_eq!(process.jobs(None).await.len(), 2);
    process.stop().await;
}

pub(crate) async fn an_organization_matches_its_own_stream(place: Arc<TestStore>) {
    let process = Process::matching(&place, quick()).await;
    let (mine, theirs) = (TenantId::random(), TenantId::random());
    let conditions =
        json!([{"condition_type": "field_match", "field": "total", "operator": ">", "value": 10}]);
    for tenant in [mine, theirs] {
        let mut line = input(conditions.clone());
        line.registry = Some("line".to_owned());
        process.handle.create(tenant, line).await.unwrap();
    }
    let mut everything = input(json!([]));
    everything.registry = None;
    process.handle.create(theirs, everything).await.unwrap();
    let stream = StreamId::new(mine, StoreId::random());
    let orders = [5, 17].map(|total| event(stream, "Retracted", &json!({"total": total})));
    append(&process.store, orders.into()).await;
    matched_up_to(&process, stream, 2).await;
    let jobs = process.jobs(None).await;
    assert_eq!(jobs.len(), 1, "a chain's retraction is no word on an organization's own stream");
    assert_eq!((jobs[0].job.tenant_id, jobs[0].job.sequence_number), (mine, 2));
    process.stop().await;
}

pub(crate) async fn many_matches_of_one_event_are_all_written(place: Arc<TestStore>) {
    let owner = Process::idle(&place).await;
    for _ in 0..3 {
        let tenant = TenantId::random();
        for _ in 0..60 {
            owner.handle.create(tenant, input(json!([]))).await.unwrap();
        }
    }
    append(&owner.store, vec![feedback(1, json!({})), feedback(2, json!({}))]).await;
    let process = Process::start(Arc::clone(&owner.store), MatchingConfig { step_jobs_max: 50, ..quick() });
    matched_up_to(&process, chain(), 2).await;
    assert_eq!(process.jobs(None).await.len(), 360);
    process.stop().await;
}

pub(crate) async fn no_event_is_blamed_for_a_store_that_is_slow(place: Arc<TestStore>) {
    let config = MatchingConfig { step_secs_max: 1, tries_max: 2, ..quick() };
    let process = Process::matching(&place, config).await;
    process.handle.create(TenantId::random(), input(json!([]))).await.unwrap();
    append(&process.store, vec![feedback(1, json!({}))]).await;
    matched_up_to(&process, chain(), 1).await;
    // What the process waits for may take all of its connections.
    let beside = place.open().await;
    let unlock = place.lock("action_jobs").await;
    let stored = append(&process.store, vec![feedback(2, json!({}))]).await.remove(0);
    // The first try waits for the table still, and the next ones for it: one more than an event to blame would have.
    until("a third try", || async { place.waiting_with("FROM follower_cursors").await > 1 }).await;
    assert_eq!(beside.cursor(FOLLOWER, chain()).await.unwrap(), 1);
    drop(unlock);
    until("the cursor", || async { beside.cursor(FOLLOWER, chain()).await.unwrap() >= 2 }).await;
    let row = beside.processed_event(chain(), stored.envelope.event_id).await.unwrap().unwrap();
    assert_eq!((row.problem, row.actions_enqueued), (None, 1));
    assert_eq!(process.jobs(None).await.len(), 2);
    process.stop().await;
}
