//! A commitment as clients read it, wherever it is given: by the line's routes, or by those of a subsystem that acts on it.
//!
//! It renders a row of the store, and decides nothing.

use bowline_store::CommitmentRecord;
use serde_json::{Value, json};

/// The commitment, who asked for it, whether it was corrected, and where it is on an outside chain.
pub fn commitment_json(record: &CommitmentRecord) -> Value {
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

#[cfg(test)]
mod tests {
    use bowline_store::{AnchorMark, ChainPlace, CommitmentOrigin};
    use bowline_types::{BatchId, EvmHash, StoreId, StreamId, TenantId, Timestamp};
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
            let json = commitment_json(record);
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
