//! The schema registry: versions of event types' schemas, and payloads held against them.
//!
//! What a schema may be and which may follow which is decided by the registry; here are its requests and answers.

use axum::Json;
use axum::extract::State;
use bowline_http::{ApiError, JsonBody, Params, PathParams, Principal};
use bowline_schemas::{NewSchema, RegisterError, Registered, Verdict};
use bowline_store::{Permission, SchemaCompatibility, SchemaFilter, SchemaRecord, SchemaStatus};
use bowline_types::{Code, SchemaId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::state::Api;

/// Schemas on one list: as many as one tenant has by default.
const SCHEMAS_LISTED_MAX: usize = 1_000;

/// A schema to register.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RegisterSchemaRequest {
    /// Whose events it judges; the caller's own if absent. The bootstrap key must name one.
    #[schema(value_type = Option<String>, format = "uuid")]
    tenant_id: Option<TenantId>,
    /// The type of those events, 1 to 256 bytes.
    event_type: String,
    /// The JSON Schema, 100 KB at most: not recursive, and every `$ref` within it.
    #[schema(value_type = Object)]
    schema_json: Box<RawValue>,
    /// 1,024 characters at most.
    description: Option<String>,
    /// `backward`, `forward`, `full` or `none`; what the version before it has if absent, and `backward` of the first.
    compatibility: Option<String>,
}

/// One version of an event type's schema.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SchemaAnswer {
    #[schema(value_type = String, format = "uuid")]
    id: SchemaId,
    #[schema(value_type = String, format = "uuid")]
    tenant_id: TenantId,
    event_type: String,
    version: u32,
    /// As it was sent.
    #[schema(value_type = Object)]
    schema_json: Box<RawValue>,
    /// `active`, `deprecated` or `archived`.
    status: &'static str,
    compatibility: &'static str,
    description: Option<String>,
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
    #[schema(value_type = String, format = "date-time")]
    updated_at: Timestamp,
    created_by: Option<String>,
}

/// Several of them.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SchemaList {
    schemas: Vec<SchemaAnswer>,
    count: usize,
}

fn answer(record: SchemaRecord) -> Result<SchemaAnswer, ApiError> {
    let schema_json = RawValue::from_string(record.schema_json).map_err(|error| {
        ApiError::new(Code::InternalError, format!("schema {}: {error}", record.schema_id))
    })?;
    Ok(SchemaAnswer {
        id: record.schema_id,
        tenant_id: record.tenant_id,
        event_type: record.event_type,
        version: record.version,
        schema_json,
        status: record.status.as_str(),
        compatibility: record.compatibility.as_str(),
        description: record.description,
        created_at: record.created_at,
        updated_at: record.updated_at,
        created_by: record.created_by,
    })
}

fn tenant(
    given: Option<TenantId>,
    principal: &Principal,
    permission: Permission,
) -> Result<TenantId, ApiError> {
    let tenant_id = given.unwrap_or(principal.tenant_id);
    require(principal, permission, tenant_id)?;
    if tenant_id == TenantId::NIL {
        return Err(ApiError::field("tenantId", "name the tenant whose schema it is"));
    }
    Ok(tenant_id)
}

/// A schema binds all stores of its tenant, so a credential for certain stores only reads.
fn require(principal: &Principal, permission: Permission, tenant_id: TenantId) -> Result<(), ApiError> {
    principal.require_tenant(permission, tenant_id)?;
    if permission != Permission::Read && !principal.store_ids.is_empty() {
        let message = "the credential is for certain stores, and a schema is for all of the tenant's";
        return Err(ApiError::auth(Code::InsufficientPermissions, "store_access_denied", message));
    }
    Ok(())
}

/// Databases can't hold it, so nothing has it in its name.
fn named(event_type: String) -> Result<String, ApiError> {
    match event_type.contains('\0') {
        true => Err(ApiError::field("eventType", "it holds a NUL character")),
        false => Ok(event_type),
    }
}

