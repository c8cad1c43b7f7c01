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

/// For so long nobody asks the store for a place to try a breaker out after there was none: each job would write a row.
const REFUSED_PERIOD: Duration = Duration::from_secs(5);

/// A job waits for so long at most before it asks a breaker again that others try out, and at least a third of it.
const TRIED_MAX: Duration = Duration::from_secs(30);

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
    /// Half-open breakers that others try out, until they change.
    refused: HashMap<BreakerKey, Instant>,
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
        // What refuses anyway comes first: a probe that is taken must be used.
        if let Some(open) = found.iter().find(|record| record.state == BreakerState::Open) {
            return Ok(self.barred(open, until_half_open(open, now).min(BARRED_MAX)));
        }
        if let Some(refusing) = found.iter().find(|record| self.has_refused(record)) {
            return Ok(Passage::Barred(until_tried(refusing.settings.recovery_secs, random())));
        }
        for record in &found {
            if record.state == BreakerState::HalfOpen && !self.store.take_probe(&record.key, now).await? {
                self.refuse(record);
                return Ok(Passage::Barred(until_tried(record.settings.recovery_secs, random())));
            }
        }
        Ok(Passage::Free)
    }

    fn has_refused(&self, record: &BreakerRecord) -> bool {
        let period = REFUSED_PERIOD.min(Duration::from_secs(record.settings.recovery_secs.into()));
        self.known().refused.get(&record.key).is_some_and(|at| at.elapsed() < period)
    }

    /// Remembers that all places to try a breaker out are taken, unless it has changed since it was looked at.
    fn refuse(&self, record: &BreakerRecord) {
        let mut known = self.known();
        if known.not_closed.get(&record.key).is_some_and(|known| is_as_before(known, record)) {
            if known.refused.len() >= KEYS_MAX {
                forget_old(&mut known.refused, REFUSED_PERIOD);
            }
            known.refused.insert(record.key.clone(), Instant::now());
        }
    }

    fn barred(&self, record: &BreakerRecord, wait: Duration) -> Passage {
        let mut known = self.known();
        let now = Instant::now();
        let is_quiet = known.logged.get(&record.key).is_none_or(|at| now - *at >= SKIP_LOG_PERIOD);
        if is_quiet {
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
            known.refused.remove(&record.key);
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
        let not_closed: HashMap<BreakerKey, BreakerRecord> = records
            .into_iter()
            .filter(|record| record.state != BreakerState::Closed)
            .map(|record| (record.key.clone(), record))
            .collect();
        let mut known = self.known();
        let before = std::mem::replace(&mut known.not_closed, not_closed);
        let Known { refused, not_closed, .. } = &mut *known;
        refused.retain(|key, _| match (before.get(key), not_closed.get(key)) {
            (Some(before), Some(now)) => is_as_before(now, before),
            _ => false,
        });
        known.epoch = Some(epoch);
        show(&known);
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a breaker has not turned: who tries it out is all that may have changed.
fn is_as_before(now: &BreakerRecord, before: &BreakerRecord) -> bool {
    (now.state, now.opened_at) == (before.state, before.opened_at)
}

/// How long a job waits for a breaker that others try out: never longer than until it may be tried anew. Whoever asked
/// again at once would have each claim, since it stands before everybody else's jobs that came later.
fn until_tried(recovery_secs: u32, random: u64) -> Duration {
    let most = TRIED_MAX.min(Duration::from_secs(recovery_secs.max(1).into()));
    let least = most / 3;
    let span = u64::try_from((most - least).as_millis()).unwrap_or(0);
    least + Duration::from_millis(random % (span + 1))
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

#[cfg(test)]
mod tests {
    use bowline_runtime::ManualClock;
    use bowline_store::{SqliteConfig, SqliteStore};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn who_waits_for_a_try_waits_no_longer_than_until_the_next_one() {
        for (recovery_secs, least, most) in
            [(604_800, 10_000, 30_000), (30, 10_000, 30_000), (6, 2_000, 6_000)]
        {
            let waits = [0, 1, u64::MAX / 3, u64::MAX].map(|random| until_tried(recovery_secs, random));
            let bounds = Duration::from_millis(least)..=Duration::from_millis(most);
            assert!(waits.iter().all(|wait| bounds.contains(wait)), "{recovery_secs}: {waits:?}");
            assert_eq!(until_tried(recovery_secs, most - least), *bounds.end());
        }
    }

    #[tokio::test]
    async fn while_somebody_tries_a_breaker_out_nobody_asks_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let config = SqliteConfig::at(folder.path().join("bowline.db"));
        let store: Arc<dyn LineStore> = Arc::new(SqliteStore::open(config).await.unwrap().0);
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(1_000_000_000)));
        let pass_time =
            |seconds: i64| clock.set(Timestamp::from_micros(clock.now().micros() + seconds * 1_000_000));
        let breakers = Breakers::new(Arc::clone(&store), Arc::clone(&clock) as Arc<dyn Clock>);
        let settings = BreakerSettings { failure_threshold: 1, recovery_secs: 60, half_open_calls_max: 1 };
        let keys = [1, 2].map(|number| BreakerKey::Trigger(Uuid::from_u128(number)));
        let failed = |key: &BreakerKey| breakers.report(key.clone(), false, settings).unwrap();
        breakers.tell(keys.iter().map(failed).collect()).await.unwrap();
        pass_time(60);
        breakers.sweep().await.unwrap();
        let probes = async || -> Vec<u32> {
            let records = store.breakers(Some(keys.to_vec())).await.unwrap();
            records.into_iter().map(|record| record.probes).collect()
        };
        let is_barred =
            |passage| matches!(passage, Passage::Barred(wait) if (10..=30).contains(&wait.as_secs()));
        assert_eq!(breakers.pass(&keys[..1]).await.unwrap(), Passage::Free);
        assert!(is_barred(breakers.pass(&keys[..1]).await.unwrap()));
        // The store would let somebody try again; another key is not asked for in vain either.
        pass_time(60);
        for order in [[0, 1], [1, 0]] {
            let both = order.map(|index| keys[index].clone());
            assert!(is_barred(breakers.pass(&both).await.unwrap()));
        }
        assert_eq!(probes().await, [1, 0]);
        // Another process's word on another breaker changes nothing, on this one it does.
        assert!(store.reset_breaker(&keys[1], clock.now()).await.unwrap());
        assert!(is_barred(breakers.pass(&keys).await.unwrap()));
        assert!(store.reset_breaker(&keys[0], clock.now()).await.unwrap());
        assert_eq!(breakers.pass(&keys).await.unwrap(), Passage::Free);
        // What failed again and is half open again is tried out anew.
        breakers.tell(vec![failed(&keys[0])]).await.unwrap();
        pass_time(60);
        breakers.sweep().await.unwrap();
        assert_eq!(breakers.pass(&keys).await.unwrap(), Passage::Free);
        assert_eq!(probes().await, [1, 0]);
        store.close().await;
    }
}
