//! Server-Sent Events: a bounded number of open streams, heartbeats, and an end that the client is told.
//!
//! Each stream asks its [`EventSource`] at its reader's pace, so a slow reader costs one event of memory and delays no
//! other. The credential is looked at again when a key was changed somewhere, and every ten seconds. A stream ends when
//! the listener stops, when its credential does, or when its source fails; the last event says which.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};
use axum::response::sse::{Event, KeepAlive, Sse};
use bowline_runtime::Shutdown;
use bowline_types::Code;
use futures_util::Stream;
use metrics::{counter, gauge};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::access::Access;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::metrics::{SLOW_READERS, STREAMS};

/// Time between two looks at the credential of an open stream.
const CREDENTIAL_CHECK: Duration = Duration::from_secs(10);

/// How far a cut connection may miss the time that a reader has.
const SLOW_READER_MARGIN: Duration = Duration::from_secs(1);

/// Bounds of a listener's event streams.
#[derive(Debug, Clone, Copy)]
pub struct EventStreamLimits {
    /// Streams that may be open; one more answers 503 with `Retry-After`.
    pub open_max: usize,
    /// Time between two heartbeats on a silent stream.
    pub heartbeat: Duration,
    /// How long a reader may refuse bytes before the kernel cuts its connection.
    pub slow_reader_max: Duration,
}

/// A listener's event streams; cheap to clone.
#[derive(Debug, Clone)]
pub struct EventStreams {
    limits: EventStreamLimits,
    places: Arc<Semaphore>,
    stopping: Shutdown,
}

/// Where the events of one stream come from.
pub trait EventSource: Send + 'static {
    /// The next event. MUST be cancel-safe: the call is dropped and made again while there is no event.
    fn next(&mut self) -> impl Future<Output = Result<Event, StreamEnd>> + Send;

    /// Whether the principal may still read this source.
    ///
    /// # Errors
    /// It may not.
    fn admits(&self, principal: &Principal) -> Result<(), ApiError>;
}

/// Why a stream ends, as its reader is told.
#[derive(Debug, Clone)]
pub struct StreamEnd {
    /// A stable code.
    pub code: Code,
    /// For people.
    pub message: String,
}

/// The reader of a stream: a principal, charged like any other, with the credential that it came with.
#[derive(Debug)]
pub struct Reader {
    /// The principal that asks.
    pub principal: Principal,
    access: Access,
    extensions: Extensions,
    headers: HeaderMap,
}

impl<S: Send + Sync> FromRequestParts<S> for Reader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let principal = Principal::from_request_parts(parts, state).await?;
        let access = Access::of(&parts.extensions)?.clone();
        Ok(Self { principal, access, extensions: parts.extensions.clone(), headers: parts.headers.clone() })
    }
}

impl Reader {
    /// Who the credential stands for now.
    async fn ask_again(&self) -> Result<Principal, ApiError> {
        self.access.principal(&self.extensions, &self.headers).await
    }
}

impl EventStreams {
    /// No stream yet; all of them end when `stopping` begins, since nothing else would end them.
    pub fn new(limits: EventStreamLimits, stopping: Shutdown) -> Self {
        Self { limits, places: Arc::new(Semaphore::new(limits.open_max)), stopping }
    }

    /// Opens a stream for a reader that the route has admitted to this source.
    ///
    /// # Errors
    /// `SERVICE_UNAVAILABLE`: too many are open.
    pub fn open<E: EventSource>(
        &self,
        reader: Reader,
        source: E,
    ) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>> + use<E>>, ApiError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            let message = format!("{} event streams are open already", self.limits.open_max);
            ApiError::new(Code::ServiceUnavailable, message)
        })?;
        gauge!(STREAMS).increment(1.0);
        let open = OpenStream {
            key_changes: reader.access.key_changes(),
            check_at: tokio::time::Instant::now() + CREDENTIAL_CHECK,
            reader,
            source,
            stopping: self.stopping.clone(),
            slow_reader_max: self.limits.slow_reader_max,
            handed_over: None,
            ended: false,
            _place: place,
        };
        let events = futures_util::stream::unfold(open, |mut open| async move {
            let event = open.next().await?;
            Some((Ok(event), open))
        });
        Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(self.limits.heartbeat).text("heartbeat")))
    }
}

struct OpenStream<E> {
    reader: Reader,
    source: E,
    key_changes: watch::Receiver<u64>,
    check_at: tokio::time::Instant,
    stopping: Shutdown,
    slow_reader_max: Duration,
    /// When the last event was handed to the connection, until the connection asks for another.
    handed_over: Option<Instant>,
    ended: bool,
    _place: OwnedSemaphorePermit,
}

impl<E: EventSource> OpenStream<E> {
    async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        self.handed_over = None;
        let stopping = self.stopping.clone();
        let event = loop {
            tokio::select! {
                biased;
                () = stopping.begun() => {
                    return Some(self.end(Code::ServiceUnavailable, "the node is draining"));
                }
                () = due(&mut self.key_changes, self.check_at) => {
                    self.check_at = tokio::time::Instant::now() + CREDENTIAL_CHECK;
                    let asked = self.reader.ask_again().await;
                    if let Some(refused) = self.refusal(asked) {
                        return Some(self.end(refused, "the credential was revoked or has run out"));
                    }
                }
                event = self.source.next() => break event,
            }
        };
        match event {
            Ok(event) => {
                self.handed_over = Some(Instant::now());
                Some(event)
            }
            Err(StreamEnd { code, message }) => Some(self.end(code, &message)),
        }
    }

    /// The last event.
    fn end(&mut self, code: Code, message: &str) -> Event {
        self.ended = true;
        Event::default().event("error").data(json!({ "code": code.as_str(), "message": message }).to_string())
    }

    /// Why the source may not be read any more. A store that is away tells nothing about that.
    fn refusal(&self, asked: Result<Principal, ApiError>) -> Option<Code> {
        let refused = asked.and_then(|principal| self.source.admits(&principal)).err()?;
        (refused.code().http_status() < 500).then(|| refused.code())
    }
}

/// Resolves when the credential is to be looked at again: a key was changed somewhere, or time has passed.
async fn due(key_changes: &mut watch::Receiver<u64>, check_at: tokio::time::Instant) {
    drop(tokio::time::timeout_at(check_at, key_changes.changed()).await);
}

impl<E> Drop for OpenStream<E> {
    fn drop(&mut self) {
        gauge!(STREAMS).decrement(1.0);
        // The kernel cut the connection while it still held an event that the reader would not take.
        let held = self.handed_over.map(|since| since.elapsed() + SLOW_READER_MARGIN);
        if held.is_some_and(|held| held >= self.slow_reader_max) {
            counter!(SLOW_READERS).increment(1);
        }
    }
}
