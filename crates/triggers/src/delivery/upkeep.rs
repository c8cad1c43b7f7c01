//! What has to be done beside delivering: claims are prolonged, jobs of the dead come back, breakers get half open,
//! Redis is filled, and the depth of the queue is shown.
//!
//! All of it may be done by any number of processes at once.

use std::sync::Arc;
use std::time::Duration;

use bowline_runtime::Shutdown;
use bowline_store::{ChangeKind, RedisQueue, StoreError, relay_once};
use bowline_types::Timestamp;
use metrics::gauge;
use tokio::time::Instant;

use super::Shared;
use super::breakers::Breakers;
use super::in_hand::InHand;
use super::metrics::{DLQ_SIZE, QUEUE_DEPTH};

/// Between two rounds.
const PERIOD: Duration = Duration::from_secs(1);

/// Old jobs that are deleted at a time.
const FORGOTTEN_AT_ONCE: u64 = 5_000;

/// Between two looks at the depth of the queue.
const DEPTH_PERIOD: Duration = Duration::from_secs(5);

/// Prolongs the claims of this process until nobody holds any; it ends with the deliveries, not with the shutdown.
pub(crate) async fn prolong(shared: Arc<Shared>, in_hand: Arc<InHand>) {
    let lease = shared.config.lease();
    let mut next = Instant::now();
    loop {
        next += lease / 3;
        tokio::time::sleep_until(next).await;
        let claims = in_hand.claims();
        if claims.is_empty() {
            continue;
        }
        if let Err(error) = shared.store.extend_claims(claims, lease, shared.clock.now()).await {
            tracing::warn!(component = "triggers", %error, "Claims of jobs can't be prolonged");
        }
    }
}

/// Looks after everybody's jobs and breakers until the shutdown begins.
pub(crate) async fn look_after(
    shared: Arc<Shared>,
    breakers: Arc<Breakers>,
    shutdown: Shutdown,
) -> Result<(), StoreError> {
    let mut shown: Option<Instant> = None;
    let mut is_away = false;
    while !shutdown.has_begun() {
        let is_due = shown.is_none_or(|at| at.elapsed() >= DEPTH_PERIOD);
        match round(&shared, &breakers, is_due).await {
            Ok(()) => is_away = false,
            Err(error) => {
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

async fn round(shared: &Shared, breakers: &Breakers, shows: bool) -> Result<(), StoreError> {
    let now = shared.clock.now();
    breakers.sweep().await?;
    let reclaimed = shared.store.reclaim_jobs(now).await?;
    if reclaimed > 0 {
        tracing::warn!(component = "triggers", jobs = reclaimed, "Jobs of a worker that is gone wait again");
    }
    if shows {
        let depth = shared.store.queue_depth(now).await?;
        gauge!(QUEUE_DEPTH).set(depth.waiting as f64);
        gauge!(DLQ_SIZE).set(depth.dead as f64);
        forget(shared, now).await?;
    }
    Ok(())
}

/// Deletes some of what ended long ago; what is left over is the next round's.
async fn forget(shared: &Shared, now: Timestamp) -> Result<(), StoreError> {
    let days = i64::try_from(shared.config.jobs_keep_days).unwrap_or(i64::MAX);
    let age = days.saturating_mul(24 * 60 * 60 * 1_000_000);
    let before = Timestamp::from_micros(now.micros().saturating_sub(age));
    shared.store.forget_jobs(before, FORGOTTEN_AT_ONCE).await.map(drop)
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
        match relay_once(shared.store.as_ref(), &queue, shared.clock.now()).await {
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
