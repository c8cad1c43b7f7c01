//! The embedded store: one SQLite file in WAL mode, `synchronous=FULL`.
//!
//! One thread owns the only connection that writes, so a write waits for its turn in a queue instead of on
//! a busy database; reads use a small pool of their own connections and never block it. The file belongs to
//! one process: whoever opens it holds the data folder's lock (the node sees to that).

pub(crate) mod copy;
pub(crate) mod pool;
pub(crate) mod rows;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rusqlite::Connection;

use self::pool::{Failure, Readers, Writer};
use crate::migrations::{AppliedMigration, Schema};
use crate::{Changes, Engine, LineStore, StoreError, Tail, WriteGate, metrics};

/// Where the file is and how it is opened.
#[derive(Debug, Clone)]
pub struct SqliteConfig {
    /// The database file; its folder exists.
    pub path: PathBuf,
    /// Connections that read.
    pub readers: usize,
    /// Whether missing migrations are applied.
    pub migrate: bool,
    /// The tables that are to be there.
    pub schema: Schema,
}

impl SqliteConfig {
    /// That file, with four readers, migrated as needed, with the line's tables alone.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), readers: 4, migrate: true, schema: Schema::default() }
    }
}

/// The embedded store; cheap to clone.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
    pub(crate) tail: Tail,
    pub(crate) changes: Changes,
    pub(crate) gate: WriteGate,
    pub(crate) schema: Schema,
}

impl SqliteStore {
    /// Opens the file, creates it if it is not there, and applies missing migrations.
    ///
    /// # Errors
    /// The file can't be opened or written, or its schema is newer or older than `config` allows.
    pub async fn open(config: SqliteConfig) -> Result<(Self, Vec<AppliedMigration>), StoreError> {
        metrics::declare();
        let (path, readers) = (config.path.clone(), Readers::new(config.path.clone(), config.readers));
        let changes = Changes::default();
        let (known, schema) = (changes.clone(), config.schema.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let mut connection = connect(&path)?;
            let applied = migrate(&mut connection, &config.schema, config.migrate)?;
            crate::changes::sqlite::load(&connection, &known).map_err(|e| pool::refuse(&e))?;
            Ok::<_, StoreError>((connection, applied))
        });
        let (connection, applied) = opened.await.map_err(|e| StoreError::Internal(e.to_string()))??;
        let gate = WriteGate::default();
        let writer = Writer::start(connection, gate.clone())?;
        Ok((Self { writer, readers, tail: Tail::default(), changes, gate, schema }, applied))
    }
}

impl SqliteStore {
    /// Runs `work` on a connection that reads, beside the writer and other readers.
    ///
    /// # Errors
    /// Those of `work`, and [`StoreError::Unavailable`] once the store is closed.
    pub async fn with_reader<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, Failure> + Send + 'static,
    {
        self.readers.run(work).await
    }

    /// Runs `work` on the one connection that writes, after all that was handed over before it. Work that changes
    /// more than one row begins a transaction itself; it is finished whole also if the caller's future is dropped.
    ///
    /// # Errors
    /// Those of `work`, and [`StoreError::Unavailable`] once the store is closed.
    pub async fn with_writer<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, Failure> + Send + 'static,
    {
        self.writer.run(work).await
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

fn migrate(
    connection: &mut Connection,
    schema: &Schema,
    apply: bool,
) -> Result<Vec<AppliedMigration>, StoreError> {
    let known = applied_versions(connection).map_err(|e| pool::refuse(&e))?;
    let mut applied = Vec::new();
    for (subsystem, migration) in schema.pending(&known, apply)? {
        let transaction = connection.transaction().map_err(|e| pool::refuse(&e))?;
        transaction
            .execute_batch(
                "CREATE TABLE IF NOT EXISTS schema_migrations (
                     version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT",
            )
            .and_then(|()| transaction.execute_batch(migration.sqlite))
            .and_then(|()| {
                transaction.execute(
                    "INSERT INTO schema_migrations (version, name, applied_at)
                     VALUES (?1, ?2, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))",
                    (migration.version, migration.name),
                )
            })
            .and_then(|_| transaction.commit())
            .map_err(|e| pool::refuse(&e))?;
        applied.push(AppliedMigration { version: migration.version, name: migration.name, subsystem });
    }
    Ok(applied)
}

/// The numbers of the migrations that a file has had; none if it holds no store.
pub(crate) fn applied_versions(connection: &Connection) -> rusqlite::Result<BTreeSet<i64>> {
    let exists: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'schema_migrations')",
        (),
        |row| row.get(0),
    )?;
    if !exists {
        return Ok(BTreeSet::new());
    }
    let mut statement = connection.prepare("SELECT version FROM schema_migrations")?;
    statement.query_map((), |row| row.get(0))?.collect()
}

/// The schema version of a file: its highest number; 0 if it holds no store.
pub(crate) fn found_version(connection: &Connection) -> rusqlite::Result<i64> {
    Ok(applied_versions(connection)?.last().copied().unwrap_or(0))
}

#[async_trait]
impl LineStore for SqliteStore {
    fn engine(&self) -> Engine {
        Engine::Sqlite(self.clone())
    }

    fn schema_version(&self) -> i64 {
        self.schema.version()
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
