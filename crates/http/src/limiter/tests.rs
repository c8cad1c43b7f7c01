//! The limiter against what it promises, with a clock that stands until it is moved.
//!
//! Several processes share one store. Whatever they do in whatever order, what they admit in any window stays within
//! the limit; and who comes back when he was told to is admitted if nobody else was.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bowline_runtime::ManualClock;
use bowline_store::{BudgetRecord, Permission};
use bowline_types::Timestamp;
use proptest::prelude::*;

use super::*;

/// Budgets in memory, each call of which may fail before or after it had its effect.
#[derive(Debug, Default)]
struct Budgets {
    rows: Mutex<HashMap<String, BudgetRecord>>,
    calls: AtomicU64,
    /// Every so many-th call breaks off; 0 for none.
    breaks: AtomicU64,
}

impl Budgets {
    fn swap(&self, budget: BudgetRecord, expected: Option<u64>, now: Timestamp) -> bool {
        let mut rows = self.rows.lock().unwrap();
        if expected.is_none() {
            rows.retain(|_, row| row.expires_at >= now);
        }
        let swaps = rows.get(&budget.name).map(|row| row.version) == expected;
        if swaps {
            rows.insert(budget.name.clone(), budget);
        }
        swaps
    }
}

#[async_trait]
impl BudgetStore for Budgets {
    async fn budget(&self, name: &str) -> Result<Option<BudgetRecord>, StoreError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Ok(self.rows.lock().unwrap().get(name).cloned())
    }

    async fn swap_budget(
        &self,
        budget: BudgetRecord,
        expected: Option<u64>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let breaks = self.breaks.load(Ordering::SeqCst);
        let broken = breaks > 0 && call.is_multiple_of(breaks);
        if broken && call.is_multiple_of(2) {
            return Err(StoreError::Unavailable("for the test".to_owned()));
        }
        let swaps = self.swap(budget, expected, now);
        if broken && call.is_multiple_of(3) {
            // Whoever asked leaves before the answer is there.
            std::future::pending::<()>().await;
        }
        if broken {
            return Err(StoreError::OutcomeUnknown("for the test".to_owned()));
        }
        Ok(swaps)
    }
}

struct Site {
    budgets: Arc<Budgets>,
    clock: Arc<ManualClock>,
    now: i64,
    config: RateLimitConfig,
}

impl Site {
    fn new(per_minute: u64, window_secs: u64) -> Self {
        let config = RateLimitConfig { per_minute, window_secs, entries_max: 100 };
        let now = 1_700_000_000_000_000;
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(now)));
        Self { budgets: Arc::default(), clock, now, config }
    }

    fn process(&self) -> Limiter {
        Limiter::new(self.config, Arc::clone(&self.budgets) as _, Arc::clone(&self.clock) as _)
    }

    fn passes(&mut self, micros: i64) {
        self.now += micros;
        self.clock.set(Timestamp::from_micros(self.now));
    }

    fn calls(&self) -> u64 {
        self.budgets.calls.load(Ordering::SeqCst)
    }
}

fn principal(key_limit: Option<u32>) -> Principal {
    Principal {
        tenant_id: TenantId::from_bytes([1; 16]),
        agent_id: None,
        permissions: vec![Permission::Write],
        store_ids: Vec::new(),
        key_limit: key_limit.map(|limit| (Hash::new([2; 32]), limit)),
        admin_denied: None,
    }
}

