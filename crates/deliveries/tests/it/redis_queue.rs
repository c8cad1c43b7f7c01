//! The queue in Redis: what its lists show, who gets a job, and what a crash of either side leaves behind.
//!
//! Each test runs on both stores with a Redis of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bowline_deliveries::{BuriedJob, QueueError, RedisConfig, RedisDepth, RedisQueue, Relayed, relay_once};
use bowline_store::{Claim, ClaimedJob, JobEnd, JobStore, LineStore, NewJob};
use bowline_types::TenantId;
use uuid::Uuid;

use crate::jobs::{at, end, ids, insert, made, several};
use crate::redis_server::RedisServer;
use crate::rig::{on_both, soon, until_true as until};
use crate::test_store::{Engine, TestStore};

on_both! {
    the_list_is_what_waits_in_the_order_of_claims,
    a_worker_that_dies_loses_no_job,
    what_redis_loses_is_handed_over_again,
    a_relay_that_dies_between_its_steps_loses_no_job,
    several_relays_hand_over_each_job_once,
    a_restart_on_its_log_keeps_the_list,
    a_redis_that_is_away_costs_a_refusal,
    who_waits_is_woken,
    dead_letters_are_shown,
}

const LEASE: Duration = Duration::from_secs(60);

async fn relay(store: &Arc<dyn LineStore>, queue: &RedisQueue, seconds: i64) -> Relayed {
    let store: &dyn JobStore = &**store;
    relay_once(store, queue, at(seconds)).await.unwrap()
}

async fn waiting(queue: &RedisQueue) -> u64 {
    queue.depth().await.unwrap().waiting
}

/// A worker's round.
async fn work(store: &Arc<dyn LineStore>, queue: &RedisQueue, worker: &str, limit: usize) -> Vec<ClaimedJob> {
    let ids = queue.take(worker, limit).await.unwrap();
    let claimed = store.claim_jobs(Claim::These(ids.clone()), worker, LEASE, at(0)).await.unwrap();
    queue.settle(worker, &ids).await.unwrap();
    claimed
}

fn claimed_ids(claimed: &[ClaimedJob]) -> Vec<Uuid> {
    claimed.iter().map(|claimed| claimed.job.job.job_id).collect()
}

async fn the_list_is_what_waits_in_the_order_of_claims(engine: Engine) {
    let place = TestStore::new(engine).await;
    let (store, redis) = (place.open().await, RedisServer::start(false).await);
    let queue = redis.queue().await;
    let busy = TenantId::random();
    let flood = several(busy, 250);
    insert(&store, &flood).await;
    let first = relay(&store, &queue, 0).await;
    assert!(first.was_lost && first.more && first.handed == 200);
    assert_eq!(relay(&store, &queue, 0).await, Relayed { handed: 50, ..Relayed::default() });
    assert_eq!(redis.ask::<u64>("LLEN action_jobs").await, 250);
    assert_eq!(claimed_ids(&work(&store, &queue, "w", 20).await), ids(&flood[..20]));
    // Those that come later go to their places, whatever is in the list already.
    let (newcomer, urgent) = (made(TenantId::random()), NewJob { priority: 5, ..made(busy) });
    insert(&store, &[newcomer.clone(), urgent.clone()]).await;
    assert_eq!(relay(&store, &queue, 0).await.handed, 2);
    assert_eq!(redis.ask::<u64>("LLEN action_jobs").await, 232);
    let next = claimed_ids(&work(&store, &queue, "w", 4).await);
    assert_eq!(next[0], urgent.job_id);
    assert!(next.contains(&newcomer.job_id), "the newcomer stands behind the flood");
    let mut rest = Vec::new();
    while waiting(&queue).await > 0 {
        rest.extend(claimed_ids(&work(&store, &queue, "w", 50).await));
    }
    assert_eq!(rest.len(), 228);
    assert!(work(&store, &queue, "w", 50).await.is_empty());
    let entry = "action_jobs action_jobs_index action_jobs_taken:w";
    assert_eq!(redis.ask::<u64>(&format!("EXISTS {entry}")).await, 0, "something is left behind");
    place.remove().await;
}

