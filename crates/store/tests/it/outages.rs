//! What only a server can do to a store: be away, be slow, break off in the middle, and count round trips.
//!
//! They speak to a real server through connections that the tests can break.

use std::sync::Arc;

use bowline_store::{LineStore, PostgresConfig, PostgresStore, StoreError};
use bowline_types::StreamId;
use sqlx::{Connection, PgConnection};
use tracing::instrument::WithSubscriber;

use crate::support::{Engine, Log, Place, run, soon, until};
use bowline_conformance::events::{
    append, at, draft, fresh, grow, new_events, new_stream, signed, signer, whole, words,
};

async fn open(config: PostgresConfig) -> Arc<dyn LineStore> {
    Arc::new(PostgresStore::open(config).await.unwrap().0)
}

/// How many of this database's other connections fit the condition.
async fn connections(connection: &mut PgConnection, condition: &str) -> i64 {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND {condition}"
    );
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(connection).await.unwrap()
}

/// Waits until a connection fits the condition.
async fn until_there_is(place: &Place, condition: &str) {
    until(async || connections(&mut place.connect().await, condition).await > 0).await;
}

/// Breaks every connection that fits the condition, and waits until they are gone.
async fn terminate(place: &Place, condition: &str) {
    place
        .execute(&format!(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND {condition}"
        ))
        .await;
}

#[test]
fn a_server_that_is_away_is_unavailable() {
    run(Engine::Sqlite, |_| async {
        let config = PostgresConfig::at("postgres://nobody@127.0.0.1:1/none");
        let error = soon(PostgresStore::open(config)).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)) && error.retryable(), "{error}");
    });
}

#[test]
fn settings_of_the_database_do_not_weaken_the_contract() {
    run(Engine::Postgres, |place: Arc<Place>| async move {
        let name = place.name();
        for setting in [
            "synchronous_commit = off",
            "default_transaction_isolation = 'serializable'",
            "timezone = 'Asia/Kolkata'",
            "bytea_output = 'escape'",
            "datestyle = 'SQL, DMY'",
        ] {
            place.execute(&format!("ALTER DATABASE {name} SET {setting}")).await;
        }
        let store = open(place.database()).await;
        let recorder = "
            CREATE TABLE seen (durable text, isolation text);
            CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO seen VALUES
                    (current_setting('synchronous_commit'), current_setting('transaction_isolation'));
                RETURN NULL; END $$;
            CREATE TRIGGER look AFTER INSERT ON ves_events FOR EACH STATEMENT EXECUTE FUNCTION look()";
        place.execute(recorder).await;
        let stream = new_stream();
        let receipts = grow(&store, stream, 3).await;
        let stored = whole(&store, stream).await;
        assert!(stored.iter().filter_map(|event| event.receipt.signed()).eq(receipts));
        let seen: (String, String) =
            sqlx::query_as("SELECT * FROM seen").fetch_one(&mut place.connect().await).await.unwrap();
        assert_eq!(seen, ("on".to_owned(), "read committed".to_owned()));
    });
}

#[test]
fn of_processes_that_start_together_one_migrates() {
    run(Engine::Postgres, |place: Arc<Place>| async move {
        let starts: Vec<_> = (0..4)
            .map(|_| {
                let place = Arc::clone(&place);
                tokio::spawn(async move { place.try_open(true).await.unwrap().1.len() })
            })
            .collect();
        let mut applied = Vec::new();
        for start in starts {
            applied.push(start.await.unwrap());
        }
        applied.sort_unstable();
        assert!(applied[..3] == [0, 0, 0] && applied[3] > 0, "{applied:?}");
    });
}

#[test]
fn a_stream_that_is_locked_too_long_is_unavailable_and_untouched() {
    run(Engine::Postgres, |place: Arc<Place>| async move {
        let store = open(PostgresConfig { lock_ms_max: 100, ..place.database() }).await;
        let (stream, neighbour) = (new_stream(), new_stream());
        grow(&store, stream, 1).await;
        let batch = new_events(stream, 2);

        let mut holder = place.connect().await;
        let mut lock = holder.begin().await.unwrap();
        sqlx::raw_sql("SELECT * FROM sequence_counters FOR UPDATE").execute(&mut *lock).await.unwrap();
        let refused = soon(store.append(fresh(batch.clone()), signer(), at(0))).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        // Neither other streams nor readers wait.
        grow(&store, neighbour, 1).await;
        assert_eq!(whole(&store, stream).await.len(), 1);
        lock.rollback().await.unwrap();
        assert_eq!(words(&append(&store, batch).await), ["accepted 2", "accepted 3"]);
    });
}

