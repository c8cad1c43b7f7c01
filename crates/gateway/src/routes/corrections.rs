//! Wrong commitments: recompute one, correct one.
//!
//! Whether a commitment is wrong is the line's decision; these routes only ask and render.

use axum::Json;
use axum::extract::State;
use bowline_http::{ApiError, JsonBody, PathParams, Principal, readable_commitment};
use bowline_line::{Correction, commitment_json};
use bowline_store::Permission;
use bowline_types::{BatchId, Code};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::refusal;
use crate::state::Api;

/// Why a commitment is corrected.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct CorrectRequest {
    /// For people: 1 to 1,000 characters; kept with both commitments.
    reason: String,
    /// Also if nothing is wrong with it.
    #[serde(default)]
    force: bool,
}

/// Recompute a commitment from the stored events' leaves, and compare its state root and its place in the chain.
#[utoipa::path(get, path = "/api/v1/ves/commitments/{batch_id}/check", tag = "prove",
    params(("batch_id" = String, Path, description = "The commitment")), responses(
    (status = 200, description = "`{\"batch_id\",\"valid\",\"problems\":[…],\"merkle_root\",\"computed_root\",\"corrected_by\"}`",
        body = Object),
    (status = 404, description = "`BATCH_NOT_FOUND`")))]
pub(super) async fn check(
    State(api): State<Api>,
    principal: Principal,
    PathParams(batch_id): PathParams<BatchId>,
) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Read)?;
    readable_commitment(api.line.store.as_ref(), &principal, batch_id).await?;
    let missing = || ApiError::new(Code::BatchNotFound, format!("there is no commitment {batch_id}"));
    let check = api.line.commitments.check(batch_id).await?.ok_or_else(missing)?;
    let commitment = &check.record.commitment;
    Ok(Json(json!({
        "batch_id": batch_id,
        "tenant_id": commitment.stream.tenant_id,
        "store_id": commitment.stream.store_id,
        "sequence_start": commitment.sequence_start,
        "sequence_end": commitment.sequence_end,
        "valid": check.problems.is_empty(),
        "problems": check.problems,
        "merkle_root": commitment.merkle_root.to_string(),
        "computed_root": check.computed_root.map(|root| root.to_string()),
        "corrects": commitment.corrects,
        "corrected_by": check.record.chain.corrected_by,
    })))
}

/// Correct a wrong commitment: a new one at the end of the chain covers its range with the root of the stored
/// events, and the wrong one is marked. Nothing is deleted.
#[utoipa::path(post, path = "/api/v1/ves/commitments/{batch_id}/correct", tag = "prove",
    params(("batch_id" = String, Path, description = "The wrong commitment")), request_body = CorrectRequest,
    responses(
    (status = 200, description = "The correction, a commitment with `corrects`", body = Object),
    (status = 400, description = "No reason, or `SEQUENCE_GAP`: its range itself is damaged"),
    (status = 404, description = "`BATCH_NOT_FOUND`"),
    (status = 409, description = "`COMMITMENT_INTACT`, or `COMMITMENT_CORRECTED` before: `details.corrected_by`")))]
pub(super) async fn correct(
    State(api): State<Api>,
    principal: Principal,
    PathParams(batch_id): PathParams<BatchId>,
    JsonBody(request): JsonBody<CorrectRequest>,
) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Admin)?;
    let record = readable_commitment(api.line.store.as_ref(), &principal, batch_id).await?;
    principal.require_stream(Permission::Admin, record.commitment.stream)?;
    let CorrectRequest { reason, force } = request;
    let record = api.line.commitments.correct(Correction { batch_id, reason, force }).await;
    let record = record.map_err(refusal::of_correction)?;
    Ok(Json(commitment_json(&record)))
}