async fn a_worker_that_dies_loses_no_job(engine: Engine) {
    let place = TestStore::new(engine).await;
    let (store, redis) = (place.open().await, RedisServer::start(false).await);
    let queue = redis.queue().await;
    let jobs = several(TenantId::random(), 10);
    insert(&store, &jobs).await;
    relay(&store, &queue, 0).await;
    // One dies before it claims, the other one after it.
    assert_eq!(queue.take("dies-before", 3).await.unwrap(), ids(&jobs[..3]));
    let ids_after = queue.take("dies-after", 3).await.unwrap();
    let claimed = store.claim_jobs(Claim::These(ids_after), "dies-after", LEASE, at(0)).await.unwrap();
    assert_eq!(claimed.len(), 3);
    assert_eq!(waiting(&queue).await, 4);
    let rounds = AtomicI64::new(0);
    until(async || {
        relay(&store, &queue, rounds.fetch_add(1, Ordering::Relaxed)).await;
        // The three without a claim wait again; those that are claimed don't.
        waiting(&queue).await == 7
    })
    .await;
    let next = work(&store, &queue, "w", 99).await;
    assert_eq!(claimed_ids(&next).len(), 7);
    assert_eq!(claimed_ids(&next)[..3], ids(&jobs[..3]));
    // A worker that is only slow finds out when it claims.
    let late = store.claim_jobs(Claim::These(ids(&jobs[..3])), "dies-before", LEASE, at(0)).await.unwrap();
    assert!(late.is_empty());
    queue.settle("dies-before", &ids(&jobs[..3])).await.unwrap();
    assert_eq!(queue.depth().await.unwrap(), RedisDepth { waiting: 0, dead: 0 });
    // One that shuts down gives back at once.
    end(&store, &next[..2], JobEnd::Retry { due_at: at(1), counts: true }).await;
    relay(&store, &queue, rounds.load(Ordering::Relaxed)).await;
    assert_eq!(queue.take("stops", 9).await.unwrap().len(), 2);
    assert_eq!(queue.give_back("stops").await.unwrap(), 2);
    assert_eq!(waiting(&queue).await, 2);
    place.remove().await;
}

async fn what_redis_loses_is_handed_over_again(engine: Engine) {
    let place = TestStore::new(engine).await;
    let (store, mut redis) = (place.open().await, RedisServer::start(false).await);
    let queue = redis.queue().await;
    let jobs = several(TenantId::random(), 30);
    insert(&store, &jobs).await;
    relay(&store, &queue, 0).await;
    let _: () = redis.ask("FLUSHALL").await;
    let mended = relay(&store, &queue, 1).await;
    assert!(mended.was_lost && mended.repaired == 30 && mended.handed == 30);
    assert_eq!(waiting(&queue).await, 30);
    // A restart without what it held.
    redis.kill().await;
    redis.resume().await;
    until(async || match relay_once(&*store as &dyn JobStore, &queue, at(2)).await {
        Ok(relayed) => relayed.handed == 30,
        Err(_) => false,
    })
    .await;
    assert_eq!(waiting(&queue).await, 30);
    // An operator removes entries by hand: they are missed.
    let _: Vec<String> = redis.ask("LPOP action_jobs 5").await;
    let _: u64 = redis.ask(&format!("HDEL action_jobs_index {} {}", jobs[0].job_id, jobs[1].job_id)).await;
    let mended = relay(&store, &queue, 20).await;
    assert_eq!((mended.repaired, mended.handed), (2, 2));
    assert!(!mended.was_lost);
    let all = claimed_ids(&work(&store, &queue, "w", 99).await);
    assert!(all.contains(&jobs[0].job_id) && all.contains(&jobs[1].job_id));
    place.remove().await;
}

