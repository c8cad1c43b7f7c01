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
use crate::put_aside::PutAside;

/// Events that a follower is given at a time.
const PAGE_EVENTS: usize = 500;

/// Payload bytes that a follower is given at a time.
const PAGE_BYTES: usize = 4 << 20;

/// A follower could not take a page.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// It is given the same page again later.
    #[error("{0}")]
    Retry(String),
    /// It could never take one event of the page, whoever waits however long. It is given the same page again all
    /// the same, unless its service was told to put such events aside.
    #[error("event {sequence_number} can't be taken: {problem}")]
    Poison {
        /// The event's number.
        sequence_number: u64,
        /// Why, for people.
        problem: String,
    },
}

impl From<StoreError> for FollowError {
    fn from(error: StoreError) -> Self {
        Self::Retry(error.to_string())
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
    put_aside: Option<PutAside>,
}

impl<F: Follower> FollowerService<F> {
    /// A follower of everything in `store`.
    pub fn new(follower: F, store: Arc<dyn LineStore>, poll: Duration) -> Self {
        counter!(FOLLOWER_ERRORS, "follower" => follower.name()).absolute(0);
        gauge!(FOLLOWER_LAG, "follower" => follower.name()).set(0.0);
        Self { follower, store, poll, put_aside: None }
    }

    /// Events that the follower calls poison become dead letters instead of holding it up for ever. It must bear
    /// to be given such an event later, alone, when somebody retries the letter.
    #[must_use]
    pub fn putting_aside(self, put_aside: PutAside) -> Self {
        Self { put_aside: Some(put_aside), ..self }
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
        let mut failure = match &self.put_aside {
            Some(put_aside) => put_aside.take_back(&mut self.follower, self.store.as_ref()).await.err(),
            None => None,
        };
        for head in self.store.streams().await? {
            let mut cursor = self.store.cursor(name, head.stream).await?;
            while cursor < head.head && !shutdown.has_begun() {
                match self.take_page(head.stream, cursor).await {
                    Ok(reached) => cursor = reached,
                    // One stream's trouble must not hold up the others.
                    Err(error) => match self.put_aside(head.stream, cursor, error).await {
                        Ok(reached) => cursor = reached,
                        Err(error) => {
                            failure = Some(error);
                            break;
                        }
                    },
                }
            }
            lag += head.head.saturating_sub(cursor);
        }
        gauge!(FOLLOWER_LAG, "follower" => name).set(lag as f64);
        failure.map_or(Ok(()), Err)
    }

    /// Puts the event aside that a page failed on, if that is asked for and due; gives the error back if not.
    async fn put_aside(
        &mut self,
        stream: StreamId,
        cursor: u64,
        error: FollowError,
    ) -> Result<u64, FollowError> {
        let FollowError::Poison { sequence_number, problem } = &error else { return Err(error) };
        let number = *sequence_number;
        let due = self.put_aside.as_mut().is_some_and(|put_aside| put_aside.is_due(stream, number));
        if !due || number <= cursor {
            return Err(error);
        }
        let mut query = ReadQuery::from(stream, cursor + 1, PAGE_EVENTS);
        (query.to, query.bytes_max) = (Some(number), PAGE_BYTES);
        let mut events = self.store.read(query).await?.events;
        // An event that is not on the page was not given to the follower, whatever it says.
        let Some(poison) = events.pop_if(|event| event.receipt.sequence_number == number) else {
            return Err(error);
        };
        if let Some(last) = events.last().map(|event| event.receipt.sequence_number) {
            self.follower.take(stream, &events).await?;
            self.advance(stream, last).await?;
        }
        if let Some(put_aside) = &mut self.put_aside {
            put_aside.keep(self.follower.name(), &poison, problem, self.store.as_ref()).await?;
        }
        // Only now, when the letter is durable.
        self.advance(stream, number).await?;
        Ok(number)
    }

    async fn advance(&self, stream: StreamId, sequence_number: u64) -> Result<(), StoreError> {
        let follower = self.follower.name().to_owned();
        self.store.advance_cursor(CursorRecord { follower, stream, sequence_number }).await
    }

    async fn take_page(&mut self, stream: StreamId, cursor: u64) -> Result<u64, FollowError> {
        let mut query = ReadQuery::from(stream, cursor + 1, PAGE_EVENTS);
        query.bytes_max = PAGE_BYTES;
        let events = self.store.read(query).await?.events;
        let Some(last) = events.last().map(|event| event.receipt.sequence_number) else {
            return Err(FollowError::Retry(format!(
                "stream {stream} has a head beyond {cursor} and no event after it"
            )));
        };
        let numbers = events.iter().map(|event| event.receipt.sequence_number);
        if let Some((before, found)) = (cursor..).zip(numbers).find(|(before, found)| *found != before + 1) {
            return Err(FollowError::Retry(format!(
                "stream {stream} has a gap after {before}: the next event is {found}"
            )));
        }
        self.follower.take(stream, &events).await?;
        self.advance(stream, last).await?;
        Ok(last)
    }
}
