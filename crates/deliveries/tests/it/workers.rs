//! Workers against a store and a receiver: whatever happens, each job ends, and every attempt carries its id.
//! A worker that dies is a runtime that is dropped, or an engine that is killed.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bowline_deliveries::Config;
use bowline_store::{AttemptStatus, BreakerKey, BreakerSettings, BreakerState, JobState};
use bowline_types::TenantId;
use serde_json::json;

use crate::receiver::{Receiver, Reply};
use crate::rig::{Rig, Running, config, on_both, until};
use crate::test_store::Engine;

on_both! {
    two_workers_deliver_every_job_once_under_its_id,
    a_failure_that_may_pass_is_tried_again_and_one_that_may_not_is_buried,
    a_receiver_that_asks_to_wait_is_left_alone,
    a_worker_that_dies_is_replaced_and_the_id_stays,
    a_breaker_opens_tries_and_closes_and_may_be_reset,
    a_tenant_whose_receiver_hangs_does_not_hold_up_another,
    who_stops_gives_back_what_it_has_not_finished,
    what_was_deleted_is_cancelled,
}

async fn two_workers_deliver_every_job_once_under_its_id(engine: Engine) {
    let rig = Rig::new(engine).await;
    let receiver = Receiver::start(|_, _| Reply::status(200)).await;
    let workers = [rig.deliveries(config(), "one"), rig.deliveries(config(), "two")];
    let running = [Running::start(&workers[0]), Running::start(&workers[1])];
    let trigger = rig.trigger("rest", json!({ "url": receiver.url("/") })).await;
    let jobs = rig.jobs(&trigger, 300).await;
    until("all are delivered", || async { rig.count(JobState::Succeeded).await == 300 }).await;
    let keys: Vec<String> =
        receiver.received().iter().map(|received| received.header("idempotency-key").to_owned()).collect();
    assert_eq!(keys.len(), 300);
    let expected: HashSet<String> = jobs.iter().map(ToString::to_string).collect();
    assert_eq!(keys.into_iter().collect::<HashSet<_>>(), expected);
    let attempts = rig.attempts(jobs[0]).await;
    assert_eq!(
        (attempts.len(), attempts[0].status, attempts[0].http_status),
        (1, AttemptStatus::Succeeded, Some(200))
    );
    assert_eq!(attempts[0].destination, receiver.address.to_string());
    // Connections are kept: one for each delivery at a time, and a few that were made meanwhile.
    assert!(receiver.connections() <= 30, "{}", receiver.connections());
    for running in running {
        running.stop().await;
    }
    rig.end().await;
}

async fn a_failure_that_may_pass_is_tried_again_and_one_that_may_not_is_buried(engine: Engine) {
    let rig = Rig::new(engine).await;
    let receiver = Receiver::start(|number, received| match (received.path.as_str(), number) {
        ("/passes", 0 | 1) => Reply::status(500),
        ("/passes", _) => Reply::status(200),
        ("/never", _) => Reply::status(503),
        _ => Reply::status(404),
    })
    .await;
    let running = Running::start(&rig.deliveries(config(), "one"));
    let passes = rig.trigger("rest", json!({ "url": receiver.url("/passes") })).await;
    let job = rig.jobs(&passes, 1).await[0];
    until("it is delivered", || async {
        rig.pass(Duration::from_millis(500));
        rig.job(job).await.state == JobState::Succeeded
    })
    .await;
    let statuses: Vec<_> = rig.attempts(job).await.iter().map(|attempt| attempt.http_status).collect();
    assert_eq!(statuses, [Some(500), Some(500), Some(200)]);
    let keys: HashSet<_> =
        receiver.received().iter().map(|received| received.header("webhook-id").to_owned()).collect();
    assert_eq!(keys, HashSet::from([job.to_string()]));
    assert_eq!(receiver.received()[2].header("x-bowline-attempt"), "3");

    let refused = rig.trigger("rest", json!({ "url": receiver.url("/refused") })).await;
    let job = rig.jobs(&refused, 1).await[0];
    rig.until_state(job, JobState::Dead).await;
    assert_eq!(rig.attempts(job).await.len(), 1);
    assert!(rig.job(job).await.last_error.unwrap().contains("HTTP status 404"));

    let never = rig.trigger("rest", json!({ "url": receiver.url("/never"), "max_attempts": 2 })).await;
    let job = rig.jobs(&never, 1).await[0];
    until("it is given up", || async {
        rig.pass(Duration::from_millis(500));
        rig.job(job).await.state == JobState::Dead
    })
    .await;
    assert_eq!(rig.attempts(job).await.len(), 2);
    running.stop().await;
    rig.end().await;
}

