//! The metrics of listeners, each present at zero from the start. The names without a `bowline_` prefix are
//! those that the sequencer's operators already graph.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};

pub(crate) const REQUESTS: &str = "sequencer_http_requests_total";
pub(crate) const REQUEST_SECONDS: &str = "sequencer_http_request_latency_seconds";
/// The names under which the operators of the former gateway graph the same.
pub(crate) const REQUESTS_NAMES: [&str; 3] =
    [REQUESTS, "api_gateway_http_requests_total", "http_requests_total"];
pub(crate) const REQUEST_SECONDS_NAMES: [&str; 3] =
    [REQUEST_SECONDS, "api_gateway_http_request_duration_seconds", "http_request_duration_seconds"];
pub(crate) const REQUESTS_IN_FLIGHT: &str = "http_requests_in_flight";
pub(crate) const CONNECTIONS: &str = "bowline_http_connections";
pub(crate) const STREAMS: &str = "bowline_event_streams";
pub(crate) const SLOW_READERS: &str = "bowline_slow_readers_total";
pub(crate) const PANICS: &str = "bowline_http_panics_total";

pub(crate) const RATELIMIT_REJECTED: &str = "sequencer_ratelimit_rejected";
pub(crate) const RATELIMIT_UNITS: &str = "bowline_ratelimit_units_total";
pub(crate) const RATELIMIT_LEASES: &str = "bowline_ratelimit_leases_total";
pub(crate) const RATELIMIT_TRACKED: &str = "bowline_ratelimit_tracked";

/// Names, describes and zeroes every metric of this crate.
pub fn declare() {
    for name in REQUESTS_NAMES {
        describe_counter!(name, Unit::Count, "Requests answered, by method, path and status");
    }
    for name in REQUEST_SECONDS_NAMES {
        describe_histogram!(name, Unit::Seconds, "Time to answer a request");
    }
    describe_gauge!(REQUESTS_IN_FLIGHT, Unit::Count, "Requests that are being answered");
    describe_gauge!(CONNECTIONS, Unit::Count, "Open connections");
    describe_gauge!(STREAMS, Unit::Count, "Open event streams");
    describe_counter!(SLOW_READERS, Unit::Count, "Event streams closed because their reader took no bytes");
    describe_counter!(PANICS, Unit::Count, "Requests that ended in a defect of ours");
    describe_counter!(
        RATELIMIT_REJECTED,
        Unit::Count,
        "Requests refused by a rate limit, by whose limit it was"
    );
    describe_counter!(RATELIMIT_UNITS, Unit::Count, "Requests and events charged to rate limits");
    describe_counter!(
        RATELIMIT_LEASES,
        Unit::Count,
        "Times that a rate limit's budget was asked for, by outcome"
    );
    describe_gauge!(RATELIMIT_TRACKED, Unit::Count, "Tenants and API keys whose rate limit is in memory");
    for scope in ["tenant", "api_key"] {
        counter!(RATELIMIT_REJECTED, "scope" => scope).absolute(0);
    }
    for outcome in ["taken", "refused", "failed"] {
        counter!(RATELIMIT_LEASES, "outcome" => outcome).absolute(0);
    }
    for name in [SLOW_READERS, PANICS, RATELIMIT_UNITS] {
        counter!(name).absolute(0);
    }
    for name in [CONNECTIONS, REQUESTS_IN_FLIGHT, STREAMS, RATELIMIT_TRACKED] {
        gauge!(name).set(0.0);
    }
}
