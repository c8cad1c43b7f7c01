//! The workers of a process: they claim jobs in batches, deliver a few at a time, and let no organization and no
//! receiver have all of them.
//!
//! When the process is to stop nothing more is claimed; what nobody has begun is given back at once, and deliveries
//! under way get some time. One that does not end by then is given back too: it may have arrived, so the attempt counts,
//! and its repetition has the same id.

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

use super::Shared;
use super::bench::{BUSY_PAUSE, Bench, Prepared, carry_out, claim};
use super::breakers::Breakers;
use super::catalog::Catalog;
use super::conclusion::{Done, give_back};
use super::feed::Feed;
use super::metrics::ACTIVE;
use super::outcome::{Failure, Outcome};
use super::reports::{Reports, WAITING_MAX};
use super::upkeep;

/// Jobs that are claimed at a time at most.
const CLAIM_MAX: usize = 256;

/// Jobs are claimed ahead for about so long at the present speed.
const AHEAD: Duration = Duration::from_millis(100);

/// Workers that are free for so long although jobs were claimed have claimed jobs that can't begin.
const STUCK: Duration = Duration::from_millis(250);

/// The same if none of them has ended since it was given back last: doubled each time, up to this.
const BUSY_PAUSE_MAX: Duration = Duration::from_secs(64);

/// What a claim under way gets at the shutdown at least, whatever deliveries get.
const CLAIM_MIN: Duration = Duration::from_secs(1);

/// Starts everything that a process with workers does.
pub(super) fn spawn(shared: &Arc<Shared>, tasks: &Tasks) {
    let shutdown = tasks.shutdown().clone();
    let breakers = Arc::new(Breakers::new(Arc::clone(&shared.store), Arc::clone(&shared.clock)));
    let workers = Workers::new(Arc::clone(shared), Arc::clone(&breakers), shutdown.clone());
    let in_hand = Arc::clone(&workers.bench.in_hand);
    tasks.spawn("workers", workers.run());
    tasks.spawn("job upkeep", upkeep::look_after(Arc::clone(shared), breakers, in_hand, shutdown.clone()));
    if let Some(queue) = shared.queue.clone() {
        tasks.spawn("job relay", upkeep::relay(Arc::clone(shared), queue, shutdown));
    }
}

/// Something beside the deliveries ended that they can't do without: their process has to stop, or nothing of what they
/// do would be known.
#[derive(Debug, thiserror::Error)]
#[error("the part by which {part} ended: {cause}")]
struct Beside {
    part: &'static str,
    cause: String,
}

impl Beside {
    fn of(part: &'static str, ended: Option<Result<(), JoinError>>) -> Self {
        let cause = match ended {
            Some(Err(error)) => error.to_string(),
            Some(Ok(())) | None => "it returned".to_owned(),
        };
        Self { part, cause }
    }
}

/// Who has how many deliveries under way.
#[derive(Default)]
struct UnderWay {
    tenants: HashMap<TenantId, usize>,
    destinations: HashMap<String, usize>,
}

struct Workers {
    bench: Arc<Bench>,
    shutdown: Shutdown,
    /// Until when deliveries under way may go on, once the shutdown has begun.
    until: Option<Instant>,
    waiting: VecDeque<Prepared>,
    running: JoinSet<()>,
    of_tasks: HashMap<tokio::task::Id, Arc<Prepared>>,
    under_way: UnderWay,
    reports: mpsc::Receiver<Done>,
    /// When a delivery began last, or jobs were given back because others of theirs were under way.
    moved: Instant,
    /// Organizations whose jobs were given back, with the pause, until a delivery of theirs ends.
    paused: HashMap<TenantId, Duration>,
    ended: u64,
    speed: Speed,
}

/// How many deliveries end a second, lately.
struct Speed {
    since: Instant,
    ended: u64,
    a_second: f64,
}