#[test]
fn processes_that_create_streams_never_wait_in_a_circle() {
    run(Engine::Postgres, |place: Arc<Place>| async move {
        let store = open(place.database()).await;
        let mut streams = [new_stream(), new_stream(), new_stream()];
        streams.sort();
        let [first, middle, last] = streams;
        let append_to = |streams: Vec<StreamId>| {
            let (store, batch) =
                (Arc::clone(&store), streams.into_iter().map(|s| signed(draft(s))).collect());
            tokio::spawn(async move { words(&append(&store, batch).await) })
        };
        let waiting = async || connections(&mut place.connect().await, "wait_event_type = 'Lock'").await;

        // Somebody is about to make the middle stream, so this append makes the first one and then waits.
        let mut holder = place.connect().await;
        let mut made = holder.begin().await.unwrap();
        for table in ["streams (tenant_id, store_id, created_at)", "sequence_counters"] {
            let counter = if table == "sequence_counters" { "0, " } else { "" };
            let (tenant, id) = (middle.tenant_id, middle.store_id);
            let sql = format!("INSERT INTO {table} VALUES ('{tenant}', '{id}', {counter}now())");
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *made).await.unwrap();
        }
        let wide = append_to(vec![first, middle, last]);
        until(async || waiting().await == 1).await;
        // The last stream comes into being, and this append finds it and needs the first one.
        assert_eq!(append_to(vec![last]).await.unwrap(), ["accepted 1"]);
        let narrow = append_to(vec![first, last]);
        until(async || waiting().await == 2).await;
        made.rollback().await.unwrap();

        // Either may be the first to write.
        let both = (soon(wide).await.unwrap(), soon(narrow).await.unwrap());
        let wide_first = (["accepted 1", "accepted 1", "accepted 2"], ["accepted 2", "accepted 3"]);
        let narrow_first = (["accepted 2", "accepted 1", "accepted 3"], ["accepted 1", "accepted 2"]);
        let is = |order: ([&str; 3], [&str; 2])| both.0 == order.0 && both.1 == order.1;
        assert!(is(wide_first) || is(narrow_first), "{both:?}");
    });
}

#[test]
fn a_pool_without_a_free_connection_is_unavailable() {
    run(Engine::Postgres, |place: Arc<Place>| async move {
        let config = PostgresConfig { connections_max: 2, acquire_ms_max: 200, ..place.database() };
        let store = open(config).await;
        let stream = new_stream();
        grow(&store, stream, 1).await;
        let mut holder = place.connect().await;
        let mut lock = holder.begin().await.unwrap();
        sqlx::raw_sql("SELECT * FROM sequence_counters FOR UPDATE").execute(&mut *lock).await.unwrap();

        // One connection listens and the other one waits for the lock.
        let (appender, batch) = (Arc::clone(&store), new_events(stream, 1));
        let waiting = tokio::spawn(async move { append(&appender, batch).await });
        until_there_is(&place, "wait_event_type = 'Lock'").await;
        let refused = soon(store.ping()).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        lock.rollback().await.unwrap();
        assert_eq!(words(&soon(waiting).await.unwrap()), ["accepted 2"]);
        store.ping().await.unwrap();
    });
}

#[test]
fn round_trips_do_not_grow_with_the_events() {
    run(Engine::Postgres, |place: Arc<Place>| async move {
        let store = open(place.database()).await;
        let streams = [new_stream(), new_stream()];
        for stream in streams {
            grow(&store, stream, 1).await;
        }
        let mut statements = Vec::new();
        for size in [1, 300] {
            let batch = streams.iter().flat_map(|stream| new_events(*stream, size)).collect();
            let log = Log::of("sqlx::query");
            append(&store, batch).with_subscriber(log.clone()).await;
            statements.push(log.lines().len());
        }
        // What is known, and what is written.
        assert_eq!(statements, [2, 2]);
    });
}

