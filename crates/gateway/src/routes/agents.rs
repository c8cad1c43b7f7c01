//! Keys: the agents' signing keys, API keys, and the sequencer's own public keys.
//!
//! Private keys never pass through here; of an API key only its hash is kept.

use axum::Json;
use axum::extract::State;
use bowline_http::{ApiError, ApiKeySecret, JsonBody, PathParams, Principal};
use bowline_store::{AgentKeyRecord, AgentKeyStatus, ApiKeyRecord, Permission, RegisterKey};
use bowline_types::{AgentId, Code, StoreId, TenantId, Timestamp};
use bowline_ves::Hash;
use metrics::counter;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::agent_keys::{conflict, proven_key, revoked_bytes};
use super::api_keys::HASH_PREFIX_CHARS;
use crate::metrics::AGENT_KEYS;
use crate::state::Api;

/// `key_algorithm` of Ed25519; absent and 0 mean the same.
pub(super) const ED25519: i64 = 1;

/// A key to register.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RegisterRequest {
    /// The agent's tenant.
    #[schema(value_type = String, format = "uuid")]
    tenant_id: TenantId,
    /// The agent.
    #[schema(value_type = String, format = "uuid")]
    agent_id: AgentId,
    /// Which of the agent's keys; bound to one key for ever.
    key_id: u32,
    /// Ed25519 public key, 32 bytes in hex.
    public_key: String,
    /// First moment of validity, RFC 3339.
    #[schema(value_type = Option<String>, format = "date-time")]
    valid_from: Option<Timestamp>,
    /// Last moment of validity, RFC 3339.
    #[schema(value_type = Option<String>, format = "date-time")]
    valid_to: Option<Timestamp>,
    /// 1, or absent: Ed25519 is what this sequencer takes.
    key_algorithm: Option<i64>,
    /// The key's signature over SHA-256(`VES_POP_V1` ‖ public key), 64 bytes in hex; may be required.
    proof_of_possession: Option<String>,
}

/// Register an agent's signing key. The same key again is fine; another one under the same id is a conflict.
#[utoipa::path(post, path = "/api/v1/agents/keys", tag = "keys", request_body = RegisterRequest, responses(
    (status = 200, description = "`{\"success\":true,\"tenantId\",\"agentId\",\"keyId\",\"keyAlgorithm\",\"message\"}`",
        body = Object),
    (status = 400, description = "`INVALID_PUBLIC_KEY` or `INVALID_SIGNATURE`"),
    (status = 409, description = "`ALREADY_EXISTS`: another key has the id, or the key was revoked")))]
pub(super) async fn register_key(
    State(api): State<Api>,
    principal: Principal,
    JsonBody(request): JsonBody<RegisterRequest>,
) -> Result<Json<Value>, ApiError> {
    principal.require_tenant(Permission::Admin, request.tenant_id)?;
    let key = record(&api, &request).map_err(ApiError::for_agents)?;
    let RegisterRequest { tenant_id, agent_id, key_id, .. } = request;
    let registered =
        api.line.store.register_agent_key(key).await.map_err(|error| ApiError::from(error).for_agents())?;
    let message = match registered {
        RegisterKey::Created => "key registered",
        RegisterKey::Unchanged => "the same key was registered already",
        RegisterKey::Conflict => return Err(conflict(agent_id, key_id)),
        RegisterKey::Revoked => return Err(revoked_bytes(agent_id, key_id)),
    };
    counter!(AGENT_KEYS).increment(1);
    Ok(Json(json!({
        "success": true,
        "tenantId": tenant_id,
        "agentId": agent_id,
        "keyId": key_id,
        "keyAlgorithm": ED25519,
        "message": message,
    })))
}

fn record(api: &Api, request: &RegisterRequest) -> Result<AgentKeyRecord, ApiError> {
    if !matches!(request.key_algorithm, None | Some(0 | ED25519)) {
        let message = "keyAlgorithm: Ed25519 (1) is the one that this sequencer takes";
        return Err(ApiError::new(Code::InvalidFieldValue, message));
    }
    if let (Some(from), Some(to)) = (request.valid_from, request.valid_to)
        && to < from
    {
        return Err(ApiError::new(Code::InvalidFieldValue, "validTo is before validFrom"));
    }
    let public_key = proven_key(api, &request.public_key, request.proof_of_possession.as_deref())?;
    Ok(AgentKeyRecord {
        tenant_id: request.tenant_id,
        agent_id: request.agent_id,
        key_id: request.key_id,
        public_key: public_key.to_bytes(),
        status: AgentKeyStatus::Active,
        valid_from: request.valid_from,
        valid_to: request.valid_to,
        revoked_at: None,
        revoked_reason: None,
        created_at: api.line.clock.now(),
    })
}

