//! Hands jobs to workers through Redis: the list `action_jobs` is what waits and is due, in the order of claims.
//!
//! Redis only carries ids. A worker has a job when the store says so, so an entry that is there twice, or whose job was
//! cancelled, does no harm; [`relay_once`] hands over again the jobs that Redis loses. A Redis that is away costs a
//! refusal, never a wait.

mod entry;
mod relay;
mod scripts;
mod waiter;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bowline_runtime::{BreakerPolicy, CircuitBreaker, SystemClock};
use bowline_store::JobRecord;
use bowline_types::Secret;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncCommands, Client, ErrorKind, RedisResult, ServerErrorKind};
use tokio::sync::watch;
use uuid::Uuid;

pub use self::entry::BuriedJob;
pub use self::relay::{RelayError, Relayed, relay_once};
use self::scripts::Scripts;
pub use self::waiter::QueueWaiter;
use self::waiter::{CHANNEL, listen};

/// Waiting jobs.
const LIST: &str = "action_jobs";
/// Where each of them is.
const INDEX: &str = "action_jobs_index";
/// Dead letters, for operators to see.
const LETTERS: &str = "action_jobs_dlq";
const LETTERS_INDEX: &str = "action_jobs_dlq_index";
/// Names of workers that took something.
const WORKERS: &str = "action_jobs_workers";
/// There as long as Redis has lost nothing.
const MARKER: &str = "action_jobs_marker";

/// Dead letters that are shown in Redis at most: the newest ones.
const LETTERS_MAX: u64 = 10_000;

/// Jobs that one script gets at most, so that it is over soon.
const PUSHED_MAX: usize = 100;

/// The breaker's name in the metrics.
const BREAKER: &str = "redis";

/// A Redis that is back is used again within some seconds.
const POLICY: BreakerPolicy = BreakerPolicy {
    failures_max: 2,
    failures_ms: u64::MAX,
    open_ms: 200,
    open_ms_max: 5_000,
    jitter_percent: 20,
    successes_min: 1,
    probe_ms_max: 10_000,
};

/// Which Redis, and how long to wait for it.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// `redis://user:password@host:port/database`.
    pub url: Secret,
    /// Milliseconds that a connection or an answer may take.
    pub timeout_ms_max: u64,
    /// Milliseconds without a sign after which a worker counts as dead.
    pub heartbeat_ms_max: u64,
}

impl RedisConfig {
    /// That Redis, with the defaults.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: Secret::new(url), timeout_ms_max: 2_000, heartbeat_ms_max: 30_000 }
    }
}

/// Why a call of Redis failed. Every call may be repeated.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueueError {
    /// It did not answer; whether it did what it was asked is not known.
    #[error("Redis is away: {0}")]
    Away(String),
    /// It did not answer a moment ago and was not asked: its circuit breaker is open, and probes go on.
    #[error("Redis is away: its circuit breaker is open, probes go on")]
    BreakerOpen,
    /// It answered, and did not do it.
    #[error("Redis refused: {0}")]
    Refused(String),
}

impl QueueError {
    /// Whether Redis was not asked, since it was known to be away: the call that found out has logged it.
    pub fn is_known_absence(&self) -> bool {
        matches!(self, Self::BreakerOpen)
    }
}

/// How full the lists are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RedisDepth {
    /// Jobs that wait.
    pub waiting: u64,
    /// Dead letters that are shown.
    pub dead: u64,
}

/// The queue in Redis; cheap to clone.
#[derive(Debug, Clone)]
pub struct RedisQueue(Arc<RedisLink>);

/// The connection, and the state of this process.
#[derive(Debug)]
struct RedisLink {
    connection: ConnectionManager,
    breaker: CircuitBreaker,
    scripts: Scripts,
    heartbeat_ms: u64,
    timeout: Duration,
    heard: watch::Receiver<u64>,
    listener: tokio::task::JoinHandle<()>,
    /// Workers whose last take got no answer: they do not hold the jobs that it took.
    unanswered: Mutex<HashSet<String>>,
    rounds: relay::RelayProgress,
}

