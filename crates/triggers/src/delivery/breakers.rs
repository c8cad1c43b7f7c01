//! The circuit breakers before deliveries, as this process knows them: one a trigger and one a destination.
//!
//! The store decides, for all processes together; here is a copy of those that are not closed, read anew when the store
//! says that one changed. A delivery to what has no trouble costs no question, and its success is told once a second.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bowline_runtime::Clock;
use bowline_store::{
    BreakerKey, BreakerRecord, BreakerReport, BreakerSettings, BreakerState, ChangeKind, LineStore,
    StoreError,
};
use bowline_types::{TenantId, Timestamp};
use metrics::gauge;
use tokio::time::Instant;

use super::metrics::{BREAKER_KINDS, BREAKERS_OPEN};
use super::retry::random;

/// Between two reports that something without trouble still has none.
const WELL_PERIOD: Duration = Duration::from_secs(1);

/// Between two lines of the log about jobs that one breaker keeps waiting.
const SKIP_LOG_PERIOD: Duration = Duration::from_secs(10);

/// A job waits for an open breaker for so long at most before it asks again: somebody may have reset it.
const BARRED_MAX: Duration = Duration::from_secs(120);

/// Keys that are remembered at most.
const KEYS_MAX: usize = 20_000;

/// The breakers.
#[derive(Debug)]
pub(crate) struct Breakers {
    store: Arc<dyn LineStore>,
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// None before the first reading.
    epoch: Option<u64>,
    not_closed: HashMap<BreakerKey, BreakerRecord>,
    /// What failed here since its last success.
    failing: HashSet<BreakerKey>,
    well: HashMap<BreakerKey, Instant>,
    logged: HashMap<BreakerKey, Instant>,
}

/// The breaker before a receiver. Each organization has its own: what one does to a receiver keeps no other from it.
pub(crate) fn destination_key(tenant_id: TenantId, destination: &str) -> BreakerKey {
    BreakerKey::Destination(format!("{destination} of {tenant_id}"))
}

/// Whether a delivery may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    Free,
    /// Not now; after so long maybe.
    Barred(Duration),
}

