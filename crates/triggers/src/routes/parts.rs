//! A trigger's conditions and actions, one by one. What is said of a whole trigger holds of its parts.
//! It decides nothing: what may be taken is the triggers' business.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use bowline_http::{ApiError, Member, PageQuery, Params, PathParams, data};
use bowline_store::Permission;
use serde_json::{Value, json};
use uuid::Uuid;

use super::TriggerRoutes;
use super::written::Written;
use crate::{ActionInput, ConditionInput};

/// Add a condition behind the others.
#[utoipa::path(post, path = "/api/v1/triggers/{id}/conditions", tag = "triggers", request_body = Object,
    params(("id" = String, Path, description = "The trigger")), responses(
    (status = 201, description = "`{\"data\":{\"id\",\"condition_type\",…}}`", body = Object),
    (status = 400, description = "`INVALID_TRIGGER`")))]
pub(super) async fn add_condition(
    State(state): State<TriggerRoutes>,
    member: Member,
    PathParams(id): PathParams<Uuid>,
    Written(condition): Written<ConditionInput>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let organization = state.organization_of(&member, Permission::Write, id).await?;
    let added = state.triggers.add_condition(organization, id, condition).await?;
    Ok((StatusCode::CREATED, data(added)))
}

/// A trigger's conditions.
#[utoipa::path(get, path = "/api/v1/triggers/{id}/conditions", tag = "triggers",
    params(("id" = String, Path, description = "The trigger"), PageQuery), responses(
    (status = 200, description = "`{\"data\":[…],\"pagination\":{…}}`", body = Object)))]
pub(super) async fn conditions(
    State(state): State<TriggerRoutes>,
    member: Member,
    PathParams(id): PathParams<Uuid>,
    Params(page): Params<PageQuery>,
) -> Result<Json<Value>, ApiError> {
    let organization = state.organization_of(&member, Permission::Read, id).await?;
    let view = state.triggers.get(organization, id).await?;
    part_of(page, view.conditions.iter().map(|condition| json!(condition)).collect())
}

/// Write a condition anew; it keeps its id and what it remembers.
#[utoipa::path(put, path = "/api/v1/triggers/{id}/conditions/{condition_id}", tag = "triggers", request_body = Object,
    params(("id" = String, Path, description = "The trigger"), ("condition_id" = String, Path, description = "The condition")),
    responses(
    (status = 200, description = "`{\"data\":{…}}`", body = Object),
    (status = 404, description = "`TRIGGER_NOT_FOUND` or `TRIGGER_PART_NOT_FOUND`")))]
pub(super) async fn update_condition(
    State(state): State<TriggerRoutes>,
    member: Member,
    PathParams((id, condition_id)): PathParams<(Uuid, Uuid)>,
    Written(condition): Written<ConditionInput>,
) -> Result<Json<Value>, ApiError> {
    let organization = state.organization_of(&member, Permission::Write, id).await?;
    Ok(data(state.triggers.update_condition(organization, id, condition_id, condition).await?))
}

/// Take a condition away.
#[utoipa::path(delete, path = "/api/v1/triggers/{id}/conditions/{condition_id}", tag = "triggers",
    params(("id" = String, Path, description = "The trigger"), ("condition_id" = String, Path, description = "The condition")),
    responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "`TRIGGER_NOT_FOUND` or `TRIGGER_PART_NOT_FOUND`")))]
pub(super) async fn delete_condition(
    State(state): State<TriggerRoutes>,
    member: Member,
    PathParams((id, condition_id)): PathParams<(Uuid, Uuid)>,
) -> Result<StatusCode, ApiError> {
    let organization = state.organization_of(&member, Permission::Write, id).await?;
    state.triggers.delete_condition(organization, id, condition_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Add an action behind the others.
#[utoipa::path(post, path = "/api/v1/triggers/{id}/actions", tag = "triggers", request_body = Object,
    params(("id" = String, Path, description = "The trigger")), responses(
    (status = 201, description = "`{\"data\":{\"id\",\"action_type\",…}}`; secrets are masked", body = Object),
    (status = 400, description = "`INVALID_TRIGGER`")))]
pub(super) async fn add_action(
    State(state): State<TriggerRoutes>,
    member: Member,
    PathParams(id): PathParams<Uuid>,
    Written(action): Written<ActionInput>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let organization = state.organization_of(&member, Permission::Write, id).await?;
    let added = state.triggers.add_action(organization, id, action).await?;
    Ok((StatusCode::CREATED, data(added)))
}

/// A trigger's actions.
#[utoipa::path(get, path = "/api/v1/triggers/{id}/actions", tag = "triggers",
    params(("id" = String, Path, description = "The trigger"), PageQuery), responses(
    (status = 200, description = "`{\"data\":[…],\"pagination\":{…}}`", body = Object)))]
pub(super) async fn actions(
    State(state): State<TriggerRoutes>,
    member: Member,
    PathParams(id): PathParams<Uuid>,
    Params(page): Params<PageQuery>,
) -> Result<Json<Value>, ApiError> {
    let organization = state.organization_of(&member, Permission::Read, id).await?;
    let view = state.triggers.get(organization, id).await?;
    part_of(page, view.actions.iter().map(|action| json!(action)).collect())
}

/// Write an action anew; it keeps its id, and secrets that are given back masked.
#[utoipa::path(put, path = "/api/v1/triggers/{id}/actions/{action_id}", tag = "triggers", request_body = Object,
    params(("id" = String, Path, description = "The trigger"), ("action_id" = String, Path, description = "The action")),
    responses(
    (status = 200, description = "`{\"data\":{…}}`", body = Object),
    (status = 404, description = "`TRIGGER_NOT_FOUND` or `TRIGGER_PART_NOT_FOUND`")))]
pub(super) async fn update_action(
    State(state): State<TriggerRoutes>,
    member: Member,
    PathParams((id, action_id)): PathParams<(Uuid, Uuid)>,
    Written(action): Written<ActionInput>,
) -> Result<Json<Value>, ApiError> {
    let organization = state.organization_of(&member, Permission::Write, id).await?;
    Ok(data(state.triggers.update_action(organization, id, action_id, action).await?))
}

/// Take an action away.
#[utoipa::path(delete, path = "/api/v1/triggers/{id}/actions/{action_id}", tag = "triggers",
    params(("id" = String, Path, description = "The trigger"), ("action_id" = String, Path, description = "The action")),
    responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "`TRIGGER_NOT_FOUND` or `TRIGGER_PART_NOT_FOUND`")))]
pub(super) async fn delete_action(
    State(state): State<TriggerRoutes>,
    member: Member,
    PathParams((id, action_id)): PathParams<(Uuid, Uuid)>,
) -> Result<StatusCode, ApiError> {
    let organization = state.organization_of(&member, Permission::Write, id).await?;
    state.triggers.delete_action(organization, id, action_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A page of what a trigger has.
fn part_of(page: PageQuery, things: Vec<Value>) -> Result<Json<Value>, ApiError> {
    let (limit, offset) = page.bounds()?;
    let total = things.len() as u64;
    let skip = usize::try_from(offset).unwrap_or(usize::MAX);
    Ok(page.list(things.into_iter().skip(skip).take(limit).collect(), total))
}