/// Register a schema as the next version of its event type. The current version again changes nothing.
#[utoipa::path(post, path = "/api/v1/schemas", tag = "schemas", request_body = RegisterSchemaRequest, responses(
    (status = 200, description = "The version, new or current already", body = SchemaAnswer),
    (status = 400, description = "`SCHEMA_VALIDATION_FAILED`: no schema that can be taken, or not compatible with the \
        version before it", body = Object),
    (status = 409, description = "`ALREADY_EXISTS`: the tenant has too many, or others registered at the same time"),
    (status = 413, description = "`PAYLOAD_TOO_LARGE`")))]
pub(super) async fn register(
    State(api): State<Api>,
    principal: Principal,
    JsonBody(request): JsonBody<RegisterSchemaRequest>,
) -> Result<Json<SchemaAnswer>, ApiError> {
    let tenant_id = tenant(request.tenant_id, &principal, Permission::Admin)?;
    let compatibility = request.compatibility.as_deref().map(|word| {
        SchemaCompatibility::parse(word).ok_or_else(|| {
            ApiError::field("compatibility", format!("`{word}` is none of backward, forward, full, none"))
        })
    });
    let new = NewSchema {
        tenant_id,
        event_type: request.event_type,
        schema_json: request.schema_json.get().to_owned(),
        compatibility: compatibility.transpose()?,
        description: request.description,
        created_by: principal.agent_id.map(|agent_id| agent_id.to_string()),
    };
    let registered = api.schemas.register(new).await.map_err(refused)?;
    let (Registered::Created(record) | Registered::Unchanged(record)) = registered;
    answer(record).map(Json)
}

fn refused(error: RegisterError) -> ApiError {
    let code = match error {
        RegisterError::Store(error) => return error.into(),
        RegisterError::Field { field, problem } => return ApiError::field(field, problem),
        RegisterError::TooLarge { .. } => Code::PayloadTooLarge,
        RegisterError::Unusable(_) => Code::SchemaValidationFailed,
        RegisterError::Incompatible { version, ref problem, .. } => {
            let details = json!({ "version": version, "problem": problem });
            return ApiError::new(Code::SchemaValidationFailed, error.to_string()).with_details(details);
        }
        RegisterError::TooMany(_) | RegisterError::Overtaken => Code::AlreadyExists,
    };
    ApiError::new(code, error.to_string())
}

/// Whose schemas.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SchemaQuery {
    /// The tenant; the caller's own if absent.
    #[param(value_type = Option<String>, format = "uuid")]
    tenant_id: Option<TenantId>,
    /// Only this version.
    version: Option<u32>,
}

/// A tenant's schemas, ascending by event type and version, 1,000 at most.
#[utoipa::path(get, path = "/api/v1/schemas", operation_id = "list_schemas", tag = "schemas", params(SchemaQuery), responses(
    (status = 200, description = "The schemas", body = SchemaList)))]
pub(super) async fn list(
    State(api): State<Api>,
    principal: Principal,
    Params(query): Params<SchemaQuery>,
) -> Result<Json<SchemaList>, ApiError> {
    listed(&api, &principal, query, None).await
}

async fn listed(
    api: &Api,
    principal: &Principal,
    query: SchemaQuery,
    event_type: Option<String>,
) -> Result<Json<SchemaList>, ApiError> {
    let tenant_id = tenant(query.tenant_id, principal, Permission::Read)?;
    let filter = SchemaFilter { tenant_id, event_type, version: query.version, limit: SCHEMAS_LISTED_MAX };
    let schemas =
        api.schemas.schemas(filter).await?.into_iter().map(answer).collect::<Result<Vec<_>, _>>()?;
    Ok(Json(SchemaList { count: schemas.len(), schemas }))
}

