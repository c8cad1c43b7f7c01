//! Inclusion proofs: get one, check one.
//!
//! The arithmetic is `bowline-ves`'s, the same that an offline verifier runs.

use axum::Json;
use axum::extract::State;
use bowline_http::{ApiError, JsonBody, Params, PathParams, Principal};
use bowline_store::{Permission, ReadQuery};
use bowline_types::{BatchId, Code, StoreId, StreamId, TenantId};
use bowline_ves::{Hash, InclusionProof, PROOF_PATH_MAX, ProofError};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::refusal;
use crate::state::Api;

/// Which proof.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ProofQuery {
    /// The tenant.
    #[param(value_type = String, format = "uuid")]
    tenant_id: TenantId,
    /// The store.
    #[param(value_type = String, format = "uuid")]
    store_id: StoreId,
    /// The commitment; the one that covers the event if absent.
    #[param(value_type = Option<String>, format = "uuid")]
    batch_id: Option<BatchId>,
}

/// A proof that an event is under a commitment. All hashes are bare hex.
#[utoipa::path(get, path = "/api/v1/ves/proofs/{sequence_number}", tag = "prove",
    params(("sequence_number" = u64, Path, description = "The event's number"), ProofQuery), responses(
    (status = 200, description = "`{\"sequence_number\",\"batch_id\",\"merkle_root\",\"leaf_hash\",\"leaf_index\",\
        \"proof_path\":[bottom-up],\"directions\":[true: the node is a left child]}` with the commitment's range",
        body = Object),
    (status = 404, description = "`EVENT_NOT_FOUND`, `NOT_COMMITTED` or `BATCH_NOT_FOUND`")))]
pub(super) async fn prove(
    State(api): State<Api>,
    principal: Principal,
    PathParams(sequence_number): PathParams<u64>,
    Params(query): Params<ProofQuery>,
) -> Result<Json<Value>, ApiError> {
    let stream = StreamId::new(query.tenant_id, query.store_id);
    principal.require_stream(Permission::Read, stream)?;
    let answer = api
        .line
        .commitments
        .prove(stream, sequence_number, query.batch_id)
        .await
        .map_err(refusal::of_proof)?;
    let page = api.line.reader.read(ReadQuery::from(stream, sequence_number, 1)).await?;
    let (commitment, proof) = (&answer.commitment, &answer.proof);
    Ok(Json(json!({
        "tenant_id": stream.tenant_id,
        "store_id": stream.store_id,
        "sequence_number": answer.sequence_number,
        "event_id": page.events.first().map(|event| event.envelope.event_id),
        "batch_id": commitment.batch_id,
        "merkle_root": commitment.merkle_root.to_string(),
        "leaf_hash": proof.leaf_hash.to_string(),
        "leaf_index": proof.leaf_index,
        "proof_path": proof.path.iter().map(Hash::to_string).collect::<Vec<_>>(),
        "directions": proof.directions(),
        "leaf_count": commitment.leaf_count,
        "sequence_start": commitment.sequence_start,
        "sequence_end": commitment.sequence_end,
        "prev_state_root": commitment.prev_state_root.to_string(),
        "new_state_root": commitment.new_state_root.to_string(),
    })))
}

/// A proof to check.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct VerifyRequest {
    /// The event's leaf.
    leaf_hash: String,
    /// The root that it should lead to.
    merkle_root: String,
    /// Siblings, bottom-up.
    proof_path: Vec<String>,
    /// The leaf's place in the tree, from 0.
    leaf_index: u64,
}

/// Check a proof. A leaf index outside of the tree that the path spans is refused, not wrapped into it.
#[utoipa::path(post, path = "/api/v1/ves/proofs/verify", operation_id = "verify_proof", tag = "prove", request_body = VerifyRequest, responses(
    (status = 200, description = "`{\"valid\",\"leaf_hash\",\"merkle_root\"}`", body = Object),
    (status = 400, description = "A hash that is none, too long a path, or an index outside of the tree")))]
pub(super) async fn verify(
    principal: Principal,
    JsonBody(request): JsonBody<VerifyRequest>,
) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Read)?;
    let hash = |field: &str, text: &str| Hash::parse_hex(text).map_err(|error| ApiError::field(field, error));
    if request.proof_path.len() > PROOF_PATH_MAX {
        return Err(ApiError::field("proof_path", format!("has more than {PROOF_PATH_MAX} hashes")));
    }
    let merkle_root = hash("merkle_root", &request.merkle_root)?;
    let path = request.proof_path.iter().map(|text| hash("proof_path", text)).collect::<Result<_, _>>()?;
    let leaf_hash = hash("leaf_hash", &request.leaf_hash)?;
    let proof = InclusionProof { leaf_hash, leaf_index: request.leaf_index, path };
    let valid = match proof.verify(&merkle_root) {
        Ok(()) => true,
        Err(ProofError::RootMismatch { .. }) => false,
        Err(error) => return Err(ApiError::new(Code::InvalidFieldValue, error.to_string())),
    };
    Ok(Json(
        json!({ "valid": valid, "leaf_hash": leaf_hash.to_string(), "merkle_root": merkle_root.to_string() }),
    ))
}
