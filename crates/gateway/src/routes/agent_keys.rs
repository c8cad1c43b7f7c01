//! The life of agent keys after their registration: list, show, rotate, change, revoke.
//!
//! A rotation and a revocation are answered when no process writes an event any more that was verified under
//! the key as it was. Private keys never pass through here.

use axum::Json;
use axum::extract::State;
use bowline_http::{ApiError, JsonBody, Params, PathParams, Principal};
use bowline_store::{
    AgentKeyFilter, AgentKeyName, AgentKeyRecord, AgentKeyStatus, ChangedKey, KeyChange, KeyRotation,
    Permission, Retire, RotatedKey,
};
use bowline_types::{AgentId, Code, TenantId, Timestamp};
use bowline_ves::{AgentPublicKey, Hash, Signature, key_possession_hash};
use metrics::counter;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::metrics::{AGENT_KEYS, AGENT_KEYS_REVOKED};
use crate::state::Api;

/// Keys on one list.
const KEYS_LISTED_MAX: usize = 1_000;

/// Characters of a reason.
const REASON_CHARS_MAX: usize = 512;

/// How long older keys stay valid after a rotation that does not say.
const OVERLAP_SECS_DEFAULT: u64 = 3_600;

/// A year: whoever needs longer changes the key's last moment.
const OVERLAP_SECS_MAX: u64 = 366 * 86_400;

/// Which keys.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct KeysQuery {
    /// The tenant.
    #[param(value_type = String, format = "uuid")]
    tenant_id: TenantId,
    /// Only of this agent.
    #[param(value_type = Option<String>, format = "uuid")]
    agent_id: Option<AgentId>,
    /// Only `active`, `expired` or `revoked` ones.
    status: Option<String>,
    /// So many at most: 1,000 if absent, which is also the most.
    limit: Option<usize>,
}

/// A tenant's agent keys, oldest first.
#[utoipa::path(get, path = "/api/v1/agents/keys", tag = "keys", params(KeysQuery), responses(
    (status = 200, description = "`{\"keys\":[…],\"count\":N}`", body = Object)))]
pub(super) async fn list_keys(
    State(api): State<Api>,
    principal: Principal,
    Params(query): Params<KeysQuery>,
) -> Result<Json<Value>, ApiError> {
    principal.require_tenant(Permission::Read, query.tenant_id)?;
    let status = match query.status.as_deref() {
        None => None,
        Some(word) => Some(AgentKeyStatus::parse(word).ok_or_else(|| {
            ApiError::field("status", format!("`{word}` is none of active, expired and revoked"))
        })?),
    };
    let filter = AgentKeyFilter {
        tenant_id: query.tenant_id,
        agent_id: query.agent_id,
        status: status.map(|status| (status, api.line.clock.now())),
        limit: query.limit.unwrap_or(KEYS_LISTED_MAX).min(KEYS_LISTED_MAX),
    };
    let keys = api.line.store.agent_keys(filter).await?;
    let keys: Vec<Value> = keys.iter().map(|key| shown(&api, key)).collect();
    Ok(Json(json!({ "count": keys.len(), "keys": keys })))
}

/// Whose key.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TenantQuery {
    /// The tenant.
    #[param(value_type = String, format = "uuid")]
    tenant_id: TenantId,
}

/// One agent key.
#[utoipa::path(get, path = "/api/v1/agents/{agent_id}/keys/{key_id}", tag = "keys",
    params(("agent_id" = String, Path, description = "The agent"), ("key_id" = u32, Path, description = "Which of its keys"),
        TenantQuery),
    responses((status = 200, description = "The key as it stands on the list", body = Object),
        (status = 404, description = "`AGENT_KEY_NOT_FOUND`")))]
pub(super) async fn get_key(
    State(api): State<Api>,
    principal: Principal,
    PathParams((agent_id, key_id)): PathParams<(AgentId, u32)>,
    Params(query): Params<TenantQuery>,
) -> Result<Json<Value>, ApiError> {
    principal.require_tenant(Permission::Read, query.tenant_id)?;
    let key = api.line.store.agent_key(query.tenant_id, agent_id, key_id).await?;
    key.map(|key| Json(shown(&api, &key))).ok_or_else(|| missing(agent_id, key_id))
}

