//! The group-commit sequencer: what shares a commit, what a refusal costs whom, and what a full queue and a
//! stopping node say.
//!
//! Appends are held at the store's door until the queue is as the test wants it, so that every group is known.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use bowline_line::{AppendError, Config};
use bowline_store::{AppendOutcome, AppendReport, EventStore as _, StoreError};
use bowline_types::{Code, StreamId};
use bowline_ves::{Rejection, VerifiedEvent};
use tokio::task::JoinHandle;

use crate::events::{accepted, at, envelope, ids, new_events, new_stream, verified};
use crate::support::{Line, fresh, hand_over, metric, record_metrics, soon, until};

type Answer = JoinHandle<Result<AppendReport, AppendError>>;

/// Holds the store with one event of `stream` at its door, so that all that is handed over next gathers.
async fn block(line: &Line, stream: StreamId) -> Answer {
    let appends_before = line.store.append_sizes().len();
    line.store.hold_appends();
    let first = hand_over(&line.handle.appender, new_events(stream, 1)).await;
    line.store.appends_reach(appends_before + 1).await;
    first
}

async fn answer(answer: Answer) -> Result<AppendReport, AppendError> {
    soon(answer).await.unwrap()
}

fn limited(pending_events_max: usize, group_events_max: usize) -> impl FnOnce(&mut Config) {
    move |config| {
        config.limits.pending_events_max = pending_events_max;
        config.limits.group_events_max = group_events_max;
    }
}

#[tokio::test]
async fn waiting_batches_share_one_commit_and_each_caller_gets_its_own_outcomes() {
    let line = Line::start().await;
    let (stream, neighbour) = (new_stream(), new_stream());
    let known = verified(envelope(stream));
    let mut other = known.clone();
    other.envelope.agent_signature = envelope(stream).agent_signature;
    let known_receipt = accepted(&line.append(vec![known.clone()]).await)[0].clone();

    let first = block(&line, stream).await;
    let batches: Vec<_> = (0..40).map(|_| new_events(stream, 3)).collect();
    let mut answers = Vec::new();
    for batch in &batches[..20] {
        answers.push(hand_over(&line.handle.appender, batch.clone()).await);
    }
    let fresh = verified(envelope(neighbour));
    let mixed = hand_over(&line.handle.appender, vec![known, fresh.clone(), other, fresh]).await;
    for batch in &batches[20..] {
        answers.push(hand_over(&line.handle.appender, batch.clone()).await);
    }
    line.store.release_appends();

    assert_eq!(accepted(&answer(first).await.unwrap())[0].sequence_number, 2);
    let mut numbers = Vec::new();
    for (batch, report) in batches.iter().zip(answers) {
        let report = answer(report).await.unwrap();
        let receipts = accepted(&report);
        assert!(receipts.iter().map(|receipt| receipt.event_id).eq(ids(batch)));
        numbers.extend(receipts.iter().map(|receipt| receipt.sequence_number));
        assert_eq!(report.heads, [(stream, 122)].into());
    }
    assert!(numbers.into_iter().eq(3..=122));
    let AppendReport { outcomes, heads } = answer(mixed).await.unwrap();
    let [AppendOutcome::Replayed(old), AppendOutcome::Accepted(new), AppendOutcome::Rejected(why), last] =
        &outcomes[..]
    else {
        panic!("{outcomes:?}")
    };
    assert_eq!((old, why), (&known_receipt, &Rejection::DuplicateEventId));
    assert_eq!((new.stream, new.sequence_number), (neighbour, 1));
    assert_eq!(last, &AppendOutcome::Replayed(new.clone()));
    // The heads of the batch's own streams, and of nobody else's.
    assert_eq!(heads, [(stream, 122), (neighbour, 1)].into());
    assert_eq!(line.store.append_sizes(), [1, 1, 124]);
}

#[tokio::test]
async fn a_group_ends_at_its_limit_and_what_did_not_fit_opens_the_next() {
    let line = Line::with(limited(1_000, 10)).await;
    let stream = new_stream();
    let first = block(&line, stream).await;
    let mut answers = vec![first];
    for count in [4, 5, 3, 12, 2, 8, 1] {
        answers.push(hand_over(&line.handle.appender, new_events(stream, count)).await);
    }
    line.store.release_appends();
    let mut numbers = Vec::new();
    for report in answers {
        let report = answer(report).await.unwrap();
        numbers.extend(accepted(&report).iter().map(|receipt| receipt.sequence_number));
    }
    assert!(numbers.into_iter().eq(1..=36));
    // 4 + 5 leave room for 1, so 3 waits; 12 exceed every group and go alone; 2 + 8 are just enough.
    assert_eq!(line.store.append_sizes(), [1, 9, 3, 12, 10, 1]);
}

#[tokio::test]
async fn one_poisonous_request_fails_alone() {
    let line = Line::start().await;
    let stream = new_stream();
    let poison = new_events(stream, 2);
    let poisonous = poison[1].envelope.event_id;
    line.store.on_append(move |ids| {
        ids.contains(&poisonous).then(|| StoreError::Internal("a poisonous event".to_owned()))
    });
    let first = block(&line, stream).await;
    let mut answers = Vec::new();
    for batch in [new_events(stream, 2), new_events(stream, 2), poison.clone(), new_events(stream, 2)] {
        answers.push(hand_over(&line.handle.appender, batch).await);
    }
    line.store.release_appends();
    answer(first).await.unwrap();
    let mut numbers = Vec::new();
    for (index, report) in answers.into_iter().enumerate() {
        match answer(report).await {
            Ok(report) => numbers.extend(accepted(&report).iter().map(|receipt| receipt.sequence_number)),
            Err(error) => {
                assert!(matches!(error, AppendError::Store(StoreError::Internal(_))), "{error}");
                assert_eq!(index, 2);
            }
        }
    }
    assert_eq!(numbers, [2, 3, 4, 5, 6, 7]);
    assert_eq!(line.store.append_sizes(), [1, 8, 2, 2, 2, 2]);
    // Alone in its group there is nothing left to try.
    let refused = soon(line.handle.appender.append(fresh(poison))).await;
    assert!(matches!(refused, Err(AppendError::Store(StoreError::Internal(_)))), "{refused:?}");
    assert_eq!(line.store.append_sizes().len(), 7);
}

