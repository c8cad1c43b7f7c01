//! `GET /api/v1/ves/stream`: history and then live as Server-Sent Events, without a gap and without a
//! duplicate.
//!
//! Each connection reads the store at its reader's pace, so a slow reader costs one page of memory and holds
//! up nobody. One that takes no bytes for `slow_reader_secs_max` is cut off, and resumes with `Last-Event-ID`.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, Sse};
use bowline_http::{ApiError, EventSource, Params, Principal, Reader, StreamEnd};
use bowline_line::TailReader;
use bowline_store::{Permission, sign_receipts};
use bowline_types::{StoreId, StreamId, TenantId};
use bowline_ves::SequencerSigner;
use futures_util::Stream;
use serde::Deserialize;
use utoipa::IntoParams;

use super::events::event_json;
use crate::state::Api;

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
    reader: Reader,
    Params(query): Params<FollowQuery>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let stream = StreamId::new(query.tenant_id, query.store_id);
    reader.principal.require_stream(Permission::Read, stream)?;
    let from = match headers.get("last-event-id") {
        Some(id) => {
            let last: Option<u64> = id.to_str().ok().and_then(|id| id.trim().parse().ok());
            last.and_then(|last| last.checked_add(1))
                .ok_or_else(|| ApiError::field("Last-Event-ID", "is not a sequence number"))?
        }
        None => query.from.unwrap_or(1),
    };
    let source = Tail {
        stream,
        tail: api.line.reader.tail(stream, from),
        signer: query.receipts.unwrap_or(false).then(|| Arc::clone(&api.line.signer)),
    };
    api.streams.open(reader, source)
}

/// One stream of the line as the source of an event stream.
struct Tail {
    stream: StreamId,
    tail: TailReader,
    /// Signs the receipts, if the events come with theirs.
    signer: Option<Arc<SequencerSigner>>,
}

impl EventSource for Tail {
    async fn next(&mut self) -> Result<Event, StreamEnd> {
        let mut event = self.tail.next().await.map_err(|error| {
            tracing::warn!(component = "api", %error, "Event stream ended");
            let message = "the database is away; resume with Last-Event-ID".to_owned();
            StreamEnd { code: error.code(), message }
        })?;
        if let Some(signer) = &self.signer {
            sign_receipts(std::slice::from_mut(&mut event), signer);
        }
        let number = event.receipt.sequence_number.to_string();
        Ok(Event::default().id(number).event("event").data(event_json(&event, self.signer.is_some())))
    }

    fn admits(&self, principal: &Principal) -> Result<(), ApiError> {
        principal.require_stream(Permission::Read, self.stream)
    }
}
