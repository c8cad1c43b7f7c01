//! The limits of ingest and reading, each named with its unit; what happens when one is hit is said
//! beside it. They are configuration with these defaults, so an operator can see and change them.

use serde::{Deserialize, Serialize};

/// Bounds on what one request, one batch and one process may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Events in one ingest request; more answers 413 `BATCH_TOO_LARGE`.
    pub batch_events_max: usize,
    /// Bytes of one event's payload as sent; more rejects that event as `payload_too_large`.
    pub event_payload_bytes_max: usize,
    /// Bytes of one request body; more answers 413 `PAYLOAD_TOO_LARGE`.
    pub body_bytes_max: usize,
    /// Events verified and waiting for their commit in this process; more answers 503 with `Retry-After`.
    pub pending_events_max: usize,
    /// Events that one group commit gathers; more wait for the next one, and a larger batch goes alone. Small
    /// enough that the next group is verified while this one is written.
    pub group_events_max: usize,
    /// Seconds one request may take; more answers 504 `TIMEOUT`.
    pub request_secs_max: u64,
    /// Events on one page of a read; a larger `limit` is lowered to this.
    pub page_events_max: usize,
    /// Bytes of payload on one page of a read; a page ends early rather than exceed it.
    pub page_bytes_max: usize,
    /// Events under one commitment; a wider range answers 400.
    pub commitment_events_max: u64,
    /// Open `text/event-stream` connections; one more answers 503 with `Retry-After`.
    pub stream_connections_max: usize,
    /// Seconds that a stream's reader may refuse bytes before its connection is closed.
    pub slow_reader_secs_max: u64,
    /// Open connections of any kind; further ones wait in the kernel's backlog.
    pub connections_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_events_max: 1_000,
            event_payload_bytes_max: 1 << 20,
            body_bytes_max: 10 << 20,
            pending_events_max: 32_768,
            group_events_max: 256,
            request_secs_max: 30,
            page_events_max: 1_000,
            page_bytes_max: 16 << 20,
            commitment_events_max: 1 << 20,
            stream_connections_max: 256,
            slow_reader_secs_max: 30,
            connections_max: 4_096,
        }
    }
}
