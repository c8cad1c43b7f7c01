//! Claims of a process that lives: it keeps them whatever clocks say and however long the store was away, begins nothing
//! under one that it has lost, and stops if it can no longer keep or report them.

use std::backtrace::Backtrace;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bowline_deliveries::Config;
use bowline_runtime::{Clock, ManualClock, SystemClock};
use bowline_store::{Claim, ClaimedJob, JobEnd, JobReport, JobState};
use bowline_types::{TenantId, Timestamp};
use serde_json::json;
use sqlx::Connection;
use tokio::sync::watch;
use uuid::Uuid;

use crate::receiver::{Receiver, Reply};
use crate::rig::{Rig, Running, config, deliveries_at, on_both, until};
use crate::test_store::Engine;

on_both! {
    who_lives_keeps_its_claims_however_long_the_store_was_away,
    what_was_lost_is_not_begun,
    who_cannot_write_reports_stops_and_says_so,
    who_cannot_prolong_claims_stops_and_says_so,
    what_a_breaker_bars_for_too_long_is_given_up,
}

const LEASE: Duration = Duration::from_secs(60);

/// A claim of no process, which has run out: the upkeep lets its job wait again.
async fn abandoned(rig: &Rig) -> Uuid {
    let trigger = rig
        .trigger_of(TenantId::random(), "rest", json!({ "url": "http://127.0.0.1:1/" }), Default::default())
        .await;
    // Made and claimed so fast that no worker is between: if one is, another one is made.
    loop {
        let job_id = rig.jobs(&trigger, 1).await[0];
        let these = Claim::These(vec![job_id]);
        let claimed = rig.store.claim_jobs(these, "nobody", Duration::ZERO, rig.clock.now()).await.unwrap();
        if !claimed.is_empty() {
            return job_id;
        }
    }
}

/// Waits until a process has renewed its own leases and then reclaimed those that ran out.
async fn looked_after(rig: &Rig) {
    let job_id = abandoned(rig).await;
    until("somebody looks after jobs", || async {
        let record = rig.job(job_id).await;
        record.state != JobState::Running || record.attempts > 1
    })
    .await;
}

async fn who_lives_keeps_its_claims_however_long_the_store_was_away(engine: Engine) {
    let rig = Rig::new(engine).await;
    let (answer, answered) = watch::channel(false);
    let receiver = Receiver::start_held(answered).await;
    let trigger = rig.trigger("rest", json!({ "url": receiver.url("/"), "timeout_seconds": 300 })).await;
    let running = Running::start(&rig.deliveries(config(), "one"));
    let job = rig.jobs(&trigger, 1).await[0];
    until("it is under way", || async { receiver.count() == 1 }).await;
    // For longer than the lease no process could renew.
    rig.leases_age(LEASE * 2).await;
    // Nor does one take it that starts just then, and knows nothing of what was.
    let late = Running::start(&rig.deliveries(config(), "late"));
    looked_after(&rig).await;
    assert_eq!((rig.job(job).await.state, rig.job(job).await.attempts), (JobState::Running, 1));
    answer.send(true).unwrap();
    rig.until_state(job, JobState::Succeeded).await;
    assert_eq!(receiver.count(), 1);
    for running in [running, late] {
        running.stop().await;
    }
    rig.end().await;
}

async fn what_was_lost_is_not_begun(engine: Engine) {
    let rig = Rig::new(engine).await;
    let (answer, answered) = watch::channel(false);
    let receiver = Receiver::start_held(answered).await;
    let trigger = rig.trigger("rest", json!({ "url": receiver.url("/"), "timeout_seconds": 300 })).await;
    // One delivery at a time: the others wait in the process, under its claims.
    let jobs = rig.jobs(&trigger, 3).await;
    let settings = Config { workers: 3, tenant_in_flight_max: 1, ..config() };
    let running = Running::start(&rig.deliveries(settings, "one"));
    until("all are claimed", || async { rig.count(JobState::Running).await == 3 && receiver.count() == 1 })
        .await;
    // Another process finds that their leases ran out, and claims them.
    until("they are reclaimed", || async {
        rig.leases_age(LEASE * 2).await;
        rig.store.reclaim_jobs(rig.clock.now()).await.unwrap() == 3
    })
    .await;
    let claimed =
        rig.store.claim_jobs(Claim::These(jobs.clone()), "other", LEASE, rig.clock.now()).await.unwrap();
    assert_eq!(claimed.len(), 3);
    looked_after(&rig).await;
    answer.send(true).unwrap();
    // It goes on to others' jobs when it is through with these.
    let other = Receiver::start(|_, _| Reply::status(200)).await;
    let quick = rig
        .trigger_of(TenantId::random(), "rest", json!({ "url": other.url("/") }), Default::default())
        .await;
    let fresh = rig.jobs(&quick, 1).await[0];
    rig.until_state(fresh, JobState::Succeeded).await;
    running.stop().await;
    assert_eq!(receiver.count(), 1, "a job was begun that is another worker's");
    for job in jobs {
        assert_eq!(rig.job(job).await.state, JobState::Running, "what one says about another's claim counts");
    }
    rig.end().await;
}