/// The versions of an event type's schema, ascending.
#[utoipa::path(get, path = "/api/v1/schemas/event-type/{event_type}", tag = "schemas",
    params(("event_type" = String, Path, description = "The event type"), SchemaQuery),
    responses((status = 200, description = "The schemas", body = SchemaList)))]
pub(super) async fn versions(
    State(api): State<Api>,
    principal: Principal,
    PathParams(event_type): PathParams<String>,
    Params(query): Params<SchemaQuery>,
) -> Result<Json<SchemaList>, ApiError> {
    listed(&api, &principal, query, Some(named(event_type)?)).await
}

/// The schema that judges an event type's payloads: its newest active version.
#[utoipa::path(get, path = "/api/v1/schemas/event-type/{event_type}/latest", tag = "schemas",
    params(("event_type" = String, Path, description = "The event type"),
        ("tenant_id" = Option<String>, Query, description = "The tenant; the caller's own if absent")),
    responses((status = 200, description = "The schema", body = SchemaAnswer),
        (status = 404, description = "`SCHEMA_NOT_FOUND`")))]
pub(super) async fn latest(
    State(api): State<Api>,
    principal: Principal,
    PathParams(event_type): PathParams<String>,
    Params(query): Params<SchemaQuery>,
) -> Result<Json<SchemaAnswer>, ApiError> {
    let tenant_id = tenant(query.tenant_id, &principal, Permission::Read)?;
    let event_type = named(event_type)?;
    match api.schemas.active(tenant_id, &event_type).await? {
        Some(record) => answer(record).map(Json),
        None => {
            let message = format!("no schema is active for the event type `{event_type}`");
            Err(ApiError::new(Code::SchemaNotFound, message))
        }
    }
}

/// The schema of that id, if the principal may do that to its tenant; a stranger's looks as if it were not there.
async fn find(
    api: &Api,
    principal: &Principal,
    schema_id: SchemaId,
    permission: Permission,
) -> Result<SchemaRecord, ApiError> {
    let record = api.schemas.schema(schema_id).await?;
    let visible =
        record.filter(|record| principal.require_tenant(Permission::Read, record.tenant_id).is_ok());
    let record = visible
        .ok_or_else(|| ApiError::new(Code::SchemaNotFound, format!("there is no schema {schema_id}")))?;
    require(principal, permission, record.tenant_id)?;
    Ok(record)
}

/// One schema.
#[utoipa::path(get, path = "/api/v1/schemas/{schema_id}", operation_id = "get_schema", tag = "schemas",
    params(("schema_id" = String, Path, description = "The schema's id")), responses(
    (status = 200, description = "The schema", body = SchemaAnswer),
    (status = 404, description = "`SCHEMA_NOT_FOUND`")))]
pub(super) async fn get(
    State(api): State<Api>,
    principal: Principal,
    PathParams(schema_id): PathParams<SchemaId>,
) -> Result<Json<SchemaAnswer>, ApiError> {
    answer(find(&api, &principal, schema_id, Permission::Read).await?).map(Json)
}

/// Delete a schema. Its number is never given to another.
#[utoipa::path(delete, path = "/api/v1/schemas/{schema_id}", operation_id = "delete_schema", tag = "schemas",
    params(("schema_id" = String, Path, description = "The schema's id")), responses(
    (status = 200, description = "`{\"success\":true,\"deletedSchemaId\"}`", body = Object),
    (status = 404, description = "`SCHEMA_NOT_FOUND`")))]
pub(super) async fn delete(
    State(api): State<Api>,
    principal: Principal,
    PathParams(schema_id): PathParams<SchemaId>,
) -> Result<Json<Value>, ApiError> {
    find(&api, &principal, schema_id, Permission::Admin).await?;
    api.schemas.delete(schema_id).await?;
    Ok(Json(json!({ "success": true, "deletedSchemaId": schema_id })))
}

/// A new status.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct StatusRequest {
    /// `active`, `deprecated` or `archived`.
    status: String,
}

