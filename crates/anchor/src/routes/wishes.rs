//! Anchors: ask for one, commit and ask for one, and compare one with the chain.
//!
//! The anchoring process decides and sends; these routes leave a wish, wait a little for what becomes of it, and
//! render. An administrator's key acts on its own tenant's streams alone.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use bowline_http::{Access, ApiError, JsonBody, PathParams, Principal, readable_commitment};
use bowline_line::{CommitRange, Commitments};
use bowline_store::{CommitmentOrigin, CommitmentRecord, Permission};
use bowline_types::{BatchId, StoreId, StreamId, TenantId};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{AnchorRoutes, refusal, rows};
use crate::{AnchorError, Anchored, Progress};

/// Seconds that a request waits for its anchor at most.
const WAIT_SECS_MAX: u64 = 20;

/// Seconds of a request's time that are left for the answer.
const ANSWER_SECS: u64 = 5;

/// Events of a commitment that is made to be anchored, if the request does not say.
const EVENTS_DEFAULT: u64 = 1_024;

/// Which commitment.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct AnchorRequest {
    /// The commitment.
    #[schema(value_type = String, format = "uuid")]
    batch_id: BatchId,
}

/// What to commit and anchor.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct CommitRequest {
    /// The tenant.
    #[schema(value_type = String, format = "uuid")]
    tenant_id: TenantId,
    /// The store.
    #[schema(value_type = String, format = "uuid")]
    store_id: StoreId,
    /// The first sequence number; after the last commitment if absent.
    sequence_start: Option<u64>,
    /// The last sequence number; the head if absent, but no more than `max_events`.
    sequence_end: Option<u64>,
    /// Events at most, 1,024 if absent.
    max_events: Option<u64>,
}

/// Anchor a commitment now, with all that waits before it. Waits for a block up to 20 s; what is not final then goes
/// on by itself.
#[utoipa::path(post, path = "/api/v1/ves/anchor", tag = "anchor", request_body = AnchorRequest, responses(
    (status = 200, description = "It is final: `{\"batch_id\",\"status\":\"anchored\"|\"already_anchored\",\"chain_id\",\
        \"chain_tx_hash\",\"chain_block_number\",\"confirmations_needed\",\"anchored_at\",…}`", body = Object),
    (status = 202, description = "It is on its way: `status` is `mined`, `sent` or `pending`", body = Object),
    (status = 404, description = "`BATCH_NOT_FOUND`"),
    (status = 502, description = "`ANCHOR_FAILED`: `details` have the cause's `code` and what mends it, `fix`. The commitment stays valid and is anchored once that is gone"),
    (status = 503, description = "`ANCHOR_NOT_CONFIGURED`")))]
pub(super) async fn anchor(
    State(state): State<AnchorRoutes>,
    access: Access,
    principal: Principal,
    JsonBody(AnchorRequest { batch_id }): JsonBody<AnchorRequest>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    principal.require(Permission::Admin)?;
    let record = readable_commitment(state.line.store.as_ref(), &principal, batch_id).await?;
    principal.require_stream(Permission::Admin, record.commitment.stream)?;
    let (status, answer) = wish(&state, &access, batch_id).await?;
    Ok((status, Json(answer)))
}

/// Commit what no commitment covers yet, or a range, and anchor it.
#[utoipa::path(post, path = "/api/v1/ves/commitments/anchor", tag = "anchor", request_body = CommitRequest, responses(
    (status = 200, description = "As for `/api/v1/ves/anchor`, with the range and the roots", body = Object),
    (status = 202, description = "It is committed, and its anchor is on its way", body = Object),
    (status = 400, description = "`SEQUENCE_GAP`: the range does not continue the chain, or is not all there"),
    (status = 502, description = "`ANCHOR_FAILED`: it is committed, and anchored once what `details` name is gone"),
    (status = 503, description = "`ANCHOR_NOT_CONFIGURED`; nothing was committed")))]