async fn a_receiver_that_asks_to_wait_is_left_alone(engine: Engine) {
    let rig = Rig::new(engine).await;
    let receiver = Receiver::start(|_, _| Reply::status(429).header("retry-after", "120")).await;
    let running = Running::start(&rig.deliveries(config(), "one"));
    let trigger = rig.trigger("rest", json!({ "url": receiver.url("/") })).await;
    let job = rig.jobs(&trigger, 1).await[0];
    until("it was tried", || async { rig.attempts(job).await.len() == 1 }).await;
    rig.until_state(job, JobState::Waiting).await;
    let record = rig.job(job).await;
    let wait = record.due_at.micros() - record.created_at.micros();
    assert!((120_000_000..123_000_000).contains(&wait), "{wait}");
    running.stop().await;
    rig.end().await;
}

async fn a_worker_that_dies_is_replaced_and_the_id_stays(engine: Engine) {
    let rig = Rig::new(engine).await;
    let receiver =
        Receiver::start(|number, _| if number == 0 { Reply::never() } else { Reply::status(200) }).await;
    let trigger = rig.trigger("rest", json!({ "url": receiver.url("/") })).await;
    // A runtime of its own dies like a process: no task of it does anything more.
    let process = tokio::runtime::Runtime::new().unwrap();
    let doomed = rig.doomed(&process, config()).await;
    let guard = process.enter();
    let tasks = Running::start(&doomed);
    drop(guard);
    let job = rig.jobs(&trigger, 1).await[0];
    until("it is under way", || async { receiver.count() == 1 }).await;
    process.shutdown_background();
    drop(tasks);
    assert_eq!(rig.job(job).await.state, JobState::Running);

    let running = Running::start(&rig.deliveries(config(), "heir"));
    rig.leases_age(Duration::from_secs(61)).await;
    rig.until_state(job, JobState::Succeeded).await;
    let keys: Vec<_> =
        receiver.received().iter().map(|received| received.header("idempotency-key").to_owned()).collect();
    assert_eq!(keys, [job.to_string(), job.to_string()]);
    let attempts = rig.attempts(job).await;
    let succeeded = attempts.iter().filter(|attempt| attempt.status == AttemptStatus::Succeeded);
    assert_eq!(succeeded.count(), 1);
    running.stop().await;
    rig.end().await;
}

async fn a_breaker_opens_tries_and_closes_and_may_be_reset(engine: Engine) {
    let rig = Rig::new(engine).await;
    let is_well = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&is_well);
    let receiver =
        Receiver::start(move |_, _| Reply::status(if answers.load(Ordering::SeqCst) { 200 } else { 500 }))
            .await;
    let settings = BreakerSettings { failure_threshold: 3, recovery_secs: 60, half_open_calls_max: 1 };
    let hook = json!({ "url": receiver.url("/"), "max_attempts": 20 });
    let trigger = rig.trigger_of(rig.tenant_id, "rest", hook, settings).await;
    let key = BreakerKey::Trigger(trigger.trigger_id);
    let state = || async {
        let found = rig.store.breakers(Some(vec![key.clone()])).await.unwrap();
        found.first().map(|record| record.state)
    };
    let running = Running::start(&rig.deliveries(config(), "one"));
    rig.jobs(&trigger, 3).await;
    until("it opens", || async { state().await == Some(BreakerState::Open) }).await;
    let tried = receiver.count();
    assert_eq!(tried, 3);
    // What comes now waits, and no attempt is counted.
    let later = rig.jobs(&trigger, 1).await[0];
    until("the job is given back", || async {
        let record = rig.job(later).await;
        record.state == JobState::Waiting && record.due_at > record.created_at
    })
    .await;
    assert_eq!((receiver.count(), rig.job(later).await.attempts), (tried, 0));

    // Half open, one tries and fails: open again.
    rig.pass(Duration::from_secs(60));
    until("one tried", || async {
        rig.pass(Duration::from_millis(50));
        receiver.count() > tried
    })
    .await;
    until("it opens again", || async { state().await == Some(BreakerState::Open) }).await;
    assert_eq!(receiver.count(), tried + 1);

    // The receiver is well: the next probe closes it, and everything arrives.
    is_well.store(true, Ordering::SeqCst);
    until("all are delivered", || async {
        rig.pass(Duration::from_secs(5));
        rig.count(JobState::Succeeded).await == 4
    })
    .await;
    assert!(matches!(state().await, None | Some(BreakerState::Closed)));

    // An operator closes an open one: what comes then passes at once.
    is_well.store(false, Ordering::SeqCst);
    rig.jobs(&trigger, 3).await;
    until("it opens", || async { state().await == Some(BreakerState::Open) }).await;
    is_well.store(true, Ordering::SeqCst);
    assert!(rig.store.reset_breaker(&key, bowline_runtime::Clock::now(rig.clock.as_ref())).await.unwrap());
    let fresh = rig.jobs(&trigger, 1).await[0];
    rig.until_state(fresh, JobState::Succeeded).await;
    running.stop().await;
    rig.end().await;
}

