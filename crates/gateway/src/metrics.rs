//! The gateway's metrics, each present at zero from the start; those of its listener are `bowline-http`'s. The names
//! without a `bowline_` prefix are those that the sequencer's operators already graph.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

pub(crate) const INGEST_SECONDS: &str = "sequencer_ingest_latency_seconds";
pub(crate) const REQUEST_EVENTS: &str = "sequencer_request_batch_events";
pub(crate) const EVENTS_RECEIVED: &str = "sequencer_ves_events_received";
pub(crate) const UPTIME: &str = "sequencer_uptime_seconds";
pub(crate) const AGENT_KEYS: &str = "sequencer_agent_registration_total";
pub(crate) const AGENT_KEYS_REVOKED: &str = "bowline_agent_keys_revoked_total";

/// Names, describes and zeroes every metric of this crate and of the listener that it runs.
pub(crate) fn declare() {
    bowline_http::declare_metrics();
    describe_histogram!(INGEST_SECONDS, Unit::Seconds, "Time to answer an ingest request");
    describe_histogram!(REQUEST_EVENTS, Unit::Count, "Events of one ingest request");
    describe_counter!(EVENTS_RECEIVED, Unit::Count, "Events that arrived in ingest requests");
    describe_gauge!(UPTIME, Unit::Seconds, "Seconds since the node started");
    describe_counter!(AGENT_KEYS, Unit::Count, "Agent keys registered");
    describe_counter!(AGENT_KEYS_REVOKED, Unit::Count, "Agent keys revoked");
    for name in [EVENTS_RECEIVED, AGENT_KEYS, AGENT_KEYS_REVOKED] {
        counter!(name).absolute(0);
    }
    gauge!(UPTIME).set(0.0);
    drop((histogram!(INGEST_SECONDS), histogram!(REQUEST_EVENTS)));
}
