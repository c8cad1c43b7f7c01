//! For an anchoring service elsewhere: what waits for an anchor, and its report that one is there.
//!
//! Both are of all tenants, so they need a credential for every tenant. A report is taken for true; whoever wants to
//! know asks the chain (`GET /api/v1/ves/anchor/{batch_id}/verify`, `bowline verify anchor`).

use axum::Json;
use axum::extract::State;
use bowline_http::{ApiError, JsonBody, Params, PathParams, Principal};
use bowline_store::CommitmentRecord;
use bowline_types::{BatchId, Code, EvmHash};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::AnchorRoutes;
use crate::tables::{ReportOutcome, ReportedAnchor};

/// Commitments on a list if the request does not say.
const LIST_DEFAULT: usize = 1_000;

/// Commitments on a list at most.
const LIST_MAX: usize = 5_000;

/// How many.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PendingQuery {
    /// So many at most: 1,000 if absent, 5,000 at most.
    limit: Option<usize>,
}

/// What a service did.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ReportRequest {
    /// The transaction, 32 bytes in hex.
    #[schema(value_type = String)]
    chain_tx_hash: EvmHash,
    /// The chain.
    chain_id: u64,
    /// Its block.
    block_number: Option<u64>,
    /// Gas that it used.
    gas_used: Option<u64>,
}

/// Commitments of all streams that are on no chain and in no transaction, the oldest first, and in the order of the
/// chain within a stream.
#[utoipa::path(get, path = "/v1/commitments/pending", tag = "anchor", params(PendingQuery), responses(
    (status = 200, description = "`{\"commitments\":[{\"batch_id\",\"tenant_id\",\"store_id\",\"prev_state_root\",\
        \"new_state_root\",\"events_root\",\"sequence_start\",\"sequence_end\",\"event_count\",\"committed_at\",\
        \"chain_tx_hash\"}],\"total\"}`; `total` counts those that are not on the list, too", body = Object)))]
pub(super) async fn pending(
    State(state): State<AnchorRoutes>,
    principal: Principal,
    Params(query): Params<PendingQuery>,
) -> Result<Json<Value>, ApiError> {
    principal.require_everything()?;
    let limit = query.limit.unwrap_or(LIST_DEFAULT).clamp(1, LIST_MAX);
    let (records, total) = state.anchors.pending(limit).await?;
    let commitments: Vec<Value> = records.iter().map(pending_json).collect();
    Ok(Json(json!({ "commitments": commitments, "total": total })))
}

/// Report that a commitment is anchored. The same report again is answered again.
#[utoipa::path(post, path = "/v1/commitments/{batch_id}/anchored", tag = "anchor",
    params(("batch_id" = String, Path, description = "The commitment")), request_body = ReportRequest, responses(
    (status = 200, description = "`{\"batch_id\",\"status\":\"anchored\"|\"already_anchored\",\"chain_id\",\
        \"chain_tx_hash\",\"block_number\",\"gas_used\"}`", body = Object),
    (status = 404, description = "`BATCH_NOT_FOUND`"),
    (status = 409, description = "`ANCHOR_CONFLICT`: another transaction is known, `details.chain_tx_hash`; or this node \
        anchors by itself, `details.code` is `ANCHORS_ITSELF` or `UNDER_WAY`")))]
pub(super) async fn report(
    State(state): State<AnchorRoutes>,
    principal: Principal,
    PathParams(batch_id): PathParams<BatchId>,
    JsonBody(request): JsonBody<ReportRequest>,
) -> Result<Json<Value>, ApiError> {
    principal.require_everything()?;
    let ReportRequest { chain_tx_hash: tx_hash, chain_id, block_number, gas_used } = request;
    for (name, value) in
        [("chain_id", Some(chain_id)), ("block_number", block_number), ("gas_used", gas_used)]
    {
        let is_known = value.is_none_or(|value| i64::try_from(value).is_ok());
        if !is_known || (name == "chain_id" && chain_id == 0) {
            return Err(ApiError::new(Code::InvalidFieldValue, format!("`{name}` is no such number")));
        }
    }
    let report = ReportedAnchor { batch_id, chain_id, tx_hash, block_number, gas_used };
    let status = match state.anchors.report(report).await? {
        ReportOutcome::Recorded => "anchored",
        ReportOutcome::Known => "already_anchored",
        ReportOutcome::Conflict(known) => return Err(conflict(batch_id, known)),
        ReportOutcome::UnderWay => return Err(under_way(batch_id)),
        ReportOutcome::NoCommitment => {
            return Err(ApiError::new(Code::BatchNotFound, format!("there is no commitment {batch_id}")));
        }
    };
    Ok(Json(json!({
        "batch_id": batch_id, "status": status, "chain_id": chain_id, "chain_tx_hash": tx_hash,
        "block_number": block_number, "gas_used": gas_used,
    })))
}

fn conflict(batch_id: BatchId, known: Option<EvmHash>) -> ApiError {
    let message = format!("another transaction is known as the anchor of commitment {batch_id}");
    ApiError::new(Code::AnchorConflict, message)
        .with_details(json!({ "code": "OTHER_TRANSACTION", "chain_tx_hash": known }))
}

fn under_way(batch_id: BatchId) -> ApiError {
    let message = format!("commitment {batch_id} is in a transaction of this store's own anchoring");
    let fix = "let one of the two anchor: see `bowline anchors status`";
    ApiError::new(Code::AnchorConflict, message).with_details(json!({ "code": "UNDER_WAY", "fix": fix }))
}

fn pending_json(record: &CommitmentRecord) -> Value {
    let commitment = &record.commitment;
    json!({
        "batch_id": commitment.batch_id,
        "tenant_id": commitment.stream.tenant_id,
        "store_id": commitment.stream.store_id,
        "prev_state_root": format!("0x{}", commitment.prev_state_root),
        "new_state_root": format!("0x{}", commitment.new_state_root),
        "events_root": format!("0x{}", commitment.merkle_root),
        "sequence_start": commitment.sequence_start,
        "sequence_end": commitment.sequence_end,
        "event_count": commitment.leaf_count,
        "committed_at": commitment.committed_at,
        "chain_tx_hash": record.anchor.and_then(|anchor| anchor.tx_hash),
    })
}
