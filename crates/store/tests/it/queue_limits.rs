//! Nobody's jobs hold up anybody else's: priorities decide within a tenant, and what can't be delivered is given up.
//!
//! Jobs are written by steps of matching, as they are in earnest.

use std::collections::BTreeMap;
use std::sync::Arc;

use bowline_store::{
    ClaimedJob, JobEnd, JobFilter, JobRecord, JobState, LineStore, NewJob, PRIORITY_MAX, PRIORITY_MIN,
};
use bowline_types::{StreamId, TenantId, Timestamp};
use uuid::Uuid;

use crate::jobs::{claim, end, report};
use crate::support::Place;
use crate::triggers::{job, step};
use bowline_conformance::events::{at, grow, new_stream};

/// A store with a stream whose events jobs are of.
async fn open(place: &Place) -> (Arc<dyn LineStore>, StreamId) {
    let (store, stream) = (place.open().await, new_stream());
    grow(&store, stream, 1).await;
    (store, stream)
}

async fn enqueue(store: &Arc<dyn LineStore>, stream: StreamId, jobs: Vec<NewJob>, now: Timestamp) {
    let mut part = step(stream, 0, 0);
    part.jobs = jobs;
    store.commit_matches(part, now).await.unwrap();
}

fn of(stream: StreamId, tenant_id: TenantId, priority: i32) -> NewJob {
    NewJob { priority, ..job(stream, tenant_id, Uuid::new_v4().as_u128(), 1) }
}

fn several(stream: StreamId, tenant_id: TenantId, priority: i32, count: usize) -> Vec<NewJob> {
    (0..count).map(|_| of(stream, tenant_id, priority)).collect()
}

fn of_tenant(claimed: &[ClaimedJob], tenant_id: TenantId) -> usize {
    claimed.iter().filter(|claimed| claimed.job.job.tenant_id == tenant_id).count()
}

pub(crate) async fn priorities_of_one_tenant_hold_up_no_other(place: Arc<Place>) {
    let (store, stream) = open(&place).await;
    let (greedy, modest) = (TenantId::random(), TenantId::random());
    // Ten thousand jobs, of every priority there is and of some that there are not any more.
    for priority in [i32::MAX, i32::MIN].into_iter().chain(PRIORITY_MIN..=PRIORITY_MAX) {
        enqueue(&store, stream, several(stream, greedy, priority, 440), at(0)).await;
    }
    claim(&store, 50, 0).await;
    let alone = of(stream, modest, 0);
    enqueue(&store, stream, vec![alone.clone()], at(0)).await;
    let next = claim(&store, 5, 0).await;
    assert!(
        next.iter().any(|claimed| claimed.job.job.job_id == alone.job_id),
        "it is not among the next five"
    );
    // Whoever spreads jobs over priorities gets no more than four turns for one.
    enqueue(&store, stream, several(stream, modest, 0, 100), at(0)).await;
    let next = claim(&store, 250, 0).await;
    assert!(of_tenant(&next, modest) >= 50, "{} of 250", of_tenant(&next, modest));
    // Who says that everything is urgent goes in turns like everybody else.
    let urgent = TenantId::random();
    enqueue(&store, stream, several(stream, modest, 0, 200), at(0)).await;
    enqueue(&store, stream, several(stream, urgent, PRIORITY_MAX, 200), at(0)).await;
    let next = claim(&store, 60, 0).await;
    let counts = [urgent, modest].map(|tenant_id| of_tenant(&next, tenant_id));
    assert!(counts[0].abs_diff(counts[1]) <= 2, "{counts:?}");
}

