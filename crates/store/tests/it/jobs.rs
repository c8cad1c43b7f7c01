//! The queue: who gets a job and when, what a report does, what waits again, and what is deleted.
//!
//! Each test runs on both stores through the contract; jobs are made past the store, as the matching of events makes
//! them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bowline_store::{
    AttemptRecord, AttemptStatus, ChangeKind, Claim, ClaimedJob, JobEnd, JobFilter, JobRecord, JobReport,
    JobState, LineStore, QueueDepth,
};
use bowline_types::{EventId, TenantId};
use uuid::Uuid;

use crate::support::{Engine, Place, until};
use bowline_conformance::events::at;

const LEASE: Duration = Duration::from_secs(60);

/// A job to be made.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) job_id: Uuid,
    pub(crate) tenant_id: TenantId,
    pub(crate) trigger_id: Uuid,
    pub(crate) event_id: EventId,
    pub(crate) priority: i32,
    pub(crate) seconds: i64,
}

pub(crate) fn made(tenant_id: TenantId) -> Made {
    let (job_id, trigger_id) = (Uuid::new_v4(), Uuid::from_u128(7));
    Made { job_id, tenant_id, trigger_id, event_id: EventId::random(), priority: 0, seconds: 0 }
}

pub(crate) fn several(tenant_id: TenantId, count: usize) -> Vec<Made> {
    (0..count).map(|_| made(tenant_id)).collect()
}

pub(crate) fn ids(jobs: &[Made]) -> Vec<Uuid> {
    jobs.iter().map(|job| job.job_id).collect()
}

/// Makes jobs with the tags that the contract asks for; one of higher priority is the only one of its lane.
pub(crate) async fn insert(place: &Place, jobs: &[Made]) {
    let engine = place.engine();
    let id = |id: Uuid| match engine {
        Engine::Sqlite => format!("x'{}'", id.simple()),
        Engine::Postgres => format!("'{id}'"),
    };
    let larger = if engine == Engine::Sqlite { "max" } else { "greatest" };
    let zero = id(Uuid::nil());
    let claimed = format!("coalesce((SELECT last_tag FROM job_tags WHERE tenant_id = {zero}), 0)");
    let mut sql = "BEGIN;".to_owned();
    for job in jobs {
        let tenant = id(job.tenant_id.uuid());
        let moment = match engine {
            Engine::Sqlite => at(job.seconds).micros().to_string(),
            Engine::Postgres => format!("'{}'", at(job.seconds)),
        };
        let tag = if job.priority > 0 { format!("{claimed} + 1") } else { "last_tag".to_owned() };
        sql += &format!(
            "INSERT INTO job_tags AS t (tenant_id, last_tag) VALUES ({tenant}, {claimed} + 1) ON CONFLICT (tenant_id)
             DO UPDATE SET last_tag = {larger}(t.last_tag, {claimed}) + 1;
             INSERT INTO action_jobs (job_id, tenant_id, trigger_id, action_id, action_type, priority,
                 stream_tenant_id, stream_store_id, sequence_number, event_id, occurrence, event, state, ready,
                 handed_over, tag, attempts, claim, due_at, created_at)
             SELECT {}, {tenant}, {}, {zero}, 'rest', {}, {tenant}, {zero}, 1, {}, {zero}, '{{\"a\":1}}', 'waiting', true,
                 false, {tag}, 0, 0, {moment}, {moment} FROM job_tags WHERE tenant_id = {tenant};",
            id(job.job_id),
            id(job.trigger_id),
            job.priority,
            id(job.event_id.uuid()),
        );
    }
    place.execute(&(sql + "COMMIT;")).await;
}

pub(crate) async fn claim(store: &Arc<dyn LineStore>, limit: usize, seconds: i64) -> Vec<ClaimedJob> {
    store.claim_jobs(Claim::Next { limit }, "w", LEASE, at(seconds)).await.unwrap()
}

