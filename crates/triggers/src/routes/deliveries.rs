//! Deliveries: what triggers set off, every attempt at it, and having it done again.
//!
//! A delivery is a job of the queue; this file lists and acts on rows and delivers nothing itself. Redis, if there is
//! one, only mirrors what the rows say, so that it may be late or away.

use axum::Json;
use axum::extract::State;
use bowline_http::{ApiError, JsonBody, Member, Params, PathParams, data, limit};
use bowline_store::{AttemptRecord, JobFilter, JobRecord, JobState, Permission};
use bowline_types::{Code, EventId, TenantId, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::TriggerRoutes;

/// Deliveries that one request repeats or deletes if it does not say, and at most.
const AT_ONCE_MAX: usize = 1_000;

/// Which deliveries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only in that state: waiting, running, succeeded, dead or cancelled.
    state: Option<String>,
    /// Only of that trigger.
    trigger_id: Option<Uuid>,
    /// Only for that event.
    #[param(value_type = Option<String>, format = "uuid")]
    event_id: Option<EventId>,
    /// So many at most: 20 if absent, 1 to 100.
    limit: Option<usize>,
    /// Go on behind that page: its `next_cursor`.
    cursor: Option<String>,
}

/// Which ended deliveries to repeat, or to delete.
#[derive(Debug, Default, Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Many {
    /// Only in that state: dead if absent; or cancelled, or succeeded.
    state: Option<String>,
    /// Only of that trigger.
    trigger_id: Option<Uuid>,
    /// Only for that event.
    #[param(value_type = Option<String>)]
    #[schema(value_type = Option<String>, format = "uuid")]
    event_id: Option<EventId>,
    /// So many at most, 1,000 if absent.
    limit: Option<usize>,
}

/// Deliveries, the newest first.
#[utoipa::path(get, path = "/api/v1/deliveries", operation_id = "list_deliveries", tag = "triggers", params(ListQuery), responses(
    (status = 200, description = "`{\"data\":[{\"id\",\"trigger_id\",\"action_id\",\"action_type\",\"state\",\"attempts\",\"due_at\",\
        \"created_at\",\"ended_at\",\"last_error\",\"event_id\",…}],\"pagination\":{\"limit\",\"has_more\",\"next_cursor\"}}`",
        body = Object)))]
pub(super) async fn list(
    State(state): State<TriggerRoutes>,
    member: Member,
    Params(query): Params<ListQuery>,
) -> Result<Json<Value>, ApiError> {
    let tenant_id = member.any(Permission::Read)?;
    let limit = limit(query.limit)?;
    let filter = JobFilter {
        tenant_id,
        state: query.state.as_deref().map(state_of).transpose()?,
        trigger_id: query.trigger_id,
        event_id: query.event_id,
        before: query.cursor.as_deref().map(parse_mark).transpose()?,
        // One more than is shown tells whether there are more.
        limit: limit + 1,
        ..JobFilter::default()
    };
    let mut jobs = state.line.store.jobs(filter).await?;
    let has_more = jobs.len() > limit;
    jobs.truncate(limit);
    let next = jobs.last().filter(|_| has_more).map(mark_of);
    Ok(Json(json!({
        "data": jobs.iter().map(summary).collect::<Vec<_>>(),
        "pagination": { "limit": limit, "has_more": has_more, "next_cursor": next },
    })))
}

/// One delivery with the event that templates see, and every attempt.
#[utoipa::path(get, path = "/api/v1/deliveries/{id}", operation_id = "get_delivery", tag = "triggers",
    params(("id" = String, Path, description = "The delivery: its idempotency key")), responses(
    (status = 200, description = "As in the list, with `event` and `log`: `[{\"attempt\",\"status\":\"success\"|\"failed\",\
        \"executed_at\",\"duration_ms\",\"http_status\",\"error_message\",\"response_data\",\"destination\",\"worker\"}]`", body = Object),
    (status = 404, description = "`DELIVERY_NOT_FOUND`")))]
