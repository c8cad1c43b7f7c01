//! Sends: recorded, changed, reported, and the marks that follow from them.
//! Whether a change fits is decided by `outbox`, for both stores alike; nothing here asks a chain.

use bowline_types::{BatchId, EvmHash, StreamId, Timestamp};
use rusqlite::{OptionalExtension, Transaction, params};
use uuid::Uuid;

use super::rows::{NO_MARK, TO_PRESENT, holds, word};
use super::target::present;
use crate::tables::outbox::{
    Reportable, answer, applies, chain_column, check_new, no_send, reported_send, unfit,
};
use crate::tables::records::{
    AnchorSend, AnchorTransaction, MinedAt, ReportOutcome, ReportedAnchor, SendChange, SendState,
};
use bowline_store::tables::sqlite::Failure;
use bowline_store::tables::sqlite::commitment_by_id as by_id;
use bowline_store::tables::sqlite::{Fixed, signed, stream_no};

pub(crate) fn record(transaction: &Transaction<'_>, send: &AnchorSend) -> Result<(), Failure> {
    check_new(send, present(transaction)?)?;
    insert(transaction, send)?;
    for new in &send.transactions {
        sign(transaction, send.send_id, new)?;
    }
    let mut is_free = transaction
        .prepare_cached("SELECT 1 FROM ves_commitments WHERE batch_id = ?1 AND anchored_at IS NULL")?;
    for (fit, batch_id) in send.batch_ids.iter().enumerate() {
        if !is_free.exists([batch_id.as_bytes()])? {
            return Err(unfit(send, fit as u64).into());
        }
        hold(transaction, send, fit, *batch_id)?;
    }
    Ok(())
}

fn insert(transaction: &Transaction<'_>, send: &AnchorSend) -> Result<(), Failure> {
    let mined = send.mined;
    transaction
        .prepare_cached(
            "INSERT INTO anchor_sends VALUES (
                 ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        )?
        .execute(params![
            send.send_id.as_bytes(),
            chain_column(send.target.chain_id)?,
            send.target.contract.as_bytes(),
            send.origin.as_str(),
            send.sender.as_bytes(),
            send.nonce.map(signed),
            send.call,
            signed(send.gas_limit),
            send.state.as_str(),
            send.created_at.micros(),
            mined.and_then(|at| at.tx_hash).as_ref().map(EvmHash::as_bytes),
            mined.map(|at| signed(at.block_number)),
            mined.and_then(|at| at.block_hash).as_ref().map(EvmHash::as_bytes),
            mined.and_then(|at| at.gas_used).map(signed),
            mined.and_then(|at| at.gas_price).map(|price| price.to_string()),
            send.settled_at.map(Timestamp::micros),
            send.reason,
        ])?;
    Ok(())
}

fn hold(
    transaction: &Transaction<'_>,
    send: &AnchorSend,
    ordinal: usize,
    batch_id: BatchId,
) -> Result<(), Failure> {
    let (target, ordinal) = (send.target, signed(ordinal as u64));
    transaction.prepare_cached("INSERT INTO anchors VALUES (?1, ?2, ?3, ?4, ?5, 0)")?.execute(params![
        send.send_id.as_bytes(),
        batch_id.as_bytes(),
        signed(target.chain_id),
        target.contract.as_bytes(),
        ordinal,
    ])?;
    Ok(())
}

fn sign(transaction: &Transaction<'_>, send_id: Uuid, new: &AnchorTransaction) -> Result<(), Failure> {
    transaction
        .prepare_cached(
            "INSERT INTO anchor_transactions
             SELECT ?1, ?2, count(*), ?3, ?4, ?5, ?6 FROM anchor_transactions WHERE send_id = ?2",
        )?
        .execute(params![
            new.tx_hash.as_bytes(),
            send_id.as_bytes(),
            new.raw,
            new.fee_max.to_string(),
            new.tip.to_string(),
            new.recorded_at.micros(),
        ])?;
    Ok(())
}

