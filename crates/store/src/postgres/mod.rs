//! The shared store: PostgreSQL 14 or newer, for several processes on one line.
//!
//! A stream's row in `sequence_counters` serializes its writers; whoever holds it sees every event before
//! its own. `NOTIFY` tells the other processes that a stream grew, and a listener here hears it.

mod anchors;
mod append;
mod budgets;
mod changes;
mod commitments;
mod copy;
mod dead_letters;
mod diagnostics;
mod error;
mod guard;
mod job_insert;
mod jobs;
mod key_lifecycle;
mod keys;
mod listen;
mod matches;
mod read;
mod rows;
mod schemas;
mod snapshot;
mod sources;
mod triggers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bowline_types::{AgentId, BatchId, EventId, StreamId, TenantId, Timestamp};
use bowline_ves::{Commitment, Hash, SequencerSigner};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

pub use self::copy::{PostgresRestore, RestoreObstacle, RestoreTarget, TableLayout, TableLoad};
pub use self::diagnostics::PostgresInspector;
use self::error::refuse;
pub(crate) use self::guard::BREAKER;
use self::guard::Guard;
pub use self::snapshot::PostgresSnapshot;
use crate::metrics::{DB_POOL_CONNECTIONS, DB_POOL_IDLE, DB_POOL_MAX, count_error, declare, record_append};
use crate::migrations::{AppliedMigration, pending};
use crate::sequencing::Source;
use crate::{
    AgentKeyRecord, ApiKeyRecord, AppendReport, ChangeKind, Changes, CommitmentFilter, CommitmentOrigin,
    CommitmentRecord, CursorRecord, InsertCommitment, LineStore, Page, ReadQuery, RegisterKey,
    SequencerKeyRecord, StoreError, StoredEvent, StreamHead, Tail, VerifiedBatch,
};

/// Any number that no other user of the database takes for its advisory lock.
const MIGRATION_LOCK: i64 = 0x626f_776c_696e_6501;

