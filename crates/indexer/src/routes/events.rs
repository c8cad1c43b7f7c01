//! What happened on the chains, newest first, and how far the indexer is.
//!
//! Chains' streams are public: whoever may read anything reads them. A request looks back over so many events at most
//! and says so; whoever wants all of them follows the streams.

use axum::Json;
use axum::extract::State;
use bowline_http::{Access, ApiError, Params, Principal, limit};
use bowline_store::{ChainCheckpoint, EntityFilter, Permission, ReadQuery, StoredEvent};
use bowline_types::{StreamId, chain_stream};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::IntoParams;

use super::IndexerRoutes;
use crate::ChainStatus;

/// Events that are looked at for one request, of each stream.
const LOOK_BACK_MAX: u64 = 10_000;

/// Events that are read at a time.
const READ_EVENTS: u64 = 1_000;

/// How deep pages go: a page costs as much as all before it.
const DEPTH_EVENTS_MAX: usize = 1_000;

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventsQuery {
    /// The page, from 1; pages go 1,000 events deep.
    page: Option<usize>,
    /// So many at most: 20 if absent, 1 to 100.
    limit: Option<usize>,
    /// Only of that chain.
    chain_id: Option<u64>,
    /// Only of that registry.
    registry: Option<String>,
    /// Only of that type, such as `NewFeedback`; `Retracted` for what the chain took back.
    event_type: Option<String>,
    /// Only of that agent.
    agent_id: Option<String>,
}

impl EventsQuery {
    /// Whether it leaves out events of a chain.
    fn is_filter(&self) -> bool {
        self.registry.is_some() || self.event_type.is_some() || self.agent_id.is_some()
    }
}

/// What happened on the chains, the newest first.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "chain_events", tag = "chains", params(EventsQuery), responses(
    (status = 200, description = "`{\"data\":[{\"id\",\"sequence_number\",\"retracted\",\"chain_id\",\"block_number\",\"registry\",\
        \"event_type\",\"agent_id\",\"timestamp\",…}],\"pagination\":{\"page\",\"limit\",\"has_more\",\"looked_at\",\"is_complete\"}}`; \
        `is_complete` is false if there may be older events than the pages show", body = Object),
    (status = 400, description = "`INVALID_FIELD_VALUE`: the page lies deeper than 1,000 events")))]
pub(super) async fn events(
    State(state): State<IndexerRoutes>,
    access: Access,
    principal: Principal,
    Params(query): Params<EventsQuery>,
) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Read)?;
    let limit = limit(query.limit)?;
    let page = query.page.unwrap_or(1);
    let page_max = DEPTH_EVENTS_MAX / limit;
    if !(1..=page_max).contains(&page) {
        return Err(ApiError::field(
            "page",
            format!(
                "is {page}: with a limit of {limit} take 1 to {page_max}; for what is older name a chain, a registry, an \
                 event type or an agent, or read the chain's stream (GET /api/v1/ves/events)"
            ),
        ));
    }
    let wanted = page * limit + 1;
    let streams: Vec<StreamId> = match query.chain_id {
        Some(chain_id) => vec![chain_stream(chain_id)],
        None => state.line.store.chain_checkpoints().await?.iter().map(|chain| chain.stream).collect(),
    };
    let page_bytes_max = access.limits().page_bytes_max;
    let mut found = Found::default();
    for stream in streams {
        found.look(&state, &Look { stream, query: &query, wanted, page_bytes_max }).await?;
    }
    // Of several chains: by the time of their blocks, then by their place.
    found.events.sort_by_key(|(time, number, _)| std::cmp::Reverse((*time, *number)));
    let is_cut = found.events.len() >= wanted && page == page_max;
    let has_more = found.events.len() >= wanted && !is_cut;
    let shown = found.events.into_iter().skip((page - 1) * limit).take(limit).map(|(_, _, event)| event);
    let shown: Vec<Value> = shown.collect();
    Ok(Json(json!({
        "data": shown,
        "pagination": {
            "page": page, "limit": limit, "has_more": has_more,
            "looked_at": found.looked_at, "is_complete": found.is_complete && !is_cut,
        },
    })))
}

/// How far every chain is.
#[utoipa::path(get, path = "/api/v1/indexer/status", operation_id = "indexer_status", tag = "chains", responses(
    (status = 200, description = "`{\"data\":{\"runs_here\",\"chains\":[{\"chain_id\",\"name\",\"state\",\"block\",\"head\",\"lag_blocks\",\
        \"percent\",\"blocks_per_sec\",\"eta_secs\",\"endpoints\",\"last_error\",\"updated_at\",…}]}}`; of a chain that another \
        process indexes only what the store knows", body = Object)))]
