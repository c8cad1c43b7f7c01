//! Two processes on one PostgreSQL store: one indexes, the other one takes over, and nothing is doubled.

use std::sync::Arc;

use bowline_indexer::ChainState;
use bowline_store::{LineStore, PostgresConfig, PostgresStore};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use crate::rig::{Rig, start};

/// A database of the test's own; removed at the end if the test gets there, and with the server otherwise.
struct Database {
    server: String,
    name: String,
}

impl Database {
    async fn new() -> Database {
        let server = std::env::var("BOWLINE_TEST_DATABASE_URL");
        let server =
            server.expect("BOWLINE_TEST_DATABASE_URL is not set; run the tests with `cargo xtask test`");
        let name = format!("indexer_{}", Uuid::new_v4().simple());
        execute(&server, &format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")).await;
        Database { server, name }
    }

    async fn open(&self) -> Arc<dyn LineStore> {
        let (address, options) = self.server.split_once('?').unwrap_or((&self.server, ""));
        let (address, _) = address.rsplit_once('/').unwrap();
        let url = format!("{address}/{}?{options}", self.name);
        let config = PostgresConfig { connections_max: 6, ..PostgresConfig::at(url) };
        Arc::new(PostgresStore::open(config).await.unwrap().0)
    }

    async fn remove(&self) {
        execute(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }
}

async fn execute(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
}

#[tokio::test]
async fn one_process_works_and_another_one_takes_over() {
    let database = Database::new().await;
    let (one, two) = (database.open().await, database.open().await);
    let rig = Rig::with(Arc::clone(&one), tempfile::tempdir().unwrap()).await;
    rig.register(0..10).await;
    let mut running = vec![(start(&rig.config, &one, 1), 1), (start(&rig.config, &two, 2), 2)];
    for round in 0..6_u64 {
        rig.register(10 + 3 * round..13 + 3 * round).await;
        if round == 3 {
            rig.anvil.reorg(2).await;
            rig.anvil.mine(3).await;
        }
        let last = rig.anvil.height().await;
        bowline_neighbours::soon(|| async {
            let is_there = running.iter().any(|(running, _)| running.status().block >= Some(last));
            (is_there && rig.standing().await == rig.truth().await).then_some(())
        })
        .await;
        bowline_neighbours::soon(|| async {
            let idle = running.iter().filter(|(running, _)| running.status().state == ChainState::Idle);
            (idle.count() == 1).then_some(())
        })
        .await;
        // The one that works dies; its lease runs out.
        let working = running.iter().position(|(one, _)| one.status().state != ChainState::Idle).unwrap();
        let (dead, seed) = running.remove(working);
        dead.kill().await;
        let store = if seed == 1 { &one } else { &two };
        running.push((start(&rig.config, store, seed), seed));
    }
    let events = rig.events().await;
    let keys: std::collections::BTreeSet<u32> =
        events.iter().map(|event| event.envelope.agent_key_id).collect();
    assert_eq!(keys.len(), 2, "each process signs with a key of its own");
    drop((running, rig));
    one.close().await;
    two.close().await;
    database.remove().await;
}
