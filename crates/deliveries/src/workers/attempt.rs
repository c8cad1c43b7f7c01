//! One attempt at a claimed job: its action is made ready, breakers are asked, the attempt runs and is concluded.
//!
//! Which attempts run at the same time is not decided here. An attempt begins only while the job's claim is held.

use std::sync::Arc;
use std::time::Duration;

use bowline_store::ClaimedJob;
use bowline_types::{TenantId, Timestamp};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::claimer::Claimer;
use super::claims::HeldClaims;
use super::conclusion::{Attempt, Conclusion, ReturnReason, bar, cancel, conclude, give_back};
use crate::actions::{AttemptInput, ReadyAction};
use crate::breakers::{BreakerDecision, Breakers, destination_key};
use crate::outcome::{Failure, FailureCode, Outcome};
use crate::owners::{JobOwner, OwnerCache, ReadyOwner};
use crate::service::DeliveryContext;

/// A job that other deliveries of its organization or to its receiver keep waiting comes back after this time.
pub(crate) const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// Time that an attempt gets beyond the limit of its own action before it is ended from outside.
const SLACK: Duration = Duration::from_secs(30);

/// Runs attempts; shared by all of a process.
pub(crate) struct AttemptRunner {
    pub(crate) context: Arc<DeliveryContext>,
    pub(crate) breakers: Arc<Breakers>,
    pub(crate) owners: OwnerCache,
    pub(crate) held_claims: Arc<HeldClaims>,
    /// Where conclusions go to be written.
    pub(crate) conclusions: mpsc::Sender<Conclusion>,
}

/// A claimed job with its owner and its action.
pub(crate) struct PreparedJob {
    pub(crate) job: ClaimedJob,
    owner: JobOwner,
    ready: Arc<ReadyOwner>,
    pub(crate) action: ReadyAction,
}

impl PreparedJob {
    pub(crate) fn tenant_id(&self) -> TenantId {
        self.job.job.job.tenant_id
    }

    pub(crate) fn destination(&self) -> &str {
        self.action.as_ref().map_or("", |action| &action.destination)
    }
}

/// Claims jobs and prepares them.
pub(crate) async fn claim(
    mut claimer: Claimer,
    runner: Arc<AttemptRunner>,
    limit: usize,
) -> (Claimer, Vec<PreparedJob>) {
    let jobs = claimer.next(limit).await;
    let mut prepared = Vec::with_capacity(jobs.len());
    for job in jobs {
        match runner.prepare(job).await {
            Ok(job) => prepared.push(job),
            Err(conclusion) => runner.report(*conclusion).await,
        }
    }
    (claimer, prepared)
}

impl AttemptRunner {
    async fn prepare(&self, job: ClaimedJob) -> Result<PreparedJob, Box<Conclusion>> {
        let (owner, action_id) = (JobOwner::of_row(&job.job.job), job.job.job.action_id);
        let ready = match self.owners.owner(owner).await {
            Ok(Some(ready)) => ready,
            Ok(None) => return Err(Box::new(cancel(&job, format!("the {} was deleted", owner.kind)))),
            Err(error) => {
                let kind = owner.kind;
                tracing::warn!(component = "triggers", %error, "A job's {kind} can't be read, retrying");
                let now = self.context.clock.now();
                return Err(Box::new(give_back(&job, BUSY_PAUSE, ReturnReason::Busy, now)));
            }
        };
        let action = ready.action(action_id).cloned();
        match action {
            Some(action) => Ok(PreparedJob { job, owner, ready, action }),
            None => Err(Box::new(cancel(&job, "the action was deleted".to_owned()))),
        }
    }

    /// Hands a conclusion to the writer of reports.
    pub(crate) async fn report(&self, conclusion: Conclusion) {
        // Sending fails only after the writer ended, which stops this process.
        drop(self.conclusions.send(conclusion).await);
    }

    /// Whether this process holds the job's claim: if not, another one may be delivering the job.
    pub(crate) fn holds(&self, job: &PreparedJob) -> bool {
        self.held_claims.holds(job.job.job.job.job_id, job.job.claim, Instant::now())
    }

    /// Whether this process has lost the job's claim; a loss is reported.
    async fn has_lost(&self, job: &PreparedJob) -> bool {
        if self.holds(job) {
            return false;
        }
        let now = self.context.clock.now();
        self.report(give_back(&job.job, Duration::ZERO, ReturnReason::Lost, now)).await;
        true
    }

    pub(crate) async fn conclude(
        &self,
        job: &PreparedJob,
        outcome: Outcome,
        began: Timestamp,
        took: Duration,
    ) {
        let attempts_max = match &job.action {
            Ok(action) => action.attempts_max.unwrap_or(self.context.config.attempts_max),
            Err(_) => 1,
        };
        let is_shutdown =
            matches!(&outcome, Outcome::Failed(failure) if failure.code == FailureCode::Shutdown);
        let attempt = Attempt {
            job: &job.job,
            owner: job.owner,
            destination: job.destination(),
            // A shutdown is neither the receiver's fault nor the action's: the job is always tried again.
            attempts_max: if is_shutdown { u32::MAX } else { attempts_max },
            began,
            took,
            worker: &self.context.instance,
            settings: (!is_shutdown).then_some(job.ready.breaker),
        };
        let conclusion = conclude(&attempt, outcome, &self.breakers, self.context.clock.now());
        self.report(conclusion).await;
    }
}