#[test]
fn a_connection_that_breaks_before_an_append_writes_changes_nothing() {
    run(Engine::Postgres, |place: Arc<Place>| async move {
        let store = open(place.database()).await;
        let stream = new_stream();
        grow(&store, stream, 1).await;
        let batch = new_events(stream, 2);

        let mut holder = place.connect().await;
        let mut lock = holder.begin().await.unwrap();
        sqlx::raw_sql("LOCK TABLE ves_events IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
        let (appender, sent) = (Arc::clone(&store), batch.clone());
        let append_task = tokio::spawn(async move { appender.append(fresh(sent), signer(), at(0)).await });
        let waiting = "wait_event_type = 'Lock' AND query LIKE '%sequence_counters%'";
        until_there_is(&place, waiting).await;
        terminate(&place, waiting).await;
        let broken = soon(append_task).await.unwrap();
        assert!(matches!(broken, Err(StoreError::Unavailable(_))), "{broken:?}");
        lock.rollback().await.unwrap();

        assert_eq!(whole(&store, stream).await.len(), 1);
        assert_eq!(words(&append(&store, batch).await), ["accepted 2", "accepted 3"]);
    });
}

#[test]
fn a_connection_that_breaks_while_an_append_writes_leaves_the_outcome_unknown_and_a_replay_tells() {
    run(Engine::Postgres, |place: Arc<Place>| async move {
        let store = open(place.database()).await;
        let stream = new_stream();
        grow(&store, stream, 1).await;
        // A deferred trigger makes the commit itself take its time.
        let slow_commit = "
            CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN PERFORM pg_sleep(20); RETURN NULL; END';
            CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON ves_events DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION linger()";
        place.execute(slow_commit).await;
        let batch = new_events(stream, 1);
        let (appender, sent) = (Arc::clone(&store), batch.clone());
        let append_task = tokio::spawn(async move { appender.append(fresh(sent), signer(), at(0)).await });
        let committing = "wait_event = 'PgSleep'";
        until_there_is(&place, committing).await;
        terminate(&place, committing).await;
        let broken = soon(append_task).await.unwrap();
        assert!(matches!(broken, Err(StoreError::OutcomeUnknown(_))), "{broken:?}");
        assert!(broken.unwrap_err().retryable());

        place.execute("DROP TRIGGER linger ON ves_events").await;
        assert_eq!(words(&append(&store, batch).await), ["accepted 2"]);
        assert_eq!(whole(&store, stream).await.len(), 2);
    });
}

/// No commit can be seen there, so it may have been made.
#[test]
fn a_connection_that_breaks_in_a_single_statement_leaves_the_outcome_unknown() {
    run(Engine::Postgres, |place: Arc<Place>| async move {
        let store = open(place.database()).await;
        let slow = "
            CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN PERFORM pg_sleep(20); RETURN NEW; END';
            CREATE TRIGGER linger BEFORE INSERT ON sequencer_keys FOR EACH ROW EXECUTE FUNCTION linger()";
        place.execute(slow).await;
        let (registrar, sequencer) = (Arc::clone(&store), uuid::Uuid::nil());
        let task =
            tokio::spawn(async move { registrar.register_sequencer_key(sequencer, [1; 32], at(0)).await });
        until_there_is(&place, "wait_event = 'PgSleep'").await;
        terminate(&place, "wait_event = 'PgSleep'").await;
        let broken = soon(task).await.unwrap();
        assert!(matches!(broken, Err(StoreError::OutcomeUnknown(_))), "{broken:?}");

        place.execute("DROP TRIGGER linger ON sequencer_keys").await;
        store.register_sequencer_key(sequencer, [1; 32], at(0)).await.unwrap();
        assert_eq!(store.sequencer_keys().await.unwrap().len(), 1);
    });
}

#[test]
fn a_listener_whose_connection_broke_listens_again() {
    run(Engine::Postgres, |place: Arc<Place>| async move {
        let [writer, reader] = place.open_two().await;
        let stream = new_stream();
        let listening = "query LIKE 'LISTEN%'";
        for round in 1..=2 {
            until(async || connections(&mut place.connect().await, listening).await == 2).await;
            let mut woken = reader.tail().watch(stream);
            terminate(&place, listening).await;
            // Nobody knows what was missed, so everybody is woken.
            soon(woken.changed()).await.unwrap();
            until(async || connections(&mut place.connect().await, listening).await == 2).await;
            grow(&writer, stream, 1).await;
            soon(woken.wait_for(|head| *head >= round)).await.unwrap();
        }
    });
}

#[test]
fn a_store_that_is_dropped_gives_its_connections_back() {
    run(Engine::Postgres, |place: Arc<Place>| async move {
        let store = open(PostgresConfig { application_name: "dropped".to_owned(), ..place.database() }).await;
        grow(&store, new_stream(), 1).await;
        let its_own = "application_name = 'dropped'";
        until_there_is(&place, its_own).await;
        drop(store);
        until(async || connections(&mut place.connect().await, its_own).await == 0).await;
    });
}
