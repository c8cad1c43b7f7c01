//! A stream's chain of commitments, each with its anchor, and all that was tried for one.
//!
//! Rows are flat, so that a plot can take them as they come: figures are numbers, what is not there is null.

use axum::Json;
use axum::extract::State;
use bowline_http::{ApiError, Params, PathParams, Principal, readable_commitment};
use bowline_line::commitment_json;
use bowline_store::Permission;
use bowline_types::{BatchId, EvmHash, StoreId, StreamId, TenantId, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use super::AnchorRoutes;
use crate::tables::{AnchorFilter, AnchorRow, AnchorSend, AnchorTransaction, SendState};

/// Rows on a page if the request does not say.
const LIST_DEFAULT: usize = 100;

/// Rows on a page at most.
const LIST_MAX: usize = 1_000;

/// Which rows.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// The tenant.
    #[param(value_type = String, format = "uuid")]
    tenant_id: TenantId,
    /// The store.
    #[param(value_type = String, format = "uuid")]
    store_id: StoreId,
    /// Only what stands behind this position of the chain: `next` of the page before.
    after: Option<u64>,
    /// So many at most: 100 if absent, 1,000 at most.
    limit: Option<usize>,
}

/// A stream's commitments in the order of its chain, each with its anchor.
#[utoipa::path(get, path = "/api/v1/anchors", operation_id = "list_anchors", tag = "anchor", params(ListQuery), responses(
    (status = 200, description = "`{\"anchors\":[{\"position\",\"batch_id\",\"corrects\",\"sequence_start\",\"sequence_end\",\
        \"count\",\"committed_at\",\"state\":\"pending\"|\"sent\"|\"mined\"|\"anchored\",\"chain_id\",\"contract\",\"tx_hash\",\
        \"block_number\",\"gas_used\",\"shared_by\",\"gas_share\",\"gas_price_wei\",\"anchored_at\",\
        \"seconds_to_anchor\"}],\"count\",\"next\"}`", body = Object)))]
pub(super) async fn list(
    State(state): State<AnchorRoutes>,
    principal: Principal,
    Params(query): Params<ListQuery>,
) -> Result<Json<Value>, ApiError> {
    let stream = StreamId::new(query.tenant_id, query.store_id);
    principal.require_stream(Permission::Read, stream)?;
    let limit = query.limit.unwrap_or(LIST_DEFAULT).clamp(1, LIST_MAX);
    let rows = state.anchors.rows(AnchorFilter { stream, after: query.after.unwrap_or(0), limit }).await?;
    let last = rows.last().filter(|_| rows.len() == limit);
    let next = last.map(|row| row.commitment.chain.position);
    let anchors: Vec<Value> = rows.iter().map(row_json).collect();
    Ok(Json(json!({
        "tenant_id": stream.tenant_id, "store_id": stream.store_id,
        "count": anchors.len(), "next": next, "anchors": anchors,
    })))
}

/// One commitment with every transaction that was ever sent for it.
#[utoipa::path(get, path = "/api/v1/anchors/{batch_id}", operation_id = "get_anchor", tag = "anchor",
    params(("batch_id" = String, Path, description = "The commitment")), responses(
    (status = 200, description = "The commitment with `state` and `attempts`, oldest first: \
        `[{\"send_id\",\"state\",\"origin\",\"chain_id\",\"contract\",\"sender\",\"nonce\",\"commitments\",\"created_at\",\
        \"tx_hash\",\"block_number\",\"gas_used\",\"settled_at\",\"reason\",\"transactions\":[…]}]`", body = Object),
    (status = 404, description = "`BATCH_NOT_FOUND`")))]
pub(super) async fn get(
    State(state): State<AnchorRoutes>,
    principal: Principal,
    PathParams(batch_id): PathParams<BatchId>,
) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Read)?;
    let record = readable_commitment(state.line.store.as_ref(), &principal, batch_id).await?;
    let sends = state.anchors.sends_of(batch_id).await?;
    let attempts: Vec<Value> = sends.iter().map(send_json).collect();
    let is_anchored = record.anchor.is_some();
    let live = crate::present(sends, is_anchored);
    let mut json = commitment_json(&record);
    json["state"] = json!(state_word(is_anchored, live.as_ref()));
    json["attempts"] = json!(attempts);
    Ok(Json(json))
}

