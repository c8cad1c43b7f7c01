//! One limit's budget as this process holds it: a lease of units that requests take from without asking anyone, and
//! the last view of what all processes have taken.
//!
//! The store keeps the sum. A lease is charged there with the end up to which it may be used, and replaced by what was
//! really used when the next one is taken, in the same round trip. What a process that is gone had leased comes back
//! with the window. After an error, or when a request is given up on its way, nobody knows whether the store has the
//! new lease: the old one is forgotten then, since giving back what others hold would hand the limit out twice.

use bowline_store::{BudgetRecord, BudgetStore, StoreError};
use bowline_types::Timestamp;
use metrics::counter;

use super::window::{Limit, Window};
use crate::metrics::RATELIMIT_LEASES;

/// How often a lease that others overtook is tried.
const TRIES_MAX: u32 = 8;

/// After a failure of the store the next try is so much later; until then its error answers for it.
const FAILURE_US: i64 = 1_000_000;

/// What this process holds of a budget.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// What all processes have taken, as the store had it.
    view: Window,
    version: Option<u64>,
    viewed_at: Option<i64>,
    leased: u64,
    left: u64,
    lease_end: i64,
    /// What was taken of the lease, by when.
    used: Window,
    failed: Option<(i64, StoreError)>,
}

/// How a budget stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The whole.
    pub(crate) units: u64,
    /// What may be taken now.
    pub(crate) remaining: u64,
    /// Microseconds since 1970 when the whole may be taken again, if nobody takes any.
    pub(crate) whole_at: i64,
}

/// A budget's place in the store.
pub(super) struct Place<'a> {
    pub(super) store: &'a dyn BudgetStore,
    pub(super) name: &'a str,
    pub(super) limit: Limit,
}

impl Budget {
    /// Sees to it that the lease has so many units left: with a new one if need be. Otherwise the microseconds to wait.
    pub(super) async fn ensure(
        &mut self,
        place: &Place<'_>,
        cost: u64,
        now: i64,
    ) -> Result<Result<(), i64>, StoreError> {
        if self.leases(cost, now) {
            return Ok(Ok(()));
        }
        if let Some((at, error)) = &self.failed
            && (0..FAILURE_US).contains(&(now - at))
        {
            return Err(error.clone());
        }
        if let Some(wait) = self.refuses(place.limit, cost, now) {
            return Ok(Err(wait));
        }
        let leased = self.lease(place, cost, now).await;
        let outcome = match &leased {
            Ok(Ok(())) => "taken",
            Ok(Err(_)) => "refused",
            Err(_) => "failed",
        };
        counter!(RATELIMIT_LEASES, "outcome" => outcome).increment(1);
        self.failed = leased.as_ref().err().map(|error| (now, error.clone()));
        leased
    }

    /// The microseconds to wait, if that is known without asking the store.
    fn refuses(&self, limit: Limit, cost: u64, now: i64) -> Option<i64> {
        let fresh = self.viewed_at.is_some_and(|at| (0..limit.slot_us()).contains(&(now - at)));
        if !fresh || self.leases(cost, now) {
            return None;
        }
        self.settled(limit, now).wait(cost, limit, now).filter(|wait| *wait > 0)
    }

    /// Takes units that [`Budget::ensure`] has seen to.
    pub(super) fn take(&mut self, limit: Limit, cost: u64, now: i64) {
        self.left = self.left.saturating_sub(cost);
        self.used.charge(limit.slot_end(now), cost);
    }

    pub(super) fn standing(&self, limit: Limit, now: i64) -> Standing {
        let window = self.settled(limit, now);
        Standing {
            units: limit.units,
            remaining: window.room(limit),
            whole_at: window.whole_at(limit).unwrap_or(now).max(now),
        }
    }

    /// Whether the lease has so many units left.
    pub(super) fn leases(&self, cost: u64, now: i64) -> bool {
        self.left >= cost && now < self.lease_end
    }

    /// The view with what was used in the place of the lease.
    fn settled(&self, limit: Limit, now: i64) -> Window {
        let mut window = self.view.clone();
        window.release(self.lease_end, self.leased);
        window.merge(&self.used);
        window.pass(now, limit);
        window
    }

    async fn lease(&mut self, place: &Place<'_>, cost: u64, now: i64) -> Result<Result<(), i64>, StoreError> {
        let Place { store, name, limit } = *place;
        let mut known = self.viewed_at.is_some();
        let mut is_new = false;
        for _ in 0..TRIES_MAX {
            if !known {
                self.look(store, name, now).await?;
                is_new = true;
            }
            let mut window = self.settled(limit, now);
            let room = window.room(limit);
            if room < cost {
                if is_new {
                    return Ok(Err(window.wait(cost, limit, now).unwrap_or(limit.window_us)));
                }
                // Nobody is refused by what was true a while ago.
                known = false;
                continue;
            }
            let (units, lease_end) = (limit.slice(cost, room), limit.lease_end(now));
            window.charge(lease_end, units);
            if self.swap(place, &window, now).await? {
                self.view = window;
                self.viewed_at = Some(now);
                (self.leased, self.left, self.lease_end) = (units, units, lease_end);
                self.used.clear();
                return Ok(Ok(()));
            }
            known = false;
        }
        Err(StoreError::Unavailable(format!("too many processes change the rate budget {name} at once")))
    }

    async fn look(&mut self, store: &dyn BudgetStore, name: &str, now: i64) -> Result<(), StoreError> {
        let record = store.budget(name).await?;
        self.version = record.as_ref().map(|record| record.version);
        let charges = record.map(|record| record.charges).unwrap_or_default();
        self.view = Window::decode(&charges).ok_or_else(|| {
            StoreError::Internal(format!(
                "the charges of {name} can't be read; delete its row in rate_budgets"
            ))
        })?;
        self.viewed_at = Some(now);
        Ok(())
    }

    /// Puts the window into the store, if nobody changed it since it was viewed.
    async fn swap(&mut self, place: &Place<'_>, window: &Window, now: i64) -> Result<bool, StoreError> {
        // Also a row that was removed and made anew has a higher version than any that somebody remembers.
        let version = self.version.map_or(0, |version| version + 1).max(now.unsigned_abs());
        let record = BudgetRecord {
            name: place.name.to_owned(),
            version,
            charges: window.encode(),
            expires_at: Timestamp::from_micros(window.whole_at(place.limit).unwrap_or(now)),
        };
        // Given up until the answer is there: the caller may leave before it is.
        let held = std::mem::take(self);
        let swapped = place.store.swap_budget(record, held.version, Timestamp::from_micros(now)).await?;
        *self = held;
        if swapped {
            self.version = Some(version);
        }
        Ok(swapped)
    }
}
