//! What follows from how an attempt ended: the job's next state, the attempt's row, the lines of the log, and the reports
//! to circuit breakers. It decides and writes nothing.

use std::time::Duration;

use bowline_store::{
    AttemptRecord, AttemptStatus, BreakerReport, BreakerSettings, ClaimedJob, JobEnd, JobReport,
};
use bowline_types::Timestamp;
use metrics::counter;

use crate::breakers::{Breakers, destination_key};
use crate::metrics::{HELD_BACK, RETRIES, record_attempt};
use crate::outcome::{Failure, Fault, Outcome};
use crate::retry::{later, pause, random};
use crate::{BuriedJob, JobOwner};

/// The end of a claim, to be written.
#[derive(Debug)]
pub(crate) struct Conclusion {
    pub(crate) report: JobReport,
    pub(crate) breakers: Vec<BreakerReport>,
    /// The job, if it is a dead letter now.
    pub(crate) buried: Option<BuriedJob>,
}

/// An attempt that was made.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) job: &'a ClaimedJob,
    pub(crate) owner: JobOwner,
    pub(crate) destination: &'a str,
    pub(crate) attempts_max: u32,
    pub(crate) began: Timestamp,
    pub(crate) took: Duration,
    pub(crate) worker: &'a str,
    /// The settings of the owner's breaker; none if no breaker gets a report.
    pub(crate) settings: Option<BreakerSettings>,
}

/// What follows from an outcome.
pub(crate) fn conclude(
    attempt: &Attempt<'_>,
    outcome: Outcome,
    breakers: &Breakers,
    now: Timestamp,
) -> Conclusion {
    match outcome {
        Outcome::RateLimited(wait) => give_back(attempt.job, wait, ReturnReason::Limit, now),
        Outcome::Delivered(answered) => {
            record_attempt(&attempt.job.job.job.action_type, true, attempt.took);
            log_success(attempt);
            let row = AttemptRecord {
                http_status: answered.http_status,
                response_data: answered.response,
                ..row(attempt, AttemptStatus::Succeeded)
            };
            let reports = breaker_reports(attempt, breakers, true, Some(true));
            conclusion(attempt, JobEnd::Succeeded, row, reports, None)
        }
        Outcome::Failed(failure) => failed(attempt, failure, breakers, now),
    }
}

fn failed(attempt: &Attempt<'_>, failure: Failure, breakers: &Breakers, now: Timestamp) -> Conclusion {
    let record = &attempt.job.job;
    record_attempt(&record.job.action_type, false, attempt.took);
    let made = record.attempts.saturating_sub(record.attempts_before);
    let wait = match failure.fault {
        Fault::Passing { retry_after } if made < attempt.attempts_max => {
            Some(pause(made, retry_after, random()))
        }
        Fault::Passing { .. } | Fault::Refused | Fault::Action => None,
    };
    log_failure(attempt, &failure, wait);
    let row = AttemptRecord {
        http_status: failure.answered.http_status,
        response_data: failure.answered.response.clone(),
        error_message: Some(failure.text()),
        ..row(attempt, AttemptStatus::Failed)
    };
    let destination_works = match failure.fault {
        Fault::Passing { .. } => Some(false),
        // It understood, and refused: it works.
        Fault::Refused => Some(true),
        Fault::Action => None,
    };
    let reports = breaker_reports(attempt, breakers, false, destination_works);
    let end = match wait {
        Some(wait) => {
            counter!(RETRIES).increment(1);
            JobEnd::Retry { due_at: later(now, wait), counts: true }
        }
        None => JobEnd::Dead,
    };
    let mut conclusion = conclusion(attempt, end, row, reports, Some(failure.text()));
    if conclusion.report.end == JobEnd::Dead {
        let mut job = record.clone();
        job.last_error.clone_from(&conclusion.report.error);
        conclusion.buried = Some(BuriedJob { job, failed_at: now });
    }
    conclusion
}

fn row(attempt: &Attempt<'_>, status: AttemptStatus) -> AttemptRecord {
    AttemptRecord {
        job_id: attempt.job.job.job.job_id,
        attempt: attempt.job.job.attempts,
        status,
        executed_at: attempt.began,
        duration_ms: u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
        http_status: None,
        error_message: None,
        response_data: None,
        destination: attempt.destination.to_owned(),
        worker: attempt.worker.to_owned(),
    }
}

