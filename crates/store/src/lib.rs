//! Persistence of the line: one contract, two stores.
//!
//! [`LineStore`] says what a store must keep and when it may answer; `sqlite` and `postgres` implement it in
//! native SQL each, and one conformance suite (`tests/it`) runs on both. What order events get is decided by
//! the pure code of `sequencing`, which both share. This crate refuses to verify signatures, to speak HTTP
//! and to read the clock.

mod budgets;
mod changes;
mod commitments;
mod contract;
mod cursors;
mod diagnostics;
mod engine;
mod error;
mod events;
mod gate;
mod jobs;
mod keys;
mod leases;
mod letters;
mod metrics;
mod migrations;
mod postgres;
mod schemas;
mod snapshot;
mod sources;
mod sqlite;
mod tail;
mod triggers;

pub use budgets::BudgetStore;
pub use budgets::records::BudgetRecord;
pub use changes::{ChangeKind, Changes};
pub use commitments::CommitmentStore;
pub use commitments::corrections::{ChainPlace, ChainQuery, CorrectionStore, NewCorrection};
pub use commitments::records::{
    AnchorMark, CommitmentFilter, CommitmentOrigin, CommitmentRecord, InsertCommitment,
};
pub use contract::LineStore;
pub use cursors::{CursorLag, CursorRecord, CursorStep, CursorStore};
pub use diagnostics::Diagnostics;
pub use diagnostics::postgres::PostgresInspector;
pub use diagnostics::records::{
    ActionFacts, Activity, ChainFacts, ConnectionFacts, CounterLock, DeadLetterCount, DeadLetterFacts,
    DestinationFacts, IndexFacts, MatchingFacts, OpenBreaker, SchemaFacts, Scope, SourceFacts, StoreFacts,
    StreamFacts, TableFacts, TenantLoad,
};
pub use diagnostics::sqlite::SqliteInspector;
pub use engine::{Engine, Tx, TxConnection, TxWork};
pub use error::StoreError;
pub use events::EventStore;
pub use events::receipts::{StoredReceipt, sign_receipts};
pub use events::records::{
    AppendOutcome, AppendReport, EntityFilter, Page, ReadQuery, StoredEvent, StreamHead, VerifiedBatch,
};
pub use gate::{Room, WriteGate};
pub use jobs::JobStore;
pub use jobs::records::{
    AttemptRecord, AttemptStatus, BreakerKey, BreakerRecord, BreakerReport, BreakerState, Claim, ClaimedJob,
    JobEnd, JobFilter, JobRecord, JobReport, JobState, NewJob, PRIORITY_MAX, PRIORITY_MIN, QueueDepth,
};
pub use keys::KeyStore;
pub use keys::changes::{
    AgentKeyFilter, AgentKeyName, ApiKeyFilter, ChangedKey, HashPrefix, KeyChange, KeyRotation, Retire,
    RotatedKey,
};
pub use keys::records::{
    AgentKeyRecord, AgentKeyStatus, ApiKeyRecord, Permission, RegisterKey, SequencerKeyRecord,
};
pub use leases::{Lease, LeaseStore};
pub use letters::DeadLetterStore;
pub use letters::records::{
    DeadLetter, LetterAges, LetterFilter, LetterLimits, LetterMark, LetterOrder, LetterReason, LetterStatus,
    LettersKept, LettersSwept, NewDeadLetter, RetryEnd,
};
pub use migrations::{AppliedMigration, Migration, Schema, SubsystemMigrations};
pub use postgres::copy::{PostgresRestore, RestoreObstacle, RestoreTarget, TableLayout, TableLoad};
pub use postgres::{PostgresConfig, PostgresStore};
pub use schemas::SchemaStore;
pub use schemas::records::{
    InsertSchema, SchemaCompatibility, SchemaFilter, SchemaHead, SchemaRecord, SchemaStatus,
};
pub use snapshot::postgres::PostgresSnapshot;
pub use snapshot::sqlite::SqliteSnapshot;
pub use snapshot::{
    CommitmentTrace, EngineProblem, EntityBreak, EventTrace, RepeatedId, Snapshot, SnapshotConnection,
    StreamTrace, Unreadable,
};
pub use sources::SourceStore;
pub use sources::records::{BlockMark, ChainAdvance, ChainCheckpoint};
pub use sqlite::copy::{copy_sqlite, fold_sqlite_log, sqlite_companions};
pub use sqlite::{SqliteConfig, SqliteStore};
pub use tail::{Listening, Tail};
pub use triggers::TriggerStore;
pub use triggers::records::{
    ActionRecord, BreakerSettings, ConditionRecord, MatchCommit, ProcessedEvent, PutTrigger, StateKey,
    TriggerChange, TriggerFilter, TriggerRecord,
};

pub mod tables;

/// Height of the lowest tree level that is stored with a commitment: a proof reads the 2^10 leaves around
/// its event and this level upwards, never the whole tree.
pub const TILE_HEIGHT: u32 = 10;
