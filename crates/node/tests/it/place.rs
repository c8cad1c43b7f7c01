//! Places for stores, and a store with something of everything in it.
//!
//! A PostgreSQL place is a database of its own and goes when it is dropped. Without a server the tests fail and
//! say how to get one.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bowline_store::{
    AgentKeyRecord, AgentKeyStatus, CommitmentOrigin, CursorRecord, InsertCommitment, LineStore,
    PostgresConfig, PostgresSnapshot, PostgresStore, Snapshot, SqliteConfig, SqliteSnapshot, SqliteStore,
    TILE_HEIGHT, VerifiedBatch,
};
use bowline_types::{AgentId, BatchId, CommandId, EventId, StoreId, StreamId, TenantId, Timestamp};
use bowline_ves::{
    Commitment, Draft, Hash, SecretKey, SequencerSigner, Tree, VerifiedEvent, sign_envelope, verify,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use uuid::Uuid;

/// Seconds that a whole test may take.
const TEST_SECS_MAX: u64 = 120;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let in_time =
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(TEST_SECS_MAX), test).await });
    in_time.expect("the test took too long");
}

/// Where one store lives.
#[derive(Debug)]
pub(crate) enum Place {
    Folder(TempDir),
    Database(String),
}

impl Place {
    pub(crate) async fn new(engine: Engine) -> Self {
        match engine {
            Engine::Sqlite => Self::Folder(tempfile::tempdir().unwrap()),
            Engine::Postgres => {
                let name = format!("node_{}", Uuid::new_v4().simple());
                on_server(&format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")).await;
                Self::Database(name)
            }
        }
    }

    /// A place with the same store, which nobody has open.
    pub(crate) async fn copy(&self) -> Self {
        match self {
            Self::Folder(_) => {
                let folder = tempfile::tempdir().unwrap();
                std::fs::copy(self.file(), folder.path().join("bowline.db")).unwrap();
                Self::Folder(folder)
            }
            Self::Database(template) => {
                let name = format!("node_{}", Uuid::new_v4().simple());
                on_server(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
                Self::Database(name)
            }
        }
    }

    pub(crate) async fn remove(self) {
        if let Self::Database(name) = self {
            on_server(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }

    pub(crate) fn file(&self) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.path().join("bowline.db"),
            Self::Database(name) => panic!("{name} is no file"),
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Folder(folder) => panic!("{folder:?} is no database"),
            Self::Database(name) => {
                let server = server();
                let (address, options) = server.split_once('?').unwrap_or((&server, ""));
                format!("{}/{name}?{options}", address.rsplit_once('/').unwrap().0)
            }
        }
    }

    pub(crate) async fn open(&self) -> Arc<dyn LineStore> {
        match self {
            Self::Folder(_) => Arc::new(SqliteStore::open(SqliteConfig::at(self.file())).await.unwrap().0),
            Self::Database(_) => {
                let config = PostgresConfig {
                    connections_max: 4,
                    schema: bowline_node::schema(),
                    ..PostgresConfig::at(self.url())
                };
                Arc::new(PostgresStore::open(config).await.unwrap().0)
            }
        }
    }

    pub(crate) async fn snapshot(&self) -> Box<dyn Snapshot> {
        match self {
            Self::Folder(_) => {
                Box::new(SqliteSnapshot::open(self.file(), &bowline_node::schema()).await.unwrap())
            }
            Self::Database(_) => {
                Box::new(PostgresSnapshot::open(&self.url(), "test", &bowline_node::schema()).await.unwrap())
            }
        }
    }

    /// Runs statements past the store.
    pub(crate) async fn execute(&self, sql: &str) {
        match self {
            Self::Folder(_) => {
                let connection = rusqlite::Connection::open(self.file()).unwrap();
                connection.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
            }
            Self::Database(_) => execute(&self.url(), sql).await,
        }
    }
}

fn server() -> String {
    std::env::var("BOWLINE_TEST_DATABASE_URL").expect(
        "BOWLINE_TEST_DATABASE_URL names no PostgreSQL: run `cargo xtask test`, which starts a private one",
    )
}

async fn on_server(sql: &str) {
    execute(&server(), sql).await;
}

async fn execute(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    connection.close().await.unwrap();
}

/// What [`fill`] has put into a store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filled {
    /// 12 events of three entities; commitments over 1 to 5 and 6 to 10; a follower at 12.
    pub(crate) small: StreamId,
    /// 600 events of one entity under one commitment.
    pub(crate) large: StreamId,
}

/// Signs and appends as a node does.
#[derive(Debug)]
pub(crate) struct Writer {
    agent: SecretKey,
    agent_id: AgentId,
    signer: Arc<SequencerSigner>,
}

impl Writer {
    pub(crate) async fn of(store: &dyn LineStore, tenants: &[TenantId]) -> Self {
        let (agent, agent_id) = (SecretKey::from_seed([7; 32]), AgentId::from_bytes([2; 16]));
        for tenant_id in tenants {
            let key = AgentKeyRecord {
                tenant_id: *tenant_id,
                agent_id,
                key_id: 1,
                public_key: agent.public().to_bytes(),
                status: AgentKeyStatus::Active,
                valid_from: None,
                valid_to: None,
                created_at: at(0),
                revoked_at: None,
                revoked_reason: None,
            };
            store.register_agent_key(key).await.unwrap();
        }
        let (sequencer_id, key) = (Uuid::from_u128(33), SecretKey::from_seed([9; 32]));
        let record =
            store.register_sequencer_key(sequencer_id, key.public().to_bytes(), at(0)).await.unwrap();
        Self {
            agent,
            agent_id,
            signer: Arc::new(SequencerSigner { sequencer_id, key_version: record.key_version, key }),
        }
    }

