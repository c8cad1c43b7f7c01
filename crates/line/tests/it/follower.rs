//! Followers: durable cursors that never run ahead, and trouble that stays where it is.
//!
//! A follower here writes down what it was given and fails where it is told to; a crash is a run that is
//! ended between taking a page and moving the cursor.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bowline_line::{FollowError, Follower, FollowerService};
use bowline_runtime::Shutdown;
use bowline_store::{LineStore, StoredEvent};
use bowline_types::StreamId;
use tokio::task::JoinHandle;

use crate::events::{new_stream, two_streams};
use crate::support::{Line, NEVER, metric, record_metrics, soon, until};

/// The first and the last number of each page that was taken.
type Pages = Vec<(StreamId, u64, u64)>;

#[derive(Debug, Clone, Default)]
struct Notes {
    pages: Arc<Mutex<Pages>>,
    refused: Arc<Mutex<HashSet<StreamId>>>,
}

impl Notes {
    fn of(&self, stream: StreamId) -> Vec<(u64, u64)> {
        let pages = self.pages.lock().unwrap();
        pages.iter().filter(|page| page.0 == stream).map(|(_, first, last)| (*first, *last)).collect()
    }
}

#[async_trait]
impl Follower for Notes {
    fn name(&self) -> &'static str {
        "notes"
    }

    async fn take(&mut self, stream: StreamId, events: &[StoredEvent]) -> Result<(), FollowError> {
        if self.refused.lock().unwrap().contains(&stream) {
            return Err(FollowError::Retry("by design".to_owned()));
        }
        let numbers: Vec<_> = events.iter().map(|event| event.receipt.sequence_number).collect();
        let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
        assert!(numbers.into_iter().eq(first..=last));
        self.pages.lock().unwrap().push((stream, first, last));
        Ok(())
    }
}

/// A running follower.
struct Run {
    shutdown: Shutdown,
    ended: JoinHandle<Result<(), bowline_line::Error>>,
}

impl Run {
    fn start(line: &Line, notes: &Notes, poll: Duration) -> Self {
        let service = FollowerService::new(notes.clone(), Arc::clone(&line.store) as _, poll);
        let shutdown = Shutdown::new();
        Self { ended: tokio::spawn(service.run(shutdown.clone())), shutdown }
    }

    async fn stop(self) {
        self.shutdown.begin();
        soon(self.ended).await.unwrap().unwrap();
    }
}

async fn cursor(line: &Line, stream: StreamId) -> u64 {
    line.store.cursor("notes", stream).await.unwrap()
}

#[tokio::test]
async fn a_page_is_repeated_after_a_crash_and_never_skipped() {
    let line = Line::start().await;
    let stream = new_stream();
    line.grow(stream, 700).await;
    let notes = Notes::default();
    line.store.stuck_cursors.store(1, Ordering::SeqCst);
    let run = Run::start(&line, &notes, NEVER);
    until(vec![(1, 500)], async || notes.of(stream)).await;
    until(0, async || line.store.stuck_cursors.load(Ordering::SeqCst)).await;
    run.ended.abort();
    assert!(run.ended.await.unwrap_err().is_cancelled());
    assert_eq!(cursor(&line, stream).await, 0);

    let run = Run::start(&line, &notes, NEVER);
    until(700, async || cursor(&line, stream).await).await;
    run.stop().await;
    assert_eq!(notes.of(stream), [(1, 500), (1, 500), (501, 700)]);

    // What was taken stays taken, also by the next run; what is new wakes it.
    let run = Run::start(&line, &notes, NEVER);
    line.grow(stream, 3).await;
    until(703, async || cursor(&line, stream).await).await;
    line.grow(stream, 2).await;
    until(705, async || cursor(&line, stream).await).await;
    run.stop().await;
    assert_eq!(notes.of(stream)[3..], [(701, 703), (704, 705)]);
}

#[tokio::test]
async fn a_failing_stream_does_not_hold_up_another() {
    let (metrics, _recording) = record_metrics();
    let line = Line::start().await;
    // Streams are visited in their order, so the trouble comes first.
    let [bad, good] = two_streams();
    line.grow(bad, 3).await;
    line.grow(good, 2).await;
    let notes = Notes::default();
    notes.refused.lock().unwrap().insert(bad);
    let run = Run::start(&line, &notes, Duration::from_millis(10));
    until(2, async || cursor(&line, good).await).await;
    line.grow(good, 1).await;
    until(3, async || cursor(&line, good).await).await;
    assert_eq!((cursor(&line, bad).await, notes.of(bad)), (0, vec![]));
    let lag = || metric(&metrics, r#"bowline_follower_lag_events{follower="notes"}"#);
    until(Some(3.0), async || lag()).await;
    let errors = metric(&metrics, r#"bowline_follower_errors_total{follower="notes"}"#).unwrap();
    assert!(errors >= 1.0, "{errors}");

    notes.refused.lock().unwrap().clear();
    until(3, async || cursor(&line, bad).await).await;
    until(Some(0.0), async || lag()).await;
    run.stop().await;
    assert_eq!(notes.of(bad), [(1, 3)]);
}

#[tokio::test]
async fn a_gap_is_an_error_and_the_cursor_stays() {
    for hidden in [vec![3], vec![4], vec![3, 4, 5, 6]] {
        let line = Line::start().await;
        let stream = new_stream();
        let notes = Notes::default();
        let run = Run::start(&line, &notes, Duration::from_millis(10));
        line.grow(stream, 2).await;
        until(2, async || cursor(&line, stream).await).await;
        line.store.hide(hidden.clone());
        line.grow(stream, 4).await;
        let reads = line.store.reads.load(Ordering::SeqCst);
        until(true, async || line.store.reads.load(Ordering::SeqCst) > reads + 3).await;
        assert_eq!(cursor(&line, stream).await, 2, "{hidden:?}");
        line.store.hide([]);
        until(6, async || cursor(&line, stream).await).await;
        run.stop().await;
        assert_eq!(notes.of(stream).last(), Some(&(3, 6)));
    }
}
