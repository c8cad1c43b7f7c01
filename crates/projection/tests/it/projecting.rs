//! Projectors: effects and cursor together, whatever happens in between.
//! What must hold is read from the table and the cursor, never from the projector.

use std::sync::Arc;
use std::time::Duration;

use bowline_conformance::events::{at, grow, new_stream};
use bowline_conformance::{Engine, Place, until};
use bowline_projection::{Kind, Projection, Projector, RebuildError};
use bowline_store::{CursorStep, LetterFilter, LetterOrder, StoreError};
use uuid::Uuid;

use crate::tally::{NAME, Run, Tally, aside, counted, cursor, opened, projector};

pub(crate) async fn effects_and_cursor_are_one_transaction(place: Arc<Place>) {
    let store = opened(&place).await;
    let stream = new_stream();
    grow(&store, stream, 1_200).await;
    // Each run is killed once the projection has been given a page, so before or after that page's commit: the table
    // always counts as many events as the cursor says.
    let mut reached = 0;
    while reached < 1_200 {
        let tally = Tally::default();
        let run = Run::start(&store, &tally);
        until(async || !tally.turns.lock().unwrap().is_empty()).await;
        run.kill().await;
        let moved = cursor(&store, stream).await.unwrap();
        assert_eq!(counted(&store, stream).await, moved);
        if moved == reached {
            // The kill came first. A run that commits a page brings the next round further.
            let run = Run::start(&store, &Tally::default());
            until(async || cursor(&store, stream).await.unwrap() > reached).await;
            run.kill().await;
        }
        reached = cursor(&store, stream).await.unwrap();
        assert_eq!(counted(&store, stream).await, reached);
    }
    // What is new wakes it.
    let run = Run::start(&store, &Tally::default());
    grow(&store, stream, 3).await;
    until(async || counted(&store, stream).await == 1_203).await;
    run.stop().await;
    assert_eq!(cursor(&store, stream).await.unwrap(), 1_203);
}

pub(crate) async fn a_failing_stream_does_not_hold_up_another(place: Arc<Place>) {
    let store = opened(&place).await;
    let (good, bad) = (new_stream(), new_stream());
    grow(&store, good, 2).await;
    grow(&store, bad, 2).await;
    let tally = Tally::default();
    tally.refused.lock().unwrap().insert(bad);
    let run = Run::start(&store, &tally);
    until(async || counted(&store, good).await == 2).await;
    grow(&store, good, 2).await;
    until(async || counted(&store, good).await == 4).await;
    assert_eq!((counted(&store, bad).await, cursor(&store, bad).await.unwrap()), (0, 0));
    tally.refused.lock().unwrap().clear();
    until(async || counted(&store, bad).await == 2).await;
    run.stop().await;
}

pub(crate) async fn poison_waits_unless_it_is_to_be_put_aside(place: Arc<Place>) {
    let store = opened(&place).await;
    let stream = new_stream();
    grow(&store, stream, 5).await;
    let tally = Tally::default();
    tally.poison.lock().unwrap().insert(3);
    let run = Run::start(&store, &tally);
    until(async || tally.turns.lock().unwrap().len() > 5).await;
    run.stop().await;
    assert_eq!(cursor(&store, stream).await.unwrap(), 0);

    let run = Run::of(projector(&store, &tally).putting_aside(aside()));
    until(async || cursor(&store, stream).await.unwrap() == 5).await;
    run.stop().await;
    assert_eq!(counted(&store, stream).await, 4);
    let letters = store.letters(LetterFilter::default(), LetterOrder::Oldest(None), 9).await.unwrap();
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((letter.letter.follower.as_str(), letter.letter.sequence_number), (NAME, Some(3)));
}

pub(crate) async fn a_letter_that_is_retried_is_projected_then(place: Arc<Place>) {
    let store = opened(&place).await;
    let stream = new_stream();
    grow(&store, stream, 3).await;
    let tally = Tally::default();
    tally.poison.lock().unwrap().insert(2);
    let run = Run::of(projector(&store, &tally).putting_aside(aside()));
    until(async || cursor(&store, stream).await.unwrap() == 3).await;
    // The projection may refuse it again.
    let retry = async || {
        let letters = store.letters(LetterFilter::default(), LetterOrder::Oldest(None), 9).await.unwrap();
        let ids = letters.iter().map(|letter| letter.id).collect();
        assert_eq!(store.begin_retries(ids, at(0)).await.unwrap().len(), 1);
    };
    retry().await;
    until(async || {
        let letters = store.letters(LetterFilter::default(), LetterOrder::Oldest(None), 9).await.unwrap();
        letters.first().is_some_and(|letter| letter.retry_count == 1)
    })
    .await;
    assert_eq!(counted(&store, stream).await, 2);
    tally.poison.lock().unwrap().clear();
    retry().await;
    until(async || counted(&store, stream).await == 3).await;
    until(async || {
        store.letters(LetterFilter::default(), LetterOrder::Oldest(None), 9).await.unwrap().is_empty()
    })
    .await;
    run.stop().await;
}