/// One attempt, if the circuit breakers let it pass.
pub(crate) async fn run_attempt(runner: Arc<AttemptRunner>, job: Arc<PreparedJob>) {
    let clock = &runner.context.clock;
    // Before the breakers are asked: a probe that is taken must be used.
    if runner.has_lost(&job).await {
        return;
    }
    let keys = [job.owner.breaker(), destination_key(job.tenant_id(), job.destination())];
    match runner.breakers.decide(&keys).await {
        Ok(BreakerDecision::Pass) => {}
        Ok(BreakerDecision::Blocked(wait)) => {
            runner.report(bar(&job.job, wait, clock.now())).await;
            return;
        }
        Err(error) => {
            tracing::warn!(component = "triggers", %error, "Circuit breakers can't be read, retrying");
            runner.report(give_back(&job.job, BUSY_PAUSE, ReturnReason::Busy, clock.now())).await;
            return;
        }
    }
    // And after they answered: an outage of the store may have outlasted the lease.
    if runner.has_lost(&job).await {
        return;
    }
    let (began, since) = (clock.now(), Instant::now());
    let outcome = attempt(&runner, &job, began).await;
    runner.conclude(&job, outcome, began, since.elapsed()).await;
}

async fn attempt(runner: &AttemptRunner, job: &PreparedJob, now: Timestamp) -> Outcome {
    let action = match &job.action {
        Ok(action) => action,
        Err(failure) => return Outcome::Failed(failure.clone()),
    };
    let input = match AttemptInput::new(&job.job.job, job.owner, &job.ready.name, now) {
        Ok(input) => input,
        Err(failure) => return Outcome::Failed(failure),
    };
    let time_max = action.kind.time_max() + SLACK;
    match tokio::time::timeout(time_max, runner.context.actions.deliver(action, &input)).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Failed(Failure::passing(FailureCode::Timeout, "the attempt did not end")),
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bowline_runtime::{Clock, ManualClock};
    use bowline_store::{
        ActionRecord, BreakerReport, BreakerSettings, JobEnd, JobRecord, JobState, LineStore, NewJob,
        SqliteConfig, SqliteStore, StoreError,
    };
    use bowline_types::{EventId, StoreId, StreamId};
    use uuid::Uuid;

    use super::*;
    use crate::{Config, Deliveries, Dependencies, JobOwners, OwnerChanges, OwnerKind, OwnerRecord};

    const OWNER_ID: Uuid = Uuid::from_u128(7);
    const ACTION_ID: Uuid = Uuid::from_u128(8);

    /// One owner, whose action this release does not know.
    #[derive(Debug)]
    struct OneOwner(OwnerRecord);

    #[async_trait]
    impl JobOwners for OneOwner {
        fn kind(&self) -> OwnerKind {
            OwnerKind::new("trigger")
        }

        async fn owner(&self, id: Uuid) -> Result<Option<OwnerRecord>, StoreError> {
            Ok((id == OWNER_ID).then(|| self.0.clone()))
        }

        fn revision(&self) -> u64 {
            0
        }

        async fn changes(&self, after: u64) -> Result<OwnerChanges, StoreError> {
            Ok(OwnerChanges { changed: Vec::new(), revision: after })
        }

        fn example_event(&self) -> serde_json::Value {
            serde_json::json!({})
        }
    }

    fn owner(breaker: BreakerSettings) -> OwnerRecord {
        OwnerRecord {
            tenant_id: TenantId::random(),
            name: "an owner".to_owned(),
            breaker,
            actions: vec![ActionRecord {
                action_id: ACTION_ID,
                action_type: "of another release".to_owned(),
                priority: 0,
                config: "{}".to_owned(),
                sealed: None,
            }],
        }
    }

    fn job_of(tenant_id: TenantId, now: Timestamp) -> ClaimedJob {
        let job = NewJob {
            job_id: Uuid::new_v4(),
            tenant_id,
            trigger_id: OWNER_ID,
            action_id: ACTION_ID,
            action_type: "of another release".to_owned(),
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
        let owner = owner(settings);
        let claimed = job_of(owner.tenant_id, now);
        let key = JobOwner::of_row(&claimed.job.job).breaker();
        let failed = BreakerReport { key: key.clone(), succeeded: false, settings };
        store.report_deliveries(vec![failed], now).await.unwrap();
        assert_eq!(store.half_open_breakers(now).await.unwrap().len(), 1);

        let dependencies = Dependencies {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            queue: None,
            owners: vec![Arc::new(OneOwner(owner))],
            secrets_key: [7; 32],
            instance: "one".to_owned(),
        };
        let context = Deliveries::build(&Config::default(), dependencies).unwrap().0;
        let (conclusions, mut reports) = mpsc::channel(8);
        let runner = Arc::new(AttemptRunner {
            breakers: Arc::new(Breakers::new(Arc::clone(&store), clock)),
            owners: OwnerCache::new(&context.owners, Arc::clone(&context.actions)),
            context,
            held_claims: Arc::default(),
            conclusions,
        });
        let job = Arc::new(runner.prepare(claimed.clone()).await.expect("its owner is there"));
        let probes = async || store.breakers(Some(vec![key.clone()])).await.unwrap()[0].probes;
        run_attempt(Arc::clone(&runner), Arc::clone(&job)).await;
        let lost = reports.recv().await.unwrap();
        assert_eq!(lost.report.end, JobEnd::Retry { due_at: now, counts: false });
        assert_eq!(probes().await, 0, "no other job could try the breaker out");
        // A job whose claim is held takes it.
        runner.held_claims.take(
            claimed.job.job.job_id,
            claimed.claim,
            Instant::now() + Duration::from_secs(60),
        );
        run_attempt(runner, job).await;
        assert_eq!(reports.recv().await.unwrap().report.end, JobEnd::Dead);
        assert_eq!(probes().await, 1);
        store.close().await;
    }
}
