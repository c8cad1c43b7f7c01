//! Persistence of the line: one contract, two stores.
//!
//! [`LineStore`] says what a store must keep and when it may answer; `sqlite` and `postgres` implement it in
//! native SQL each, and one conformance suite (`tests/it`) runs on both. What order events get is decided by
//! the pure code of `sequencing`, which both share. This crate refuses to verify signatures, to speak HTTP
//! and to read the clock.

mod anchors;
mod breaking;
mod changes;
mod contract;
mod corrections;
mod diagnostics;
mod error;
mod gate;
mod job_records;
mod key_records;
mod lanes;
mod letters;
mod metrics;
mod migrations;
mod outbox;
mod postgres;
mod queueing;
mod receipts;
mod records;
mod redis;
mod sequencing;
mod snapshot;
mod sources;
mod sqlite;
mod tail;
mod trigger_records;

pub use anchors::{
    AnchorBacklog, AnchorBlock, AnchorFilter, AnchorMark, AnchorRow, AnchorSend, AnchorTarget,
    AnchorTransaction, AnchoredEnd, Lease, MinedAt, PendingStream, ReportOutcome, ReportedAnchor, SendChange,
    SendOrigin, SendState,
};
pub use changes::{ChangeKind, Changes};
pub use contract::{
    AnchorStore, BudgetStore, CorrectionStore, DeadLetterStore, Diagnostics, JobStore, KeyStore, LeaseStore,
    LineStore, SchemaStore, SourceStore, TriggerStore,
};
pub use corrections::{ChainPlace, ChainQuery, NewCorrection};
pub use diagnostics::{
    ActionFacts, Activity, ChainFacts, ConnectionFacts, CounterLock, DeadLetterCount, DeadLetterFacts,
    DestinationFacts, IndexFacts, MatchingFacts, OpenBreaker, SchemaFacts, Scope, SourceFacts, StoreFacts,
    StreamFacts, TableFacts, TenantLoad,
};
pub use error::StoreError;
pub use gate::{Room, WriteGate};
pub use job_records::{
    AttemptRecord, AttemptStatus, BreakerKey, BreakerRecord, BreakerReport, BreakerState, Claim, ClaimedJob,
    JobEnd, JobFilter, JobRecord, JobReport, JobState, NewJob, PRIORITY_MAX, PRIORITY_MIN, QueueDepth,
};
pub use key_records::{
    AgentKeyFilter, AgentKeyName, ApiKeyFilter, ChangedKey, HashPrefix, KeyChange, KeyRotation, Retire,
    RotatedKey,
};
pub use letters::{
    DeadLetter, LetterAges, LetterFilter, LetterLimits, LetterMark, LetterOrder, LetterReason, LetterStatus,
    LettersKept, LettersSwept, NewDeadLetter, RetryEnd,
};
pub use migrations::{AppliedMigration, schema_version};
pub use postgres::{
    PostgresConfig, PostgresInspector, PostgresRestore, PostgresSnapshot, PostgresStore, RestoreObstacle,
    RestoreTarget, TableLayout, TableLoad,
};
pub use receipts::{StoredReceipt, sign_receipts};
pub use records::{
    AgentKeyRecord, AgentKeyStatus, ApiKeyRecord, AppendOutcome, AppendReport, BudgetRecord,
    CommitmentFilter, CommitmentOrigin, CommitmentRecord, CursorRecord, EntityFilter, InsertCommitment,
    InsertSchema, Page, Permission, ReadQuery, RegisterKey, SchemaCompatibility, SchemaFilter, SchemaHead,
    SchemaRecord, SchemaStatus, SequencerKeyRecord, StoredEvent, StreamHead, VerifiedBatch,
};
pub use redis::{
    BuriedJob, QueueError, QueueWaiter, RedisConfig, RedisDepth, RedisQueue, RelayError, Relayed, relay_once,
};
pub use snapshot::{
    AnchorBreak, CommitmentTrace, EngineProblem, EntityBreak, EventTrace, RepeatedId, Snapshot, StreamTrace,
    Unreadable,
};
pub use sources::{BlockMark, ChainAdvance, ChainCheckpoint};
pub use sqlite::{
    SqliteConfig, SqliteInspector, SqliteSnapshot, SqliteStore, copy_sqlite, fold_sqlite_log,
    sqlite_companions,
};
pub use tail::{Listening, Tail};
pub use trigger_records::{
    ActionRecord, BreakerSettings, ConditionRecord, MatchCommit, ProcessedEvent, PutTrigger, StateKey,
    TriggerChange, TriggerFilter, TriggerRecord,
};

/// Height of the lowest tree level that is stored with a commitment: a proof reads the 2^10 leaves around
/// its event and this level upwards, never the whole tree.
pub const TILE_HEIGHT: u32 = 10;
