//! One stream's lane: waits for its events, takes its lease when there are any, and matches them step by step.
//!
//! A step that is not written leaves nothing behind, and whoever loses the lease forgets all that it knew. The shutdown
//! cuts off whatever is not being written.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bowline_runtime::Shutdown;
use bowline_store::{Lease, ReadQuery, StoreError};
use bowline_types::StreamId;
use metrics::gauge;
use tokio::time::{Instant, timeout};

use super::log::End;
use super::page;
use super::recall::Recall;
use super::step::{Late, Step};
use super::stride::Stride;
use super::{FOLLOWER, Shared};
use crate::metrics::LAG;
use crate::rules::Seen;

/// After a step that failed.
const RETRY: Duration = Duration::from_secs(1);

/// How long giving the lease back may take; it ends by itself.
const RELEASE_TIME_MAX: Duration = Duration::from_secs(2);

/// Where a stream is.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) shared: Arc<Shared>,
    pub(super) stream: StreamId,
    lease: Option<(Lease, Instant)>,
    /// None if it is not known.
    pub(super) cursor: Option<u64>,
    pub(super) recall: Recall,
    seen: Seen,
    pub(super) stride: Stride,
    /// Events that are left, as it was shown.
    lag: u64,
}

/// How a look at the stream ended.
enum Looked {
    /// Everything is matched; so many events were.
    Done(u64),
    /// Another process matches it.
    Elsewhere,
}

/// What there is to write.
enum Ready {
    Nothing,
    /// Another process matches the stream.
    Elsewhere,
    Step(Box<Step>),
    Late(Late),
}

impl Lane {
    pub(super) fn new(shared: Arc<Shared>, stream: StreamId) -> Self {
        let stride = Stride::new(shared.config.page_events);
        let (recall, seen) = (Recall::default(), Seen::default());
        Self { shared, stream, lease: None, cursor: None, recall, seen, stride, lag: 0 }
    }

