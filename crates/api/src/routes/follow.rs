//! `GET /api/v1/ves/stream`: history and then live as Server-Sent Events, without a gap and without a
//! duplicate.
//!
//! Each connection reads the store at its reader's pace, so a slow reader costs one page of memory and holds
//! up nobody. One that takes no bytes for `slow_reader_secs_max` is cut off, and resumes with `Last-Event-ID`.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{Extensions, HeaderMap};
use axum::response::sse::{Event, KeepAlive, Sse};
use bowline_line::TailReader;
use bowline_runtime::Shutdown;
use bowline_store::{Permission, sign_receipts};
use bowline_types::{Code, StoreId, StreamId, TenantId};
use futures_util::Stream;
use metrics::{counter, gauge};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, watch};
use utoipa::IntoParams;

use super::events::event_json;
use super::extract::Params;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::metrics::{SLOW_READERS, STREAMS};
use crate::state::Api;

/// A credential may run out while a stream is open: it is looked at again so often.
const CREDENTIAL_CHECK: Duration = Duration::from_secs(10);

/// Where to begin.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FollowQuery {
    /// The tenant.
    #[param(value_type = String, format = "uuid")]
    tenant_id: TenantId,
    /// The store.
    #[param(value_type = String, format = "uuid")]
    store_id: StoreId,
    /// The first sequence number; 1 if absent. A `Last-Event-ID` header goes before it.
    from: Option<u64>,
    /// Whether each event comes with its receipt.
    receipts: Option<bool>,
}

/// Follow a stream: replay from `from`, then live, as `text/event-stream`.
///
/// `id:` is the sequence number, `event:` is `event`, `data:` the event. Comments are heartbeats. Before the
/// server ends the connection it sends `event: error` with `{"code","message"}`.
#[utoipa::path(get, path = "/api/v1/ves/stream", tag = "read", params(FollowQuery,
        ("last-event-id" = Option<String>, Header, description = "The last sequence number that the client has")),
    responses((status = 200, description = "The events", content_type = "text/event-stream", body = String),
        (status = 503, description = "Too many open streams, or draining")))]
pub(super) async fn follow(
    State(api): State<Api>,
    principal: Principal,
    Params(query): Params<FollowQuery>,
    headers: HeaderMap,
    extensions: Extensions,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let stream = StreamId::new(query.tenant_id, query.store_id);
    principal.require_stream(Permission::Read, stream)?;
    let from = match headers.get("last-event-id") {
        Some(id) => {
            let last: Option<u64> = id.to_str().ok().and_then(|id| id.trim().parse().ok());
            last.and_then(|last| last.checked_add(1))
                .ok_or_else(|| ApiError::field("Last-Event-ID", "is not a sequence number"))?
        }
        None => query.from.unwrap_or(1),
    };
    let max = api.limits.stream_connections_max;
    let permit = std::sync::Arc::clone(&api.streams).try_acquire_owned().map_err(|_| {
        ApiError::new(Code::ServiceUnavailable, format!("{max} event streams are open already"))
    })?;
    gauge!(STREAMS).increment(1.0);
    let following = Following {
        changes: api.line.store.changes().watch(),
        check_at: tokio::time::Instant::now() + CREDENTIAL_CHECK,
        api: api.clone(),
        stream,
        credential: (extensions, headers),
        tail: api.line.reader.tail(stream, from),
        stopping: api.stopping.clone(),
        receipts: query.receipts.unwrap_or(false),
        slow_after: Duration::from_secs(api.limits.slow_reader_secs_max),
        handed_over: None,
        ended: false,
        _permit: permit,
    };
    let events = futures_util::stream::unfold(following, |mut following| async move {
        let event = following.next().await?;
        Some((Ok(event), following))
    });
    let heartbeat = Duration::from_secs(api.config.heartbeat_secs.max(1));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(heartbeat).text("heartbeat")))
}

struct Following {
    api: Api,
    stream: StreamId,
    /// What the request came with; it may be revoked or run out while the stream is open.
    credential: (Extensions, HeaderMap),
    changes: watch::Receiver<u64>,
    check_at: tokio::time::Instant,
    tail: TailReader,
    stopping: Shutdown,
    receipts: bool,
    slow_after: Duration,
    /// When the last event was handed to the connection, until the connection asks for another.
    handed_over: Option<Instant>,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

impl Following {
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
                    self.ended = true;
                    return Some(error_event(Code::ServiceUnavailable, "the node is draining"));
                }
                () = due(&mut self.changes, self.check_at) => {
                    self.check_at = tokio::time::Instant::now() + CREDENTIAL_CHECK;
                    if let Some(refused) = self.refusal().await {
                        self.ended = true;
                        return Some(error_event(refused, "the credential was revoked or has run out"));
                    }
                }
                event = self.tail.next() => break event,
            }
        };
        let event = event.map(|mut event| {
            if self.receipts {
                sign_receipts(std::slice::from_mut(&mut event), &self.api.line.signer);
            }
            event
        });
        let event = match event {
            Ok(event) => Event::default()
                .id(event.receipt.sequence_number.to_string())
                .event("event")
                .data(event_json(&event, self.receipts)),
            Err(error) => {
                self.ended = true;
                tracing::warn!(component = "api", %error, "Event stream ended");
                return Some(error_event(error.code(), "the database is away; resume with Last-Event-ID"));
            }
        };
        self.handed_over = Some(Instant::now());
        Some(event)
    }
}

impl Following {
    /// Why the stream may not be read any more. A store that is away tells nothing about that.
    async fn refusal(&self) -> Option<Code> {
        let (extensions, headers) = &self.credential;
        let asked = self.api.principal(extensions, headers).await;
        let refused =
            asked.and_then(|principal| principal.require_stream(Permission::Read, self.stream)).err()?;
        (refused.code().http_status() < 500).then(|| refused.code())
    }
}

/// Resolves when the credential is to be looked at again: a key was changed somewhere, or time has passed.
async fn due(changes: &mut watch::Receiver<u64>, check_at: tokio::time::Instant) {
    drop(tokio::time::timeout_at(check_at, changes.changed()).await);
}

impl Drop for Following {
    fn drop(&mut self) {
        gauge!(STREAMS).decrement(1.0);
        // The kernel cut the connection while it still held an event that the reader would not take.
        let margin = Duration::from_secs(1);
        if self.handed_over.is_some_and(|since| since.elapsed() + margin >= self.slow_after) {
            counter!(SLOW_READERS).increment(1);
        }
    }
}

fn error_event(code: Code, message: &str) -> Event {
    Event::default().event("error").data(json!({ "code": code.as_str(), "message": message }).to_string())
}
