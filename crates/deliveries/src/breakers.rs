//! The circuit breakers before deliveries: one an owner of jobs and one a destination.
//!
//! The store decides, for all processes together. This process caches the breakers that are not closed and reads them
//! again when the store says that one changed. A delivery behind closed breakers costs no round trip, and its success is
//! reported once a second.

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

use crate::metrics::{BREAKER_KINDS, BREAKERS_OPEN};
use crate::retry::random;

/// Time between two reports of successes behind one closed breaker.
const SUCCESS_PERIOD: Duration = Duration::from_secs(1);

/// Time between two lines of the log about jobs that one breaker blocks.
const SKIP_LOG_PERIOD: Duration = Duration::from_secs(10);

/// The longest time that a job waits behind an open breaker before it asks again: an operator may have reset it.
const BLOCKED_MAX: Duration = Duration::from_secs(120);

/// Cool-down after a refused probe: otherwise every job writes a row.
const REFUSED_PERIOD: Duration = Duration::from_secs(5);

/// The longest time that a job waits behind a half-open breaker whose probes are taken; the shortest is a third of it.
const PROBED_MAX: Duration = Duration::from_secs(30);

/// Keys that each map of the cache holds at most.
const KEYS_MAX: usize = 20_000;

/// The breakers.
#[derive(Debug)]
pub(crate) struct Breakers {
    store: Arc<dyn LineStore>,
    clock: Arc<dyn Clock>,
    cache: Mutex<BreakerCache>,
}

#[derive(Debug, Default)]
struct BreakerCache {
    /// None before the first reading.
    epoch: Option<u64>,
    not_closed: HashMap<BreakerKey, BreakerRecord>,
    /// Breakers with a failure here since their last success.
    failing: HashSet<BreakerKey>,
    /// When a success was last reported.
    succeeded: HashMap<BreakerKey, Instant>,
    /// When a blocked job was last logged.
    logged: HashMap<BreakerKey, Instant>,
    /// Half-open breakers that refused a probe, until they change.
    refused: HashMap<BreakerKey, Instant>,
}

/// The breaker before a receiver. Each organization has its own, so that one organization's failures block no other one.
pub(crate) fn destination_key(tenant_id: TenantId, destination: &str) -> BreakerKey {
    BreakerKey::Destination(format!("{destination} of {tenant_id}"))
}

/// Whether an attempt may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BreakerDecision {
    Pass,
    /// Not now; the job asks again after that time.
    Blocked(Duration),
}

impl Breakers {
    pub(crate) fn new(store: Arc<dyn LineStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, cache: Mutex::default() }
    }

    /// Whether an attempt may pass all of these breakers. An attempt that passes a half-open one MUST be reported.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn decide(&self, keys: &[BreakerKey]) -> Result<BreakerDecision, StoreError> {
        self.refresh().await?;
        let now = self.clock.now();
        let found: Vec<BreakerRecord> = {
            let cache = self.cache();
            if cache.not_closed.is_empty() {
                return Ok(BreakerDecision::Pass);
            }
            keys.iter().filter_map(|key| cache.not_closed.get(key).cloned()).collect()
        };
        // Breakers that refuse without a write come first: a probe that is taken must be used.
        if let Some(open) = found.iter().find(|record| record.state == BreakerState::Open) {
            return Ok(self.blocked(open, until_half_open(open, now).min(BLOCKED_MAX)));
        }
        if let Some(refusing) = found.iter().find(|record| self.has_refused(record)) {
            return Ok(BreakerDecision::Blocked(until_next_probe(refusing.settings.recovery_secs, random())));
        }
        for record in &found {
            if record.state == BreakerState::HalfOpen && !self.store.take_probe(&record.key, now).await? {
                self.note_refusal(record);
                return Ok(BreakerDecision::Blocked(until_next_probe(
                    record.settings.recovery_secs,
                    random(),
                )));
            }
        }
        Ok(BreakerDecision::Pass)
    }

    fn has_refused(&self, record: &BreakerRecord) -> bool {
        let period = REFUSED_PERIOD.min(Duration::from_secs(record.settings.recovery_secs.into()));
        self.cache().refused.get(&record.key).is_some_and(|at| at.elapsed() < period)
    }

    /// Notes that a breaker refused a probe, unless the breaker has changed since it was read.
    fn note_refusal(&self, record: &BreakerRecord) {
        let mut cache = self.cache();
        if cache.not_closed.get(&record.key).is_some_and(|cache| is_as_before(cache, record)) {
            if cache.refused.len() >= KEYS_MAX {
                forget_old(&mut cache.refused, REFUSED_PERIOD);
            }
            cache.refused.insert(record.key.clone(), Instant::now());
        }
    }

    fn blocked(&self, record: &BreakerRecord, wait: Duration) -> BreakerDecision {
        let mut cache = self.cache();
        let now = Instant::now();
        let is_quiet = cache.logged.get(&record.key).is_none_or(|at| now - *at >= SKIP_LOG_PERIOD);
        if is_quiet {
            forget_old(&mut cache.logged, SKIP_LOG_PERIOD);
            cache.logged.insert(record.key.clone(), now);
            log_open(record, "a job waits");
        }
        // Spread, so that the jobs behind one breaker do not come back at one moment.
        BreakerDecision::Blocked(wait + Duration::from_millis(500 + random() % 1_000))
    }

    /// The report of an attempt for the store; none if it would change nothing there.
    pub(crate) fn report(
        &self,
        key: BreakerKey,
        succeeded: bool,
        settings: BreakerSettings,
    ) -> Option<BreakerReport> {
        let mut cache = self.cache();
        if succeeded {
            let had_failed = cache.failing.remove(&key) || cache.not_closed.contains_key(&key);
            let now = Instant::now();
            let is_reported = cache.succeeded.get(&key).is_some_and(|at| now - *at < SUCCESS_PERIOD);
            if is_reported && !had_failed {
                return None;
            }
            if cache.succeeded.len() >= KEYS_MAX {
                forget_old(&mut cache.succeeded, SUCCESS_PERIOD);
            }
            cache.succeeded.insert(key.clone(), now);
        } else {
            if cache.failing.len() >= KEYS_MAX {
                cache.failing.clear();
            }
            cache.failing.insert(key.clone());
            cache.succeeded.remove(&key);
        }
        drop(cache);
        Some(BreakerReport { key, succeeded, settings })
    }

    /// Writes reports to the store.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn write(&self, reports: Vec<BreakerReport>) -> Result<(), StoreError> {
        if reports.is_empty() {
            return Ok(());
        }
        let changed = self.store.report_deliveries(reports, self.clock.now()).await?;
        self.take_note(changed);
        Ok(())
    }

    /// Makes breakers half open whose recovery time has passed.
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
        let mut cache = self.cache();
        for record in changed {
            cache.refused.remove(&record.key);
            match record.state {
                BreakerState::Closed => drop(cache.not_closed.remove(&record.key)),
                BreakerState::Open | BreakerState::HalfOpen => {
                    cache.not_closed.insert(record.key.clone(), record);
                }
            }
        }
        show(&cache);
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        let epoch = self.store.changes().epoch(ChangeKind::BREAKERS);
        if self.cache().epoch == Some(epoch) {
            return Ok(());
        }
        let records = self.store.breakers(None).await?;
        let not_closed: HashMap<BreakerKey, BreakerRecord> = records
            .into_iter()
            .filter(|record| record.state != BreakerState::Closed)
            .map(|record| (record.key.clone(), record))
            .collect();
        let mut cache = self.cache();
        let before = std::mem::replace(&mut cache.not_closed, not_closed);
        let BreakerCache { refused, not_closed, .. } = &mut *cache;
        refused.retain(|key, _| match (before.get(key), not_closed.get(key)) {
            (Some(before), Some(now)) => is_as_before(now, before),
            _ => false,
        });
        cache.epoch = Some(epoch);
        show(&cache);
        Ok(())
    }

    fn cache(&self) -> MutexGuard<'_, BreakerCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a breaker kept its state: at most its probes changed.