pub(crate) fn change(
    transaction: &Transaction<'_>,
    send_id: Uuid,
    change: &SendChange,
    now: Timestamp,
) -> Result<(), Failure> {
    let state = transaction
        .prepare_cached("SELECT state FROM anchor_sends WHERE send_id = ?1")?
        .query_row([send_id.as_bytes()], |row| word(row, 0, SendState::parse))
        .optional()?
        .ok_or_else(|| no_send(send_id))?;
    if !applies(send_id, state, change)? {
        return Ok(());
    }
    match change {
        SendChange::Replaced(new) => sign(transaction, send_id, new),
        SendChange::Mined(at) => set_mined(transaction, send_id, SendState::Mined, Some(*at)),
        SendChange::Reopened => set_mined(transaction, send_id, SendState::Open, None),
        SendChange::Anchored => settle(transaction, send_id, now),
        SendChange::Void(reason) => void(transaction, send_id, reason, now),
    }
}

fn set_mined(
    transaction: &Transaction<'_>,
    send_id: Uuid,
    state: SendState,
    mined: Option<MinedAt>,
) -> Result<(), Failure> {
    transaction
        .prepare_cached(
            "UPDATE anchor_sends SET state = ?2, tx_hash = ?3, block_number = ?4, block_hash = ?5, gas_used = ?6,
                 gas_price = ?7
             WHERE send_id = ?1",
        )?
        .execute(params![
            send_id.as_bytes(),
            state.as_str(),
            mined.and_then(|at| at.tx_hash).as_ref().map(EvmHash::as_bytes),
            mined.map(|at| signed(at.block_number)),
            mined.and_then(|at| at.block_hash).as_ref().map(EvmHash::as_bytes),
            mined.and_then(|at| at.gas_used).map(signed),
            mined.and_then(|at| at.gas_price).map(|price| price.to_string()),
        ])?;
    Ok(())
}

/// Marks its commitments, and drops what nobody will send again.
fn settle(transaction: &Transaction<'_>, send_id: Uuid, now: Timestamp) -> Result<(), Failure> {
    let values = (send_id.as_bytes(), now.micros());
    transaction.execute(
        "UPDATE anchor_sends SET state = 'anchored', settled_at = ?2, call = x'' WHERE send_id = ?1",
        values,
    )?;
    transaction.execute("DELETE FROM anchor_transactions WHERE send_id = ?1", [send_id.as_bytes()])?;
    transaction.execute(
        "UPDATE ves_commitments SET chain_id = s.chain_id, chain_tx_hash = s.tx_hash,
             chain_block_number = s.block_number, anchored_at = s.settled_at
         FROM anchor_sends s
         WHERE s.send_id = ?1
           AND ves_commitments.batch_id IN (SELECT batch_id FROM anchors WHERE send_id = ?1 AND void = 0)",
        [send_id.as_bytes()],
    )?;
    Ok(())
}

fn void(transaction: &Transaction<'_>, send_id: Uuid, reason: &str, now: Timestamp) -> Result<(), Failure> {
    transaction.execute(
        "UPDATE anchor_sends SET state = 'void', settled_at = ?2, reason = ?3 WHERE send_id = ?1",
        (send_id.as_bytes(), now.micros(), reason),
    )?;
    transaction.execute("UPDATE anchors SET void = 1 WHERE send_id = ?1", [send_id.as_bytes()])?;
    // What it was stays to be seen; nobody sends its bytes again.
    transaction.execute("UPDATE anchor_sends SET call = x'' WHERE send_id = ?1", [send_id.as_bytes()])?;
    transaction
        .execute("UPDATE anchor_transactions SET raw = x'' WHERE send_id = ?1", [send_id.as_bytes()])?;
    Ok(())
}

