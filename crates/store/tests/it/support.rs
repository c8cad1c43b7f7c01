//! Empty places for a store: a folder for SQLite, a database of its own for PostgreSQL.
//!
//! [`run`] gives a test its place and a deadline, and removes the place even if the test fails. It never
//! skips: without a PostgreSQL server its tests fail and say how to get one.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use bowline_store::{
    AppliedMigration, LineStore, PostgresConfig, PostgresStore, SqliteConfig, SqliteStore, StoreError,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber, span};
use uuid::Uuid;

/// Seconds that a whole test may take.
const TEST_SECS_MAX: u64 = 120;
/// Seconds that a state which must come may take.
const STATE_SECS_MAX: u64 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// Where the stores of one test live.
#[derive(Debug)]
pub(crate) enum Place {
    Folder(TempDir),
    Database { server: String, name: String },
}

/// Runs a test on an engine of its own place.
pub(crate) fn run<F, T>(engine: Engine, test: F)
where
    F: FnOnce(Arc<Place>) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let place = Arc::new(Place::new(engine).await);
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
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    let deadline = Duration::from_secs(STATE_SECS_MAX);
    tokio::time::timeout(deadline, what).await.expect("what must come soon did not come")
}

/// Asks again and again until the answer is yes.
pub(crate) async fn until<F: Future<Output = bool>>(mut ask: impl FnMut() -> F) {
    soon(async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

impl Place {
    async fn new(engine: Engine) -> Self {
        match engine {
            Engine::Sqlite => Self::Folder(tempfile::tempdir().unwrap()),
            Engine::Postgres => {
                let server = server();
                let name = format!("store_{}", Uuid::new_v4().simple());
                execute(&server, &format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")).await;
                Self::Database { server, name }
            }
        }
    }

    async fn remove(&self) {
        if let Self::Database { server, name } = self {
            execute(server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }

    /// Which store it is for.
    pub(crate) fn engine(&self) -> Engine {
        match self {
            Self::Folder(_) => Engine::Sqlite,
            Self::Database { .. } => Engine::Postgres,
        }
    }

    /// The file of an SQLite store.
    pub(crate) fn file(&self) -> SqliteConfig {
        match self {
            Self::Folder(folder) => SqliteConfig::at(folder.path().join("line.db")),
            Self::Database { name, .. } => panic!("{name} is not a file"),
        }
    }

    /// The database of a PostgreSQL store.
    pub(crate) fn database(&self) -> PostgresConfig {
        match self {
            Self::Folder(folder) => panic!("{folder:?} is not a database"),
            Self::Database { server, name } => {
                // Few connections, since many tests share one server.
                PostgresConfig { connections_max: 6, ..PostgresConfig::at(of_database(server, name)) }
            }
        }
    }

    /// Opens the store.
    pub(crate) async fn open(&self) -> Arc<dyn LineStore> {
        self.try_open(true).await.unwrap().0
    }

    /// Opens the store, with or without leave to migrate, and says what was migrated.
    pub(crate) async fn try_open(
        &self,
        migrate: bool,
    ) -> Result<(Arc<dyn LineStore>, Vec<AppliedMigration>), StoreError> {
        match self {
            Self::Folder(_) => {
                let opened = SqliteStore::open(SqliteConfig { migrate, ..self.file() }).await?;
                Ok((Arc::new(opened.0), opened.1))
            }
            Self::Database { .. } => {
                let opened = PostgresStore::open(PostgresConfig { migrate, ..self.database() }).await?;
                Ok((Arc::new(opened.0), opened.1))
            }
        }
    }

    /// The store as two users have it: two processes on PostgreSQL, two tasks of one process on SQLite.
    pub(crate) async fn open_two(&self) -> [Arc<dyn LineStore>; 2] {
        let first = self.open().await;
        let second = match self {
            Self::Folder(_) => Arc::clone(&first),
            Self::Database { .. } => self.open().await,
        };
        [first, second]
    }

    /// Runs statements that both engines understand, past the store.
    pub(crate) async fn execute(&self, sql: &str) {
        match self {
            Self::Folder(_) => {
                let connection = rusqlite::Connection::open(self.file().path).unwrap();
                connection.busy_timeout(Duration::from_secs(STATE_SECS_MAX)).unwrap();
                connection.execute_batch(sql).unwrap();
            }
            Self::Database { .. } => execute(&self.database().url, sql).await,
        }
    }

    /// Lets the server's clock move on so many seconds, as far as leases of jobs are concerned. SQLite's are judged by the
    /// moment that a call names.
    pub(crate) async fn leases_age(&self, seconds: u32) {
        if self.engine() == Engine::Postgres {
            let sql =
                format!("UPDATE action_jobs SET lease_until = lease_until - interval '{seconds} seconds'");
            self.execute(&sql).await;
        }
    }

    /// A connection of one's own to a PostgreSQL store's database.
    pub(crate) async fn connect(&self) -> PgConnection {
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

/// Collects what one target logs while a future runs under it.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    target: &'static str,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Log {
    pub(crate) fn of(target: &'static str) -> Self {
        // Without a global subscriber, a place of the code that another test's thread reaches first is taken
        // for never logged by anybody. This one sees to that and collects nothing.
        static BYSTANDER: Once = Once::new();
        BYSTANDER.call_once(|| {
            let nothing = Self { target: "", lines: Arc::default() };
            tracing::subscriber::set_global_default(nothing).unwrap();
        });
        Self { target, lines: Arc::default() }
    }

    /// One line an event: all its fields.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

impl Subscriber for Log {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == self.target
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.lines.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!("{field}={value:?} ");
    }
}
