//! Where the nodes of one test live: a folder, and for PostgreSQL a database of its own.
//!
//! [`run`] gives a test its site and a deadline, and removes the site even if the test fails. It never skips:
//! without a PostgreSQL server or a program that they need, tests fail and say how to get it.

use std::fs::Permissions;
use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::TempDir;
use uuid::Uuid;

use crate::node::{Spec, bowline};

/// Seconds that a whole test may take.
const TEST_SECS_MAX: u64 = 120;
/// Seconds that one may take when `cargo xtask soak` runs it.
const SOAK_SECS_MAX: u64 = 4 * 3_600;
/// Seconds that a state which must come may take.
const STATE_SECS_MAX: u64 = 20;
/// What a test says that needs a server or a program and was started without it.
const NOT_GIVEN: &str = "is not set: run `cargo xtask test`, which brings what the tests need";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// The places of one test.
#[derive(Debug)]
pub(crate) struct Site {
    folder: TempDir,
    database: Option<Database>,
}

#[derive(Debug)]
struct Database {
    server: String,
    name: String,
}

/// Runs a test on a site of its own.
pub(crate) fn run<F, T>(engine: Engine, test: F)
where
    F: FnOnce(Arc<Site>) -> T,
    T: Future<Output = ()>,
{
    // A second installation is refused, and the first one serves.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let site = Arc::new(Site::new(engine).await);
        let ended = AssertUnwindSafe(in_time(test(Arc::clone(&site)))).catch_unwind().await;
        site.remove().await;
        if let Err(failure) = ended {
            std::panic::resume_unwind(failure);
        }
    });
}

async fn in_time(test: impl Future<Output = ()>) {
    // Pinned here, so that the test's nodes are dropped while this function panics, and say what they said.
    tokio::pin!(test);
    let secs_max = if soak_secs().is_some() { SOAK_SECS_MAX } else { TEST_SECS_MAX };
    tokio::select! {
        () = &mut test => {}
        () = tokio::time::sleep(Duration::from_secs(secs_max)) => panic!("the test took {secs_max} s"),
    }
}

/// What must be there soon.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    let deadline = Duration::from_secs(STATE_SECS_MAX);
    tokio::time::timeout(deadline, what).await.expect("what must come soon did not come")
}

/// Asks again and again until the answer is yes.
pub(crate) async fn until(mut ask: impl AsyncFnMut() -> bool) {
    soon(async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// How long a test that can go on for as long as one likes is to do so; none in an ordinary run.
pub(crate) fn soak_secs() -> Option<u64> {
    let given = std::env::var("BOWLINE_SOAK_SECS").ok()?;
    Some(given.parse().expect("BOWLINE_SOAK_SECS is a number of seconds"))
}

/// A variable that `cargo xtask test` sets.
pub(crate) fn from_xtask(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} {NOT_GIVEN}"))
}

impl Site {
    async fn new(engine: Engine) -> Self {
        let database = match engine {
            Engine::Sqlite => None,
            Engine::Postgres => {
                let server = from_xtask("BOWLINE_TEST_DATABASE_URL");
                let name = format!("cli_{}", Uuid::new_v4().simple());
                execute(&server, &format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")).await;
                Some(Database { server, name })
            }
        };
        Self { folder: tempfile::tempdir().unwrap(), database }
    }

    async fn remove(&self) {
        if let Some(Database { server, name }) = &self.database {
            execute(server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }

    /// A node with its data folder in the folder of that name, on the site's database if there is one.
    pub(crate) fn node(&self, name: &str) -> Spec {
        let spec = Spec::new(self.path(name));
        match &self.database {
            None => spec,
            Some(Database { server, name }) => spec
                .env("DATABASE_URL", &of_database(server, name))
                // Few connections, since many tests share one server.
                .env("MAX_DB_CONNECTIONS", "6"),
        }
    }

    /// `bowline verify store` on what a node that has ended left behind: no fault, and so many events.
    pub(crate) async fn assert_clean(&self, name: &str, events: usize) {
        let url = self.database_url();
        let mut words = vec!["verify", "store", "--output", "json"];
        match &url {
            None => words.push(name),
            Some(url) => words.extend(["--database-url", url]),
        }
        let report = bowline(self.folder.path(), &words).await.json(0);
        assert_eq!((&report["clean"], &report["findings_total"]), (&true.into(), &0.into()), "{report}");
        assert_eq!(report["events"], events, "{report}");
    }

    /// The URL of the site's database; none on SQLite.
    pub(crate) fn database_url(&self) -> Option<String> {
        self.database.as_ref().map(|Database { server, name }| of_database(server, name))
    }

    /// Runs statements that both engines understand, past the node that has its data in the folder of that name.
    pub(crate) async fn execute_past(&self, node: &str, sql: &str) {
        match self.database_url() {
            Some(url) => execute(&url, sql).await,
            None => {
                let connection = rusqlite::Connection::open(self.path(node).join("bowline.db")).unwrap();
                connection.busy_timeout(Duration::from_secs(STATE_SECS_MAX)).unwrap();
                connection.execute_batch(sql).unwrap();
            }
        }
    }

    /// Runs statements on the site's database, past its nodes.
    pub(crate) async fn execute(&self, sql: &str) {
        execute(&self.database_url().unwrap(), sql).await;
    }

    /// A place in the site's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new folder in the site's folder, which others may reach.
    pub(crate) fn shared_folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(self.folder.path(), Permissions::from_mode(0o711)).unwrap();
        path
    }

    /// Writes a file into the site's folder.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Site {
    /// Writes another hash into the commitment that begins there and corrects none, past the node `data`.
    pub(crate) async fn damage_commitment(&self, start: u64, column: &str) {
        let damage = |hash: &str| {
            format!(
                "UPDATE ves_commitments SET {column} = {hash} WHERE sequence_start = {start} AND corrects IS NULL"
            )
        };
        match &self.database {
            None => {
                let connection = rusqlite::Connection::open(self.path("data").join("bowline.db")).unwrap();
                connection.busy_timeout(Duration::from_secs(STATE_SECS_MAX)).unwrap();
                assert_eq!(connection.execute(&damage("zeroblob(32)"), ()).unwrap(), 1);
            }
            Some(Database { server, name }) => {
                execute(&of_database(server, name), &damage("decode(repeat('00', 32), 'hex')")).await;
            }
        }
    }
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
