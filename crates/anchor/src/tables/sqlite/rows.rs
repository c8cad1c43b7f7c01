//! Rows of sends, and the conditions that several statements share.
//! Nothing here decides: a row that can't be read is an error, never left out.

use bowline_types::{BatchId, EvmAddress, EvmHash, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row};
use uuid::Uuid;

use crate::tables::records::{AnchorSend, AnchorTarget, AnchorTransaction, MinedAt, SendOrigin, SendState};
use bowline_store::StoreError;
use bowline_store::tables::sqlite::Failure;
use bowline_store::tables::sqlite::{Fixed, fixed, moment, optional, unsigned};

/// That an `anchors` row called `a` is to the present target; null if there is none.
pub(crate) const TO_PRESENT: &str = "a.chain_id = (SELECT chain_id FROM anchor_targets ORDER BY turn DESC LIMIT 1) \
     AND a.contract = (SELECT contract FROM anchor_targets ORDER BY turn DESC LIMIT 1)";

/// What takes a commitment's mark away.
pub(crate) const NO_MARK: &str =
    "chain_id = NULL, chain_tx_hash = NULL, chain_block_number = NULL, anchored_at = NULL";

const COLUMNS: &str = "send_id, chain_id, contract, origin, sender, nonce, call, gas_limit, state, created_at, tx_hash, \
     block_number, block_hash, gas_used, gas_price, settled_at, reason";

/// That a commitment is pending.
pub(crate) fn is_pending() -> String {
    format!(
        "ves_commitments.anchored_at IS NULL AND NOT EXISTS (
             SELECT 1 FROM anchors a WHERE {TO_PRESENT} AND a.batch_id = ves_commitments.batch_id AND a.void = 0)"
    )
}

/// That the send `s` holds the commitment `ves_commitments` by the row `a`: it is under way, or gave the mark.
pub(crate) fn holds() -> String {
    format!(
        "a.void = 0 AND ({TO_PRESENT} OR ves_commitments.anchored_at IS NOT NULL AND s.origin = 'reported'
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

/// The send, if it is there.
pub(crate) fn send(
    connection: &Connection,
    send_id: Uuid,
    depth: Depth,
) -> Result<Option<AnchorSend>, Failure> {
    let sql = format!("SELECT {COLUMNS} FROM anchor_sends WHERE send_id = ?1");
    let found = connection
        .prepare_cached(&sql)?
        .query_row([send_id.as_bytes()], |row| outline(row, depth))
        .optional()?;
    let Some(mut send) = found else { return Ok(None) };
    send.transactions = transactions(connection, send_id, depth)?;
    send.batch_ids = batch_ids(connection, send_id)?;
    Ok(Some(send))
}

/// The sends whose ids a statement gives.
pub(crate) fn sends(
    connection: &Connection,
    ids: impl Iterator<Item = rusqlite::Result<Fixed<16>>>,
) -> Result<Vec<AnchorSend>, Failure> {
    let ids = ids.collect::<rusqlite::Result<Vec<_>>>()?;
    ids.into_iter()
        .filter_map(|id| send(connection, Uuid::from_bytes(id.0), Depth::Whole).transpose())
        .collect()
}

fn transactions(
    connection: &Connection,
    send_id: Uuid,
    depth: Depth,
) -> Result<Vec<AnchorTransaction>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT tx_hash, CASE WHEN ?2 THEN raw ELSE x'' END, fee_max, tip, recorded_at
         FROM anchor_transactions WHERE send_id = ?1 ORDER BY ordinal",
    )?;
    let rows = statement.query_map((send_id.as_bytes(), depth == Depth::Whole), |row| {
        Ok(AnchorTransaction {
            tx_hash: EvmHash::new(fixed(row, 0)?),
            raw: row.get(1)?,
            fee_max: wei(row, 2)?.unwrap_or_default(),
            tip: wei(row, 3)?.unwrap_or_default(),
            recorded_at: moment(row, 4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn batch_ids(connection: &Connection, send_id: Uuid) -> Result<Vec<BatchId>, Failure> {
    let mut statement =
        connection.prepare_cached("SELECT batch_id FROM anchors WHERE send_id = ?1 ORDER BY ordinal")?;
    let rows = statement.query_map([send_id.as_bytes()], |row| fixed(row, 0).map(BatchId::from_bytes))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn outline(row: &Row<'_>, depth: Depth) -> rusqlite::Result<AnchorSend> {
    let whole = depth == Depth::Whole;
    Ok(AnchorSend {
        send_id: Uuid::from_bytes(fixed(row, 0)?),
        target: AnchorTarget { chain_id: unsigned(row, 1)?, contract: EvmAddress::new(fixed(row, 2)?) },
        origin: word(row, 3, SendOrigin::parse)?,
        sender: EvmAddress::new(fixed(row, 4)?),
        nonce: optional(row, 5)?,
        call: if whole { row.get(6)? } else { Vec::new() },
        gas_limit: unsigned(row, 7)?,
        state: word(row, 8, SendState::parse)?,
        created_at: moment(row, 9)?,
        mined: mined(row)?,
        settled_at: row.get::<_, Option<i64>>(15)?.map(Timestamp::from_micros),
        reason: row.get(16)?,
        transactions: Vec::new(),
        batch_ids: Vec::new(),
    })
}

fn mined(row: &Row<'_>) -> rusqlite::Result<Option<MinedAt>> {
    let Some(block_number) = optional(row, 11)? else { return Ok(None) };
    Ok(Some(MinedAt {
        tx_hash: hash(row, 10)?,
        block_number,
        block_hash: hash(row, 12)?,
        gas_used: optional(row, 13)?,
        gas_price: wei(row, 14)?,
    }))
}

fn hash(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<EvmHash>> {
    Ok(row.get::<_, Option<Fixed<32>>>(column)?.map(|hash| EvmHash::new(hash.0)))
}

/// A word that no version of this store writes is corruption.
pub(crate) fn word<T>(row: &Row<'_>, column: usize, parse: fn(&str) -> Option<T>) -> rusqlite::Result<T> {
    let word: String = row.get(column)?;
    parse(&word).ok_or_else(|| unreadable(column, format!("`{word}` is no word of anchors")))
}

fn wei(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u128>> {
    let Some(text) = row.get::<_, Option<String>>(column)? else { return Ok(None) };
    text.parse().map(Some).map_err(|_| unreadable(column, format!("`{text}` is no amount")))
}

fn unreadable(column: usize, problem: String) -> rusqlite::Error {
    let problem = StoreError::Internal(problem);
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, problem.into())
}
