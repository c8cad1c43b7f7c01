//! `POST /api/v1/ves/events/ingest`: signed events in, receipts out.
//!
//! Only what concerns the whole batch fails the request: its JSON, its size, a mix of streams, the rights.
//! Everything else rejects one event, with its index and field, and lets its neighbours through.

use std::time::Instant;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bowline_http::{ApiError, PayingByEvent, Principal, RawBody};
use bowline_line::count_rejection;
use bowline_store::{AppendOutcome, Permission};
use bowline_types::{AgentId, BatchId, Code, StreamId};
use bowline_ves::{Envelope, Receipt, Rejection};
use bytes::Bytes;
use metrics::{counter, histogram};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::refusal;
use crate::metrics::{EVENTS_RECEIVED, INGEST_SECONDS, REQUEST_EVENTS};
use crate::state::Api;

/// Bodies beyond so many bytes are parsed on a thread that serves no connections.
const INLINE_BODY_BYTES_MAX: usize = 64 << 10;

/// Events of a body that are looked at; further ones are only counted, for the answer that they are too many.
const EVENTS_KEPT_MAX: usize = 100_000;

/// Times that a batch is verified, if agent keys change each time before it is committed.
const VERIFICATIONS_MAX: usize = 5;

/// The request's body.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct IngestRequest<'a> {
    /// The agent that sends the batch; every event's `source_agent_id` is this.
    #[schema(value_type = String, format = "uuid")]
    agent_id: AgentId,
    /// Envelopes, all of one tenant and store.
    #[serde(borrow)]
    #[schema(value_type = Vec<Object>)]
    events: Events<'a>,
}

struct Events<'a> {
    kept: Vec<&'a RawValue>,
    count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Events<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Events<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array of envelopes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut events: A) -> Result<Self::Value, A::Error> {
                let mut kept = Vec::new();
                while kept.len() < EVENTS_KEPT_MAX
                    && let Some(event) = events.next_element()?
                {
                    kept.push(event);
                }
                let mut count = kept.len();
                while events.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Events { kept, count })
            }
        }
        deserializer.deserialize_seq(Collect)
    }
}

/// The answer. 200 also if every event was rejected.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct IngestAnswer<'a> {
    #[schema(value_type = String, format = "uuid")]
    batch_id: BatchId,
    events_accepted: usize,
    events_rejected: usize,
    /// The first number given, if any was.
    sequence_start: Option<u64>,
    /// The last number given.
    sequence_end: Option<u64>,
    /// The stream's head after the batch.
    head_sequence: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rejections: Vec<RejectionAnswer>,
    /// One for each accepted event, and for each that was there already with the same content.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    receipts: Vec<&'a Receipt>,
}

/// Why an event was rejected.
#[derive(Debug, Serialize, ToSchema)]
struct RejectionAnswer {
    /// The event's place in the request, from 0.
    index: usize,
    /// The event's id as far as it could be read.
    event_id: Option<String>,
    /// A stable word, for some reasons followed by `: ` and particulars.
    reason: String,
    /// For people.
    message: String,
    /// The field that is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
}

/// An event of the batch on its way through the checks.
struct Candidate {
    index: usize,
    envelope: Envelope,
}

/// A parsed batch.
struct Batch {
    agent_id: AgentId,
    events: usize,
    candidates: Vec<Candidate>,
    rejections: Vec<RejectionAnswer>,
}

/// Take signed events in: order them, make them durable, answer with signed receipts.
///
/// Exactly once: the same event again gets its stored receipt again. The answer comes after the commit; 500
/// `OUTCOME_UNKNOWN` and 504 leave open whether it happened, and sending the same events again tells.
#[utoipa::path(post, path = "/api/v1/ves/events/ingest", tag = "ingest",
    request_body(content = IngestRequest, description = "All events of one tenant and store"),
    responses(
        (status = 200, description = "What became of each event", body = IngestAnswer),
        (status = 400, description = "`INVALID_REQUEST_BODY`, or events of several streams"),
        (status = 401, description = "No valid credential"),
        (status = 403, description = "The credential is not for this tenant, store or agent"),
        (status = 413, description = "`BATCH_TOO_LARGE` or `PAYLOAD_TOO_LARGE`"),
        (status = 429, description = "`RATE_LIMIT_EXCEEDED`: `Retry-After` says when the same batch would pass"),
        (status = 503, description = "Overloaded, draining, or the database is away: `Retry-After` says when to come back"),
        (status = 507, description = "`STORAGE_FULL`: nothing was done")
    ))]
pub(super) async fn ingest(
    State(api): State<Api>,
    payer: PayingByEvent,
    body: Result<RawBody, ApiError>,
) -> Result<Response, ApiError> {
    let began = Instant::now();
    // Whatever is wrong with the request, it is charged first.
    let (body, parsed) = match payer.principal.require(Permission::Write).and(body) {
        Ok(RawBody(body)) => {
            let parsed = read(&api, &body).await;
            (body, parsed)
        }
        Err(refused) => (Bytes::new(), Err(refused)),
    };
    payer.charge(parsed.as_ref().map_or(1, |batch| batch.events)).await?;
    let (principal, batch) = (payer.principal, parsed?);
    counter!(EVENTS_RECEIVED).increment(batch.events as u64);
    histogram!(REQUEST_EVENTS).record(batch.events as f64);
    let mut response = take(&api, &principal, batch).await;
    for _ in 1..VERIFICATIONS_MAX {
        // Agent keys have changed since they were looked up, and nothing was done: from the beginning.
        match response {
            Err(error) if error.code() == Code::KeysChanged => {
                response = take(&api, &principal, read(&api, &body).await?).await;
            }
            _ => break,
        }
    }
    histogram!(INGEST_SECONDS).record(began.elapsed());
    response
}

