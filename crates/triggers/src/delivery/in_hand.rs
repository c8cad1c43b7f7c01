//! The claims that this process holds: from when a job is claimed until its report is written they are prolonged.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// The claims; shared by whoever claims, reports and prolongs.
#[derive(Debug, Default)]
pub(crate) struct InHand(Mutex<HashMap<Uuid, u32>>);

impl InHand {
    pub(crate) fn take(&self, job_id: Uuid, claim: u32) {
        self.held().insert(job_id, claim);
    }

    /// A claim is over. A later one of the same job is not.
    pub(crate) fn release(&self, job_id: Uuid, claim: u32) {
        let mut held = self.held();
        if held.get(&job_id) == Some(&claim) {
            held.remove(&job_id);
        }
    }

    pub(crate) fn claims(&self) -> Vec<(Uuid, u32)> {
        self.held().iter().map(|(job_id, claim)| (*job_id, *claim)).collect()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Uuid, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
