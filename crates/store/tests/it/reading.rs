//! Pages, filters, heads and leaves: what a reader gets is what was appended, each event once.
//!
//! Each test runs on both stores through the contract alone.

use std::sync::Arc;

use bowline_store::{EntityFilter, LineStore, ReadQuery, StoreError, StoredEvent};
use bowline_types::{EventId, StreamId};
use bowline_ves::{Draft, Hash, leaf_hash};

use crate::support::Place;
use bowline_conformance::events::{
    append, append_at, at, draft, grow, new_events, new_stream, pages, signed, whole,
};

/// Twelve events over two types with two entities each, of two event types.
async fn mixed_stream(store: &Arc<dyn LineStore>) -> StreamId {
    let stream = new_stream();
    let event = |index: usize| {
        let entity_type = ["order", "invoice", "order"][index % 3].to_owned();
        let entity_id = ["x", "y"][index % 2].to_owned();
        let event_type = ["rare", "common", "common", "common"][index % 4].to_owned();
        signed(Draft { entity_type, entity_id, event_type, ..draft(stream) })
    };
    append(store, (0..12).map(event).collect()).await;
    // Neighbours on both sides, to be seen by nobody.
    for _ in 0..4 {
        append(store, new_events(new_stream(), 5)).await;
    }
    stream
}

fn entity(entity_type: &str, entity_id: Option<&str>) -> Option<EntityFilter> {
    Some(EntityFilter { entity_type: entity_type.to_owned(), entity_id: entity_id.map(str::to_owned) })
}

fn numbers(events: &[StoredEvent]) -> Vec<u64> {
    events.iter().map(|event| event.receipt.sequence_number).collect()
}

pub(crate) async fn pages_hold_every_matching_event_once(place: Arc<Place>) {
    let store = place.open().await;
    let stream = mixed_stream(&store).await;
    let all = whole(&store, stream).await;
    let entities = [
        None,
        entity("order", None),
        entity("order", Some("y")),
        entity("invoice", Some("x")),
        entity("invoice", Some("z")),
    ];
    for entity in entities {
        for event_type in [None, Some("rare"), Some("common")] {
            for (from, to, limit) in [
                (0, None, 1),
                (1, None, 5),
                (1, Some(12), 12),
                (3, Some(9), 2),
                (9, Some(3), 2),
                (13, None, 1),
            ] {
                let entity = entity.clone();
                let event_type = event_type.map(str::to_owned);
                let matches = |event: &&StoredEvent| {
                    let (number, sent) = (event.receipt.sequence_number, &event.envelope);
                    number >= from
                        && to.is_none_or(|to| number <= to)
                        && event_type.as_ref().is_none_or(|wanted| *wanted == sent.event_type)
                        && entity.as_ref().is_none_or(|wanted| {
                            wanted.entity_type == sent.entity_type
                                && wanted.entity_id.as_ref().is_none_or(|id| *id == sent.entity_id)
                        })
                };
                let expected: Vec<StoredEvent> = all.iter().filter(matches).cloned().collect();
                let query = ReadQuery { to, entity, event_type, ..ReadQuery::from(stream, from, limit) };
                assert_eq!(pages(&store, query.clone()).await, expected, "{query:?}");
            }
        }
    }
    let first = store.read(ReadQuery::from(stream, 1, 12)).await.unwrap();
    assert_eq!((first.events.len(), first.next), (12, None));
    let widest = ReadQuery { to: Some(u64::MAX), ..ReadQuery::from(stream, 0, usize::MAX) };
    assert_eq!(store.read(widest).await.unwrap().events.len(), 12);
    let beyond = store.read(ReadQuery::from(stream, u64::MAX, 5)).await.unwrap();
    assert_eq!((beyond.events.len(), beyond.next), (0, None));
    let nobody = store.read(ReadQuery::from(new_stream(), 1, 5)).await.unwrap();
    assert_eq!((nobody.events.len(), nobody.next), (0, None));
}

