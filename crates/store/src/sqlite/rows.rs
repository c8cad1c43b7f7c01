//! Rows of SQLite to records and back. A value that can't be what the schema says is corruption, and is
//! reported as such rather than read as something else.

use bowline_types::{AgentId, BatchId, CommandId, EventId, EvmHash, StoreId, StreamId, TenantId, Timestamp};
use bowline_ves::{Commitment, Envelope, Hash, Payload, Signature};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row};
use uuid::Uuid;

use super::pool::Failure;
use crate::events::records::KnownEvent;
use crate::{
    AnchorMark, ChainPlace, CommitmentOrigin, CommitmentRecord, StoreError, StoredEvent, StoredReceipt,
};

/// Bits of a position that hold the sequence number.
const SEQUENCE_BITS: u32 = 40;

/// The columns that [`stored_event`] reads, in its order.
pub(crate) const EVENT_COLUMNS: &str = "position, event_id, ves_version, source_agent_id, agent_key_id, entity_type, \
     entity_id, event_type, created_at, payload_kind, payload, payload_plain_hash, payload_cipher_hash, \
     event_signing_hash, agent_signature, agent_signature_scheme, command_id, base_version, entity_version, \
     sequenced_at, sequencer_id, sequencer_key_version, receipt_hash, sequencer_signature, receipt_attestation";

/// The columns that are written with a commitment.
pub const COMMITMENT_COLUMNS: &str = "batch_id, ves_version, tree_depth, leaf_count, padded_leaf_count, \
     merkle_root, prev_state_root, new_state_root, sequence_start, sequence_end, committed_at, origin, corrects, \
     chain_position";

/// What [`commitment`] reads beside [`COMMITMENT_COLUMNS`], in its order.
pub const COMMITMENT_MARKS: &str = "(SELECT c.batch_id FROM ves_commitments c WHERE c.corrects = \
     ves_commitments.batch_id AND c.stream_no = ves_commitments.stream_no LIMIT 1), json_extract(metadata, '$.reason'), \
     chain_id, chain_tx_hash, chain_block_number, anchored_at";

/// The column after [`COMMITMENT_COLUMNS`] and [`COMMITMENT_MARKS`].
pub const AFTER_MARKS: usize = 20;

/// Bytes of a fixed length, to read from a column.
#[derive(Debug)]
pub struct Fixed<const N: usize>(pub [u8; N]);

impl<const N: usize> FromSql for Fixed<N> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let bytes = value.as_blob()?;
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| FromSqlError::InvalidBlobSize { expected_size: N, blob_size: bytes.len() })
    }
}

/// Bytes of a fixed length in a column.
pub fn fixed<const N: usize>(row: &Row<'_>, column: usize) -> rusqlite::Result<[u8; N]> {
    row.get::<_, Fixed<N>>(column).map(|fixed| fixed.0)
}

/// A hash of 32 bytes in a column.
pub fn hash(row: &Row<'_>, column: usize) -> rusqlite::Result<Hash> {
    fixed(row, column).map(Hash::new)
}

/// A moment in a column: microseconds since 1970 in SQLite, `timestamptz` in PostgreSQL.
pub fn moment(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_micros)
}

/// A number that the schema keeps non-negative.
pub fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// A number for SQLite; what exceeds its range is never a number of ours.
pub fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Where an event of a stream stands.
pub(crate) fn position(stream_no: i64, sequence_number: u64) -> i64 {
    (stream_no << SEQUENCE_BITS) | signed(sequence_number.min((1 << SEQUENCE_BITS) - 1))
}

/// The sequence number within a position.
pub(crate) fn sequence_of(position: i64) -> u64 {
    position.unsigned_abs() & ((1 << SEQUENCE_BITS) - 1)
}

/// The number of a stream, if it has one.
pub fn stream_no(connection: &Connection, stream: StreamId) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT stream_no FROM streams WHERE tenant_id = ?1 AND store_id = ?2")?
        .query_row((stream.tenant_id.as_bytes(), stream.store_id.as_bytes()), |row| row.get(0))
        .optional()
}

/// The stream of that number.
pub(crate) fn stream_of(connection: &Connection, stream_no: i64) -> Result<StreamId, Failure> {
    connection
        .prepare_cached("SELECT tenant_id, store_id FROM streams WHERE stream_no = ?1")?
        .query_row([stream_no], |row| stream_columns(row, 0))
        .optional()?
        .ok_or_else(|| {
            StoreError::Internal(format!("stream number {stream_no} has no row in streams")).into()
        })
}

/// Tenant and store in two columns, from `first` on.
pub fn stream_columns(row: &Row<'_>, first: usize) -> rusqlite::Result<StreamId> {
    Ok(StreamId::new(TenantId::from_bytes(fixed(row, first)?), StoreId::from_bytes(fixed(row, first + 1)?)))
}

