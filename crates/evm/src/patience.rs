//! How long endpoints may take, how much they are asked and may answer, and how they are doing.

use std::time::Duration;

use bowline_runtime::BreakerPolicy;

/// How an endpoint is doing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EndpointState {
    /// Host and port.
    pub name: String,
    /// `closed`, `half_open` or `open`.
    pub breaker: String,
}

/// How long endpoints may take, and how long one that failed is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Seconds that an endpoint may take to answer.
    pub call_secs_max: u64,
    /// Seconds that an endpoint which failed is left alone at first; five times as long at most.
    pub breaker_open_secs: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self { call_secs_max: 30, breaker_open_secs: 60 }
    }
}

impl Patience {
    pub(crate) fn call_time_max(self) -> Duration {
        Duration::from_secs(self.call_secs_max)
    }

    pub(crate) fn breaker(self) -> BreakerPolicy {
        let open_ms = self.breaker_open_secs.saturating_mul(1_000);
        BreakerPolicy {
            failures_max: 5,
            // An endpoint that hangs takes the whole time of a call to fail.
            failures_ms: self.call_secs_max.saturating_mul(6_000).max(120_000),
            open_ms,
            open_ms_max: open_ms.saturating_mul(5),
            jitter_percent: 10,
            successes_min: 2,
            probe_ms_max: self.call_secs_max.saturating_mul(2_000),
        }
    }
}

/// What is asked of an endpoint, and taken from it, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Requests a second to each endpoint; 0 is any number.
    pub requests_per_sec: u32,
    /// Bytes of one answer.
    pub answer_bytes_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { requests_per_sec: 0, answer_bytes_max: 8 << 20 }
    }
}
