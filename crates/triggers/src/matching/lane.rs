//! One stream's lane: waits for its events, takes its lease when there are any, and matches them page by page.
//!
//! A step that is not written leaves nothing behind, and whoever loses the lease forgets all that it knew.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bowline_runtime::Shutdown;
use bowline_store::{Lease, MatchCommit, ReadQuery, StoreError};
use bowline_types::StreamId;
use metrics::gauge;
use tokio::time::Instant;

use super::log::End;
use super::page::{self, Outcome};
use super::recall::Recall;
use super::{FOLLOWER, Shared};
use crate::metrics::LAG;
use crate::rules::Seen;

/// After a step that failed.
const RETRY: Duration = Duration::from_secs(1);

/// Where a stream is.
#[derive(Debug)]
pub(super) struct Lane {
    shared: Arc<Shared>,
    stream: StreamId,
    lease: Option<(Lease, Instant)>,
    /// None if it is not known.
    cursor: Option<u64>,
    recall: Recall,
    seen: Seen,
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

impl Lane {
    pub(super) fn new(shared: Arc<Shared>, stream: StreamId) -> Self {
        let (recall, seen) = (Recall::default(), Seen::default());
        Self { shared, stream, lease: None, cursor: None, recall, seen, lag: 0 }
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
                woken = tokio::time::timeout(pause, grown.changed()) => woken.is_err(),
                () = shutdown.begun() => false,
            };
        }
        if let Some((lease, _)) = self.lease.take() {
            self.shared.store.release_lease(&lease).await.ok();
        }
    }

    /// Another process may have matched the stream: nothing that is known of it counts.
    fn forget(&mut self) {
        self.show_lag(0);
        self.cursor = None;
        self.recall = Recall::default();
    }

    async fn catch_up(&mut self, shutdown: &Shutdown) -> Result<Looked, StoreError> {
        let mut done = 0;
        while !shutdown.has_begun() {
            let Some(cursor) = self.position().await? else { return Ok(Looked::Done(done)) };
            if !self.hold_lease().await? {
                self.forget();
                return Ok(Looked::Elsewhere);
            }
            // The lease may have been somebody else's since the cursor was read.
            if self.cursor != Some(cursor) {
                continue;
            }
            self.shared.pressure.pass(shutdown).await;
            if shutdown.has_begun() {
                break;
            }
            done += self.step(cursor).await?;
        }
        Ok(Looked::Done(done))
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

    async fn hold_lease(&mut self) -> Result<bool, StoreError> {
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

    /// Matches one page and returns how many events it had.
    async fn step(&mut self, cursor: u64) -> Result<u64, StoreError> {
        let Shared { store, config, .. } = &*self.shared;
        let mut query = ReadQuery::from(self.stream, cursor + 1, config.page_events);
        query.bytes_max = config.page_bytes;
        let events = store.read(query).await?.events;
        let numbers = events.iter().map(|event| event.receipt.sequence_number);
        if events.is_empty() || (cursor + 1..).zip(numbers).any(|(expected, found)| expected != found) {
            return Err(StoreError::Internal(format!("stream {} has a gap after {cursor}", self.stream)));
        }
        let shared = Arc::clone(&self.shared);
        shared.log.begun(events.len());
        let limit = Duration::from_secs(config.step_secs_max);
        let matched = tokio::time::timeout(limit, self.match_page(cursor, &events)).await;
        let failed = match matched {
            Ok(Ok(outcome)) => {
                outcome.tell(&shared);
                shared.log.put_back(events.len() - outcome.processed.len());
                return Ok(outcome.processed.len() as u64);
            }
            Ok(Err(error)) => (End::Failed, error),
            Err(_) => {
                let problem = format!("a step took more than {} s", limit.as_secs());
                (End::Timeout, StoreError::OutcomeUnknown(problem))
            }
        };
        shared.log.ended(events.len(), failed.0);
        Err(failed.1)
    }

    async fn match_page(
        &mut self,
        cursor: u64,
        events: &[bowline_store::StoredEvent],
    ) -> Result<Outcome, StoreError> {
        let shared = Arc::clone(&self.shared);
        // After the events were read: a trigger that is older than one of them is known then.
        shared.rules.refresh(shared.store.as_ref()).await?;
        let outcome = page::hold(&shared, self.stream, events, &mut self.recall, &mut self.seen).await?;
        let to = cursor + outcome.processed.len() as u64;
        self.write(cursor, to, &outcome).await?;
        self.cursor = Some(to);
        Ok(outcome)
    }

    /// Writes a step: jobs that are too many for one transaction come first, and are the same if they come again.
    async fn write(&mut self, from: u64, to: u64, outcome: &Outcome) -> Result<(), StoreError> {
        let Shared { store, clock, config, instance, pressure, .. } = &*self.shared;
        let mut step = MatchCommit {
            follower: FOLLOWER,
            stream: self.stream,
            from,
            to: from,
            state: Vec::new(),
            jobs: Vec::new(),
            retracted: outcome.retracted.clone(),
            processed: Vec::new(),
            processor: instance.clone(),
        };
        let mut parts = outcome.jobs.chunks(config.step_jobs_max).peekable();
        while let Some(part) = parts.next() {
            step.jobs = part.to_vec();
            if parts.peek().is_none() {
                break;
            }
            store.commit_matches(step.clone(), clock.now()).await?;
            pressure.add(part.len());
            // Cancelled once: what came back since would be cancelled again.
            step.retracted.clear();
        }
        (step.to, step.state) = (to, self.recall.take_changes());
        step.processed = outcome.processed.clone();
        let jobs = step.jobs.len();
        store.commit_matches(step, clock.now()).await?;
        pressure.add(jobs);
        Ok(())
    }
}