/// An event of [`EVENT_COLUMNS`].
pub(crate) fn stored_event(row: &Row<'_>, stream: StreamId) -> rusqlite::Result<StoredEvent> {
    let event_id = EventId::from_bytes(fixed(row, 1)?);
    let text: Box<str> = row.get(10)?;
    let payload = if row.get::<_, i64>(9)? == 0 { Payload::Plain(text) } else { Payload::Encrypted(text) };
    let command_id: Option<Fixed<16>> = row.get(16)?;
    let envelope = Envelope {
        ves_version: row.get(2)?,
        event_id,
        stream,
        source_agent_id: AgentId::from_bytes(fixed(row, 3)?),
        agent_key_id: row.get(4)?,
        entity_type: row.get(5)?,
        entity_id: row.get(6)?,
        event_type: row.get(7)?,
        created_at: row.get(8)?,
        payload,
        payload_plain_hash: hash(row, 11)?,
        payload_cipher_hash: hash(row, 12)?,
        agent_signature: Signature::new(fixed(row, 14)?),
        agent_signature_scheme: row.get(15)?,
        command_id: command_id.map(|id| CommandId::from_bytes(id.0)),
        base_version: row.get::<_, Option<i64>>(17)?.map(i64::unsigned_abs),
    };
    let are_empty = row.get_ref(23)?.as_blob()?.is_empty() && row.get_ref(24)?.as_blob()?.is_empty();
    let signatures = match are_empty && StoredReceipt::may_be_unsigned(stream) {
        true => None,
        false => Some([Signature::new(fixed(row, 23)?), Signature::new(fixed(row, 24)?)]),
    };
    let receipt = StoredReceipt {
        sequencer_id: Uuid::from_bytes(fixed(row, 20)?),
        stream,
        event_id,
        sequence_number: sequence_of(row.get(0)?),
        sequenced_at: moment(row, 19)?,
        receipt_hash: hash(row, 22)?,
        key_version: row.get(21)?,
        signatures,
    };
    Ok(StoredEvent { envelope, signing_hash: hash(row, 13)?, entity_version: unsigned(row, 18)?, receipt })
}

pub(crate) fn known_event(stored: StoredEvent) -> KnownEvent {
    KnownEvent {
        signing_hash: stored.signing_hash,
        signature: stored.envelope.agent_signature,
        receipt: stored.receipt,
    }
}

/// A commitment of [`COMMITMENT_COLUMNS`] and [`COMMITMENT_MARKS`].
pub fn commitment(row: &Row<'_>, stream: StreamId) -> rusqlite::Result<CommitmentRecord> {
    let origin: String = row.get(11)?;
    let commitment = Commitment {
        batch_id: BatchId::from_bytes(fixed(row, 0)?),
        stream,
        ves_version: row.get(1)?,
        tree_depth: row.get(2)?,
        leaf_count: row.get(3)?,
        padded_leaf_count: row.get(4)?,
        merkle_root: hash(row, 5)?,
        prev_state_root: hash(row, 6)?,
        new_state_root: hash(row, 7)?,
        sequence_start: unsigned(row, 8)?,
        sequence_end: unsigned(row, 9)?,
        committed_at: moment(row, 10)?,
        corrects: row.get::<_, Option<Fixed<16>>>(12)?.map(|id| BatchId::from_bytes(id.0)),
    };
    let origin = if origin == "client" { CommitmentOrigin::Client } else { CommitmentOrigin::Automatic };
    let chain = ChainPlace {
        position: unsigned(row, 13)?,
        corrected_by: row.get::<_, Option<Fixed<16>>>(14)?.map(|id| BatchId::from_bytes(id.0)),
        reason: row.get(15)?,
    };
    Ok(CommitmentRecord { commitment, origin, chain, anchor: anchor_mark(row, 16)? })
}

/// The mark in four columns from `first` on; none if the last one is null.
fn anchor_mark(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<AnchorMark>> {
    let Some(anchored_at) = row.get::<_, Option<i64>>(first + 3)? else { return Ok(None) };
    Ok(Some(AnchorMark {
        chain_id: unsigned(row, first)?,
        tx_hash: row.get::<_, Option<Fixed<32>>>(first + 1)?.map(|hash| EvmHash::new(hash.0)),
        block_number: optional(row, first + 2)?,
        anchored_at: Timestamp::from_micros(anchored_at),
    }))
}

/// A number that the schema keeps non-negative, or null.
pub fn optional(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    row.get::<_, Option<i64>>(column)?.map(|_| unsigned(row, column)).transpose()
}
