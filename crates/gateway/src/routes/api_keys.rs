//! API keys after they were made: list, show, revoke. A key is named by the first digits of its hash; the key
//! itself is nowhere any more.
//!
//! A credential for certain stores sees and revokes only keys that reach no further than itself.

use axum::Json;
use axum::extract::State;
use bowline_http::{ApiError, Params, PathParams, Principal};
use bowline_store::{ApiKeyFilter, ApiKeyRecord, HashPrefix, Permission};
use bowline_types::{AgentId, Code, TenantId};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use crate::state::Api;

/// Keys on one list.
const KEYS_LISTED_MAX: usize = 1_000;

/// Digits of a key's hash that name it.
pub(super) const HASH_PREFIX_CHARS: usize = 16;

/// Whose keys.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ApiKeysQuery {
    /// The tenant; the caller's own if absent. The bootstrap key must name one.
    #[param(value_type = Option<String>, format = "uuid")]
    tenant_id: Option<TenantId>,
}

/// A tenant's API keys, oldest first, 1,000 at most; revoked and expired ones too.
#[utoipa::path(get, path = "/api/v1/api-keys", tag = "keys", params(ApiKeysQuery), responses(
    (status = 200, description = "`{\"api_keys\":[…],\"count\":N}`", body = Object)))]
pub(super) async fn list_all(
    State(api): State<Api>,
    principal: Principal,
    Params(query): Params<ApiKeysQuery>,
) -> Result<Json<Value>, ApiError> {
    list(&api, &principal, query.tenant_id, None).await
}

/// An agent's API keys, oldest first, 1,000 at most; revoked and expired ones too.
#[utoipa::path(get, path = "/api/v1/agents/{agent_id}/api-keys", tag = "keys",
    params(("agent_id" = String, Path, description = "The agent that the keys are bound to"), ApiKeysQuery),
    responses((status = 200, description = "`{\"api_keys\":[…],\"count\":N}`", body = Object)))]
pub(super) async fn list_of_agent(
    State(api): State<Api>,
    principal: Principal,
    PathParams(agent_id): PathParams<AgentId>,
    Params(query): Params<ApiKeysQuery>,
) -> Result<Json<Value>, ApiError> {
    list(&api, &principal, query.tenant_id, Some(agent_id)).await
}

/// One API key, by the first 16 or more hex digits of its hash.
#[utoipa::path(get, path = "/api/v1/agents/{agent_id}/api-keys/{key_prefix}", tag = "keys",
    params(("agent_id" = String, Path, description = "The agent that the key is bound to"),
        ("key_prefix" = String, Path, description = "16 to 64 hex digits"), ApiKeysQuery),
    responses((status = 200, description = "The key as it stands on the list", body = Object),
        (status = 404, description = "`RESOURCE_NOT_FOUND`")))]
pub(super) async fn get_of_agent(
    State(api): State<Api>,
    principal: Principal,
    PathParams((agent_id, key_prefix)): PathParams<(AgentId, String)>,
    Params(query): Params<ApiKeysQuery>,
) -> Result<Json<Value>, ApiError> {
    let key = find(&api, &principal, query.tenant_id, Some(agent_id), &key_prefix).await?;
    Ok(Json(shown(&api, &key)))
}

/// One API key of a tenant, as above.
#[utoipa::path(get, path = "/api/v1/api-keys/{key_prefix}", tag = "keys",
    params(("key_prefix" = String, Path, description = "16 to 64 hex digits of the key's hash"), ApiKeysQuery),
    responses((status = 200, description = "The key as it stands on the list", body = Object),
        (status = 404, description = "`RESOURCE_NOT_FOUND`")))]
pub(super) async fn get_any(
    State(api): State<Api>,
    principal: Principal,
    PathParams(key_prefix): PathParams<String>,
    Params(query): Params<ApiKeysQuery>,
) -> Result<Json<Value>, ApiError> {
    let key = find(&api, &principal, query.tenant_id, None, &key_prefix).await?;
    Ok(Json(shown(&api, &key)))
}

/// Revoke an agent's API key for ever: here at once, and within a second wherever it was seen before.
#[utoipa::path(delete, path = "/api/v1/agents/{agent_id}/api-keys/{key_prefix}", tag = "keys",
    params(("agent_id" = String, Path, description = "The agent that the key is bound to"),
        ("key_prefix" = String, Path, description = "16 to 64 hex digits of the key's hash"), ApiKeysQuery),
    responses((status = 200, description = "`{\"success\":true,\"message\",\"key\":{…}}`", body = Object),
        (status = 404, description = "`RESOURCE_NOT_FOUND`")))]
pub(super) async fn revoke_of_agent(
    State(api): State<Api>,
    principal: Principal,
    PathParams((agent_id, key_prefix)): PathParams<(AgentId, String)>,
    Params(query): Params<ApiKeysQuery>,
) -> Result<Json<Value>, ApiError> {
    revoke(&api, &principal, query.tenant_id, Some(agent_id), &key_prefix).await
}