    /// Matches until the shutdown begins.
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        let mut grown = self.shared.store.tail().watch(self.stream);
        let poll = Duration::from_millis(self.shared.config.poll_ms);
        let mut was_polled = false;
        while !shutdown.has_begun() {
            grown.borrow_and_update();
            let pause = match self.catch_up(&shutdown).await {
                Ok(Looked::Done(events)) => {
                    self.shared.log.polled(if was_polled { events } else { 0 });
                    poll
                }
                Ok(Looked::Elsewhere) => {
                    // Whoever matches it now may be gone when its lease ends.
                    let third = Duration::from_millis(self.shared.config.lease_secs * 1_000 / 3);
                    tokio::select! { () = tokio::time::sleep(third.min(poll)) => {}, () = shutdown.begun() => {} }
                    continue;
                }
                Err(error) => {
                    self.forget();
                    if !matches!(error, StoreError::CursorMoved { .. }) {
                        self.shared.log.trouble("Events can't be matched", &error);
                        tokio::select! { () = tokio::time::sleep(RETRY) => {}, () = shutdown.begun() => {} }
                    }
                    continue;
                }
            };
            was_polled = tokio::select! {
                woken = timeout(pause, grown.changed()) => woken.is_err(),
                () = shutdown.begun() => false,
            };
        }
        if let Some((lease, _)) = self.lease.take() {
            timeout(RELEASE_TIME_MAX, self.shared.store.release_lease(&lease)).await.ok();
        }
    }

    /// Another process may have matched the stream: nothing that is known of it counts.
    pub(super) fn forget(&mut self) {
        self.show_lag(0);
        self.cursor = None;
        self.recall = Recall::default();
    }

    async fn catch_up(&mut self, shutdown: &Shutdown) -> Result<Looked, StoreError> {
        let mut done = 0;
        loop {
            let ready = tokio::select! {
                biased;
                () = shutdown.begun() => return Ok(Looked::Done(done)),
                ready = self.prepare(shutdown) => ready?,
            };
            let late = match ready {
                Ready::Nothing => return Ok(Looked::Done(done)),
                Ready::Elsewhere => return Ok(Looked::Elsewhere),
                Ready::Late(late) => late,
                // What is being written is never cut off.
                Ready::Step(step) => match self.write(*step, shutdown).await? {
                    Ok(events) => {
                        done += events;
                        continue;
                    }
                    Err(late) => late,
                },
            };
            done += tokio::select! {
                biased;
                () = shutdown.begun() => 0,
                events = self.took_too_long(late) => events?,
            };
        }
    }

    /// Everything that comes before a step is written.
    async fn prepare(&mut self, shutdown: &Shutdown) -> Result<Ready, StoreError> {
        let poll = Duration::from_millis(self.shared.config.poll_ms);
        loop {
            let Some(cursor) = self.position().await? else { return Ok(Ready::Nothing) };
            if !self.hold_lease().await? {
                self.forget();
                return Ok(Ready::Elsewhere);
            }
            // The lease may have been somebody else's since the cursor was read.
            if self.cursor != Some(cursor) {
                continue;
            }
            // While matching is held the lease is kept, and what is left is shown.
            if timeout(poll, self.shared.pressure.pass(shutdown)).await.is_ok() {
                return self.hold_page(cursor).await;
            }
        }
    }

    /// The cursor, if there is something after it.
    async fn position(&mut self) -> Result<Option<u64>, StoreError> {
        let store = &self.shared.store;
        let cursor = match self.cursor {
            Some(cursor) => cursor,
            None => store.cursor(FOLLOWER, self.stream).await?,
        };
        self.cursor = Some(cursor);
        let head = store.head(self.stream).await?.map_or(0, |head| head.head);
        self.show_lag(head.saturating_sub(cursor));
        Ok((head > cursor).then_some(cursor))
    }

    /// What is left of this stream, as a part of what the process has left.
    fn show_lag(&mut self, lag: u64) {
        let all = &self.shared.lag;
        all.fetch_sub(std::mem::replace(&mut self.lag, lag), Ordering::Relaxed);
        gauge!(LAG).set((all.fetch_add(lag, Ordering::Relaxed) + lag) as f64);
    }

    pub(super) async fn hold_lease(&mut self) -> Result<bool, StoreError> {
        let Shared { store, clock, config, holder, .. } = &*self.shared;
        let ttl = Duration::from_secs(config.lease_secs);
        if self.lease.as_ref().is_some_and(|(_, taken)| taken.elapsed() < ttl / 3) {
            return Ok(true);
        }
        let name = format!("triggers/{}", self.stream);
        let taken = store.take_lease(&name, *holder, ttl, clock.now()).await?;
        let before = self.lease.take();
        let Some(lease) = taken else { return Ok(false) };
        if before.is_none_or(|(before, _)| before.epoch != lease.epoch) {
            self.forget();
        }
        self.lease = Some((lease, Instant::now()));
        Ok(true)
    }

    /// Reads a page and holds it against the triggers.
    async fn hold_page(&mut self, cursor: u64) -> Result<Ready, StoreError> {
        let shared = Arc::clone(&self.shared);
        let limit = Duration::from_secs(shared.config.step_secs_max);
        let mut query = ReadQuery::from(self.stream, cursor + 1, self.stride.events());
        query.bytes_max = shared.config.page_bytes;
        let Ok(read) = timeout(limit, shared.store.read(query)).await else {
            self.stride.shrink(self.stride.events());
            let problem = format!("a page was not read within {} s", limit.as_secs());
            return Err(StoreError::Unavailable(problem));
        };
        let events = read?.events;
        let mut numbers = events.iter().map(|event| event.receipt.sequence_number);
        let gap = || StoreError::Internal(format!("stream {} has a gap after {cursor}", self.stream));
        let Some(first) = events.first().map(|event| event.envelope.event_id) else { return Err(gap()) };
        if (cursor + 1..).zip(&mut numbers).any(|(expected, found)| expected != found) {
            return Err(gap());
        }
        let begun = shared.log.begin(events.len());
        let mut evaluated = Duration::ZERO;
        let held = async {
            // After the events were read: a trigger that is older than one of them is known then.
            shared.rules.refresh(shared.store.as_ref()).await?;
            let (recall, seen) = (&mut self.recall, &mut self.seen);
            page::hold(&shared, self.stream, &events, recall, seen, &mut evaluated).await
        };
        match timeout(limit, held).await {
            Ok(Ok(outcome)) => Ok(Ready::Step(Box::new(Step { from: cursor, first, outcome, begun }))),
            Ok(Err(error)) => {
                begun.end(End::Failed);
                Err(error)
            }
            Err(_) => {
                begun.end(End::Timeout);
                Ok(Ready::Late(Late { from: cursor, first, events: events.len(), evaluated }))
            }
        }
    }
}

impl Drop for Lane {
    /// A lane that panics leaves nothing of it in the figures.
    fn drop(&mut self) {
        self.show_lag(0);
    }
}
