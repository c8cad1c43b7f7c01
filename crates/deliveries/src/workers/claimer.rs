//! Claims jobs for the workers: from the store, or by ids that Redis hands out.
//! It delivers nothing. Redis only suggests: a worker has a job when the store has written its claim.

use std::sync::Arc;
use std::time::Duration;

use bowline_runtime::Shutdown;
use bowline_store::{ChangeKind, Claim, ClaimedJob, StoreError};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::claims::HeldClaims;
use crate::QueueWaiter;
use crate::service::DeliveryContext;

/// Pause after a claim that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Batches of ids that are taken from Redis in a row although none of their jobs waits any more: the jobs were cancelled
/// or given up, or another worker has them.
const TAKES_MAX: u32 = 100;

/// Claims jobs; one a process.
pub(crate) struct Claimer {
    context: Arc<DeliveryContext>,
    held_claims: Arc<HeldClaims>,
    shutdown: Shutdown,
    changes: watch::Receiver<u64>,
    waiter: Option<QueueWaiter>,
    /// The epoch of jobs at the last claim.
    heard: u64,
    is_away: bool,
}

impl Claimer {
    pub(crate) fn new(
        context: Arc<DeliveryContext>,
        held_claims: Arc<HeldClaims>,
        shutdown: Shutdown,
    ) -> Self {
        let changes = context.store.changes().watch();
        let waiter = context.queue.as_ref().map(|queue| queue.waiter());
        Self { context, held_claims, shutdown, changes, waiter, heard: 0, is_away: false }
    }

    /// Waits for jobs and claims up to `limit`; none once the shutdown has begun.
    pub(crate) async fn next(&mut self, limit: usize) -> Vec<ClaimedJob> {
        while !self.shutdown.has_begun() {
            // Read before the claim: a job that comes meanwhile raises it again.
            self.heard = self.context.store.changes().epoch(ChangeKind::JOBS);
            match self.claim(limit).await {
                Ok(jobs) if !jobs.is_empty() => {
                    self.is_away = false;
                    return jobs;
                }
                Ok(_) => {
                    self.is_away = false;
                    self.wait().await;
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.is_away, true) {
                        tracing::warn!(component = "triggers", %error, "Jobs can't be claimed, retrying");
                    }
                    self.pause(PAUSE).await;
                }
            }
        }
        Vec::new()
    }

    async fn claim(&mut self, limit: usize) -> Result<Vec<ClaimedJob>, StoreError> {
        let DeliveryContext { queue, instance, .. } = &*self.context;
        let Some(queue) = queue else { return self.claim_from_store(Claim::Next { limit }).await };
        for _ in 0..TAKES_MAX {
            let ids = match queue.take(instance, limit).await {
                Ok(ids) => ids,
                Err(error) => {
                    if !error.is_known_absence() {
                        tracing::warn!(component = "triggers", %error, "Redis is away, jobs come from the store");
                    }
                    return self.claim_from_store(Claim::Next { limit }).await;
                }
            };
            if ids.is_empty() {
                break;
            }
            let claimed = self.claim_from_store(Claim::These(ids.clone())).await;
            if claimed.is_err() {
                // While this process lives, no relay returns what it took.
                drop(queue.give_back(instance).await);
            }
            let jobs = claimed?;
            // If this fails, the ids return when this process's heartbeat stops, and do no harm.
            drop(queue.settle(instance, &ids).await);
            self.hand_over_again(ids, &jobs).await;
            if !jobs.is_empty() || self.shutdown.has_begun() {
                return Ok(jobs);
            }
        }
        Ok(Vec::new())
    }

    /// Hands jobs over again that Redis named, that wait, and that the claim passed over: another process, such as a late
    /// relay, had locked their rows for a moment. The relay would find them only seconds later.
    async fn hand_over_again(&self, ids: Vec<Uuid>, claimed: &[ClaimedJob]) {
        let is_claimed = |id: &Uuid| claimed.iter().any(|claimed| claimed.job.job.job_id == *id);
        let missing: Vec<Uuid> = ids.into_iter().filter(|id| !is_claimed(id)).collect();
        if missing.is_empty() {
            return;
        }
        let store = &self.context.store;
        // If this fails, the relay finds them later.
        if let Ok(waiting) = store.still_handed(missing).await
            && !waiting.is_empty()
        {
            drop(store.take_back(Some(waiting)).await);
        }
    }

    async fn claim_from_store(&self, claim: Claim) -> Result<Vec<ClaimedJob>, StoreError> {
        let DeliveryContext { store, clock, config, instance, .. } = &*self.context;
        let until = Instant::now() + config.lease();
        let jobs = store.claim_jobs(claim, instance, config.lease(), clock.now()).await?;
        for job in &jobs {
            self.held_claims.take(job.job.job.job_id, job.claim, until);
        }
        Ok(jobs)
    }

    /// Waits until there may be jobs to claim.
    async fn wait(&mut self) {
        let poll = self.context.config.poll();
        if let Some(waiter) = &mut self.waiter {
            tokio::select! {
                () = waiter.wait(poll) => {}
                () = self.shutdown.begun() => {}
            }
            return;
        }
        let until = Instant::now() + poll;
        loop {
            if self.context.store.changes().epoch(ChangeKind::JOBS) != self.heard {
                return;
            }
            tokio::select! {
                changed = tokio::time::timeout_at(until, self.changes.changed()) => {
                    if !matches!(changed, Ok(Ok(()))) {
                        return;
                    }
                }
                () = self.shutdown.begun() => return,
            }
        }
    }

    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.shutdown.begun() => {}
        }
    }
}
