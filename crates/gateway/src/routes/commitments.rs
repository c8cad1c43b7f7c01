//! Commitments: make one, list a stream's, read one.
//!
//! Which range may be committed is the line's decision; these routes only ask and render.

use axum::Json;
use axum::extract::State;
use bowline_http::{ApiError, JsonBody, Params, PathParams, Principal, readable_commitment};
use bowline_line::{CommitRange, commitment_json};
use bowline_store::{CommitmentFilter, CommitmentOrigin, Permission};
use bowline_types::{BatchId, StoreId, StreamId, TenantId};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::refusal;
use crate::state::Api;

/// Commitments on a list if the request does not say.
const LIST_DEFAULT: usize = 1_000;

/// What to commit.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct CreateRequest {
    /// The tenant.
    #[schema(value_type = String, format = "uuid")]
    tenant_id: TenantId,
    /// The store.
    #[schema(value_type = String, format = "uuid")]
    store_id: StoreId,
    /// The first sequence number; after the last commitment if absent.
    sequence_start: Option<u64>,
    /// The last sequence number; the head if absent.
    sequence_end: Option<u64>,
}

/// Which commitments.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// The tenant.
    #[param(value_type = String, format = "uuid")]
    tenant_id: TenantId,
    /// The store.
    #[param(value_type = String, format = "uuid")]
    store_id: StoreId,
    /// Also those that are anchored on a chain.
    all: Option<bool>,
    /// Only commitments that begin at this sequence number or later.
    from: Option<u64>,
    /// So many at most, 1,000 if absent.
    limit: Option<usize>,
}

/// Commit a range of a stream: a Merkle root over its events, chained to the commitment before by the state
/// root. The same range again gives the same commitment again.
#[utoipa::path(post, path = "/api/v1/ves/commitments", operation_id = "create_commitment", tag = "prove", request_body = CreateRequest, responses(
    (status = 200, description = "The commitment", body = Object),
    (status = 400, description = "`SEQUENCE_GAP`: the range does not continue the chain, or is not all there")))]
pub(super) async fn create(
    State(api): State<Api>,
    principal: Principal,
    JsonBody(request): JsonBody<CreateRequest>,
) -> Result<Json<Value>, ApiError> {
    let stream = StreamId::new(request.tenant_id, request.store_id);
    principal.require_stream(Permission::Write, stream)?;
    let range = CommitRange { sequence_start: request.sequence_start, sequence_end: request.sequence_end };
    let record = api
        .line
        .commitments
        .commit(stream, range, CommitmentOrigin::Client)
        .await
        .map_err(refusal::of_commit)?;
    Ok(Json(commitment_json(&record)))
}

/// A stream's commitments, oldest first: those that are on no outside chain yet, or all.
#[utoipa::path(get, path = "/api/v1/ves/commitments", operation_id = "list_commitments", tag = "prove", params(ListQuery), responses(
    (status = 200, description = "`{\"commitments\":[…],\"count\":N}`", body = Object)))]
pub(super) async fn list(
    State(api): State<Api>,
    principal: Principal,
    Params(query): Params<ListQuery>,
) -> Result<Json<Value>, ApiError> {
    let stream = StreamId::new(query.tenant_id, query.store_id);
    principal.require_stream(Permission::Read, stream)?;
    let limit = query.limit.unwrap_or(LIST_DEFAULT).clamp(1, LIST_DEFAULT);
    let unanchored_only = !query.all.unwrap_or(false);
    let filter = CommitmentFilter { stream, from: query.from.unwrap_or(0), unanchored_only, limit };
    let records = api.line.commitments.list(filter).await?;
    let commitments: Vec<Value> = records.iter().map(commitment_json).collect();
    Ok(Json(json!({ "count": commitments.len(), "commitments": commitments })))
}

/// One commitment.
#[utoipa::path(get, path = "/api/v1/ves/commitments/{batch_id}", operation_id = "get_commitment", tag = "prove",
    params(("batch_id" = String, Path, description = "The commitment")), responses(
    (status = 200, description = "The commitment", body = Object),
    (status = 404, description = "`BATCH_NOT_FOUND`")))]
pub(super) async fn get(
    State(api): State<Api>,
    principal: Principal,
    PathParams(batch_id): PathParams<BatchId>,
) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Read)?;
    Ok(Json(commitment_json(&readable_commitment(api.line.store.as_ref(), &principal, batch_id).await?)))
}
