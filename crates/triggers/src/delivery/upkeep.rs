//! What has to be done beside delivering: claims are prolonged, jobs of the dead come back, breakers get half open, jobs
//! that wait in vain are given up, Redis is filled, and the depth of the queue is shown.
//!
//! All of it may be done by any number of processes at once.

use std::sync::Arc;
use std::time::Duration;

use bowline_runtime::Shutdown;
use bowline_store::{BuriedJob, ChangeKind, RedisQueue, StoreError, relay_once};
use bowline_types::Timestamp;
use metrics::gauge;
use tokio::time::Instant;

use super::Shared;
use super::breakers::Breakers;
use super::in_hand::InHand;
use super::metrics::{DLQ_SIZE, QUEUE_DEPTH};
use crate::given_up::{GivenUp, Reason};

/// Between two rounds.
const PERIOD: Duration = Duration::from_secs(1);

/// Old jobs that are deleted at a time.
const FORGOTTEN_AT_ONCE: u64 = 5_000;

/// Between two looks at the depth of the queue.
const DEPTH_PERIOD: Duration = Duration::from_secs(5);

/// After a store that was away, and after the start, since nobody knows what was before, nobody's jobs come back for so
/// long: every process first prolongs what it holds, since leases ran out while nobody could.
const AFTER_OUTAGE: Duration = Duration::from_secs(5);

/// Calls of one round that give up jobs at most; what is left over is the next round's.
const CALLS_MAX: u32 = 20;

/// Prolongs the claims of this process until nobody holds any; it ends with the deliveries, not with the shutdown.
pub(crate) async fn prolong(shared: Arc<Shared>, in_hand: Arc<InHand>) {
    let period = shared.config.lease() / 3;
    let mut pause = period;
    loop {
        tokio::time::sleep(pause).await;
        pause = period;
        if let Err(error) = prolong_once(&shared, &in_hand).await {
            tracing::warn!(component = "triggers", %error, "Claims of jobs can't be prolonged, retrying");
            pause = period.min(PERIOD);
        }
    }
}

async fn prolong_once(shared: &Shared, in_hand: &InHand) -> Result<(), StoreError> {
    let claims = in_hand.claims();
    if claims.is_empty() {
        return Ok(());
    }
    let lease = shared.config.lease();
    // What has more than half of its lease left is not prolonged.
    let until = Instant::now() + lease / 2;
    let held = shared.store.extend_claims(claims.clone(), lease, shared.clock.now()).await?;
    in_hand.keep(&claims, &held, until);
    Ok(())
}

/// Looks after everybody's jobs and breakers until the shutdown begins.
pub(crate) async fn look_after(
    shared: Arc<Shared>,
    breakers: Arc<Breakers>,
    in_hand: Arc<InHand>,
    shutdown: Shutdown,
) -> Result<(), StoreError> {
    let given_up = GivenUp::new(Reason::BarredTooLong);
    let mut shown: Option<Instant> = None;
    let mut is_away = false;
    let mut reclaims_from = Instant::now() + AFTER_OUTAGE;
    while !shutdown.has_begun() {
        let is_due = shown.is_none_or(|at| at.elapsed() >= DEPTH_PERIOD);
        let looked = async {
            breakers.sweep().await?;
            prolong_once(&shared, &in_hand).await?;
            if Instant::now() >= reclaims_from {
                reclaim(&shared).await?;
            }
            if is_due { tidy(&shared, &given_up).await } else { Ok(()) }
        };
        // Whatever of it is done may end anywhere: the next process goes on.
        let looked = tokio::select! { looked = looked => looked, () = shutdown.begun() => break };
        match looked {
            Ok(()) => is_away = false,
            Err(error) => {
                reclaims_from = Instant::now() + AFTER_OUTAGE;
                if !std::mem::replace(&mut is_away, true) {
                    tracing::warn!(component = "triggers", %error, "Jobs can't be looked after, retrying");
                }
            }
        }
        if is_due {
            shown = Some(Instant::now());
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = shutdown.begun() => {}
        }
    }
    Ok(())
}

async fn reclaim(shared: &Shared) -> Result<(), StoreError> {
    let reclaimed = shared.store.reclaim_jobs(shared.clock.now()).await?;
    if reclaimed > 0 {
        tracing::warn!(component = "triggers", jobs = reclaimed, "Jobs of a worker that is gone wait again");
    }
    Ok(())
}

/// Gives up what waited too long, deletes what is old, and shows how full the queue is.
async fn tidy(shared: &Shared, given_up: &GivenUp) -> Result<(), StoreError> {
    let now = shared.clock.now();
    let before = hours_before(now, shared.config.barred_hours_max);
    for _ in 0..CALLS_MAX {
        let jobs = shared.store.give_up_barred(before, now).await?;
        given_up.add(&jobs);
        if jobs.is_empty() {
            break;
        }
        if let Some(queue) = &shared.queue {
            let buried: Vec<_> = jobs.into_iter().map(|job| BuriedJob { job, failed_at: now }).collect();
            // The relay shows what is missing.
            queue.bury(&buried).await.ok();
        }
    }
    let depth = shared.store.queue_depth(now).await?;
    gauge!(QUEUE_DEPTH).set(depth.waiting as f64);
    gauge!(DLQ_SIZE).set(depth.dead as f64);
    forget(shared, now).await
}

fn hours_before(now: Timestamp, hours: u64) -> Timestamp {
    let hours = i64::try_from(hours).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.micros().saturating_sub(hours.saturating_mul(60 * 60 * 1_000_000)))
}

/// Deletes some of what ended long ago; what is left over is the next round's.
async fn forget(shared: &Shared, now: Timestamp) -> Result<(), StoreError> {
    let before = hours_before(now, shared.config.jobs_keep_days.saturating_mul(24));
    shared.store.forget_jobs(before, FORGOTTEN_AT_ONCE).await?;
    let days = shared.config.dead_letters_keep_days;
    if days > 0 {
        shared.store.forget_dead(hours_before(now, days.saturating_mul(24)), FORGOTTEN_AT_ONCE).await?;
    }
    Ok(())
}

/// Fills Redis with the jobs that are due until the shutdown begins.
pub(crate) async fn relay(
    shared: Arc<Shared>,
    queue: RedisQueue,
    shutdown: Shutdown,
) -> Result<(), StoreError> {
    let mut changes = shared.store.changes().watch();
    let mut is_away = false;
    while !shutdown.has_begun() {
        let heard = shared.store.changes().epoch(ChangeKind::Jobs);
        let now = shared.clock.now();
        let relayed = tokio::select! {
            relayed = relay_once(shared.store.as_ref(), &queue, now) => relayed,
            () = shutdown.begun() => break,
        };
        match relayed {
            Ok(relayed) => {
                is_away = false;
                if relayed.was_lost {
                    tracing::warn!(component = "triggers", "Redis had lost the queue and is filled anew");
                }
                if relayed.more {
                    continue;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut is_away, true) {
                    tracing::warn!(component = "triggers", %error, "Jobs can't be handed to Redis, retrying");
                }
            }
        }
        let until = Instant::now() + PERIOD;
        while is_away || shared.store.changes().epoch(ChangeKind::Jobs) == heard {
            tokio::select! {
                changed = tokio::time::timeout_at(until, changes.changed()) => {
                    if !matches!(changed, Ok(Ok(()))) {
                        break;
                    }
                }
                () = shutdown.begun() => break,
            }
        }
    }
    Ok(())
}
