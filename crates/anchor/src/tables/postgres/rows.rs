//! Rows of sends, and the conditions that several statements share.
//! Nothing here decides: a row that can't be read is an error, never left out.

use bowline_types::{BatchId, EvmAddress, EvmHash, Timestamp};
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::tables::records::{AnchorSend, AnchorTarget, AnchorTransaction, MinedAt, SendOrigin, SendState};
use bowline_store::tables::postgres::{corrupt, evm_hash, moment, optional, unsigned};

/// That an `anchors` row called `a` is to the present target; null if there is none.
pub(crate) const TO_PRESENT: &str = "a.chain_id = (SELECT chain_id FROM anchor_targets ORDER BY turn DESC LIMIT 1) \
     AND a.contract = (SELECT contract FROM anchor_targets ORDER BY turn DESC LIMIT 1)";

/// What takes a commitment's mark away.
pub(crate) const NO_MARK: &str =
    "chain_id = NULL, chain_tx_hash = NULL, chain_block_number = NULL, anchored_at = NULL";

/// The row by which a send to the present target holds the commitment `ves_commitments`, or null. The planner can't
/// make a join of it: it would read all anchors for a few commitments.
fn held_by() -> String {
    format!(
        "(SELECT a.send_id FROM anchors a
          WHERE {TO_PRESENT} AND a.batch_id = ves_commitments.batch_id AND NOT a.void LIMIT 1)"
    )
}

/// That a commitment is pending.
pub(crate) fn is_pending() -> String {
    format!("ves_commitments.anchored_at IS NULL AND {} IS NULL", held_by())
}

/// That a commitment is anchored on the present target.
pub(crate) fn is_anchored() -> String {
    format!("ves_commitments.anchored_at IS NOT NULL AND {} IS NOT NULL", held_by())
}

/// That the send `s` holds the commitment `ves_commitments` by the row `a`: it is under way, or gave the mark.
pub(crate) fn holds() -> String {
    format!(
        "NOT a.void AND ({TO_PRESENT} OR ves_commitments.anchored_at IS NOT NULL AND s.origin = 'reported'
             AND s.chain_id = ves_commitments.chain_id AND s.tx_hash = ves_commitments.chain_tx_hash)"
    )
}

/// How much of a send is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    Whole,
    /// Without its call and the raw bytes of its transactions.
    Outline,
}

/// A query of whole sends in one statement, which [`send`] reads; `rest` follows `FROM anchor_sends s`.
pub(crate) fn select_sends(depth: Depth, rest: &str) -> String {
    let bytes = |column: &'static str| if depth == Depth::Whole { column } else { "''::bytea" };
    let of_transactions = |what: &str, name: &str| {
        format!(
            "ARRAY(SELECT {what} FROM anchor_transactions t WHERE t.send_id = s.send_id ORDER BY t.ordinal) AS {name}"
        )
    };
    let (hashes, raws) = (of_transactions("t.tx_hash", "tx_hashes"), of_transactions(bytes("t.raw"), "raws"));
    let (fees, tips) = (of_transactions("t.fee_max", "fees"), of_transactions("t.tip", "tips"));
    format!(
        "SELECT s.send_id, s.chain_id, s.contract, s.origin, s.sender, s.nonce, {} AS call_data, s.gas_limit, s.state,
                s.created_at, s.tx_hash, s.block_number, s.block_hash, s.gas_used, s.gas_price, s.settled_at, s.reason,
                ARRAY(SELECT a.batch_id FROM anchors a WHERE a.send_id = s.send_id ORDER BY a.ordinal) AS batch_ids,
                {hashes}, {raws}, {fees}, {tips}, {}
         FROM anchor_sends s {rest}",
        bytes("s.call"),
        of_transactions("t.recorded_at", "recorded"),
    )
}

pub(crate) fn send(row: &PgRow) -> sqlx::Result<AnchorSend> {
    Ok(AnchorSend {
        send_id: row.try_get("send_id")?,
        target: AnchorTarget { chain_id: unsigned(row, "chain_id")?, contract: address(row, "contract")? },
        origin: word(row, "origin", SendOrigin::parse)?,
        sender: address(row, "sender")?,
        nonce: optional(row, "nonce")?,
        call: row.try_get("call_data")?,
        gas_limit: unsigned(row, "gas_limit")?,
        state: word(row, "state", SendState::parse)?,
        created_at: moment(row, "created_at")?,
        mined: mined(row)?,
        settled_at: row.try_get::<Option<_>, _>("settled_at")?.map(Timestamp::from_chrono),
        reason: row.try_get("reason")?,
        transactions: transactions(row)?,
        batch_ids: row.try_get::<Vec<Uuid>, _>("batch_ids")?.into_iter().map(BatchId::new).collect(),
    })
}

fn mined(row: &PgRow) -> sqlx::Result<Option<MinedAt>> {
    let Some(block_number) = optional(row, "block_number")? else { return Ok(None) };
    let gas_price: Option<String> = row.try_get("gas_price")?;
    Ok(Some(MinedAt {
        tx_hash: evm_hash(row, "tx_hash")?,
        block_number,
        block_hash: evm_hash(row, "block_hash")?,
        gas_used: optional(row, "gas_used")?,
        gas_price: gas_price.map(|text| wei(&text, "gas_price")).transpose()?,
    }))
}

fn transactions(row: &PgRow) -> sqlx::Result<Vec<AnchorTransaction>> {
    let (hashes, raws): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (row.try_get("tx_hashes")?, row.try_get("raws")?);
    let (fees, tips): (Vec<String>, Vec<String>) = (row.try_get("fees")?, row.try_get("tips")?);
    let recorded: Vec<DateTime<Utc>> = row.try_get("recorded")?;
    let wei_of_both = fees.iter().zip(&tips);
    let fields = hashes.iter().zip(raws).zip(wei_of_both).zip(recorded);
    fields
        .map(|(((hash, raw), (fee_max, tip)), at)| {
            let hash = hash.as_slice().try_into().map_err(|_| corrupt("tx_hashes", "not 32 bytes"))?;
            Ok(AnchorTransaction {
                tx_hash: EvmHash::new(hash),
                raw,
                fee_max: wei(fee_max, "fees")?,
                tip: wei(tip, "tips")?,
                recorded_at: Timestamp::from_chrono(at),
            })
        })
        .collect()
}

fn wei(text: &str, column: &str) -> sqlx::Result<u128> {
    text.parse().map_err(|_| corrupt(column, "no amount"))
}

pub(crate) fn address(row: &PgRow, column: &str) -> sqlx::Result<EvmAddress> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map(EvmAddress::new).map_err(|_| corrupt(column, "not 20 bytes"))
}

/// A word that no version of this store writes is corruption.
pub(crate) fn word<T>(row: &PgRow, column: &str, parse: fn(&str) -> Option<T>) -> sqlx::Result<T> {
    parse(row.try_get(column)?).ok_or_else(|| corrupt(column, "no word of anchors"))
}