/// An API key to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiKeyRequest {
    /// The tenant; the caller's own if absent. The bootstrap key must name one.
    #[schema(value_type = Option<String>, format = "uuid")]
    tenant_id: Option<TenantId>,
    /// The stores that the key may touch; all of the tenant's if absent or empty.
    #[schema(value_type = Vec<String>)]
    #[serde(default)]
    store_ids: Vec<StoreId>,
    /// Only `read`.
    #[serde(default)]
    read_only: bool,
    /// Also `admin`, over the tenant.
    #[serde(default)]
    admin: bool,
    /// The key's last moment, RFC 3339; it never expires if absent.
    #[schema(value_type = Option<String>, format = "date-time")]
    expires_at: Option<Timestamp>,
    /// Requests and events that it may bring a minute, 1 or more; as many as its tenant may if absent.
    rate_limit: Option<u32>,
}

/// Make an API key for an agent. It is shown once and kept only as its hash.
#[utoipa::path(post, path = "/api/v1/agents/{agent_id}/api-keys", tag = "keys",
    params(("agent_id" = String, Path, description = "The agent that the key is bound to")), request_body = ApiKeyRequest,
    responses((status = 200, description = "`{\"success\":true,\"apiKey\",\"keyHashPrefix\",\"permissions\",\"rateLimit\",\"message\"}`",
        body = Object)))]
pub(super) async fn create_api_key(
    State(api): State<Api>,
    principal: Principal,
    PathParams(agent_id): PathParams<AgentId>,
    JsonBody(request): JsonBody<ApiKeyRequest>,
) -> Result<Json<Value>, ApiError> {
    let tenant_id = request.tenant_id.unwrap_or(principal.tenant_id);
    principal.require_tenant(Permission::Admin, tenant_id)?;
    let refuse = |message: &str| ApiError::new(Code::InvalidFieldValue, message).for_agents();
    if tenant_id == TenantId::NIL {
        return Err(refuse("tenantId: name the tenant that the key is for"));
    }
    if request.read_only && request.admin {
        return Err(refuse("readOnly and admin exclude each other"));
    }
    if request.expires_at.is_some_and(|end| end <= api.line.clock.now()) {
        return Err(refuse("expiresAt: the key would be over already"));
    }
    if request.rate_limit == Some(0) {
        return Err(refuse("rateLimit: 1 or more, or leave it out for no limit of its own"));
    }
    // A credential can't hand out more than it has.
    for store_id in &request.store_ids {
        principal.require_stream(Permission::Admin, bowline_types::StreamId::new(tenant_id, *store_id))?;
    }
    if request.store_ids.is_empty() && !principal.store_ids.is_empty() {
        return Err(refuse(
            "storeIds: the credential is for certain stores; name which of them the key is for",
        ));
    }
    let permissions = match (request.read_only, request.admin) {
        (true, _) => vec![Permission::Read],
        (_, true) => Permission::ALL.to_vec(),
        _ => vec![Permission::Read, Permission::Write],
    };
    let key = ApiKeySecret::generate(tenant_id)
        .map_err(|error| ApiError::new(Code::InternalError, error.to_string()).for_agents())?;
    let rate_limit = request.rate_limit;
    let words = permissions.iter().map(|p| p.as_str()).collect::<Vec<_>>().join(",");
    let record = ApiKeyRecord {
        key_hash: key.hash(),
        tenant_id,
        agent_id: Some(agent_id),
        permissions,
        store_ids: request.store_ids,
        active: true,
        expires_at: request.expires_at,
        revoked_at: None,
        rate_limit: request.rate_limit,
        created_at: api.line.clock.now(),
    };
    api.line.store.put_api_key(record).await.map_err(|error| ApiError::from(error).for_agents())?;
    let prefix: String = key.hash().to_string().chars().take(HASH_PREFIX_CHARS).collect();
    Ok(Json(json!({
        "success": true,
        "agentId": agent_id,
        "tenantId": tenant_id,
        "apiKey": key.reveal(),
        "keyHashPrefix": prefix,
        "permissions": words,
        "expiresAt": request.expires_at,
        "rateLimit": rate_limit,
        "message": "this is the only time that the key is shown",
    })))
}

/// The public keys that receipts are verified with: every one that ever signed here, and which signs now.
#[utoipa::path(get, path = "/api/v1/sequencer/keys", tag = "keys", security(()), responses(
    (status = 200, description = "`{\"sequencer_id\",\"current_key_version\",\"keys\":[…]}`", body = Object)))]
pub(super) async fn sequencer_keys(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    let keys = api.line.store.sequencer_keys().await?;
    let keys: Vec<Value> = keys
        .iter()
        .map(|key| {
            json!({
                "key_version": key.key_version,
                "sequencer_id": key.sequencer_id,
                "public_key": Hash::new(key.public_key).prefixed(),
                "algorithm": "ed25519",
                "created_at": key.created_at,
            })
        })
        .collect();
    let signer = &api.line.signer;
    Ok(Json(json!({
        "sequencer_id": signer.sequencer_id,
        "current_key_version": signer.key_version,
        "keys": keys,
    })))
}
