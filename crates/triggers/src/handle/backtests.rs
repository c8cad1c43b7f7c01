//! How many back-tests run: each reads and judges up to a million events, so only a few may at a time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bowline_types::TenantId;

use super::backtest::TIME_MAX;
use crate::TriggerError;

/// The back-tests that run in this process.
#[derive(Debug)]
pub(super) struct Backtests {
    running_max: usize,
    of_one_max: usize,
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    /// Whose each is, and when it began.
    begun: HashMap<u64, (TenantId, Instant)>,
    next: u64,
}

/// A back-test that runs until this is dropped.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    backtests: &'a Backtests,
    number: u64,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.backtests.lock().begun.remove(&self.number);
    }
}

impl Backtests {
    /// At most `max` at a time, and half of them of one organization.
    pub(super) fn new(running_max: usize) -> Self {
        let of_one_max = running_max.div_ceil(2).max(1);
        Self { running_max: running_max.max(1), of_one_max, running: Mutex::default() }
    }

    /// Begins one.
    ///
    /// # Errors
    /// [`TriggerError::Busy`] with the time when the one that began first will have ended.
    pub(super) fn begin(&self, tenant_id: TenantId) -> Result<Permit<'_>, TriggerError> {
        let mut running = self.lock();
        let own: Vec<Instant> =
            running.begun.values().filter(|(whose, _)| *whose == tenant_id).map(|(_, at)| *at).collect();
        let all: Vec<Instant> = running.begun.values().map(|(_, at)| *at).collect();
        for (begun, max) in [(own, self.of_one_max), (all, self.running_max)] {
            if begun.len() >= max {
                let left = begun.iter().min().map(|first| TIME_MAX.saturating_sub(first.elapsed()));
                let secs = left.map_or(1, |left| left.as_secs_f64().ceil() as u64).max(1);
                return Err(TriggerError::Busy { running: begun.len(), retry_after_secs: secs });
            }
        }
        let number = running.next;
        running.next += 1;
        running.begun.insert(number, (tenant_id, Instant::now()));
        Ok(Permit { backtests: self, number })
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_organization_has_half_and_an_end_makes_room() {
        let backtests = Backtests::new(4);
        let (ours, theirs, others) = (TenantId::random(), TenantId::random(), TenantId::random());
        let mut permits = vec![backtests.begin(ours).unwrap(), backtests.begin(ours).unwrap()];
        let refused = |tenant, expected| {
            let Err(TriggerError::Busy { running, retry_after_secs }) = backtests.begin(tenant) else {
                panic!("{tenant} may begin another one")
            };
            assert_eq!((running, (1..=10).contains(&retry_after_secs)), (expected, true));
        };
        refused(ours, 2);
        permits.extend([backtests.begin(theirs).unwrap(), backtests.begin(others).unwrap()]);
        refused(theirs, 4);
        permits.remove(0);
        drop(backtests.begin(ours).unwrap());
        permits.clear();
        assert!(backtests.lock().begun.is_empty());
        assert!(Backtests::new(1).begin(ours).is_ok());
    }
}
