//! Workers that get their jobs through Redis, which may die at any moment.
//! What a worker does with a job is not tried here: that is the same without Redis.

use std::sync::Arc;
use std::time::Duration;

use bowline_deliveries::{Config, relay_once};
use bowline_runtime::{Clock, SystemClock};
use bowline_store::JobState;
use serde_json::json;

use crate::receiver::{Receiver, Reply};
use crate::redis_server::RedisServer;
use crate::rig::{Rig, Running, config, deliveries_at, until};
use crate::test_store::Engine;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_go_through_redis_and_go_on_when_it_is_gone() {
    let rig = Rig::new(Engine::Postgres).await;
    let mut redis = RedisServer::start(false).await;
    let receiver = Receiver::start(|_, received| match received.path.as_str() {
        "/refuses" => Reply::status(410),
        _ => Reply::status(200),
    })
    .await;
    let mut running = Vec::new();
    for name in ["one", "two"] {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let queue = Some(redis.patient_queue().await);
        running.push(Running::start(&deliveries_at(Arc::clone(&rig.store), config(), clock, queue, name)));
    }
    let trigger = rig.trigger("rest", json!({ "url": receiver.url("/") })).await;
    rig.jobs(&trigger, 1_000).await;
    until("all are delivered", || async { receiver.count() >= 1_000 }).await;
    until("all are written", || async { rig.count(JobState::Succeeded).await == 1_000 }).await;
    assert_eq!(receiver.count(), 1_000);
    // Dead letters are seen in Redis.
    let refused = rig.trigger("rest", json!({ "url": receiver.url("/refuses") })).await;
    let dead = rig.jobs(&refused, 1).await[0];
    rig.until_state(dead, JobState::Dead).await;
    let queue = redis.patient_queue().await;
    until("the dead letter is in Redis", || async {
        queue.depth().await.is_ok_and(|depth| (depth.waiting, depth.dead) == (0, 1))
    })
    .await;

    redis.kill().await;
    rig.jobs(&trigger, 100).await;
    until("the store hands them out", || async { rig.count(JobState::Succeeded).await == 1_100 }).await;
    assert_eq!(receiver.count(), 1_101);
    for running in running {
        tokio::time::timeout(Duration::from_secs(30), running.stop()).await.unwrap();
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_were_given_up_do_not_keep_others_waiting_in_redis() {
    let rig = Rig::new(Engine::Postgres).await;
    let redis = RedisServer::start(false).await;
    let queue = redis.patient_queue().await;
    let receiver = Receiver::start(|_, _| Reply::status(200)).await;
    let trigger = rig.trigger("rest", json!({ "url": receiver.url("/") })).await;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    rig.jobs(&trigger, 200).await;
    relay_once(rig.store.as_ref(), &queue, clock.now()).await.unwrap();
    rig.place.execute("UPDATE action_jobs SET state = 'dead', ready = false, handed_over = false").await;
    let job = rig.jobs(&trigger, 1).await[0];
    relay_once(rig.store.as_ref(), &queue, clock.now()).await.unwrap();
    assert_eq!(queue.depth().await.unwrap().waiting, 201);
    // Five are taken at a time, and no wake-up says that there are more.
    let settings = Config { workers: 5, poll_ms: 60_000, ..config() };
    let deliveries = deliveries_at(Arc::clone(&rig.store), settings, clock, Some(queue), "one");
    let running = Running::start(&deliveries);
    rig.until_state(job, JobState::Succeeded).await;
    running.stop().await;
    rig.end().await;
}
