//! Empty places for a store, and processes that match on it.
//!
//! Without a PostgreSQL server its tests fail and say how to get one.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bowline_deliveries::{ActionRules, ActionScope, SealedConfig};
use bowline_runtime::{Shutdown, SystemClock, Tasks};
use bowline_store::{
    ActionRecord, JobFilter, JobRecord, JobState, LineStore, PostgresConfig, PostgresStore, SqliteConfig,
    SqliteStore,
};
use bowline_triggers::{Config, Dependencies, FieldProblem, Handle, MatchingConfig, Service};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use uuid::Uuid;

/// Seconds that a whole test may take.
const TEST_SECS_MAX: u64 = 120;

/// Seconds that a state which must come may take.
const STATE_SECS_MAX: u64 = 30;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// Where the stores of one test live.
#[derive(Debug)]
pub(crate) enum TestStore {
    Folder(TempDir),
    Database { server: String, name: String },
}

/// Runs a test on an engine of its own place.
pub(crate) fn run<F, T>(engine: Engine, test: F)
where
    F: FnOnce(Arc<TestStore>) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let place = Arc::new(TestStore::new(engine).await);
        let deadline = Duration::from_secs(TEST_SECS_MAX);
        let ended = tokio::spawn(tokio::time::timeout(deadline, test(Arc::clone(&place)))).await;
        place.remove().await;
        match ended {
            Ok(in_time) => in_time.expect("the test took too long"),
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    });
}

/// Asks again and again until the answer is yes.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let ask = async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(STATE_SECS_MAX), ask).await;
    assert!(in_time.is_ok(), "it must come soon: {what}");
}

impl TestStore {
    async fn new(engine: Engine) -> Self {
        match engine {
            Engine::Sqlite => Self::Folder(tempfile::tempdir().unwrap()),
            Engine::Postgres => {
                let server = std::env::var("BOWLINE_TEST_DATABASE_URL").unwrap_or_else(|_| {
                    panic!("BOWLINE_TEST_DATABASE_URL names no PostgreSQL server: run `cargo xtask test`")
                });
                let name = format!("triggers_{}", Uuid::new_v4().simple());
                let create = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'");
                execute(&server, &create).await;
                Self::Database { server, name }
            }
        }
    }

    async fn remove(&self) {
        if let Self::Database { server, name } = self {
            execute(server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }

    /// Keeps everybody from a table until the connection is closed; on PostgreSQL.
    pub(crate) async fn lock(&self, table: &str) -> PgConnection {
        let Self::Database { server, name } = self else { panic!("SQLite has no locks of tables") };
        let mut connection = PgConnection::connect(&Self::of_database(server, name)).await.unwrap();
        let lock = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
        sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut connection).await.unwrap();
        connection
    }

    /// How many connections wait for a lock with a statement that contains this text; on PostgreSQL.
    pub(crate) async fn waiting_with(&self, text: &str) -> i64 {
        let Self::Database { server, name } = self else { panic!("SQLite has no locks of tables") };
        let mut connection = PgConnection::connect(&Self::of_database(server, name)).await.unwrap();
        let waiting = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                 AND wait_event_type = 'Lock' AND position($1 in query) > 0",
        );
        let waiting = waiting.bind(text).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        waiting
    }

    fn of_database(server: &str, name: &str) -> String {
        let (address, options) = server.split_once('?').unwrap_or((server, ""));
        let (address, _) = address.rsplit_once('/').unwrap();
        format!("{address}/{name}?{options}")
    }

    /// Opens the store as one more process does.
    pub(crate) async fn open(&self) -> Arc<dyn LineStore> {
        match self {
            Self::Folder(folder) => {
                let config = SqliteConfig::at(folder.path().join("line.db"));
                Arc::new(SqliteStore::open(config).await.unwrap().0)
            }
            Self::Database { server, name } => {
                let config = PostgresConfig::at(Self::of_database(server, name));
                let config = PostgresConfig { connections_max: 6, ..config };
                Arc::new(PostgresStore::open(config).await.unwrap().0)
            }
        }
    }
}

async fn execute(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Actions that are taken if they are `rest` and have a `url`.
#[derive(Debug)]
struct Actions;

impl ActionRules for Actions {
    fn check(
        &self,
        _: ActionScope<'_>,
        action_type: &str,
        config: &Value,
        _: Option<&ActionRecord>,
    ) -> Vec<FieldProblem> {
        match (action_type, config.get("url")) {
            ("rest", Some(_)) => Vec::new(),
            ("rest", None) => vec![FieldProblem::new("config.url", "is missing")],
            _ => vec![FieldProblem::new("action_type", "takes rest")],
        }
    }

    fn seal(
        &self,
        _: ActionScope<'_>,
        _: Uuid,
        config: &Value,
        _: Option<&ActionRecord>,
    ) -> Result<SealedConfig, String> {
        Ok(SealedConfig { config: config.to_string(), sealed: None })
    }

    fn masked(&self, action: &ActionRecord) -> Value {
        serde_json::from_str(&action.config).unwrap()
    }
}

/// A process.
pub(crate) struct Process {
    pub(crate) handle: Handle,
    pub(crate) store: Arc<dyn LineStore>,
    tasks: Tasks,
}

/// Settings under which what must come comes soon.
pub(crate) fn quick() -> MatchingConfig {
    MatchingConfig { page_events: 20, poll_ms: 100, lease_secs: 1, ..MatchingConfig::default() }
}

impl Process {
    /// One that only answers.
    pub(crate) async fn idle(place: &TestStore) -> Self {
        Self::on(place.open().await, MatchingConfig::default())
    }

    /// One that matches.
    pub(crate) async fn matching(place: &TestStore, matching: MatchingConfig) -> Self {
        Self::start(place.open().await, matching)
    }

    /// One that matches on that store.
    pub(crate) fn start(store: Arc<dyn LineStore>, matching: MatchingConfig) -> Self {
        let (process, service) = Self::build(store, matching);
        service.spawn_matching(&process.tasks);
        process
    }

    fn on(store: Arc<dyn LineStore>, matching: MatchingConfig) -> Self {
        Self::build(store, matching).0
    }

    fn build(store: Arc<dyn LineStore>, matching: MatchingConfig) -> (Self, Service) {
        let config = Config { matching, per_tenant_max: 100, ..Config::default() };
        let dependencies = Dependencies {
            store: Arc::clone(&store),
            clock: Arc::new(SystemClock),
            actions: Arc::new(Actions),
            instance: "test".to_owned(),
        };
        let (service, handle) = Service::build(&config, dependencies).unwrap();
        (Self { handle, store, tasks: Tasks::new(Shutdown::new()) }, service)
    }

    /// Stops it as a signal does.
    pub(crate) async fn stop(self) {
        self.tasks.shutdown().begin();
        self.tasks.join(Duration::from_secs(STATE_SECS_MAX)).await.unwrap();
    }

    pub(crate) async fn jobs(&self, state: Option<JobState>) -> Vec<JobRecord> {
        self.store.jobs(JobFilter { state, limit: 100_000, ..JobFilter::default() }).await.unwrap()
    }
}