/// The next key of an agent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RotateRequest {
    /// The agent's tenant.
    #[schema(value_type = String, format = "uuid")]
    tenant_id: TenantId,
    /// The agent.
    #[schema(value_type = String, format = "uuid")]
    agent_id: AgentId,
    /// The new key's id; the one after the agent's highest if absent.
    new_key_id: Option<u32>,
    /// The new Ed25519 public key, 32 bytes in hex.
    public_key: String,
    /// The new key's signature over SHA-256(`VES_POP_V1` ‖ public key), 64 bytes in hex.
    proof_of_possession: Option<String>,
    /// The new key's last moment, RFC 3339.
    #[schema(value_type = Option<String>, format = "date-time")]
    valid_to: Option<Timestamp>,
    /// The one key that retires; all of the agent's that are in use if absent.
    old_key_id: Option<u32>,
    /// Seconds for which the older keys stay valid; 3,600 if absent.
    overlap_secs: Option<u64>,
    /// Revoke the older keys at once instead.
    #[serde(default)]
    revoke_old: bool,
    /// Why, if they are revoked.
    reason: Option<String>,
}

/// Register an agent's next key and let the older ones run out, in one step. The same request again is fine.
#[utoipa::path(post, path = "/api/v1/agents/keys/rotate", tag = "keys", request_body = RotateRequest, responses(
    (status = 200, description = "`{\"success\":true,\"keyId\",…,\"key\":{…},\"retired\":[{…}]}`", body = Object),
    (status = 400, description = "`INVALID_PUBLIC_KEY`, `INVALID_SIGNATURE` or a field"),
    (status = 404, description = "`AGENT_KEY_NOT_FOUND`: `oldKeyId`"), (status = 409, description = "`ALREADY_EXISTS`")))]
pub(super) async fn rotate_key(
    State(api): State<Api>,
    principal: Principal,
    JsonBody(request): JsonBody<RotateRequest>,
) -> Result<Json<Value>, ApiError> {
    principal.require_tenant(Permission::Admin, request.tenant_id)?;
    let agent_id = request.agent_id;
    let rotation = rotation(&api, request).map_err(ApiError::for_agents)?;
    let outcome = api.line.store.rotate_agent_key(rotation).await;
    let (key, retired) = match outcome.map_err(|error| ApiError::from(error).for_agents())? {
        RotatedKey::Rotated { key, retired } => (key, retired),
        RotatedKey::Conflict(id) => return Err(conflict(agent_id, id)),
        RotatedKey::Revoked(id) => return Err(revoked_bytes(agent_id, id)),
        RotatedKey::Outdated(id) => {
            let message = format!(
                "key {id} of agent {agent_id} has run out or is followed by a newer one; a rotation leads to a new key"
            );
            return Err(ApiError::new(Code::AlreadyExists, message).for_agents());
        }
        RotatedKey::UnknownOld(id) => return Err(missing(agent_id, id).for_agents()),
    };
    counter!(AGENT_KEYS).increment(1);
    let revoked = retired.iter().filter(|key| key.status == AgentKeyStatus::Revoked).count();
    counter!(AGENT_KEYS_REVOKED).increment(revoked as u64);
    Ok(Json(json!({
        "success": true,
        "tenantId": key.tenant_id,
        "agentId": key.agent_id,
        "keyId": key.key_id,
        "keyAlgorithm": super::agents::ED25519,
        "message": format!("key {} is registered; {} older ones retire", key.key_id, retired.len()),
        "key": shown(&api, &key),
        "retired": retired.iter().map(|key| shown(&api, key)).collect::<Vec<_>>(),
    })))
}

fn rotation(api: &Api, request: RotateRequest) -> Result<KeyRotation, ApiError> {
    let now = api.line.clock.now();
    let public_key = proven_key(api, &request.public_key, request.proof_of_possession.as_deref())?;
    let overlap_secs = request.overlap_secs.unwrap_or(OVERLAP_SECS_DEFAULT);
    if request.revoke_old && request.overlap_secs.is_some() {
        return Err(ApiError::field(
            "overlapSecs",
            "a key that is revoked has no overlap; leave one of both out",
        ));
    }
    if overlap_secs > OVERLAP_SECS_MAX {
        return Err(ApiError::field("overlapSecs", format!("{OVERLAP_SECS_MAX} at most")));
    }
    if request.valid_to.is_some_and(|end| end < now) {
        return Err(ApiError::field("validTo", "the new key would be over already"));
    }
    let reason = checked_reason(request.reason)?;
    let overlap_micros = i64::try_from(overlap_secs * 1_000_000).unwrap_or(i64::MAX);
    let retire = match request.revoke_old {
        true => Retire::Revoke { reason: reason.or_else(|| Some("rotated".to_owned())) },
        false => Retire::At(Timestamp::from_micros(now.micros().saturating_add(overlap_micros))),
    };
    Ok(KeyRotation {
        tenant_id: request.tenant_id,
        agent_id: request.agent_id,
        key_id: request.new_key_id,
        public_key: public_key.to_bytes(),
        valid_to: request.valid_to,
        old_key_id: request.old_key_id,
        retire,
        now,
    })
}

