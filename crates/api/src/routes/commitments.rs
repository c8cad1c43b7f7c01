//! Commitments: make one, list a stream's, read one.
//!
//! Which range may be committed is the line's decision; these routes only ask and render.

use axum::Json;
use axum::extract::State;
use bowline_line::CommitRange;
use bowline_store::{CommitmentFilter, CommitmentOrigin, CommitmentRecord, Permission};
use bowline_types::{BatchId, Code, StoreId, StreamId, TenantId};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::extract::{JsonBody, Params, PathParams};
use crate::auth::Principal;
use crate::error::ApiError;
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

/// The commitment, who asked for it, whether it was corrected, and where it is on an outside chain.
pub(super) fn record_json(record: &CommitmentRecord) -> Value {
    let mut json = record.commitment.to_json();
    json["corrects"] = json!(record.commitment.corrects);
    json["corrected_by"] = json!(record.chain.corrected_by);
    json["correction_reason"] = json!(record.chain.reason);
    json["status"] = json!(if record.chain.corrected_by.is_some() { "corrected" } else { "valid" });
    json["chain_position"] = json!(record.chain.position);
    json["origin"] = json!(record.origin.as_str());
    let anchor = record.anchor;
    json["chain_id"] = json!(anchor.map(|anchor| anchor.chain_id));
    json["chain_tx_hash"] = json!(anchor.and_then(|anchor| anchor.tx_hash));
    json["chain_block_number"] = json!(anchor.and_then(|anchor| anchor.block_number));
    json["anchored_at"] = json!(anchor.map(|anchor| anchor.anchored_at));
    json["is_anchored"] = json!(anchor.is_some());
    json
}

/// Commit a range of a stream: a Merkle root over its events, chained to the commitment before by the state
/// root. The same range again gives the same commitment again.
#[utoipa::path(post, path = "/api/v1/ves/commitments", tag = "prove", request_body = CreateRequest, responses(
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
    let record = api.line.commitments.commit(stream, range, CommitmentOrigin::Client).await?;
    Ok(Json(record_json(&record)))
}

/// A stream's commitments, oldest first: those that are on no outside chain yet, or all.
#[utoipa::path(get, path = "/api/v1/ves/commitments", tag = "prove", params(ListQuery), responses(
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
    let commitments: Vec<Value> = records.iter().map(record_json).collect();
    Ok(Json(json!({ "count": commitments.len(), "commitments": commitments })))
}

/// One commitment.
#[utoipa::path(get, path = "/api/v1/ves/commitments/{batch_id}", tag = "prove",
    params(("batch_id" = String, Path, description = "The commitment")), responses(
    (status = 200, description = "The commitment", body = Object),
    (status = 404, description = "`BATCH_NOT_FOUND`")))]
pub(super) async fn get(
    State(api): State<Api>,
    principal: Principal,
    PathParams(batch_id): PathParams<BatchId>,
) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Read)?;
    Ok(Json(record_json(&readable(&api, &principal, batch_id).await?)))
}

/// The commitment, if the principal may read its stream.
pub(super) async fn readable(
    api: &Api,
    principal: &Principal,
    batch_id: BatchId,
) -> Result<CommitmentRecord, ApiError> {
    let record = api.line.commitments.get(batch_id).await?;
    // Whoever may not read the stream does not learn that the commitment exists.
    let record = record.filter(|record| principal.may_read(record.commitment.stream));
    record.ok_or_else(|| ApiError::new(Code::BatchNotFound, format!("there is no commitment {batch_id}")))
}

#[cfg(test)]
mod tests {
    use bowline_store::{AnchorMark, ChainPlace};
    use bowline_types::{EvmHash, Timestamp};
    use bowline_ves::{Commitment, Hash, Tree};

    use super::*;

    #[test]
    fn a_commitment_says_where_it_is_anchored() {
        let stream = StreamId::new(TenantId::from_bytes([1; 16]), StoreId::from_bytes([2; 16]));
        let tree = Tree::new(vec![Hash::new([3; 32])]);
        let moment = Timestamp::from_micros(1_750_000_000_000_000);
        let commitment =
            Commitment::seal(BatchId::from_bytes([4; 16]), stream, &tree, 1, 1, Hash::ZERO, moment).unwrap();
        let chain = ChainPlace { position: 1, ..ChainPlace::default() };
        let mut record =
            CommitmentRecord { commitment, origin: CommitmentOrigin::Client, chain, anchor: None };
        let fields = ["is_anchored", "chain_id", "chain_tx_hash", "chain_block_number", "anchored_at"];
        let shown = |record: &CommitmentRecord| {
            let json = record_json(record);
            fields.map(|field| json.get(field).cloned())
        };
        let null = Some(Value::Null);
        assert_eq!(
            shown(&record),
            [Some(json!(false)), null.clone(), null.clone(), null.clone(), null.clone()]
        );
        let tx_hash = Some(EvmHash::new([0xab; 32]));
        record.anchor =
            Some(AnchorMark { chain_id: 31_337, tx_hash, block_number: Some(9), anchored_at: moment });
        let hash = format!("0x{}", "ab".repeat(32));
        let expected = [json!(true), json!(31_337), json!(hash), json!(9), json!(moment)];
        assert_eq!(shown(&record), expected.map(Some));
        record.anchor = record.anchor.map(|mark| AnchorMark { tx_hash: None, block_number: None, ..mark });
        assert_eq!(shown(&record)[1..4], [Some(json!(31_337)), null.clone(), null]);
    }
}