#[tokio::test]
async fn an_absent_full_or_unsure_store_is_not_asked_again() {
    let errors = [StoreError::Unavailable, StoreError::OutcomeUnknown, StoreError::Full]
        .map(|e| e("by design".into()));
    for error in errors {
        let line = Line::start().await;
        let stream = new_stream();
        let first = block(&line, stream).await;
        let batches: Vec<_> = (0..3).map(|_| new_events(stream, 1)).collect();
        let mut answers = Vec::new();
        for batch in &batches {
            answers.push(hand_over(&line.handle.appender, batch.clone()).await);
        }
        let given = error.clone();
        line.store.on_append(move |ids| (ids.len() == 3).then(|| given.clone()));
        line.store.release_appends();
        answer(first).await.unwrap();
        for report in answers {
            let refused = answer(report).await.unwrap_err();
            assert_eq!((refused.to_string(), refused.code()), (error.to_string(), error.code()));
        }
        assert_eq!(line.store.append_sizes(), [1, 3]);
        // The line goes on, and the same events may come again.
        for batch in batches {
            accepted(&line.append(batch).await);
        }
    }
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_gets_its_room_back() {
    let (metrics, _recording) = record_metrics();
    let pending = || metric(&metrics, "bowline_pending_events").unwrap();
    let line = Line::with(limited(10, 4)).await;
    let stream = new_stream();
    let appender = &line.handle.appender;
    for round in 0..3 {
        let first = block(&line, stream).await;
        let waiting = hand_over(appender, new_events(stream, 4)).await;
        let given_up = hand_over(appender, new_events(stream, 5)).await;
        assert_eq!(pending(), 10.0);
        let refused = soon(appender.append(fresh(new_events(stream, 1)))).await.unwrap_err();
        assert!(matches!(refused, AppendError::Overloaded { pending_max: 10, .. }), "{refused}");
        assert_eq!(refused.code(), Code::ServiceUnavailable);
        // Who hangs up takes no place with them, neither in the queue nor in the metric.
        given_up.abort();
        assert!(given_up.await.unwrap_err().is_cancelled());
        line.store.release_appends();
        answer(first).await.unwrap();
        answer(waiting).await.unwrap();
        until(0.0, async || pending()).await;
        // What was handed over is written, whoever waits for it.
        let head = line.handle.reader.head(stream).await.unwrap().unwrap().head;
        assert_eq!(head, 20 * round + 10);
        // The whole room is there again, also right after an answer.
        accepted(&line.append(new_events(stream, 10)).await);
    }
    assert_eq!(metric(&metrics, "bowline_pending_refused_total"), Some(3.0));
}

#[tokio::test]
async fn what_was_handed_over_before_the_end_is_written_and_answered() {
    let line = Line::with(limited(1_000, 4)).await;
    let stream = new_stream();
    let first = block(&line, stream).await;
    let mut answers = vec![first];
    for _ in 0..5 {
        answers.push(hand_over(&line.handle.appender, new_events(stream, 3)).await);
    }
    line.tasks.shutdown().begin();
    line.store.release_appends();
    for report in answers {
        accepted(&answer(report).await.unwrap());
    }
    line.stop().await;
    let refused = soon(line.handle.appender.append(fresh(new_events(stream, 1)))).await.unwrap_err();
    assert!(matches!(refused, AppendError::Draining), "{refused}");
    assert_eq!(refused.code(), Code::ServiceUnavailable);
    assert_eq!(line.store.head(stream).await.unwrap().unwrap().head, 16);
}

#[tokio::test]
async fn a_node_stops_also_while_new_requests_keep_coming() {
    let line = Line::with(limited(1_000, 2)).await;
    let stream = new_stream();
    let (appender, refused) = (line.handle.appender.clone(), Arc::new(AtomicBool::new(false)));
    let seen = Arc::clone(&refused);
    let first = block(&line, stream).await;
    // Whenever a group is written, the next requests are there already.
    line.store.on_append(move |_| {
        for _ in 0..2 {
            let mut append = Box::pin(appender.append(fresh(new_events(stream, 2))));
            if let Poll::Ready(Err(AppendError::Draining)) = poll_detached(append.as_mut()) {
                seen.store(true, Ordering::SeqCst);
            }
        }
        None
    });
    line.tasks.shutdown().begin();
    line.store.release_appends();
    answer(first).await.unwrap();
    line.stop().await;
    assert!(refused.load(Ordering::SeqCst));
}

fn poll_detached<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn time_never_goes_back_in_a_stream() {
    let line = Line::start().await;
    let stream = new_stream();
    let mut times = Vec::new();
    for seconds in [0, 10, 5, -3_600, 10, 11] {
        line.clock.set(at(seconds));
        let events: Vec<VerifiedEvent> = new_events(stream, 2);
        times.extend(accepted(&line.append(events).await).iter().map(|receipt| receipt.sequenced_at));
    }
    assert_eq!(times, [0, 0, 10, 10, 10, 10, 10, 10, 10, 10, 11, 11].map(at));
}
