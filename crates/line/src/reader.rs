//! Reading the line and following its end without a gap and without a duplicate.
//!
//! History and live are one loop: read from the cursor, and when nothing is left, wait until the stream grew
//! or a moment has passed. There is no hand-over between two sources that could lose or repeat an event.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bowline_store::{LineStore, Page, ReadQuery, StoreError, StoredEvent, StreamHead};
use bowline_types::{EventId, StreamId};
use tokio::sync::watch;

/// Events that a tail reads at a time.
const TAIL_PAGE_EVENTS: usize = 256;

/// Payload bytes that a tail reads at a time: what one waiting reader may cost.
const TAIL_PAGE_BYTES: usize = 1 << 20;

/// Reads streams; cheap to clone.
#[derive(Debug, Clone)]
pub struct LineReader {
    store: Arc<dyn LineStore>,
    poll: Duration,
}

impl LineReader {
    pub(crate) fn new(store: Arc<dyn LineStore>, poll: Duration) -> Self {
        Self { store, poll }
    }

    /// One page of events.
    ///
    /// # Errors
    /// The store's.
    pub async fn read(&self, query: ReadQuery) -> Result<Page, StoreError> {
        self.store.read(query).await
    }

    /// One event.
    ///
    /// # Errors
    /// The store's.
    pub async fn event(
        &self,
        stream: StreamId,
        event_id: EventId,
    ) -> Result<Option<StoredEvent>, StoreError> {
        self.store.event(stream, event_id).await
    }

    /// How far a stream is.
    ///
    /// # Errors
    /// The store's.
    pub async fn head(&self, stream: StreamId) -> Result<Option<StreamHead>, StoreError> {
        self.store.head(stream).await
    }

    /// Every stream.
    ///
    /// # Errors
    /// The store's.
    pub async fn streams(&self) -> Result<Vec<StreamHead>, StoreError> {
        self.store.streams().await
    }

    /// Follows a stream from a sequence number on.
    pub fn tail(&self, stream: StreamId, from: u64) -> TailReader {
        TailReader {
            store: Arc::clone(&self.store),
            grown: self.store.tail().watch(stream),
            poll: self.poll,
            next: from.max(1),
            stream,
            ready: VecDeque::new(),
        }
    }
}

/// A position in a stream that moves forward, event by event, for ever.
#[derive(Debug)]
pub struct TailReader {
    store: Arc<dyn LineStore>,
    grown: watch::Receiver<u64>,
    poll: Duration,
    stream: StreamId,
    next: u64,
    ready: VecDeque<StoredEvent>,
}

impl TailReader {
    /// The next event; waits for it if need be. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The store's; the position stays, and the call may be repeated.
    pub async fn next(&mut self) -> Result<StoredEvent, StoreError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.next = event.receipt.sequence_number + 1;
                return Ok(event);
            }
            // Marked as seen before the read: what is written after the read changes the mark again.
            self.grown.borrow_and_update();
            let mut query = ReadQuery::from(self.stream, self.next, TAIL_PAGE_EVENTS);
            query.bytes_max = TAIL_PAGE_BYTES;
            self.ready = self.store.read(query).await?.events.into();
            if self.ready.is_empty() {
                // A wake-up may be lost, so the store is looked at now and then in any case.
                drop(tokio::time::timeout(self.poll, self.grown.changed()).await);
            }
        }
    }
}
