//! What only the store knows of its own health, as facts that somebody else judges.
//!
//! Each fact is had or not had by itself: a table that is not there yet takes one fact away and not the others.
//! Nothing here changes anything, and every list has a limit.

use bowline_runtime::Seen;
use bowline_types::{EventId, StreamId, TenantId, Timestamp};

pub use super::actions_records::{ActionFacts, DestinationFacts, MatchingFacts, OpenBreaker, SourceFacts};
pub(crate) use super::actions_records::{
    COUNTED_MAX, DELIVERED_MINUTES, JOBS_LOOKED_AT_MAX, MATCHED_MINUTES, MATCHER,
};
use crate::commitments::records::CommitmentRecord;

/// How much of the line is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// Events at the end of each stream that are counted.
    pub events_per_stream: u64,
    /// Commitments at the end of each stream that are read.
    pub commitments_per_stream: u64,
}

impl Default for Scope {
    /// What answers in a moment, however much there is.
    fn default() -> Self {
        Self { events_per_stream: 10_000, commitments_per_stream: 20 }
    }
}

impl Scope {
    /// Everything.
    pub const WHOLE: Self = Self { events_per_stream: u64::MAX, commitments_per_stream: 1_000_000 };
}

/// Streams that are looked at, those that grew last first.
pub(crate) const STREAMS_MAX: u32 = 1_000;

/// Gaps that are named in a stream, and rows of every other list.
pub(crate) const ROWS_MAX: u32 = 100;

/// Facts of a store at one moment.
#[derive(Debug, Clone)]
pub struct StoreFacts {
    /// `sqlite` or `postgres`.
    pub engine: &'static str,
    /// The schema's version.
    pub schema: Seen<SchemaFacts>,
    /// The streams that grew last.
    pub streams: Seen<Vec<StreamFacts>>,
    /// The last commitments of those streams.
    pub chains: Seen<Vec<ChainFacts>>,
    /// Events that were refused and kept, by their status.
    pub dead_letters: Seen<Vec<DeadLetterCount>>,
    /// Tables with what the engine knows of them.
    pub tables: Seen<Vec<TableFacts>>,
    /// Indexes of the schema.
    pub indexes: Seen<Vec<IndexFacts>>,
    /// The server's connections.
    pub connections: Seen<ConnectionFacts>,
    /// Statements and transactions under way, the oldest first.
    pub activity: Seen<Vec<Activity>>,
    /// Transactions that hold or want locks on the streams' counters.
    pub counter_locks: Seen<Vec<CounterLock>>,
    /// Tenants by the events that they created in the last hour, the busiest first.
    pub busiest_tenants: Seen<Vec<TenantLoad>>,
    /// Chains whose logs are on the line.
    pub sources: Seen<Vec<SourceFacts>>,
    /// Events that triggers wait for.
    pub matching: Seen<MatchingFacts>,
    /// Jobs and their deliveries.
    pub actions: Seen<ActionFacts>,
    /// Circuit breakers before deliveries that are not closed, those of triggers first.
    pub open_breakers: Seen<Vec<OpenBreaker>>,
}

/// Versions of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaFacts {
    /// What the database has.
    pub found: i64,
    /// What this binary knows.
    pub known: i64,
}

/// A stream as its rows show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFacts {
    /// The stream.
    pub stream: StreamId,
    /// Its counter: the number that was given last.
    pub head: u64,
    /// The last number under a commitment.
    pub committed: u64,
    /// When it grew last.
    pub updated_at: Timestamp,
    /// When the oldest event without a commitment was sequenced.
    pub uncommitted_since: Option<Timestamp>,
    /// The first number that was looked at.
    pub looked_from: u64,
    /// Events found from there on; they should be as many as the numbers up to the head.
    pub present: u64,
    /// The highest number found.
    pub last: u64,
    /// Missing numbers, as first and last of each gap.
    pub gaps: Vec<(u64, u64)>,
}

/// The end of a stream's chain of commitments, in the chain's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainFacts {
    /// The commitments.
    pub commitments: Vec<CommitmentRecord>,
    /// Whether the first of them is the stream's first.
    pub whole: bool,
}