pub(crate) fn report(claimed: &ClaimedJob, end: JobEnd) -> JobReport {
    let (job_id, claim) = (claimed.job.job.job_id, claimed.claim);
    JobReport { job_id, claim, end, attempt: None, error: None }
}

fn attempted(claimed: &ClaimedJob, status: AttemptStatus) -> AttemptRecord {
    AttemptRecord {
        job_id: claimed.job.job.job_id,
        attempt: claimed.job.attempts,
        status,
        executed_at: at(1),
        duration_ms: 12,
        http_status: Some(503),
        error_message: Some("a\0b".to_owned()),
        response_data: Some("\0".to_owned()),
        destination: "example.org:443".to_owned(),
        worker: "w".to_owned(),
    }
}

pub(crate) async fn end(store: &Arc<dyn LineStore>, claimed: &[ClaimedJob], end: JobEnd) {
    let reports = claimed.iter().map(|claimed| report(claimed, end.clone())).collect();
    assert_eq!(store.report_jobs(reports, at(5)).await.unwrap().len(), claimed.len());
}

async fn one(store: &Arc<dyn LineStore>, job_id: Uuid) -> JobRecord {
    let filter = JobFilter { job_id: Some(job_id), limit: 2, ..JobFilter::default() };
    store.jobs(filter).await.unwrap().pop().unwrap()
}

fn claimed_ids(claimed: &[ClaimedJob]) -> Vec<Uuid> {
    claimed.iter().map(|claimed| claimed.job.job.job_id).collect()
}

pub(crate) async fn a_job_goes_to_one_worker_and_ends(place: Arc<Place>) {
    let store = place.open().await;
    let jobs = several(TenantId::random(), 3);
    insert(&place, &jobs).await;
    let first = claim(&store, 2, 0).await;
    assert_eq!(claimed_ids(&first), ids(&jobs[..2]));
    assert_eq!((first[0].claim, first[0].job.attempts, first[0].job.state), (1, 1, JobState::Running));
    assert_eq!(first[0].job.job.event, r#"{"a":1}"#);
    assert_eq!(claimed_ids(&claim(&store, 9, 0).await), ids(&jobs[2..]));
    let mut reports = vec![report(&first[0], JobEnd::Succeeded), report(&first[1], JobEnd::Dead)];
    reports[1].attempt = Some(attempted(&first[1], AttemptStatus::Failed));
    reports[1].error = Some("no\0".to_owned());
    let mut counted = store.report_jobs(reports, at(5)).await.unwrap();
    counted.sort();
    let mut expected = ids(&jobs[..2]);
    expected.sort();
    assert_eq!(counted, expected);
    let (delivered, dead) = (one(&store, jobs[0].job_id).await, one(&store, jobs[1].job_id).await);
    assert_eq!((delivered.state, delivered.ended_at), (JobState::Succeeded, Some(at(5))));
    assert_eq!((dead.state, dead.last_error.as_deref()), (JobState::Dead, Some("no\u{fffd}")));
    let kept = store.attempts(jobs[1].job_id).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].attempt, kept[0].http_status, kept[0].duration_ms), (1, Some(503), 12));
    assert_eq!(kept[0].error_message.as_deref(), Some("a\u{fffd}b"));
    assert!(store.attempts(jobs[0].job_id).await.unwrap().is_empty());
}

pub(crate) async fn workers_at_a_time_never_get_the_same_job(place: Arc<Place>) {
    let stores = place.open_two().await;
    let jobs = several(TenantId::random(), 600);
    insert(&place, &jobs).await;
    let workers = (0..8).map(|n: usize| {
        let store = Arc::clone(&stores[n % 2]);
        tokio::spawn(async move {
            let mut mine = Vec::new();
            loop {
                let claimed = claim(&store, 7, 0).await;
                if claimed.is_empty() {
                    return mine;
                }
                end(&store, &claimed, JobEnd::Succeeded).await;
                mine.extend(claimed_ids(&claimed));
            }
        })
    });
    let mut all = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        all.extend(worker.await.unwrap());
    }
    // Rows that another worker holds are skipped: an empty answer may leave jobs to those who hold them.
    assert_eq!(all.len(), all.iter().collect::<BTreeSet<_>>().len());
    all.extend(claimed_ids(&claim(&stores[0], 600, 0).await));
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), ids(&jobs).into_iter().collect());
}

