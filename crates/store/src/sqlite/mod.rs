//! The embedded store: one SQLite file in WAL mode, `synchronous=FULL`.
//!
//! One thread owns the only connection that writes, so a write waits for its turn in a queue instead of on
//! a busy database; reads use a small pool of their own connections and never block it. The file belongs to
//! one process: whoever opens it holds the data folder's lock (the node sees to that).

mod anchors;
mod append;
mod budgets;
mod changes;
mod commitments;
mod copy;
mod dead_letters;
mod diagnostics;
mod job_insert;
mod jobs;
mod key_lifecycle;
mod keys;
mod matches;
mod pool;
mod read;
mod rows;
mod schemas;
mod snapshot;
mod sources;
mod triggers;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bowline_types::{AgentId, BatchId, EventId, StreamId, TenantId, Timestamp};
use bowline_ves::{Commitment, Hash, SequencerSigner};
use rusqlite::Connection;
use uuid::Uuid;

pub use self::copy::{copy_sqlite, fold_sqlite_log, sqlite_companions};
pub use self::diagnostics::SqliteInspector;
use self::pool::{Readers, Writer};
pub use self::snapshot::SqliteSnapshot;
use crate::metrics;
use crate::migrations::{AppliedMigration, pending};
use crate::{
    AgentKeyRecord, ApiKeyRecord, AppendReport, Changes, CommitmentFilter, CommitmentOrigin,
    CommitmentRecord, CursorRecord, InsertCommitment, LineStore, Page, ReadQuery, RegisterKey,
    SequencerKeyRecord, StoreError, StoredEvent, StreamHead, Tail, VerifiedBatch, WriteGate,
};

/// Where the file is and how it is opened.
#[derive(Debug, Clone)]
pub struct SqliteConfig {
    /// The database file; its folder exists.
    pub path: PathBuf,
    /// Connections that read.
    pub readers: usize,
    /// Whether missing migrations are applied.
    pub migrate: bool,
}

impl SqliteConfig {
    /// That file, with four readers, migrated as needed.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), readers: 4, migrate: true }
    }
}

/// The embedded store.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
    tail: Tail,
    changes: Changes,
    gate: WriteGate,
}

impl SqliteStore {
    /// Opens the file, creates it if it is not there, and applies missing migrations.
    ///
    /// # Errors
    /// The file can't be opened or written, or its schema is newer or older than `config` allows.
    pub async fn open(config: SqliteConfig) -> Result<(Self, Vec<AppliedMigration>), StoreError> {
        metrics::declare();
        let path = config.path.clone();
        let changes = Changes::default();
        let known = changes.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let mut connection = connect(&path)?;
            let applied = migrate(&mut connection, config.migrate)?;
            changes::load(&connection, &known).map_err(|e| pool::refuse(&e))?;
            Ok::<_, StoreError>((connection, applied))
        });
        let (connection, applied) = opened.await.map_err(|e| StoreError::Internal(e.to_string()))??;
        let readers = Readers::new(config.path, config.readers);
        let gate = WriteGate::default();
        let writer = Writer::start(connection, gate.clone())?;
        Ok((Self { writer, readers, tail: Tail::default(), changes, gate }, applied))
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path).map_err(|e| pool::refuse(&e))?;
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA foreign_keys = ON;
             PRAGMA busy_timeout = 10000;
             PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = -32768;
             PRAGMA wal_autocheckpoint = 4000;
             PRAGMA journal_size_limit = 67108864;",
        )
        .map_err(|e| pool::refuse(&e))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn migrate(connection: &mut Connection, apply: bool) -> Result<Vec<AppliedMigration>, StoreError> {
    let found = found_version(connection).map_err(|e| pool::refuse(&e))?;
    let mut applied = Vec::new();
    for migration in pending(found, apply)? {
        let transaction = connection.transaction().map_err(|e| pool::refuse(&e))?;
        transaction
            .execute_batch(
                "CREATE TABLE IF NOT EXISTS schema_migrations (
                     version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT",
            )
            .and_then(|()| transaction.execute_batch(migration.sqlite))
            .and_then(|()| {
                transaction.execute(
                    "INSERT INTO schema_migrations VALUES (?1, ?2, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))",
                    (migration.version, migration.name),
                )
            })
            .and_then(|_| transaction.commit())
            .map_err(|e| pool::refuse(&e))?;
        applied.push(AppliedMigration { version: migration.version, name: migration.name });
    }
    Ok(applied)
}

fn found_version(connection: &Connection) -> rusqlite::Result<i64> {
    let exists: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'schema_migrations')",
        (),
        |row| row.get(0),
    )?;
    if !exists {
        return Ok(0);
    }
    connection.query_row("SELECT coalesce(max(version), 0) FROM schema_migrations", (), |row| row.get(0))
}

