//! The line's metrics, each present at zero from the start. The names without a `bowline_` prefix are those
//! that the sequencer's operators already graph.

use bowline_store::{LetterReason, LetterStatus};
use bowline_ves::Rejection;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

pub(crate) const EVENTS_SEQUENCED: &str = "sequencer_events_sequenced";
pub(crate) const EVENTS_REPLAYED: &str = "bowline_events_replayed_total";
pub(crate) const EVENTS_REJECTED: &str = "sequencer_events_rejected";
pub(crate) const EVENTS_VERIFIED: &str = "sequencer_ves_events_verified";
pub(crate) const APPEND_WAIT_SECONDS: &str = "bowline_append_wait_seconds";
pub(crate) const PENDING: &str = "bowline_pending_events";
pub(crate) const PENDING_REFUSED: &str = "bowline_pending_refused_total";
pub(crate) const COMMITMENTS: &str = "bowline_commitments_total";
pub(crate) const COMMIT_SECONDS: &str = "bowline_commit_seconds";
pub(crate) const CACHE_HITS: &str = "cache_hits_total";
pub(crate) const CACHE_MISSES: &str = "cache_misses_total";
pub(crate) const CACHE_ENTRIES: &str = "cache_entries";
pub(crate) const CACHE_ENTRIES_MAX: &str = "cache_entries_max";
pub(crate) const FOLLOWER_LAG: &str = "bowline_follower_lag_events";
pub(crate) const FOLLOWER_ERRORS: &str = "bowline_follower_errors_total";
pub(crate) const CORRECTIONS: &str = "bowline_corrections_total";
pub(crate) const LETTERS: &str = "bowline_dead_letters";
pub(crate) const LETTERS_WAITING: &str = "bowline_dead_letters_waiting";
pub(crate) const DLQ_DEPTH: &str = "sequencer_dlq_depth";
pub(crate) const DLQ_KEPT: &str = "sequencer_dlq_events_total";
pub(crate) const DLQ_DROPPED: &str = "sequencer_dlq_dropped_total";
pub(crate) const DLQ_RETRIES: &str = "sequencer_dlq_retries_total";
pub(crate) const DLQ_REMOVED: &str = "sequencer_dlq_removed_total";

/// Names, describes and zeroes every metric of this crate.
pub(crate) fn declare() {
    describe_counter!(EVENTS_SEQUENCED, Unit::Count, "Events that got a sequence number");
    describe_counter!(
        EVENTS_REPLAYED,
        Unit::Count,
        "Events that were there already and got their receipt again"
    );
    describe_counter!(EVENTS_REJECTED, Unit::Count, "Events rejected, by reason");
    describe_counter!(EVENTS_VERIFIED, Unit::Count, "Events whose hashes and signature were right");
    describe_histogram!(
        APPEND_WAIT_SECONDS,
        Unit::Seconds,
        "Time from a verified batch's arrival to its durable commit"
    );
    describe_gauge!(PENDING, Unit::Count, "Events verified and waiting for their commit");
    describe_counter!(PENDING_REFUSED, Unit::Count, "Events turned away because too many were pending");
    describe_counter!(COMMITMENTS, Unit::Count, "Commitments made, by who asked for them");
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "Time to make one commitment");
    describe_counter!(CACHE_HITS, Unit::Count, "Look-ups answered from memory, by cache");
    describe_counter!(CACHE_MISSES, Unit::Count, "Look-ups that asked the store, by cache");
    describe_gauge!(CACHE_ENTRIES, Unit::Count, "Entries in memory, by cache");
    describe_gauge!(CACHE_ENTRIES_MAX, Unit::Count, "Entries that may be in memory, by cache");
    describe_gauge!(
        FOLLOWER_LAG,
        Unit::Count,
        "Events between a follower's cursors and the heads, by follower"
    );
    describe_counter!(
        FOLLOWER_ERRORS,
        Unit::Count,
        "Pages that a follower failed on and will retry, by follower"
    );
    for name in [EVENTS_SEQUENCED, EVENTS_REPLAYED, EVENTS_VERIFIED, PENDING_REFUSED] {
        counter!(name).absolute(0);
    }
    gauge!(PENDING).set(0.0);
    for reason in Rejection::KINDS {
        counter!(EVENTS_REJECTED, "reason" => *reason).absolute(0);
    }
    for origin in ["client", "automatic"] {
        counter!(COMMITMENTS, "origin" => origin).absolute(0);
    }
    counter!(CACHE_HITS, "cache" => "agent_keys").absolute(0);
    counter!(CACHE_MISSES, "cache" => "agent_keys").absolute(0);
    gauge!(CACHE_ENTRIES, "cache" => "agent_keys").set(0.0);
    drop((histogram!(COMMIT_SECONDS), histogram!(APPEND_WAIT_SECONDS)));
    declare_letters();
}

fn declare_letters() {
    describe_counter!(CORRECTIONS, Unit::Count, "Commitments that a correction replaced");
    describe_gauge!(LETTERS, Unit::Count, "Dead letters that are kept, by status");
    describe_gauge!(LETTERS_WAITING, Unit::Count, "Dead letters in memory that are still to be written");
    describe_gauge!(DLQ_DEPTH, Unit::Count, "Dead letters that are not resolved");
    describe_counter!(
        DLQ_KEPT,
        Unit::Count,
        "Events handed over to be kept as dead letters, again or for the first time, by reason"
    );
    describe_counter!(DLQ_DROPPED, Unit::Count, "Dead letters that could not be kept, by cause");
    describe_counter!(DLQ_RETRIES, Unit::Count, "Dead letters tried again, by outcome");
    describe_counter!(DLQ_REMOVED, Unit::Count, "Dead letters that ended, by what ended them");
    counter!(CORRECTIONS).absolute(0);
    for gauge in [LETTERS_WAITING, DLQ_DEPTH] {
        gauge!(gauge).set(0.0);
    }
    for status in LetterStatus::ALL {
        gauge!(LETTERS, "status" => status.as_str()).set(0.0);
    }
    for reason in LetterReason::ALL {
        counter!(DLQ_KEPT, "reason" => reason.as_str()).absolute(0);
    }
    for cause in ["box_full", "no_room", "store_away", "store_refused"] {
        counter!(DLQ_DROPPED, "cause" => cause).absolute(0);
    }
    for outcome in ["taken", "refused", "handed"] {
        counter!(DLQ_RETRIES, "outcome" => outcome).absolute(0);
    }
    for by in ["retry", "resend", "delete", "age"] {
        counter!(DLQ_REMOVED, "by" => by).absolute(0);
    }
}

/// Counts a rejection by its reason; whoever judges an event before the line does calls it too.
pub fn count_rejection(rejection: &Rejection) {
    counter!(EVENTS_REJECTED, "reason" => rejection.kind()).increment(1);
}
