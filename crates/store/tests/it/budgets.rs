//! Rate budgets: replaced only by who knows the last version, also between processes.
//!
//! Each test runs on both stores through the contract alone.

use std::sync::Arc;

use bowline_store::BudgetRecord;

use crate::support::Place;
use bowline_conformance::events::at;

pub(crate) fn budget(name: &str, version: u64) -> BudgetRecord {
    BudgetRecord { name: name.to_owned(), version, charges: format!("17:{version}"), expires_at: at(100) }
}

pub(crate) async fn a_budget_is_replaced_by_who_knows_its_version(place: Arc<Place>) {
    let store = place.open().await;
    assert_eq!(store.budget("tenant:a").await.unwrap(), None);
    assert!(!store.swap_budget(budget("tenant:a", 5), Some(4), at(0)).await.unwrap());
    assert!(store.swap_budget(budget("tenant:a", 5), None, at(0)).await.unwrap());
    assert!(!store.swap_budget(budget("tenant:a", 6), None, at(0)).await.unwrap());
    assert!(!store.swap_budget(budget("tenant:a", 6), Some(4), at(0)).await.unwrap());
    assert_eq!(store.budget("tenant:a").await.unwrap(), Some(budget("tenant:a", 5)));
    assert!(store.swap_budget(budget("tenant:a", 9), Some(5), at(0)).await.unwrap());
    store.close().await;
    assert_eq!(place.open().await.budget("tenant:a").await.unwrap(), Some(budget("tenant:a", 9)));
}

pub(crate) async fn of_competitors_for_a_version_one_succeeds(place: Arc<Place>) {
    let stores = place.open_two().await;
    for round in 0..10_u64 {
        let expected = (round > 0).then_some(round);
        let swap = |user: usize| {
            let store = Arc::clone(&stores[user]);
            async move { store.swap_budget(budget("key:b", round + 1), expected, at(0)).await.unwrap() }
        };
        let (first, second) = tokio::join!(tokio::spawn(swap(0)), tokio::spawn(swap(1)));
        assert_ne!(first.unwrap(), second.unwrap(), "round {round}");
    }
}

pub(crate) async fn a_new_budget_removes_those_that_expired(place: Arc<Place>) {
    let store = place.open().await;
    for name in ["x", "y"] {
        assert!(store.swap_budget(budget(name, 1), None, at(0)).await.unwrap());
    }
    let young = BudgetRecord { expires_at: at(500), ..budget("young", 1) };
    assert!(store.swap_budget(young.clone(), None, at(100)).await.unwrap());
    assert!(store.budget("x").await.unwrap().is_some(), "it is still good at its last moment");
    assert!(store.swap_budget(budget("z", 1), None, at(101)).await.unwrap());
    for gone in ["x", "y"] {
        assert_eq!(store.budget(gone).await.unwrap(), None);
    }
    assert_eq!(store.budget("young").await.unwrap(), Some(young));
    assert!(store.budget("z").await.unwrap().is_some());
}
