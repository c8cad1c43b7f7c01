//! Reading events: pages, one event, its receipt, an entity's history, heads.
//!
//! Payloads are passed on as the text that is stored; nothing here parses or rewrites them.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bowline_http::{ApiError, Params, PathParams, Principal, StreamQuery};
pub(super) use bowline_line::event_json;
use bowline_store::{EntityFilter, Page, Permission, ReadQuery, StoredEvent, StreamHead};
use bowline_types::{Code, EventId, StoreId, StreamId, TenantId};
use bowline_ves::Receipt;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use crate::state::Api;

/// Events on a page if the request does not say.
const PAGE_EVENTS_DEFAULT: usize = 100;

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// The tenant.
    #[param(value_type = String, format = "uuid")]
    tenant_id: TenantId,
    /// The store.
    #[param(value_type = String, format = "uuid")]
    store_id: StoreId,
    /// The first sequence number; 1 if absent.
    from: Option<u64>,
    /// The last sequence number; the head if absent.
    to: Option<u64>,
    /// Events on the page: 100 if absent, 1,000 at most by default.
    limit: Option<usize>,
    /// Only this entity type; alone it reads through all events from `from` on.
    entity_type: Option<String>,
    /// Only this entity; needs `entity_type`.
    entity_id: Option<String>,
    /// Only this event type.
    event_type: Option<String>,
    /// Whether each event comes with its receipt.
    receipts: Option<bool>,
}

/// One page of a stream's events, as they were ingested, with `sequence_number` and `sequenced_at`.
///
/// `next` is where the following page begins, and null at the last matching event. Filters apply before the
/// page is cut.
#[utoipa::path(get, path = "/api/v1/ves/events", operation_id = "list_events", tag = "read", params(EventsQuery), responses(
    (status = 200, description = "`{\"events\":[…],\"next\":N|null,\"head_sequence\":N}`", body = Object)))]
pub(super) async fn list(
    State(api): State<Api>,
    principal: Principal,
    Params(query): Params<EventsQuery>,
) -> Result<Response, ApiError> {
    let stream = StreamId::new(query.tenant_id, query.store_id);
    principal.require_stream(Permission::Read, stream)?;
    let entity = match (query.entity_type, query.entity_id) {
        (Some(entity_type), entity_id) => Some(EntityFilter { entity_type, entity_id }),
        (None, Some(_)) => return Err(ApiError::field("entity_id", "needs `entity_type` beside it")),
        (None, None) => None,
    };
    let read = ReadQuery {
        to: query.to,
        entity,
        event_type: query.event_type,
        bytes_max: api.limits.page_bytes_max,
        ..ReadQuery::from(stream, query.from.unwrap_or(1), page_limit(&api, query.limit)?)
    };
    let mut page = api.line.reader.read(read).await?;
    let receipts = query.receipts.unwrap_or(false);
    if receipts {
        page.events = api.line.with_receipts(page.events).await?;
    }
    let head = api.line.reader.head(stream).await?.map_or(0, |head| head.head);
    let mut body = String::from("{\"events\":[");
    write_events(&mut body, &page, receipts);
    body.push_str(&format!("],\"next\":{},\"head_sequence\":{head}}}", number_or_null(page.next)));
    Ok(json_text(body))
}

fn page_limit(api: &Api, asked: Option<usize>) -> Result<usize, ApiError> {
    match asked {
        Some(0) => Err(ApiError::field("limit", "is 0; at least 1")),
        asked => Ok(asked.unwrap_or(PAGE_EVENTS_DEFAULT).min(api.limits.page_events_max)),
    }
}

fn number_or_null(number: Option<u64>) -> String {
    number.map_or_else(|| "null".to_owned(), |number| number.to_string())
}

fn json_text(body: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn write_events(body: &mut String, page: &Page, receipts: bool) {
    for (index, event) in page.events.iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        body.push_str(&event_json(event, receipts));
    }
}

async fn find(
    api: &Api,
    principal: &Principal,
    id: EventId,
    query: StreamQuery,
) -> Result<StoredEvent, ApiError> {
    principal.require_stream(Permission::Read, query.stream())?;
    let found = api.line.reader.event(query.stream(), id).await?;
    let mut found = api.line.with_receipts(Vec::from_iter(found)).await?;
    found.pop().ok_or_else(|| ApiError::new(Code::EventNotFound, format!("the stream has no event {id}")))
}

/// One event with its receipt.
#[utoipa::path(get, path = "/api/v1/ves/events/{event_id}", operation_id = "get_event", tag = "read",
    params(("event_id" = String, Path, description = "The event"), StreamQuery), responses(
    (status = 200, description = "The event, with `sequence_number`, `sequenced_at` and `receipt`", body = Object),
    (status = 404, description = "`EVENT_NOT_FOUND`")))]
