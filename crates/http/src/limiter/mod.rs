//! Rate limits: how many requests and events a tenant, and an API key, may bring in a window of time.
//!
//! An ingest of n events costs n, any other authenticated request 1. Processes on one database share each limit, and
//! together never admit more than it in any window, as far as their clocks agree; most requests take from a lease in
//! memory and cost no round trip. If the database is away nobody can tell what is left, and the request gets the
//! store's error, as it would have got a moment later. The bootstrap key is not limited.

mod budget;
mod window;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bowline_runtime::Clock;
use bowline_store::{BudgetStore, StoreError};
use bowline_types::TenantId;
use bowline_ves::Hash;
use metrics::{counter, gauge};

pub(crate) use self::budget::Standing;
use self::budget::{Budget, Place};
pub(crate) use self::window::Limit;
use crate::auth::Principal;
use crate::config::RateLimitConfig;
use crate::metrics::{RATELIMIT_REJECTED, RATELIMIT_TRACKED, RATELIMIT_UNITS};

/// Budgets that are looked at for one that may be let go of.
const CANDIDATES_MAX: usize = 64;

/// Whose limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Subject {
    Tenant(TenantId),
    ApiKey(Hash),
}

impl Subject {
    /// The label of metrics, and the beginning of the budget's name.
    fn scope(self) -> &'static str {
        match self {
            Self::Tenant(_) => "tenant",
            Self::ApiKey(_) => "api_key",
        }
    }

    fn name(self) -> String {
        match self {
            Self::Tenant(tenant_id) => format!("tenant:{tenant_id}"),
            Self::ApiKey(hash) => format!("api_key:{hash}"),
        }
    }
}

/// How often leases are taken again that ended while another one was taken.
const TRIES_MAX: u32 = 3;

type Shared = Arc<tokio::sync::Mutex<Budget>>;

/// Why a request was not admitted.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It may pass later.
    Later { scope: &'static str, limit: Limit, wait_us: i64 },
    /// It costs more than the whole limit.
    Never { scope: &'static str, limit: Limit, cost: u64 },
    /// What is left can't be told.
    Store(StoreError),
}

/// A refusal, and how the budget stands that refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) standing: Option<Standing>,
}

/// The limits of all tenants and API keys.
#[derive(Debug)]
pub(crate) struct Limiter {
    config: RateLimitConfig,
    store: Arc<dyn BudgetStore>,
    clock: Arc<dyn Clock>,
    budgets: Mutex<HashMap<Subject, Shared>>,
}

impl Limiter {
    pub(crate) fn new(config: RateLimitConfig, store: Arc<dyn BudgetStore>, clock: Arc<dyn Clock>) -> Self {
        Self { config, store, clock, budgets: Mutex::default() }
    }

    /// Charges a request to all limits of the principal, or to none of them. Answers how the tightest of them stands.
    pub(crate) async fn admit(&self, principal: &Principal, cost: u64) -> Result<Option<Standing>, Refused> {
        let shared: Vec<(Subject, Limit, Shared)> =
            self.limits(principal).map(|(subject, limit)| (subject, limit, self.budget(subject))).collect();
        let mut held = Vec::with_capacity(shared.len());
        // In one order, the tenant's first, so that two requests never wait for each other.
        for (_, _, budget) in &shared {
            held.push(budget.lock().await);
        }
        for _ in 0..TRIES_MAX {
            for ((subject, limit, _), budget) in shared.iter().zip(&mut held) {
                self.ensure(*subject, *limit, budget, cost).await?;
            }
            let now = self.now();
            // A lease may have ended while another one was taken.
            if held.iter().all(|budget| budget.leases(cost, now)) {
                let standings = shared.iter().zip(&mut held).map(|((_, limit, _), budget)| {
                    budget.take(*limit, cost, now);
                    budget.standing(*limit, now)
                });
                let tightest = standings.min_by_key(|standing| standing.remaining);
                if tightest.is_some() {
                    counter!(RATELIMIT_UNITS).increment(cost);
                }
                return Ok(tightest);
            }
        }
        let error = StoreError::Unavailable("rate budgets can't be leased in time".to_owned());
        Err(Refused { refusal: Refusal::Store(error), standing: None })
    }

    async fn ensure(
        &self,
        subject: Subject,
        limit: Limit,
        budget: &mut Budget,
        cost: u64,
    ) -> Result<(), Refused> {
        let (now, name, scope) = (self.now(), subject.name(), subject.scope());
        if cost > limit.units {
            return Err(refused(Refusal::Never { scope, limit, cost }, budget, limit, now));
        }
        let place = Place { store: self.store.as_ref(), name: &name, limit };
        match budget.ensure(&place, cost, now).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(wait_us)) => Err(refused(Refusal::Later { scope, limit, wait_us }, budget, limit, now)),
            Err(error) => Err(Refused { refusal: Refusal::Store(error), standing: None }),
        }
    }

    fn now(&self) -> i64 {
        self.clock.now().micros()
    }

    fn limits(&self, principal: &Principal) -> impl Iterator<Item = (Subject, Limit)> + use<> {
        let window_secs = self.config.window_secs;
        let limited = principal.tenant_id != TenantId::NIL;
        let tenant = (limited && self.config.per_minute > 0).then(|| {
            let limit = Limit::per_minute(self.config.per_minute, window_secs);
            (Subject::Tenant(principal.tenant_id), limit)
        });
        let key = principal.key_limit.filter(|_| limited).map(|(hash, per_minute)| {
            (Subject::ApiKey(hash), Limit::per_minute(u64::from(per_minute), window_secs))
        });
        tenant.into_iter().chain(key)
    }

    fn budget(&self, subject: Subject) -> Shared {
        let mut budgets = self.lock();
        if let Some(budget) = budgets.get(&subject) {
            return Arc::clone(budget);
        }
        let budget = Shared::default();
        if budgets.len() >= self.config.entries_max {
            // One that no request holds gives way: its lease comes back with the window.
            let idle = budgets
                .iter()
                .take(CANDIDATES_MAX)
                .find(|(_, budget)| Arc::strong_count(budget) == 1)
                .map(|(subject, _)| *subject);
            match idle {
                Some(idle) => drop(budgets.remove(&idle)),
                // This request's budget is then kept by the store alone.
                None => return budget,
            }
        }
        budgets.insert(subject, Arc::clone(&budget));
        gauge!(RATELIMIT_TRACKED).set(budgets.len() as f64);
        budget
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Subject, Shared>> {
        self.budgets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(refusal: Refusal, budget: &Budget, limit: Limit, now: i64) -> Refused {
    if let Refusal::Later { scope, .. } | Refusal::Never { scope, .. } = &refusal {
        counter!(RATELIMIT_REJECTED, "scope" => *scope).increment(1);
    }
    Refused { refusal, standing: Some(budget.standing(limit, now)) }
}

#[cfg(test)]
mod tests;