/// Takes marks away, and with them the rows that gave them.
pub(crate) fn unmark(
    transaction: &Transaction<'_>,
    stream: StreamId,
    after: u64,
    reason: &str,
    now: Timestamp,
) -> Result<u64, Failure> {
    let Some(number) = stream_no(transaction, stream)? else { return Ok(0) };
    let lost = "stream_no = ?1 AND chain_position > ?2 AND anchored_at IS NOT NULL";
    let (after, holds) = (signed(after), holds());
    transaction.execute(
        &format!(
            "UPDATE anchors SET void = 1 WHERE (send_id, batch_id) IN (
                 SELECT a.send_id, a.batch_id FROM ves_commitments JOIN anchors a USING (batch_id)
                 JOIN anchor_sends s USING (send_id) WHERE {lost} AND {holds})"
        ),
        (number, after),
    )?;
    transaction.execute(
        &format!(
            "UPDATE anchor_sends SET state = 'void', reason = ?3, settled_at = ?4
             WHERE state = 'anchored' AND send_id IN (
                 SELECT a.send_id FROM ves_commitments JOIN anchors a USING (batch_id) WHERE {lost} AND a.void = 1)
             AND NOT EXISTS (SELECT 1 FROM anchors a WHERE a.send_id = anchor_sends.send_id AND a.void = 0)"
        ),
        (number, after, reason, now.micros()),
    )?;
    let unmark = format!("UPDATE ves_commitments SET {NO_MARK} WHERE {lost}");
    Ok(transaction.execute(&unmark, (number, after))? as u64)
}

pub(crate) fn report(
    transaction: &Transaction<'_>,
    report: &ReportedAnchor,
    now: Timestamp,
) -> Result<ReportOutcome, Failure> {
    let chain_id = chain_column(report.chain_id)?;
    let Some(record) = by_id(transaction, report.batch_id)? else { return Ok(ReportOutcome::NoCommitment) };
    let held = format!("SELECT 1 FROM anchors a WHERE a.batch_id = ?1 AND a.void = 0 AND {TO_PRESENT}");
    let earlier: Option<Option<Fixed<32>>> = transaction
        .prepare_cached(
            "SELECT s.tx_hash FROM anchors a JOIN anchor_sends s USING (send_id)
             WHERE a.chain_id = ?1 AND a.contract = zeroblob(20) AND a.batch_id = ?2 AND a.void = 0",
        )?
        .query_row((chain_id, report.batch_id.as_bytes()), |row| row.get(0))
        .optional()?;
    let known = Reportable {
        mark: record.anchor,
        is_held: transaction.prepare_cached(&held)?.exists([report.batch_id.as_bytes()])?,
        earlier: earlier.map(|tx_hash| tx_hash.map(|hash| EvmHash::new(hash.0))),
    };
    if let Some(outcome) = answer(&known, report) {
        return Ok(outcome);
    }
    if known.earlier.is_none() {
        write_report(transaction, report, now)?;
    }
    transaction.execute(
        "UPDATE ves_commitments SET chain_id = ?2, chain_tx_hash = ?3, chain_block_number = ?4, anchored_at = ?5
         WHERE batch_id = ?1",
        params![
            report.batch_id.as_bytes(),
            chain_id,
            report.tx_hash.as_bytes(),
            report.block_number.map(signed),
            now.micros(),
        ],
    )?;
    Ok(ReportOutcome::Recorded)
}

fn write_report(
    transaction: &Transaction<'_>,
    report: &ReportedAnchor,
    now: Timestamp,
) -> Result<(), Failure> {
    let send = reported_send(report, now);
    insert(transaction, &send)?;
    hold(transaction, &send, 0, report.batch_id)?;
    transaction.execute(
        "UPDATE anchor_sends SET tx_hash = ?2, block_number = ?3, gas_used = ?4 WHERE send_id = ?1",
        params![
            send.send_id.as_bytes(),
            report.tx_hash.as_bytes(),
            report.block_number.map(signed),
            report.gas_used.map(signed),
        ],
    )?;
    Ok(())
}
