//! What the line's checks look at: what a node says of itself, and what its store says.
//!
//! [`NodeFacts`] is the answer of `/health/detailed`, written by the gateway and read by whoever checks a node
//! from outside. It refuses to judge.

use bowline_runtime::{Samples, Seen};
use bowline_store::StoreFacts;
use bowline_types::{Limits, StreamId, Timestamp};
use serde::{Deserialize, Serialize};

/// Everything that the line's checks look at; what could not be had says why.
#[derive(Debug, Clone)]
pub struct LineFacts {
    /// `/health`.
    pub health: Seen<Answer>,
    /// `/ready`.
    pub ready: Seen<Answer>,
    /// `/metrics`, since the start or over a window.
    pub metrics: Seen<Samples>,
    /// Seconds that the metrics count, if not since the node's start.
    pub window_secs: Option<u64>,
    /// `/health/detailed`.
    pub node: Seen<NodeFacts>,
    /// By how many milliseconds the node's clock is ahead of ours, and how exactly that is known.
    pub node_clock: Seen<ClockOffset>,
    /// The store.
    pub store: Seen<StoreFacts>,
    /// By how many milliseconds the database's clock is ahead of ours, and how exactly that is known.
    pub database_clock: Seen<ClockOffset>,
    /// The newest backup.
    pub backup: Seen<BackupFacts>,
    /// Our own moment.
    pub now: Timestamp,
}

/// How a path without a credential was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// What it says of itself: `healthy`, `ready`, or what fails.
    pub says: String,
    /// Milliseconds until it was there.
    pub took_ms: u64,
}

/// Another clock against ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockOffset {
    /// Milliseconds that it is ahead; negative if it is behind.
    pub ahead_ms: i64,
    /// Milliseconds by which that may be wrong: the question was so long under way.
    pub give_or_take_ms: i64,
}

impl ClockOffset {
    /// The offset of a clock that said `told` to a question asked at `asked` and answered at `answered`.
    pub fn of(told: Timestamp, asked: Timestamp, answered: Timestamp) -> Self {
        let (asked, answered) = (asked.micros(), answered.micros());
        let middle = asked + (answered - asked) / 2;
        let give_or_take_ms = (answered - asked) / 2_000 + 1;
        Self { ahead_ms: (told.micros() - middle) / 1_000, give_or_take_ms }
    }
}

/// The newest backup that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFacts {
    /// Where backups are looked for.
    pub place: String,
    /// When the newest was finished; none if there is none.
    pub newest: Option<Timestamp>,
}

/// A node's answer on `/health/detailed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// `healthy`, `degraded` while its store is away, or `draining`.
    pub status: String,
    /// The name that operators' checks expect.
    pub service: String,
    /// The binary's version.
    pub version: String,
    /// The node's clock.
    pub timestamp: Timestamp,
    /// Seconds since it started.
    pub uptime_secs: u64,
    /// Whether it is on its way out.
    pub draining: bool,
    /// Its store.
    pub store: StoreAnswer,
    /// Connections to its store.
    pub pool: PoolFacts,
    /// Events between verification and commit.
    pub queue: QueueFacts,
    /// The streams together; none while the store is away.
    pub streams: Option<StreamsFacts>,
    /// What follows the line.
    pub followers: Vec<FollowerFacts>,
    /// What is kept in memory.
    pub caches: Vec<CacheFacts>,
    /// What is not asked while it is away.
    pub circuit_breakers: Vec<BreakerFacts>,
    /// Anchors on an outside chain; none while the store is away.
    #[serde(default)]
    pub anchors: Option<AnchorFacts>,
    /// What runs in the process.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Triggers and what they set off; none while the store is away.
    #[serde(default)]
    pub deliveries: Option<DeliveryFacts>,
    /// Chains that this process indexes.
    #[serde(default)]
    pub chains: Vec<ChainFacts>,
    /// Connections of clients.
    pub connections: ClientFacts,
    /// Bounds of requests and queues.
    pub limits: Limits,
    /// Where it listens, and who may ask.
    pub listen: ListenFacts,
    /// Who signs receipts here.
    pub sequencer: SequencerFacts,
    /// The data folder's file system.
    pub disk: DiskFacts,
    /// The operating system's view of the process.
    pub process: ProcessFacts,
}

