//! Commitments that nobody asked for: when they come, and on which streams they never come.
//!
//! That something does not happen is asserted after the committer has passed twice over the streams: what
//! a pass was to do is done when the next one begins.

use std::sync::atomic::Ordering;

use bowline_line::AutoCommit;
use bowline_store::CommitmentOrigin::{self, Automatic, Client};
use bowline_types::StreamId;

use crate::events::{at, new_stream, two_streams};
use crate::support::{Line, until};

/// A committer that looks every 20 ms.
async fn start(auto: AutoCommit, events: u64, age_secs: u64) -> Line {
    Line::with(|config| {
        config.poll_ms = 20;
        config.commitments.auto = auto;
        config.commitments.events = events;
        config.commitments.age_secs = age_secs;
    })
    .await
}

async fn two_passes(line: &Line) {
    let passes = line.store.listings.load(Ordering::SeqCst);
    until(true, async || line.store.listings.load(Ordering::SeqCst) >= passes + 2).await;
}

/// The ranges that are committed, with who asked.
async fn chain(line: &Line, stream: StreamId) -> Vec<(u64, u64, CommitmentOrigin)> {
    let chain = line.chain(stream).await;
    chain.iter().map(|r| (r.commitment.sequence_start, r.commitment.sequence_end, r.origin)).collect()
}

#[tokio::test]
async fn enough_events_are_committed_at_once() {
    let line = start(AutoCommit::Unclaimed, 5, 3_600).await;
    let stream = new_stream();
    line.grow(stream, 4).await;
    two_passes(&line).await;
    assert_eq!(chain(&line, stream).await, []);
    line.grow(stream, 2).await;
    until(vec![(1, 6, Automatic)], async || chain(&line, stream).await).await;
    line.grow(stream, 4).await;
    two_passes(&line).await;
    assert_eq!(chain(&line, stream).await.len(), 1);
    line.grow(stream, 1).await;
    until(vec![(1, 6, Automatic), (7, 11, Automatic)], async || chain(&line, stream).await).await;
}

#[tokio::test]
async fn the_oldest_uncommitted_event_waits_no_longer_than_its_age() {
    let line = start(AutoCommit::Unclaimed, 1_000, 60).await;
    let stream = new_stream();
    line.grow(stream, 1).await;
    // The younger event must not make the older one wait.
    line.clock.set(at(59));
    line.grow(stream, 1).await;
    two_passes(&line).await;
    assert_eq!(chain(&line, stream).await, []);
    line.clock.set(at(60));
    until(vec![(1, 2, Automatic)], async || chain(&line, stream).await).await;

    // With nothing uncommitted, age means nothing; the next event's age counts from its own time.
    line.clock.set(at(1_000));
    two_passes(&line).await;
    line.grow(stream, 1).await;
    line.clock.set(at(1_059));
    two_passes(&line).await;
    assert_eq!(chain(&line, stream).await.len(), 1);
    line.clock.set(at(1_060));
    until(vec![(1, 2, Automatic), (3, 3, Automatic)], async || chain(&line, stream).await).await;
}

#[tokio::test]
async fn switched_off_it_commits_nothing() {
    let line = start(AutoCommit::Off, 1, 0).await;
    let stream = new_stream();
    line.grow(stream, 5).await;
    line.stop().await;
    assert_eq!(chain(&line, stream).await, []);
}

#[tokio::test]
async fn a_stream_that_a_client_commits_is_left_to_it() {
    let line = start(AutoCommit::Unclaimed, 5, 60).await;
    let (claimed, unclaimed, taken_over) = (new_stream(), new_stream(), new_stream());
    for stream in [claimed, taken_over] {
        line.grow(stream, 2).await;
    }
    line.commit(claimed, 1, 2).await;
    for stream in [unclaimed, taken_over] {
        line.grow(stream, 5).await;
    }
    until(vec![(1, 5, Automatic)], async || chain(&line, unclaimed).await).await;
    until(vec![(1, 7, Automatic)], async || chain(&line, taken_over).await).await;
    line.grow(taken_over, 1).await;
    line.commit(taken_over, 8, 8).await;
    for stream in [claimed, taken_over] {
        line.grow(stream, 9).await;
    }
    line.clock.set(at(3_600));
    two_passes(&line).await;
    assert_eq!(chain(&line, claimed).await, [(1, 2, Client)]);
    assert_eq!(chain(&line, taken_over).await, [(1, 7, Automatic), (8, 8, Client)]);
}

#[tokio::test]
async fn told_so_it_commits_also_what_clients_commit() {
    let line = start(AutoCommit::All, 5, 3_600).await;
    let stream = new_stream();
    line.grow(stream, 3).await;
    line.commit(stream, 1, 2).await;
    line.grow(stream, 4).await;
    until(vec![(1, 2, Client), (3, 7, Automatic)], async || chain(&line, stream).await).await;
}

#[tokio::test]
async fn a_failing_stream_does_not_hold_up_another() {
    let line = start(AutoCommit::Unclaimed, 1, 3_600).await;
    // Streams are visited in their order, so the trouble comes first.
    let [bad, good] = two_streams();
    *line.store.leafless.lock().unwrap() = Some(bad);
    line.grow(bad, 3).await;
    line.grow(good, 2).await;
    until(vec![(1, 2, Automatic)], async || chain(&line, good).await).await;
    assert_eq!(chain(&line, bad).await, []);
    *line.store.leafless.lock().unwrap() = None;
    until(vec![(1, 3, Automatic)], async || chain(&line, bad).await).await;
}