impl Speed {
    fn count(&mut self, ended: u64) {
        let past = self.since.elapsed();
        if past >= Duration::from_millis(250) {
            self.a_second = (ended - self.ended) as f64 / past.as_secs_f64();
            (self.since, self.ended) = (Instant::now(), ended);
        }
    }
}

impl Workers {
    fn new(shared: Arc<Shared>, breakers: Arc<Breakers>, shutdown: Shutdown) -> Self {
        let (done, reports) = mpsc::channel(WAITING_MAX);
        let catalog = Catalog::new(Arc::clone(&shared.store), Arc::clone(&shared.actions));
        Self {
            bench: Arc::new(Bench { shared, breakers, catalog, in_hand: Arc::default(), done }),
            shutdown,
            until: None,
            waiting: VecDeque::new(),
            running: JoinSet::new(),
            of_tasks: HashMap::new(),
            under_way: UnderWay::default(),
            reports,
            moved: Instant::now(),
            paused: HashMap::new(),
            ended: 0,
            speed: Speed { since: Instant::now(), ended: 0, a_second: 0.0 },
        }
    }

    /// Delivers until the shutdown begins, and then until everything is reported.
    async fn run(mut self) -> Result<(), Beside> {
        let (_, nothing) = mpsc::channel(1);
        let in_hand = Arc::clone(&self.bench.in_hand);
        let reports = Reports {
            shared: Arc::clone(&self.bench.shared),
            breakers: Arc::clone(&self.bench.breakers),
            in_hand: Arc::clone(&in_hand),
        };
        // Both are ended with this task, however it ends: what nobody prolongs comes back by itself.
        let mut prolonging = JoinSet::new();
        prolonging.spawn(upkeep::prolong(Arc::clone(&self.bench.shared), in_hand));
        let received = std::mem::replace(&mut self.reports, nothing);
        let mut reporting = JoinSet::new();
        reporting.spawn(reports.run(received));
        let work = async move {
            self.deliver().await;
            self.drain().await;
        };
        tokio::select! {
            () = work => {}
            ended = prolonging.join_next() => return Err(Beside::of("claims are prolonged", ended)),
            ended = reporting.join_next() => return Err(Beside::of("reports are written", ended)),
        }
        if let Some(Err(error)) = reporting.join_next().await {
            return Err(Beside::of("reports are written", Some(Err(error))));
        }
        gauge!(ACTIVE).set(0.0);
        Ok(())
    }

    async fn deliver(&mut self) {
        let feed =
            Feed::new(Arc::clone(&self.bench.shared), Arc::clone(&self.bench.in_hand), self.shutdown.clone());
        let mut idle = Some(feed);
        let mut claiming: Option<BoxFuture<'static, (Feed, Vec<Prepared>)>> = None;
        loop {
            self.start_waiting().await;
            if self.wants_more()
                && let Some(feed) = idle.take()
            {
                claiming = Some(Box::pin(claim(feed, Arc::clone(&self.bench), self.batch())));
            }
            tokio::select! {
                (feed, jobs) = async { match &mut claiming { Some(claim) => claim.await, None => std::future::pending().await } } => {
                    claiming = None;
                    idle = Some(feed);
                    self.waiting.extend(jobs);
                }
                Some(ended) = self.running.join_next_with_id() => self.ended(ended).await,
                () = tokio::time::sleep(STUCK), if !self.waiting.is_empty() => {}
                () = self.shutdown.begun() => break,
            }
        }
        let until = Instant::now() + Duration::from_secs(self.bench.shared.config.drain_secs);
        self.until = Some(until);
        // A claim is not left half done: what it got would be missing until its lease ends. A store that does not answer
        // is not waited for longer than for deliveries.
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
        let ahead = (self.speed.a_second * AHEAD.as_secs_f64()) as usize;
        ahead.clamp(self.bench.shared.config.workers.min(CLAIM_MAX), CLAIM_MAX)
    }