    fn event(&self, stream: StreamId, entity: u64, n: u64) -> VerifiedEvent {
        let draft = Draft {
            stream,
            event_id: EventId::random(),
            source_agent_id: self.agent_id,
            agent_key_id: 1,
            entity_type: "order".to_owned(),
            entity_id: format!("o-{entity}"),
            event_type: "order.placed".to_owned(),
            created_at: "2025-06-01T12:00:00Z".to_owned(),
            payload: format!("{{\"n\":{n}}}").into(),
            command_id: Some(CommandId::random()),
            base_version: None,
        };
        verify(sign_envelope(draft, &self.agent).unwrap(), Ok(&self.agent.public())).unwrap()
    }

    pub(crate) async fn grow(&self, store: &dyn LineStore, stream: StreamId, count: u64, entities: u64) {
        for chunk in (0..count).collect::<Vec<_>>().chunks(100) {
            let events = chunk.iter().map(|n| self.event(stream, n % entities, *n)).collect();
            let batch = VerifiedBatch { events, keys_epoch: u64::MAX >> 1 };
            let now = at(i64::try_from(chunk[0]).unwrap());
            store.append(batch, Arc::clone(&self.signer), now).await.unwrap();
        }
    }
}

pub(crate) async fn commit(store: &dyn LineStore, stream: StreamId, start: u64, end: u64) {
    let tree = Tree::new(store.leaves(stream, start, end).await.unwrap());
    let last = store.last_commitment(stream).await.unwrap();
    let prev = last.map_or(Hash::ZERO, |last| last.commitment.new_state_root);
    let sealed = Commitment::seal(BatchId::random(), stream, &tree, start, end, prev, at(0)).unwrap();
    let inserted = store.insert_commitment(sealed, tree.upper(TILE_HEIGHT), CommitmentOrigin::Client).await;
    assert_eq!(inserted.unwrap(), InsertCommitment::Inserted);
}

/// Fills an empty store and closes it.
pub(crate) async fn fill(place: &Place) -> Filled {
    let store = place.open().await;
    let [small, large] =
        [1, 2].map(|n| StreamId::new(TenantId::from_bytes([n; 16]), StoreId::from_bytes([n; 16])));
    let writer = Writer::of(store.as_ref(), &[small.tenant_id, large.tenant_id]).await;
    for _ in 0..4 {
        writer.grow(store.as_ref(), small, 3, 3).await;
    }
    writer.grow(store.as_ref(), large, 600, 1).await;
    commit(store.as_ref(), small, 1, 5).await;
    commit(store.as_ref(), small, 6, 10).await;
    commit(store.as_ref(), large, 1, 600).await;
    let cursor = CursorRecord { follower: "reader".to_owned(), stream: small, sequence_number: 12 };
    store.advance_cursor(cursor).await.unwrap();
    store.close().await;
    Filled { small, large }
}

/// A moment on the tests' clock.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_750_000_000 + seconds) * 1_000_000)
}
