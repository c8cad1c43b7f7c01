//! A receiver's limits, shared by all workers of all processes: one message every so often at a place.
//!
//! A place's row among the rate budgets says from when the next message may go. Who wants to send moves that moment on
//! by the place's spacing, if nobody else did meanwhile, and waits for it; who would have to wait long gives the job
//! back instead. A process that dies has used what it took. It costs two round trips a message and place, which limits
//! of a few dozen messages a second allow, and needs nothing but the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bowline_runtime::Clock;
use bowline_store::{BudgetRecord, LineStore, StoreError};
use bowline_types::Timestamp;
use metrics::counter;

use super::metrics::RATE_LIMIT_HITS;
use super::retry::{later, random};

/// A worker waits for so long at most.
const WAIT_MAX: Duration = Duration::from_millis(1_100);

/// How often a place that others changed meanwhile is tried.
const TRIES_MAX: u32 = 20;

/// Places whose waiting jobs are spread; more are let go of.
const SPREAD_MAX: usize = 10_000;

/// What is limited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its name in the store.
    pub(crate) name: String,
    /// Between two messages.
    pub(crate) spacing: Duration,
}

/// The limits.
#[derive(Debug)]
pub(crate) struct Pace {
    store: Arc<dyn LineStore>,
    clock: Arc<dyn Clock>,
    /// For when the last job of a place that was given back is due: the next one comes after it.
    spread: Mutex<HashMap<String, Timestamp>>,
}

enum Turn {
    /// This moment is the caller's.
    At(Timestamp),
    /// It would be this one; nothing was taken.
    TooFar(Timestamp),
}

impl Pace {
    pub(crate) fn new(store: Arc<dyn LineStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, spread: Mutex::default() }
    }

    /// Waits until a message may go to all places, or says after how long to try again.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn wait_for(&self, places: &[Place]) -> Result<Option<Duration>, StoreError> {
        let mut from = self.clock.now();
        for place in places {
            match self.take_turn(place, from).await? {
                Turn::At(moment) => from = from.max(moment),
                Turn::TooFar(moment) => {
                    counter!(RATE_LIMIT_HITS).increment(1);
                    return Ok(Some(self.spread(place, moment)));
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

    /// Nothing goes to a place for so long: its receiver said so.
    pub(crate) async fn hold(&self, place: &Place, wait: Duration) {
        counter!(RATE_LIMIT_HITS).increment(1);
        let until = later(self.clock.now(), wait);
        for _ in 0..TRIES_MAX {
            match self.try_hold(place, until).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(component = "triggers", %error, "A receiver's wish to wait can't be shared");
                    return;
                }
            }
        }
    }

    async fn try_hold(&self, place: &Place, until: Timestamp) -> Result<bool, StoreError> {
        let (next, version) = self.look(place).await?;
        if next.is_some_and(|next| next >= until) {
            return Ok(true);
        }
        self.move_to(place, until, version).await
    }

    async fn take_turn(&self, place: &Place, from: Timestamp) -> Result<Turn, StoreError> {
        for tried in 0..TRIES_MAX {
            let (next, version) = self.look(place).await?;
            let turn = next.map_or(from, |next| next.max(from));
            if between(self.clock.now(), turn) > WAIT_MAX {
                return Ok(Turn::TooFar(turn));
            }
            if self.move_to(place, later(turn, place.spacing), version).await? {
                return Ok(Turn::At(turn));
            }
            tokio::time::sleep(Duration::from_millis(random() % (5 << tried.min(5)))).await;
        }
        Err(StoreError::Unavailable("too many processes send to one place at once".to_owned()))
    }

    async fn look(&self, place: &Place) -> Result<(Option<Timestamp>, Option<u64>), StoreError> {
        let record = self.store.budget(&place.name).await?;
        let version = record.as_ref().map(|record| record.version);
        let next = record.and_then(|record| record.charges.parse().ok()).map(Timestamp::from_micros);
        Ok((next, version))
    }

    async fn move_to(
        &self,
        place: &Place,
        next: Timestamp,
        expected: Option<u64>,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        // A row that was removed and made anew has a higher version than any that somebody remembers.
        let version = expected.map_or(0, |version| version + 1).max(now.micros().unsigned_abs());
        let expires_at = later(next, Duration::from_secs(1));
        let record = BudgetRecord {
            name: place.name.clone(),
            version,
            charges: next.micros().to_string(),
            expires_at,
        };
        self.store.swap_budget(record, expected, now).await
    }

    /// After how long a job that is given back is to come again: each one a spacing after the one before it, so
    /// that a thousand messages to one chat are not all claimed anew every second.
    fn spread(&self, place: &Place, turn: Timestamp) -> Duration {
        let now = self.clock.now();
        let mut spread = self.spread.lock().unwrap_or_else(PoisonError::into_inner);
        if spread.len() >= SPREAD_MAX {
            spread.retain(|_, last| *last > now);
        }
        if spread.len() >= SPREAD_MAX {
            spread.clear();
        }
        let last = spread.entry(place.name.clone()).or_insert(turn);
        let due = turn.max(*last);
        *last = later(due, place.spacing);
        between(now, due)
    }
}

/// How long from one moment to another; nothing if it is past.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(to.micros().saturating_sub(from.micros())).unwrap_or(0))
}
