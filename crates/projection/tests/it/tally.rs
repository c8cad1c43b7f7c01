//! A projection that counts: its table, its writes, and the hands that tests have on it.
//! Its table is registered like a subsystem's, and written in native SQL on each engine.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bowline_conformance::Place;
use bowline_projection::{Aside, Effects, Kind, ProjectError, Projection, Projector, Settings, effects};
use bowline_runtime::{Shutdown, SystemClock};
use bowline_store::tables::postgres::refuse;
use bowline_store::{
    Engine, LetterLimits, LineStore, Migration, Schema, StoreError, StoredEvent, SubsystemMigrations,
    TxConnection,
};
use bowline_types::StreamId;
use tokio::task::JoinHandle;

pub(crate) const NAME: &str = "tally";

const MIGRATIONS: SubsystemMigrations = SubsystemMigrations {
    subsystem: NAME,
    migrations: &[Migration {
        version: 9_001,
        name: "9001_tally",
        sqlite: "CREATE TABLE tally (stream TEXT PRIMARY KEY, events INTEGER NOT NULL) STRICT",
        postgres: "CREATE TABLE tally (stream text PRIMARY KEY, events bigint NOT NULL)",
    }],
};

/// The line's tables and the tally's.
pub(crate) fn schema() -> Schema {
    Schema::with(&[MIGRATIONS])
}

/// Counts events; refuses what a test tells it to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) is_original: bool,
    /// Streams whose pages fail.
    pub(crate) refused: Arc<Mutex<HashSet<StreamId>>>,
    /// Numbers that it calls poison.
    pub(crate) poison: Arc<Mutex<HashSet<u64>>>,
    /// Streams in the order of their pages.
    pub(crate) turns: Arc<Mutex<Vec<StreamId>>>,
}

#[async_trait]
impl Projection for Tally {
    fn name(&self) -> &'static str {
        NAME
    }

    fn kind(&self) -> Kind {
        if self.is_original { Kind::Original } else { Kind::Rebuildable(clear) }
    }

    async fn project(&mut self, stream: StreamId, events: &[StoredEvent]) -> Result<Effects, ProjectError> {
        self.turns.lock().unwrap().push(stream);
        if self.refused.lock().unwrap().contains(&stream) {
            return Err(ProjectError::Retry("by design".to_owned()));
        }
        let numbers = events.iter().map(|event| event.receipt.sequence_number);
        if let Some(sequence_number) = numbers.into_iter().find(|n| self.poison.lock().unwrap().contains(n)) {
            return Err(ProjectError::Poison { sequence_number, problem: "bitter".to_owned() });
        }
        let count = events.len() as i64;
        Ok(effects(move |tx| {
            Box::pin(async move {
                let name = stream.to_string();
                match tx.connection() {
                    TxConnection::Sqlite(connection) => {
                        let sql = "INSERT INTO tally VALUES (?1, ?2)
                            ON CONFLICT (stream) DO UPDATE SET events = events + excluded.events";
                        connection.execute(sql, (name, count))?;
                    }
                    TxConnection::Postgres(connection) => {
                        let sql = "INSERT INTO tally AS t VALUES ($1, $2)
                            ON CONFLICT (stream) DO UPDATE SET events = t.events + excluded.events";
                        let write = sqlx::query(sql).bind(name).bind(count).execute(connection).await;
                        write.map_err(|error| refuse(&error))?;
                    }
                }
                Ok(())
            })
        }))
    }
}

fn clear() -> Effects {
    effects(|tx| {
        Box::pin(async move {
            match tx.connection() {
                TxConnection::Sqlite(connection) => connection.execute_batch("DELETE FROM tally")?,
                TxConnection::Postgres(connection) => {
                    let cleared = sqlx::query("DELETE FROM tally").execute(connection).await;
                    cleared.map_err(|error| refuse(&error))?;
                }
            }
            Ok(())
        })
    })
}

/// How many events of a stream the table counts.
pub(crate) async fn counted(store: &Arc<dyn LineStore>, stream: StreamId) -> u64 {
    let name = stream.to_string();
    let found = match store.engine() {
        Engine::Sqlite(file) => {
            let read = file.with_reader(move |connection| {
                let sql = "SELECT coalesce(sum(events), 0) FROM tally WHERE stream = ?1";
                Ok(connection.query_row(sql, [name], |row| row.get::<_, i64>(0))?)
            });
            read.await.unwrap()
        }
        Engine::Postgres(server) => {
            let sql = "SELECT coalesce(sum(events), 0)::bigint FROM tally WHERE stream = $1";
            sqlx::query_scalar(sql).bind(name).fetch_one(server.pool().unwrap()).await.unwrap()
        }
    };
    found.unsigned_abs()
}

/// A running projector.
pub(crate) struct Run {
    shutdown: Shutdown,
    ended: JoinHandle<()>,
}

impl Run {
    pub(crate) fn start(store: &Arc<dyn LineStore>, tally: &Tally) -> Self {
        Self::of(projector(store, tally))
    }

    pub(crate) fn of(projector: Projector<Tally>) -> Self {
        let shutdown = Shutdown::new();
        Self { ended: tokio::spawn(projector.run(shutdown.clone())), shutdown }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.begin();
        bowline_conformance::soon(self.ended).await.unwrap();
    }

    /// Ends it where it stands.
    pub(crate) async fn kill(self) {
        self.ended.abort();
        assert!(self.ended.await.unwrap_err().is_cancelled());
    }
}

pub(crate) fn projector(store: &Arc<dyn LineStore>, tally: &Tally) -> Projector<Tally> {
    let settings = Settings { poll: Duration::from_millis(10), lease_ttl: Duration::from_millis(300) };
    Projector::new(tally.clone(), Arc::clone(store), Arc::new(SystemClock), settings)
}

/// Puts an event aside after three tries.
pub(crate) fn aside() -> Aside {
    Aside::after(
        3,
        LetterLimits { stream_max: 100, total_max: 100, bytes_max: 1 << 20, retries_max: 5 },
        |_, _| {},
    )
}

pub(crate) async fn opened(place: &Place) -> Arc<dyn LineStore> {
    place.open().await
}

pub(crate) async fn cursor(store: &Arc<dyn LineStore>, stream: StreamId) -> Result<u64, StoreError> {
    store.cursor(NAME, stream).await
}