pub(crate) async fn a_flood_of_one_tenant_does_not_hold_up_another(place: Arc<Place>) {
    let store = place.open().await;
    let (flooding, modest) = (TenantId::random(), TenantId::random());
    insert(&place, &several(flooding, 10_000)).await;
    claim(&store, 50, 0).await;
    let alone = made(modest);
    insert(&place, std::slice::from_ref(&alone)).await;
    assert!(claimed_ids(&claim(&store, 3, 0).await).contains(&alone.job_id));
    // Who waited long has no claim to all the places afterwards: both take turns.
    insert(&place, &several(modest, 20)).await;
    let next = claim(&store, 20, 0).await;
    let of_modest = next.iter().filter(|claimed| claimed.job.job.tenant_id == modest).count();
    assert!((8..=12).contains(&of_modest), "{of_modest} of 20");
}

pub(crate) async fn higher_priority_goes_first_and_costs_newcomers_nothing(place: Arc<Place>) {
    let store = place.open().await;
    let busy = TenantId::random();
    insert(&place, &several(busy, 100)).await;
    let urgent = Made { priority: 5, ..made(busy) };
    insert(&place, std::slice::from_ref(&urgent)).await;
    assert_eq!(claimed_ids(&claim(&store, 1, 0).await), [urgent.job_id]);
    let newcomer = made(TenantId::random());
    insert(&place, std::slice::from_ref(&newcomer)).await;
    assert!(claimed_ids(&claim(&store, 3, 0).await).contains(&newcomer.job_id));
}

pub(crate) async fn a_retry_waits_until_it_is_due(place: Arc<Place>) {
    let store = place.open().await;
    let job = made(TenantId::random());
    insert(&place, std::slice::from_ref(&job)).await;
    let epoch = || store.changes().epoch(ChangeKind::JOBS);
    let before = epoch();
    let retry = |seconds, counts| JobEnd::Retry { due_at: at(seconds), counts };
    end(&store, &claim(&store, 1, 0).await, retry(60, true)).await;
    assert!(claim(&store, 1, 59).await.is_empty());
    assert_eq!(epoch(), before);
    let second = claim(&store, 1, 60).await;
    assert_eq!((second[0].claim, second[0].job.attempts), (2, 2));
    // What a breaker kept from being tried is no attempt; due at once, it wakes who waits.
    end(&store, &second, retry(3, false)).await;
    assert!(epoch() > before);
    let third = claim(&store, 1, 60).await;
    assert_eq!((third[0].claim, third[0].job.attempts), (3, 2));
    let late = report(&second[0], JobEnd::Dead);
    assert!(store.report_jobs(vec![late], at(61)).await.unwrap().is_empty());
}