pub(super) async fn get(
    State(state): State<TriggerRoutes>,
    member: Member,
    PathParams(id): PathParams<Uuid>,
) -> Result<Json<Value>, ApiError> {
    let job = find(&state, member.any(Permission::Read)?, id).await?;
    let attempts = state.line.store.attempts(id).await?;
    let mut shown = summary(&job);
    shown["event"] = serde_json::from_str(&job.job.event).unwrap_or_default();
    shown["log"] = attempts.iter().map(attempt_json).collect();
    Ok(data(shown))
}

/// Deliver once more what was given up, taken back or delivered already, under the same id.
#[utoipa::path(post, path = "/api/v1/deliveries/{id}/redeliver", tag = "triggers",
    params(("id" = String, Path, description = "The delivery")), responses(
    (status = 200, description = "The delivery as it waits now", body = Object),
    (status = 404, description = "`DELIVERY_NOT_FOUND`"),
    (status = 409, description = "`DELIVERY_NOT_ENDED`: it waits, or is under way")))]
pub(super) async fn redeliver(
    State(state): State<TriggerRoutes>,
    member: Member,
    PathParams(id): PathParams<Uuid>,
) -> Result<Json<Value>, ApiError> {
    let tenant_id = member.any(Permission::Write)?;
    find(&state, tenant_id, id).await?;
    let filter = JobFilter { tenant_id, job_id: Some(id), limit: 1, ..JobFilter::default() };
    let again = state.line.store.redeliver(filter, state.line.clock.now()).await?;
    if again.is_empty() {
        let message = format!("delivery {id} waits or is under way: there is nothing to repeat");
        return Err(ApiError::new(Code::DeliveryNotEnded, message));
    }
    forget_letters(&state, &again).await;
    tracing::info!(component = "api", job_id = %id, by = member.who(), "Delivery is repeated");
    Ok(data(summary(&find(&state, tenant_id, id).await?)))
}

/// Deliver many once more.
#[utoipa::path(post, path = "/api/v1/deliveries/redeliver", tag = "triggers", request_body = Many, responses(
    (status = 200, description = "`{\"data\":{\"redelivered\":[ids],\"count\",\"has_more\"}}`: the oldest are not first", body = Object)))]
pub(super) async fn redeliver_many(
    State(state): State<TriggerRoutes>,
    member: Member,
    JsonBody(many): JsonBody<Many>,
) -> Result<Json<Value>, ApiError> {
    let filter = many.filter(member.any(Permission::Write)?, &[JobState::Dead, JobState::Cancelled])?;
    let limit = filter.limit;
    let again = state.line.store.redeliver(filter, state.line.clock.now()).await?;
    forget_letters(&state, &again).await;
    tracing::info!(component = "api", count = again.len(), by = member.who(), "Deliveries are repeated");
    Ok(data(json!({ "redelivered": again, "count": again.len(), "has_more": again.len() == limit })))
}

/// Delete ended deliveries with their logs. What is deleted can't be repeated any more.
#[utoipa::path(delete, path = "/api/v1/deliveries", tag = "triggers", params(Many), responses(
    (status = 200, description = "`{\"data\":{\"purged\":[ids],\"count\",\"has_more\"}}`", body = Object),
    (status = 403, description = "It takes the `admin` permission")))]
pub(super) async fn purge(
    State(state): State<TriggerRoutes>,
    member: Member,
    Params(many): Params<Many>,
) -> Result<Json<Value>, ApiError> {
    let states = [JobState::Dead, JobState::Cancelled, JobState::Succeeded];
    let filter = many.filter(member.any(Permission::Admin)?, &states)?;
    let limit = filter.limit;
    let gone = state.line.store.purge_jobs(filter).await?;
    forget_letters(&state, &gone).await;
    tracing::info!(component = "api", count = gone.len(), by = member.who(), "Deliveries purged");
    Ok(data(json!({ "purged": gone, "count": gone.len(), "has_more": gone.len() == limit })))
}

