//! Counts waiting jobs that were given up by rule, and logs them once a minute, a line an organization.
//! Which ones are given up is the store's to decide, under limits of the settings.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bowline_store::JobRecord;
use bowline_types::TenantId;
use metrics::counter;
use tokio::time::Instant;

use crate::metrics::GIVEN_UP;

/// Between two times that it is logged.
const REPEATED: Duration = Duration::from_secs(60);

/// Organizations that are named at a time at most.
const NAMED_MAX: usize = 20;

/// Why jobs are given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Their organization has too many.
    TenantQueueFull,
    /// No circuit breaker let them pass for too long.
    BarredTooLong,
}

impl Reason {
    pub(crate) const ALL: [Self; 2] = [Self::TenantQueueFull, Self::BarredTooLong];

    /// The label of the metric.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::TenantQueueFull => "tenant_queue_full",
            Self::BarredTooLong => "barred_too_long",
        }
    }

    /// The word with which a dead letter's error begins.
    const fn code(self) -> &'static str {
        match self {
            Self::TenantQueueFull => "TENANT_QUEUE_FULL",
            Self::BarredTooLong => "BARRED_TOO_LONG",
        }
    }
}

/// What was given up for one reason.
#[derive(Debug)]
pub(crate) struct GivenUp {
    reason: Reason,
    untold: Mutex<Untold>,
}

#[derive(Debug, Default)]
struct Untold {
    jobs: BTreeMap<TenantId, u64>,
    told: Option<Instant>,
}

impl GivenUp {
    pub(crate) fn new(reason: Reason) -> Self {
        Self { reason, untold: Mutex::default() }
    }

    /// Takes note of jobs that were given up, and says so if it is time to.
    pub(crate) fn add(&self, jobs: &[JobRecord]) {
        if !jobs.is_empty() {
            counter!(GIVEN_UP, "reason" => self.reason.label()).increment(jobs.len() as u64);
        }
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        for job in jobs {
            *untold.jobs.entry(job.job.tenant_id).or_default() += 1;
        }
        if untold.jobs.is_empty() || untold.told.is_some_and(|told| told.elapsed() < REPEATED) {
            return;
        }
        untold.told = Some(Instant::now());
        let (code, organizations) = (self.reason.code(), untold.jobs.len());
        let mut counts: Vec<(TenantId, u64)> = std::mem::take(&mut untold.jobs).into_iter().collect();
        drop(untold);
        counts.sort_by_key(|(_, jobs)| std::cmp::Reverse(*jobs));
        for (tenant_id, jobs) in counts.into_iter().take(NAMED_MAX) {
            tracing::warn!(
                component = "triggers",
                %tenant_id,
                jobs,
                organizations,
                code,
                "{code}: waiting jobs of an organization became dead letters"
            );
        }
    }
}