impl Drop for RedisLink {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

fn taken(worker: &str) -> String {
    format!("action_jobs_taken:{worker}")
}

fn alive(worker: &str) -> String {
    format!("action_jobs_alive:{worker}")
}

impl RedisQueue {
    /// The queue at that address; Redis is first asked when it is needed.
    ///
    /// # Errors
    /// The URL is none of Redis.
    pub async fn connect(config: RedisConfig) -> Result<Self, QueueError> {
        // The client's own words may hold the URL, and with it a password.
        let no_url = |error: redis::RedisError| QueueError::Refused(format!("the URL: {}", error.category()));
        let client = Client::open(config.url.reveal()).map_err(no_url)?;
        let timeout = Duration::from_millis(config.timeout_ms_max.max(1));
        let manager = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout));
        let connection = ConnectionManager::new_lazy_with_config(client.clone(), manager).map_err(no_url)?;
        let (hears, heard) = watch::channel(0);
        let listener = tokio::spawn(listen(client, hears, timeout));
        Ok(Self(Arc::new(RedisLink {
            connection,
            breaker: CircuitBreaker::new(BREAKER, POLICY, Arc::new(SystemClock)),
            scripts: Scripts::new(),
            heartbeat_ms: config.heartbeat_ms_max.max(1),
            timeout: timeout * 2,
            heard,
            listener,
            unanswered: Mutex::default(),
            rounds: relay::RelayProgress::default(),
        })))
    }

    /// Answers if Redis does.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), QueueError> {
        self.call(async |connection| redis::cmd("PING").exec_async(connection).await).await
    }

    /// A waiter for new jobs.
    pub fn waiter(&self) -> QueueWaiter {
        QueueWaiter(self.0.heard.clone())
    }

    /// Puts jobs into the list, each to its place; one that is there already stays. Returns how many were put.
    ///
    /// # Errors
    /// Redis did not do all of it.
    pub async fn push(&self, jobs: &[JobRecord]) -> Result<u64, QueueError> {
        let mut pushed = 0;
        for jobs in jobs.chunks(PUSHED_MAX) {
            let mut script = self.0.scripts.push.key(LIST);
            script.key(INDEX).arg(CHANNEL);
            for job in jobs {
                script.arg(job.job.job_id.to_string()).arg(entry::waiting(job));
            }
            pushed += self.call(async |connection| script.invoke_async::<u64>(connection).await).await?;
        }
        Ok(pushed)
    }

    /// Takes the first jobs of the list, `limit` at most, without waiting for any.
    ///
    /// # Errors
    /// Redis is away; the jobs that it may have given are given again later.
    pub async fn take(&self, worker: &str, limit: usize) -> Result<Vec<Uuid>, QueueError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        if self.unanswered().contains(worker) {
            self.give_back(worker).await?;
            self.unanswered().remove(worker);
        }
        let mut script = self.0.scripts.take.key(LIST);
        script.key(INDEX).key(taken(worker)).key(alive(worker)).key(WORKERS);
        script.arg(worker).arg(limit).arg(self.0.heartbeat_ms);
        let ids = self.call(async |connection| script.invoke_async::<Vec<String>>(connection).await).await;
        let ids = ids.inspect_err(|error| {
            if !error.is_known_absence() {
                self.unanswered().insert(worker.to_owned());
            }
        })?;
        Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
    }

    fn unanswered(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.0.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows that a worker lives; taking something shows it, too.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn heartbeat(&self, worker: &str) -> Result<(), QueueError> {
        let heartbeat_ms = self.0.heartbeat_ms;
        self.call(async |connection| {
            redis::pipe()
                .atomic()
                .pset_ex(alive(worker), 1, heartbeat_ms)
                .ignore()
                .sadd(WORKERS, worker)
                .ignore()
                .exec_async(connection)
                .await
        })
        .await
    }

    /// Forgets jobs that a worker took: the store has its claims, or they wait no more.
    ///
    /// # Errors
    /// Redis is away: they come back when the worker is gone, and do no harm.
    pub async fn settle(&self, worker: &str, jobs: &[Uuid]) -> Result<(), QueueError> {
        for jobs in jobs.chunks(PUSHED_MAX) {
            let mut script = self.0.scripts.settle.key(INDEX);
            script.key(taken(worker)).arg(worker);
            for job_id in jobs {
                script.arg(job_id.to_string());
            }
            self.call(async |connection| script.invoke_async::<i64>(connection).await).await?;
        }
        Ok(())
    }

    /// Puts back what a worker took and did not settle.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn give_back(&self, worker: &str) -> Result<u64, QueueError> {
        self.return_taken(worker, "1").await
    }

    /// Puts back what workers took that show no sign of life; returns how many jobs.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn return_taken_of_dead_workers(&self) -> Result<u64, QueueError> {
        let workers: Vec<String> = self.call(async |connection| connection.smembers(WORKERS).await).await?;
        let mut returned = 0;
        for worker in workers {
            returned += self.return_taken(&worker, "0").await?;
        }
        Ok(returned)
    }

    async fn return_taken(&self, worker: &str, even_alive: &str) -> Result<u64, QueueError> {
        let mut script = self.0.scripts.give_back.key(LIST);
        script.key(INDEX).key(taken(worker)).key(alive(worker)).key(WORKERS);
        script.arg(worker).arg(CHANNEL).arg(even_alive);
        self.call(async |connection| script.invoke_async(connection).await).await
    }

    /// Shows dead letters.
    ///
    /// # Errors
    /// Redis is away: the relay shows them later.
    pub async fn bury(&self, letters: &[BuriedJob]) -> Result<(), QueueError> {
        let entries: Vec<_> =
            letters.iter().map(|letter| (letter.job.job.job_id, entry::buried(letter))).collect();
        self.show(&entries).await
    }

    async fn show(&self, letters: &[(Uuid, String)]) -> Result<(), QueueError> {
        for letters in letters.chunks(PUSHED_MAX) {
            let mut script = self.0.scripts.bury.key(LETTERS);
            script.key(LETTERS_INDEX).arg(LETTERS_MAX);
            for (job_id, entry) in letters {
                script.arg(job_id.to_string()).arg(entry);
            }
            self.call(async |connection| script.invoke_async::<i64>(connection).await).await?;
        }
        Ok(())
    }

    /// Shows dead letters no more.
    ///
    /// # Errors
    /// Redis is away: the relay repairs it later.
    pub async fn unbury(&self, jobs: &[Uuid]) -> Result<(), QueueError> {
        for jobs in jobs.chunks(PUSHED_MAX) {
            let mut script = self.0.scripts.unbury.key(LETTERS);
            script.key(LETTERS_INDEX);
            for job_id in jobs {
                script.arg(job_id.to_string());
            }
            self.call(async |connection| script.invoke_async::<i64>(connection).await).await?;
        }
        Ok(())
    }

    /// How long the lists are.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn depth(&self) -> Result<RedisDepth, QueueError> {
        let (waiting, dead) = self
            .call(async |connection| redis::pipe().llen(LIST).llen(LETTERS).query_async(connection).await)
            .await?;
        Ok(RedisDepth { waiting, dead })
    }

    /// The memory that Redis uses, bytes.
    ///
    /// # Errors
    /// Redis is away, or does not tell.
    pub async fn memory_bytes(&self) -> Result<u64, QueueError> {
        let text: String = self
            .call(async |connection| redis::cmd("INFO").arg("memory").query_async(connection).await)
            .await?;
        let used = text.lines().find_map(|line| line.strip_prefix("used_memory:"));
        let used = used.and_then(|used| used.trim().parse().ok());
        used.ok_or_else(|| QueueError::Refused("it does not tell its memory".to_owned()))
    }

    /// Whether Redis has lost what it held: the mark that it gets with its first job is not there.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn was_lost(&self) -> Result<bool, QueueError> {
        self.call(async |connection| connection.exists(MARKER).await).await.map(|there: bool| !there)
    }

    /// Marks an empty Redis, and removes the rest of what it held. True for the one process that did it: what was
    /// handed over is to be taken back now.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn start_over(&self) -> Result<bool, QueueError> {
        let mut script = self.0.scripts.start_over.key(MARKER);
        script.key(LIST).key(INDEX).key(LETTERS).key(LETTERS_INDEX);
        self.call(async |connection| script.invoke_async(connection).await).await
    }

    /// Deletes every key of the queue. Unless the store takes back what it handed over, the relay does so later.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn purge(&self) -> Result<(), QueueError> {
        let workers: Vec<String> = self.call(async |connection| connection.smembers(WORKERS).await).await?;
        let mut keys: Vec<String> =
            [LIST, INDEX, LETTERS, LETTERS_INDEX, WORKERS, MARKER].map(str::to_owned).to_vec();
        keys.extend(workers.iter().flat_map(|worker| [taken(worker), alive(worker)]));
        self.call(async |connection| connection.del(keys).await).await
    }

    /// Which of these are neither in the list nor in a worker's hands.
    async fn missing(&self, jobs: &[Uuid]) -> Result<Vec<Uuid>, QueueError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = jobs.iter().map(Uuid::to_string).collect();
        let found: Vec<Option<String>> = self
            .call(async |connection| redis::cmd("HMGET").arg(INDEX).arg(&names).query_async(connection).await)
            .await?;
        Ok(jobs.iter().zip(found).filter(|(_, place)| place.is_none()).map(|(job_id, _)| *job_id).collect())
    }

    /// A part of the list.
    async fn entries(&self, offset: usize, limit: usize) -> Result<Vec<String>, QueueError> {
        let (first, last) = (offset as isize, (offset + limit) as isize - 1);
        self.call(async |connection| connection.lrange(LIST, first, last).await).await
    }

    /// Removes entries from the list; returns how many were there.
    async fn drop_entries(&self, entries: &[(Uuid, String)]) -> Result<u64, QueueError> {
        let mut script = self.0.scripts.drop.prepare_invoke();
        script.key(LIST).key(INDEX);
        for (job_id, entry) in entries {
            script.arg(job_id.to_string()).arg(entry);
        }
        self.call(async |connection| script.invoke_async(connection).await).await
    }

    /// Shows these dead letters and no others, the oldest one first.
    async fn show_all(&self, letters: &[(Uuid, String)]) -> Result<(), QueueError> {
        self.call(async |connection| connection.del::<_, ()>(&[LETTERS, LETTERS_INDEX]).await).await?;
        self.show(letters).await
    }

    /// Asks Redis, unless it is known to be away.
    async fn call<T>(
        &self,
        ask: impl AsyncFnOnce(&mut ConnectionManager) -> RedisResult<T>,
    ) -> Result<T, QueueError> {
        let pass = self.0.breaker.try_pass().map_err(|_| QueueError::BreakerOpen)?;
        let mut connection = self.0.connection.clone();
        let error = match tokio::time::timeout(self.0.timeout, ask(&mut connection)).await {
            Ok(Ok(answer)) => {
                pass.succeed();
                return Ok(answer);
            }
            Ok(Err(error)) => error,
            Err(_) => {
                pass.fail();
                return Err(QueueError::Away("no answer in time".to_owned()));
            }
        };
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown)
            | ErrorKind::Io
            | ErrorKind::ClusterConnectionNotFound => {
                pass.fail();
                Err(QueueError::Away(error.to_string()))
            }
            ErrorKind::Server(_) | ErrorKind::Extension => {
                pass.succeed();
                Err(QueueError::Refused(error.to_string()))
            }
            _ => {
                pass.fail();
                Err(QueueError::Refused(error.to_string()))
            }
        }
    }
}