/// A key's first and last moment. What is absent stays as it is; `null` takes the bound away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ValidityRequest {
    /// The agent's tenant.
    #[schema(value_type = String, format = "uuid")]
    tenant_id: TenantId,
    /// First moment of validity, RFC 3339.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, format = "date-time")]
    valid_from: Option<Option<Timestamp>>,
    /// Last moment of validity, RFC 3339.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, format = "date-time")]
    valid_to: Option<Option<Timestamp>>,
}

/// Tells `null` from absent.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Timestamp>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Change when an agent key is valid.
#[utoipa::path(patch, path = "/api/v1/agents/{agent_id}/keys/{key_id}", tag = "keys", request_body = ValidityRequest,
    params(("agent_id" = String, Path, description = "The agent"), ("key_id" = u32, Path, description = "Which of its keys")),
    responses((status = 200, description = "`{\"success\":true,\"message\",\"key\":{…}}`", body = Object),
        (status = 404, description = "`AGENT_KEY_NOT_FOUND`"), (status = 409, description = "The key is revoked")))]
pub(super) async fn change_key(
    State(api): State<Api>,
    principal: Principal,
    PathParams((agent_id, key_id)): PathParams<(AgentId, u32)>,
    JsonBody(request): JsonBody<ValidityRequest>,
) -> Result<Json<Value>, ApiError> {
    let ValidityRequest { tenant_id, valid_from, valid_to } = request;
    principal.require_tenant(Permission::Admin, tenant_id)?;
    if valid_from.is_none() && valid_to.is_none() {
        return Err(ApiError::field("validTo", "name validFrom, validTo or both").for_agents());
    }
    let name = AgentKeyName { tenant_id, agent_id, key_id };
    let change = KeyChange::Validity { valid_from, valid_to };
    let (message, key) = match change_one(&api, name, change).await? {
        ChangedKey::Changed(key) => ("the key's validity is changed", key),
        ChangedKey::Unchanged(key) => ("the key was valid just so already", key),
        ChangedKey::Revoked(_) => {
            let message =
                format!("key {key_id} of agent {agent_id} is revoked for ever; rotate to a new one");
            return Err(ApiError::new(Code::AlreadyExists, message).for_agents());
        }
        ChangedKey::Inverted => {
            return Err(
                ApiError::field("validTo", "the last moment would be before the first one").for_agents()
            );
        }
        ChangedKey::Unknown => return Err(missing(agent_id, key_id).for_agents()),
    };
    Ok(Json(json!({ "success": true, "message": message, "key": shown(&api, &key) })))
}

/// Why a key is revoked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RevokeRequest {
    /// The agent's tenant.
    #[schema(value_type = String, format = "uuid")]
    tenant_id: TenantId,
    /// For the list of keys, 512 characters at most.
    reason: Option<String>,
}

/// Revoke an agent key for ever. Once this is answered, no event that it signed is accepted any more, however
/// early the event says it was created.
#[utoipa::path(post, path = "/api/v1/agents/{agent_id}/keys/{key_id}/revoke", tag = "keys", request_body = RevokeRequest,
    params(("agent_id" = String, Path, description = "The agent"), ("key_id" = u32, Path, description = "Which of its keys")),
    responses((status = 200, description = "`{\"success\":true,\"message\",\"key\":{…}}`, also if it was revoked before",
        body = Object), (status = 404, description = "`AGENT_KEY_NOT_FOUND`")))]
