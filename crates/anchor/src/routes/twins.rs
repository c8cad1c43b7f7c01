//! The anchors' older paths, which clients of the sequencer API know: the same answers as the paths that replace them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use bowline_http::{Access, ApiError, JsonBody, PathParams, Principal};
use bowline_types::BatchId;
use serde_json::Value;

use super::wishes::{self, AnchorRequest};
use super::{AnchorRoutes, operate};
use crate::status::Status;

/// The same as `POST /api/v1/ves/anchor`.
#[utoipa::path(post, path = "/api/v1/anchor", operation_id = "anchor_v1", tag = "anchor", request_body = AnchorRequest, responses(
    (status = 200, description = "It is final", body = Object), (status = 202, description = "It is on its way", body = Object)))]
pub(super) async fn anchor(
    state: State<AnchorRoutes>,
    access: Access,
    principal: Principal,
    request: JsonBody<AnchorRequest>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    wishes::anchor(state, access, principal, request).await
}

/// The same as `GET /api/v1/anchors/status`.
#[utoipa::path(get, path = "/api/v1/anchor/status", operation_id = "anchoring_status_v1", tag = "anchor", responses(
    (status = 200, description = "How anchoring is doing", body = Object)))]
pub(super) async fn status(
    state: State<AnchorRoutes>,
    principal: Principal,
) -> Result<Json<Status>, ApiError> {
    operate::status(state, principal).await
}

/// The same as `GET /api/v1/ves/anchor/{batch_id}/verify`.
#[utoipa::path(get, path = "/api/v1/anchor/{batch_id}/verify", operation_id = "verify_anchor_v1", tag = "anchor",
    params(("batch_id" = String, Path, description = "The commitment")), responses(
    (status = 200, description = "Whether exactly this commitment is on the chain", body = Object)))]
pub(super) async fn verify(
    state: State<AnchorRoutes>,
    principal: Principal,
    batch_id: PathParams<BatchId>,
) -> Result<Json<Value>, ApiError> {
    wishes::verify(state, principal, batch_id).await
}
