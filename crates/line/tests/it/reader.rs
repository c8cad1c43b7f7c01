//! The tail: history and live as one sequence, without a gap and without a duplicate, however it is woken.
//!
//! The poll is a minute in all tests but the one about lost wake-ups.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bowline_line::TailReader;
use bowline_store::StoreError;
use bowline_types::StreamId;

use crate::events::{ids, new_events, new_stream};
use crate::support::{Line, poll_once, soon};

/// How long a wake-up may take: far less than the poll.
const WAKE_UP_SECS_MAX: u64 = 5;

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(WAKE_UP_SECS_MAX), what).await.expect("it was not woken")
}

/// The numbers of the next events.
async fn take(mut tail: TailReader, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        numbers.push(in_time(tail.next()).await.unwrap().receipt.sequence_number);
    }
    numbers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_runs_into_the_live_stream_without_gap_or_duplicate() {
    let line = Line::start().await;
    let (stream, neighbour) = (new_stream(), new_stream());
    line.grow(stream, 300).await;
    let tails: Vec<_> = [0, 1, 299, 300, 301, 400]
        .map(|from| (from.max(1), line.handle.reader.tail(stream, from)))
        .map(|(from, tail)| (from, tokio::spawn(take(tail, usize::try_from(901 - from).unwrap()))))
        .into();
    for page in 0..40 {
        line.grow(stream, 1 + page % 29).await;
        line.grow(neighbour, 1).await;
    }
    let head = line.handle.reader.head(stream).await.unwrap().unwrap().head;
    line.grow(stream, usize::try_from(900 - head).unwrap()).await;
    for (from, numbers) in tails {
        assert!(numbers.await.unwrap().into_iter().eq(from..=900), "from {from}");
    }
}

#[tokio::test]
async fn a_waiting_tail_is_woken_by_the_write() {
    let line = Line::start().await;
    let stream = new_stream();
    let mut tail = line.handle.reader.tail(stream, 1);
    for number in 1..=3 {
        let reads = line.store.reads.load(Ordering::SeqCst);
        let mut next = pin!(tail.next());
        // It has looked, found nothing, and waits.
        while line.store.reads.load(Ordering::SeqCst) == reads {
            assert!(poll_once(next.as_mut()).await.is_none());
            tokio::task::yield_now().await;
        }
        let events = new_events(stream, 1);
        line.append(events.clone()).await;
        let event = in_time(next).await.unwrap();
        assert_eq!((event.receipt.sequence_number, event.envelope.event_id), (number, ids(&events)[0]));
    }
}

#[tokio::test]
async fn a_lost_wake_up_is_made_up_for_by_the_poll() {
    let line = Line::with(|config| config.poll_ms = 50).await;
    let stream = new_stream();
    line.store.deaf.store(true, Ordering::SeqCst);
    let mut tail = line.handle.reader.tail(stream, 1);
    let waiting = tokio::spawn(async move { (tail.next().await, tail) });
    let looked = || line.store.reads.load(Ordering::SeqCst) > 0;
    crate::support::until(true, async || looked()).await;
    line.grow(stream, 1).await;
    let (first, mut tail) = in_time(waiting).await.unwrap();
    assert_eq!(first.unwrap().receipt.sequence_number, 1);
    line.grow(stream, 1).await;
    assert_eq!(in_time(tail.next()).await.unwrap().receipt.sequence_number, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_next_loses_nothing() {
    let line = Line::start().await;
    let stream = new_stream();
    let mut tail = line.handle.reader.tail(stream, 1);
    let reader = tokio::spawn(async move {
        let (mut numbers, mut dropped) = (Vec::new(), 0);
        while numbers.len() < 600 {
            // Given up at any point of the way: before, within and after the read.
            match polled(tail.next(), 1 << (dropped % 12)).await {
                Some(event) => numbers.push(event.unwrap().receipt.sequence_number),
                None => dropped += 1,
            }
        }
        (numbers, dropped)
    });
    grow_slowly(&line, stream).await;
    let (numbers, dropped) = soon(reader).await.unwrap();
    assert!(numbers.into_iter().eq(1..=600));
    assert!(dropped > 0);
}

/// What the future gives within so many polls; then it is dropped.
async fn polled<T>(future: impl Future<Output = T>, polls: u32) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..polls {
        if let Some(output) = poll_once(future.as_mut()).await {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}

async fn grow_slowly(line: &Line, stream: StreamId) {
    for _ in 0..120 {
        line.grow(stream, 5).await;
    }
}

#[tokio::test]
async fn a_failing_read_leaves_the_tail_where_it_is() {
    let line = Line::start().await;
    let stream = new_stream();
    line.grow(stream, 300).await;
    let mut tail = line.handle.reader.tail(stream, 1);
    let mut failed = false;
    line.store.on_read(move |from| {
        let fail = from > 1 && !std::mem::replace(&mut failed, from > 1);
        fail.then(|| StoreError::Unavailable("for the test".to_owned()))
    });
    let (mut numbers, mut errors) = (Vec::new(), 0);
    while numbers.len() < 300 {
        match in_time(tail.next()).await {
            Ok(event) => numbers.push(event.receipt.sequence_number),
            Err(_) => errors += 1,
        }
    }
    assert!(numbers.into_iter().eq(1..=300));
    assert_eq!(errors, 1);
}
