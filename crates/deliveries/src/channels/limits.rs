//! A receiver's rate limits, shared by all workers of all processes: one message every so often to one bot or chat.
//!
//! A limit's row among the rate budgets holds the moment from which the next message may go. A worker that wants to send
//! moves that moment on by the limit's spacing, unless another process changed the row meanwhile, and waits for it; if the
//! wait were long, the worker gives the job back instead. A slot that was taken stays taken when its process dies. A message
//! costs two round trips a limit, which limits of a few dozen messages a second allow, and needs only the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bowline_runtime::Clock;
use bowline_store::{BudgetRecord, LineStore, StoreError};
use bowline_types::Timestamp;
use metrics::counter;

use crate::metrics::RATE_LIMIT_HITS;
use crate::retry::{later, random};

/// The longest time that a worker waits for its slot.
const WAIT_MAX: Duration = Duration::from_millis(1_100);

/// Tries at a limit whose row other processes change at the same moment.
const TRIES_MAX: u32 = 20;

/// Limits whose waiting jobs are spread; beyond that the map is cleared.
const SPREAD_MAX: usize = 10_000;

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReceiverLimit {
    /// Its name in the store.
    pub(crate) name: String,
    /// Time between two messages.
    pub(crate) spacing: Duration,
}

/// The limits.
#[derive(Debug)]
pub(crate) struct ReceiverLimits {
    store: Arc<dyn LineStore>,
    clock: Arc<dyn Clock>,
    /// When the last job that a limit sent back is due; the next one comes after it.
    spread: Mutex<HashMap<String, Timestamp>>,
}

/// The next slot of a limit.
enum Slot {
    /// The caller has taken this moment.
    At(Timestamp),
    /// The next slot is at this moment, too far away; none was taken.
    TooFar(Timestamp),
}

impl ReceiverLimits {
    pub(crate) fn new(store: Arc<dyn LineStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, spread: Mutex::default() }
    }

    /// Waits until all limits have room for a message, or returns the time after which to try again.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn wait_for(&self, limits: &[ReceiverLimit]) -> Result<Option<Duration>, StoreError> {
        let mut from = self.clock.now();
        for limit in limits {
            match self.take_slot(limit, from).await? {
                Slot::At(moment) => from = from.max(moment),
                Slot::TooFar(moment) => {
                    counter!(RATE_LIMIT_HITS).increment(1);
                    return Ok(Some(self.spread(limit, moment)));
                }
            }
        }
        let wait = between(self.clock.now(), from);
        if !wait.is_zero() {
            counter!(RATE_LIMIT_HITS).increment(1);
            tokio::time::sleep(wait).await;
        }
        Ok(None)
    }

    /// Blocks a limit for the time that its receiver asked for.
    pub(crate) async fn hold(&self, limit: &ReceiverLimit, wait: Duration) {
        counter!(RATE_LIMIT_HITS).increment(1);
        let until = later(self.clock.now(), wait);
        for _ in 0..TRIES_MAX {
            match self.try_hold(limit, until).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(component = "triggers", %error, "A receiver's wish to wait can't be context");
                    return;
                }
            }
        }
    }

    async fn try_hold(&self, limit: &ReceiverLimit, until: Timestamp) -> Result<bool, StoreError> {
        let (next, version) = self.look(limit).await?;
        if next.is_some_and(|next| next >= until) {
            return Ok(true);
        }
        self.move_to(limit, until, version).await
    }

    async fn take_slot(&self, limit: &ReceiverLimit, from: Timestamp) -> Result<Slot, StoreError> {
        for tried in 0..TRIES_MAX {
            let (next, version) = self.look(limit).await?;
            let slot = next.map_or(from, |next| next.max(from));
            if between(self.clock.now(), slot) > WAIT_MAX {
                return Ok(Slot::TooFar(slot));
            }
            if self.move_to(limit, later(slot, limit.spacing), version).await? {
                return Ok(Slot::At(slot));
            }
            tokio::time::sleep(Duration::from_millis(random() % (5 << tried.min(5)))).await;
        }
        Err(StoreError::Unavailable("too many processes send to one place at once".to_owned()))
    }

    async fn look(&self, limit: &ReceiverLimit) -> Result<(Option<Timestamp>, Option<u64>), StoreError> {
        let record = self.store.budget(&limit.name).await?;
        let version = record.as_ref().map(|record| record.version);
        let next = record.and_then(|record| record.charges.parse().ok()).map(Timestamp::from_micros);
        Ok((next, version))
    }

    async fn move_to(
        &self,
        limit: &ReceiverLimit,
        next: Timestamp,
        expected: Option<u64>,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        // A row that was removed and made again gets a higher version than the removed one had.
        let version = expected.map_or(0, |version| version + 1).max(now.micros().unsigned_abs());
        let expires_at = later(next, Duration::from_secs(1));
        let record = BudgetRecord {
            name: limit.name.clone(),
            version,
            charges: next.micros().to_string(),
            expires_at,
        };
        self.store.swap_budget(record, expected, now).await
    }

    /// The time after which a job that is given back comes again: each one a spacing after the one before it, so that a
    /// thousand messages to one chat are not all claimed again every second.
    fn spread(&self, limit: &ReceiverLimit, slot: Timestamp) -> Duration {
        let now = self.clock.now();
        let mut spread = self.spread.lock().unwrap_or_else(PoisonError::into_inner);
        if spread.len() >= SPREAD_MAX {
            spread.retain(|_, last| *last > now);
        }
        if spread.len() >= SPREAD_MAX {
            spread.clear();
        }
        let last = spread.entry(limit.name.clone()).or_insert(slot);
        let due = slot.max(*last);
        *last = later(due, limit.spacing);
        between(now, due)
    }
}

/// The time from one moment to another; zero if the other is past.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(to.micros().saturating_sub(from.micros())).unwrap_or(0))
}
