//! Several users at a time: nothing is lost, nothing is doubled, and who waits is woken.
//!
//! On PostgreSQL the users are two processes' stores on one database, on SQLite two tasks of one process.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bowline_types::StreamId;
use bowline_ves::{Receipt, VerifiedEvent};
use futures_util::FutureExt;

use crate::support::{Place, soon};
use bowline_conformance::events::{
    append, append_at, at, draft, grow, new_events, new_stream, receipts, signed, whole, words,
};

/// A batch over some of the streams, another one for each seed.
fn crossing_batch(streams: &[StreamId], seed: usize) -> Vec<VerifiedEvent> {
    let of = |index: usize| streams[(seed * 7 + index * (seed % 3 + 1)) % streams.len()];
    (0..seed % 5 + 1).map(|index| signed(draft(of(index)))).collect()
}

pub(crate) async fn concurrent_appends_are_dense_and_lose_nothing(place: Arc<Place>) {
    let stores = place.open_two().await;
    let streams: Vec<StreamId> = (0..3).map(|_| new_stream()).collect();
    let users: Vec<_> = (0..8)
        .map(|user: usize| {
            let (store, streams) = (Arc::clone(&stores[user % 2]), streams.clone());
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for round in 0..15 {
                    let now = at(round as i64 * 3 - user as i64);
                    let report = append_at(&store, crossing_batch(&streams, user + 8 * round), now).await;
                    assert!(words(&report).iter().all(|word| word.starts_with("accepted")));
                    acknowledged.extend(receipts(&report));
                }
                acknowledged
            })
        })
        .collect();
    let mut acknowledged: BTreeMap<StreamId, Vec<Receipt>> = BTreeMap::new();
    for user in users {
        for receipt in user.await.unwrap() {
            acknowledged.entry(receipt.stream).or_default().push(receipt);
        }
    }
    for (stream, mut receipts) in acknowledged {
        receipts.sort_by_key(|receipt| receipt.sequence_number);
        for store in &stores {
            let stored = whole(store, stream).await;
            let stored: Vec<Receipt> = stored.iter().filter_map(|event| event.receipt.signed()).collect();
            assert_eq!(stored, receipts);
            assert!(stored.is_sorted_by_key(|receipt| receipt.sequenced_at));
            assert_eq!(store.head(stream).await.unwrap().unwrap().head, stored.len() as u64);
        }
    }
}

/// Each user creates some of the streams and finds the others made by somebody else in between.
pub(crate) async fn new_streams_are_created_by_several_at_a_time(place: Arc<Place>) {
    let stores = place.open_two().await;
    for _ in 0..20 {
        let mut streams: Vec<StreamId> = (0..3).map(|_| new_stream()).collect();
        streams.sort();
        let parts: [&[usize]; 6] = [&[1], &[0, 1], &[1, 2], &[2, 0], &[0, 1, 2], &[2]];
        let users: Vec<_> = parts
            .into_iter()
            .enumerate()
            .map(|(user, part)| {
                let store = Arc::clone(&stores[user % 2]);
                let batch: Vec<VerifiedEvent> =
                    part.iter().map(|index| signed(draft(streams[*index]))).collect();
                tokio::spawn(async move { receipts(&append(&store, batch).await) })
            })
            .collect();
        for user in users {
            user.await.unwrap();
        }
        for (stream, length) in streams.into_iter().zip([3, 4, 4]) {
            assert_eq!(whole(&stores[0], stream).await.len(), length);
        }
    }
}

pub(crate) async fn of_raced_replays_one_is_accepted(place: Arc<Place>) {
    let stores = place.open_two().await;
    let stream = new_stream();
    for round in 0..10 {
        let mut batch = new_events(stream, 5);
        let users: Vec<_> = (0..4)
            .map(|user: usize| {
                let (store, batch) = (Arc::clone(&stores[user % 2]), batch.clone());
                // Each user sends the same events in another order.
                let rotated = [&batch[user..], &batch[..user]].concat();
                tokio::spawn(async move { append(&store, rotated).await })
            })
            .collect();
        let mut accepted = 0;
        let mut given = HashSet::new();
        for user in users {
            let report = user.await.unwrap();
            accepted += words(&report).iter().filter(|word| word.starts_with("accepted")).count();
            given.extend(
                receipts(&report).into_iter().map(|r| (r.event_id, r.sequence_number, r.attestation)),
            );
        }
        batch.extend(new_events(stream, 1));
        assert_eq!((accepted, given.len()), (5, 5));
        assert_eq!(words(&append(&stores[1], batch).await)[5], format!("accepted {}", round * 6 + 6));
    }
    assert_eq!(whole(&stores[0], stream).await.len(), 60);
}

pub(crate) async fn a_dropped_append_is_whole_or_absent(place: Arc<Place>) {
    let store = place.open().await;
    let streams = [new_stream(), new_stream()];
    let mut batches: Vec<Vec<VerifiedEvent>> = Vec::new();
    let mut dropped = 0;
    for wait in 0..60 {
        let batch: Vec<VerifiedEvent> = (0..6).map(|index| signed(draft(streams[index % 2]))).collect();
        // From a future that is polled once to one that mostly comes to its end.
        let append = append(&store, batch.clone());
        let ended = match wait {
            0..20 => append.now_or_never().is_some(),
            _ => tokio::time::timeout(Duration::from_micros(wait * 100), append).await.is_ok(),
        };
        dropped += usize::from(!ended);
        batches.push(batch);
    }
    assert!(dropped >= 10, "nearly every future came to its end");
    // An append waits for what still holds the streams, so after these nothing is in the air.
    for batch in batches {
        let words = words(&append(&store, batch).await);
        let replayed = words.iter().filter(|word| word.starts_with("replayed")).count();
        assert!(replayed == 0 || replayed == 6, "{words:?}");
    }
    for stream in streams {
        assert_eq!(whole(&store, stream).await.len(), 180);
    }
}

pub(crate) async fn an_append_wakes_who_waits(place: Arc<Place>) {
    let stores = place.open_two().await;
    let stream = new_stream();
    let (mut own, mut others) = (stores[0].tail().watch(stream), stores[1].tail().watch(stream));
    let mut any = stores[1].tail().watch_any();
    assert_eq!((*own.borrow(), *others.borrow()), (0, 0));

    grow(&stores[0], stream, 2).await;
    assert_eq!(*soon(own.wait_for(|head| *head >= 2)).await.unwrap(), 2);
    // If the other process began to listen only now, it wakes everybody once and hears of all that follows.
    soon(others.changed()).await.unwrap();
    grow(&stores[0], stream, 3).await;
    assert_eq!(*soon(others.wait_for(|head| *head >= 5)).await.unwrap(), 5);
    soon(any.changed()).await.unwrap();
    any.mark_unchanged();
    grow(&stores[0], new_stream(), 1).await;
    soon(any.changed()).await.unwrap();

    // A wake-up carries no event: who is woken reads from its own cursor, and finds what was written.
    let mut late = stores[1].tail().watch(stream);
    grow(&stores[1], stream, 1).await;
    soon(late.changed()).await.unwrap();
    assert_eq!(whole(&stores[1], stream).await.len(), 6);
}
