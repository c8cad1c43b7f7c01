//! Trying triggers out: on one event, on the events of the past; and what they remember.
//!
//! Nothing here changes anything; only the test of an action reaches out to somebody.

use axum::Json;
use axum::extract::State;
use bowline_http::{ApiError, Member, PathParams, data};
use bowline_store::Permission;
use bowline_types::{Code, EventId, StoreId, StreamId, TenantId, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::TriggerRoutes;
use super::written::Written;
use crate::{BacktestQuery, EventRef, Rule, TestSend, TriggerError, TriggerInput, trigger_owner};

/// Things that a trigger remembers, as far as they are shown.
const STATE_MAX: usize = 1_000;

/// A stream by its two ids.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Named {
    tenant_id: TenantId,
    store_id: StoreId,
}

/// An event to try a trigger on, and the trigger if it is not there yet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DryRun {
    /// A trigger that is not there yet.
    trigger: Option<Box<TriggerInput>>,
    /// An event of the line.
    event_id: Option<EventId>,
    /// Its stream; all that may hold it are searched if absent.
    stream: Option<Named>,
    /// An event that somebody made up: its payload.
    event: Option<Value>,
}

/// Events of the past to try a trigger on, and the trigger if it is not there yet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BacktestRequest {
    /// A trigger that is not there yet.
    trigger: Option<Box<TriggerInput>>,
    stream: Option<Named>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    events_max: Option<u64>,
    fired_max: Option<usize>,
    cursor: Option<String>,
}

/// An event to test an action with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trial {
    event: Option<Value>,
}

/// Whether a trigger would fire on an event, and why or why not.
#[utoipa::path(post, path = "/api/v1/triggers/{id}/dry-run", tag = "triggers",
    params(("id" = String, Path, description = "The trigger")),
    request_body(content = Object, description = "`{\"event_id\",\"stream\"?}` or `{\"event\":{…payload}}`"), responses(
    (status = 200, description = "`{\"data\":{\"would_fire\",\"jobs\",\"event\",\"scope\":[…],\"conditions\":[{\"condition_type\",\
        \"holds\",\"told\",\"compared\",\"state_before\",\"state_after\"}]}}`", body = Object),
    (status = 404, description = "`TRIGGER_NOT_FOUND` or `EVENT_NOT_FOUND`")))]
pub(super) async fn dry_run(
    State(state): State<TriggerRoutes>,
    member: Member,
    PathParams(id): PathParams<Uuid>,
    Written(wanted): Written<DryRun>,
) -> Result<Json<Value>, ApiError> {
    let organization = state.organization_of(&member, Permission::Read, id).await?;
    if wanted.trigger.is_some() {
        return Err(needless("trigger", "POST /api/v1/triggers/dry-run"));
    }
    let event = wanted.event(&member)?;
    Ok(data(state.triggers.dry_run(organization, Rule::Stored(id), event).await?))
}

/// The same for a trigger that is not there yet.
#[utoipa::path(post, path = "/api/v1/triggers/dry-run", tag = "triggers",
    request_body(content = Object, description = "`{\"trigger\":{…},\"event_id\"|\"event\"}`"), responses(
    (status = 200, description = "As for a trigger that is there", body = Object),
    (status = 400, description = "`INVALID_TRIGGER`")))]
pub(super) async fn dry_run_given(
    State(state): State<TriggerRoutes>,
    member: Member,
    Written(mut wanted): Written<DryRun>,
) -> Result<Json<Value>, ApiError> {
    let organization = member.one(Permission::Read)?;
    let trigger = wanted.trigger.take().ok_or_else(|| missing("trigger"))?;
    let event = wanted.event(&member)?;
    Ok(data(state.triggers.dry_run(organization, Rule::Given(trigger), event).await?))
}

/// When a trigger would have fired on the events of the past.
#[utoipa::path(post, path = "/api/v1/triggers/{id}/backtest", tag = "triggers",
    params(("id" = String, Path, description = "The trigger")),
    request_body(content = Object, description = "`{\"since\"?,\"until\"?,\"events_max\"?,\"fired_max\"?,\"cursor\"?,\"stream\"?}`"),
    responses(
    (status = 200, description = "`{\"data\":{\"events_looked_at\",\"count\",\"retracted\",\"fired\":[…],\"first\",\"last\",\
        \"bucket_secs\",\"buckets\":[{\"from\",\"count\"}],\"sparkline\",\"cursor\"}}`", body = Object),
    (status = 404, description = "`TRIGGER_NOT_FOUND`"),
    (status = 429, description = "`BACKTESTS_BUSY`: as many run as may at a time; `Retry-After` says when to come back")))]
pub(super) async fn backtest(
    State(state): State<TriggerRoutes>,
    member: Member,
    PathParams(id): PathParams<Uuid>,
    Written(wanted): Written<BacktestRequest>,
) -> Result<Json<Value>, ApiError> {
    let organization = state.organization_of(&member, Permission::Read, id).await?;
    if wanted.trigger.is_some() {
        return Err(needless("trigger", "POST /api/v1/triggers/backtest"));
    }
    let query = wanted.query(&member)?;
    Ok(data(state.triggers.backtest(organization, Rule::Stored(id), query).await?))
}