async fn read(api: &Api, body: &Bytes) -> Result<Batch, ApiError> {
    if body.len() <= INLINE_BODY_BYTES_MAX {
        return parse(api, body);
    }
    let (api, body) = (api.clone(), body.clone());
    let parsed = tokio::task::spawn_blocking(move || parse(&api, &body)).await;
    parsed.map_err(|error| ApiError::new(Code::InternalError, error.to_string()))?
}

fn parse(api: &Api, body: &Bytes) -> Result<Batch, ApiError> {
    let request: IngestRequest<'_> = serde_json::from_slice(body)
        .map_err(|error| ApiError::new(Code::InvalidRequestBody, format!("the body: {error}")))?;
    let (events, max) = (request.events.count, api.limits.batch_events_max);
    if events == 0 {
        return Err(ApiError::new(Code::InvalidRequestBody, "`events` is empty"));
    }
    if events > max {
        let message = format!("the batch has {events} events; {max} are taken at a time");
        return Err(ApiError::new(Code::BatchTooLarge, message));
    }
    let mut batch = Batch {
        agent_id: request.agent_id,
        events,
        candidates: Vec::with_capacity(events),
        rejections: Vec::new(),
    };
    for (index, raw) in request.events.kept.into_iter().enumerate() {
        match Envelope::parse(raw.get()) {
            Ok(envelope) => {
                match objection(&envelope, request.agent_id, api.limits.event_payload_bytes_max) {
                    Some(rejection) => {
                        count_rejection(&rejection);
                        batch.rejections.push(rejected(
                            index,
                            Some(envelope.event_id.to_string()),
                            &rejection,
                        ));
                    }
                    None => batch.candidates.push(Candidate { index, envelope }),
                }
            }
            Err(malformed) => {
                count_rejection(&malformed.rejection);
                batch.rejections.push(rejected(index, malformed.event_id, &malformed.rejection));
            }
        }
    }
    Ok(batch)
}

fn objection(envelope: &Envelope, agent_id: AgentId, payload_bytes_max: usize) -> Option<Rejection> {
    let bytes = envelope.payload.text().len();
    if bytes > payload_bytes_max {
        return Some(Rejection::PayloadTooLarge { bytes, max: payload_bytes_max });
    }
    (envelope.source_agent_id != agent_id).then_some(Rejection::AgentMismatch)
}

fn rejected(index: usize, event_id: Option<String>, rejection: &Rejection) -> RejectionAnswer {
    RejectionAnswer {
        index,
        event_id,
        reason: rejection.reason(),
        message: rejection.message(),
        field: rejection.field().map(str::to_owned),
    }
}

/// The one stream of the batch; none if no event could be read.
fn stream_of(candidates: &[Candidate]) -> Result<Option<StreamId>, ApiError> {
    let Some(first) = candidates.first() else { return Ok(None) };
    let stream = first.envelope.stream;
    match candidates.iter().find(|candidate| candidate.envelope.stream != stream) {
        None => Ok(Some(stream)),
        Some(other) => {
            let problem = format!(
                "event {} is of stream {}, event {} of {stream}: one batch is for one tenant and store",
                other.index, other.envelope.stream, first.index
            );
            Err(ApiError::new(Code::InvalidRequestBody, problem))
        }
    }
}

async fn take(api: &Api, principal: &Principal, batch: Batch) -> Result<Response, ApiError> {
    let Batch { agent_id, candidates, mut rejections, .. } = batch;
    principal.require_agent(agent_id)?;
    let stream = stream_of(&candidates)?;
    if let Some(stream) = stream {
        principal.require_stream(Permission::Write, stream)?;
    }
    let (places, envelopes): (Vec<_>, Vec<_>) =
        candidates.into_iter().map(|c| ((c.index, c.envelope.event_id), c.envelope)).unzip();
    let taken = api.line.intake.take(envelopes).await.map_err(refusal::of_append)?;
    let head = match stream {
        Some(stream) => match taken.heads.get(&stream) {
            Some(head) => *head,
            None => api.line.reader.head(stream).await?.map_or(0, |head| head.head),
        },
        None => 0,
    };
    let outcomes = taken.outcomes;
    for ((index, event_id), outcome) in places.into_iter().zip(&outcomes) {
        if let AppendOutcome::Rejected(rejection) = outcome {
            rejections.push(rejected(index, Some(event_id.to_string()), rejection));
        }
    }
    rejections.sort_by_key(|rejection| rejection.index);
    answer(&outcomes, rejections, head)
}

fn answer(
    outcomes: &[AppendOutcome],
    rejections: Vec<RejectionAnswer>,
    head: u64,
) -> Result<Response, ApiError> {
    let accepted = outcomes.iter().filter_map(|outcome| match outcome {
        AppendOutcome::Accepted(receipt) => Some(receipt.sequence_number),
        AppendOutcome::Replayed(_) | AppendOutcome::Rejected(_) => None,
    });
    let receipts = outcomes.iter().filter_map(|outcome| match outcome {
        AppendOutcome::Accepted(receipt) | AppendOutcome::Replayed(receipt) => Some(receipt),
        AppendOutcome::Rejected(_) => None,
    });
    let answer = IngestAnswer {
        batch_id: BatchId::random(),
        events_accepted: accepted.clone().count(),
        events_rejected: rejections.len(),
        sequence_start: accepted.clone().min(),
        sequence_end: accepted.max(),
        head_sequence: head,
        rejections,
        receipts: receipts.collect(),
    };
    let body =
        serde_json::to_vec(&answer).map_err(|error| ApiError::new(Code::InternalError, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}