impl Many {
    /// What is meant, in one of these states.
    fn filter(self, tenant_id: Option<TenantId>, states: &[JobState]) -> Result<JobFilter, ApiError> {
        let state = self.state.as_deref().map(state_of).transpose()?.unwrap_or(JobState::Dead);
        if !states.contains(&state) {
            let words: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
            return Err(ApiError::field("state", format!("take one of {}", words.join(", "))));
        }
        let limit = self.limit.unwrap_or(AT_ONCE_MAX);
        if !(1..=AT_ONCE_MAX).contains(&limit) {
            return Err(ApiError::field("limit", format!("is {limit}: take 1 to {AT_ONCE_MAX}")));
        }
        let Self { trigger_id, event_id, .. } = self;
        Ok(JobFilter { tenant_id, state: Some(state), trigger_id, event_id, limit, ..JobFilter::default() })
    }
}

/// The delivery, if it is that organization's.
async fn find(state: &TriggerRoutes, tenant_id: Option<TenantId>, id: Uuid) -> Result<JobRecord, ApiError> {
    let filter = JobFilter { tenant_id, job_id: Some(id), limit: 1, ..JobFilter::default() };
    let found = state.line.store.jobs(filter).await?.pop();
    found.ok_or_else(|| ApiError::new(Code::DeliveryNotFound, format!("there is no delivery {id}")))
}

/// Redis mirrors dead letters; one that it keeps too long misleads nobody but its reader.
async fn forget_letters(state: &TriggerRoutes, jobs: &[Uuid]) {
    if let (Some(redis), false) = (&state.redis, jobs.is_empty())
        && let Err(cause) = redis.unbury(jobs).await
    {
        tracing::warn!(component = "api", %cause, "Redis still shows dead letters that are no more");
    }
}

fn state_of(word: &str) -> Result<JobState, ApiError> {
    JobState::parse(word).ok_or_else(|| {
        let words: Vec<&str> = JobState::ALL.iter().map(|state| state.as_str()).collect();
        ApiError::field("state", format!("there is no `{word}`: take one of {}", words.join(", ")))
    })
}

fn mark_of(job: &JobRecord) -> String {
    format!("{}-{}", job.created_at.micros(), job.job.job_id.simple())
}

fn parse_mark(text: &str) -> Result<(Timestamp, Uuid), ApiError> {
    let parts = text.split_once('-').and_then(|(micros, id)| Some((micros.parse().ok()?, id.parse().ok()?)));
    let (micros, id) =
        parts.ok_or_else(|| ApiError::field("cursor", "is not the `next_cursor` of another page"))?;
    Ok((Timestamp::from_micros(micros), id))
}

pub(super) fn summary(record: &JobRecord) -> Value {
    let job = &record.job;
    json!({
        "id": job.job_id,
        "organization_id": job.tenant_id,
        "trigger_id": job.trigger_id,
        "action_id": job.action_id,
        "action_type": job.action_type,
        "priority": job.priority,
        "state": record.state.as_str(),
        "attempts": record.attempts,
        "due_at": record.due_at,
        "created_at": record.created_at,
        "ended_at": record.ended_at,
        "last_error": record.last_error,
        "event_id": job.event_id,
        "stream": job.stream,
        "sequence_number": job.sequence_number,
        "occurrence": job.occurrence,
    })
}

fn attempt_json(attempt: &AttemptRecord) -> Value {
    json!({
        "attempt": attempt.attempt,
        "status": attempt.status.as_str(),
        "executed_at": attempt.executed_at,
        "duration_ms": attempt.duration_ms,
        "http_status": attempt.http_status,
        "error_message": attempt.error_message,
        "response_data": attempt.response_data,
        "destination": attempt.destination,
        "worker": attempt.worker,
    })
}