/// Revoke any API key of a tenant, as above.
#[utoipa::path(delete, path = "/api/v1/api-keys/{key_prefix}", tag = "keys",
    params(("key_prefix" = String, Path, description = "16 to 64 hex digits of the key's hash"), ApiKeysQuery),
    responses((status = 200, description = "`{\"success\":true,\"message\",\"key\":{…}}`", body = Object),
        (status = 404, description = "`RESOURCE_NOT_FOUND`")))]
pub(super) async fn revoke_any(
    State(api): State<Api>,
    principal: Principal,
    PathParams(key_prefix): PathParams<String>,
    Params(query): Params<ApiKeysQuery>,
) -> Result<Json<Value>, ApiError> {
    revoke(&api, &principal, query.tenant_id, None, &key_prefix).await
}

async fn list(
    api: &Api,
    principal: &Principal,
    tenant_id: Option<TenantId>,
    agent_id: Option<AgentId>,
) -> Result<Json<Value>, ApiError> {
    let tenant_id = tenant(principal, tenant_id)?;
    let filter = ApiKeyFilter { tenant_id, agent_id, hashes: None, limit: KEYS_LISTED_MAX };
    let keys = api.line.store.api_keys(filter).await?;
    let keys: Vec<Value> =
        keys.iter().filter(|key| covers(principal, key)).map(|key| shown(api, key)).collect();
    Ok(Json(json!({ "count": keys.len(), "api_keys": keys })))
}

async fn revoke(
    api: &Api,
    principal: &Principal,
    tenant_id: Option<TenantId>,
    agent_id: Option<AgentId>,
    key_prefix: &str,
) -> Result<Json<Value>, ApiError> {
    let found = find(api, principal, tenant_id, agent_id, key_prefix).await.map_err(ApiError::for_agents)?;
    let revoked = api.line.store.revoke_api_key(found.key_hash, api.line.clock.now()).await;
    let key =
        revoked.map_err(|error| ApiError::from(error).for_agents())?.ok_or_else(|| missing().for_agents())?;
    let message = if found.active { "the API key is revoked" } else { "the API key was revoked before" };
    Ok(Json(json!({ "success": true, "message": message, "key": shown(api, &key) })))
}

async fn find(
    api: &Api,
    principal: &Principal,
    tenant_id: Option<TenantId>,
    agent_id: Option<AgentId>,
    key_prefix: &str,
) -> Result<ApiKeyRecord, ApiError> {
    let tenant_id = tenant(principal, tenant_id)?;
    let hashes = HashPrefix::parse(key_prefix).ok_or_else(|| {
        ApiError::field(
            "key_prefix",
            format!("expected {HASH_PREFIX_CHARS} to 64 hex digits of the key's hash"),
        )
    })?;
    let filter = ApiKeyFilter { tenant_id, agent_id, hashes: Some(hashes), limit: 2 };
    let mut keys = api.line.store.api_keys(filter).await?;
    if keys.len() > 1 {
        return Err(ApiError::field("key_prefix", "several keys begin like this; give more digits"));
    }
    keys.pop().filter(|key| covers(principal, key)).ok_or_else(missing)
}

fn missing() -> ApiError {
    ApiError::new(Code::ResourceNotFound, "no such API key; the list of API keys has their prefixes")
}

fn tenant(principal: &Principal, tenant_id: Option<TenantId>) -> Result<TenantId, ApiError> {
    let tenant_id = tenant_id.unwrap_or(principal.tenant_id);
    principal.require_tenant(Permission::Admin, tenant_id)?;
    if tenant_id == TenantId::NIL {
        return Err(ApiError::field("tenant_id", "name the tenant whose keys are meant"));
    }
    Ok(tenant_id)
}

/// Whether the key reaches no further than the principal.
fn covers(principal: &Principal, key: &ApiKeyRecord) -> bool {
    let within =
        |stores: &[bowline_types::StoreId]| stores.iter().all(|store| principal.store_ids.contains(store));
    principal.store_ids.is_empty() || (!key.store_ids.is_empty() && within(&key.store_ids))
}

fn shown(api: &Api, key: &ApiKeyRecord) -> Value {
    let now = api.line.clock.now();
    let status = match key.usable_at(now) {
        true => "active",
        false if key.active => "expired",
        false => "revoked",
    };
    let digits: String = key.key_hash.to_string().chars().take(HASH_PREFIX_CHARS).collect();
    json!({
        "key_prefix": digits,
        "tenant_id": key.tenant_id,
        "agent_id": key.agent_id,
        "permissions": key.permissions.iter().map(|p| p.as_str()).collect::<Vec<_>>(),
        "store_ids": key.store_ids,
        "status": status,
        "active": status == "active",
        "expires_at": key.expires_at,
        "rate_limit": key.rate_limit,
        "revoked_at": key.revoked_at,
        "created_at": key.created_at,
    })
}
