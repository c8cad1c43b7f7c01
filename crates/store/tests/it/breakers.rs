//! Circuit breakers before deliveries: when they open and close, who may try them out, and what an operator's SQL does.
//!
//! Each test runs on both stores through the contract, the operator's statements past it.

use std::sync::Arc;

use bowline_store::{
    BreakerKey, BreakerRecord, BreakerReport, BreakerSettings, BreakerState, ChangeKind, LineStore,
};
use uuid::Uuid;

use crate::support::{Engine, Place, until};
use bowline_conformance::events::at;

fn trigger() -> BreakerKey {
    BreakerKey::Trigger(Uuid::new_v4())
}

fn report(key: &BreakerKey, succeeded: bool, failure_threshold: u32) -> BreakerReport {
    let settings = BreakerSettings { failure_threshold, recovery_secs: 60, half_open_calls_max: 2 };
    BreakerReport { key: key.clone(), succeeded, settings }
}

/// Opens a breaker after three failures.
async fn open(store: &Arc<dyn LineStore>, key: &BreakerKey, seconds: i64) {
    let failures = (0..3).map(|_| report(key, false, 3)).collect();
    let turned = store.report_deliveries(failures, at(seconds)).await.unwrap();
    assert_eq!(
        turned.iter().map(|row| (&row.key, row.state)).collect::<Vec<_>>(),
        [(key, BreakerState::Open)]
    );
}

async fn one(store: &Arc<dyn LineStore>, key: &BreakerKey) -> Option<BreakerRecord> {
    store.breakers(Some(vec![key.clone()])).await.unwrap().pop()
}

pub(crate) async fn failures_in_a_row_open_it_and_time_half_opens_it(place: Arc<Place>) {
    let store = place.open().await;
    let (key, host) = (trigger(), BreakerKey::Destination("example.org:443".to_owned()));
    let outcomes = [true, false, false, true, false, false];
    let reports = outcomes.iter().map(|succeeded| report(&key, *succeeded, 3)).collect();
    assert!(store.report_deliveries(reports, at(0)).await.unwrap().is_empty());
    assert_eq!(one(&store, &key).await.unwrap().failure_count, 2);
    assert!(store.breakers(None).await.unwrap().is_empty());
    // One that has only ever succeeded has no row.
    assert!(store.report_deliveries(vec![report(&host, true, 3)], at(0)).await.unwrap().is_empty());
    assert_eq!(one(&store, &host).await, None);
    let before = store.changes().epoch(ChangeKind::BREAKERS);
    let failure = vec![report(&key, false, 3), report(&host, false, 1)];
    assert_eq!(store.report_deliveries(failure, at(1)).await.unwrap().len(), 2);
    assert!(store.changes().epoch(ChangeKind::BREAKERS) > before);
    let rows = store.breakers(None).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(
        (rows[0].state, rows[0].failure_count, rows[0].opened_at),
        (BreakerState::Open, 3, Some(at(1)))
    );
    assert_eq!(rows[1].settings.failure_threshold, 1);
    // While it is open nothing counts, and nobody may try.
    assert!(store.report_deliveries(vec![report(&key, true, 3)], at(2)).await.unwrap().is_empty());
    assert!(!store.take_probe(&key, at(2)).await.unwrap());
    assert!(store.half_open_breakers(at(60)).await.unwrap().is_empty());
    let turned = store.half_open_breakers(at(61)).await.unwrap();
    assert!(turned.len() == 2 && turned.iter().all(|row| row.state == BreakerState::HalfOpen));
    assert!(store.half_open_breakers(at(99)).await.unwrap().is_empty());
    let closed = store.report_deliveries(vec![report(&key, true, 3)], at(62)).await.unwrap();
    assert_eq!(
        (closed[0].state, closed[0].failure_count, closed[0].opened_at),
        (BreakerState::Closed, 0, None)
    );
    assert_eq!(closed[0].last_failure_at, Some(at(1)));
    let opened = store.report_deliveries(vec![report(&host, false, 9)], at(62)).await.unwrap();
    assert_eq!((opened[0].state, opened[0].opened_at), (BreakerState::Open, Some(at(62))));
    assert_eq!(one(&store, &host).await.unwrap(), opened[0]);
}

