//! Rows of PostgreSQL to records. A value that can't be what the schema says is corruption, and is reported
//! as such rather than read as something else.

use bowline_types::{AgentId, BatchId, CommandId, EventId, EvmHash, StoreId, StreamId, TenantId, Timestamp};
use bowline_ves::{Commitment, Envelope, Hash, Payload, Signature};
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::{AnchorMark, ChainPlace, CommitmentOrigin, CommitmentRecord, StoredEvent, StoredReceipt};

/// The columns that [`stored_event`] reads.
pub(crate) const EVENT_COLUMNS: &str = "tenant_id, store_id, sequence_number, event_id, ves_version, source_agent_id, \
     agent_key_id, entity_type, entity_id, event_type, created_at_str, payload_kind, payload, payload_plain_hash, \
     payload_cipher_hash, event_signing_hash, agent_signature, agent_signature_scheme, command_id, base_version, \
     entity_version, sequenced_at, sequencer_id, sequencer_key_version, receipt_hash, sequencer_signature, \
     receipt_attestation";

/// The columns that are written with a commitment.
pub const COMMITMENT_COLUMNS: &str = "batch_id, tenant_id, store_id, ves_version, tree_depth, leaf_count, \
     padded_leaf_count, merkle_root, prev_state_root, new_state_root, sequence_start, sequence_end, committed_at, \
     origin, corrects, chain_position";

/// What [`commitment`] reads beside [`COMMITMENT_COLUMNS`].
pub const COMMITMENT_MARKS: &str = "(SELECT c.batch_id FROM ves_commitments c WHERE c.corrects = \
     ves_commitments.batch_id AND c.tenant_id = ves_commitments.tenant_id AND c.store_id = ves_commitments.store_id \
     LIMIT 1) AS corrected_by, metadata->>'reason' AS reason, chain_id, chain_tx_hash, chain_block_number, anchored_at";

/// The error of a column that holds what it must not hold.
pub fn corrupt(column: &str, problem: &str) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: problem.to_owned().into() }
}

/// A hash of 32 bytes in a column.
pub fn hash(row: &PgRow, column: &str) -> sqlx::Result<Hash> {
    let bytes: &[u8] = row.try_get(column)?;
    Hash::from_slice(bytes).ok_or_else(|| corrupt(column, "not 32 bytes"))
}

fn signature(row: &PgRow, column: &str) -> sqlx::Result<Signature> {
    let bytes: &[u8] = row.try_get(column)?;
    Signature::from_slice(bytes).ok_or_else(|| corrupt(column, "not 64 bytes"))
}

/// A public key of 32 bytes in a column.
pub(crate) fn key(row: &PgRow, column: &str) -> sqlx::Result<[u8; 32]> {
    hash(row, column).map(|hash| *hash.as_bytes())
}

/// A moment in a column: microseconds since 1970 in SQLite, `timestamptz` in PostgreSQL.
pub fn moment(row: &PgRow, column: &str) -> sqlx::Result<Timestamp> {
    row.try_get::<DateTime<Utc>, _>(column).map(Timestamp::from_chrono)
}

/// A number that the schema keeps non-negative.
pub fn unsigned(row: &PgRow, column: &str) -> sqlx::Result<u64> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| corrupt(column, "negative"))
}

/// A number that the schema keeps within 0 and 2^32.
pub fn small(row: &PgRow, column: &str) -> sqlx::Result<u32> {
    u32::try_from(row.try_get::<i64, _>(column)?).map_err(|_| corrupt(column, "not a 32-bit number"))
}

/// A number for PostgreSQL; what exceeds its range is never a number of ours.
pub fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Tenant and store in the columns `tenant_id` and `store_id`.
pub fn stream(row: &PgRow) -> sqlx::Result<StreamId> {
    Ok(StreamId::new(TenantId::new(row.try_get("tenant_id")?), StoreId::new(row.try_get("store_id")?)))
}