impl Breakers {
    pub(crate) fn new(store: Arc<dyn LineStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, known: Mutex::default() }
    }

    /// Whether a delivery may pass all of these breakers. One that passes a half-open breaker has to be reported on.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn pass(&self, keys: &[BreakerKey]) -> Result<Passage, StoreError> {
        self.refresh().await?;
        let now = self.clock.now();
        let found: Vec<BreakerRecord> = {
            let known = self.known();
            if known.not_closed.is_empty() {
                return Ok(Passage::Free);
            }
            keys.iter().filter_map(|key| known.not_closed.get(key).cloned()).collect()
        };
        // The open ones first: a probe that is taken must be used.
        if let Some(open) = found.iter().find(|record| record.state == BreakerState::Open) {
            return Ok(self.barred(open, until_half_open(open, now).min(BARRED_MAX)));
        }
        for record in &found {
            if record.state == BreakerState::HalfOpen && !self.store.take_probe(&record.key, now).await? {
                return Ok(self.barred(record, Duration::from_secs(1)));
            }
        }
        Ok(Passage::Free)
    }

    fn barred(&self, record: &BreakerRecord, wait: Duration) -> Passage {
        let mut known = self.known();
        let now = Instant::now();
        let is_quiet = known.logged.get(&record.key).is_none_or(|at| now - *at >= SKIP_LOG_PERIOD);
        if is_quiet && record.state == BreakerState::Open {
            forget_old(&mut known.logged, SKIP_LOG_PERIOD);
            known.logged.insert(record.key.clone(), now);
            log_open(record, "a job waits");
        }
        // Not all of them at the same moment.
        Passage::Barred(wait + Duration::from_millis(500 + random() % 1_000))
    }

    /// What to tell the store of a delivery; nothing if it would be no news.
    pub(crate) fn report(
        &self,
        key: BreakerKey,
        succeeded: bool,
        settings: BreakerSettings,
    ) -> Option<BreakerReport> {
        let mut known = self.known();
        if succeeded {
            let was_in_trouble = known.failing.remove(&key) || known.not_closed.contains_key(&key);
            let now = Instant::now();
            let is_known_well = known.well.get(&key).is_some_and(|at| now - *at < WELL_PERIOD);
            if is_known_well && !was_in_trouble {
                return None;
            }
            if known.well.len() >= KEYS_MAX {
                forget_old(&mut known.well, WELL_PERIOD);
            }
            known.well.insert(key.clone(), now);
        } else {
            if known.failing.len() >= KEYS_MAX {
                known.failing.clear();
            }
            known.failing.insert(key.clone());
            known.well.remove(&key);
        }
        drop(known);
        Some(BreakerReport { key, succeeded, settings })
    }

    /// Tells the store of deliveries.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn tell(&self, reports: Vec<BreakerReport>) -> Result<(), StoreError> {
        if reports.is_empty() {
            return Ok(());
        }
        let changed = self.store.report_deliveries(reports, self.clock.now()).await?;
        self.take_note(changed);
        Ok(())
    }

    /// Makes breakers half open whose time has come.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn sweep(&self) -> Result<(), StoreError> {
        let changed = self.store.half_open_breakers(self.clock.now()).await?;
        self.take_note(changed);
        self.refresh().await
    }

    fn take_note(&self, changed: Vec<BreakerRecord>) {
        for record in &changed {
            match record.state {
                BreakerState::Open => log_open(record, "opened"),
                state => {
                    let state = state.as_str();
                    let key = name_of(&record.key);
                    tracing::info!(component = "triggers", key, state, "Circuit breaker changed");
                }
            }
        }
        let mut known = self.known();
        for record in changed {
            match record.state {
                BreakerState::Closed => drop(known.not_closed.remove(&record.key)),
                BreakerState::Open | BreakerState::HalfOpen => {
                    known.not_closed.insert(record.key.clone(), record);
                }
            }
        }
        show(&known);
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        let epoch = self.store.changes().epoch(ChangeKind::Breakers);
        if self.known().epoch == Some(epoch) {
            return Ok(());
        }
        let records = self.store.breakers(None).await?;
        let mut known = self.known();
        known.not_closed = records
            .into_iter()
            .filter(|record| record.state != BreakerState::Closed)
            .map(|record| (record.key.clone(), record))
            .collect();
        known.epoch = Some(epoch);
        show(&known);
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn until_half_open(record: &BreakerRecord, now: Timestamp) -> Duration {
    let since = record.opened_at.unwrap_or(now);
    let until = since.micros().saturating_add(i64::from(record.settings.recovery_secs) * 1_000_000);
    Duration::from_micros(u64::try_from(until.saturating_sub(now.micros())).unwrap_or(0))
}

fn log_open(record: &BreakerRecord, why: &str) {
    let (key, failures) = (name_of(&record.key), record.failure_count);
    let recovery_secs = record.settings.recovery_secs;
    tracing::warn!(component = "triggers", key, failures, recovery_secs, why, "Circuit breaker OPEN");
}

/// `trigger:UUID` or `destination:host:port`.
fn name_of(key: &BreakerKey) -> String {
    match key {
        BreakerKey::Trigger(trigger_id) => format!("trigger:{trigger_id}"),
        BreakerKey::Destination(destination) => format!("destination:{destination}"),
    }
}

fn show(known: &Known) {
    let of_triggers = known.not_closed.keys().filter(|key| matches!(key, BreakerKey::Trigger(_))).count();
    let counts = [of_triggers, known.not_closed.len() - of_triggers];
    for (kind, count) in BREAKER_KINDS.into_iter().zip(counts) {
        gauge!(BREAKERS_OPEN, "kind" => kind).set(count as f64);
    }
}

fn forget_old(seen: &mut HashMap<BreakerKey, Instant>, period: Duration) {
    let now = Instant::now();
    seen.retain(|_, at| now - *at < period);
    if seen.len() >= KEYS_MAX {
        seen.clear();
    }
}