#[async_trait]
impl LineStore for SqliteStore {
    fn engine(&self) -> &'static str {
        "sqlite"
    }

    async fn append(
        &self,
        batch: VerifiedBatch,
        signer: Arc<SequencerSigner>,
        now: Timestamp,
    ) -> Result<AppendReport, StoreError> {
        self.gate.pass().map_err(metrics::count_error)?;
        let (tail, heard) = (self.tail.clone(), self.changes.clone());
        let append = move |connection: &mut Connection| {
            let began = Instant::now();
            let report = append::append(connection, &heard, batch, &signer, now)?;
            metrics::record_append(began.elapsed(), report.written());
            // Here and not where the answer is awaited: the caller may be gone, and the followers still wait.
            for (stream, head) in &report.heads {
                tail.advance(*stream, *head);
            }
            Ok(report)
        };
        self.writer.run(append).await
    }

    async fn read(&self, query: ReadQuery) -> Result<Page, StoreError> {
        self.readers.run(move |connection| read::page(connection, &query)).await
    }

    async fn event(&self, stream: StreamId, event_id: EventId) -> Result<Option<StoredEvent>, StoreError> {
        self.readers.run(move |connection| read::event(connection, stream, event_id)).await
    }

    async fn head(&self, stream: StreamId) -> Result<Option<StreamHead>, StoreError> {
        self.readers.run(move |connection| read::head(connection, stream)).await
    }

    async fn streams(&self) -> Result<Vec<StreamHead>, StoreError> {
        self.readers.run(|connection| read::streams(connection)).await
    }

    async fn leaves(&self, stream: StreamId, start: u64, end: u64) -> Result<Vec<Hash>, StoreError> {
        self.readers.run(move |connection| read::leaves(connection, stream, start, end)).await
    }

    async fn insert_commitment(
        &self,
        commitment: Commitment,
        upper_levels: Vec<u8>,
        origin: CommitmentOrigin,
    ) -> Result<InsertCommitment, StoreError> {
        self.gate.pass().map_err(metrics::count_error)?;
        self.writer
            .run(move |connection| commitments::insert(connection, &commitment, &upper_levels, origin))
            .await
    }

    async fn commitment(&self, batch_id: BatchId) -> Result<Option<CommitmentRecord>, StoreError> {
        self.readers.run(move |connection| commitments::by_id(connection, batch_id)).await
    }

    async fn last_commitment(&self, stream: StreamId) -> Result<Option<CommitmentRecord>, StoreError> {
        self.readers.run(move |connection| commitments::last(connection, stream)).await
    }

    async fn commitment_covering(
        &self,
        stream: StreamId,
        sequence_number: u64,
    ) -> Result<Option<CommitmentRecord>, StoreError> {
        self.readers.run(move |connection| commitments::covering(connection, stream, sequence_number)).await
    }

    async fn commitments(&self, filter: CommitmentFilter) -> Result<Vec<CommitmentRecord>, StoreError> {
        self.readers.run(move |connection| commitments::list(connection, filter)).await
    }

    async fn commitment_upper_levels(&self, batch_id: BatchId) -> Result<Option<Vec<u8>>, StoreError> {
        self.readers.run(move |connection| commitments::upper_levels(connection, batch_id)).await
    }

    async fn register_agent_key(&self, key: AgentKeyRecord) -> Result<RegisterKey, StoreError> {
        self.writer.run(move |connection| keys::register_agent_key(connection, &key)).await
    }

    async fn agent_key(
        &self,
        tenant_id: TenantId,
        agent_id: AgentId,
        key_id: u32,
    ) -> Result<Option<AgentKeyRecord>, StoreError> {
        self.readers.run(move |connection| keys::agent_key(connection, tenant_id, agent_id, key_id)).await
    }

    async fn put_api_key(&self, key: ApiKeyRecord) -> Result<(), StoreError> {
        let heard = self.changes.clone();
        self.writer.run(move |connection| key_lifecycle::keep_api_key(connection, &heard, &key)).await
    }

    async fn api_key(&self, key_hash: Hash) -> Result<Option<ApiKeyRecord>, StoreError> {
        self.readers.run(move |connection| keys::api_key(connection, key_hash)).await
    }

    async fn register_sequencer_key(
        &self,
        sequencer_id: Uuid,
        public_key: [u8; 32],
        now: Timestamp,
    ) -> Result<SequencerKeyRecord, StoreError> {
        let register = move |connection: &mut Connection| {
            keys::register_sequencer_key(connection, sequencer_id, public_key, now)
        };
        self.writer.run(register).await
    }

    async fn sequencer_keys(&self) -> Result<Vec<SequencerKeyRecord>, StoreError> {
        self.readers.run(|connection| keys::sequencer_keys(connection)).await
    }

    async fn cursor(&self, follower: &str, stream: StreamId) -> Result<u64, StoreError> {
        let follower = follower.to_owned();
        self.readers.run(move |connection| read::cursor(connection, &follower, stream)).await
    }

    async fn advance_cursor(&self, cursor: CursorRecord) -> Result<(), StoreError> {
        self.writer.run(move |connection| append::advance_cursor(connection, &cursor)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.writer.ping().await?;
        self.readers
            .run(|connection| connection.query_row("SELECT 1", (), |_| Ok(())).map_err(Into::into))
            .await
    }

    fn tail(&self) -> &Tail {
        &self.tail
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }

    fn gate(&self) -> Option<&WriteGate> {
        Some(&self.gate)
    }

    async fn close(&self) {
        // The last connection that closes folds the log into the file, so that must be the writer.
        self.readers.close().await;
        self.writer.stop().await;
    }
}
