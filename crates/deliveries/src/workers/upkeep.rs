//! The upkeep of the queue beside deliveries: leases are renewed, expired leases are reclaimed, breakers become half open,
//! jobs that breakers block for too long are given up, Redis is filled, and the queue's depth is shown.
//!
//! Any number of processes may do all of it at once.

use std::sync::Arc;
use std::time::Duration;

use bowline_runtime::Shutdown;
use bowline_store::{ChangeKind, StoreError};
use bowline_types::Timestamp;
use metrics::gauge;
use tokio::time::Instant;

use super::claims::HeldClaims;
use crate::breakers::Breakers;
use crate::metrics::{DLQ_SIZE, QUEUE_DEPTH};
use crate::service::DeliveryContext;
use crate::{BuriedJob, GiveUpReason, GiveUpTally, RedisQueue, relay_once};

/// Pause between two rounds.
const PERIOD: Duration = Duration::from_secs(1);

/// Old jobs that are deleted at a time.
const FORGOTTEN_AT_ONCE: u64 = 5_000;

/// Time between two readings of the queue's depth.
const DEPTH_PERIOD: Duration = Duration::from_secs(5);

/// After start-up or an outage, wait this long before reclaiming expired leases, so that live workers renew first.
const RECLAIM_DELAY: Duration = Duration::from_secs(5);

/// Calls of one round that give up jobs at most; the next round does the rest.
const CALLS_MAX: u32 = 20;

/// Renews the leases of this process's claims; it ends with the deliveries, not with the shutdown.
pub(crate) async fn renew_leases(context: Arc<DeliveryContext>, held_claims: Arc<HeldClaims>) {
    let period = context.config.lease() / 3;
    let mut pause = period;
    loop {
        tokio::time::sleep(pause).await;
        pause = period;
        if let Err(error) = renew_leases_once(&context, &held_claims).await {
            tracing::warn!(component = "triggers", %error, "Claims of jobs can't be prolonged, retrying");
            pause = period.min(PERIOD);
        }
    }
}

async fn renew_leases_once(context: &DeliveryContext, held_claims: &HeldClaims) -> Result<(), StoreError> {
    let claims = held_claims.claims();
    if claims.is_empty() {
        return Ok(());
    }
    let lease = context.config.lease();
    // The store renews no lease that has more than half of its time left.
    let until = Instant::now() + lease / 2;
    let held = context.store.extend_claims(claims.clone(), lease, context.clock.now()).await?;
    held_claims.keep(&claims, &held, until);
    Ok(())
}

/// Looks after the jobs and breakers of all processes until the shutdown begins.
pub(crate) async fn look_after(
    context: Arc<DeliveryContext>,
    breakers: Arc<Breakers>,
    held_claims: Arc<HeldClaims>,
    shutdown: Shutdown,
) -> Result<(), StoreError> {
    let tally = GiveUpTally::new(GiveUpReason::BarredTooLong);
    let mut shown: Option<Instant> = None;
    let mut is_away = false;
    let mut reclaims_from = Instant::now() + RECLAIM_DELAY;
    while !shutdown.has_begun() {
        let is_due = shown.is_none_or(|at| at.elapsed() >= DEPTH_PERIOD);
        let looked = async {
            breakers.sweep().await?;
            renew_leases_once(&context, &held_claims).await?;
            if Instant::now() >= reclaims_from {
                reclaim(&context).await?;
            }
            if is_due { tidy(&context, &tally).await } else { Ok(()) }
        };
        // A round may end between any two steps: the next one of any process goes on.
        let looked = tokio::select! { looked = looked => looked, () = shutdown.begun() => break };
        match looked {
            Ok(()) => is_away = false,
            Err(error) => {
                reclaims_from = Instant::now() + RECLAIM_DELAY;
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

async fn reclaim(context: &DeliveryContext) -> Result<(), StoreError> {
    let reclaimed = context.store.reclaim_jobs(context.clock.now()).await?;
    if reclaimed > 0 {
        tracing::warn!(component = "triggers", jobs = reclaimed, "Jobs of a worker that is gone wait again");
    }
    Ok(())
}

/// Gives up jobs that breakers blocked for too long, deletes old jobs, and shows the queue's depth.
async fn tidy(context: &DeliveryContext, tally: &GiveUpTally) -> Result<(), StoreError> {
    let now = context.clock.now();
    let before = hours_before(now, context.config.barred_hours_max);
    for _ in 0..CALLS_MAX {
        let jobs = context.store.give_up_barred(before, now).await?;
        tally.add(&jobs);
        if jobs.is_empty() {
            break;
        }
        if let Some(queue) = &context.queue {
            let buried: Vec<_> = jobs.into_iter().map(|job| BuriedJob { job, failed_at: now }).collect();
            // If this fails, the relay shows them later.
            queue.bury(&buried).await.ok();
        }
    }
    let depth = context.store.queue_depth(now).await?;
    gauge!(QUEUE_DEPTH).set(depth.waiting as f64);
    gauge!(DLQ_SIZE).set(depth.dead as f64);
    forget(context, now).await
}

fn hours_before(now: Timestamp, hours: u64) -> Timestamp {
    let hours = i64::try_from(hours).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.micros().saturating_sub(hours.saturating_mul(60 * 60 * 1_000_000)))
}

/// Deletes some of the jobs that ended long ago; the next round does the rest.
async fn forget(context: &DeliveryContext, now: Timestamp) -> Result<(), StoreError> {
    let before = hours_before(now, context.config.jobs_keep_days.saturating_mul(24));
    context.store.forget_jobs(before, FORGOTTEN_AT_ONCE).await?;
    let days = context.config.dead_letters_keep_days;
    if days > 0 {
        context.store.forget_dead(hours_before(now, days.saturating_mul(24)), FORGOTTEN_AT_ONCE).await?;
    }
    Ok(())
}

/// Fills Redis with the jobs that are due until the shutdown begins.
pub(crate) async fn relay(
    context: Arc<DeliveryContext>,
    queue: RedisQueue,
    shutdown: Shutdown,
) -> Result<(), StoreError> {
    let mut changes = context.store.changes().watch();
    let mut is_away = false;
    while !shutdown.has_begun() {
        let heard = context.store.changes().epoch(ChangeKind::JOBS);
        let now = context.clock.now();
        let relayed = tokio::select! {
            relayed = relay_once(context.store.as_ref(), &queue, now) => relayed,
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
        while is_away || context.store.changes().epoch(ChangeKind::JOBS) == heard {
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