/// Change whether a schema is in use: the newest active version judges its event type's payloads.
#[utoipa::path(put, path = "/api/v1/schemas/{schema_id}/status", tag = "schemas", request_body = StatusRequest,
    params(("schema_id" = String, Path, description = "The schema's id")), responses(
    (status = 200, description = "`{\"success\":true,\"schemaId\",\"newStatus\"}`", body = Object),
    (status = 404, description = "`SCHEMA_NOT_FOUND`")))]
pub(super) async fn set_status(
    State(api): State<Api>,
    principal: Principal,
    PathParams(schema_id): PathParams<SchemaId>,
    JsonBody(request): JsonBody<StatusRequest>,
) -> Result<Json<Value>, ApiError> {
    find(&api, &principal, schema_id, Permission::Admin).await?;
    let status = SchemaStatus::parse(&request.status).ok_or_else(|| {
        let problem = format!("`{}` is none of active, deprecated, archived", request.status);
        ApiError::field("status", problem)
    })?;
    if !api.schemas.set_status(schema_id, status).await? {
        return Err(ApiError::new(Code::SchemaNotFound, format!("there is no schema {schema_id}")));
    }
    Ok(Json(json!({ "success": true, "schemaId": schema_id, "newStatus": status.as_str() })))
}

/// A payload to hold against a schema.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ValidateRequest {
    /// Whose schema; the caller's own if absent.
    #[schema(value_type = Option<String>, format = "uuid")]
    tenant_id: Option<TenantId>,
    /// The event type.
    event_type: String,
    /// Any JSON value.
    #[schema(value_type = Object)]
    payload: Box<RawValue>,
    /// Which version; the one that judges now if absent.
    schema_version: Option<u32>,
}

/// What is wrong with a payload.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ValidateAnswer {
    /// Whether nothing is; also if no schema is active.
    valid: bool,
    #[schema(value_type = Option<String>, format = "uuid")]
    schema_id: Option<SchemaId>,
    schema_version: Option<u32>,
    /// 50 at most.
    errors: Vec<ValidateError>,
}

/// One thing that is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ValidateError {
    /// A JSON pointer into the payload.
    path: String,
    /// For people, with the rule.
    message: String,
}

/// Hold a payload against its event type's schema, without appending anything.
#[utoipa::path(post, path = "/api/v1/schemas/validate", tag = "schemas", request_body = ValidateRequest, responses(
    (status = 200, description = "Whether the payload fits", body = ValidateAnswer),
    (status = 404, description = "`SCHEMA_NOT_FOUND`: no such version")))]
pub(super) async fn validate(
    State(api): State<Api>,
    principal: Principal,
    JsonBody(request): JsonBody<ValidateRequest>,
) -> Result<Json<ValidateAnswer>, ApiError> {
    let tenant_id = tenant(request.tenant_id, &principal, Permission::Read)?;
    let event_type = named(request.event_type)?;
    let (bytes, max) = (request.payload.get().len(), api.limits.event_payload_bytes_max);
    if bytes > max {
        return Err(ApiError::new(
            Code::PayloadTooLarge,
            format!("the payload has {bytes} bytes and may have {max}"),
        ));
    }
    let (version, payload) = (request.schema_version, request.payload.get().to_owned());
    let verdict = api.schemas.validate(tenant_id, &event_type, version, payload).await?;
    let Verdict { schema, faults } = verdict.ok_or_else(|| {
        let message = format!("the event type `{event_type}` has no version {}", version.unwrap_or_default());
        ApiError::new(Code::SchemaNotFound, message)
    })?;
    let errors: Vec<_> =
        faults.into_iter().map(|fault| ValidateError { path: fault.path, message: fault.problem }).collect();
    Ok(Json(ValidateAnswer {
        valid: errors.is_empty(),
        schema_id: schema.map(|(schema_id, _)| schema_id),
        schema_version: schema.map(|(_, version)| version),
        errors,
    }))
}
