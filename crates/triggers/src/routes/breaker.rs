//! A trigger's circuit breaker: how it stands, when it opens and closes, and closing it by hand.

use axum::Json;
use axum::extract::State;
use bowline_http::{ApiError, Member, PathParams, data};
use bowline_store::{BreakerRecord, Permission};
use bowline_types::TenantId;
use serde_json::{Value, json};
use uuid::Uuid;

use super::TriggerRoutes;
use super::written::Written;
use crate::BreakerInput;

/// How a trigger's circuit breaker stands.
#[utoipa::path(get, path = "/api/v1/triggers/{id}/circuit-breaker", operation_id = "get_circuit_breaker", tag = "triggers",
    params(("id" = String, Path, description = "The trigger")), responses(
    (status = 200, description = "`{\"data\":{\"trigger_id\",\"state\":\"closed\"|\"open\"|\"half_open\",\"failure_count\",\
        \"last_failure_at\",\"opened_at\",\"config\":{\"failure_threshold\",\"recovery_timeout_seconds\",\
        \"half_open_max_calls\"}}}`", body = Object),
    (status = 404, description = "`TRIGGER_NOT_FOUND`")))]
pub(super) async fn get(
    State(state): State<TriggerRoutes>,
    member: Member,
    PathParams(id): PathParams<Uuid>,
) -> Result<Json<Value>, ApiError> {
    let organization = state.organization_of(&member, Permission::Read, id).await?;
    Ok(data(breaker_json(id, &state.triggers.breaker(organization, id).await?)))
}

/// Change when it opens and closes; what is left out stays.
#[utoipa::path(patch, path = "/api/v1/triggers/{id}/circuit-breaker", tag = "triggers",
    params(("id" = String, Path, description = "The trigger")),
    request_body(content = Object, description = "`{\"failure_threshold\"? 1–1000,\"recovery_timeout_seconds\"? 60–604800,\
        \"half_open_max_calls\"? 1–10}`"), responses(
    (status = 200, description = "As it stands now", body = Object),
    (status = 400, description = "`INVALID_TRIGGER`")))]
pub(super) async fn set(
    State(state): State<TriggerRoutes>,
    member: Member,
    PathParams(id): PathParams<Uuid>,
    Written(settings): Written<BreakerInput>,
) -> Result<Json<Value>, ApiError> {
    let organization = state.organization_of(&member, Permission::Write, id).await?;
    Ok(data(breaker_json(id, &state.triggers.set_breaker(organization, id, settings).await?)))
}

/// Close it, and forget its failures. What made it open is not mended by that.
#[utoipa::path(post, path = "/api/v1/triggers/{id}/circuit-breaker/reset", tag = "triggers",
    params(("id" = String, Path, description = "The trigger")), responses(
    (status = 200, description = "As it stands now", body = Object),
    (status = 404, description = "`TRIGGER_NOT_FOUND`")))]
pub(super) async fn reset(
    State(state): State<TriggerRoutes>,
    member: Member,
    PathParams(id): PathParams<Uuid>,
) -> Result<Json<Value>, ApiError> {
    let organization: TenantId = state.organization_of(&member, Permission::Write, id).await?;
    let breaker = state.triggers.reset_breaker(organization, id).await?;
    tracing::info!(component = "api", trigger_id = %id, by = member.who(), "Circuit breaker reset");
    Ok(data(breaker_json(id, &breaker)))
}

fn breaker_json(trigger_id: Uuid, breaker: &BreakerRecord) -> Value {
    json!({
        "trigger_id": trigger_id,
        "state": breaker.state.as_str(),
        "failure_count": breaker.failure_count,
        "last_failure_at": breaker.last_failure_at,
        "opened_at": breaker.opened_at,
        "half_open_calls": breaker.probes,
        "config": BreakerInput::of(breaker.settings),
    })
}
