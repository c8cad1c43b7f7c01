//! Workers that get their jobs through Redis, which may die at any moment.
//! What a worker does with a job is not tried here: that is the same without Redis.

use std::net::TcpListener;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bowline_runtime::{Clock, SystemClock};
use bowline_store::{JobState, RedisConfig, RedisQueue, relay_once};
use bowline_triggers::DeliveryConfig;
use serde_json::json;
use tokio::process::{Child, Command};

use crate::delivery_place::Engine;
use crate::delivery_receiver::{Receiver, Reply};
use crate::delivery_rig::{Rig, Running, config, deliveries_at, until};

struct Redis {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Redis {
    async fn start() -> Self {
        let program = std::env::var_os("BOWLINE_TEST_REDIS")
            .expect("BOWLINE_TEST_REDIS is not set; run the tests with `cargo xtask test`");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new(program)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .arg("--dir")
            .arg(folder.path())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        until("Redis listens", || async {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        Self { child, port, _folder: folder }
    }

    async fn queue(&self) -> RedisQueue {
        RedisQueue::connect(RedisConfig::at(format!("redis://127.0.0.1:{}/", self.port))).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_go_through_redis_and_go_on_when_it_is_gone() {
    let rig = Rig::new(Engine::Postgres).await;
    let mut redis = Redis::start().await;
    let receiver = Receiver::start(|_, received| match received.path.as_str() {
        "/refuses" => Reply::status(410),
        _ => Reply::status(200),
    })
    .await;
    let mut running = Vec::new();
    for name in ["one", "two"] {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let queue = Some(redis.queue().await);
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
    let queue = redis.queue().await;
    until("the dead letter is in Redis", || async {
        queue.depth().await.is_ok_and(|depth| (depth.waiting, depth.dead) == (0, 1))
    })
    .await;

    redis.child.kill().await.unwrap();
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
    let redis = Redis::start().await;
    let queue = redis.queue().await;
    let receiver = Receiver::start(|_, _| Reply::status(200)).await;
    let trigger = rig.trigger("rest", json!({ "url": receiver.url("/") })).await;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    rig.jobs(&trigger, 200).await;
    relay_once(rig.store.as_ref(), &queue, clock.now()).await.unwrap();
    rig.place.execute("UPDATE action_jobs SET state = 'dead', ready = false, handed_over = false").await;
    let job = rig.jobs(&trigger, 1).await[0];
    relay_once(rig.store.as_ref(), &queue, clock.now()).await.unwrap();
    assert_eq!(queue.depth().await.unwrap().waiting, 201);
    // Five are taken at a time, and nobody says that there are more.
    let settings = DeliveryConfig { workers: 5, poll_ms: 60_000, ..config() };
    let deliveries = deliveries_at(Arc::clone(&rig.store), settings, clock, Some(queue), "one");
    let running = Running::start(&deliveries);
    rig.until_state(job, JobState::Succeeded).await;
    running.stop().await;
    rig.end().await;
}
