//! Commitments: inserted only at the end of their stream's chain, never changed and never deleted.
//!
//! The check and the insert are one transaction on the thread that writes.

use bowline_types::{BatchId, StreamId};
use bowline_ves::{Commitment, Hash};
use rusqlite::{Connection, OptionalExtension, Params, TransactionBehavior};

use super::pool::Failure;
use super::rows::{COMMITMENT_COLUMNS, commitment, signed, stream_no, stream_of, unsigned};
use crate::records::beyond_head;
use crate::{CommitmentFilter, CommitmentOrigin, CommitmentRecord, InsertCommitment};

pub(super) fn insert(
    connection: &mut Connection,
    new: &Commitment,
    upper_levels: &[u8],
    origin: CommitmentOrigin,
) -> Result<InsertCommitment, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let Some(number) = stream_no(&transaction, new.stream)? else { return Err(beyond_head(new, 0).into()) };
    let follows = match last(&transaction, new.stream)? {
        Some(last) => {
            last.commitment.sequence_end + 1 == new.sequence_start
                && last.commitment.new_state_root == new.prev_state_root
        }
        None => new.prev_state_root == Hash::ZERO,
    };
    if !follows {
        return Ok(InsertCommitment::Superseded);
    }
    let head = transaction
        .prepare_cached("SELECT current_sequence FROM sequence_counters WHERE stream_no = ?1")?
        .query_row([number], |row| unsigned(row, 0))?;
    if new.sequence_end > head {
        return Err(beyond_head(new, head).into());
    }
    let sql = format!(
        "INSERT INTO ves_commitments (stream_no, upper_levels, {COMMITMENT_COLUMNS}) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
    );
    transaction.prepare_cached(&sql)?.execute(rusqlite::params![
        number,
        upper_levels,
        new.batch_id.as_bytes(),
        new.ves_version,
        new.tree_depth,
        new.leaf_count,
        new.padded_leaf_count,
        new.merkle_root.as_bytes(),
        new.prev_state_root.as_bytes(),
        new.new_state_root.as_bytes(),
        signed(new.sequence_start),
        signed(new.sequence_end),
        new.committed_at.micros(),
        origin.as_str(),
    ])?;
    transaction.commit()?;
    Ok(InsertCommitment::Inserted)
}

pub(super) fn by_id(connection: &Connection, batch_id: BatchId) -> Result<Option<CommitmentRecord>, Failure> {
    let number: Option<i64> = connection
        .prepare_cached("SELECT stream_no FROM ves_commitments WHERE batch_id = ?1")?
        .query_row([batch_id.as_bytes()], |row| row.get(0))
        .optional()?;
    let Some(number) = number else { return Ok(None) };
    let stream = stream_of(connection, number)?;
    one(connection, stream, "batch_id = ?1", [batch_id.as_bytes()])
}

pub(super) fn last(connection: &Connection, stream: StreamId) -> Result<Option<CommitmentRecord>, Failure> {
    let Some(number) = stream_no(connection, stream)? else { return Ok(None) };
    one(connection, stream, "stream_no = ?1 ORDER BY sequence_start DESC LIMIT 1", [number])
}

pub(super) fn covering(
    connection: &Connection,
    stream: StreamId,
    sequence_number: u64,
) -> Result<Option<CommitmentRecord>, Failure> {
    let Some(number) = stream_no(connection, stream)? else { return Ok(None) };
    let condition = "stream_no = ?1 AND sequence_start <= ?2 ORDER BY sequence_start DESC LIMIT 1";
    let found = one(connection, stream, condition, (number, signed(sequence_number)))?;
    Ok(found.filter(|record| record.commitment.sequence_end >= sequence_number))
}

pub(super) fn list(
    connection: &Connection,
    filter: CommitmentFilter,
) -> Result<Vec<CommitmentRecord>, Failure> {
    let Some(number) = stream_no(connection, filter.stream)? else { return Ok(Vec::new()) };
    let sql = format!(
        "SELECT {COMMITMENT_COLUMNS} FROM ves_commitments
         WHERE stream_no = ?1 AND sequence_start >= ?2 ORDER BY sequence_start LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map((number, signed(filter.from), signed(filter.limit as u64)), |row| {
        commitment(row, filter.stream)
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn upper_levels(connection: &Connection, batch_id: BatchId) -> Result<Option<Vec<u8>>, Failure> {
    let found = connection
        .prepare_cached("SELECT upper_levels FROM ves_commitments WHERE batch_id = ?1")?
        .query_row([batch_id.as_bytes()], |row| row.get(0))
        .optional()?;
    Ok(found)
}

fn one<P: Params>(
    connection: &Connection,
    stream: StreamId,
    condition: &str,
    values: P,
) -> Result<Option<CommitmentRecord>, Failure> {
    let sql = format!("SELECT {COMMITMENT_COLUMNS} FROM ves_commitments WHERE {condition}");
    let found =
        connection.prepare_cached(&sql)?.query_row(values, |row| commitment(row, stream)).optional()?;
    Ok(found)
}
