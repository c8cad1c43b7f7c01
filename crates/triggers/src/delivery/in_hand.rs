//! The claims that this process holds: from when a job is claimed until its report is written they are prolonged.
//!
//! A claim is held until its lease has run out by this process's own reckoning, or the store says that it is lost:
//! afterwards the job may be in another worker's hands, and is not begun.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use uuid::Uuid;

/// The claims; shared by whoever claims, reports and prolongs.
#[derive(Debug, Default)]
pub(crate) struct InHand(Mutex<HashMap<Uuid, Held>>);

/// A claim, and until when nobody else gets the job.
#[derive(Debug, Clone, Copy)]
struct Held {
    claim: u32,
    until: Instant,
}

impl InHand {
    /// A job was claimed.
    pub(crate) fn take(&self, job_id: Uuid, claim: u32, until: Instant) {
        self.all().insert(job_id, Held { claim, until });
    }

    /// A claim is over. A later one of the same job is not.
    pub(crate) fn release(&self, job_id: Uuid, claim: u32) {
        let mut all = self.all();
        if all.get(&job_id).is_some_and(|held| held.claim == claim) {
            all.remove(&job_id);
        }
    }

    /// Whether a job may be begun under that claim at that moment.
    pub(crate) fn holds(&self, job_id: Uuid, claim: u32, now: Instant) -> bool {
        self.all().get(&job_id).is_some_and(|held| held.claim == claim && now < held.until)
    }

    pub(crate) fn claims(&self) -> Vec<(Uuid, u32)> {
        self.all().iter().map(|(job_id, held)| (*job_id, held.claim)).collect()
    }

    /// Of the claims that were asked for these are still held, until then at least; the others are lost.
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

    fn all(&self) -> MutexGuard<'_, HashMap<Uuid, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_claim_is_held_until_it_is_lost_released_or_runs_out() {
        let (in_hand, lease, now) = (InHand::default(), Duration::from_secs(60), Instant::now());
        let jobs: Vec<Uuid> = (1..=4).map(Uuid::from_u128).collect();
        jobs.iter().for_each(|job| in_hand.take(*job, 1, now + lease));
        let held = |at| jobs.iter().map(|job| in_hand.holds(*job, 1, at)).collect::<Vec<_>>();
        let asked = in_hand.claims();
        in_hand.take(jobs[3], 2, now + lease);
        // The first is prolonged, the second is not named any more, and the last was claimed anew meanwhile.
        in_hand.keep(&asked, &[(jobs[0], 1), (jobs[2], 1)], now + lease / 2);
        in_hand.keep(&asked[..1], &asked[..1], now + lease / 3);
        in_hand.keep(&[(jobs[0], 1)], &[(jobs[0], 1)], now + lease * 2);
        in_hand.release(jobs[2], 7);
        assert_eq!(held(now), [true, false, true, false]);
        assert!(in_hand.holds(jobs[3], 2, now), "a later claim is not lost with an earlier one");
        assert_eq!(held(now + lease), [true, false, false, false]);
        assert!(!in_hand.holds(jobs[3], 2, now + lease));
        assert_eq!(held(now + lease * 2), [false; 4]);
        in_hand.release(jobs[2], 1);
        assert_eq!(held(now), [true, false, false, false]);
    }
}