/// A clock that breaks within one part of the program once it is told to.
#[derive(Debug)]
struct Broken {
    within: &'static str,
    is_broken: AtomicBool,
}

impl Clock for Broken {
    fn now(&self) -> Timestamp {
        if self.is_broken.load(Ordering::SeqCst)
            && Backtrace::force_capture().to_string().contains(self.within)
        {
            panic!("the clock is broken");
        }
        SystemClock.now()
    }
}

/// A part of a process panics, while a job is under way or when it is to be reported.
async fn stops(engine: Engine, within: &'static str, says: &str, reports: bool) {
    let rig = Rig::new(engine).await;
    let (answer, answered) = watch::channel(false);
    let receiver = Receiver::start_held(answered).await;
    let clock = Arc::new(Broken { within, is_broken: AtomicBool::new(false) });
    let of_process = Arc::clone(&clock) as Arc<dyn Clock>;
    let settings = Config { lease_secs: 3, ..config() };
    let deliveries = deliveries_at(Arc::clone(&rig.store), settings, of_process, None, "one");
    let running = Running::start(&deliveries);
    let trigger = rig.trigger("rest", json!({ "url": receiver.url("/"), "timeout_seconds": 300 })).await;
    rig.jobs(&trigger, 1).await;
    until("it is under way", || async { receiver.count() == 1 }).await;
    clock.is_broken.store(true, Ordering::SeqCst);
    if reports {
        answer.send(true).unwrap();
    }
    let (task, cause) = running.failure().await;
    assert_eq!(task, "workers");
    assert!(cause.contains(says) && cause.contains("panicked"), "{cause}");
    rig.end().await;
}

async fn who_cannot_write_reports_stops_and_says_so(engine: Engine) {
    stops(engine, "workers/reports.rs", "reports are written", true).await;
}

async fn who_cannot_prolong_claims_stops_and_says_so(engine: Engine) {
    stops(engine, "workers::upkeep::renew_leases::", "claims are prolonged", false).await;
}

/// Waits until a process has given up the jobs that were blocked for too long: one that was for two hours is among them.
async fn tidied(rig: &Rig) {
    let trigger = rig
        .trigger_of(TenantId::random(), "rest", json!({ "url": "http://127.0.0.1:1/" }), Default::default())
        .await;
    let after = |hours: i64| Timestamp::from_micros(rig.clock.now().micros() + hours * 3_600_000_000);
    // Made and claimed so fast that no worker is between: if one is, another one is made.
    loop {
        let job_id = rig.jobs(&trigger, 1).await[0];
        let these = Claim::These(vec![job_id]);
        let claimed = rig.store.claim_jobs(these, "nobody", LEASE, rig.clock.now()).await.unwrap();
        let Some(ClaimedJob { claim, .. }) = claimed.first() else { continue };
        let end = JobEnd::Barred { due_at: after(1) };
        let report = JobReport { job_id, claim: *claim, end, attempt: None, error: None };
        rig.store.report_jobs(vec![report], after(-2)).await.unwrap();
        return rig.until_state(job_id, JobState::Dead).await;
    }
}

