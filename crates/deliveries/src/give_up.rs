//! Counts waiting jobs that were given up by rule, and logs them once a minute, a line an organization.
//! The store decides which jobs those are, under limits of the settings; this file decides nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bowline_store::JobRecord;
use bowline_types::TenantId;
use metrics::counter;
use tokio::time::Instant;

use crate::metrics::GIVEN_UP;

/// Time between two logs.
const LOG_PERIOD: Duration = Duration::from_secs(60);

/// Organizations that one log names at most.
const NAMED_MAX: usize = 20;

/// Why jobs are given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveUpReason {
    /// Their organization has too many waiting jobs.
    TenantQueueFull,
    /// Circuit breakers blocked them for too long.
    BarredTooLong,
}

impl GiveUpReason {
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

/// Jobs that were given up for one reason.
#[derive(Debug)]
pub struct GiveUpTally {
    reason: GiveUpReason,
    unlogged: Mutex<Unlogged>,
}

#[derive(Debug, Default)]
struct Unlogged {
    jobs: BTreeMap<TenantId, u64>,
    logged_at: Option<Instant>,
}

impl GiveUpTally {
    /// An empty one.
    pub fn new(reason: GiveUpReason) -> Self {
        Self { reason, unlogged: Mutex::default() }
    }

    /// Counts jobs that were given up, and logs them if a minute has passed.
    pub fn add(&self, jobs: &[JobRecord]) {
        if !jobs.is_empty() {
            counter!(GIVEN_UP, "reason" => self.reason.label()).increment(jobs.len() as u64);
        }
        let mut unlogged = self.unlogged.lock().unwrap_or_else(PoisonError::into_inner);
        for job in jobs {
            *unlogged.jobs.entry(job.job.tenant_id).or_default() += 1;
        }
        let is_recent = unlogged.logged_at.is_some_and(|at| at.elapsed() < LOG_PERIOD);
        if unlogged.jobs.is_empty() || is_recent {
            return;
        }
        unlogged.logged_at = Some(Instant::now());
        let (code, organizations) = (self.reason.code(), unlogged.jobs.len());
        let mut counts: Vec<(TenantId, u64)> = std::mem::take(&mut unlogged.jobs).into_iter().collect();
        drop(unlogged);
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
