//! What follows from how an attempt ended: the job's fate, the row of the attempt, the lines of the log, the reports
//! to circuit breakers.

use std::time::Duration;

use bowline_store::{
    AttemptRecord, AttemptStatus, BreakerKey, BreakerReport, BreakerSettings, BuriedJob, ClaimedJob, JobEnd,
    JobReport,
};
use bowline_types::Timestamp;
use metrics::counter;

use super::breakers::{Breakers, destination_key};
use super::metrics::{HELD_BACK, RETRIES, record_attempt};
use super::outcome::{Failure, Fault, Outcome};
use super::retry::{later, pause, random};

/// A job's end as far as this process goes.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) report: JobReport,
    pub(crate) breakers: Vec<BreakerReport>,
    /// The job, if it is a dead letter now.
    pub(crate) buried: Option<BuriedJob>,
}

/// An attempt that was made.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) job: &'a ClaimedJob,
    pub(crate) destination: &'a str,
    pub(crate) attempts_max: u32,
    pub(crate) began: Timestamp,
    pub(crate) took: Duration,
    pub(crate) worker: &'a str,
    /// The trigger's settings; none if the breakers are not told.
    pub(crate) settings: Option<BreakerSettings>,
}

/// What follows from an outcome.
pub(crate) fn conclude(attempt: &Attempt<'_>, outcome: Outcome, breakers: &Breakers, now: Timestamp) -> Done {
    match outcome {
        Outcome::Held(wait) => give_back(attempt.job, wait, "limit", now),
        Outcome::Delivered(answered) => {
            record_attempt(&attempt.job.job.job.action_type, true, attempt.took);
            log_success(attempt);
            let row = AttemptRecord {
                http_status: answered.http_status,
                response_data: answered.response,
                ..row(attempt, AttemptStatus::Succeeded)
            };
            done(attempt, JobEnd::Succeeded, row, told(attempt, breakers, true, Some(true)), None)
        }
        Outcome::Failed(failure) => failed(attempt, failure, breakers, now),
    }
}

fn failed(attempt: &Attempt<'_>, failure: Failure, breakers: &Breakers, now: Timestamp) -> Done {
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
    let destination_is_well = match failure.fault {
        Fault::Passing { .. } => Some(false),
        // It understood, and refused: it is there.
        Fault::Refused => Some(true),
        Fault::Action => None,
    };
    let told = told(attempt, breakers, false, destination_is_well);
    let end = match wait {
        Some(wait) => {
            counter!(RETRIES).increment(1);
            JobEnd::Retry { due_at: later(now, wait), counts: true }
        }
        None => JobEnd::Dead,
    };
    let mut done = done(attempt, end, row, told, Some(failure.text()));
    if done.report.end == JobEnd::Dead {
        let mut job = record.clone();
        job.last_error.clone_from(&done.report.error);
        done.buried = Some(BuriedJob { job, failed_at: now });
    }
    done
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

fn told(
    attempt: &Attempt<'_>,
    breakers: &Breakers,
    succeeded: bool,
    destination_is_well: Option<bool>,
) -> Vec<BreakerReport> {
    let Some(settings) = attempt.settings else { return Vec::new() };
    let trigger = BreakerKey::Trigger(attempt.job.job.job.trigger_id);
    let of_trigger = breakers.report(trigger, succeeded, settings);
    let of_destination = destination_is_well.and_then(|is_well| {
        let key = destination_key(attempt.job.job.job.tenant_id, attempt.destination);
        breakers.report(key, is_well, BreakerSettings::default())
    });
    of_trigger.into_iter().chain(of_destination).collect()
}

fn done(
    attempt: &Attempt<'_>,
    end: JobEnd,
    row: AttemptRecord,
    breakers: Vec<BreakerReport>,
    error: Option<String>,
) -> Done {
    let ClaimedJob { job, claim } = attempt.job;
    let report = JobReport { job_id: job.job.job_id, claim: *claim, end, attempt: Some(row), error };
    Done { report, breakers, buried: None }
}

/// The job waits again as if nobody had had it.
pub(crate) fn give_back(job: &ClaimedJob, wait: Duration, reason: &'static str, now: Timestamp) -> Done {
    counter!(HELD_BACK, "reason" => reason).increment(1);
    let end = JobEnd::Retry { due_at: later(now, wait), counts: false };
    end_without_attempt(job, end, None)
}

/// The job waits for a circuit breaker; how long it does is remembered.
pub(crate) fn bar(job: &ClaimedJob, wait: Duration, now: Timestamp) -> Done {
    counter!(HELD_BACK, "reason" => "breaker").increment(1);
    end_without_attempt(job, JobEnd::Barred { due_at: later(now, wait) }, None)
}

/// The job can't be delivered to anybody any more.
pub(crate) fn cancel(job: &ClaimedJob, why: &str) -> Done {
    end_without_attempt(job, JobEnd::Cancelled, Some(why.to_owned()))
}

fn end_without_attempt(job: &ClaimedJob, end: JobEnd, error: Option<String>) -> Done {
    let report = JobReport { job_id: job.job.job.job_id, claim: job.claim, end, attempt: None, error };
    Done { report, breakers: Vec::new(), buried: None }
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