pub(crate) async fn so_many_may_try_it_out_at_a_time(place: Arc<Place>) {
    let stores = place.open_two().await;
    let key = trigger();
    open(&stores[0], &key, 0).await;
    stores[0].half_open_breakers(at(60)).await.unwrap();
    let probes = (0..12).map(|n: usize| {
        let (store, key) = (Arc::clone(&stores[n % 2]), key.clone());
        tokio::spawn(async move { store.take_probe(&key, at(60)).await.unwrap() })
    });
    let mut passed = 0;
    for probe in probes.collect::<Vec<_>>() {
        passed += usize::from(probe.await.unwrap());
    }
    assert_eq!(passed, 2);
    // Whoever tried and never told of it holds a place for no longer than the breaker's time.
    assert!(!stores[0].take_probe(&key, at(119)).await.unwrap());
    assert!(stores[0].take_probe(&key, at(120)).await.unwrap());
    assert!(stores[0].take_probe(&key, at(120)).await.unwrap());
    assert!(!stores[0].take_probe(&key, at(120)).await.unwrap());
    assert!(!stores[0].take_probe(&trigger(), at(120)).await.unwrap());
}

pub(crate) async fn reports_of_several_processes_are_all_counted(place: Arc<Place>) {
    let stores = place.open_two().await;
    let keys = [trigger(), BreakerKey::Destination("example.org:443".to_owned()), trigger()];
    let reporters = (0..8).map(|n: usize| {
        let (store, mut keys) = (Arc::clone(&stores[n % 2]), keys.clone());
        tokio::spawn(async move {
            let mut turned = 0;
            for turn in 0..5 {
                // In another order each time: whoever locks in the order given waits for ever.
                keys.rotate_left((n + turn) % 3);
                let reports = keys.iter().map(|key| report(key, false, 40)).collect();
                turned += store.report_deliveries(reports, at(0)).await.unwrap().len();
            }
            turned
        })
    });
    let mut turned = 0;
    for reporter in reporters.collect::<Vec<_>>() {
        turned += reporter.await.unwrap();
    }
    assert_eq!(turned, 3);
    let rows = stores[1].breakers(None).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.failure_count).collect::<Vec<_>>(), [40, 40, 40]);
}

pub(crate) async fn a_reset_closes_it(place: Arc<Place>) {
    let stores = place.open_two().await;
    let key = trigger();
    assert!(!stores[0].reset_breaker(&key, at(0)).await.unwrap());
    open(&stores[0], &key, 0).await;
    until(async || stores[1].changes().epoch(ChangeKind::BREAKERS) > 0).await;
    let heard = stores[1].changes().epoch(ChangeKind::BREAKERS);
    assert!(stores[0].reset_breaker(&key, at(1)).await.unwrap());
    until(async || stores[1].changes().epoch(ChangeKind::BREAKERS) > heard).await;
    let row = one(&stores[1], &key).await.unwrap();
    assert_eq!((row.state, row.failure_count, row.opened_at), (BreakerState::Closed, 0, None));
    assert!(!stores[0].reset_breaker(&key, at(2)).await.unwrap());
}

/// The statements of the runbook, as they are printed there.
pub(crate) async fn an_operator_closes_and_opens_it_by_sql(place: Arc<Place>) {
    let store = place.open().await;
    let id = Uuid::new_v4();
    let key = BreakerKey::Trigger(id);
    open(&store, &key, 0).await;
    let heard = store.changes().epoch(ChangeKind::BREAKERS);
    let close = format!(
        "UPDATE circuit_breaker_state SET state = 'closed', failure_count = 0 WHERE trigger_id = '{id}';"
    );
    place
        .execute("SELECT trigger_id, state, failure_count, last_failure_at FROM circuit_breaker_state WHERE state = 'open';")
        .await;
    place.execute(&close).await;
    // The embedded store looks when it half-opens breakers, which it does every second.
    let hears = async |than: u64| {
        if place.engine() == Engine::Sqlite {
            store.half_open_breakers(at(0)).await.unwrap();
        }
        store.changes().epoch(ChangeKind::BREAKERS) > than
    };
    until(async || hears(heard).await).await;
    let row = one(&store, &key).await.unwrap();
    assert_eq!((row.state, row.failure_count, row.opened_at), (BreakerState::Closed, 0, None));
    let heard = store.changes().epoch(ChangeKind::BREAKERS);
    place
        .execute(&format!("UPDATE circuit_breaker_state SET state = 'open' WHERE trigger_id = '{id}';"))
        .await;
    until(async || hears(heard).await).await;
    let row = one(&store, &key).await.unwrap();
    let opened_at = row.opened_at.unwrap();
    assert!(row.state == BreakerState::Open && opened_at > at(86_400), "{opened_at}");
    // From there it goes its usual way.
    let due = bowline_types::Timestamp::from_micros(opened_at.micros() + 60_000_000);
    assert_eq!(store.half_open_breakers(due).await.unwrap().len(), 1);
    let heard = store.changes().epoch(ChangeKind::BREAKERS);
    place.execute("DELETE FROM circuit_breaker_state;").await;
    until(async || hears(heard).await).await;
}
