//! Commitments: inserted only at the end of their stream's chain, never deleted, and never changed but for the
//! mark that says which correction replaces one.
//!
//! The check and the insert are one transaction on the thread that writes.

use async_trait::async_trait;
use bowline_types::{BatchId, StreamId};
use bowline_ves::{Commitment, Hash};
use rusqlite::{Connection, OptionalExtension, Params, Transaction, TransactionBehavior};

use crate::commitments::records::{beyond_head, corrects_nothing};
use crate::sqlite::SqliteStore;
use crate::sqlite::pool::Failure;
use crate::sqlite::rows::{
    COMMITMENT_COLUMNS, COMMITMENT_MARKS, commitment, signed, stream_no, stream_of, unsigned,
};
use crate::{
    ChainQuery, CommitmentFilter, CommitmentOrigin, CommitmentRecord, CommitmentStore, CorrectionStore,
    InsertCommitment, NewCorrection, StoreError, metrics,
};

pub(crate) fn insert(
    connection: &mut Connection,
    new: &Commitment,
    upper_levels: &[u8],
    origin: CommitmentOrigin,
) -> Result<InsertCommitment, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let Some(number) = stream_no(&transaction, new.stream)? else { return Err(beyond_head(new, 0).into()) };
    let last = last(&transaction, new.stream)?;
    let follows = match &last {
        Some(last) => {
            committed_end(&transaction, number)? + 1 == new.sequence_start
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
    let position = last.map_or(0, |last| last.chain.position) + 1;
    write(&transaction, number, &Row { new, upper_levels, origin, position, metadata: None })?;
    transaction.commit()?;
    Ok(InsertCommitment::Inserted)
}

/// Inserts a correction behind the last commitment, and marks what it corrects.
pub(crate) fn insert_correction(
    connection: &mut Connection,
    new: &NewCorrection,
) -> Result<InsertCommitment, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let commitment = &new.commitment;
    let wrong = commitment.corrects.map(|id| by_id(&transaction, id)).transpose()?.flatten();
    let wrong = wrong.filter(|wrong| wrong.commitment.same_range(commitment));
    let (Some(wrong), Some(number)) = (wrong, stream_no(&transaction, commitment.stream)?) else {
        return Err(corrects_nothing(commitment).into());
    };
    let last = last(&transaction, commitment.stream)?;
    let follows = last.as_ref().filter(|last| last.commitment.new_state_root == commitment.prev_state_root);
    let (Some(last), None) = (follows, wrong.chain.corrected_by) else {
        return Ok(InsertCommitment::Superseded);
    };
    transaction.execute(
        "UPDATE ves_commitments
         SET metadata = json_set(coalesce(metadata, '{}'), '$.corrected_by', ?2, '$.reason', ?3) WHERE batch_id = ?1",
        (wrong.commitment.batch_id.as_bytes(), commitment.batch_id.to_string(), &new.reason),
    )?;
    let row = Row {
        new: commitment,
        upper_levels: &new.upper_levels,
        origin: new.origin,
        position: last.chain.position + 1,
        metadata: Some((wrong.commitment.batch_id, &new.reason)),
    };
    write(&transaction, number, &row)?;
    transaction.commit()?;
    Ok(InsertCommitment::Inserted)
}

/// What is written of a commitment; with `metadata` it is a correction of that one, for that reason.
struct Row<'a> {
    new: &'a Commitment,
    upper_levels: &'a [u8],
    origin: CommitmentOrigin,
    position: u64,
    metadata: Option<(BatchId, &'a str)>,
}

fn write(transaction: &Transaction<'_>, stream_no: i64, row: &Row<'_>) -> Result<(), Failure> {
    let Row { new, upper_levels, origin, position, metadata } = row;
    let sql = format!(
        "INSERT INTO ves_commitments (stream_no, upper_levels, {COMMITMENT_COLUMNS}, metadata)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
                 CASE WHEN ?17 IS NULL THEN NULL ELSE json_object('corrects', ?17, 'reason', ?18) END)"
    );
    transaction.prepare_cached(&sql)?.execute(rusqlite::params![
        stream_no,
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
        new.corrects.as_ref().map(|id| id.as_bytes()),
        signed(*position),
        metadata.map(|(corrects, _)| corrects.to_string()),
        metadata.map(|(_, reason)| reason),
    ])?;
    Ok(())
}

/// The highest number under a commitment; 0 if there is none.
fn committed_end(connection: &Connection, stream_no: i64) -> Result<u64, Failure> {
    let found = connection
        .prepare_cached(
            "SELECT sequence_end FROM ves_commitments WHERE stream_no = ?1 AND corrects IS NULL
             ORDER BY sequence_start DESC LIMIT 1",
        )?
        .query_row([stream_no], |row| unsigned(row, 0))
        .optional()?;
    Ok(found.unwrap_or(0))
}

