//! How anchoring is doing, and what an operator may do about it.
//!
//! Figures are of all streams; streams are named only to those who may read them.

use axum::Json;
use axum::extract::State;
use bowline_http::{ApiError, JsonBody, Principal};
use bowline_store::Permission;
use bowline_types::{StoreId, StreamId, TenantId};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::AnchorRoutes;
use crate::status::Status;

/// Which stream to try again.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(super) struct RetryAnchoringRequest {
    /// The tenant; all streams if both are absent.
    #[schema(value_type = Option<String>, format = "uuid")]
    tenant_id: Option<TenantId>,
    /// The store.
    #[schema(value_type = Option<String>, format = "uuid")]
    store_id: Option<StoreId>,
}

/// How anchoring is doing: what waits, what is on its way, who does it, and what is in the way.
#[utoipa::path(get, path = "/api/v1/anchors/status", operation_id = "anchoring_status", tag = "anchor", responses(
    (status = 200, description = "`{\"configured\",\"chain_id\",\"contract\",\"sender\",\"endpoints\":[{\"name\",\"breaker\"}],\
        \"chain\":{\"block_number\",\"kind\",\"may_commit\",\"balance_wei\",…}|{\"problem\"},\"holder\",\"pending\",\"under_way\",\
        \"anchored\",\"oldest_secs\",\"transactions\":[…],\"blocked\":[…],\"trouble\":{\"code\",\"message\",\"fix\",\"since\"}|null,…}`",
        body = Object)))]
pub(super) async fn status(
    State(state): State<AnchorRoutes>,
    principal: Principal,
) -> Result<Json<Status>, ApiError> {
    principal.require(Permission::Admin)?;
    let mut status = state.anchors.status().await?;
    status.blocked.retain(|blocked| principal.may_read(blocked.stream));
    Ok(Json(status))
}

/// Let a stream that was set aside be tried again at once; without a stream all of them, which needs a credential for
/// every tenant.
#[utoipa::path(post, path = "/api/v1/anchors/retry", operation_id = "retry_anchoring", tag = "anchor", request_body = RetryAnchoringRequest, responses(
    (status = 200, description = "`{\"unblocked\":N}`: how many streams were set aside", body = Object),
    (status = 400, description = "Only one of `tenant_id` and `store_id` is given")))]
pub(super) async fn retry(
    State(state): State<AnchorRoutes>,
    principal: Principal,
    JsonBody(request): JsonBody<RetryAnchoringRequest>,
) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Admin)?;
    let stream = match (request.tenant_id, request.store_id) {
        (Some(tenant_id), Some(store_id)) => Some(StreamId::new(tenant_id, store_id)),
        (None, None) => None,
        (Some(_), None) => return Err(ApiError::field("store_id", "it belongs to a stream's tenant_id")),
        (None, Some(_)) => return Err(ApiError::field("tenant_id", "it belongs to a stream's store_id")),
    };
    match stream {
        Some(stream) => principal.require_stream(Permission::Admin, stream)?,
        None => principal.require_everything()?,
    }
    let unblocked = state.anchors.retry(stream).await?;
    Ok(Json(json!({ "unblocked": unblocked })))
}

/// Make the configured contract the one that anchors go to from now on. What it does not know is anchored there from
/// the beginning, so it costs gas for every commitment there is.
#[utoipa::path(post, path = "/api/v1/anchors/switch", tag = "anchor", responses(
    (status = 200, description = "`{\"chain_id\",\"contract\"}`", body = Object),
    (status = 502, description = "`ANCHOR_FAILED`: the chain can't be asked, or there is no such contract"),
    (status = 503, description = "`ANCHOR_NOT_CONFIGURED`, or `SERVICE_UNAVAILABLE`: another process anchors")))]
pub(super) async fn switch(
    State(state): State<AnchorRoutes>,
    principal: Principal,
) -> Result<Json<Value>, ApiError> {
    principal.require_everything()?;
    let target = state.anchors.switch().await?;
    Ok(Json(json!({ "chain_id": target.chain_id, "contract": target.contract })))
}