/// Which database, and how much of it one process takes.
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database?sslmode=…`.
    pub url: String,
    /// Connections at most.
    pub connections_max: u32,
    /// Milliseconds to wait for a free connection before the store counts as away.
    pub acquire_ms_max: u64,
    /// Milliseconds that one statement may run.
    pub statement_ms_max: u64,
    /// Milliseconds that one statement may wait for a lock.
    pub lock_ms_max: u64,
    /// What `pg_stat_activity` shows.
    pub application_name: String,
    /// Whether missing migrations are applied.
    pub migrate: bool,
}

impl PostgresConfig {
    /// That database, with the defaults.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            connections_max: 10,
            acquire_ms_max: 3_000,
            statement_ms_max: 30_000,
            lock_ms_max: 10_000,
            application_name: "bowline".to_owned(),
            migrate: true,
        }
    }

    fn options(&self) -> Result<PgConnectOptions, StoreError> {
        let options: PgConnectOptions = self
            .url
            .parse()
            .map_err(|e: sqlx::Error| StoreError::Internal(format!("the database URL: {e}")))?;
        Ok(options.application_name(&self.application_name).options([
            ("statement_timeout", self.statement_ms_max.to_string()),
            ("lock_timeout", self.lock_ms_max.to_string()),
            ("idle_in_transaction_session_timeout", "60000".to_owned()),
            // Every look-up has its index, also before the first ANALYZE has told the planner so.
            ("enable_seqscan", "off".to_owned()),
            // What an append reads under its locks must be newer than the locks.
            ("default_transaction_isolation", "read committed".to_owned()),
        ]))
    }
}

/// Rows written by this process after which the planner is told what the table looks like. The server's own
/// autovacuum comes only once a minute, and until then a young table's indexes all look alike to the planner.
const ANALYZE_AT_ROWS: [u64; 3] = [200, 2_000, 20_000];

/// A connection that has been idle for less is taken without asking whether it lives.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// The shared store.
#[derive(Debug)]
pub struct PostgresStore {
    pool: PgPool,
    rows_written: AtomicU64,
    contention: append::Contention,
    tail: Tail,
    changes: Changes,
    guard: Guard,
    listener: tokio::task::JoinHandle<()>,
    watch: tokio::task::JoinHandle<()>,
}

impl PostgresStore {
    /// Connects, and applies missing migrations.
    ///
    /// # Errors
    /// The database can't be reached, or its schema is newer or older than `config` allows.
    pub async fn open(config: PostgresConfig) -> Result<(Self, Vec<AppliedMigration>), StoreError> {
        declare();
        let options = config.options()?;
        let applied = migrate(&options, config.migrate).await?;
        let pool = PgPoolOptions::new()
            .max_connections(config.connections_max.max(2))
            .acquire_timeout(Duration::from_millis(config.acquire_ms_max))
            .after_connect(|connection, _| Box::pin(make_durable(connection)))
            // A connection that was busy just now needs no round trip to show that it lives.
            .test_before_acquire(false)
            .before_acquire(|connection, used| {
                Box::pin(async move {
                    if used.idle_for >= TRUSTED_IDLE {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_with(options.clone())
            .await
            .map_err(|e| refuse(&e))?;
        metrics::gauge!(DB_POOL_MAX).set(f64::from(config.connections_max.max(2)));
        let tail = Tail::default();
        let changes = Changes::default();
        changes::load(&pool, &changes).await.map_err(|e| refuse(&e))?;
        let guard = Guard::new();
        let listener =
            tokio::spawn(listen::listen(pool.clone(), tail.clone(), changes.clone(), guard.clone()));
        let watch = tokio::spawn(guard.clone().watch(options));
        let (rows_written, contention) = (AtomicU64::new(0), append::Contention::default());
        Ok((Self { pool, rows_written, contention, tail, changes, guard, listener, watch }, applied))
    }

    /// The connections, unless the database is known to be away.
    fn pool(&self) -> Result<&PgPool, StoreError> {
        self.guard.check().map_err(count_error)?;
        Ok(&self.pool)
    }

    fn counted<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        metrics::gauge!(DB_POOL_CONNECTIONS).set(f64::from(self.pool.size()));
        metrics::gauge!(DB_POOL_IDLE).set(self.pool.num_idle() as f64);
        if let Err(StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_)) = &result {
            self.guard.suspect();
        }
        result.map_err(count_error)
    }
}

impl PostgresStore {
    /// Has the table analyzed when it has grown from nothing to something; a failure only costs speed.
    fn tell_planner(&self, rows: u64) {
        let before = self.rows_written.fetch_add(rows, Ordering::Relaxed);
        if ANALYZE_AT_ROWS.iter().any(|at| (before..before + rows).contains(at)) {
            let pool = self.pool.clone();
            tokio::spawn(async move {
                if let Err(error) = sqlx::query("ANALYZE ves_events").execute(&pool).await {
                    tracing::debug!(component = "store", %error, "Table not analyzed");
                }
            });
        }
    }
}

/// A database may be told not to wait for its disk; an acknowledgement of ours does wait. What is stricter
/// than `on`, such as `remote_apply`, stays.
async fn make_durable(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
    )
    .execute(connection)
    .await
    .map(drop)
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        // The listener holds the pool, and with it every connection.
        self.listener.abort();
        self.watch.abort();
    }
}

async fn migrate(options: &PgConnectOptions, apply: bool) -> Result<Vec<AppliedMigration>, StoreError> {
    let mut connection = PgConnection::connect_with(options).await.map_err(|e| refuse(&e))?;
    let migrated = migrate_locked(&mut connection, apply).await;
    drop(connection.close().await);
    migrated
}

/// Several processes may start at once: the lock lets one migrate while the others wait.
async fn migrate_locked(
    connection: &mut PgConnection,
    apply: bool,
) -> Result<Vec<AppliedMigration>, StoreError> {
    let mut transaction = connection.begin().await.map_err(|e| refuse(&e))?;
    let run = async {
        sqlx::query("SET LOCAL lock_timeout = 0").execute(&mut *transaction).await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(MIGRATION_LOCK)
            .execute(&mut *transaction)
            .await?;
        let exists: bool = sqlx::query_scalar("SELECT to_regclass('schema_migrations') IS NOT NULL")
            .fetch_one(&mut *transaction)
            .await?;
        if !exists {
            return Ok(0);
        }
        sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM schema_migrations")
            .fetch_one(&mut *transaction)
            .await
    };
    let found: i64 = run.await.map_err(|e: sqlx::Error| refuse(&e))?;
    let mut applied = Vec::new();
    for migration in pending(found, apply)? {
        let step = async {
            sqlx::raw_sql(
                "CREATE TABLE IF NOT EXISTS schema_migrations (
                     version bigint PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
            )
            .execute(&mut *transaction)
            .await?;
            sqlx::raw_sql(migration.postgres).execute(&mut *transaction).await?;
            sqlx::query("INSERT INTO schema_migrations (version, name) VALUES ($1, $2)")
                .bind(migration.version)
                .bind(migration.name)
                .execute(&mut *transaction)
                .await
        };
        step.await.map_err(|e| refuse(&e))?;
        applied.push(AppliedMigration { version: migration.version, name: migration.name });
    }
    transaction.commit().await.map_err(|e| refuse(&e))?;
    Ok(applied)
}

#[async_trait]
impl LineStore for PostgresStore {
    fn engine(&self) -> &'static str {
        "postgres"
    }

    async fn append(
        &self,
        batch: VerifiedBatch,
        signer: Arc<SequencerSigner>,
        now: Timestamp,
    ) -> Result<AppendReport, StoreError> {
        let began = Instant::now();
        let append = append::Append {
            batch: Arc::new(batch.events),
            keys_epoch: batch.keys_epoch,
            signer,
            now,
            source: Source::Client,
        };
        let appended = append.run(self.pool()?, &self.contention).await;
        if let Err(StoreError::KeysChanged { epoch }) = &appended {
            self.changes.observe(ChangeKind::AgentKeys, *epoch);
        }
        let report = self.counted(appended)?;
        record_append(began.elapsed(), report.written());
        self.tell_planner(report.outcomes.len() as u64);
        for (stream, head) in &report.heads {
            self.tail.advance(*stream, *head);
        }
        Ok(report)
    }

    async fn read(&self, query: ReadQuery) -> Result<Page, StoreError> {
        self.counted(read::page(self.pool()?, &query).await)
    }

    async fn event(&self, stream: StreamId, event_id: EventId) -> Result<Option<StoredEvent>, StoreError> {
        self.counted(read::event(self.pool()?, stream, event_id).await)
    }

    async fn head(&self, stream: StreamId) -> Result<Option<StreamHead>, StoreError> {
        self.counted(read::head(self.pool()?, stream).await)
    }

    async fn streams(&self) -> Result<Vec<StreamHead>, StoreError> {
        self.counted(read::streams(self.pool()?).await)
    }

    async fn leaves(&self, stream: StreamId, start: u64, end: u64) -> Result<Vec<Hash>, StoreError> {
        self.counted(read::leaves(self.pool()?, stream, start, end).await)
    }

    async fn insert_commitment(
        &self,
        commitment: Commitment,
        upper_levels: Vec<u8>,
        origin: CommitmentOrigin,
    ) -> Result<InsertCommitment, StoreError> {
        self.counted(commitments::insert(self.pool()?, &commitment, &upper_levels, origin).await)
    }

    async fn commitment(&self, batch_id: BatchId) -> Result<Option<CommitmentRecord>, StoreError> {
        self.counted(commitments::by_id(self.pool()?, batch_id).await)
    }

    async fn last_commitment(&self, stream: StreamId) -> Result<Option<CommitmentRecord>, StoreError> {
        self.counted(commitments::last(self.pool()?, stream).await)
    }

    async fn commitment_covering(
        &self,
        stream: StreamId,
        sequence_number: u64,
    ) -> Result<Option<CommitmentRecord>, StoreError> {
        self.counted(commitments::covering(self.pool()?, stream, sequence_number).await)
    }

    async fn commitments(&self, filter: CommitmentFilter) -> Result<Vec<CommitmentRecord>, StoreError> {
        self.counted(commitments::list(self.pool()?, filter).await)
    }

    async fn commitment_upper_levels(&self, batch_id: BatchId) -> Result<Option<Vec<u8>>, StoreError> {
        self.counted(commitments::upper_levels(self.pool()?, batch_id).await)
    }

    async fn register_agent_key(&self, key: AgentKeyRecord) -> Result<RegisterKey, StoreError> {
        self.counted(keys::register_agent_key(self.pool()?, &key).await)
    }

    async fn agent_key(
        &self,
        tenant_id: TenantId,
        agent_id: AgentId,
        key_id: u32,
    ) -> Result<Option<AgentKeyRecord>, StoreError> {
        self.counted(keys::agent_key(self.pool()?, tenant_id, agent_id, key_id).await)
    }

    async fn put_api_key(&self, key: ApiKeyRecord) -> Result<(), StoreError> {
        self.counted(self.keep_api_key(&key).await)
    }

    async fn api_key(&self, key_hash: Hash) -> Result<Option<ApiKeyRecord>, StoreError> {
        self.counted(keys::api_key(self.pool()?, key_hash).await)
    }

    async fn register_sequencer_key(
        &self,
        sequencer_id: Uuid,
        public_key: [u8; 32],
        now: Timestamp,
    ) -> Result<SequencerKeyRecord, StoreError> {
        self.counted(keys::register_sequencer_key(self.pool()?, sequencer_id, public_key, now).await)
    }

    async fn sequencer_keys(&self) -> Result<Vec<SequencerKeyRecord>, StoreError> {
        self.counted(keys::sequencer_keys(self.pool()?).await)
    }

    async fn cursor(&self, follower: &str, stream: StreamId) -> Result<u64, StoreError> {
        self.counted(read::cursor(self.pool()?, follower, stream).await)
    }

    async fn advance_cursor(&self, cursor: CursorRecord) -> Result<(), StoreError> {
        self.counted(append::advance_cursor(self.pool()?, &cursor).await)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let pinged = sqlx::query("SELECT 1").execute(self.pool()?).await;
        self.counted(pinged.map(drop).map_err(|e| refuse(&e)))
    }

    fn tail(&self) -> &Tail {
        &self.tail
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }

    async fn close(&self) {
        self.listener.abort();
        self.watch.abort();
        self.pool.close().await;
    }
}
