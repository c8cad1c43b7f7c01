//! `GET /api/v1/ves/events/{event_id}/explain`: the life of one event, chapter by chapter.
//!
//! The line and every subsystem behind it tell their own chapters; this file finds the event, asks each of them
//! and says nothing of its own.

use axum::Json;
use axum::extract::State;
use bowline_http::{ApiError, Params, PathParams, Principal};
use bowline_line::explain::{Chapter, Subject};
use bowline_store::{DeadLetterFacts, Permission};
use bowline_types::{Code, EventId, StoreId, StreamId, TenantId, public_tenant};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::IntoParams;

use crate::state::Api;

/// Where to look; all that the credential may read if left out.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ExplainQuery {
    /// The tenant.
    #[param(value_type = Option<String>, format = "uuid")]
    tenant_id: Option<TenantId>,
    /// The store.
    #[param(value_type = Option<String>, format = "uuid")]
    store_id: Option<StoreId>,
}

impl ExplainQuery {
    fn covers(&self, stream: StreamId) -> bool {
        self.tenant_id.is_none_or(|tenant| tenant == stream.tenant_id)
            && self.store_id.is_none_or(|store| store == stream.store_id)
    }
}

/// An event's life.
#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    event_id: EventId,
    /// `sequenced`, or `refused` if it is not on the line and was kept.
    state: &'static str,
    tenant_id: TenantId,
    store_id: StoreId,
    sequence_number: Option<u64>,
    chapters: Vec<Chapter>,
}

/// The life of an event: created, sequenced, verified, committed, proven, and whatever came after.
#[utoipa::path(get, path = "/api/v1/ves/events/{event_id}/explain", tag = "operate",
    params(("event_id" = String, Path, description = "The event"), ExplainQuery), responses(
    (status = 200, description = "`{\"event_id\",\"state\":\"sequenced\"|\"refused\",\"tenant_id\",\"store_id\",\
        \"sequence_number\",\"chapters\":[{\"name\",\"status\":\"done\"|\"pending\"|\"wrong\",\"at\",\"told\",\"details\"}]}`",
        body = Object),
    (status = 400, description = "The id is in several streams: name one of them"),
    (status = 404, description = "`EVENT_NOT_FOUND`: neither on the line nor kept as refused")))]
pub(super) async fn explain(
    State(api): State<Api>,
    principal: Principal,
    PathParams(event_id): PathParams<EventId>,
    Params(query): Params<ExplainQuery>,
) -> Result<Json<Explanation>, ApiError> {
    principal.require(Permission::Read)?;
    if let (Some(tenant), Some(store)) = (query.tenant_id, query.store_id) {
        principal.require_stream(Permission::Read, StreamId::new(tenant, store))?;
    }
    let mut streams = api.line.store.streams_of_event(event_id).await?;
    streams.retain(|stream| query.covers(*stream) && principal.may_read(*stream));
    if streams.len() > 1 {
        return Err(several(event_id, &streams));
    }
    if let Some(stream) = streams.first()
        && let Some(event) = api.line.reader.event(*stream, event_id).await?
    {
        let sequence_number = event.receipt.sequence_number;
        // Triggers are the whole organization's: who may see some of its stores alone is told of nobody's.
        let tenant = if principal.store_ids.is_empty() { principal.tenant_id } else { public_tenant() };
        let viewer = Some(tenant).filter(|tenant| *tenant != TenantId::NIL);
        let subject = Subject { event, viewer };
        let mut chapters = Vec::new();
        for source in api.chapters.iter() {
            chapters.extend(source.tell(&subject).await?);
        }
        let StreamId { tenant_id, store_id } = *stream;
        let sequence_number = Some(sequence_number);
        return Ok(Json(Explanation {
            event_id,
            state: "sequenced",
            tenant_id,
            store_id,
            sequence_number,
            chapters,
        }));
    }
    let letters = api.line.store.dead_letters_of_event(event_id).await?;
    let kept =
        letters.into_iter().find(|letter| query.covers(letter.stream) && principal.may_read(letter.stream));
    kept.map(|letter| Json(refused(letter))).ok_or_else(|| {
        let message = format!(
            "event {event_id} is not on the line that you may read, and not among the refused events"
        );
        ApiError::new(Code::EventNotFound, message)
    })
}

fn several(event_id: EventId, streams: &[StreamId]) -> ApiError {
    let message =
        format!("event {event_id} is in {} streams: name one with tenant_id and store_id", streams.len());
    ApiError::new(Code::InvalidFieldValue, message).with_details(json!({ "streams": streams }))
}

fn refused(letter: DeadLetterFacts) -> Explanation {
    let StreamId { tenant_id, store_id } = letter.stream;
    let told =
        format!("refused: {}", if letter.message.is_empty() { &letter.reason } else { &letter.message });
    let chapter = Chapter::wrong("refused", letter.created_at, told)
        .with("reason", &letter.reason)
        .with("kept_as", "dead letter")
        .with("status", &letter.status)
        .with("retries", letter.retries);
    let chapters = vec![chapter];
    Explanation {
        event_id: letter.event_id,
        state: "refused",
        tenant_id,
        store_id,
        sequence_number: None,
        chapters,
    }
}
