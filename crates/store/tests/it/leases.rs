//! Leases: one holder at a time, and nothing is written under a lease that somebody else has taken.
//!
//! Each test runs on both stores through the contract alone.

use std::sync::Arc;
use std::time::Duration;

use bowline_store::{ChangeKind, Lease, LineStore, StoreError};
use uuid::Uuid;

use crate::support::{Engine, Place, soon, until};
use bowline_conformance::events::at;

const NAME: &str = "anchors";
const LONG: Duration = Duration::from_secs(60);

async fn take(store: &Arc<dyn LineStore>, holder: u128, ttl: Duration) -> Option<Lease> {
    store.take_lease(NAME, Uuid::from_u128(holder), ttl, at(0)).await.unwrap()
}

fn facts(lease: &Lease) -> (&str, u128, u64) {
    (&lease.name, lease.holder.as_u128(), lease.epoch)
}

/// Whether a write under that lease is let through.
async fn writes(store: &Arc<dyn LineStore>, lease: &Lease) -> bool {
    match write(store, lease).await {
        Ok(()) => true,
        Err(StoreError::LeaseLost(name)) => {
            assert_eq!(name, lease.name);
            false
        }
        Err(other) => panic!("{other}"),
    }
}

async fn write(store: &Arc<dyn LineStore>, lease: &Lease) -> Result<(), StoreError> {
    let lease = lease.clone();
    store
        .engine()
        .transact(move |tx| {
            Box::pin(async move {
                tx.raise(ChangeKind::SCHEMAS);
                tx.hold(&lease).await
            })
        })
        .await
}

pub(crate) async fn a_lease_has_one_holder_and_its_epoch_grows_with_a_change(place: Arc<Place>) {
    let stores = place.open_two().await;
    assert_eq!(stores[0].lease(NAME).await.unwrap(), None);
    let first = take(&stores[0], 1, LONG).await.unwrap();
    assert_eq!(facts(&first), (NAME, 1, 1));
    assert_eq!(stores[1].lease(NAME).await.unwrap().as_ref(), Some(&first));
    let longer = take(&stores[0], 1, LONG * 2).await.unwrap();
    assert_eq!(facts(&longer), facts(&first));
    assert!(longer.expires_at > first.expires_at);
    assert!(writes(&stores[0], &first).await);

    stores[0].release_lease(&first).await.unwrap();
    assert_eq!(stores[1].lease(NAME).await.unwrap(), None);
    assert!(!writes(&stores[0], &first).await);
    let second = take(&stores[1], 2, LONG).await.unwrap();
    assert_eq!(facts(&second), (NAME, 2, 2));
    // A lease that is somebody else's by now is not given back.
    stores[0].release_lease(&first).await.unwrap();
    assert_eq!(stores[0].lease(NAME).await.unwrap().as_ref(), Some(&second));
    assert!(!writes(&stores[0], &first).await && writes(&stores[1], &second).await);
    // Leases of other names are others.
    let other = stores[0].take_lease("other", Uuid::from_u128(1), LONG, at(0)).await.unwrap().unwrap();
    assert_eq!(facts(&other), ("other", 1, 1));
}

pub(crate) async fn who_holds_a_lease_keeps_it_from_others(place: Arc<Place>) {
    let stores = place.open_two().await;
    let first = take(&stores[0], 1, LONG).await.unwrap();
    match (place.engine(), take(&stores[1], 2, LONG).await) {
        (Engine::Postgres, None) => assert!(writes(&stores[0], &first).await),
        // The file is one process's: whoever held it is gone.
        (Engine::Sqlite, Some(second)) => {
            assert_eq!(facts(&second), (NAME, 2, 2));
            assert_eq!(second.expires_at, bowline_types::Timestamp::from_micros(at(60).micros()));
            assert!(!writes(&stores[0], &first).await);
        }
        (engine, taken) => panic!("{engine:?}: {taken:?}"),
    }
}

pub(crate) async fn an_expired_lease_holds_until_it_is_taken(place: Arc<Place>) {
    let stores = place.open_two().await;
    let first = take(&stores[0], 1, Duration::from_millis(1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(stores[1].lease(NAME).await.unwrap().as_ref(), Some(&first));
    assert!(writes(&stores[0], &first).await);
    let second = take(&stores[1], 2, LONG).await.unwrap();
    assert_eq!(facts(&second), (NAME, 2, 2));
    assert!(!writes(&stores[0], &first).await && writes(&stores[1], &second).await);
}

/// Two holders take turns as fast as they can, and each writes under what it believes to hold: epochs only grow, and
/// no write of an older epoch comes after one of a newer.
pub(crate) async fn of_two_holders_at_a_time_one_writes(place: Arc<Place>) {
    let stores = place.open_two().await;
    let tasks = [0, 1].map(|user: usize| {
        let store = Arc::clone(&stores[user]);
        tokio::spawn(async move {
            let mut epochs = Vec::new();
            for _ in 0..60 {
                let Some(lease) = take(&store, user as u128 + 1, Duration::from_millis(3)).await else {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                };
                // Some writes come while it is held, some after another one has taken it.
                tokio::time::sleep(Duration::from_millis(epochs.len() as u64 % 6)).await;
                let written = writes(&store, &lease).await;
                epochs.push((lease.epoch, written));
            }
            epochs
        })
    });
    let mut taken = Vec::new();
    for task in tasks {
        let epochs = task.await.unwrap();
        assert!(epochs.is_sorted_by_key(|(epoch, _)| *epoch), "{epochs:?}");
        taken.push(epochs);
    }
    let other = |epoch: &u64| taken[1].iter().any(|(of_other, _)| of_other == epoch);
    assert!(!taken[0].iter().any(|(epoch, _)| other(epoch)), "both held one epoch");
    let written = taken.iter().flatten().filter(|(_, written)| *written).count();
    assert!(written >= 2, "hardly anybody wrote");
    until(async || take(&stores[0], 9, LONG).await.is_some()).await;
}

/// On PostgreSQL a write holds its lease until it ends; on SQLite writes stand in one queue anyway.
pub(crate) async fn a_takeover_waits_for_a_write_under_way(place: Arc<Place>) {
    let store = place.open().await;
    let first = take(&store, 1, Duration::from_millis(1)).await.unwrap();
    if place.engine() == Engine::Postgres {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut writer = place.connect().await;
        let under = "BEGIN; SELECT FROM leases WHERE name = 'anchors' AND epoch = 1 FOR SHARE";
        sqlx::raw_sql(under).execute(&mut writer).await.unwrap();
        // Other writes of the holder do not wait for it.
        soon(write(&store, &first)).await.unwrap();
        let taker = Arc::clone(&store);
        let taken = tokio::spawn(async move { take(&taker, 2, LONG).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!taken.is_finished());
        sqlx::raw_sql("COMMIT").execute(&mut writer).await.unwrap();
        assert_eq!(facts(&soon(taken).await.unwrap().unwrap()), (NAME, 2, 2));
    } else {
        assert_eq!(facts(&take(&store, 2, LONG).await.unwrap()), (NAME, 2, 2));
    }
    assert!(!writes(&store, &first).await);
}