pub(crate) async fn a_lease_runs_out_and_a_late_report_counts_no_more(place: Arc<Place>) {
    let store = place.open().await;
    let job = made(TenantId::random());
    insert(&place, std::slice::from_ref(&job)).await;
    let zombie = claim(&store, 1, 0).await.pop().unwrap();
    let held = vec![(job.job_id, 1)];
    assert_eq!(store.extend_claims(held.clone(), LEASE, at(0)).await.unwrap(), held);
    crate::support::leases_age(&place, 30).await;
    assert_eq!(store.extend_claims(held.clone(), LEASE, at(30)).await.unwrap(), held);
    crate::support::leases_age(&place, 50).await;
    assert_eq!(store.reclaim_jobs(at(80)).await.unwrap(), 0);
    crate::support::leases_age(&place, 10).await;
    let before = store.changes().epoch(ChangeKind::JOBS);
    assert_eq!(store.reclaim_jobs(at(90)).await.unwrap(), 1);
    assert!(store.changes().epoch(ChangeKind::JOBS) > before);
    assert_eq!(one(&store, job.job_id).await.state, JobState::Waiting);
    let next = claim(&store, 1, 90).await.pop().unwrap();
    assert_eq!((next.claim, next.job.attempts), (2, 2));
    // The one who lost it can neither end it nor keep it, but what it did is remembered.
    assert!(store.extend_claims(held, LEASE * 9, at(140)).await.unwrap().is_empty());
    let mut late = report(&zombie, JobEnd::Dead);
    late.attempt = Some(attempted(&zombie, AttemptStatus::Failed));
    assert!(store.report_jobs(vec![late], at(91)).await.unwrap().is_empty());
    assert_eq!(store.attempts(job.job_id).await.unwrap().len(), 1);
    crate::support::leases_age(&place, 50).await;
    assert_eq!(store.reclaim_jobs(at(140)).await.unwrap(), 0);
    end(&store, &[next], JobEnd::Succeeded).await;
    assert_eq!(store.reclaim_jobs(at(1_000)).await.unwrap(), 0);
}

pub(crate) async fn jobs_are_claimed_by_name_if_they_wait(place: Arc<Place>) {
    let store = place.open().await;
    let jobs = several(TenantId::random(), 3);
    insert(&place, &jobs).await;
    let these = |ids: Vec<Uuid>| store.claim_jobs(Claim::These(ids), "w", LEASE, at(0));
    assert_eq!(claimed_ids(&these(vec![jobs[1].job_id]).await.unwrap()), [jobs[1].job_id]);
    let retried = these(vec![jobs[2].job_id]).await.unwrap();
    end(&store, &retried, JobEnd::Retry { due_at: at(60), counts: true }).await;
    let mut all = ids(&jobs);
    all.push(Uuid::new_v4());
    assert_eq!(claimed_ids(&these(all).await.unwrap()), [jobs[0].job_id]);
}

pub(crate) async fn ended_jobs_wait_again_under_their_ids(place: Arc<Place>) {
    let stores = place.open_two().await;
    let store = &stores[0];
    let jobs = several(TenantId::random(), 6);
    insert(&place, &jobs).await;
    let claimed = claim(store, 5, 0).await;
    end(store, &claimed[..3], JobEnd::Dead).await;
    end(store, &claimed[3..4], JobEnd::Cancelled).await;
    end(store, &claimed[4..], JobEnd::Succeeded).await;
    let heard = stores[1].changes().epoch(ChangeKind::JOBS);
    let of_tenant = JobFilter { tenant_id: Some(jobs[0].tenant_id), limit: 3, ..JobFilter::default() };
    let mut again = store.redeliver(of_tenant.clone(), at(9)).await.unwrap();
    assert_eq!(again.len(), 3);
    until(async || stores[1].changes().epoch(ChangeKind::JOBS) > heard).await;
    again.extend(store.redeliver(of_tenant.clone(), at(9)).await.unwrap());
    let mut expected = ids(&jobs[..4]);
    expected.sort();
    again.sort();
    assert_eq!(again, expected);
    assert!(store.redeliver(of_tenant, at(9)).await.unwrap().is_empty());
    let delivered = JobFilter { job_id: Some(jobs[4].job_id), limit: 1, ..JobFilter::default() };
    assert_eq!(store.redeliver(delivered, at(9)).await.unwrap(), [jobs[4].job_id]);
    // What was never begun goes before what is delivered again.
    let next = claim(store, 9, 9).await;
    assert_eq!((next.len(), next[0].job.job.job_id), (6, jobs[5].job_id));
    let first = next.iter().find(|claimed| claimed.job.job.job_id == jobs[0].job_id).unwrap();
    assert_eq!((first.claim, first.job.attempts, first.job.attempts_before), (2, 2, 1));
    assert_eq!((first.job.ended_at, first.job.due_at), (None, at(9)));
}

