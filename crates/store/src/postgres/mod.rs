//! The shared store: PostgreSQL 14 or newer, for several processes on one line.
//!
//! A stream's row in `sequence_counters` serializes its writers; whoever holds it sees every event before
//! its own. `NOTIFY` tells the other processes that a stream grew, and a listener here hears it.

pub(crate) mod copy;
pub(crate) mod error;
pub(crate) mod guard;
pub(crate) mod listen;
pub(crate) mod rows;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::task::JoinHandle;

use self::error::refuse;
pub(crate) use self::guard::BREAKER;
use self::guard::Guard;
use crate::events::postgres::append::Contention;
use crate::metrics::{DB_POOL_CONNECTIONS, DB_POOL_IDLE, DB_POOL_MAX, count_error, declare};
use crate::migrations::{AppliedMigration, Schema};
use crate::{Changes, Engine, LineStore, StoreError, Tail};

/// Any number that no other user of the database takes for its advisory lock.
pub(crate) const MIGRATION_LOCK: i64 = 0x626f_776c_696e_6501;

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
    /// The tables that are to be there.
    pub schema: Schema,
}

impl PostgresConfig {
    /// That database, with the defaults and the line's tables alone.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            connections_max: 10,
            acquire_ms_max: 3_000,
            statement_ms_max: 30_000,
            lock_ms_max: 10_000,
            application_name: "bowline".to_owned(),
            migrate: true,
            schema: Schema::default(),
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

/// The shared store; cheap to clone.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    pool: PgPool,
    rows_written: Arc<AtomicU64>,
    pub(crate) contention: Arc<Contention>,
    pub(crate) tail: Tail,
    pub(crate) changes: Changes,
    guard: Guard,
    pub(crate) schema: Schema,
    companions: Arc<Companions>,
}

/// The tasks that run as long as the store does.
#[derive(Debug)]
struct Companions {
    /// Hears of other processes' writes.
    listener: JoinHandle<()>,
    /// Finds out when the database is back.
    watch: JoinHandle<()>,
}

impl Companions {
    fn abort(&self) {
        self.listener.abort();
        self.watch.abort();
    }
}

impl Drop for Companions {
    fn drop(&mut self) {
        // The listener holds the pool, and with it every connection.
        self.abort();
    }
}

impl PostgresStore {
    /// Connects, and applies missing migrations.
    ///
    /// # Errors
    /// The database can't be reached, or its schema is newer or older than `config` allows.
    pub async fn open(config: PostgresConfig) -> Result<(Self, Vec<AppliedMigration>), StoreError> {
        declare();
        let options = config.options()?;
        let applied = migrate(&options, &config.schema, config.migrate).await?;
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
        crate::changes::postgres::load(&pool, &changes).await.map_err(|e| refuse(&e))?;
        let guard = Guard::new();
        let listener =
            tokio::spawn(listen::listen(pool.clone(), tail.clone(), changes.clone(), guard.clone()));
        let watch = tokio::spawn(guard.clone().watch(options));
        let companions = Arc::new(Companions { listener, watch });
        let (rows_written, contention) = (Arc::default(), Arc::default());
        let schema = config.schema;
        Ok((Self { pool, rows_written, contention, tail, changes, guard, schema, companions }, applied))
    }

    /// The connections, unless the database is known to be away.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], at once, while the database does not answer.
    pub fn pool(&self) -> Result<&PgPool, StoreError> {
        self.guard.check().map_err(count_error)?;
        Ok(&self.pool)
    }

    /// Hands on what a call came to. A failure is counted, and raises the suspicion that the database is away.
    ///
    /// # Errors
    /// That of `result`.
    pub fn counted<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
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
    pub(crate) fn tell_planner(&self, rows: u64) {
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

async fn migrate(
    options: &PgConnectOptions,
    schema: &Schema,
    apply: bool,
) -> Result<Vec<AppliedMigration>, StoreError> {
    let mut connection = PgConnection::connect_with(options).await.map_err(|e| refuse(&e))?;
    let migrated = migrate_locked(&mut connection, schema, apply).await;
    drop(connection.close().await);
    migrated
}

/// Several processes may start at once: the lock lets one migrate while the others wait.
async fn migrate_locked(
    connection: &mut PgConnection,
    schema: &Schema,
    apply: bool,
) -> Result<Vec<AppliedMigration>, StoreError> {
    let mut transaction = connection.begin().await.map_err(|e| refuse(&e))?;
    let run = async {
        sqlx::query("SET LOCAL lock_timeout = 0").execute(&mut *transaction).await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(MIGRATION_LOCK)
            .execute(&mut *transaction)
            .await?;
        applied_versions(&mut transaction).await
    };
    let known = run.await.map_err(|e: sqlx::Error| refuse(&e))?;
    let mut applied = Vec::new();
    for (subsystem, migration) in schema.pending(&known, apply)? {
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
        applied.push(AppliedMigration { version: migration.version, name: migration.name, subsystem });
    }
    transaction.commit().await.map_err(|e| refuse(&e))?;
    Ok(applied)
}

/// The numbers of the migrations that the tables on the search path have had; none if there is no store.
pub(crate) async fn applied_versions(connection: &mut PgConnection) -> sqlx::Result<BTreeSet<i64>> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('schema_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(BTreeSet::new());
    }
    let versions: Vec<i64> =
        sqlx::query_scalar("SELECT version FROM schema_migrations").fetch_all(connection).await?;
    Ok(versions.into_iter().collect())
}

#[async_trait]
impl LineStore for PostgresStore {
    fn engine(&self) -> Engine {
        Engine::Postgres(self.clone())
    }

    fn schema_version(&self) -> i64 {
        self.schema.version()
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
        self.companions.abort();
        self.pool.close().await;
    }
}