/// The commitment of that id.
pub fn by_id(connection: &Connection, batch_id: BatchId) -> Result<Option<CommitmentRecord>, Failure> {
    let number: Option<i64> = connection
        .prepare_cached("SELECT stream_no FROM ves_commitments WHERE batch_id = ?1")?
        .query_row([batch_id.as_bytes()], |row| row.get(0))
        .optional()?;
    let Some(number) = number else { return Ok(None) };
    let stream = stream_of(connection, number)?;
    one(connection, stream, "batch_id = ?1", [batch_id.as_bytes()])
}

pub(crate) fn last(connection: &Connection, stream: StreamId) -> Result<Option<CommitmentRecord>, Failure> {
    let Some(number) = stream_no(connection, stream)? else { return Ok(None) };
    one(connection, stream, "stream_no = ?1 ORDER BY chain_position DESC LIMIT 1", [number])
}

pub(crate) fn covering(
    connection: &Connection,
    stream: StreamId,
    sequence_number: u64,
) -> Result<Option<CommitmentRecord>, Failure> {
    let Some(number) = stream_no(connection, stream)? else { return Ok(None) };
    let condition =
        "stream_no = ?1 AND sequence_start <= ?2 ORDER BY sequence_start DESC, chain_position DESC LIMIT 1";
    let found = one(connection, stream, condition, (number, signed(sequence_number)))?;
    Ok(found.filter(|record| record.commitment.sequence_end >= sequence_number))
}

pub(crate) fn list(
    connection: &Connection,
    filter: CommitmentFilter,
) -> Result<Vec<CommitmentRecord>, Failure> {
    let Some(number) = stream_no(connection, filter.stream)? else { return Ok(Vec::new()) };
    let unanchored = if filter.unanchored_only { "AND anchored_at IS NULL" } else { "" };
    let sql = format!(
        "SELECT {COMMITMENT_COLUMNS}, {COMMITMENT_MARKS} FROM ves_commitments
         WHERE stream_no = ?1 AND sequence_start >= ?2 {unanchored} ORDER BY sequence_start, chain_position LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map((number, signed(filter.from), signed(filter.limit as u64)), |row| {
        commitment(row, filter.stream)
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(crate) fn chain(connection: &Connection, query: ChainQuery) -> Result<Vec<CommitmentRecord>, Failure> {
    let Some(number) = stream_no(connection, query.stream)? else { return Ok(Vec::new()) };
    let sql = format!(
        "SELECT {COMMITMENT_COLUMNS}, {COMMITMENT_MARKS} FROM ves_commitments
         WHERE stream_no = ?1 AND chain_position > ?2 AND (?3 = 0 OR corrects IS NOT NULL)
         ORDER BY chain_position LIMIT ?4"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let values = (number, signed(query.after), query.corrections_only, signed(query.limit as u64));
    let rows = statement.query_map(values, |row| commitment(row, query.stream))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(crate) fn upper_levels(connection: &Connection, batch_id: BatchId) -> Result<Option<Vec<u8>>, Failure> {
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
    let sql =
        format!("SELECT {COMMITMENT_COLUMNS}, {COMMITMENT_MARKS} FROM ves_commitments WHERE {condition}");
    let found =
        connection.prepare_cached(&sql)?.query_row(values, |row| commitment(row, stream)).optional()?;
    Ok(found)
}

#[async_trait]
impl CommitmentStore for SqliteStore {
    async fn insert_commitment(
        &self,
        commitment: Commitment,
        upper_levels: Vec<u8>,
        origin: CommitmentOrigin,
    ) -> Result<InsertCommitment, StoreError> {
        self.gate.pass().map_err(metrics::count_error)?;
        self.with_writer(move |connection| insert(connection, &commitment, &upper_levels, origin)).await
    }

    async fn commitment(&self, batch_id: BatchId) -> Result<Option<CommitmentRecord>, StoreError> {
        self.with_reader(move |connection| by_id(connection, batch_id)).await
    }

    async fn last_commitment(&self, stream: StreamId) -> Result<Option<CommitmentRecord>, StoreError> {
        self.with_reader(move |connection| last(connection, stream)).await
    }

    async fn commitment_covering(
        &self,
        stream: StreamId,
        sequence_number: u64,
    ) -> Result<Option<CommitmentRecord>, StoreError> {
        self.with_reader(move |connection| covering(connection, stream, sequence_number)).await
    }

    async fn commitments(&self, filter: CommitmentFilter) -> Result<Vec<CommitmentRecord>, StoreError> {
        self.with_reader(move |connection| list(connection, filter)).await
    }

    async fn commitment_upper_levels(&self, batch_id: BatchId) -> Result<Option<Vec<u8>>, StoreError> {
        self.with_reader(move |connection| upper_levels(connection, batch_id)).await
    }
}

#[async_trait]
impl CorrectionStore for SqliteStore {
    async fn insert_correction(&self, new: NewCorrection) -> Result<InsertCommitment, StoreError> {
        self.with_writer(move |connection| insert_correction(connection, &new)).await
    }

    async fn chain(&self, query: ChainQuery) -> Result<Vec<CommitmentRecord>, StoreError> {
        self.with_reader(move |connection| chain(connection, query)).await
    }
}
