//! The anchors' older paths, which clients of the sequencer API know: the same answers as the paths that replace them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use bowline_anchor::status::Status;
use bowline_types::BatchId;
use serde_json::Value;

use super::AnchorRequest;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::routes::extract::{JsonBody, PathParams};
use crate::state::Api;

/// The same as `POST /api/v1/ves/anchor`.
#[utoipa::path(post, path = "/api/v1/anchor", tag = "anchor", request_body = AnchorRequest, responses(
    (status = 200, description = "It is final", body = Object), (status = 202, description = "It is on its way", body = Object)))]
pub(in crate::routes) async fn anchor(
    api: State<Api>,
    principal: Principal,
    request: JsonBody<AnchorRequest>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    super::anchor(api, principal, request).await
}

/// The same as `GET /api/v1/anchors/status`.
#[utoipa::path(get, path = "/api/v1/anchor/status", tag = "anchor", responses(
    (status = 200, description = "How anchoring is doing", body = Object)))]
pub(in crate::routes) async fn status(
    api: State<Api>,
    principal: Principal,
) -> Result<Json<Status>, ApiError> {
    super::operate::status(api, principal).await
}

/// The same as `GET /api/v1/ves/anchor/{batch_id}/verify`.
#[utoipa::path(get, path = "/api/v1/anchor/{batch_id}/verify", tag = "anchor",
    params(("batch_id" = String, Path, description = "The commitment")), responses(
    (status = 200, description = "Whether exactly this commitment is on the chain", body = Object)))]
pub(in crate::routes) async fn verify(
    api: State<Api>,
    principal: Principal,
    batch_id: PathParams<BatchId>,
) -> Result<Json<Value>, ApiError> {
    super::verify(api, principal, batch_id).await
}
