//! An empty store: an SQLite folder, or a PostgreSQL database of its own.

use std::sync::Arc;

use bowline_store::{LineStore, PostgresConfig, PostgresStore, SqliteConfig, SqliteStore};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

#[derive(Debug)]
pub(crate) enum TestStore {
    Folder(tempfile::TempDir),
    Database(String),
}

impl TestStore {
    pub(crate) async fn new(engine: Engine) -> Self {
        match engine {
            Engine::Sqlite => Self::Folder(tempfile::tempdir().unwrap()),
            Engine::Postgres => {
                let name = format!("deliveries_{}", Uuid::new_v4().simple());
                on_server(&format!("CREATE DATABASE {name}")).await;
                Self::Database(name)
            }
        }
    }

    pub(crate) async fn open(&self) -> Arc<dyn LineStore> {
        match self {
            Self::Folder(folder) => {
                let config = SqliteConfig::at(folder.path().join("bowline.db"));
                Arc::new(SqliteStore::open(config).await.unwrap().0)
            }
            Self::Database(name) => {
                let config = PostgresConfig { connections_max: 4, ..PostgresConfig::at(url_of(name)) };
                Arc::new(PostgresStore::open(config).await.unwrap().0)
            }
        }
    }

    /// Opens the store as two processes do; an SQLite store belongs to one.
    pub(crate) async fn open_two(&self) -> [Arc<dyn LineStore>; 2] {
        let first = self.open().await;
        let second = match self {
            Self::Folder(_) => Arc::clone(&first),
            Self::Database(_) => self.open().await,
        };
        [first, second]
    }

    /// Runs a statement past the store; only a server takes one.
    pub(crate) async fn execute(&self, sql: &str) {
        let mut connection = self.connect().await;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// A connection of one's own to a server's database.
    pub(crate) async fn connect(&self) -> PgConnection {
        let Self::Database(name) = self else { panic!("{self:?} is no server's") };
        PgConnection::connect(&url_of(name)).await.unwrap()
    }

    pub(crate) async fn remove(self) {
        if let Self::Database(name) = self {
            on_server(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }
}

fn server() -> String {
    std::env::var("BOWLINE_TEST_DATABASE_URL").expect(
        "BOWLINE_TEST_DATABASE_URL names no PostgreSQL: run `cargo xtask test`, which starts a private one",
    )
}

fn url_of(name: &str) -> String {
    let server = server();
    let (address, options) = server.split_once('?').unwrap_or((&server, ""));
    format!("{}/{name}?{options}", address.rsplit_once('/').unwrap().0)
}

async fn on_server(sql: &str) {
    let mut connection = PgConnection::connect(&server()).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