pub(crate) async fn a_page_ends_at_its_bytes(place: Arc<Place>) {
    let store = place.open().await;
    let stream = new_stream();
    let hundred_bytes = format!("\"{}\"", "ż".repeat(49));
    let event = || signed(Draft { payload: hundred_bytes.as_str().into(), ..draft(stream) });
    append(&store, (0..7).map(|_| event()).collect()).await;
    // The event that exceeds the bytes is the last one, so that a page of one huge event is a page too.
    for (bytes_max, expected) in [(0, 1), (99, 1), (100, 2), (250, 3), (599, 6), (600, 7), (usize::MAX, 7)] {
        let query = ReadQuery { bytes_max, ..ReadQuery::from(stream, 1, 100) };
        let page = store.read(query.clone()).await.unwrap();
        let next = (expected < 7).then_some(expected + 1);
        assert_eq!((numbers(&page.events), page.next), ((1..=expected).collect(), next), "{bytes_max} bytes");
        assert_eq!(pages(&store, query).await.len(), 7);
    }
    let query = ReadQuery { bytes_max: 250, ..ReadQuery::from(stream, 1, 2) };
    assert_eq!(store.read(query).await.unwrap().next, Some(3));
}

pub(crate) async fn an_event_is_found_by_its_id_in_its_stream(place: Arc<Place>) {
    let store = place.open().await;
    let stream = mixed_stream(&store).await;
    for event in whole(&store, stream).await {
        let id = event.envelope.event_id;
        assert_eq!(store.event(stream, id).await.unwrap().as_ref(), Some(&event));
        assert!(store.event(new_stream(), id).await.unwrap().is_none());
    }
    assert!(store.event(stream, EventId::random()).await.unwrap().is_none());
}

pub(crate) async fn heads_tell_how_far_streams_are(place: Arc<Place>) {
    let store = place.open().await;
    assert!(store.streams().await.unwrap().is_empty());
    assert!(store.head(new_stream()).await.unwrap().is_none());
    let mut streams: Vec<StreamId> = (0..6).map(|_| new_stream()).collect();
    streams.push(StreamId::new(streams[0].tenant_id, new_stream().store_id));
    for (index, stream) in streams.iter().enumerate() {
        append_at(&store, new_events(*stream, index + 1), at(index as i64)).await;
    }
    let heads = store.streams().await.unwrap();
    assert!(heads.is_sorted_by_key(|head| head.stream));
    assert_eq!(heads.len(), streams.len());
    for (index, stream) in streams.into_iter().enumerate() {
        let head = store.head(stream).await.unwrap().unwrap();
        assert_eq!((head.stream, head.head, head.committed), (stream, index as u64 + 1, 0));
        assert_eq!(head.updated_at, at(index as i64));
        assert!(heads.contains(&head));
    }
}

pub(crate) async fn leaves_are_those_of_the_events(place: Arc<Place>) {
    let store = place.open().await;
    let stream = mixed_stream(&store).await;
    let recomputed: Vec<Hash> = whole(&store, stream)
        .await
        .iter()
        .map(|e| leaf_hash(stream, e.receipt.sequence_number, &e.signing_hash, &e.envelope.agent_signature))
        .collect();
    for (start, end) in [(1, 12), (1, 1), (12, 12), (5, 9)] {
        let leaves = store.leaves(stream, start, end).await.unwrap();
        assert_eq!(leaves, recomputed[start as usize - 1..end as usize]);
    }
    let other = new_stream();
    for (of, start, end) in
        [(stream, 0, 3), (stream, 12, 13), (stream, 13, 13), (stream, 1, u64::MAX), (other, 1, 1)]
    {
        let error = store.leaves(of, start, end).await.unwrap_err();
        assert!(
            matches!(&error, StoreError::Internal(text) if text.contains("leaves")),
            "{start}..={end}: {error}"
        );
    }
    grow(&store, stream, 1).await;
    assert_eq!(store.leaves(stream, 12, 13).await.unwrap()[0], recomputed[11]);
}
