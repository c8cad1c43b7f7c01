//! One stream's lane: waits for its events, takes its lease when there are any, and matches them page by page.
//!
//! A page that is not committed leaves nothing behind, and a lane that loses the lease drops all that it cached. The
//! shutdown cuts off everything but a commit.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bowline_runtime::Shutdown;
use bowline_store::{Lease, ReadQuery, StoreError};
use bowline_types::StreamId;
use metrics::gauge;
use tokio::time::{Instant, timeout};

use super::commit::{LatePage, MatchedPage};
use super::log::EventEnd;
use super::page;
use super::page_sizer::PageSizer;
use super::state_cache::StateCache;
use super::{FOLLOWER, MatchingContext};
use crate::metrics::LAG;
use crate::rules::VisitedSlots;

/// After a step that failed.
const RETRY: Duration = Duration::from_secs(1);

/// How long giving the lease back may take; it ends by itself.
const RELEASE_TIME_MAX: Duration = Duration::from_secs(2);

/// The lane of one stream.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) context: Arc<MatchingContext>,
    pub(super) stream: StreamId,
    lease: Option<(Lease, Instant)>,
    /// None until it is read.
    pub(super) cursor: Option<u64>,
    pub(super) state_cache: StateCache,
    visited: VisitedSlots,
    pub(super) page_sizer: PageSizer,
    /// Events that are left, as the metric shows them.
    lag: u64,
}

/// How catching up with the stream ended.
enum CatchUp {
    /// Every event is matched; this many were matched now.
    Done(u64),
    /// Another process holds the stream's lease.
    Elsewhere,
}

/// The next page.
enum NextPage {
    /// No event is left.
    Nothing,
    /// Another process holds the stream's lease.
    Elsewhere,
    Matched(Box<MatchedPage>),
    Late(LatePage),
}

impl Lane {
    pub(super) fn new(context: Arc<MatchingContext>, stream: StreamId) -> Self {
        let page_sizer = PageSizer::new(context.config.page_events);
        let (state_cache, visited) = (StateCache::default(), VisitedSlots::default());
        Self { context, stream, lease: None, cursor: None, state_cache, visited, page_sizer, lag: 0 }
    }

    /// Matches until the shutdown begins.
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        let mut grown = self.context.store.tail().watch(self.stream);
        let poll = Duration::from_millis(self.context.config.poll_ms);
        let mut was_polled = false;
        while !shutdown.has_begun() {
            grown.borrow_and_update();
            let pause = match self.catch_up(&shutdown).await {
                Ok(CatchUp::Done(events)) => {
                    self.context.log.polled(if was_polled { events } else { 0 });
                    poll
                }
                Ok(CatchUp::Elsewhere) => {
                    // The other process may have died: its lease ends by itself.
                    let third = Duration::from_millis(self.context.config.lease_secs * 1_000 / 3);
                    tokio::select! { () = tokio::time::sleep(third.min(poll)) => {}, () = shutdown.begun() => {} }
                    continue;
                }
                Err(error) => {
                    self.forget();
                    if !matches!(error, StoreError::CursorMoved { .. }) {
                        self.context.log.trouble("Events can't be matched", &error);
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
            timeout(RELEASE_TIME_MAX, self.context.store.release_lease(&lease)).await.ok();
        }
    }

    /// Drops all that is cached: another process may have matched the stream.
    pub(super) fn forget(&mut self) {
        self.show_lag(0);
        self.cursor = None;
        self.state_cache = StateCache::default();
    }

    async fn catch_up(&mut self, shutdown: &Shutdown) -> Result<CatchUp, StoreError> {
        let mut done = 0;
        loop {
            let ready = tokio::select! {
                biased;
                () = shutdown.begun() => return Ok(CatchUp::Done(done)),
                ready = self.prepare(shutdown) => ready?,
            };
            let late = match ready {
                NextPage::Nothing => return Ok(CatchUp::Done(done)),
                NextPage::Elsewhere => return Ok(CatchUp::Elsewhere),
                NextPage::Late(late) => late,
                // A commit is never cut off.
                NextPage::Matched(step) => match self.write(*step, shutdown).await? {
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

    /// Everything that comes before a page is committed.
    async fn prepare(&mut self, shutdown: &Shutdown) -> Result<NextPage, StoreError> {
        let poll = Duration::from_millis(self.context.config.poll_ms);
        loop {
            let Some(cursor) = self.position().await? else { return Ok(NextPage::Nothing) };
            if !self.hold_lease().await? {
                self.forget();
                return Ok(NextPage::Elsewhere);
            }
            // Another process may have held the lease since the cursor was read.
            if self.cursor != Some(cursor) {
                continue;
            }
            // While matching is held the lease is kept, and what is left is shown.
            if timeout(poll, self.context.pressure.pass(shutdown)).await.is_ok() {
                return self.hold_page(cursor).await;
            }
        }
    }

    /// The cursor, if there is something after it.
    async fn position(&mut self) -> Result<Option<u64>, StoreError> {
        let store = &self.context.store;
        let cursor = match self.cursor {
            Some(cursor) => cursor,
            None => store.cursor(FOLLOWER, self.stream).await?,
        };
        self.cursor = Some(cursor);
        let head = store.head(self.stream).await?.map_or(0, |head| head.head);
        self.show_lag(head.saturating_sub(cursor));
        Ok((head > cursor).then_some(cursor))
    }

    /// Shows the events that are left of this stream as a part of the process's.
    fn show_lag(&mut self, lag: u64) {
        let all = &self.context.lag;
        all.fetch_sub(std::mem::replace(&mut self.lag, lag), Ordering::Relaxed);
        gauge!(LAG).set((all.fetch_add(lag, Ordering::Relaxed) + lag) as f64);
    }

    pub(super) async fn hold_lease(&mut self) -> Result<bool, StoreError> {
        let MatchingContext { store, clock, config, holder, .. } = &*self.context;
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
    async fn hold_page(&mut self, cursor: u64) -> Result<NextPage, StoreError> {
        let context = Arc::clone(&self.context);
        let limit = Duration::from_secs(context.config.step_secs_max);
        let mut query = ReadQuery::from(self.stream, cursor + 1, self.page_sizer.events());
        query.bytes_max = context.config.page_bytes;
        let Ok(read) = timeout(limit, context.store.read(query)).await else {
            self.page_sizer.shrink(self.page_sizer.events());
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
        let begun = context.log.begin(events.len());
        let mut evaluated = Duration::ZERO;
        let held = async {
            // After the events were read: a trigger that is older than one of them is known then.
            context.rules.refresh(context.store.as_ref()).await?;
            let (state_cache, visited) = (&mut self.state_cache, &mut self.visited);
            page::hold(&context, self.stream, &events, state_cache, visited, &mut evaluated).await
        };
        match timeout(limit, held).await {
            Ok(Ok(outcome)) => {
                Ok(NextPage::Matched(Box::new(MatchedPage { from: cursor, first, outcome, begun })))
            }
            Ok(Err(error)) => {
                begun.end(EventEnd::Failed);
                Err(error)
            }
            Err(_) => {
                begun.end(EventEnd::Timeout);
                Ok(NextPage::Late(LatePage { from: cursor, first, events: events.len(), evaluated }))
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