pub(crate) async fn who_lost_the_lease_writes_nothing(place: Arc<Place>) {
    let store = opened(&place).await;
    let stream = new_stream();
    grow(&store, stream, 2).await;
    let ttl = Duration::from_secs(60);
    let lease = store.take_lease("projection/tally", Uuid::from_u128(1), ttl, at(0)).await.unwrap().unwrap();
    store.release_lease(&lease).await.unwrap();
    let mut tally = Tally::default();
    let events = store.read(bowline_store::ReadQuery::from(stream, 1, 9)).await.unwrap().events;
    let effects = tally.project(stream, &events).await.unwrap();
    let engine = store.engine();
    let late = engine.transact(move |tx| {
        Box::pin(async move {
            tx.hold(&lease).await?;
            tx.move_cursor(&CursorStep { follower: NAME, stream, from: 0, to: 2 }).await?;
            effects(tx).await
        })
    });
    assert!(matches!(late.await, Err(StoreError::LeaseLost(_))));
    assert_eq!((counted(&store, stream).await, cursor(&store, stream).await.unwrap()), (0, 0));
}

pub(crate) async fn a_step_from_elsewhere_changes_nothing(place: Arc<Place>) {
    let store = opened(&place).await;
    let stream = new_stream();
    grow(&store, stream, 3).await;
    let step = |from, to, write: bool| {
        let (store, mut tally) = (Arc::clone(&store), Tally::default());
        async move {
            let events =
                store.read(bowline_store::ReadQuery::from(stream, from + 1, 9)).await.unwrap().events;
            let effects = tally.project(stream, &events).await.unwrap();
            let engine = store.engine();
            let moved = engine.transact(move |tx| {
                Box::pin(async move {
                    // The effects come first here, so that a refusal must take them back.
                    effects(tx).await?;
                    tx.move_cursor(&CursorStep { follower: NAME, stream, from, to }).await?;
                    if write { Ok(()) } else { Err(StoreError::Internal("by design".to_owned()).into()) }
                })
            });
            moved.await
        }
    };
    assert!(matches!(step(1, 3, true).await, Err(StoreError::CursorMoved { at: 0, expected: 1 })));
    assert!(matches!(step(0, 3, false).await, Err(StoreError::Internal(_))));
    assert_eq!((counted(&store, stream).await, cursor(&store, stream).await.unwrap()), (0, 0));
    step(0, 3, true).await.unwrap();
    assert!(matches!(step(0, 3, true).await, Err(StoreError::CursorMoved { at: 3, expected: 0 })));
    assert_eq!((counted(&store, stream).await, cursor(&store, stream).await.unwrap()), (3, 3));
}

pub(crate) async fn a_rebuild_reads_the_line_anew(place: Arc<Place>) {
    let store = opened(&place).await;
    let stream = new_stream();
    grow(&store, stream, 4).await;
    let tally = Tally::default();
    let run = Run::start(&store, &tally);
    until(async || counted(&store, stream).await == 4).await;
    place.execute("UPDATE tally SET events = 99").await;
    Projector::rebuild(store.as_ref(), &tally).await.unwrap();
    until(async || counted(&store, stream).await == 4).await;
    run.stop().await;
    assert_eq!(cursor(&store, stream).await.unwrap(), 4);
}

pub(crate) async fn what_is_original_is_not_rebuilt(place: Arc<Place>) {
    let store = opened(&place).await;
    let original = Tally { is_original: true, ..Tally::default() };
    assert!(matches!(original.kind(), Kind::Original));
    let refused = Projector::rebuild(store.as_ref(), &original).await.unwrap_err();
    assert!(matches!(refused, RebuildError::Original(_)) && refused.to_string().contains("`tally`"));
}

pub(crate) async fn many_streams_take_turns(place: Arc<Place>) {
    let store = opened(&place).await;
    let (long, short) = (new_stream(), new_stream());
    grow(&store, long, 1_700).await;
    grow(&store, short, 1).await;
    let tally = Tally::default();
    let run = Run::start(&store, &tally);
    until(async || counted(&store, long).await == 1_700 && counted(&store, short).await == 1).await;
    run.stop().await;
    let turns = tally.turns.lock().unwrap().clone();
    let place = turns.iter().position(|stream| *stream == short).unwrap();
    assert!(place <= 1, "the short stream waited for {place} pages of the long one");
}

pub(crate) async fn a_gap_is_an_error_and_the_cursor_stays(place: Arc<Place>) {
    let store = opened(&place).await;
    let stream = new_stream();
    grow(&store, stream, 3).await;
    place
        .execute(match place.engine() {
            Engine::Sqlite => "DELETE FROM ves_events WHERE position & ((1 << 40) - 1) = 2",
            Engine::Postgres => "DELETE FROM ves_events WHERE sequence_number = 2",
        })
        .await;
    let tally = Tally::default();
    let mut projector = projector(&store, &tally);
    let lease =
        store.take_lease("gap", Uuid::from_u128(1), Duration::from_secs(60), at(0)).await.unwrap().unwrap();
    let failed = projector.pass(&lease).await.unwrap_err().to_string();
    assert!(failed.contains("gap after 1: the next event is 3"), "{failed}");
    assert_eq!((counted(&store, stream).await, cursor(&store, stream).await.unwrap()), (0, 0));
}
