//! One delivery: what it takes, whether it may be made, the attempt, and what follows from it.
//!
//! Which deliveries are made at the same time is not decided here.

use std::sync::Arc;
use std::time::Duration;

use bowline_store::{BreakerKey, ClaimedJob};
use bowline_types::{TenantId, Timestamp};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Shared;
use super::action::{Parcel, Readied};
use super::breakers::{Breakers, Passage, destination_key};
use super::catalog::{Catalog, KnownTrigger};
use super::conclusion::{Attempt, Done, bar, cancel, conclude, give_back};
use super::feed::Feed;
use super::in_hand::InHand;
use super::outcome::{Failure, Outcome};

/// A job that has to wait for its organization's or its receiver's other deliveries comes back after so long.
pub(super) const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// What an attempt may take beyond what its action allows, before it is ended from outside.
const SLACK: Duration = Duration::from_secs(30);

/// What each delivery needs of the others.
pub(super) struct Bench {
    pub(super) shared: Arc<Shared>,
    pub(super) breakers: Arc<Breakers>,
    pub(super) catalog: Catalog,
    pub(super) in_hand: Arc<InHand>,
    pub(super) done: mpsc::Sender<Done>,
}

/// A job, with what carrying it out takes.
pub(super) struct Prepared {
    pub(super) job: ClaimedJob,
    trigger: Arc<KnownTrigger>,
    pub(super) action: Readied,
}

impl Prepared {
    pub(super) fn tenant_id(&self) -> TenantId {
        self.job.job.job.tenant_id
    }

    pub(super) fn destination(&self) -> &str {
        self.action.as_ref().map_or("", |action| &action.destination)
    }
}

/// Claims jobs and finds out what they take.
pub(super) async fn claim(mut feed: Feed, bench: Arc<Bench>, limit: usize) -> (Feed, Vec<Prepared>) {
    let jobs = feed.next(limit).await;
    let mut prepared = Vec::with_capacity(jobs.len());
    for job in jobs {
        match bench.prepare(job).await {
            Ok(job) => prepared.push(job),
            Err(done) => drop(bench.done.send(*done).await),
        }
    }
    (feed, prepared)
}

impl Bench {
    async fn prepare(&self, job: ClaimedJob) -> Result<Prepared, Box<Done>> {
        let (trigger_id, action_id) = (job.job.job.trigger_id, job.job.job.action_id);
        let trigger = match self.catalog.trigger(trigger_id).await {
            Ok(Some(trigger)) => trigger,
            Ok(None) => return Err(Box::new(cancel(&job, "the trigger was deleted"))),
            Err(error) => {
                tracing::warn!(component = "triggers", %error, "A job's trigger can't be read, retrying");
                return Err(Box::new(give_back(&job, BUSY_PAUSE, "busy", self.shared.clock.now())));
            }
        };
        let action = trigger.action(action_id).cloned();
        match action {
            Some(action) => Ok(Prepared { job, trigger, action }),
            None => Err(Box::new(cancel(&job, "the action was deleted"))),
        }
    }

    /// Whether the job is still this process's: if not, another one may be delivering it.
    pub(super) fn holds(&self, job: &Prepared) -> bool {
        self.in_hand.holds(job.job.job.job.job_id, job.job.claim, Instant::now())
    }

    pub(super) async fn conclude(&self, job: &Prepared, outcome: Outcome, began: Timestamp, took: Duration) {
        let attempts_max = match &job.action {
            Ok(action) => action.attempts_max.unwrap_or(self.shared.config.attempts_max),
            Err(_) => 1,
        };
        let is_shutdown = matches!(&outcome, Outcome::Failed(failure) if failure.code == "SHUTDOWN");
        let attempt = Attempt {
            job: &job.job,
            destination: job.destination(),
            // Whoever is stopped is not to blame for it.
            attempts_max: if is_shutdown { u32::MAX } else { attempts_max },
            began,
            took,
            worker: &self.shared.instance,
            settings: (!is_shutdown).then_some(job.trigger.breaker),
        };
        let done = conclude(&attempt, outcome, &self.breakers, self.shared.clock.now());
        drop(self.done.send(done).await);
    }
}

/// One attempt, if the circuit breakers let it pass.
pub(super) async fn carry_out(bench: Arc<Bench>, job: Arc<Prepared>) {
    let clock = &bench.shared.clock;
    let keys = [
        BreakerKey::Trigger(job.job.job.job.trigger_id),
        destination_key(job.tenant_id(), job.destination()),
    ];
    match bench.breakers.pass(&keys).await {
        Ok(Passage::Free) => {}
        Ok(Passage::Barred(wait)) => {
            drop(bench.done.send(bar(&job.job, wait, clock.now())).await);
            return;
        }
        Err(error) => {
            tracing::warn!(component = "triggers", %error, "Circuit breakers can't be read, retrying");
            drop(bench.done.send(give_back(&job.job, BUSY_PAUSE, "busy", clock.now())).await);
            return;
        }
    }
    // The store may have been away for longer than the lease.
    if !bench.holds(&job) {
        drop(bench.done.send(give_back(&job.job, Duration::ZERO, "lost", clock.now())).await);
        return;
    }
    let (began, since) = (clock.now(), Instant::now());
    let outcome = attempt(&bench, &job, began).await;
    bench.conclude(&job, outcome, began, since.elapsed()).await;
}

async fn attempt(bench: &Bench, job: &Prepared, now: Timestamp) -> Outcome {
    let action = match &job.action {
        Ok(action) => action,
        Err(failure) => return Outcome::Failed(failure.clone()),
    };
    let parcel = match Parcel::of(&job.job.job, &job.trigger.name, now) {
        Ok(parcel) => parcel,
        Err(failure) => return Outcome::Failed(failure),
    };
    let time_max = action.kind.time_max() + SLACK;
    match tokio::time::timeout(time_max, bench.shared.actions.deliver(action, &parcel)).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Failed(Failure::passing("TIMEOUT", "the attempt did not end")),
    }
}
