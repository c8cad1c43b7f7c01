//! Triggers: make, change, list and delete them; their parts, breakers and trials have files of their own.
//!
//! What a trigger may be is decided below; these routes only say whose it is and render.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use bowline_http::{ApiError, Member, PageQuery, Params, PathParams, data};
use bowline_store::Permission;
use bowline_types::TenantId;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use uuid::Uuid;

use super::TriggerRoutes;
use super::written::Written;
use crate::{TriggerChanges, TriggerInput, TriggerList, TriggerView};

/// Which triggers.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only those that are, or are not, matched.
    enabled: Option<bool>,
    /// Only of that chain.
    chain_id: Option<u64>,
    /// So many at most: 20 if absent, 1 to 100.
    limit: Option<usize>,
    /// How many to leave out first.
    #[serde(default)]
    offset: u64,
}

/// Make a trigger, with its conditions and actions.
#[utoipa::path(post, path = "/api/v1/triggers", operation_id = "create_trigger", tag = "triggers",
    params(("X-Organization-ID" = Option<String>, Header, description = "The organization; the credential's own if absent")),
    request_body(content = Object, description = "`{\"name\",\"description\"?,\"chain_id\"?,\"registry\"?,\"enabled\"?,\
        \"conditions\":[{\"condition_type\",\"field\"?,\"operator\"?,\"value\"?,\"config\"?}],\
        \"actions\":[{\"action_type\":\"rest\"|\"telegram\"|\"mcp\",\"priority\"?,\"config\"}],\"breaker\"?}`; \
        a priority is -10 to 10, and higher goes first among the organization's deliveries"),
    responses(
    (status = 201, description = "`{\"data\":{\"id\",\"organization_id\",\"name\",…,\"revision\"}}`; secrets are masked", body = Object),
    (status = 400, description = "`INVALID_TRIGGER`: `details` are `[{\"field\",\"problem\"}]`"),
    (status = 409, description = "`TOO_MANY_TRIGGERS`")))]
pub(super) async fn create(
    State(state): State<TriggerRoutes>,
    member: Member,
    Written(input): Written<TriggerInput>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let organization = member.one(Permission::Write)?;
    let view = state.triggers.create(organization, input).await?;
    Ok((StatusCode::CREATED, data(shown(organization, &view))))
}

/// An organization's triggers, the oldest first.
#[utoipa::path(get, path = "/api/v1/triggers", operation_id = "list_triggers", tag = "triggers", params(ListQuery), responses(
    (status = 200, description = "`{\"data\":[…],\"pagination\":{\"total\",\"limit\",\"offset\",\"has_more\"}}`", body = Object)))]
pub(super) async fn list(
    State(state): State<TriggerRoutes>,
    member: Member,
    Params(query): Params<ListQuery>,
) -> Result<Json<Value>, ApiError> {
    let page = PageQuery::new(query.limit, query.offset);
    let (limit, offset) = page.bounds()?;
    let list = TriggerList { enabled: query.enabled, chain_id: query.chain_id, offset, limit };
    let (views, total) = match member.any(Permission::Read)? {
        Some(organization) => {
            let (views, total) = state.triggers.list(organization, list).await?;
            (views.into_iter().map(|view| (organization, view)).collect(), total)
        }
        None => state.triggers.list_all(list).await?,
    };
    let views = views.iter().map(|(organization, view)| shown(*organization, view)).collect();
    Ok(page.list(views, total))
}

/// One trigger.
#[utoipa::path(get, path = "/api/v1/triggers/{id}", operation_id = "get_trigger", tag = "triggers",
    params(("id" = String, Path, description = "The trigger")), responses(
    (status = 200, description = "`{\"data\":{…}}`; the header `ETag` has its revision", body = Object),
    (status = 404, description = "`TRIGGER_NOT_FOUND`")))]
pub(super) async fn get(
    State(state): State<TriggerRoutes>,
    member: Member,
    PathParams(id): PathParams<Uuid>,
) -> Result<([(header::HeaderName, String); 1], Json<Value>), ApiError> {
    let organization = state.organization_of(&member, Permission::Read, id).await?;
    let view = state.triggers.get(organization, id).await?;
    Ok(([(header::ETAG, format!("\"{}\"", view.revision))], data(shown(organization, &view))))
}

/// Change what the body names; what it leaves out stays, and `null` takes a chain, a registry or a description away.
/// Conditions and actions, if they are named, are all of them: those that give their `id` keep what they remember and
/// their secrets.
#[utoipa::path(put, path = "/api/v1/triggers/{id}", operation_id = "update_trigger", tag = "triggers", request_body = Object,
    params(("id" = String, Path, description = "The trigger"),
        ("If-Match" = Option<String>, Header, description = "The revision that is meant to be changed")), responses(
    (status = 200, description = "`{\"data\":{…}}`", body = Object),
    (status = 400, description = "`INVALID_TRIGGER`: `details` are `[{\"field\",\"problem\"}]`"),
    (status = 404, description = "`TRIGGER_NOT_FOUND`"),
    (status = 409, description = "`TRIGGER_CHANGED`: it has another revision than `If-Match` says")))]
pub(super) async fn update(
    State(state): State<TriggerRoutes>,
    member: Member,
    PathParams(id): PathParams<Uuid>,
    headers: HeaderMap,
    Written(changes): Written<TriggerChanges>,
) -> Result<Json<Value>, ApiError> {
    let organization = state.organization_of(&member, Permission::Write, id).await?;
    let view = state.triggers.change(organization, id, changes, expected(&headers)?).await?;
    Ok(data(shown(organization, &view)))
}

/// Delete a trigger, what it remembers, and its jobs that nobody has begun.
#[utoipa::path(delete, path = "/api/v1/triggers/{id}", operation_id = "delete_trigger", tag = "triggers",
    params(("id" = String, Path, description = "The trigger")), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "`TRIGGER_NOT_FOUND`")))]
pub(super) async fn delete(
    State(state): State<TriggerRoutes>,
    member: Member,
    PathParams(id): PathParams<Uuid>,
) -> Result<StatusCode, ApiError> {
    let organization = state.organization_of(&member, Permission::Write, id).await?;
    state.triggers.delete(organization, id).await?;
    tracing::info!(component = "api", trigger_id = %id, by = member.who(), "Trigger deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// A trigger with its organization.
fn shown(organization: TenantId, view: &TriggerView) -> Value {
    let mut shown = json!(view);
    shown["organization_id"] = json!(organization);
    shown
}

/// The revision that is meant, if the request says so.
fn expected(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let revision = text.trim_start_matches("W/").trim_matches('"').parse();
    revision.map(Some).map_err(|_| ApiError::field("If-Match", "is no revision: take the one of `ETag`"))
}
