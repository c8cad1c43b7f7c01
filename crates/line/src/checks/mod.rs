//! The line's health checks: every question of the operators' runbook that the line can answer, each a pure
//! function of [`LineFacts`].
//!
//! Nothing here gathers anything. What mends trouble is a command or a setting that exists.

mod facts;
mod node;
mod store;

use bowline_runtime::Check;

pub use self::facts::{
    AnchorFacts, Answer, BackupFacts, BreakerFacts, CacheFacts, ChainFacts, ClientFacts, ClockOffset,
    DeliveryFacts, DiskFacts, FollowerFacts, LineFacts, ListenFacts, NodeFacts, PoolFacts, ProcessFacts,
    QueueFacts, SequencerFacts, StoreAnswer, StreamLag, StreamsFacts,
};

/// Every check of the line, in the order in which an operator would go.
pub const CHECKS: &[Check<LineFacts>] = &[
    Check { name: "health", about: "the process lives and answers", judge: node::health },
    Check { name: "ready", about: "requests can be served", judge: node::ready },
    Check { name: "db_pool", about: "connections to the store are left", judge: node::db_pool },
    Check {
        name: "ingest_latency",
        about: "99 of 100 ingest requests take less than 500 ms",
        judge: node::ingest_latency,
    },
    Check { name: "queue", about: "there is room for events that wait for their commit", judge: node::queue },
    Check {
        name: "rate_limits",
        about: "requests turned away by a rate limit, and who writes most",
        judge: node::rate_limits,
    },
    Check {
        name: "signatures",
        about: "events rejected for their signature, key or hash",
        judge: node::signatures,
    },
    Check { name: "store_errors", about: "calls that the store refused", judge: node::store_errors },
    Check {
        name: "circuit_breakers",
        about: "nothing is cut off because it is away",
        judge: node::circuit_breakers,
    },
    Check { name: "followers", about: "what follows the line keeps up", judge: node::followers },
    Check { name: "memory", about: "memory, caches and open files", judge: node::memory },
    Check { name: "disk_space", about: "the data folder's disk has room", judge: node::disk_space },
    Check {
        name: "clock_skew",
        about: "the clocks of node, database and this machine agree",
        judge: node::clock_skew,
    },
    Check { name: "exposure", about: "who can reach the node, and what for", judge: node::exposure },
    Check { name: "migrations", about: "the database's schema is this binary's", judge: store::migrations },
    Check {
        name: "lock_contention",
        about: "statements that run or wait for long",
        judge: store::lock_contention,
    },
    Check {
        name: "counter_locks",
        about: "transactions that hold the streams' counters",
        judge: store::counter_locks,
    },
    Check { name: "db_connections", about: "the server's connections", judge: store::db_connections },
    Check { name: "sequence_gaps", about: "numbers of streams are dense", judge: store::sequence_gaps },
    Check {
        name: "commitments",
        about: "commitments chain and their state roots are right",
        judge: store::commitments,
    },
    Check { name: "commitment_lag", about: "events that no commitment covers", judge: store::commitment_lag },
    Check { name: "dead_letters", about: "events that were refused and kept", judge: store::dead_letters },
    Check { name: "tables", about: "vacuum and statistics of the tables", judge: store::tables },
    Check { name: "indexes", about: "indexes that are missing or never used", judge: store::indexes },
    Check { name: "backups", about: "the newest backup is younger than a day", judge: store::backups },
];

/// The checks' thresholds, in one place, with the unit in the name.
mod threshold {
    /// The runbook's: ingest is slow beyond it.
    pub(super) const INGEST_P99_MS: f64 = 500.0;
    /// Of the pool's connections.
    pub(super) const POOL_PERCENT: u64 = 95;
    /// Of the queue's room.
    pub(super) const QUEUE_PERCENT: u64 = 80;
    /// Of all received events.
    pub(super) const REJECTED_PERCENT: f64 = 5.0;
    /// Events that a follower may be behind.
    pub(super) const FOLLOWER_LAG_EVENTS: u64 = 100_000;
    /// Of the process in RAM.
    pub(super) const RESIDENT_BYTES: u64 = 4 << 30;
    /// Of the open files allowed.
    pub(super) const OPEN_FILES_PERCENT: u64 = 80;
    /// Of the disk, free; a large disk has room enough all the same.
    pub(super) const DISK_FREE_WARN_PERCENT: u64 = 15;
    /// Free, together with the percentage.
    pub(super) const DISK_FREE_WARN_BYTES: u64 = 20 << 30;
    /// Of the disk, free.
    pub(super) const DISK_FREE_FAIL_PERCENT: u64 = 5;
    /// Free, together with the percentage.
    pub(super) const DISK_FREE_FAIL_BYTES: u64 = 5 << 30;
    /// Between two clocks.
    pub(super) const SKEW_WARN_MS: u64 = 1_000;
    /// Between two clocks.
    pub(super) const SKEW_FAIL_MS: u64 = 30_000;
    /// That a transaction may last.
    pub(super) const TRANSACTION_WARN_SECS: f64 = 5.0;
    /// That a transaction may last while others wait for it.
    pub(super) const BLOCKING_FAIL_SECS: f64 = 1.0;
    /// Of the server's connections.
    pub(super) const CONNECTIONS_WARN_PERCENT: u64 = 80;
    /// Of the server's connections.
    pub(super) const CONNECTIONS_FAIL_PERCENT: u64 = 95;
    /// The runbook's: a commitment over more is slow.
    pub(super) const UNCOMMITTED_EVENTS: u64 = 10_000;
    /// That an event may wait for its commitment in a stream that has commitments.
    pub(super) const UNCOMMITTED_SECS: u64 = 86_400;
    /// Of a table's rows.
    pub(super) const DEAD_ROWS_PERCENT: u64 = 20;
    /// Below which a table's statistics don't matter.
    pub(super) const TABLE_ROWS_MIN: u64 = 10_000;
    /// Of an index that nobody uses.
    pub(super) const UNUSED_INDEX_BYTES: u64 = 64 << 20;
    /// Of the newest backup.
    pub(super) const BACKUP_WARN_SECS: u64 = 26 * 3_600;
    /// Of the newest backup.
    pub(super) const BACKUP_FAIL_SECS: u64 = 3 * 86_400;
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1_024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1_024.0;
    }
    format!("{value:.1} TiB")
}

/// What part of `whole` is, in percent; 0 of nothing.
fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100).checked_div(whole).unwrap_or(0)
}