    /// Begins what may be begun, and gives back what only keeps others from being claimed.
    async fn start_waiting(&mut self) {
        let workers = self.bench.shared.config.workers;
        while self.running.len() < workers {
            let Some(index) = self.waiting.iter().position(|job| self.may_start(job)) else { break };
            let Some(job) = self.waiting.remove(index) else { break };
            if self.bench.holds(&job) {
                self.start(job);
            } else {
                self.report(give_back(&job.job, Duration::ZERO, "lost", self.now())).await;
            }
        }
        let is_stuck = self.running.len() < workers && self.waiting.len() >= self.batch().div_ceil(2);
        if is_stuck && self.moved.elapsed() >= STUCK {
            self.make_room().await;
        }
    }

    /// Gives back what can't begin. Their organizations' jobs are the next ones to be claimed when they come back, so
    /// each time they come back later: otherwise nobody else's would ever be claimed.
    async fn make_room(&mut self) {
        self.moved = Instant::now();
        let now = self.now();
        let tenants: HashSet<TenantId> = self.waiting.iter().map(Prepared::tenant_id).collect();
        for tenant_id in tenants {
            let pause =
                self.paused.get(&tenant_id).map_or(BUSY_PAUSE, |pause| (*pause * 2).min(BUSY_PAUSE_MAX));
            self.paused.insert(tenant_id, pause);
        }
        for job in std::mem::take(&mut self.waiting) {
            let pause = self.paused.get(&job.tenant_id()).copied().unwrap_or(BUSY_PAUSE);
            self.report(give_back(&job.job, pause, "busy", now)).await;
        }
    }

    fn may_start(&self, job: &Prepared) -> bool {
        let config = &self.bench.shared.config;
        let of_tenant = self.under_way.tenants.get(&job.tenant_id()).copied().unwrap_or(0);
        let of_destination = self.under_way.destinations.get(job.destination()).copied().unwrap_or(0);
        of_tenant < config.tenant_max() && of_destination < config.destination_max()
    }

    fn start(&mut self, job: Prepared) {
        self.moved = Instant::now();
        *self.under_way.tenants.entry(job.tenant_id()).or_default() += 1;
        *self.under_way.destinations.entry(job.destination().to_owned()).or_default() += 1;
        let job = Arc::new(job);
        let task = self.running.spawn(carry_out(Arc::clone(&self.bench), Arc::clone(&job)));
        self.of_tasks.insert(task.id(), job);
        gauge!(ACTIVE).set(self.running.len() as f64);
    }

    async fn ended(&mut self, ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let Some(job) = self.of_tasks.remove(&id) else { return };
        self.under_way.end(&job);
        self.paused.remove(&job.tenant_id());
        self.ended += 1;
        self.speed.count(self.ended);
        gauge!(ACTIVE).set(self.running.len() as f64);
        if let Err(error) = ended {
            let failure = if error.is_cancelled() {
                Failure::passing("SHUTDOWN", "the process stopped before there was an answer")
            } else {
                tracing::error!(component = "triggers", job_id = %job.job.job.job.job_id, %error, "A delivery panicked");
                Failure::passing("INTERNAL", "the delivery failed within the node")
            };
            let began = self.now();
            let bench = Arc::clone(&self.bench);
            bench.conclude(&job, Outcome::Failed(failure), began, Duration::ZERO).await;
        }
    }

    async fn drain(&mut self) {
        let now = self.now();
        for job in std::mem::take(&mut self.waiting) {
            self.report(give_back(&job.job, Duration::ZERO, "shutdown", now)).await;
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

    async fn report(&self, done: Done) {
        // Nobody receives only if this task is being ended itself.
        drop(self.bench.done.send(done).await);
    }

    fn now(&self) -> Timestamp {
        self.bench.shared.clock.now()
    }
}

impl UnderWay {
    fn end(&mut self, job: &Prepared) {
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