fn breaker_reports(
    attempt: &Attempt<'_>,
    breakers: &Breakers,
    succeeded: bool,
    destination_works: Option<bool>,
) -> Vec<BreakerReport> {
    let Some(settings) = attempt.settings else { return Vec::new() };
    let of_owner = breakers.report(attempt.owner.breaker(), succeeded, settings);
    let of_destination = destination_works.and_then(|works| {
        let key = destination_key(attempt.job.job.job.tenant_id, attempt.destination);
        breakers.report(key, works, BreakerSettings::default())
    });
    of_owner.into_iter().chain(of_destination).collect()
}

fn conclusion(
    attempt: &Attempt<'_>,
    end: JobEnd,
    row: AttemptRecord,
    breakers: Vec<BreakerReport>,
    error: Option<String>,
) -> Conclusion {
    let ClaimedJob { job, claim } = attempt.job;
    let report = JobReport { job_id: job.job.job_id, claim: *claim, end, attempt: Some(row), error };
    Conclusion { report, breakers, buried: None }
}

/// Why a job goes back to the queue without an attempt that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReturnReason {
    /// A circuit breaker blocks it.
    Breaker,
    /// The receiver's rate limit has no room.
    Limit,
    /// Other deliveries of its organization or to its receiver use the workers, or the store does not answer.
    Busy,
    /// The process stops.
    Shutdown,
    /// This process has lost its claim.
    Lost,
}

impl ReturnReason {
    pub(crate) const ALL: [Self; 5] = [Self::Breaker, Self::Limit, Self::Busy, Self::Shutdown, Self::Lost];

    /// The label of the metric.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Breaker => "breaker",
            Self::Limit => "limit",
            Self::Busy => "busy",
            Self::Shutdown => "shutdown",
            Self::Lost => "lost",
        }
    }
}

/// The job waits again, as before its claim.
pub(crate) fn give_back(
    job: &ClaimedJob,
    wait: Duration,
    reason: ReturnReason,
    now: Timestamp,
) -> Conclusion {
    counter!(HELD_BACK, "reason" => reason.label()).increment(1);
    let end = JobEnd::Retry { due_at: later(now, wait), counts: false };
    end_without_attempt(job, end, None)
}

/// The job waits for a circuit breaker; the store counts how long.
pub(crate) fn bar(job: &ClaimedJob, wait: Duration, now: Timestamp) -> Conclusion {
    counter!(HELD_BACK, "reason" => ReturnReason::Breaker.label()).increment(1);
    end_without_attempt(job, JobEnd::Barred { due_at: later(now, wait) }, None)
}

/// The job's owner or action was deleted: it will not be delivered.
pub(crate) fn cancel(job: &ClaimedJob, why: String) -> Conclusion {
    end_without_attempt(job, JobEnd::Cancelled, Some(why))
}

fn end_without_attempt(job: &ClaimedJob, end: JobEnd, error: Option<String>) -> Conclusion {
    let report = JobReport { job_id: job.job.job.job_id, claim: job.claim, end, attempt: None, error };
    Conclusion { report, breakers: Vec::new(), buried: None }
}

fn log_success(attempt: &Attempt<'_>) {
    let job = &attempt.job.job.job;
    tracing::info!(
        component = "triggers",
        job_id = %job.job_id,
        trigger_id = %job.trigger_id,
        event_id = %job.event_id,
        action_type = job.action_type,
        destination = attempt.destination,
        attempt = attempt.job.job.attempts,
        duration_ms = attempt.took.as_secs_f64() * 1_000.0,
        "Action executed successfully"
    );
}

fn log_failure(attempt: &Attempt<'_>, failure: &Failure, wait: Option<Duration>) {
    let job = &attempt.job.job.job;
    tracing::warn!(
        component = "triggers",
        job_id = %job.job_id,
        trigger_id = %job.trigger_id,
        event_id = %job.event_id,
        action_type = job.action_type,
        destination = attempt.destination,
        attempt = attempt.job.job.attempts,
        duration_ms = attempt.took.as_secs_f64() * 1_000.0,
        cause = failure.text(),
        retry_in_ms = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        "Action execution failed"
    );
    if wait.is_none() {
        tracing::warn!(
            component = "triggers",
            job_id = %job.job_id,
            trigger_id = %job.trigger_id,
            event_id = %job.event_id,
            attempts = attempt.job.job.attempts,
            "Action moved to dead letters"
        );
    }
}