async fn what_a_breaker_bars_for_too_long_is_given_up(engine: Engine) {
    let rig = Rig::new(engine).await;
    let receiver = Receiver::start(|_, _| Reply::status(500)).await;
    let breaker = bowline_store::BreakerSettings {
        failure_threshold: 1,
        recovery_secs: 604_800,
        half_open_calls_max: 1,
    };
    let hook = json!({ "url": receiver.url("/"), "max_attempts": 20 });
    let trigger = rig.trigger_of(rig.tenant_id, "rest", hook, breaker).await;
    let settings = Config { barred_hours_max: 1, ..config() };
    let running = Running::start(&rig.deliveries(settings, "one"));
    rig.jobs(&trigger, 1).await;
    until("it was tried", || async { receiver.count() == 1 }).await;
    let key = bowline_store::BreakerKey::Trigger(trigger.trigger_id);
    until("the breaker is open", || async {
        let found = rig.store.breakers(Some(vec![key.clone()])).await.unwrap();
        found.first().is_some_and(|record| record.state == bowline_store::BreakerState::Open)
    })
    .await;
    let job = rig.jobs(&trigger, 1).await[0];
    let barred_again = || {
        until("it is barred", || async {
            let record = rig.job(job).await;
            let is_barred = record.state == JobState::Waiting && record.due_at > rig.clock.now();
            is_barred || record.state == JobState::Dead
        })
    };
    barred_again().await;
    // Time in which no worker asked its breaker does not count.
    rig.pass(Duration::from_secs(24 * 60 * 60));
    barred_again().await;
    tidied(&rig).await;
    assert_ne!(rig.job(job).await.state, JobState::Dead);
    // It asks each two minutes, for an hour.
    for _ in 0..25 {
        rig.pass(Duration::from_secs(122));
        barred_again().await;
    }
    tidied(&rig).await;
    assert_ne!(rig.job(job).await.state, JobState::Dead);
    for _ in 0..7 {
        rig.pass(Duration::from_secs(122));
        barred_again().await;
    }
    rig.until_state(job, JobState::Dead).await;
    let dead = rig.job(job).await;
    assert!(dead.last_error.unwrap().starts_with("BARRED_TOO_LONG: "));
    assert_eq!(dead.attempts, 0);
    running.stop().await;
    rig.end().await;
}

/// Only a server has a clock of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_whose_clocks_are_wrong_neither_lose_nor_get_each_others_jobs() {
    let rig = Rig::new(Engine::Postgres).await;
    let (answer, answered) = watch::channel(false);
    let receiver = Receiver::start_held(answered).await;
    let trigger = rig.trigger("rest", json!({ "url": receiver.url("/"), "timeout_seconds": 300 })).await;
    let skewed = |minutes: i64, instance: &str| {
        let now = Timestamp::from_micros(rig.clock.now().micros() + minutes * 60_000_000);
        let clock = Arc::new(ManualClock::at(now)) as Arc<dyn Clock>;
        deliveries_at(Arc::clone(&rig.store), config(), clock, None, instance)
    };
    let behind = Running::start(&skewed(-10, "behind"));
    let job = rig.jobs(&trigger, 1).await[0];
    until("it is under way", || async { receiver.count() == 1 }).await;
    let ahead = Running::start(&skewed(10, "ahead"));
    // The one that is ahead delivers, and looks for claims that ran out.
    let other = Receiver::start(|_, _| Reply::status(200)).await;
    let quick = rig
        .trigger_of(TenantId::random(), "rest", json!({ "url": other.url("/") }), Default::default())
        .await;
    until("the other one works", || async {
        let one = rig.jobs(&quick, 1).await[0];
        rig.until_state(one, JobState::Succeeded).await;
        rig.attempts(one).await[0].worker == "ahead"
    })
    .await;
    looked_after(&rig).await;
    looked_after(&rig).await;
    assert_eq!((rig.job(job).await.state, rig.job(job).await.attempts), (JobState::Running, 1));
    answer.send(true).unwrap();
    rig.until_state(job, JobState::Succeeded).await;
    assert_eq!(receiver.count(), 1);
    assert_eq!(rig.attempts(job).await[0].worker, "behind");
    for running in [behind, ahead] {
        running.stop().await;
    }
    rig.end().await;
}

/// A claim that waits for a lock would take ten seconds to be refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_does_not_answer_does_not_hold_up_the_end() {
    let rig = Rig::new(Engine::Postgres).await;
    let mut locking = rig.place.connect().await;
    let mut lock = locking.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE action_jobs IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    let running = Running::start(&rig.deliveries(Config { drain_secs: 1, ..config() }, "one"));
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%action_jobs%'";
    until("somebody waits for the table", || async {
        let mut looking = rig.place.connect().await;
        let waits: bool = sqlx::query_scalar(waits).fetch_one(&mut looking).await.unwrap();
        looking.close().await.unwrap();
        waits
    })
    .await;
    let since = std::time::Instant::now();
    running.stop().await;
    assert!(since.elapsed() < Duration::from_secs(6), "{:?}", since.elapsed());
    lock.rollback().await.unwrap();
    rig.end().await;
}