pub(super) async fn get(
    State(api): State<Api>,
    principal: Principal,
    PathParams(event_id): PathParams<EventId>,
    Params(query): Params<StreamQuery>,
) -> Result<Response, ApiError> {
    let event = find(&api, &principal, event_id, query).await?;
    Ok(json_text(event_json(&event, true)))
}

/// The receipt of one event, as it was first given; of a chain's event it is signed now, by the current key.
#[utoipa::path(get, path = "/api/v1/ves/events/{event_id}/receipt", tag = "read",
    params(("event_id" = String, Path, description = "The event"), StreamQuery), responses(
    (status = 200, description = "The receipt", body = Object),
    (status = 404, description = "`EVENT_NOT_FOUND`")))]
pub(super) async fn receipt(
    State(api): State<Api>,
    principal: Principal,
    PathParams(event_id): PathParams<EventId>,
    Params(query): Params<StreamQuery>,
) -> Result<Json<Receipt>, ApiError> {
    let receipt = find(&api, &principal, event_id, query).await?.receipt;
    let unsigned = || ApiError::new(Code::InternalError, "the receipt was not signed");
    receipt.signed().map(Json).ok_or_else(unsigned)
}

/// Which part of an entity's history.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// The tenant.
    #[param(value_type = String, format = "uuid")]
    tenant_id: TenantId,
    /// The store.
    #[param(value_type = String, format = "uuid")]
    store_id: StoreId,
    /// The first sequence number; 1 if absent.
    from: Option<u64>,
    /// Events on the page.
    limit: Option<usize>,
}

/// An entity's history: its events, oldest first.
#[utoipa::path(get, path = "/api/v1/ves/entities/{entity_type}/{entity_id}", tag = "read",
    params(("entity_type" = String, Path, description = "The type"), ("entity_id" = String, Path, description = "The entity"),
        HistoryQuery),
    responses((status = 200, description = "`{\"entity_type\",\"entity_id\",\"events\",\"count\",\"next\"}`", body = Object),
        (status = 404, description = "`ENTITY_NOT_FOUND`")))]
pub(super) async fn entity(
    State(api): State<Api>,
    principal: Principal,
    PathParams((entity_type, entity_id)): PathParams<(String, String)>,
    Params(query): Params<HistoryQuery>,
) -> Result<Response, ApiError> {
    let stream = StreamId::new(query.tenant_id, query.store_id);
    principal.require_stream(Permission::Read, stream)?;
    let from = query.from.unwrap_or(1);
    let read = ReadQuery {
        entity: Some(EntityFilter { entity_type: entity_type.clone(), entity_id: Some(entity_id.clone()) }),
        bytes_max: api.limits.page_bytes_max,
        ..ReadQuery::from(stream, from, page_limit(&api, query.limit)?)
    };
    let page = api.line.reader.read(read).await?;
    if page.events.is_empty() && from <= 1 {
        let message = format!("no event of the stream names {entity_type} {entity_id}");
        return Err(ApiError::new(Code::EntityNotFound, message));
    }
    let mut body =
        format!("{{\"entity_type\":{},\"entity_id\":{},\"events\":[", json!(entity_type), json!(entity_id));
    write_events(&mut body, &page, false);
    body.push_str(&format!("],\"count\":{},\"next\":{}}}", page.events.len(), number_or_null(page.next)));
    Ok(json_text(body))
}

fn head_json(head: &StreamHead) -> Value {
    json!({
        "tenant_id": head.stream.tenant_id,
        "store_id": head.stream.store_id,
        "head_sequence": head.head,
        "committed_sequence": head.committed,
        "updated_at": head.updated_at,
    })
}

/// How far a stream is. A stream that has no event yet has the head 0.
#[utoipa::path(get, path = "/api/v1/ves/head", tag = "read", params(StreamQuery), responses(
    (status = 200, description = "`{\"tenant_id\",\"store_id\",\"head_sequence\",\"committed_sequence\",\"updated_at\"}`",
        body = Object)))]
pub(super) async fn head(
    State(api): State<Api>,
    principal: Principal,
    Params(query): Params<StreamQuery>,
) -> Result<Json<Value>, ApiError> {
    let stream = query.stream();
    principal.require_stream(Permission::Read, stream)?;
    Ok(Json(match api.line.reader.head(stream).await? {
        Some(head) => head_json(&head),
        None => json!({
            "tenant_id": stream.tenant_id,
            "store_id": stream.store_id,
            "head_sequence": 0,
            "committed_sequence": 0,
            "updated_at": null,
        }),
    }))
}

/// Every stream that the credential may read.
#[utoipa::path(get, path = "/api/v1/ves/streams", tag = "read", responses(
    (status = 200, description = "`{\"streams\":[…],\"count\":N}`", body = Object)))]
pub(super) async fn streams(State(api): State<Api>, principal: Principal) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Read)?;
    let heads = api.line.reader.streams().await?;
    let visible: Vec<Value> =
        heads.iter().filter(|head| principal.may_read(head.stream)).map(head_json).collect();
    Ok(Json(json!({ "count": visible.len(), "streams": visible })))
}
