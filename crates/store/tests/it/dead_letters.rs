//! Dead letters: kept once, found by what is asked for, bounded, retried and swept.
//!
//! Each test runs on both stores through the contract alone.

use std::sync::Arc;

use bowline_store::{
    DeadLetter, LetterAges, LetterFilter, LetterLimits, LetterMark, LetterOrder, LetterReason, LetterStatus,
    LettersKept, LettersSwept, LineStore, NewDeadLetter, RetryEnd,
};
use bowline_types::{EventId, LetterId, StoreId, StreamId};

use crate::support::Place;
use bowline_conformance::events::{append, at, new_events, new_stream};

pub(crate) const LIMITS: LetterLimits =
    LetterLimits { stream_max: 100, total_max: 200, bytes_max: 1 << 20, retries_max: 3 };

pub(crate) fn letter(stream: StreamId, n: u64) -> NewDeadLetter {
    NewDeadLetter {
        event_id: EventId::random(),
        stream,
        event_type: "order.placed".to_owned(),
        reason: LetterReason::VersionConflict,
        error_message: format!("error {n}"),
        follower: String::new(),
        sequence_number: None,
        payload: format!(r#"{{"n": {n}, "text": "ä"}}"#),
        metadata: r#"{"agent_key_id": 1}"#.to_owned(),
    }
}

async fn keep(store: &Arc<dyn LineStore>, letters: &[NewDeadLetter], second: i64) -> LettersKept {
    store.keep_letters(letters.to_vec(), LIMITS, at(second)).await.unwrap()
}

async fn all(store: &Arc<dyn LineStore>) -> Vec<DeadLetter> {
    store.letters(LetterFilter::default(), LetterOrder::Oldest(None), 1_000).await.unwrap()
}

async fn status(store: &Arc<dyn LineStore>, id: LetterId) -> Option<(LetterStatus, u32)> {
    store.letter(id).await.unwrap().map(|letter| (letter.status, letter.retry_count))
}

pub(crate) async fn a_letter_is_kept_once_and_comes_again(place: Arc<Place>) {
    let store = place.open().await;
    let stream = new_stream();
    let first = letter(stream, 1);
    let kept = |kept, again, refused| LettersKept { kept, again, refused };
    assert_eq!(keep(&store, std::slice::from_ref(&first), 1).await, kept(1, 0, 0));
    let mut changed = NewDeadLetter { error_message: "later".to_owned(), ..first.clone() };
    changed.reason = LetterReason::SchemaValidation;
    changed.payload = "{\"n\":2}".to_owned();
    // Twice in one batch is once, and the last one counts.
    assert_eq!(keep(&store, &[first.clone(), changed.clone()], 2).await, kept(0, 1, 0));
    let of_a_follower =
        NewDeadLetter { follower: "notes".to_owned(), sequence_number: Some(7), ..first.clone() };
    let elsewhere = NewDeadLetter { stream: new_stream(), ..first.clone() };
    assert_eq!(keep(&store, &[of_a_follower.clone(), elsewhere.clone()], 3).await, kept(2, 0, 0));
    store.close().await;

    let store = place.open().await;
    let found = all(&store).await;
    assert_eq!(found.len(), 3);
    assert_eq!(found[0].letter, changed);
    assert_eq!((found[0].seen_count, found[0].created_at, found[0].last_seen_at), (3, at(1), at(2)));
    assert_eq!((found[0].status, found[0].retry_count, found[0].max_retries), (LetterStatus::Pending, 0, 3));
    let others: Vec<&NewDeadLetter> = found[1..].iter().map(|letter| &letter.letter).collect();
    assert!(others.contains(&&of_a_follower) && others.contains(&&elsewhere), "{others:?}");
    assert_eq!(store.letter(found[0].id).await.unwrap().as_ref(), Some(&found[0]));
    assert_eq!(store.delete_letters(vec![found[0].id, LetterId::random()]).await.unwrap(), 1);
    assert!(store.letter(found[0].id).await.unwrap().is_none());
}

pub(crate) async fn letters_are_listed_by_what_is_asked_for(place: Arc<Place>) {
    let store = place.open().await;
    let stream = new_stream();
    let sibling = StreamId::new(stream.tenant_id, StoreId::random());
    let streams = [stream, sibling, new_stream()];
    for n in 0..30 {
        let mut one = letter(streams[n as usize % 3], n);
        if n % 2 == 0 {
            one.reason = LetterReason::SchemaValidation;
        }
        // Three at a time have the same moment.
        keep(&store, &[one], n as i64 / 3).await;
    }
    let ask = async |filter: LetterFilter| {
        let found = store.letters(filter.clone(), LetterOrder::Newest(None), 100).await.unwrap();
        assert_eq!(store.count_letters(filter).await.unwrap(), found.len() as u64);
        found
    };
    let of = LetterFilter { tenant_id: Some(stream.tenant_id), ..LetterFilter::default() };
    assert_eq!(ask(LetterFilter::default()).await.len(), 30);
    assert_eq!(ask(of.clone()).await.len(), 20);
    let only = LetterFilter { store_ids: vec![sibling.store_id], ..of.clone() };
    assert!(ask(only.clone()).await.iter().all(|letter| letter.letter.stream == sibling));
    assert_eq!(ask(only.clone()).await.len(), 10);
    let both = LetterFilter { store_ids: vec![sibling.store_id, stream.store_id], ..of };
    assert_eq!(ask(both).await.len(), 20);
    let reason = LetterFilter { reason: Some(LetterReason::SchemaValidation), ..only };
    assert_eq!(ask(reason).await.len(), 5);
    let failed = LetterFilter { status: Some(LetterStatus::Failed), ..LetterFilter::default() };
    assert!(ask(failed).await.is_empty());
    let ours = LetterFilter { follower: Some(String::new()), ..LetterFilter::default() };
    assert_eq!(ask(ours).await.len(), 30);

    for newest in [true, false] {
        let (mut seen, mut mark) = (Vec::new(), None);
        loop {
            let order = if newest { LetterOrder::Newest(mark) } else { LetterOrder::Oldest(mark) };
            let page = store.letters(LetterFilter::default(), order, 7).await.unwrap();
            mark = page.last().map(|last| LetterMark { created_at: last.created_at, id: last.id });
            seen.extend(page.iter().map(|letter| (letter.created_at, letter.id)));
            if page.len() < 7 {
                break;
            }
        }
        let mut sorted = seen.clone();
        sorted.sort();
        if newest {
            sorted.reverse();
        }
        sorted.dedup();
        assert_eq!((seen.len(), &seen), (30, &sorted));
    }
    let mut tally = store.tally_letters().await.unwrap();
    tally.sort_by_key(|(_, reason, _)| reason.as_str());
    let pending = LetterStatus::Pending;
    assert_eq!(
        tally,
        [(pending, LetterReason::SchemaValidation, 15), (pending, LetterReason::VersionConflict, 15)]
    );
}

pub(crate) async fn letters_are_kept_while_there_is_room(place: Arc<Place>) {
    let store = place.open().await;
    let (stream, other) = (new_stream(), new_stream());
    let limits = LetterLimits { stream_max: 3, total_max: 5, ..LIMITS };
    let keep = async |limits: LetterLimits, stream: StreamId, count: u64| {
        let letters: Vec<_> = (0..count).map(|n| letter(stream, n)).collect();
        let kept = store.keep_letters(letters, limits, at(5)).await.unwrap();
        (kept.kept, kept.refused)
    };
    assert_eq!(keep(limits, stream, 4).await, (3, 1));
    assert_eq!(keep(limits, other, 4).await, (2, 2));
    // What is known comes again where nothing new has room.
    let known = all(&store).await.swap_remove(0);
    let again = store.keep_letters(vec![known.letter.clone()], limits, at(6)).await.unwrap();
    assert_eq!((again.again, again.refused), (1, 0));
    // Resolved letters make room, and only as many as are needed.
    place.execute("UPDATE dead_letter_events SET status = 'resolved'").await;
    assert_eq!(keep(limits, other, 1).await, (1, 0));
    assert_eq!(all(&store).await.len(), 5);
    let bytes = LetterLimits { bytes_max: 60, ..LIMITS };
    let fresh = new_stream();
    place.execute("DELETE FROM dead_letter_events").await;
    let (kept, refused) = keep(bytes, fresh, 5).await;
    assert!(kept > 0 && refused > 0, "{kept} {refused}");
}

pub(crate) async fn a_retry_ends_as_it_ended(place: Arc<Place>) {
    let store = place.open().await;
    let stream = new_stream();
    keep(&store, &[letter(stream, 1), letter(stream, 2)], 1).await;
    let ids: Vec<LetterId> = all(&store).await.iter().map(|letter| letter.id).collect();
    let begun = store.begin_retries(ids.clone(), at(2)).await.unwrap();
    assert_eq!(begun.iter().map(|letter| letter.id).collect::<Vec<_>>(), ids);
    assert!(begun.iter().all(|letter| letter.last_retry_at == Some(at(2))));
    // Who is late gets nothing.
    assert!(store.begin_retries(ids.clone(), at(3)).await.unwrap().is_empty());

    let refused = || RetryEnd::Refused(LetterReason::SchemaValidation, "again".to_owned());
    store.end_retries(vec![(ids[0], RetryEnd::Taken), (ids[1], refused())]).await.unwrap();
    assert_eq!(status(&store, ids[0]).await, None);
    assert_eq!(status(&store, ids[1]).await, Some((LetterStatus::Pending, 1)));
    let left = store.letter(ids[1]).await.unwrap().unwrap().letter;
    assert_eq!((left.reason, left.error_message.as_str()), (LetterReason::SchemaValidation, "again"));

    for (end, expected) in [
        (RetryEnd::Undone, (LetterStatus::Pending, 1)),
        (refused(), (LetterStatus::Pending, 2)),
        (refused(), (LetterStatus::Failed, 3)),
        (RetryEnd::Undone, (LetterStatus::Failed, 3)),
    ] {
        assert_eq!(store.begin_retries(vec![ids[1]], at(4)).await.unwrap().len(), 1);
        assert_eq!(status(&store, ids[1]).await.unwrap().0, LetterStatus::Retrying);
        store.end_retries(vec![(ids[1], end)]).await.unwrap();
        assert_eq!(status(&store, ids[1]).await, Some(expected));
    }
}

pub(crate) async fn a_sweep_finds_what_was_taken_and_what_is_old(place: Arc<Place>) {
    let store = place.open().await;
    let stream = new_stream();
    let events = new_events(stream, 3);
    let of = |n: usize| NewDeadLetter { event_id: events[n].envelope.event_id, ..letter(stream, n as u64) };
    let aside = NewDeadLetter { follower: "notes".to_owned(), ..of(0) };
    let elsewhere = NewDeadLetter { stream: new_stream(), ..of(0) };
    keep(&store, &[of(0), aside, elsewhere, of(1), letter(stream, 9)], 100).await;
    append(&store, vec![events[0].clone(), events[2].clone()]).await;
    let ages = |now, kept, resolved, retried| LetterAges {
        now: at(now),
        kept_since: at(kept),
        resolved_since: at(resolved),
        retried_since: at(retried),
    };
    let swept = store.sweep_letters(ages(200, 0, 0, 0)).await.unwrap();
    assert_eq!(swept, LettersSwept { resolved: 1, expired: 0, freed: 0 });
    let resolved: Vec<DeadLetter> =
        all(&store).await.into_iter().filter(|letter| letter.status == LetterStatus::Resolved).collect();
    assert_eq!(resolved.len(), 1);
    assert_eq!((&resolved[0].letter, resolved[0].last_seen_at), (&of(0), at(200)));
    assert!(store.begin_retries(vec![resolved[0].id], at(200)).await.unwrap().is_empty());

    // A try that was broken off is undone, a follower's is not: it may take its time.
    let ids: Vec<LetterId> = all(&store).await.iter().map(|letter| letter.id).collect();
    assert_eq!(store.begin_retries(ids, at(210)).await.unwrap().len(), 4);
    let swept = store.sweep_letters(ages(300, 0, 0, 211)).await.unwrap();
    assert_eq!(swept, LettersSwept { resolved: 0, expired: 0, freed: 3 });
    let retrying = LetterFilter { status: Some(LetterStatus::Retrying), ..LetterFilter::default() };
    assert_eq!(store.count_letters(retrying).await.unwrap(), 1);

    let swept = store.sweep_letters(ages(400, 0, 201, 0)).await.unwrap();
    assert_eq!((swept.expired, all(&store).await.len()), (1, 4));
    let swept = store.sweep_letters(ages(500, 101, 0, 0)).await.unwrap();
    assert_eq!((swept.expired, all(&store).await.len()), (4, 0));
}
