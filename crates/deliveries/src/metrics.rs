//! The metrics of deliveries, declared at zero so that a graph shows them from the start.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::GiveUpReason;
use crate::actions::ACTION_TYPES;
use crate::workers::ReturnReason;

pub(crate) const PROCESSED: &str = "action_worker_jobs_processed_total";
pub(crate) const EXECUTED: &str = "actions_executed_total";
pub(crate) const SECONDS: &str = "action_worker_job_duration_seconds";
pub(crate) const RETRIES: &str = "action_worker_retries_total";
pub(crate) const RATE_LIMIT_HITS: &str = "action_worker_rate_limit_hits_total";
pub(crate) const QUEUE_DEPTH: &str = "action_worker_queue_depth";
pub(crate) const DLQ_SIZE: &str = "action_worker_dlq_size";
pub(crate) const ACTIVE: &str = "action_worker_active_workers";
pub(crate) const BREAKERS_OPEN: &str = "bowline_circuit_breakers_open";
pub(crate) const HELD_BACK: &str = "bowline_deliveries_held_back_total";
pub(crate) const GIVEN_UP: &str = "bowline_jobs_given_up_total";

/// How an attempt may end.
const STATUSES: [&str; 2] = ["success", "failed"];

/// The label of a breaker by what it guards.
pub(crate) const BREAKER_KINDS: [&str; 2] = ["trigger", "destination"];

/// Describes and zeroes them.
pub(crate) fn declare() {
    describe_counter!(PROCESSED, Unit::Count, "Attempts at deliveries, by kind of action and how they ended");
    describe_counter!(EXECUTED, Unit::Count, "Attempts at deliveries, by how they ended");
    describe_histogram!(SECONDS, Unit::Seconds, "Time of one attempt at a delivery");
    describe_counter!(RETRIES, Unit::Count, "Failed attempts after which another one follows");
    describe_counter!(
        RATE_LIMIT_HITS,
        Unit::Count,
        "Times that a receiver's rate limit made a delivery wait"
    );
    describe_gauge!(QUEUE_DEPTH, Unit::Count, "Jobs that wait");
    describe_gauge!(DLQ_SIZE, Unit::Count, "Dead letters: jobs that were given up");
    describe_gauge!(ACTIVE, Unit::Count, "Deliveries that this process is making");
    describe_gauge!(
        BREAKERS_OPEN,
        Unit::Count,
        "Circuit breakers that are open or half open, by what they stand before"
    );
    describe_counter!(HELD_BACK, Unit::Count, "Jobs that were given back without an attempt, by reason");
    describe_counter!(
        GIVEN_UP,
        Unit::Count,
        "Waiting jobs that became dead letters without a further attempt, by reason"
    );
    for reason in GiveUpReason::ALL {
        counter!(GIVEN_UP, "reason" => reason.label()).absolute(0);
    }
    for status in STATUSES {
        for kind in ACTION_TYPES {
            counter!(PROCESSED, "action_type" => kind, "status" => status).absolute(0);
        }
        counter!(EXECUTED, "status" => status).absolute(0);
    }
    for name in [RETRIES, RATE_LIMIT_HITS] {
        counter!(name).absolute(0);
    }
    for name in [QUEUE_DEPTH, DLQ_SIZE, ACTIVE] {
        gauge!(name).set(0.0);
    }
    for kind in BREAKER_KINDS {
        gauge!(BREAKERS_OPEN, "kind" => kind).set(0.0);
    }
    for reason in ReturnReason::ALL {
        counter!(HELD_BACK, "reason" => reason.label()).absolute(0);
    }
    drop(histogram!(SECONDS));
}

/// Counts an attempt.
pub(crate) fn record_attempt(action_type: &str, succeeded: bool, took: Duration) {
    // Only known kinds make labels.
    let kind = ACTION_TYPES.into_iter().find(|word| *word == action_type).unwrap_or("unknown");
    let status = if succeeded { STATUSES[0] } else { STATUSES[1] };
    counter!(PROCESSED, "action_type" => kind, "status" => status).increment(1);
    counter!(EXECUTED, "status" => status).increment(1);
    histogram!(SECONDS).record(took);
}