pub(super) async fn status(
    State(state): State<IndexerRoutes>,
    principal: Principal,
) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Read)?;
    let kept = state.line.store.chain_checkpoints().await?;
    let runs_here = state.runs_here;
    let own = if runs_here { state.indexer.status() } else { Vec::new() };
    let chains = chains(&own, &kept);
    Ok(Json(json!({ "data": { "runs_here": runs_here, "chains": chains } })))
}

/// What this process says of its chains, and what the store knows of the others.
fn chains(own: &[ChainStatus], kept: &[ChainCheckpoint]) -> Vec<Value> {
    let mut chains: Vec<Value> = own.iter().map(|chain| json!(chain)).collect();
    let others = kept.iter().filter(|kept| own.iter().all(|chain| chain.chain_id != kept.chain_id));
    chains.extend(others.map(|kept| {
        json!({
            "chain_id": kept.chain_id,
            "stream": kept.stream,
            "state": "elsewhere",
            "block": kept.block.map(|block| block.number),
            "block_hash": kept.block.map(|block| block.hash),
            "generation": kept.generation,
            "updated_at": kept.updated_at,
        })
    }));
    chains
}

/// What is looked for on one stream.
#[derive(Debug, Clone, Copy)]
struct Look<'a> {
    stream: StreamId,
    query: &'a EventsQuery,
    /// Matching events that are enough.
    wanted: usize,
    page_bytes_max: usize,
}

/// What was found, each with its time and number.
#[derive(Debug)]
struct Found {
    events: Vec<(u64, u64, Value)>,
    looked_at: u64,
    is_complete: bool,
}

impl Default for Found {
    fn default() -> Self {
        Self { events: Vec::new(), looked_at: 0, is_complete: true }
    }
}

impl Found {
    /// Reads a stream from its end backwards until there are enough, or enough was looked at.
    async fn look(&mut self, state: &IndexerRoutes, look: &Look<'_>) -> Result<(), ApiError> {
        let Look { stream, query, wanted, .. } = *look;
        let Some(head) = state.line.reader.head(stream).await? else { return Ok(()) };
        let (mut to, mut found, mut looked_at) = (head.head, 0, 0);
        while to > 0 && found < wanted {
            if looked_at >= LOOK_BACK_MAX {
                self.is_complete = false;
                break;
            }
            // Without a filter every event counts, and no more are read than are wanted.
            let read = if query.is_filter() { READ_EVENTS } else { READ_EVENTS.min((wanted - found) as u64) };
            let from = to.saturating_sub(read - 1).max(1);
            let events = span(state, look, (from, to)).await?;
            looked_at += to - from + 1;
            for event in events.iter().rev() {
                let shown = event_json(event);
                if query.registry.as_deref().is_none_or(|registry| shown["registry"] == registry) {
                    found += 1;
                    let time = shown["timestamp"].as_u64().unwrap_or(0);
                    self.events.push((time, event.receipt.sequence_number, shown));
                }
            }
            to = from - 1;
        }
        self.looked_at += looked_at;
        Ok(())
    }
}

/// All matching events of a span; a page may end early by its bytes.
async fn span(
    state: &IndexerRoutes,
    look: &Look<'_>,
    (from, to): (u64, u64),
) -> Result<Vec<StoredEvent>, ApiError> {
    let Look { stream, query, page_bytes_max, .. } = *look;
    let entity = query
        .agent_id
        .as_ref()
        .map(|agent| EntityFilter { entity_type: "agent".to_owned(), entity_id: Some(agent.clone()) });
    let mut events = Vec::new();
    let mut next = Some(from);
    while let Some(from) = next.filter(|from| *from <= to) {
        let page = state
            .line
            .reader
            .read(ReadQuery {
                to: Some(to),
                entity: entity.clone(),
                event_type: query.event_type.clone(),
                bytes_max: page_bytes_max,
                ..ReadQuery::from(stream, from, READ_EVENTS as usize)
            })
            .await?;
        events.extend(page.events);
        next = page.next;
    }
    Ok(events)
}

/// An event as its payload says, with its id and place.
fn event_json(event: &StoredEvent) -> Value {
    let mut shown: Map<String, Value> =
        serde_json::from_str(event.envelope.payload.text()).unwrap_or_default();
    shown.insert("id".to_owned(), json!(event.envelope.event_id));
    shown.insert("sequence_number".to_owned(), json!(event.receipt.sequence_number));
    shown.insert("retracted".to_owned(), json!(event.envelope.event_type == "Retracted"));
    Value::Object(shown)
}
