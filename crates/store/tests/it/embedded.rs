//! What only the embedded store can show: its file, its log, and the gate in front of its disk.
//!
//! Real disks that fill up and fail are the business of the binary's tests.

use std::sync::Arc;

use bowline_store::{LineStore, ReadQuery, Room, SqliteConfig, SqliteStore, StoreError};
use futures_util::FutureExt;

use crate::support::{Engine, Place, run, soon};
use bowline_conformance::events::{append, at, fresh, grow, new_events, new_stream, signer, whole};

async fn open(config: SqliteConfig) -> Arc<dyn LineStore> {
    Arc::new(SqliteStore::open(config).await.unwrap().0)
}

#[test]
fn a_closed_store_is_one_file_that_can_be_copied() {
    run(Engine::Sqlite, |place: Arc<Place>| async move {
        let config = place.file();
        let copy = config.path.with_file_name("copy.db");
        let store = open(config.clone()).await;
        let stream = new_stream();
        append(&store, new_events(stream, 500)).await;
        let reads: Vec<_> = (0..8)
            .map(|_| {
                let store = Arc::clone(&store);
                tokio::spawn(async move { store.read(ReadQuery::from(stream, 1, 500)).await })
            })
            .collect();
        tokio::task::yield_now().await;
        soon(store.close()).await;
        for read in reads {
            match read.await.unwrap() {
                Ok(page) => assert_eq!(page.events.len(), 500),
                Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error}"),
            }
        }
        assert!(!config.path.with_file_name("line.db-wal").exists(), "the log was not folded in");
        std::fs::copy(&config.path, &copy).unwrap();
        let copied = open(SqliteConfig { migrate: false, ..SqliteConfig::at(copy) }).await;
        assert_eq!(whole(&copied, stream).await.len(), 500);
    });
}

/// The writer's thread finishes what it was handed, so the followers must hear of it.
#[test]
fn a_dropped_append_that_was_written_wakes_who_waits() {
    run(Engine::Sqlite, |place: Arc<Place>| async move {
        let store = open(place.file()).await;
        let stream = new_stream();
        let mut woken = store.tail().watch(stream);
        drop(store.append(fresh(new_events(stream, 3)), signer(), at(0)).now_or_never());
        assert_eq!(*soon(woken.wait_for(|head| *head >= 3)).await.unwrap(), 3);
        assert_eq!(whole(&store, stream).await.len(), 3);
    });
}

#[test]
fn the_file_stays_sound() {
    run(Engine::Sqlite, |place: Arc<Place>| async move {
        let store = open(place.file()).await;
        grow(&store, new_stream(), 1).await;
        let connection = rusqlite::Connection::open(place.file().path).unwrap();
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
        let checked: String =
            connection.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
        assert_eq!(checked, "ok");
        let strays = connection.prepare("PRAGMA foreign_key_check").unwrap().exists(()).unwrap();
        assert!(!strays);
    });
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    run(Engine::Sqlite, |place: Arc<Place>| async move {
        let file = place.file().path;
        let missing = file.with_file_name("missing").join("line.db");
        let error = SqliteStore::open(SqliteConfig::at(missing)).await.unwrap_err();
        assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("missing")), "{error}");

        std::fs::write(&file, "this is a text, and no database at all".repeat(200)).unwrap();
        let error = SqliteStore::open(SqliteConfig::at(file)).await.unwrap_err();
        assert!(matches!(error, StoreError::Internal(_)), "{error}");
        assert!(!error.retryable());
    });
}

/// The disk is somebody else's to watch; what a closed gate lets through is the store's to know.
#[test]
fn a_closed_gate_stops_what_makes_the_line_grow_and_nothing_else() {
    run(Engine::Sqlite, |place: Arc<Place>| async move {
        let store = open(place.file()).await;
        let stream = new_stream();
        grow(&store, stream, 2).await;
        let gate = store.gate().unwrap();
        let batch = new_events(stream, 1);
        for room in [Room::Low, Room::Full] {
            assert!(gate.set(room) && !gate.set(room));
            let refused = store.append(fresh(batch.clone()), signer(), at(0)).await;
            assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
            assert_eq!(whole(&store, stream).await.len(), 2);
            store.register_sequencer_key(uuid::Uuid::from_u128(room as u128), [1; 32], at(0)).await.unwrap();
            store.ping().await.unwrap();
        }
        gate.set(Room::Enough);
        append(&store, batch).await;
        assert_eq!(whole(&store, stream).await.len(), 3);
    });
}
