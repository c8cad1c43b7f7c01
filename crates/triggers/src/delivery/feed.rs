//! Where a worker's jobs come from: the store, or Redis, which only says which ones to ask the store for.
//! It delivers nothing, and a job is a worker's only when the store says so.

use std::sync::Arc;
use std::time::Duration;

use bowline_runtime::Shutdown;
use bowline_store::{ChangeKind, Claim, ClaimedJob, QueueWaiter, StoreError};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::Shared;
use super::in_hand::InHand;

/// Between two tries at a store that is away.
const PAUSE: Duration = Duration::from_secs(1);

/// So many times in a row ids are taken from Redis of which none is of a job that waits: it was given up or cancelled
/// meanwhile, or another worker has it.
const TAKES_MAX: u32 = 100;

/// Gets jobs.
pub(crate) struct Feed {
    shared: Arc<Shared>,
    in_hand: Arc<InHand>,
    shutdown: Shutdown,
    changes: watch::Receiver<u64>,
    waiter: Option<QueueWaiter>,
    /// The last wake-up that was obeyed.
    heard: u64,
    is_away: bool,
}

impl Feed {
    pub(crate) fn new(shared: Arc<Shared>, in_hand: Arc<InHand>, shutdown: Shutdown) -> Self {
        let changes = shared.store.changes().watch();
        let waiter = shared.queue.as_ref().map(|queue| queue.waiter());
        Self { shared, in_hand, shutdown, changes, waiter, heard: 0, is_away: false }
    }

    /// Jobs, as soon as there are some; none once the shutdown has begun.
    pub(crate) async fn next(&mut self, limit: usize) -> Vec<ClaimedJob> {
        while !self.shutdown.has_begun() {
            // Read before the claim: what comes meanwhile is heard of afterwards.
            self.heard = self.shared.store.changes().epoch(ChangeKind::Jobs);
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
        let Shared { queue, instance, .. } = &*self.shared;
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
                // Nobody else would find them: this process goes on showing that it lives.
                drop(queue.give_back(instance).await);
            }
            let jobs = claimed?;
            // What is not settled comes back when this process's heartbeat stops, and is nobody's by then.
            drop(queue.settle(instance, &ids).await);
            self.hand_over_again(ids, &jobs).await;
            if !jobs.is_empty() || self.shutdown.has_begun() {
                return Ok(jobs);
            }
        }
        Ok(Vec::new())
    }

    /// A claim passes over a row that somebody else has locked for a moment, such as another relay that came too late: a
    /// job that waits all the same is handed over again at once, instead of being missed after a while.
    async fn hand_over_again(&self, ids: Vec<Uuid>, claimed: &[ClaimedJob]) {
        let is_claimed = |id: &Uuid| claimed.iter().any(|claimed| claimed.job.job.job_id == *id);
        let missing: Vec<Uuid> = ids.into_iter().filter(|id| !is_claimed(id)).collect();
        if missing.is_empty() {
            return;
        }
        let store = &self.shared.store;
        // If this fails they are missed later.
        if let Ok(waiting) = store.still_handed(missing).await
            && !waiting.is_empty()
        {
            drop(store.take_back(Some(waiting)).await);
        }
    }

    async fn claim_from_store(&self, claim: Claim) -> Result<Vec<ClaimedJob>, StoreError> {
        let Shared { store, clock, config, instance, .. } = &*self.shared;
        let until = Instant::now() + config.lease();
        let jobs = store.claim_jobs(claim, instance, config.lease(), clock.now()).await?;
        for job in &jobs {
            self.in_hand.take(job.job.job.job_id, job.claim, until);
        }
        Ok(jobs)
    }

    /// Until there may be something to claim.
    async fn wait(&mut self) {
        let poll = self.shared.config.poll();
        if let Some(waiter) = &mut self.waiter {
            tokio::select! {
                () = waiter.wait(poll) => {}
                () = self.shutdown.begun() => {}
            }
            return;
        }
        let until = Instant::now() + poll;
        loop {
            if self.shared.store.changes().epoch(ChangeKind::Jobs) != self.heard {
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