fn is_as_before(now: &BreakerRecord, before: &BreakerRecord) -> bool {
    (now.state, now.opened_at) == (before.state, before.opened_at)
}

/// How long a job waits behind a half-open breaker whose probes are taken: never longer than until new probes are free. A
/// job that asked again at once would be claimed each time, before all jobs that came later.
fn until_next_probe(recovery_secs: u32, random: u64) -> Duration {
    let most = PROBED_MAX.min(Duration::from_secs(recovery_secs.max(1).into()));
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

fn show(cache: &BreakerCache) {
    let of_triggers = cache.not_closed.keys().filter(|key| matches!(key, BreakerKey::Trigger(_))).count();
    let counts = [of_triggers, cache.not_closed.len() - of_triggers];
    for (kind, count) in BREAKER_KINDS.into_iter().zip(counts) {
        gauge!(BREAKERS_OPEN, "kind" => kind).set(count as f64);
    }
}

fn forget_old(times: &mut HashMap<BreakerKey, Instant>, period: Duration) {
    let now = Instant::now();
    times.retain(|_, at| now - *at < period);
    if times.len() >= KEYS_MAX {
        times.clear();
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
            let waits = [0, 1, u64::MAX / 3, u64::MAX].map(|random| until_next_probe(recovery_secs, random));
            let bounds = Duration::from_millis(least)..=Duration::from_millis(most);
            assert!(waits.iter().all(|wait| bounds.contains(wait)), "{recovery_secs}: {waits:?}");
            assert_eq!(until_next_probe(recovery_secs, most - least), *bounds.end());
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
        breakers.write(keys.iter().map(failed).collect()).await.unwrap();
        pass_time(60);
        breakers.sweep().await.unwrap();
        let probes = async || -> Vec<u32> {
            let records = store.breakers(Some(keys.to_vec())).await.unwrap();
            records.into_iter().map(|record| record.probes).collect()
        };
        let is_blocked = |passage| matches!(passage, BreakerDecision::Blocked(wait) if (10..=30).contains(&wait.as_secs()));
        assert_eq!(breakers.decide(&keys[..1]).await.unwrap(), BreakerDecision::Pass);
        assert!(is_blocked(breakers.decide(&keys[..1]).await.unwrap()));
        // The store would give a probe again; of the other key none is taken in vain either.
        pass_time(60);
        for order in [[0, 1], [1, 0]] {
            let both = order.map(|index| keys[index].clone());
            assert!(is_blocked(breakers.decide(&both).await.unwrap()));
        }
        assert_eq!(probes().await, [1, 0]);
        // A reset of the other breaker changes nothing for this one, its own reset does.
        assert!(store.reset_breaker(&keys[1], clock.now()).await.unwrap());
        assert!(is_blocked(breakers.decide(&keys).await.unwrap()));
        assert!(store.reset_breaker(&keys[0], clock.now()).await.unwrap());
        assert_eq!(breakers.decide(&keys).await.unwrap(), BreakerDecision::Pass);
        // A breaker that failed again and is half open again gives a new probe.
        breakers.write(vec![failed(&keys[0])]).await.unwrap();
        pass_time(60);
        breakers.sweep().await.unwrap();
        assert_eq!(breakers.decide(&keys).await.unwrap(), BreakerDecision::Pass);
        assert_eq!(probes().await, [1, 0]);
        store.close().await;
    }
}