/// The same for a trigger that is not there yet.
#[utoipa::path(post, path = "/api/v1/triggers/backtest", tag = "triggers",
    request_body(content = Object, description = "`{\"trigger\":{…},\"since\"?,…}`"), responses(
    (status = 200, description = "As for a trigger that is there", body = Object),
    (status = 400, description = "`INVALID_TRIGGER`"),
    (status = 429, description = "`BACKTESTS_BUSY`: as many run as may at a time; `Retry-After` says when to come back")))]
pub(super) async fn backtest_given(
    State(state): State<TriggerRoutes>,
    member: Member,
    Written(mut wanted): Written<BacktestRequest>,
) -> Result<Json<Value>, ApiError> {
    let organization = member.one(Permission::Read)?;
    let trigger = wanted.trigger.take().ok_or_else(|| missing("trigger"))?;
    let query = wanted.query(&member)?;
    Ok(data(state.triggers.backtest(organization, Rule::Given(trigger), query).await?))
}

/// Carry an action out once, at once and outside of the queue, and say what became of it. With a made-up event, or
/// with a sample of one.
#[utoipa::path(post, path = "/api/v1/triggers/{id}/actions/{action_id}/test", tag = "triggers",
    params(("id" = String, Path, description = "The trigger"), ("action_id" = String, Path, description = "The action")),
    request_body(content = Object, description = "`{\"event\"?:{…payload}}`"), responses(
    (status = 200, description = "`{\"data\":{\"status\":\"success\"|\"failed\",\"http_status\",\"error\",\"response\",\
        \"destination\",\"duration_ms\"}}`", body = Object),
    (status = 404, description = "`TRIGGER_NOT_FOUND` or `TRIGGER_PART_NOT_FOUND`")))]
pub(super) async fn test(
    State(state): State<TriggerRoutes>,
    member: Member,
    PathParams((trigger_id, action_id)): PathParams<(Uuid, Uuid)>,
    Written(Trial { event }): Written<Trial>,
) -> Result<Json<Value>, ApiError> {
    let organization = state.organization_of(&member, Permission::Write, trigger_id).await?;
    let test = TestSend::Stored { owner: trigger_owner(trigger_id), action_id };
    let sent = state.deliveries.test_send(organization, test, event).await;
    let attempt = sent.map_err(TriggerError::from)?;
    tracing::info!(component = "api", %trigger_id, %action_id, by = member.who(), "Action tested");
    Ok(data(attempt))
}

/// What a trigger remembers, by condition and agent.
#[utoipa::path(get, path = "/api/v1/triggers/{id}/state", tag = "triggers",
    params(("id" = String, Path, description = "The trigger")), responses(
    (status = 200, description = "`{\"data\":[{\"condition_id\",\"stream\",\"subject\",\"state\",\"updated_at\"}]}`: 1,000 at most",
        body = Object),
    (status = 404, description = "`TRIGGER_NOT_FOUND`")))]
pub(super) async fn state(
    State(state): State<TriggerRoutes>,
    member: Member,
    PathParams(id): PathParams<Uuid>,
) -> Result<Json<Value>, ApiError> {
    let organization = state.organization_of(&member, Permission::Read, id).await?;
    Ok(data(state.triggers.trigger_state(organization, id, STATE_MAX).await?))
}

impl DryRun {
    fn event(self, member: &Member) -> Result<EventRef, ApiError> {
        match (self.event_id, self.event) {
            (Some(event_id), None) => {
                Ok(EventRef::Stored { stream: readable(self.stream, member)?, event_id })
            }
            (None, Some(event)) => Ok(EventRef::Given(event)),
            _ => Err(missing("event_id")),
        }
    }
}

impl BacktestRequest {
    fn query(self, member: &Member) -> Result<BacktestQuery, ApiError> {
        let Self { since, until, events_max, fired_max, cursor, .. } = self;
        let stream = readable(self.stream, member)?;
        Ok(BacktestQuery { stream, since, until, events_max, fired_max, cursor })
    }
}

/// The stream, if the principal may read it; what is of chains may be read by everybody.
fn readable(stream: Option<Named>, member: &Member) -> Result<Option<StreamId>, ApiError> {
    let Some(Named { tenant_id, store_id }) = stream else { return Ok(None) };
    let stream = StreamId::new(tenant_id, store_id);
    member.principal.require_stream(Permission::Read, stream)?;
    Ok(Some(stream))
}

fn missing(field: &str) -> ApiError {
    let problem = match field {
        "event_id" => "name an event by `event_id`, or give one as `event`, and not both",
        _ => "is missing",
    };
    ApiError::new(Code::MissingRequiredField, format!("{field}: {problem}"))
        .with_details(json!([{ "field": field, "problem": problem }]))
}

fn needless(field: &str, instead: &str) -> ApiError {
    let problem = format!("the path names the trigger; one that is not there yet is for {instead}");
    ApiError::new(Code::InvalidFieldValue, format!("{field}: {problem}"))
        .with_details(json!([{ "field": field, "problem": problem }]))
}