pub(crate) async fn a_higher_priority_overtakes_its_own_tenants_jobs(place: Arc<Place>) {
    let (store, stream) = open(&place).await;
    let (tenant_id, other) = (TenantId::random(), TenantId::random());
    enqueue(&store, stream, several(stream, tenant_id, 0, 300), at(0)).await;
    claim(&store, 10, 0).await;
    for priority in [-5, 3, 10] {
        enqueue(&store, stream, vec![of(stream, tenant_id, priority)], at(0)).await;
    }
    let priorities = |claimed: &[ClaimedJob]| -> Vec<i32> {
        claimed.iter().map(|claimed| claimed.job.job.priority).collect()
    };
    let first = claim(&store, 3, 0).await;
    assert_eq!(priorities(&first), [10, 3, 0]);
    // One that is delivered again is behind what waits of its priority, and still before lower ones.
    end(&store, &first[..1], JobEnd::Dead).await;
    let dead = JobFilter { state: Some(JobState::Dead), limit: 9, ..JobFilter::default() };
    store.redeliver(dead, at(9)).await.unwrap();
    enqueue(&store, stream, vec![of(stream, other, -10)], at(9)).await;
    let next = claim(&store, 3, 9).await;
    assert_eq!(next[0].job.job.job_id, first[0].job.job.job_id);
    assert_eq!(of_tenant(&next, other), 1, "another tenant's turn does not depend on its priority");
    let rest = claim(&store, 999, 9).await;
    assert_eq!((rest.len(), priorities(&rest).last()), (289, Some(&-5)));
}

async fn one(store: &Arc<dyn LineStore>, job_id: Uuid) -> JobRecord {
    let filter = JobFilter { job_id: Some(job_id), limit: 1, ..JobFilter::default() };
    store.jobs(filter).await.unwrap().remove(0)
}

fn ids(jobs: &[JobRecord]) -> Vec<Uuid> {
    let mut ids: Vec<Uuid> = jobs.iter().map(|job| job.job.job_id).collect();
    ids.sort();
    ids
}

/// Claims a job and says at a moment how that ended.
async fn turn(store: &Arc<dyn LineStore>, job_id: Uuid, end: JobEnd, seconds: i64) {
    let these = bowline_store::Claim::These(vec![job_id]);
    let lease = std::time::Duration::from_secs(60);
    let claimed = store.claim_jobs(these, "w", lease, at(seconds)).await.unwrap();
    let mut said = report(&claimed[0], end);
    said.error = Some("HTTP status 500".to_owned());
    assert_eq!(store.report_jobs(vec![said], at(seconds)).await.unwrap(), [job_id]);
}

pub(crate) async fn what_no_breaker_lets_pass_is_given_up(place: Arc<Place>) {
    let (store, stream) = open(&place).await;
    let jobs = several(stream, TenantId::random(), 0, 4);
    enqueue(&store, stream, jobs.clone(), at(0)).await;
    let [long, tried, busy, fresh] = [0, 1, 2, 3].map(|index| jobs[index].job_id);
    let barred = |seconds| JobEnd::Barred { due_at: at(seconds) };
    for job_id in [long, tried, busy] {
        turn(&store, job_id, barred(20), 10).await;
        turn(&store, job_id, barred(30), 20).await;
    }
    // What waits for something else than a breaker is not barred: an attempt was made, or others kept it from being made.
    turn(&store, long, barred(40), 30).await;
    turn(&store, tried, JobEnd::Retry { due_at: at(40), counts: true }, 30).await;
    turn(&store, busy, JobEnd::Retry { due_at: at(40), counts: false }, 30).await;
    assert_eq!((one(&store, long).await.attempts, one(&store, tried).await.attempts), (0, 1));
    assert!(store.give_up_barred(at(10), at(35)).await.unwrap().is_empty());
    assert!(
        store.give_up_barred(at(11), at(40)).await.unwrap().is_empty(),
        "its time has come: it asks first"
    );
    let given_up = store.give_up_barred(at(11), at(35)).await.unwrap();
    assert_eq!(ids(&given_up), [long]);
    let dead = one(&store, long).await;
    assert_eq!(given_up, std::slice::from_ref(&dead));
    assert_eq!((dead.state, dead.ended_at, dead.attempts), (JobState::Dead, Some(at(35)), 0));
    let error = dead.last_error.unwrap();
    assert!(
        error.starts_with("BARRED_TOO_LONG: ") && error.ends_with("before that: HTTP status 500"),
        "{error}"
    );
    assert!(store.give_up_barred(at(999), at(35)).await.unwrap().is_empty(), "nothing else was barred");
    assert_eq!(one(&store, fresh).await.state, JobState::Waiting);
    // It is a dead letter like any other, and has its time again when somebody has it delivered.
    let by_id = JobFilter { job_id: Some(long), limit: 1, ..JobFilter::default() };
    assert_eq!(store.redeliver(by_id, at(60)).await.unwrap(), [long]);
    turn(&store, long, barred(80), 70).await;
    assert!(store.give_up_barred(at(70), at(75)).await.unwrap().is_empty());
    assert_eq!(ids(&store.give_up_barred(at(71), at(75)).await.unwrap()), [long]);
}