pub(super) async fn revoke_key(
    State(api): State<Api>,
    principal: Principal,
    PathParams((agent_id, key_id)): PathParams<(AgentId, u32)>,
    JsonBody(request): JsonBody<RevokeRequest>,
) -> Result<Json<Value>, ApiError> {
    principal.require_tenant(Permission::Admin, request.tenant_id)?;
    let name = AgentKeyName { tenant_id: request.tenant_id, agent_id, key_id };
    let reason = checked_reason(request.reason).map_err(ApiError::for_agents)?;
    let (message, key) = match change_one(&api, name, KeyChange::Revoke { reason }).await? {
        ChangedKey::Changed(key) => {
            counter!(AGENT_KEYS_REVOKED).increment(1);
            ("the key is revoked", key)
        }
        ChangedKey::Unchanged(key) | ChangedKey::Revoked(key) => ("the key was revoked before", key),
        ChangedKey::Inverted | ChangedKey::Unknown => return Err(missing(agent_id, key_id).for_agents()),
    };
    Ok(Json(json!({ "success": true, "message": message, "key": shown(&api, &key) })))
}

async fn change_one(api: &Api, name: AgentKeyName, change: KeyChange) -> Result<ChangedKey, ApiError> {
    let changed = api.line.store.change_agent_key(name, change, api.line.clock.now()).await;
    changed.map_err(|error| ApiError::from(error).for_agents())
}

/// A public key from a request, with its proof of possession checked if there is one or must be one.
pub(super) fn proven_key(
    api: &Api,
    public_key: &str,
    proof: Option<&str>,
) -> Result<AgentPublicKey, ApiError> {
    let key = AgentPublicKey::parse_hex(public_key)
        .map_err(|error| ApiError::new(Code::InvalidPublicKey, format!("publicKey: {error}")))?;
    let Some(proof) = proof else {
        if !api.config.require_proof_of_possession {
            return Ok(key);
        }
        let message = "proofOfPossession: this server registers a key only with its signature over SHA-256(\"VES_POP_V1\" ‖ publicKey)";
        return Err(ApiError::new(Code::MissingRequiredField, message));
    };
    let refuse =
        |problem: String| ApiError::new(Code::InvalidSignature, format!("proofOfPossession: {problem}"));
    let signature = Signature::parse_hex(proof).map_err(|error| refuse(error.to_string()))?;
    if !key.verify(key_possession_hash(&key.to_bytes()).as_bytes(), &signature) {
        return Err(refuse(
            "it is not this key's signature over the 32 bytes SHA-256(\"VES_POP_V1\" ‖ publicKey)".to_owned(),
        ));
    }
    Ok(key)
}

fn checked_reason(reason: Option<String>) -> Result<Option<String>, ApiError> {
    let reason = reason.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    match &reason {
        Some(text) if text.chars().count() > REASON_CHARS_MAX => {
            Err(ApiError::field("reason", format!("{REASON_CHARS_MAX} characters at most")))
        }
        Some(text) if text.contains('\0') => Err(ApiError::field("reason", "a NUL can't be kept")),
        _ => Ok(reason),
    }
}

fn missing(agent_id: AgentId, key_id: u32) -> ApiError {
    ApiError::new(Code::AgentKeyNotFound, format!("agent {agent_id} has no key {key_id} in this tenant"))
}

/// The id is taken by another key.
pub(super) fn conflict(agent_id: AgentId, key_id: u32) -> ApiError {
    let message =
        format!("agent {agent_id} has another key {key_id}; register the new one under the next id");
    ApiError::new(Code::AlreadyExists, message).for_agents()
}

/// The key was revoked: it does not come back, under whatever id.
pub(super) fn revoked_bytes(agent_id: AgentId, key_id: u32) -> ApiError {
    let message = format!(
        "this key of agent {agent_id} was revoked (see key {key_id}); make a new key and register it under the next id"
    );
    ApiError::new(Code::AlreadyExists, message).for_agents()
}

/// A key as lists show it, with the status that it has now.
fn shown(api: &Api, key: &AgentKeyRecord) -> Value {
    let status = key.status_at(api.line.clock.now());
    let grace_micros = i64::try_from(api.line.verifier.grace().as_micros()).unwrap_or(i64::MAX);
    let grace = |end: Timestamp| Timestamp::from_micros(end.micros().saturating_add(grace_micros));
    json!({
        "tenant_id": key.tenant_id,
        "agent_id": key.agent_id,
        "key_id": key.key_id,
        "public_key": Hash::new(key.public_key).prefixed(),
        "status": status.as_str(),
        "active": status == AgentKeyStatus::Active,
        "valid_from": key.valid_from,
        "valid_to": key.valid_to,
        "grace_until": key.valid_to.filter(|_| key.status == AgentKeyStatus::Active).map(grace),
        "revoked_at": key.revoked_at,
        "revoked_reason": key.revoked_reason,
        "created_at": key.created_at,
    })
}
