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

    /// Whether the job is not this process's any more; then that is reported.
    async fn has_lost(&self, job: &Prepared) -> bool {
        if self.holds(job) {
            return false;
        }
        let now = self.shared.clock.now();
        drop(self.done.send(give_back(&job.job, Duration::ZERO, "lost", now)).await);
        true
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
    // Before the breakers are asked: a probe that is taken must be used.
    if bench.has_lost(&job).await {
        return;
    }
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
    // And after it: the store may have been away for longer than the lease.
    if bench.has_lost(&job).await {
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

#[cfg(test)]
mod tests {
    use bowline_runtime::{Clock, ManualClock};
    use bowline_store::{
        ActionRecord, BreakerReport, BreakerSettings, JobEnd, JobRecord, JobState, LineStore, NewJob,
        SqliteConfig, SqliteStore, TriggerRecord,
    };
    use bowline_types::{EventId, StoreId, StreamId};
    use uuid::Uuid;

    use super::*;
    use crate::delivery::{Deliveries, DeliveryConfig, DeliveryDependencies};

    fn trigger(breaker: BreakerSettings, now: Timestamp) -> TriggerRecord {
        TriggerRecord {
            trigger_id: Uuid::from_u128(7),
            tenant_id: TenantId::random(),
            name: "a trigger".to_owned(),
            description: None,
            chain_id: None,
            registry: None,
            enabled: true,
            is_stateful: false,
            breaker,
            conditions: Vec::new(),
            actions: vec![ActionRecord {
                action_id: Uuid::from_u128(8),
                action_type: "of another release".to_owned(),
                priority: 0,
                config: "{}".to_owned(),
                sealed: None,
            }],
            created_at: now,
            updated_at: now,
            revision: 0,
        }
    }

    fn job_of(trigger: &TriggerRecord, now: Timestamp) -> ClaimedJob {
        let action = &trigger.actions[0];
        let job = NewJob {
            job_id: Uuid::new_v4(),
            tenant_id: trigger.tenant_id,
            trigger_id: trigger.trigger_id,
            action_id: action.action_id,
            action_type: action.action_type.clone(),
            priority: 0,
            stream: StreamId::new(TenantId::random(), StoreId::random()),
            sequence_number: 1,
            event_id: EventId::random(),
            occurrence: Uuid::new_v4(),
            event: "{}".to_owned(),
        };
        let job = JobRecord {
            job,
            state: JobState::Running,
            tag: 1,
            attempts: 1,
            attempts_before: 0,
            due_at: now,
            created_at: now,
            ended_at: None,
            last_error: None,
        };
        ClaimedJob { job, claim: 1 }
    }

    #[tokio::test]
    async fn a_job_that_was_lost_takes_no_breakers_probe() {
        let folder = tempfile::tempdir().unwrap();
        let config = SqliteConfig::at(folder.path().join("bowline.db"));
        let store: Arc<dyn LineStore> = Arc::new(SqliteStore::open(config).await.unwrap().0);
        let now = Timestamp::from_micros(1_000_000_000);
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(now));
        let settings = BreakerSettings { failure_threshold: 1, recovery_secs: 0, half_open_calls_max: 1 };
        let trigger = trigger(settings, now);
        let key = BreakerKey::Trigger(trigger.trigger_id);
        store.put_trigger(trigger.clone(), None, 10).await.unwrap();
        let failed = BreakerReport { key: key.clone(), succeeded: false, settings };
        store.report_deliveries(vec![failed], now).await.unwrap();
        assert_eq!(store.half_open_breakers(now).await.unwrap().len(), 1);

        let dependencies = DeliveryDependencies {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            queue: None,
            secrets_key: [7; 32],
            instance: "one".to_owned(),
        };
        let shared = Deliveries::build(&DeliveryConfig::default(), dependencies).unwrap().0;
        let (done, mut reports) = mpsc::channel(8);
        let bench = Arc::new(Bench {
            breakers: Arc::new(Breakers::new(Arc::clone(&store), clock)),
            catalog: Catalog::new(Arc::clone(&store), Arc::clone(&shared.actions)),
            shared,
            in_hand: Arc::default(),
            done,
        });
        let claimed = job_of(&trigger, now);
        let job = Arc::new(bench.prepare(claimed.clone()).await.expect("its trigger is there"));
        let probes = async || store.breakers(Some(vec![key.clone()])).await.unwrap()[0].probes;
        carry_out(Arc::clone(&bench), Arc::clone(&job)).await;
        let lost = reports.recv().await.unwrap();
        assert_eq!(lost.report.end, JobEnd::Retry { due_at: now, counts: false });
        assert_eq!(probes().await, 0, "nobody else could try it out");
        // One that is in hand takes it.
        bench.in_hand.take(claimed.job.job.job_id, claimed.claim, Instant::now() + Duration::from_secs(60));
        carry_out(bench, job).await;
        assert_eq!(reports.recv().await.unwrap().report.end, JobEnd::Dead);
        assert_eq!(probes().await, 1);
        store.close().await;
    }
}