pub(crate) async fn ended_jobs_are_purged_and_forgotten(place: Arc<Place>) {
    let store = place.open().await;
    let jobs = several(TenantId::random(), 8);
    insert(&place, &jobs).await;
    let claimed = claim(&store, 6, 0).await;
    let mut failed = report(&claimed[0], JobEnd::Dead);
    failed.attempt = Some(attempted(&claimed[0], AttemptStatus::Failed));
    store.report_jobs(vec![failed], at(5)).await.unwrap();
    end(&store, &claimed[1..2], JobEnd::Dead).await;
    end(&store, &claimed[2..3], JobEnd::Cancelled).await;
    end(&store, &claimed[3..5], JobEnd::Succeeded).await;
    let dead = JobFilter { state: Some(JobState::Dead), limit: 1, ..JobFilter::default() };
    let mut purged = store.purge_jobs(dead.clone()).await.unwrap();
    purged.extend(store.purge_jobs(JobFilter { limit: 9, ..dead }).await.unwrap());
    purged.sort();
    let mut expected = ids(&jobs[..2]);
    expected.sort();
    assert_eq!(purged, expected);
    assert!(store.attempts(jobs[0].job_id).await.unwrap().is_empty());
    assert_eq!(store.forget_jobs(at(5), 9).await.unwrap(), 0);
    assert_eq!(store.forget_jobs(at(6), 2).await.unwrap(), 2);
    assert_eq!(store.forget_jobs(at(6), 2).await.unwrap(), 1);
    // Dead letters are only forgotten where that is asked for, by when they were given up.
    let dead_again = claim(&store, 1, 7).await;
    store.report_jobs(vec![report(&dead_again[0], JobEnd::Dead)], at(8)).await.unwrap();
    assert_eq!(store.forget_jobs(at(99), 9).await.unwrap(), 0);
    assert_eq!(store.forget_dead(at(8), 9).await.unwrap(), 0);
    assert_eq!(store.forget_dead(at(9), 9).await.unwrap(), 1);
    // What waits or runs is neither purged nor forgotten.
    let any = JobFilter { limit: 9, ..JobFilter::default() };
    assert!(store.purge_jobs(any.clone()).await.unwrap().is_empty());
    assert_eq!(store.jobs(any).await.unwrap().len(), 2);
    // The attempt of a job that is gone is not kept.
    let mut late = report(&claimed[0], JobEnd::Succeeded);
    late.attempt = Some(attempted(&claimed[0], AttemptStatus::Succeeded));
    assert!(store.report_jobs(vec![late], at(9)).await.unwrap().is_empty());
    assert!(store.attempts(jobs[0].job_id).await.unwrap().is_empty());
}

pub(crate) async fn a_job_is_handed_over_once_until_it_waits_anew(place: Arc<Place>) {
    let stores = place.open_two().await;
    let jobs = several(TenantId::random(), 40);
    insert(&place, &jobs).await;
    let [first, second] = stores.clone();
    let (first, second) = tokio::join!(first.hand_over(25, at(1)), second.hand_over(25, at(1)));
    let mut handed: Vec<_> =
        first.unwrap().into_iter().chain(second.unwrap()).map(|job| job.job.job_id).collect();
    handed.extend(stores[0].hand_over(25, at(1)).await.unwrap().into_iter().map(|job| job.job.job_id));
    assert_eq!(handed.len(), 40);
    assert_eq!(handed.into_iter().collect::<BTreeSet<_>>(), ids(&jobs).into_iter().collect());
    let store = &stores[0];
    assert!(store.handed(at(1), None, 9).await.unwrap().is_empty());
    let page = store.handed(at(2), None, 30).await.unwrap();
    let rest = store.handed(at(2), page.last().copied(), 30).await.unwrap();
    assert_eq!((page.len(), rest.len()), (30, 10));
    // Those that are claimed are nobody's to hand over; those that wait anew are.
    let claimed = claim(store, 2, 2).await;
    let mut asked = claimed_ids(&claimed);
    asked.push(jobs[39].job_id);
    assert_eq!(store.still_handed(asked).await.unwrap(), [jobs[39].job_id]);
    end(store, &claimed[..1], JobEnd::Retry { due_at: at(60), counts: true }).await;
    assert!(store.hand_over(9, at(59)).await.unwrap().is_empty());
    let due = store.hand_over(9, at(60)).await.unwrap();
    assert_eq!(due.iter().map(|job| job.job.job_id).collect::<Vec<_>>(), [jobs[0].job_id]);
    // What the engine lost is handed over again.
    assert_eq!(store.take_back(Some(vec![jobs[0].job_id, jobs[1].job_id])).await.unwrap(), 1);
    assert_eq!(store.hand_over(9, at(60)).await.unwrap().len(), 1);
    assert_eq!(store.take_back(None).await.unwrap(), 39);
    assert_eq!(store.hand_over(99, at(61)).await.unwrap().len(), 39);
}