async fn a_tenant_whose_receiver_hangs_does_not_hold_up_another(engine: Engine) {
    let rig = Rig::new(engine).await;
    let slow = Receiver::start(|_, _| Reply::never()).await;
    let fast = Receiver::start(|_, _| Reply::status(200)).await;
    let hanging = json!({ "url": slow.url("/"), "timeout_seconds": 300 });
    let hanging = rig.trigger("rest", hanging).await;
    let settings = BreakerSettings::default();
    let other = TenantId::random();
    let quick = rig.trigger_of(other, "rest", json!({ "url": fast.url("/") }), settings).await;
    rig.jobs(&hanging, 40).await;
    let running = Running::start(&rig.deliveries(Config { drain_secs: 0, ..config() }, "one"));
    until("the hanging ones are under way", || async { slow.count() == 4 }).await;
    rig.jobs(&quick, 40).await;
    until("the others pass", || async {
        rig.pass(Duration::from_millis(50));
        fast.count() == 40
    })
    .await;
    assert_eq!(slow.count(), 4);
    running.stop().await;
    rig.end().await;
}

async fn who_stops_gives_back_what_it_has_not_finished(engine: Engine) {
    let rig = Rig::new(engine).await;
    let receiver = Receiver::start(|_, _| Reply::never()).await;
    let hook = json!({ "url": receiver.url("/"), "timeout_seconds": 300, "max_attempts": 1 });
    let trigger = rig.trigger("rest", hook).await;
    let jobs = rig.jobs(&trigger, 20).await;
    let settings = Config { drain_secs: 1, ..config() };
    let running = Running::start(&rig.deliveries(settings, "one"));
    until("some are under way", || async { receiver.count() == 4 }).await;
    running.stop().await;
    assert_eq!(rig.count(JobState::Waiting).await, 20);
    let mut begun = 0;
    for job in jobs {
        let attempts = rig.attempts(job).await;
        begun += attempts.len();
        assert_eq!(rig.job(job).await.attempts as usize, attempts.len());
    }
    assert_eq!(begun, 4);
    rig.end().await;
}

async fn what_was_deleted_is_cancelled(engine: Engine) {
    let rig = Rig::new(engine).await;
    let receiver = Receiver::start(|_, _| Reply::status(200)).await;
    let trigger = rig.trigger("rest", json!({ "url": receiver.url("/") })).await;
    let gone = bowline_store::TriggerRecord {
        actions: vec![bowline_store::ActionRecord {
            action_id: uuid::Uuid::new_v4(),
            ..trigger.actions[0].clone()
        }],
        ..trigger.clone()
    };
    let job = rig.jobs(&gone, 1).await[0];
    let running = Running::start(&rig.deliveries(config(), "one"));
    rig.until_state(job, JobState::Cancelled).await;
    assert_eq!(receiver.count(), 0);
    running.stop().await;
    rig.end().await;
}
