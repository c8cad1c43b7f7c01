//! Followers: code that reacts to every event of every stream, in order, at least once, across restarts.
//!
//! The cursor of a follower in a stream is durable and moves only after the follower has taken a page, so a
//! crash repeats a page and never skips one: [`Follower::take`] must bear repetition (invariant 5).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bowline_runtime::Shutdown;
use bowline_store::{CursorRecord, LineStore, ReadQuery, StoreError, StoredEvent};
use bowline_types::StreamId;
use metrics::{counter, gauge};

use crate::metrics::{FOLLOWER_ERRORS, FOLLOWER_LAG};

/// Events that a follower is given at a time.
const PAGE_EVENTS: usize = 500;

/// Payload bytes that a follower is given at a time.
const PAGE_BYTES: usize = 4 << 20;

/// A follower could not take a page; it is given the same page again later.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FollowError(pub String);

impl From<StoreError> for FollowError {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

/// Reacts to events.
#[async_trait]
pub trait Follower: Send + 'static {
    /// A stable name: the key of the durable cursors.
    fn name(&self) -> &'static str;

    /// Takes events of one stream, ascending and without a gap. Taking the same events twice MUST change
    /// nothing that taking them once did not.
    async fn take(&mut self, stream: StreamId, events: &[StoredEvent]) -> Result<(), FollowError>;
}

/// Drives one follower through all streams.
#[derive(Debug)]
pub struct FollowerService<F> {
    follower: F,
    store: Arc<dyn LineStore>,
    poll: Duration,
}

impl<F: Follower> FollowerService<F> {
    /// A follower of everything in `store`.
    pub fn new(follower: F, store: Arc<dyn LineStore>, poll: Duration) -> Self {
        counter!(FOLLOWER_ERRORS, "follower" => follower.name()).absolute(0);
        gauge!(FOLLOWER_LAG, "follower" => follower.name()).set(0.0);
        Self { follower, store, poll }
    }

    /// Follows until the shutdown begins.
    ///
    /// # Errors
    /// None at present: a failing page or an absent store is tried again at the next wake-up.
    pub async fn run(mut self, shutdown: Shutdown) -> Result<(), crate::Error> {
        let mut grown = self.store.tail().watch_any();
        while !shutdown.has_begun() {
            grown.borrow_and_update();
            if let Err(error) = self.catch_up(&shutdown).await {
                let name = self.follower.name();
                counter!(FOLLOWER_ERRORS, "follower" => name).increment(1);
                tracing::warn!(component = "line", follower = name, %error, "Follower fell back, retrying");
                // The failing page would be ready at once; the timer spaces the tries.
                tokio::select! { () = tokio::time::sleep(self.poll) => {}, () = shutdown.begun() => {} }
                continue;
            }
            tokio::select! {
                _ = tokio::time::timeout(self.poll, grown.changed()) => {}
                () = shutdown.begun() => {}
            }
        }
        Ok(())
    }

    /// Takes everything that is there now.
    async fn catch_up(&mut self, shutdown: &Shutdown) -> Result<(), FollowError> {
        let name = self.follower.name();
        let mut lag = 0;
        let mut failure = None;
        for head in self.store.streams().await? {
            let mut cursor = self.store.cursor(name, head.stream).await?;
            while cursor < head.head && !shutdown.has_begun() {
                match self.take_page(head.stream, cursor).await {
                    Ok(reached) => cursor = reached,
                    // One stream's trouble must not hold up the others.
                    Err(error) => {
                        failure = Some(error);
                        break;
                    }
                }
            }
            lag += head.head.saturating_sub(cursor);
        }
        gauge!(FOLLOWER_LAG, "follower" => name).set(lag as f64);
        failure.map_or(Ok(()), Err)
    }

    async fn take_page(&mut self, stream: StreamId, cursor: u64) -> Result<u64, FollowError> {
        let mut query = ReadQuery::from(stream, cursor + 1, PAGE_EVENTS);
        query.bytes_max = PAGE_BYTES;
        let events = self.store.read(query).await?.events;
        let Some(last) = events.last().map(|event| event.receipt.sequence_number) else {
            return Err(FollowError(format!(
                "stream {stream} has a head beyond {cursor} and no event after it"
            )));
        };
        let numbers = events.iter().map(|event| event.receipt.sequence_number);
        if let Some((before, found)) = (cursor..).zip(numbers).find(|(before, found)| *found != before + 1) {
            return Err(FollowError(format!(
                "stream {stream} has a gap after {before}: the next event is {found}"
            )));
        }
        self.follower.take(stream, &events).await?;
        let follower = self.follower.name().to_owned();
        self.store.advance_cursor(CursorRecord { follower, stream, sequence_number: last }).await?;
        Ok(last)
    }
}
