//! The claims that this process holds. Their leases are renewed from the claim until the job's report is written.
//!
//! A claim is held until its lease has run out by this process's own clock, or the store says that it is lost: from then
//! on another worker may have the job, and no attempt at it begins here.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use uuid::Uuid;

/// The claims; shared by the claimer, the report writer and the renewal of leases.
#[derive(Debug, Default)]
pub(crate) struct HeldClaims(Mutex<HashMap<Uuid, HeldClaim>>);

/// A claim, and until when no other worker gets the job.
#[derive(Debug, Clone, Copy)]
struct HeldClaim {
    claim: u32,
    until: Instant,
}

impl HeldClaims {
    /// Adds a claim.
    pub(crate) fn take(&self, job_id: Uuid, claim: u32, until: Instant) {
        self.all().insert(job_id, HeldClaim { claim, until });
    }

    /// Ends a claim. A later claim of the same job stays.
    pub(crate) fn release(&self, job_id: Uuid, claim: u32) {
        let mut all = self.all();
        if all.get(&job_id).is_some_and(|held| held.claim == claim) {
            all.remove(&job_id);
        }
    }

    /// Whether an attempt may begin under that claim at that moment.
    pub(crate) fn holds(&self, job_id: Uuid, claim: u32, now: Instant) -> bool {
        self.all().get(&job_id).is_some_and(|held| held.claim == claim && now < held.until)
    }

    pub(crate) fn claims(&self) -> Vec<(Uuid, u32)> {
        self.all().iter().map(|(job_id, held)| (*job_id, held.claim)).collect()
    }

    /// Applies the store's answer to a renewal: of the `asked` claims the `kept` ones are held at least `until` then, and
    /// the others are lost.
    pub(crate) fn keep(&self, asked: &[(Uuid, u32)], kept: &[(Uuid, u32)], until: Instant) {
        let kept: HashSet<&(Uuid, u32)> = kept.iter().collect();
        let mut all = self.all();
        for (job_id, claim) in asked {
            let Some(held) = all.get_mut(job_id).filter(|held| held.claim == *claim) else { continue };
            if kept.contains(&(*job_id, *claim)) {
                held.until = held.until.max(until);
            } else {
                all.remove(job_id);
            }
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Uuid, HeldClaim>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_claim_is_held_until_it_is_lost_released_or_runs_out() {
        let (held_claims, lease, now) = (HeldClaims::default(), Duration::from_secs(60), Instant::now());
        let jobs: Vec<Uuid> = (1..=4).map(Uuid::from_u128).collect();
        jobs.iter().for_each(|job| held_claims.take(*job, 1, now + lease));
        let held = |at| jobs.iter().map(|job| held_claims.holds(*job, 1, at)).collect::<Vec<_>>();
        let asked = held_claims.claims();
        held_claims.take(jobs[3], 2, now + lease);
        // The first is renewed, the second is lost, and the last was claimed again meanwhile.
        held_claims.keep(&asked, &[(jobs[0], 1), (jobs[2], 1)], now + lease / 2);
        held_claims.keep(&asked[..1], &asked[..1], now + lease / 3);
        held_claims.keep(&[(jobs[0], 1)], &[(jobs[0], 1)], now + lease * 2);
        held_claims.release(jobs[2], 7);
        assert_eq!(held(now), [true, false, true, false]);
        assert!(held_claims.holds(jobs[3], 2, now), "a later claim is not lost with an earlier one");
        assert_eq!(held(now + lease), [true, false, false, false]);
        assert!(!held_claims.holds(jobs[3], 2, now + lease));
        assert_eq!(held(now + lease * 2), [false; 4]);
        held_claims.release(jobs[2], 1);
        assert_eq!(held(now), [true, false, false, false]);
    }
}
