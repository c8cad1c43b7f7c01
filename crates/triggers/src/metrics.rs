//! The metrics of triggers, declared at zero so that a graph shows them from the start.
//!
//! Some have two names: operators' dashboards know both.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

pub(crate) const EVENTS: [&str; 2] = ["event_processor_events_processed_total", "events_processed_total"];
pub(crate) const MATCHES: [&str; 2] = ["event_processor_trigger_matches_total", "triggers_matched_total"];
pub(crate) const EVALUATED: &str = "triggers_evaluated_total";
pub(crate) const ENQUEUED: &str = "event_processor_action_enqueued_total";
pub(crate) const QUEUE_DEPTH: [&str; 2] = ["event_processor_queue_depth", "action_queue_depth"];
pub(crate) const SECONDS: &str = "event_processing_duration_seconds";
pub(crate) const SET_ASIDE: &str = "bowline_triggers_set_aside_total";
pub(crate) const RULES: &str = "bowline_triggers_loaded";
pub(crate) const LAG: &str = "bowline_triggers_lag_events";
pub(crate) const HELD: &str = "bowline_triggers_held";
pub(crate) const LISTENING: &str = "bowline_triggers_listening";

/// Describes and zeroes them.
pub(crate) fn declare() {
    for name in EVENTS {
        describe_counter!(name, Unit::Count, "Events that were matched");
    }
    for name in MATCHES {
        describe_counter!(name, Unit::Count, "Triggers that matched an event");
    }
    describe_counter!(EVALUATED, Unit::Count, "Triggers whose conditions were looked at for an event");
    describe_counter!(ENQUEUED, Unit::Count, "Jobs that came of events");
    for name in QUEUE_DEPTH {
        describe_gauge!(name, Unit::Count, "Jobs that wait");
    }
    describe_histogram!(SECONDS, Unit::Seconds, "Time to match one event");
    describe_counter!(SET_ASIDE, Unit::Count, "Events that could not be matched and were set aside");
    describe_gauge!(RULES, Unit::Count, "Triggers that this process matches");
    describe_gauge!(LAG, Unit::Count, "Events that this process has still to match");
    describe_gauge!(HELD, Unit::Count, "Whether matching waits for the queue to drain");
    describe_gauge!(LISTENING, Unit::Count, "Whether wake-ups come; if not, only polls find events");
    for name in EVENTS.into_iter().chain(MATCHES).chain([EVALUATED, ENQUEUED, SET_ASIDE]) {
        counter!(name).absolute(0);
    }
    for name in QUEUE_DEPTH.into_iter().chain([RULES, LAG, HELD, LISTENING]) {
        gauge!(name).set(0.0);
    }
    drop(histogram!(SECONDS));
}
