//! The workers of a process: they claim jobs in batches, deliver a few at a time, and leave part of their number free from
//! any single organization and receiver.
//!
//! When the shutdown begins, workers claim nothing more, give back the jobs that have not begun, and let attempts under way
//! run for a limited time. An attempt that is cut off counts, since the receiver may have got it; its repetition has the
//! same id.

mod attempt;
mod claimer;
mod claims;
mod conclusion;
mod reports;
mod upkeep;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bowline_runtime::{Shutdown, Tasks};
use bowline_types::{TenantId, Timestamp};
use futures_util::future::BoxFuture;
use metrics::gauge;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use self::attempt::{AttemptRunner, BUSY_PAUSE, PreparedJob, claim, run_attempt};
use self::claimer::Claimer;
pub(crate) use self::conclusion::ReturnReason;
use self::conclusion::{Conclusion, give_back};
use self::reports::{ReportWriter, WAITING_MAX};
use crate::breakers::Breakers;
use crate::metrics::ACTIVE;
use crate::outcome::{Failure, FailureCode, Outcome};
use crate::owners::OwnerCache;
use crate::service::DeliveryContext;

/// Jobs that are claimed at a time at most.
const CLAIM_MAX: usize = 256;

/// Jobs are claimed ahead for about this time at the present throughput.
const AHEAD: Duration = Duration::from_millis(100);

/// When workers have been free for this time although claimed jobs wait, those jobs can't begin and go back.
const STUCK: Duration = Duration::from_millis(250);

/// The longest [`BUSY_PAUSE`] of an organization: it doubles each time its jobs go back, until one of its deliveries ends.
const BUSY_PAUSE_MAX: Duration = Duration::from_secs(64);

/// Time that a claim under way gets at the shutdown at least.
const CLAIM_MIN: Duration = Duration::from_secs(1);

/// Starts the tasks of a process with workers.
pub(crate) fn spawn(context: &Arc<DeliveryContext>, tasks: &Tasks) {
    let shutdown = tasks.shutdown().clone();
    let breakers = Arc::new(Breakers::new(Arc::clone(&context.store), Arc::clone(&context.clock)));
    let workers = Workers::new(Arc::clone(context), Arc::clone(&breakers), shutdown.clone());
    let held_claims = Arc::clone(&workers.runner.held_claims);
    tasks.spawn("workers", workers.run());
    tasks.spawn(
        "job upkeep",
        upkeep::look_after(Arc::clone(context), breakers, held_claims, shutdown.clone()),
    );
    if let Some(queue) = context.queue.clone() {
        tasks.spawn("job relay", upkeep::relay(Arc::clone(context), queue, shutdown));
    }
}

/// A companion task (lease renewal or report writer) ended; the process stops.
#[derive(Debug, thiserror::Error)]
#[error("the part by which {part} ended: {cause}")]
struct CompanionEnded {
    part: &'static str,
    cause: String,
}

impl CompanionEnded {
    fn of(part: &'static str, ended: Option<Result<(), JoinError>>) -> Self {
        let cause = match ended {
            Some(Err(error)) => error.to_string(),
            Some(Ok(())) | None => "it returned".to_owned(),
        };
        Self { part, cause }
    }
}

/// Deliveries under way, by organization and by receiver.
#[derive(Default)]
struct InFlight {
    tenants: HashMap<TenantId, usize>,
    destinations: HashMap<String, usize>,
}

struct Workers {
    runner: Arc<AttemptRunner>,
    shutdown: Shutdown,
    /// When deliveries under way are cut off, once the shutdown has begun.
    until: Option<Instant>,
    waiting: VecDeque<PreparedJob>,
    running: JoinSet<()>,
    of_tasks: HashMap<tokio::task::Id, Arc<PreparedJob>>,
    in_flight: InFlight,
    conclusions: mpsc::Receiver<Conclusion>,
    /// When a delivery began last, or claimed jobs that could not begin went back.
    moved: Instant,
    /// Organizations whose jobs went back, with the pause, until one of their deliveries ends.
    paused: HashMap<TenantId, Duration>,
    ended: u64,
    throughput: Throughput,
}

/// Deliveries that end a second, lately.
struct Throughput {
    since: Instant,
    ended: u64,
    a_second: f64,
}

impl Throughput {
    fn count(&mut self, ended: u64) {
        let past = self.since.elapsed();
        if past >= Duration::from_millis(250) {
            self.a_second = (ended - self.ended) as f64 / past.as_secs_f64();
            (self.since, self.ended) = (Instant::now(), ended);
        }
    }
}