pub(crate) async fn what_nobody_asked_a_breaker_about_was_not_barred_meanwhile(place: Arc<Place>) {
    let (store, stream) = open(&place).await;
    let jobs = several(stream, TenantId::random(), 0, 2);
    enqueue(&store, stream, jobs.clone(), at(0)).await;
    let [asked, lost] = [0, 1].map(|index| jobs[index].job_id);
    let barred = |seconds| JobEnd::Barred { due_at: at(seconds) };
    turn(&store, asked, barred(20), 10).await;
    turn(&store, lost, barred(20), 10).await;
    // All workers are away for an hour. Whoever comes back first finds only what has not been tried when it was due.
    assert!(store.give_up_barred(at(3_600), at(3_600)).await.unwrap().is_empty());
    assert!(store.give_up_excess(0, at(3_600)).await.unwrap().is_empty());
    // Its breaker still lets nothing pass: of that hour the ten seconds count that it waited for it.
    turn(&store, asked, barred(3_620), 3_600).await;
    assert!(store.give_up_excess(0, at(3_620)).await.unwrap().is_empty(), "its time has come again");
    assert!(store.give_up_barred(at(3_590), at(3_610)).await.unwrap().is_empty());
    assert_eq!(ids(&store.give_up_barred(at(3_591), at(3_610)).await.unwrap()), [asked]);
    // Of what a worker had when it died nobody knows whether its breaker let it pass.
    let lease = std::time::Duration::from_secs(60);
    let these = bowline_store::Claim::These(vec![lost]);
    assert_eq!(store.claim_jobs(these, "w", lease, at(3_610)).await.unwrap().len(), 1);
    crate::support::leases_age(&place, 61).await;
    assert_eq!(store.reclaim_jobs(at(3_700)).await.unwrap(), 1);
    turn(&store, lost, barred(3_720), 3_700).await;
    assert!(store.give_up_barred(at(3_700), at(3_710)).await.unwrap().is_empty());
    assert_eq!(ids(&store.give_up_barred(at(3_701), at(3_710)).await.unwrap()), [lost]);
}

pub(crate) async fn who_give_up_at_once_give_up_no_more_than_is_too_much(place: Arc<Place>) {
    let (store, stream) = open(&place).await;
    enqueue(&store, stream, several(stream, TenantId::random(), 0, 400), at(0)).await;
    end(&store, &claim(&store, 400, 0).await, JobEnd::Barred { due_at: at(900) }).await;
    let given_up = futures_util::future::join_all((0..8).map(|_| store.give_up_excess(390, at(5)))).await;
    let counts: Vec<usize> = given_up.into_iter().map(|jobs| jobs.unwrap().len()).collect();
    assert_eq!(counts.iter().sum::<usize>(), 10, "{counts:?}");
}