pub(super) async fn commit_and_anchor(
    State(state): State<AnchorRoutes>,
    access: Access,
    principal: Principal,
    JsonBody(request): JsonBody<CommitRequest>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let stream = StreamId::new(request.tenant_id, request.store_id);
    principal.require_stream(Permission::Admin, stream)?;
    if !state.anchors.is_configured() {
        return Err(AnchorError::NotConfigured.into());
    }
    let events_max = request.max_events.unwrap_or(EVENTS_DEFAULT);
    let events_max = events_max.clamp(1, access.limits().commitment_events_max.max(1));
    let (store, clock) = (Arc::clone(&state.line.store), Arc::clone(&state.line.clock));
    let range = CommitRange { sequence_start: request.sequence_start, sequence_end: request.sequence_end };
    let commitments = Commitments::new(store, clock, events_max);
    let record =
        commitments.commit(stream, range, CommitmentOrigin::Client).await.map_err(refusal::of_commit)?;
    let (status, answer) = wish(&state, &access, record.commitment.batch_id).await?;
    Ok((status, Json(answer)))
}

/// Compare a commitment with the chain: whether exactly it is there.
#[utoipa::path(get, path = "/api/v1/ves/anchor/{batch_id}/verify", operation_id = "verify_anchor", tag = "anchor",
    params(("batch_id" = String, Path, description = "The commitment")), responses(
    (status = 200, description = "`{\"batch_id\",\"anchored_on_chain\",\"chain_id\",\"contract\",\"contract_kind\",\
        \"block_number\",\"confirmations\",\"head_block\",\"is_anchored\"}`; `is_anchored` is what this node believes",
        body = Object),
    (status = 404, description = "`BATCH_NOT_FOUND`"),
    (status = 502, description = "`ANCHOR_FAILED`: the chain can't be asked"),
    (status = 503, description = "`ANCHOR_NOT_CONFIGURED`")))]
pub(super) async fn verify(
    State(state): State<AnchorRoutes>,
    principal: Principal,
    PathParams(batch_id): PathParams<BatchId>,
) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Read)?;
    let record = readable_commitment(state.line.store.as_ref(), &principal, batch_id).await?;
    let found = state.anchors.verify(batch_id).await?;
    Ok(Json(json!({
        "batch_id": batch_id,
        "anchored_on_chain": found.on_chain,
        "chain_id": found.target.chain_id,
        "contract": found.target.contract,
        "contract_kind": found.kind,
        "block_number": found.block_number,
        "confirmations": found.confirmations,
        "head_block": found.head_block,
        "is_anchored": record.anchor.is_some(),
    })))
}

/// Leaves the wish, and waits for what becomes of it.
async fn wish(
    state: &AnchorRoutes,
    access: &Access,
    batch_id: BatchId,
) -> Result<(StatusCode, Value), ApiError> {
    let secs = access.limits().request_secs_max.saturating_sub(ANSWER_SECS).min(WAIT_SECS_MAX);
    let anchored = state.anchors.anchor(batch_id, Duration::from_secs(secs)).await?;
    let status = match anchored.progress {
        Progress::AlreadyAnchored | Progress::Anchored => StatusCode::OK,
        Progress::Mined | Progress::Sent | Progress::Pending => StatusCode::ACCEPTED,
    };
    Ok((status, anchored_json(&anchored, state.anchors.confirmations_needed())))
}

fn anchored_json(anchored: &Anchored, confirmations_needed: u64) -> Value {
    let Anchored { progress, record, send } = anchored;
    let CommitmentRecord { commitment, anchor, .. } = record;
    let (chain_id, tx_hash, block_number) = match (anchor, send) {
        (Some(mark), _) => (Some(mark.chain_id), mark.tx_hash, mark.block_number),
        (None, Some(send)) => (Some(send.target.chain_id), rows::tx_hash(send), rows::block_number(send)),
        (None, None) => (None, None, None),
    };
    json!({
        "batch_id": commitment.batch_id,
        "status": progress.as_str(),
        "tenant_id": commitment.stream.tenant_id,
        "store_id": commitment.stream.store_id,
        "sequence_start": commitment.sequence_start,
        "sequence_end": commitment.sequence_end,
        "event_count": commitment.leaf_count,
        "merkle_root": commitment.merkle_root.to_string(),
        "prev_state_root": commitment.prev_state_root.to_string(),
        "new_state_root": commitment.new_state_root.to_string(),
        "chain_id": chain_id,
        "chain_tx_hash": tx_hash,
        "chain_block_number": block_number,
        "confirmations_needed": confirmations_needed,
        "anchored_at": anchor.map(|mark| mark.anchored_at),
    })
}