impl Workers {
    fn new(context: Arc<DeliveryContext>, breakers: Arc<Breakers>, shutdown: Shutdown) -> Self {
        let (conclusions, reports) = mpsc::channel(WAITING_MAX);
        let owners = OwnerCache::new(&context.owners, Arc::clone(&context.actions));
        Self {
            runner: Arc::new(AttemptRunner {
                context,
                breakers,
                owners,
                held_claims: Arc::default(),
                conclusions,
            }),
            shutdown,
            until: None,
            waiting: VecDeque::new(),
            running: JoinSet::new(),
            of_tasks: HashMap::new(),
            in_flight: InFlight::default(),
            conclusions: reports,
            moved: Instant::now(),
            paused: HashMap::new(),
            ended: 0,
            throughput: Throughput { since: Instant::now(), ended: 0, a_second: 0.0 },
        }
    }

    /// Delivers until the shutdown begins, and then until everything is reported.
    async fn run(mut self) -> Result<(), CompanionEnded> {
        let (_, nothing) = mpsc::channel(1);
        let held_claims = Arc::clone(&self.runner.held_claims);
        let writer = ReportWriter {
            context: Arc::clone(&self.runner.context),
            breakers: Arc::clone(&self.runner.breakers),
            held_claims: Arc::clone(&held_claims),
        };
        // Both end with this task, however it ends: a lease that is not renewed runs out, and its job comes back.
        let mut renewing = JoinSet::new();
        renewing.spawn(upkeep::renew_leases(Arc::clone(&self.runner.context), held_claims));
        let received = std::mem::replace(&mut self.conclusions, nothing);
        let mut reporting = JoinSet::new();
        reporting.spawn(writer.run(received));
        let work = async move {
            self.deliver().await;
            self.drain().await;
        };
        tokio::select! {
            () = work => {}
            ended = renewing.join_next() => return Err(CompanionEnded::of("claims are prolonged", ended)),
            ended = reporting.join_next() => return Err(CompanionEnded::of("reports are written", ended)),
        }
        if let Some(Err(error)) = reporting.join_next().await {
            return Err(CompanionEnded::of("reports are written", Some(Err(error))));
        }
        gauge!(ACTIVE).set(0.0);
        Ok(())
    }

    async fn deliver(&mut self) {
        let claimer = Claimer::new(
            Arc::clone(&self.runner.context),
            Arc::clone(&self.runner.held_claims),
            self.shutdown.clone(),
        );
        let mut idle = Some(claimer);
        let mut claiming: Option<BoxFuture<'static, (Claimer, Vec<PreparedJob>)>> = None;
        loop {
            self.start_waiting().await;
            if self.wants_more()
                && let Some(claimer) = idle.take()
            {
                claiming = Some(Box::pin(claim(claimer, Arc::clone(&self.runner), self.batch())));
            }
            tokio::select! {
                (claimer, jobs) = async { match &mut claiming { Some(claim) => claim.await, None => std::future::pending().await } } => {
                    claiming = None;
                    idle = Some(claimer);
                    self.waiting.extend(jobs);
                }
                Some(ended) = self.running.join_next_with_id() => self.ended(ended).await,
                () = tokio::time::sleep(STUCK), if !self.waiting.is_empty() => {}
                () = self.shutdown.begun() => break,
            }
        }
        let until = Instant::now() + Duration::from_secs(self.runner.context.config.drain_secs);
        self.until = Some(until);
        // A claim under way is waited for: the jobs of one that is dropped would be missing until their leases end. It gets
        // no more time than deliveries, or a second.
        if let Some(claim) = claiming
            && let Ok((_, jobs)) = tokio::time::timeout_at(until.max(Instant::now() + CLAIM_MIN), claim).await
        {
            self.waiting.extend(jobs);
        }
    }

    fn wants_more(&mut self) -> bool {
        let is_full = self.waiting.len() >= self.batch().div_ceil(2);
        !is_full && !self.shutdown.has_begun()
    }

    fn batch(&self) -> usize {
        let ahead = (self.throughput.a_second * AHEAD.as_secs_f64()) as usize;
        ahead.clamp(self.runner.context.config.workers.min(CLAIM_MAX), CLAIM_MAX)
    }

