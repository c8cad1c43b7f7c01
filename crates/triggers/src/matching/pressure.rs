//! Back-pressure: a queue that workers do not empty must not grow without end.
//!
//! Above the critical depth nothing is matched, and nothing is marked as matched, so nothing is lost either. One
//! organization whose receivers do not answer does not get it there: its blocked and tried jobs become dead letters first.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bowline_deliveries::{GiveUpReason, GiveUpTally};
use bowline_runtime::Shutdown;
use bowline_store::LineStore;
use bowline_types::Timestamp;
use metrics::gauge;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::MatchingConfig;
use crate::metrics::{HELD, QUEUE_DEPTH};

/// Between two lines of the same warning.
const REPEATED: Duration = Duration::from_secs(60);

/// After a look for organizations that have too many waiting jobs, if there was nothing to give up.
const CROWDED_PERIOD: Duration = Duration::from_secs(3);

/// Calls of one such look at most; what is left over is the next one's.
const CALLS_MAX: u32 = 100;

/// Which warning is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Normal,
    High,
    Critical,
}

/// How full the queue is, as far as this process knows.
#[derive(Debug)]
pub(crate) struct Pressure {
    high: u64,
    critical: u64,
    of_tenant: u64,
    waiting: AtomicU64,
    looked: Notify,
    said: Mutex<(Level, Option<Instant>)>,
    /// The next look for organizations that have too many waiting jobs.
    crowded_from: Mutex<Option<Instant>>,
    given_up: GiveUpTally,
}

impl Pressure {
    pub(crate) fn new(config: &MatchingConfig) -> Self {
        Self {
            high: config.queue_high_depth,
            critical: config.queue_critical_depth,
            of_tenant: config.tenant_depth(),
            waiting: AtomicU64::new(0),
            looked: Notify::new(),
            said: Mutex::new((Level::Normal, None)),
            crowded_from: Mutex::new(None),
            given_up: GiveUpTally::new(GiveUpReason::TenantQueueFull),
        }
    }

    /// Reads the queue's depth, logs a change of level, and wakes the lanes that were held.
    pub(crate) async fn look(&self, store: &dyn LineStore, now: Timestamp) {
        match store.queue_depth(now).await {
            Ok(depth) => {
                let waiting = depth.waiting.saturating_sub(self.make_room(store, depth.waiting, now).await);
                self.waiting.store(waiting, Ordering::Relaxed);
                QUEUE_DEPTH.into_iter().for_each(|name| gauge!(name).set(waiting as f64));
                self.say(waiting);
            }
            Err(error) => tracing::debug!(component = "triggers", %error, "Queue not looked at"),
        }
        self.looked.notify_waiters();
    }

    /// If matching would be held, gives up the jobs that organizations have too many of; returns how many.
    async fn make_room(&self, store: &dyn LineStore, waiting: u64, now: Timestamp) -> u64 {
        let from = *self.crowded_from.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting < self.critical || from.is_some_and(|from| Instant::now() < from) {
            self.given_up.add(&[]);
            return 0;
        }
        let mut count = 0;
        for _ in 0..CALLS_MAX {
            match store.give_up_excess(self.of_tenant, now).await {
                Ok(jobs) if jobs.is_empty() => break,
                Ok(jobs) => {
                    count += jobs.len() as u64;
                    self.given_up.add(&jobs);
                }
                Err(error) => {
                    tracing::debug!(component = "triggers", %error, "Full queues not looked at");
                    break;
                }
            }
        }
        let next = (count == 0).then(|| Instant::now() + CROWDED_PERIOD);
        *self.crowded_from.lock().unwrap_or_else(PoisonError::into_inner) = next;
        count
    }

    /// Jobs that came on top since the last look.
    pub(crate) fn add(&self, jobs: usize) {
        self.waiting.fetch_add(jobs as u64, Ordering::Relaxed);
    }

    /// Waits while the queue is full.
    pub(crate) async fn pass(&self, shutdown: &Shutdown) {
        loop {
            let looked = self.looked.notified();
            if self.waiting.load(Ordering::Relaxed) < self.critical || shutdown.has_begun() {
                return;
            }
            tokio::select! { () = looked => {}, () = shutdown.begun() => {} }
        }
    }

    fn say(&self, waiting: u64) {
        let level = match waiting {
            _ if waiting >= self.critical => Level::Critical,
            _ if waiting >= self.high => Level::High,
            _ => Level::Normal,
        };
        gauge!(HELD).set(f64::from(u8::from(level == Level::Critical)));
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, at) = *said;
        let is_due = at.is_none_or(|at| at.elapsed() >= REPEATED);
        if level == before && (level == Level::Normal || !is_due) {
            return;
        }
        // A queue that swings about a limit is worth a line a minute.
        if level < before && level == Level::High {
            tracing::warn!(component = "triggers", waiting, "Queue drains, matching goes on");
        } else {
            match level {
                Level::Normal => tracing::info!(component = "triggers", waiting, "Queue is normal again"),
                Level::High => tracing::warn!(
                    component = "triggers",
                    waiting,
                    limit = self.high,
                    code = "QUEUE_HIGH_DEPTH",
                    "QUEUE_HIGH_DEPTH: many jobs wait"
                ),
                Level::Critical => tracing::error!(
                    component = "triggers",
                    waiting,
                    limit = self.critical,
                    code = "QUEUE_CRITICAL_DEPTH",
                    "QUEUE_CRITICAL_DEPTH: nothing more is matched until workers have emptied the queue below the limit"
                ),
            }
        }
        *said = (level, Some(Instant::now()));
    }
}