/// An event of [`EVENT_COLUMNS`].
pub(crate) fn stored_event(row: &PgRow) -> sqlx::Result<StoredEvent> {
    let stream = stream(row)?;
    let event_id = EventId::new(row.try_get("event_id")?);
    let text: Box<str> = row.try_get::<String, _>("payload")?.into();
    let plain = row.try_get::<i16, _>("payload_kind")? == 0;
    let scheme: Option<i64> = row.try_get("agent_signature_scheme")?;
    let envelope = Envelope {
        ves_version: small(row, "ves_version")?,
        event_id,
        stream,
        source_agent_id: AgentId::new(row.try_get("source_agent_id")?),
        agent_key_id: small(row, "agent_key_id")?,
        entity_type: row.try_get("entity_type")?,
        entity_id: row.try_get("entity_id")?,
        event_type: row.try_get("event_type")?,
        created_at: row.try_get("created_at_str")?,
        payload: if plain { Payload::Plain(text) } else { Payload::Encrypted(text) },
        payload_plain_hash: hash(row, "payload_plain_hash")?,
        payload_cipher_hash: hash(row, "payload_cipher_hash")?,
        agent_signature: signature(row, "agent_signature")?,
        agent_signature_scheme: scheme.and_then(|s| u32::try_from(s).ok()),
        command_id: row.try_get::<Option<_>, _>("command_id")?.map(CommandId::new),
        base_version: row.try_get::<Option<i64>, _>("base_version")?.map(i64::unsigned_abs),
    };
    let is_empty = |column| row.try_get::<&[u8], _>(column).map(<[u8]>::is_empty);
    let are_empty = is_empty("sequencer_signature")? && is_empty("receipt_attestation")?;
    let signatures = match are_empty && StoredReceipt::may_be_unsigned(stream) {
        true => None,
        false => Some([signature(row, "sequencer_signature")?, signature(row, "receipt_attestation")?]),
    };
    let receipt = StoredReceipt {
        sequencer_id: row.try_get("sequencer_id")?,
        stream,
        event_id,
        sequence_number: unsigned(row, "sequence_number")?,
        sequenced_at: moment(row, "sequenced_at")?,
        receipt_hash: hash(row, "receipt_hash")?,
        key_version: small(row, "sequencer_key_version")?,
        signatures,
    };
    let signing_hash = hash(row, "event_signing_hash")?;
    Ok(StoredEvent { envelope, signing_hash, entity_version: unsigned(row, "entity_version")?, receipt })
}

/// A commitment of [`COMMITMENT_COLUMNS`] and [`COMMITMENT_MARKS`].
pub fn commitment(row: &PgRow) -> sqlx::Result<CommitmentRecord> {
    let origin: String = row.try_get("origin")?;
    let commitment = Commitment {
        batch_id: BatchId::new(row.try_get("batch_id")?),
        stream: stream(row)?,
        ves_version: small(row, "ves_version")?,
        tree_depth: small(row, "tree_depth")?,
        leaf_count: small(row, "leaf_count")?,
        padded_leaf_count: small(row, "padded_leaf_count")?,
        merkle_root: hash(row, "merkle_root")?,
        prev_state_root: hash(row, "prev_state_root")?,
        new_state_root: hash(row, "new_state_root")?,
        sequence_start: unsigned(row, "sequence_start")?,
        sequence_end: unsigned(row, "sequence_end")?,
        committed_at: moment(row, "committed_at")?,
        corrects: row.try_get::<Option<_>, _>("corrects")?.map(BatchId::new),
    };
    let origin = if origin == "client" { CommitmentOrigin::Client } else { CommitmentOrigin::Automatic };
    let chain = ChainPlace {
        position: unsigned(row, "chain_position")?,
        corrected_by: row.try_get::<Option<_>, _>("corrected_by")?.map(BatchId::new),
        reason: row.try_get("reason")?,
    };
    Ok(CommitmentRecord { commitment, origin, chain, anchor: anchor_mark(row)? })
}

/// The mark; none if it says no time.
fn anchor_mark(row: &PgRow) -> sqlx::Result<Option<AnchorMark>> {
    let Some(anchored_at) = row.try_get::<Option<DateTime<Utc>>, _>("anchored_at")? else { return Ok(None) };
    Ok(Some(AnchorMark {
        chain_id: unsigned(row, "chain_id")?,
        tx_hash: evm_hash(row, "chain_tx_hash")?,
        block_number: optional(row, "chain_block_number")?,
        anchored_at: Timestamp::from_chrono(anchored_at),
    }))
}

/// A hash of a transaction or block, or null.
pub fn evm_hash(row: &PgRow, column: &str) -> sqlx::Result<Option<EvmHash>> {
    let is_null = row.try_get::<Option<&[u8]>, _>(column)?.is_none();
    (!is_null).then(|| key(row, column).map(EvmHash::new)).transpose()
}

/// A number that the schema keeps non-negative, or null.
pub fn optional(row: &PgRow, column: &str) -> sqlx::Result<Option<u64>> {
    row.try_get::<Option<i64>, _>(column)?.map(|_| unsigned(row, column)).transpose()
}