    /// Starts the jobs that may start, and gives jobs back that only keep others from being claimed.
    async fn start_waiting(&mut self) {
        let workers = self.runner.context.config.workers;
        while self.running.len() < workers {
            let Some(index) = self.waiting.iter().position(|job| self.may_start(job)) else { break };
            let Some(job) = self.waiting.remove(index) else { break };
            if self.runner.holds(&job) {
                self.start(job);
            } else {
                self.report(give_back(&job.job, Duration::ZERO, ReturnReason::Lost, self.now())).await;
            }
        }
        let is_stuck = self.running.len() < workers && self.waiting.len() >= self.batch().div_ceil(2);
        if is_stuck && self.moved.elapsed() >= STUCK {
            self.make_room().await;
        }
    }

    /// Gives back the claimed jobs, none of which can begin. Their organizations' jobs are claimed first when they come
    /// back, so each time they come back later: otherwise no other organization's jobs would be claimed.
    async fn make_room(&mut self) {
        self.moved = Instant::now();
        let now = self.now();
        let tenants: HashSet<TenantId> = self.waiting.iter().map(PreparedJob::tenant_id).collect();
        for tenant_id in tenants {
            let pause =
                self.paused.get(&tenant_id).map_or(BUSY_PAUSE, |pause| (*pause * 2).min(BUSY_PAUSE_MAX));
            self.paused.insert(tenant_id, pause);
        }
        for job in std::mem::take(&mut self.waiting) {
            let pause = self.paused.get(&job.tenant_id()).copied().unwrap_or(BUSY_PAUSE);
            self.report(give_back(&job.job, pause, ReturnReason::Busy, now)).await;
        }
    }

    fn may_start(&self, job: &PreparedJob) -> bool {
        let config = &self.runner.context.config;
        let of_tenant = self.in_flight.tenants.get(&job.tenant_id()).copied().unwrap_or(0);
        let of_destination = self.in_flight.destinations.get(job.destination()).copied().unwrap_or(0);
        of_tenant < config.tenant_max() && of_destination < config.destination_max()
    }

    fn start(&mut self, job: PreparedJob) {
        self.moved = Instant::now();
        *self.in_flight.tenants.entry(job.tenant_id()).or_default() += 1;
        *self.in_flight.destinations.entry(job.destination().to_owned()).or_default() += 1;
        let job = Arc::new(job);
        let task = self.running.spawn(run_attempt(Arc::clone(&self.runner), Arc::clone(&job)));
        self.of_tasks.insert(task.id(), job);
        gauge!(ACTIVE).set(self.running.len() as f64);
    }

    async fn ended(&mut self, ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let Some(job) = self.of_tasks.remove(&id) else { return };
        self.in_flight.end(&job);
        self.paused.remove(&job.tenant_id());
        self.ended += 1;
        self.throughput.count(self.ended);
        gauge!(ACTIVE).set(self.running.len() as f64);
        if let Err(error) = ended {
            let failure = if error.is_cancelled() {
                Failure::passing(FailureCode::Shutdown, "the process stopped before there was an answer")
            } else {
                tracing::error!(component = "triggers", job_id = %job.job.job.job.job_id, %error, "A delivery panicked");
                Failure::passing(FailureCode::Internal, "the delivery failed within the node")
            };
            let began = self.now();
            let runner = Arc::clone(&self.runner);
            runner.conclude(&job, Outcome::Failed(failure), began, Duration::ZERO).await;
        }
    }

    async fn drain(&mut self) {
        let now = self.now();
        for job in std::mem::take(&mut self.waiting) {
            self.report(give_back(&job.job, Duration::ZERO, ReturnReason::Shutdown, now)).await;
        }
        let until = self.until.unwrap_or_else(Instant::now);
        while !self.running.is_empty() {
            match tokio::time::timeout_at(until, self.running.join_next_with_id()).await {
                Ok(Some(ended)) => self.ended(ended).await,
                Ok(None) => break,
                Err(_) => {
                    self.running.abort_all();
                    while let Some(ended) = self.running.join_next_with_id().await {
                        self.ended(ended).await;
                    }
                }
            }
        }
    }

    async fn report(&self, conclusion: Conclusion) {
        self.runner.report(conclusion).await;
    }

    fn now(&self) -> Timestamp {
        self.runner.context.clock.now()
    }
}

impl InFlight {
    fn end(&mut self, job: &PreparedJob) {
        let tenant_id = job.tenant_id();
        if let Some(count) = self.tenants.get_mut(&tenant_id) {
            *count -= 1;
            if *count == 0 {
                self.tenants.remove(&tenant_id);
            }
        }
        if let Some(count) = self.destinations.get_mut(job.destination()) {
            *count -= 1;
            if *count == 0 {
                self.destinations.remove(job.destination());
            }
        }
    }
}