/// How many triggers there are, and how full the queue of what they set off is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryFacts {
    /// Triggers of all organizations.
    pub triggers: u64,
    /// Deliveries that wait, due or not.
    pub waiting: u64,
    /// Deliveries that are due.
    pub due: u64,
    /// Deliveries under way.
    pub running: u64,
    /// Deliveries that were given up.
    pub dead: u64,
    /// Seconds for which the oldest one has been due.
    pub oldest_due_secs: Option<u64>,
    /// Circuit breakers that are not closed.
    pub breakers_open: u64,
}

/// How far a chain is on the line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainFacts {
    /// Its id by EIP-155.
    pub chain_id: u64,
    /// Its name.
    pub name: String,
    /// `starting`, `syncing`, `live`, `away` or `idle`.
    pub state: String,
    /// The last block that is on the line.
    pub block: Option<u64>,
    /// Blocks that are not yet, and should be.
    pub lag_blocks: Option<u64>,
}

/// How anchoring is doing, as far as the store and this process know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorFacts {
    /// Whether the node is set up to anchor.
    pub configured: bool,
    /// Commitments that are on no chain and in no transaction.
    pub pending: u64,
    /// Commitments in transactions that are not final.
    pub under_way: u64,
    /// Commitments that are final.
    pub anchored: u64,
    /// Seconds since the oldest commitment was made that is not final.
    pub oldest_secs: Option<u64>,
    /// The stable word of what is in the way of all anchoring.
    pub trouble: Option<String>,
}

/// A node's store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreAnswer {
    /// `sqlite` or `postgres`.
    pub engine: String,
    /// Whether it answered.
    pub reachable: bool,
    /// Milliseconds until it answered, or until it was given up.
    pub response_time_ms: u64,
    /// The schema version that the binary knows.
    pub schema_version: i64,
}

/// Connections to the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolFacts {
    /// At most.
    pub max: u64,
    /// Open.
    pub open: u64,
    /// In use.
    pub active: u64,
    /// Open and not in use.
    pub idle: u64,
    /// Used of those that may be, as `12.5%`.
    pub utilization: String,
}

/// Events between verification and commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueFacts {
    /// Waiting now.
    pub pending_events: u64,
    /// Waiting at most.
    pub pending_events_max: u64,
    /// Turned away since the start because too many waited.
    pub refused_total: u64,
}

/// All streams together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamsFacts {
    /// How many there are.
    pub count: u64,
    /// Events in them.
    pub events: u64,
    /// Events that no commitment covers.
    pub uncommitted: u64,
    /// The streams with the most events that no commitment covers, five at most.
    pub most_behind: Vec<StreamLag>,
}

/// How far a stream's commitments are behind its head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamLag {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamId,
    /// Its last number.
    pub head: u64,
    /// The last number under a commitment.
    pub committed: u64,
    /// The difference.
    pub uncommitted: u64,
}

/// What follows the line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowerFacts {
    /// Its name.
    pub name: String,
    /// Events that it has not taken yet.
    pub lag_events: u64,
    /// Pages that it failed on since the start.
    pub errors: u64,
}

/// What is kept in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheFacts {
    /// Its name.
    pub name: String,
    /// Entries now.
    pub entries: u64,
    /// Entries at most.
    pub entries_max: Option<u64>,
    /// Look-ups that were answered from it, since the start.
    pub hits: u64,
    /// Look-ups that were not.
    pub misses: u64,
}

/// A circuit breaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerFacts {
    /// What it guards.
    pub name: String,
    /// `closed`, `half_open` or `open`.
    pub state: String,
    /// How often it opened since the start.
    pub opened_total: u64,
}

/// Connections of clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientFacts {
    /// Open.
    pub open: u64,
    /// At most.
    pub max: u64,
    /// Of them, event streams.
    pub event_streams: u64,
    /// Event streams at most.
    pub event_streams_max: u64,
}

/// Where a node listens, and who may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenFacts {
    /// Address and port.
    pub address: String,
    /// Whether only this machine can reach it.
    pub loopback: bool,
    /// `required` or `disabled`.
    pub auth: String,
}

/// Who signs receipts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequencerFacts {
    /// The sequencer's id.
    pub sequencer_id: String,
    /// Which of its keys signs.
    pub key_version: u32,
    /// That key's public half, hex.
    pub public_key: String,
}

/// The data folder's file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskFacts {
    /// Bytes that the node may still write.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// The operating system's view of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFacts {
    /// Bytes in RAM.
    pub resident_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open files and connections.
    pub open_files: u64,
    /// Open files and connections at most; none if there is no limit.
    pub open_files_max: Option<u64>,
}