/// Dead letters of one status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterCount {
    /// `pending`, `retrying`, `failed` or `resolved`.
    pub status: String,
    /// How many.
    pub count: u64,
    /// When the oldest was kept.
    pub oldest: Option<Timestamp>,
}

/// A refused event that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterFacts {
    /// The event.
    pub event_id: EventId,
    /// The stream that it was sent to.
    pub stream: StreamId,
    /// Why it was refused, in a word.
    pub reason: String,
    /// What has become of it since.
    pub status: String,
    /// Why it was refused, in a sentence.
    pub message: String,
    /// How often it was tried again.
    pub retries: u64,
    /// When it was kept.
    pub created_at: Timestamp,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFacts {
    /// Its name.
    pub name: String,
    /// Rows, as far as the engine has counted them.
    pub rows: u64,
    /// Rows that were deleted or replaced and still take room.
    pub dead_rows: u64,
    /// Bytes with indexes; of the whole file for the embedded store.
    pub bytes: u64,
    /// When the planner's statistics were made, if ever.
    pub analyzed_at: Option<Timestamp>,
    /// Rows changed since then.
    pub changed_rows: u64,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFacts {
    /// Its name.
    pub name: String,
    /// Its table.
    pub table: String,
    /// How often it was used; none where the engine does not count.
    pub scans: Option<u64>,
    /// Bytes.
    pub bytes: u64,
    /// Whether it is there and usable.
    pub usable: bool,
    /// Whether it guards a rule besides making reads fast.
    pub unique: bool,
}

/// A server's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionFacts {
    /// Connections of clients to the whole server.
    pub used: u64,
    /// Of them, those that run a statement at this moment, without the one that asks.
    pub active: u64,
    /// Connections that it takes.
    pub max: u64,
    /// Connections to this database that have been idle for ten minutes.
    pub long_idle: u64,
}

/// A statement or a transaction under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Activity {
    /// The server's process.
    pub pid: i32,
    /// Who connected, as it calls itself.
    pub application: String,
    /// Seconds since the transaction began.
    pub secs: f64,
    /// Whether it waits for a lock.
    pub waits_for_lock: bool,
    /// Processes that it waits for.
    pub blocked_by: Vec<i32>,
    /// The beginning of its statement.
    pub query: String,
}

/// A lock on the streams' counters.
#[derive(Debug, Clone, PartialEq)]
pub struct CounterLock {
    /// The server's process.
    pub pid: i32,
    /// Who connected, as it calls itself.
    pub application: String,
    /// Whether it has the lock.
    pub granted: bool,
    /// Seconds since its transaction began.
    pub secs: f64,
    /// How many others wait for it.
    pub blocks: u64,
}

/// How much a tenant writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantLoad {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Events in the last hour.
    pub events: u64,
}

/// The indexes that the migrations make for an engine, by name.
pub(crate) fn expected_indexes(migrations: impl Iterator<Item = &'static str>) -> Vec<String> {
    let mut names = Vec::new();
    for sql in migrations {
        let code = sql.lines().map(|line| line.split("--").next().unwrap_or_default());
        let words: Vec<&str> = code.flat_map(str::split_whitespace).collect();
        for (at, word) in words.iter().enumerate() {
            if !word.eq_ignore_ascii_case("index") || at == 0 {
                continue;
            }
            let after = words[at + 1..].iter();
            let name = after.copied().find(|w| {
                !["if", "not", "exists", "concurrently"].contains(&w.to_ascii_lowercase().as_str())
            });
            let name = name.unwrap_or_default().trim_end_matches(';').to_owned();
            match words[at - 1].to_ascii_lowercase().as_str() {
                "create" | "unique" => names.push(name),
                "drop" => names.retain(|known| *known != name),
                _ => {}
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_indexes_of_the_migrations_are_known_by_name() {
        let sql = "CREATE TABLE a (x int); -- an INDEX that is none\nCREATE UNIQUE INDEX a_x ON a (x);\n\
                   create index if not exists a_y on a (y);\nCREATE INDEX a_z ON a (z);";
        let names = expected_indexes([sql, "DROP INDEX IF EXISTS a_z;"].into_iter());
        assert_eq!(names, ["a_x", "a_y"]);
    }
}