fn wait(refused: Refused) -> i64 {
    match refused.refusal {
        Refusal::Later { wait_us, .. } => wait_us,
        other => panic!("{other:?}"),
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

/// What remains if the request is admitted; it is given up if the store lets it wait.
fn attempt(limiter: &Limiter, cost: u64) -> Option<u64> {
    let principal = principal(None);
    let admitted = async {
        tokio::select! {
            biased;
            outcome = limiter.admit(&principal, cost) => outcome.ok().flatten(),
            () = std::future::ready(()) => None,
        }
    };
    block_on(admitted).map(|standing| standing.remaining)
}

/// Thousandths of a window: often a part of a slot, seldom more than the window.
fn pauses() -> impl Strategy<Value = u32> {
    prop_oneof![20 => 0_u32..8, 4 => 0_u32..200, 1 => 0_u32..1_500]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_more_than_the_limit_in_any_window(
        units in 1_u64..400,
        window_secs in 1_u64..120,
        breaks in 0_u64..7,
        steps in prop::collection::vec((0_usize..3, 1_u64..4, pauses(), 0_u32..10), 1..300),
    ) {
        let mut site = Site::new(units, window_secs);
        site.budgets.breaks.store(breaks, Ordering::SeqCst);
        let processes = [site.process(), site.process(), site.process()];
        let limit = Limit::per_minute(units, window_secs);
        let mut admitted: Vec<(i64, u64)> = Vec::new();
        for (process, cost, permille, greed) in steps {
            site.passes(limit.window_us / 1_000 * i64::from(permille));
            let mut cost = cost.min(limit.units);
            while let Some(remaining) = attempt(&processes[process], cost) {
                admitted.push((site.now, cost));
                // Now and then all that is left is taken at once.
                if greed > 0 || remaining == 0 {
                    break;
                }
                cost = remaining;
            }
            let since = site.now - limit.window_us;
            let sum: u64 = admitted.iter().filter(|(at, _)| *at > since).map(|(_, cost)| cost).sum();
            prop_assert!(sum <= limit.units, "{sum} of {} in one window", limit.units);
        }
    }

    #[test]
    fn who_comes_back_when_told_to_is_admitted(
        units in 1_u64..200,
        window_secs in 1_u64..120,
        steps in prop::collection::vec((any::<bool>(), 1_u64..60, 0_u32..300), 1..60),
    ) {
        let mut site = Site::new(units, window_secs);
        let [here, there] = [site.process(), site.process()];
        let limit = Limit::per_minute(units, window_secs);
        let principal = principal(None);
        for (elsewhere, cost, permille) in steps {
            let cost = cost.min(limit.units);
            let process = if elsewhere { &there } else { &here };
            // More than a slot after the last step: what a process refuses by is then what all have taken.
            site.passes(limit.window_us / 50 + limit.window_us / 1_000 * i64::from(permille));
            if let Err(refused) = block_on(process.admit(&principal, cost)) {
                let wait = wait(refused);
                prop_assert!(wait > 0 && wait <= limit.window_us + limit.window_us / 3, "{wait}");
                site.passes(wait);
                prop_assert!(block_on(process.admit(&principal, cost)).is_ok(), "after {wait} of {limit:?}");
            }
        }
    }
}

#[test]
fn most_requests_ask_nobody_and_refusals_ask_once_a_slot() {
    let site = Site::new(1_000, 60);
    let (limiter, principal) = (site.process(), principal(None));
    for admitted in 1..=1_000 {
        let standing = block_on(limiter.admit(&principal, 1)).unwrap().unwrap();
        assert_eq!((standing.units, standing.remaining), (1_000, 1_000 - admitted));
    }
    assert!(site.calls() <= 40, "{}", site.calls());
    let before = site.calls();
    for _ in 0..1_000 {
        assert!(wait(block_on(limiter.admit(&principal, 1)).unwrap_err()) <= 61_000_000);
    }
    assert!(site.calls() <= before + 2);
}

#[test]
fn a_process_that_is_gone_gives_its_lease_back_with_the_window() {
    let mut site = Site::new(100, 60);
    let principal = principal(None);
    block_on(site.process().admit(&principal, 1)).unwrap();
    let other = site.process();
    block_on(other.admit(&principal, 95)).unwrap();
    let wait = wait(block_on(other.admit(&principal, 5)).unwrap_err());
    assert!((60_000_000..=72_000_000).contains(&wait), "{wait}");
    site.passes(wait);
    block_on(other.admit(&principal, 5)).unwrap();
    site.passes(72_000_000 - wait);
    block_on(other.admit(&principal, 95)).unwrap();
}

#[test]
fn a_request_is_charged_to_all_limits_or_to_none() {
    let site = Site::new(100, 60);
    let limiter = site.process();
    let (narrow, wide) = (principal(Some(10)), principal(None));
    assert_eq!(block_on(limiter.admit(&narrow, 8)).unwrap().unwrap().remaining, 2);
    let refused = block_on(limiter.admit(&narrow, 3)).unwrap_err();
    assert!(matches!(refused.refusal, Refusal::Later { scope: "api_key", .. }), "{refused:?}");
    assert_eq!(refused.standing.unwrap().remaining, 2);
    assert_eq!(block_on(limiter.admit(&wide, 1)).unwrap().unwrap().remaining, 91);
    let never = block_on(limiter.admit(&narrow, 11)).unwrap_err();
    assert!(matches!(never.refusal, Refusal::Never { scope: "api_key", cost: 11, .. }), "{never:?}");
    assert_eq!(block_on(limiter.admit(&wide, 91)).unwrap().unwrap().remaining, 0);

    let root = Principal { tenant_id: TenantId::NIL, ..principal(Some(1)) };
    assert_eq!(block_on(limiter.admit(&root, 1_000)).unwrap(), None);
}

#[test]
fn budgets_in_memory_are_bounded_and_the_store_remembers() {
    let site = Site::new(10, 60);
    let config = RateLimitConfig { entries_max: 2, ..site.config };
    let limiter = Limiter::new(config, Arc::clone(&site.budgets) as _, Arc::clone(&site.clock) as _);
    let tenants: Vec<Principal> =
        (1..=5).map(|n| Principal { tenant_id: TenantId::from_bytes([n; 16]), ..principal(None) }).collect();
    for tenant in &tenants {
        block_on(limiter.admit(tenant, 10)).unwrap();
        assert!(limiter.lock().len() <= 2);
    }
    for tenant in &tenants {
        wait(block_on(limiter.admit(tenant, 1)).unwrap_err());
    }
}

#[test]
fn a_store_that_is_away_is_asked_once_a_second() {
    let mut site = Site::new(100, 60);
    let (limiter, principal) = (site.process(), principal(None));
    site.budgets.rows.lock().unwrap().insert(
        "tenant:01010101-0101-0101-0101-010101010101".to_owned(),
        BudgetRecord {
            name: String::new(),
            version: 1,
            charges: "nonsense".to_owned(),
            expires_at: Timestamp::from_micros(i64::MAX),
        },
    );
    for _ in 0..100 {
        let refused = block_on(limiter.admit(&principal, 1)).unwrap_err();
        assert!(matches!(refused.refusal, Refusal::Store(StoreError::Internal(_))), "{refused:?}");
    }
    assert_eq!(site.calls(), 1);
    site.budgets.rows.lock().unwrap().clear();
    site.passes(1_000_000);
    block_on(limiter.admit(&principal, 1)).unwrap();
}