async fn a_relay_that_dies_between_its_steps_loses_no_job(engine: Engine) {
    let place = TestStore::new(engine).await;
    let (store, redis) = (place.open().await, RedisServer::start(false).await);
    let queue = redis.queue().await;
    let jobs = several(TenantId::random(), 12);
    insert(&store, &jobs).await;
    relay(&store, &queue, 0).await;
    assert_eq!(waiting(&queue).await, 12);
    let more = several(TenantId::random(), 6);
    insert(&store, &more).await;
    // It handed over six jobs, pushed two of them, and was killed.
    let handed = store.hand_over(99, at(1)).await.unwrap();
    assert_eq!((handed.len(), queue.push(&handed[..2]).await.unwrap()), (6, 2));
    assert_eq!(relay(&store, &queue, 4).await.repaired, 0, "it might still be about to push");
    let mended = relay(&store, &queue, 7).await;
    assert_eq!((mended.repaired, mended.handed), (4, 4));
    // What is pushed twice is there once.
    assert_eq!(queue.push(&handed).await.unwrap(), 0);
    assert_eq!(redis.ask::<u64>("LLEN action_jobs").await, 18);
    let all: BTreeSet<_> = claimed_ids(&work(&store, &queue, "w", 99).await).into_iter().collect();
    assert_eq!(all, ids(&jobs).into_iter().chain(ids(&more)).collect());
    place.remove().await;
}

async fn several_relays_hand_over_each_job_once(engine: Engine) {
    let place = TestStore::new(engine).await;
    let (stores, redis) = (place.open_two().await, RedisServer::start(false).await);
    let jobs = several(TenantId::random(), 700);
    insert(&stores[0], &jobs).await;
    let relays = stores.clone().map(|store| {
        let config = redis.config();
        tokio::spawn(async move {
            let queue = RedisQueue::connect(config).await.unwrap();
            for seconds in 0..8 {
                relay(&store, &queue, seconds / 4).await;
            }
        })
    });
    for relay in relays {
        relay.await.unwrap();
    }
    let queue = redis.queue().await;
    assert_eq!(redis.ask::<u64>("LLEN action_jobs").await, 700);
    let mut all = BTreeSet::new();
    while waiting(&queue).await > 0 {
        all.extend(claimed_ids(&work(&stores[0], &queue, "w", 100).await));
    }
    assert_eq!(all, ids(&jobs).into_iter().collect());
    place.remove().await;
}

async fn a_restart_on_its_log_keeps_the_list(engine: Engine) {
    let place = TestStore::new(engine).await;
    let (store, mut redis) = (place.open().await, RedisServer::start(true).await);
    let queue = redis.queue().await;
    let jobs = several(TenantId::random(), 20);
    insert(&store, &jobs).await;
    relay(&store, &queue, 0).await;
    assert_eq!(queue.take("w", 5).await.unwrap(), ids(&jobs[..5]));
    redis.kill().await;
    redis.resume().await;
    until(async || queue.ping().await.is_ok()).await;
    assert!(!queue.was_lost().await.unwrap());
    assert_eq!(waiting(&queue).await, 15);
    let claimed = store.claim_jobs(Claim::These(ids(&jobs[..5])), "w", LEASE, at(0)).await.unwrap();
    queue.settle("w", &ids(&jobs[..5])).await.unwrap();
    assert_eq!((claimed.len(), claimed_ids(&work(&store, &queue, "w", 99).await).len()), (5, 15));
    place.remove().await;
}

