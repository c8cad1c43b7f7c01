//! Empty places for a store: a folder for SQLite, a database of its own for PostgreSQL.
//!
//! [`run`] gives a test its place and a deadline, and removes the place even if the test fails. It never
//! skips: without a PostgreSQL server its tests fail and say how to get one.

use std::sync::Arc;
use std::time::Duration;

use bowline_store::{
    AppliedMigration, LineStore, PostgresConfig, PostgresStore, Schema, SqliteConfig, SqliteStore, StoreError,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use uuid::Uuid;

/// Seconds that a whole test may take.
const TEST_SECS_MAX: u64 = 120;
/// Seconds that a state which must come may take.
const STATE_SECS_MAX: u64 = 10;

/// Which store a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// A folder.
    Sqlite,
    /// A server.
    Postgres,
}

/// Where the stores of one test live, and the tables that they have.
#[derive(Debug)]
pub struct Place {
    ground: Ground,
    schema: Schema,
}

#[derive(Debug)]
enum Ground {
    Folder(TempDir),
    Database { server: String, name: String },
}

/// Runs a test on an engine of its own place.
pub fn run<F, T>(engine: Engine, test: F)
where
    F: FnOnce(Arc<Place>) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    run_with(engine, Schema::default(), test);
}

/// Like [`run`], for a store that also has a subsystem's tables.
pub fn run_with<F, T>(engine: Engine, schema: Schema, test: F)
where
    F: FnOnce(Arc<Place>) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let place = Arc::new(Place::new(engine, schema).await);
        let deadline = Duration::from_secs(TEST_SECS_MAX);
        let test = tokio::spawn(tokio::time::timeout(deadline, test(Arc::clone(&place))));
        let ended = test.await;
        place.remove().await;
        match ended {
            Ok(in_time) => in_time.expect("the test took too long"),
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    });
}

/// What must be there soon.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    let deadline = Duration::from_secs(STATE_SECS_MAX);
    tokio::time::timeout(deadline, what).await.expect("what must come soon did not come")
}

/// Asks again and again until the answer is yes.
pub async fn until<F: Future<Output = bool>>(mut ask: impl FnMut() -> F) {
    soon(async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

impl Place {
    async fn new(engine: Engine, schema: Schema) -> Self {
        let ground = match engine {
            Engine::Sqlite => Ground::Folder(tempfile::tempdir().unwrap()),
            Engine::Postgres => {
                let server = server();
                let name = format!("store_{}", Uuid::new_v4().simple());
                execute(&server, &format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")).await;
                Ground::Database { server, name }
            }
        };
        Self { ground, schema }
    }

    async fn remove(&self) {
        if let Ground::Database { server, name } = &self.ground {
            execute(server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }

    /// Which store it is for.
    pub fn engine(&self) -> Engine {
        match &self.ground {
            Ground::Folder(_) => Engine::Sqlite,
            Ground::Database { .. } => Engine::Postgres,
        }
    }

    /// The file of an SQLite store.
    pub fn file(&self) -> SqliteConfig {
        match &self.ground {
            Ground::Folder(folder) => SqliteConfig {
                schema: self.schema.clone(),
                ..SqliteConfig::at(folder.path().join("line.db"))
            },
            Ground::Database { name, .. } => panic!("{name} is not a file"),
        }
    }

    /// The database of a PostgreSQL store.
    pub fn database(&self) -> PostgresConfig {
        match &self.ground {
            Ground::Folder(folder) => panic!("{folder:?} is not a database"),
            Ground::Database { server, name } => {
                // Few connections, since many tests share one server.
                let config = PostgresConfig::at(of_database(server, name));
                PostgresConfig { connections_max: 6, schema: self.schema.clone(), ..config }
            }
        }
    }

    /// The name of a PostgreSQL store's database.
    pub fn name(&self) -> &str {
        match &self.ground {
            Ground::Folder(folder) => panic!("{folder:?} is not a database"),
            Ground::Database { name, .. } => name,
        }
    }

    /// Opens the store.
    pub async fn open(&self) -> Arc<dyn LineStore> {
        self.try_open(true).await.unwrap().0
    }

    /// Opens the store, with or without leave to migrate, and says what was migrated.
    pub async fn try_open(
        &self,
        migrate: bool,
    ) -> Result<(Arc<dyn LineStore>, Vec<AppliedMigration>), StoreError> {
        match &self.ground {
            Ground::Folder(_) => {
                let opened = SqliteStore::open(SqliteConfig { migrate, ..self.file() }).await?;
                Ok((Arc::new(opened.0), opened.1))
            }
            Ground::Database { .. } => {
                let opened = PostgresStore::open(PostgresConfig { migrate, ..self.database() }).await?;
                Ok((Arc::new(opened.0), opened.1))
            }
        }
    }

    /// The store as two users have it: two processes on PostgreSQL, two tasks of one process on SQLite.
    pub async fn open_two(&self) -> [Arc<dyn LineStore>; 2] {
        let first = self.open().await;
        let second = match &self.ground {
            Ground::Folder(_) => Arc::clone(&first),
            Ground::Database { .. } => self.open().await,
        };
        [first, second]
    }

    /// Runs statements that both engines understand, past the store.
    pub async fn execute(&self, sql: &str) {
        match &self.ground {
            Ground::Folder(_) => {
                let connection = rusqlite::Connection::open(self.file().path).unwrap();
                connection.busy_timeout(Duration::from_secs(STATE_SECS_MAX)).unwrap();
                connection.execute_batch(sql).unwrap();
            }
            Ground::Database { .. } => execute(&self.database().url, sql).await,
        }
    }

    /// A connection of one's own to a PostgreSQL store's database.
    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.database().url).await.unwrap()
    }
}

fn server() -> String {
    std::env::var("BOWLINE_TEST_DATABASE_URL").unwrap_or_else(|_| {
        panic!(
            "BOWLINE_TEST_DATABASE_URL names no PostgreSQL server: run `cargo xtask test`, which starts a private \
             PostgreSQL"
        )
    })
}

/// The URL of another database on a URL's server.
fn of_database(server: &str, name: &str) -> String {
    let (address, options) = server.split_once('?').unwrap_or((server, ""));
    let (address, _) = address.rsplit_once('/').unwrap();
    format!("{address}/{name}?{options}")
}

async fn execute(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