pub(crate) async fn what_is_there_already_takes_nobodys_turn(place: Arc<Place>) {
    let (store, stream) = open(&place).await;
    let tenant_id = TenantId::random();
    let there = several(stream, tenant_id, 0, 3);
    enqueue(&store, stream, there.clone(), at(0)).await;
    for _ in 0..3 {
        enqueue(&store, stream, there.clone(), at(1)).await;
    }
    let new = of(stream, tenant_id, 0);
    let again = [there.clone(), vec![new.clone(), new.clone()], there.clone()].concat();
    enqueue(&store, stream, again, at(2)).await;
    let tag = async |job: &NewJob| one(&store, job.job_id).await.tag;
    let before = tag(&there[0]).await.max(tag(&there[1]).await).max(tag(&there[2]).await);
    assert_eq!((tag(&new).await, before), (4, 3));
    // What the chain took back and gives again is new.
    let mut retracting = step(stream, 0, 0);
    retracting.retracted = vec![new.occurrence];
    store.commit_matches(retracting, at(3)).await.unwrap();
    assert_eq!(one(&store, new.job_id).await.state, JobState::Cancelled);
    enqueue(&store, stream, vec![there[0].clone(), there[0].clone(), new.clone()], at(4)).await;
    assert_eq!([tag(&there[0]).await, tag(&new).await], [5, 6]);
}

pub(crate) async fn a_tenant_with_too_many_jobs_gives_up_its_own(place: Arc<Place>) {
    let (store, stream) = open(&place).await;
    let (full, modest) = (TenantId::random(), TenantId::random());
    enqueue(&store, stream, several(stream, modest, 0, 5), at(0)).await;
    end(&store, &claim(&store, 5, 0).await, JobEnd::Barred { due_at: at(900) }).await;
    let mut jobs = BTreeMap::new();
    for (index, what) in ["barred", "tried", "busy", "fresh"].into_iter().enumerate() {
        let made = several(stream, full, 0, 10);
        enqueue(&store, stream, made.clone(), at(index as i64)).await;
        let claimed = if what == "fresh" { Vec::new() } else { claim(&store, 10, 3).await };
        let end_of = match what {
            "barred" => JobEnd::Barred { due_at: at(900) },
            what => JobEnd::Retry { due_at: at(900), counts: what == "tried" },
        };
        end(&store, &claimed, end_of).await;
        let mut made: Vec<Uuid> = made.iter().map(|job| job.job_id).collect();
        made.sort();
        jobs.insert(what, made);
    }
    let waiting = async |tenant_id| {
        let (tenant_id, state) = (Some(tenant_id), Some(JobState::Waiting));
        store.jobs(JobFilter { tenant_id, state, limit: 99, ..JobFilter::default() }).await.unwrap().len()
    };
    assert!(store.give_up_excess(40, at(5)).await.unwrap().is_empty());
    let given_up = store.give_up_excess(30, at(5)).await.unwrap();
    assert_eq!(ids(&given_up), jobs["barred"], "the oldest ones go first, and no more than are too many");
    let error = given_up[0].last_error.clone().unwrap();
    assert!(error.starts_with("TENANT_QUEUE_FULL: more than 30 jobs"), "{error}");
    assert!(given_up.iter().all(|job| (job.state, job.ended_at) == (JobState::Dead, Some(at(5)))));
    // What was never tried is not given up, however much there is.
    assert_eq!(ids(&store.give_up_excess(5, at(5)).await.unwrap()), jobs["tried"]);
    assert!(store.give_up_excess(5, at(5)).await.unwrap().is_empty());
    assert_eq!((waiting(full).await, waiting(modest).await), (20, 5));
    // All of it can be had again.
    let dead = JobFilter { state: Some(JobState::Dead), limit: 99, ..JobFilter::default() };
    assert_eq!(store.redeliver(dead, at(6)).await.unwrap().len(), 20);
    assert_eq!(waiting(full).await, 40);
}