pub(crate) async fn the_depth_is_counted(place: Arc<Place>) {
    let store = place.open().await;
    assert_eq!(store.queue_depth(at(0)).await.unwrap(), QueueDepth::default());
    let tenant = TenantId::random();
    let jobs: Vec<_> = (0..10).map(|n| Made { seconds: n, ..made(tenant) }).collect();
    insert(&place, &jobs).await;
    let claimed = claim(&store, 5, 20).await;
    end(&store, &claimed[..1], JobEnd::Dead).await;
    end(&store, &claimed[1..3], JobEnd::Retry { due_at: at(50), counts: true }).await;
    let depth = |waiting, due, oldest| QueueDepth {
        waiting,
        due,
        running: 2,
        dead: 1,
        oldest_due_at: Some(at(oldest)),
    };
    assert_eq!(store.queue_depth(at(30)).await.unwrap(), depth(7, 5, 5));
    let before = store.changes().epoch(ChangeKind::JOBS);
    assert_eq!(store.queue_depth(at(50)).await.unwrap(), depth(7, 7, 5));
    assert!(store.changes().epoch(ChangeKind::JOBS) > before, "nobody was told of what became due");
    let told = store.changes().epoch(ChangeKind::JOBS);
    store.queue_depth(at(50)).await.unwrap();
    assert_eq!(store.changes().epoch(ChangeKind::JOBS), told);
}

pub(crate) async fn jobs_are_listed_by_what_is_asked_for(place: Arc<Place>) {
    let store = place.open().await;
    let tenants = [TenantId::random(), TenantId::random()];
    let jobs: Vec<_> = (0..12).map(|n| Made { seconds: n / 2, ..made(tenants[n as usize % 2]) }).collect();
    insert(&place, &jobs).await;
    let listed = async |filter: JobFilter| -> Vec<JobRecord> { store.jobs(filter).await.unwrap() };
    let page = JobFilter { limit: 5, ..JobFilter::default() };
    let (mut before, mut all) = (None, Vec::new());
    loop {
        let found = listed(JobFilter { before, ..page.clone() }).await;
        let Some(last) = found.last() else { break };
        before = Some((last.created_at, last.job.job_id));
        all.extend(found);
    }
    assert_eq!(all.len(), 12);
    assert!(all.is_sorted_by_key(|job| std::cmp::Reverse((job.created_at, job.job.job_id))));
    let of_tenant = listed(JobFilter { tenant_id: Some(tenants[1]), limit: 99, ..page.clone() }).await;
    assert!(of_tenant.len() == 6 && of_tenant.iter().all(|job| job.job.tenant_id == tenants[1]));
    let of_event = listed(JobFilter { event_id: Some(jobs[3].event_id), ..page.clone() }).await;
    assert_eq!(of_event.iter().map(|job| job.job.job_id).collect::<Vec<_>>(), [jobs[3].job_id]);
    claim(&store, 4, 20).await;
    assert_eq!(listed(JobFilter { state: Some(JobState::Running), ..page.clone() }).await.len(), 4);
    assert!(listed(JobFilter { trigger_id: Some(Uuid::from_u128(8)), ..page }).await.is_empty());
}