async fn a_redis_that_is_away_costs_a_refusal(engine: Engine) {
    let place = TestStore::new(engine).await;
    let (store, mut redis) = (place.open().await, RedisServer::start(true).await);
    let queue = redis.queue().await;
    let jobs = several(TenantId::random(), 10);
    insert(&store, &jobs).await;
    relay(&store, &queue, 0).await;
    redis.kill().await;
    until(async || queue.take("w", 3).await.is_err_and(|error| error.is_known_absence())).await;
    assert!(matches!(queue.ping().await, Err(QueueError::Away(_) | QueueError::BreakerOpen)));
    assert!(relay_once(&*store as &dyn JobStore, &queue, at(1)).await.is_err());
    // Workers go on with the store alone.
    let claimed = store.claim_jobs(Claim::Next { limit: 4 }, "w", LEASE, at(1)).await.unwrap();
    assert_eq!(claimed_ids(&claimed), ids(&jobs[..4]));
    redis.resume().await;
    let rounds = AtomicI64::new(10);
    until(async || {
        let now = at(rounds.fetch_add(1, Ordering::Relaxed));
        let relayed = relay_once(&*store as &dyn JobStore, &queue, now).await;
        relayed.is_ok() && waiting(&queue).await == 6
    })
    .await;
    assert_eq!(claimed_ids(&work(&store, &queue, "w", 99).await), ids(&jobs[4..]));
    // One that was never there is no reason not to start.
    let nowhere = RedisQueue::connect(RedisConfig::at("redis://127.0.0.1:1/")).await.unwrap();
    assert!(matches!(nowhere.ping().await, Err(QueueError::Away(_) | QueueError::BreakerOpen)));
    let wrong = RedisQueue::connect(RedisConfig::at("http://user:hunter2@localhost/")).await.unwrap_err();
    assert!(!wrong.to_string().contains("hunter2"), "{wrong}");
    place.remove().await;
}

async fn who_waits_is_woken(engine: Engine) {
    let place = TestStore::new(engine).await;
    let (store, redis) = (place.open().await, RedisServer::start(false).await);
    let [mine, other] = [redis.queue().await, redis.queue().await];
    let mut waiter = mine.waiter();
    // The first time it hears that it is heard.
    soon(waiter.wait(Duration::from_secs(60))).await;
    for _ in 0..3 {
        let waits = tokio::spawn(async move {
            waiter.wait(Duration::from_secs(60)).await;
            waiter
        });
        let job = made(TenantId::random());
        insert(&store, std::slice::from_ref(&job)).await;
        relay(&store, &other, 0).await;
        waiter = soon(waits).await.unwrap();
        assert_eq!(claimed_ids(&work(&store, &mine, "w", 9).await), [job.job_id]);
    }
    soon(waiter.wait(Duration::from_millis(10))).await;
    place.remove().await;
}

async fn dead_letters_are_shown(engine: Engine) {
    let place = TestStore::new(engine).await;
    let (store, redis) = (place.open().await, RedisServer::start(false).await);
    let queue = redis.queue().await;
    let jobs = several(TenantId::random(), 4);
    insert(&store, &jobs).await;
    relay(&store, &queue, 0).await;
    let claimed = work(&store, &queue, "w", 3).await;
    end(&store, &claimed, JobEnd::Dead).await;
    let mut letters: Vec<_> =
        claimed.iter().map(|claimed| BuriedJob { job: claimed.job.clone(), failed_at: at(5) }).collect();
    letters[0].job.last_error = Some("\"quoted\" ".repeat(500));
    letters[0].job.job.action_type = "x".repeat(5_000);
    queue.bury(&letters).await.unwrap();
    queue.bury(&letters[1..]).await.unwrap();
    let shown: Vec<String> = redis.ask("LRANGE action_jobs_dlq 0 -1").await;
    assert_eq!(shown.len(), 3);
    assert!(shown.iter().all(|entry| entry.len() <= 1_024));
    assert!(shown[0].contains(&jobs[0].job_id.to_string()) && shown[0].contains("\"attempts\":1"));
    queue.unbury(&ids(&jobs[..1])).await.unwrap();
    assert_eq!(queue.depth().await.unwrap(), RedisDepth { waiting: 1, dead: 2 });
    // Letters that an operator deleted by hand, or that Redis lost, are shown again.
    let _: u64 = redis.ask("DEL action_jobs_dlq").await;
    for seconds in [20, 40] {
        relay(&store, &queue, seconds).await;
    }
    assert_eq!(redis.ask::<u64>("LLEN action_jobs_dlq").await, 3);
    let _: () = redis.ask("FLUSHALL").await;
    relay(&store, &queue, 60).await;
    assert_eq!(queue.depth().await.unwrap(), RedisDepth { waiting: 1, dead: 3 });
    queue.purge().await.unwrap();
    assert_eq!(redis.ask::<u64>("DBSIZE").await, 0);
    place.remove().await;
}