/// The transaction that holds a send: the one that was mined, or the newest that was signed.
pub(super) fn tx_hash(send: &AnchorSend) -> Option<EvmHash> {
    let newest = send.transactions.last().map(|transaction| transaction.tx_hash);
    send.mined.map_or(newest, |mined| mined.tx_hash)
}

/// The block of a send; none if only the contract's word for it is known.
pub(super) fn block_number(send: &AnchorSend) -> Option<u64> {
    send.mined.map(|mined| mined.block_number).filter(|number| *number > 0)
}

fn state_word(is_anchored: bool, send: Option<&AnchorSend>) -> &'static str {
    match (is_anchored, send.map(|send| send.state)) {
        (true, _) => "anchored",
        (false, Some(SendState::Mined)) => "mined",
        (false, Some(SendState::Open)) => "sent",
        (false, Some(SendState::Anchored | SendState::Void) | None) => "pending",
    }
}

fn row_json(row: &AnchorRow) -> Value {
    let AnchorRow { commitment: record, send, shared_by } = row;
    let (commitment, mark) = (&record.commitment, record.anchor);
    let send = crate::present(send.clone().into_iter().collect(), mark.is_some());
    let send = send.as_ref();
    let gas_used = send.and_then(|send| send.mined?.gas_used);
    let gas_price = send.and_then(|send| send.mined?.gas_price);
    let target = send.map(|send| send.target);
    json!({
        "position": record.chain.position,
        "batch_id": commitment.batch_id,
        "corrects": commitment.corrects,
        "corrected_by": record.chain.corrected_by,
        "sequence_start": commitment.sequence_start,
        "sequence_end": commitment.sequence_end,
        "count": commitment.leaf_count,
        "committed_at": commitment.committed_at,
        "state": state_word(mark.is_some(), send),
        "chain_id": mark.map(|mark| mark.chain_id).or(target.map(|target| target.chain_id)),
        "contract": target.map(|target| target.contract),
        "tx_hash": mark.and_then(|mark| mark.tx_hash).or(send.and_then(tx_hash)),
        "block_number": mark.and_then(|mark| mark.block_number).or(send.and_then(block_number)),
        "gas_used": gas_used,
        "shared_by": shared_by,
        "gas_share": gas_used.map(|gas| gas / (*shared_by).max(1)),
        "gas_price_wei": gas_price.map(|price| price.to_string()),
        "anchored_at": mark.map(|mark| mark.anchored_at),
        "seconds_to_anchor": mark.map(|mark| seconds_between(commitment.committed_at, mark.anchored_at)),
    })
}

fn send_json(send: &AnchorSend) -> Value {
    let mined = send.mined;
    json!({
        "send_id": send.send_id,
        "state": send.state.as_str(),
        "origin": send.origin.as_str(),
        "chain_id": send.target.chain_id,
        "contract": send.target.contract,
        "sender": send.sender,
        "nonce": send.nonce,
        "commitments": send.batch_ids.len(),
        "created_at": send.created_at,
        "tx_hash": tx_hash(send),
        "block_number": block_number(send),
        "block_hash": mined.and_then(|mined| mined.block_hash),
        "gas_limit": send.gas_limit,
        "gas_used": mined.and_then(|mined| mined.gas_used),
        "gas_price_wei": mined.and_then(|mined| mined.gas_price).map(|price| price.to_string()),
        "settled_at": send.settled_at,
        "reason": send.reason,
        "transactions": send.transactions.iter().map(transaction_json).collect::<Vec<_>>(),
    })
}

fn transaction_json(transaction: &AnchorTransaction) -> Value {
    json!({
        "tx_hash": transaction.tx_hash,
        "fee_max_wei": transaction.fee_max.to_string(),
        "tip_wei": transaction.tip.to_string(),
        "signed_at": transaction.recorded_at,
    })
}

/// Seconds with three digits: clocks and blocks are no more exact.
fn seconds_between(earlier: Timestamp, later: Timestamp) -> f64 {
    let millis = later.micros().saturating_sub(earlier.micros()).max(0) / 1_000;
    millis as f64 / 1_000.0
}
