//! The line's settings: limits, caches, dead letters and the automatic commitments, each with its default.
//!
//! Only values: what is done with one, and what happens when a limit is hit, stands where it is used.

use bowline_types::Limits;
use serde::{Deserialize, Serialize};

/// Settings of the line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Bounds on batches, pages and queues.
    pub limits: Limits,
    /// When commitments are made without being asked for.
    pub commitments: CommitmentPolicy,
    /// Milliseconds between two looks at the store by whoever waits for it to grow, in case a wake-up is lost.
    pub poll_ms: u64,
    /// Seconds after which a cached agent key is read again.
    pub agent_key_ttl_secs: u64,
    /// Seconds after an agent key's last moment in which events are still taken that were made before it. A
    /// revoked key has no such time.
    pub agent_key_grace_secs: u64,
    /// Agent keys kept in memory.
    pub agent_keys_cached_max: usize,
    /// What is kept of events that were not taken.
    pub dead_letters: DeadLetterConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            commitments: CommitmentPolicy::default(),
            poll_ms: 1_000,
            agent_key_ttl_secs: 60,
            agent_key_grace_secs: 300,
            agent_keys_cached_max: 4_096,
            dead_letters: DeadLetterConfig::default(),
        }
    }
}

/// Whether the node commits streams by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum AutoCommit {
    /// Never: clients post their commitments.
    #[default]
    Off,
    /// Every stream in which no client has posted a commitment.
    Unclaimed,
    /// Every stream, also those whose clients post their own.
    All,
}

/// When a commitment is made without being asked for: at a count or an age, whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CommitmentPolicy {
    /// Which streams.
    pub auto: AutoCommit,
    /// Uncommitted events that make a commitment due.
    pub events: u64,
    /// Seconds that the oldest uncommitted event may wait before one is due.
    pub age_secs: u64,
}

impl Default for CommitmentPolicy {
    fn default() -> Self {
        Self { auto: AutoCommit::Off, events: 10_000, age_secs: 60 }
    }
}

/// How much is kept of events that were rejected for a reason that somebody can mend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeadLetterConfig {
    /// Letters of one stream; beyond it the oldest resolved ones go, and then new ones are refused and counted.
    pub stream_max: u64,
    /// Letters of all streams; the same beyond it.
    pub total_max: u64,
    /// Bytes of all letters' events; the same beyond it.
    pub bytes_max: u64,
    /// Days after which a letter that did not come again is deleted.
    pub days_max: u64,
    /// Tries after which a letter has failed.
    pub retries_max: u32,
    /// Letters that wait in memory to be written; further ones are counted and forgotten.
    pub waiting_max: usize,
    /// Bytes of them; the same beyond it.
    pub waiting_bytes_max: usize,
}

impl Default for DeadLetterConfig {
    fn default() -> Self {
        Self {
            stream_max: 1_000,
            total_max: 10_000,
            bytes_max: 256 << 20,
            days_max: 30,
            retries_max: 10,
            waiting_max: 1_024,
            waiting_bytes_max: 16 << 20,
        }
    }
}
