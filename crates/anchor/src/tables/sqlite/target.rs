//! The contract that anchors go to, and the streams that it refuses.
//! Whether an address is the right one is not known here, only which one was chosen.

use bowline_types::{BatchId, EvmAddress, StreamId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::rows::NO_MARK;
use crate::tables::outbox::{OTHER_TARGET, chain_column, no_stream};
use crate::tables::records::{AnchorBlock, AnchorTarget};
use bowline_store::tables::sqlite::Failure;
use bowline_store::tables::sqlite::{fixed, moment, signed, stream_columns, stream_no, unsigned};

/// The one that was chosen last.
pub(crate) fn present(connection: &Connection) -> Result<Option<AnchorTarget>, Failure> {
    let found = connection
        .prepare_cached("SELECT chain_id, contract FROM anchor_targets ORDER BY turn DESC LIMIT 1")?
        .query_row((), |row| {
            Ok(AnchorTarget { chain_id: unsigned(row, 0)?, contract: EvmAddress::new(fixed(row, 1)?) })
        })
        .optional()?;
    Ok(found)
}

/// Chooses it; returns whether another one was chosen before.
pub(crate) fn choose(
    transaction: &Transaction<'_>,
    target: AnchorTarget,
    now: Timestamp,
) -> Result<bool, Failure> {
    let before = present(transaction)?;
    if before == Some(target) {
        return Ok(false);
    }
    let chain_id = chain_column(target.chain_id)?;
    transaction.execute(
        "INSERT INTO anchor_targets (chain_id, contract, turn, chosen_at)
         SELECT ?1, ?2, coalesce(max(turn), 0) + 1, ?3 FROM anchor_targets WHERE true
         ON CONFLICT (chain_id, contract) DO UPDATE SET turn = excluded.turn, chosen_at = excluded.chosen_at",
        (chain_id, target.contract.as_bytes(), now.micros()),
    )?;
    // Before the first one was chosen there may be marks of anchors that somebody else made and reported.
    leave(transaction, before.unwrap_or(target), now)?;
    arrive(transaction, target)?;
    Ok(before.is_some())
}

/// Voids what is under way to the old target, and takes every mark away.
fn leave(transaction: &Transaction<'_>, old: AnchorTarget, now: Timestamp) -> Result<(), Failure> {
    let (chain_id, contract) = (signed(old.chain_id), old.contract);
    transaction.execute(
        "UPDATE anchors SET void = 1 WHERE void = 0 AND send_id IN (
             SELECT send_id FROM anchor_sends
             WHERE state IN ('open', 'mined') AND chain_id = ?1 AND contract = ?2)",
        (chain_id, contract.as_bytes()),
    )?;
    transaction.execute(
        "UPDATE anchor_sends SET state = 'void', reason = ?3, settled_at = ?4
         WHERE state IN ('open', 'mined') AND chain_id = ?1 AND contract = ?2",
        (chain_id, contract.as_bytes(), OTHER_TARGET, now.micros()),
    )?;
    transaction.execute("DELETE FROM anchor_blocks", ())?;
    let unmark = format!("UPDATE ves_commitments SET {NO_MARK} WHERE anchored_at IS NOT NULL");
    transaction.execute(&unmark, ())?;
    Ok(())
}

/// Marks what is anchored on the new target.
fn arrive(transaction: &Transaction<'_>, new: AnchorTarget) -> Result<(), Failure> {
    transaction.execute(
        "UPDATE ves_commitments SET chain_id = s.chain_id, chain_tx_hash = s.tx_hash,
             chain_block_number = s.block_number, anchored_at = s.settled_at
         FROM anchors a JOIN anchor_sends s USING (send_id)
         WHERE a.batch_id = ves_commitments.batch_id AND a.chain_id = ?1 AND a.contract = ?2 AND a.void = 0
           AND s.state = 'anchored'",
        (signed(new.chain_id), new.contract.as_bytes()),
    )?;
    Ok(())
}

pub(crate) fn block(transaction: &Transaction<'_>, block: &AnchorBlock) -> Result<(), Failure> {
    let number = stream_no(transaction, block.stream)?.ok_or_else(|| no_stream(block))?;
    transaction.execute(
        "INSERT INTO anchor_blocks VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
        (number, block.batch_id.as_bytes(), &block.code, &block.message, block.since.micros()),
    )?;
    Ok(())
}

/// Returns how many there were.
pub(crate) fn unblock(transaction: &Transaction<'_>, stream: Option<StreamId>) -> Result<u64, Failure> {
    let removed = match stream {
        None => transaction.execute("DELETE FROM anchor_blocks", ())?,
        Some(stream) => match stream_no(transaction, stream)? {
            Some(number) => {
                transaction.execute("DELETE FROM anchor_blocks WHERE stream_no = ?1", [number])?
            }
            None => 0,
        },
    };
    Ok(removed as u64)
}

pub(crate) fn blocks(connection: &Connection, limit: usize) -> Result<Vec<AnchorBlock>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT tenant_id, store_id, batch_id, code, message, since
         FROM anchor_blocks JOIN streams USING (stream_no) ORDER BY since, tenant_id, store_id LIMIT ?1",
    )?;
    let blocks = statement.query_map([signed(limit as u64)], |row| {
        Ok(AnchorBlock {
            stream: stream_columns(row, 0)?,
            batch_id: BatchId::from_bytes(fixed(row, 2)?),
            code: row.get(3)?,
            message: row.get(4)?,
            since: moment(row, 5)?,
        })
    })?;
    Ok(blocks.collect::<Result<_, _>>()?)
}
