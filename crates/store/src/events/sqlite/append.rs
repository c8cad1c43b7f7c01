//! The write path: one transaction a batch, prepared statements, one `fsync` at its commit.
//!
//! What order events get is decided by `sequencing`; this file reads what it needs to know and writes its rows.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bowline_types::{StreamId, Timestamp};
use bowline_ves::{SequencerSigner, VerifiedEvent};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior};

use crate::changes::sqlite as changes;
use crate::events::records::{AppendReport, VerifiedBatch};
use crate::events::sequencing::{Counter, Known, Row, Source, entity_key, sequence};
use crate::sqlite::pool::Failure;
use crate::sqlite::rows::{
    EVENT_COLUMNS, fixed, known_event, moment, position, signed, stored_event, stream_no, unsigned,
};
use crate::{ChangeKind, Changes, StoreError};

pub(crate) fn append(
    connection: &mut Connection,
    heard: &Changes,
    batch: VerifiedBatch,
    signer: &SequencerSigner,
    now: Timestamp,
) -> Result<AppendReport, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let report = append_within(&transaction, heard, batch, signer, now, Source::Client)?;
    commit(transaction)?;
    Ok(report)
}

/// The same within the caller's transaction, which is to be dropped if this fails.
pub(crate) fn append_within(
    transaction: &Transaction<'_>,
    heard: &Changes,
    VerifiedBatch { events: batch, keys_epoch }: VerifiedBatch,
    signer: &SequencerSigner,
    now: Timestamp,
    source: Source,
) -> Result<AppendReport, Failure> {
    let known = known(transaction, &batch, source)?;
    let sequenced = sequence(&batch, known, signer, now, source)?;
    let epoch = changes::read(transaction, ChangeKind::AGENT_KEYS)?;
    if epoch > keys_epoch && !sequenced.rows.is_empty() {
        heard.observe(ChangeKind::AGENT_KEYS, epoch);
        return Err(StoreError::KeysChanged { epoch }.into());
    }
    let mut stream_numbers = HashMap::with_capacity(sequenced.counters.len());
    for row in &sequenced.rows {
        if let Entry::Vacant(entry) = stream_numbers.entry(row.receipt.stream) {
            entry.insert(ensure_stream(transaction, row.receipt.stream, now)?);
        }
    }
    insert(transaction, &stream_numbers, &batch, &sequenced.rows)?;
    for (stream, counter) in &sequenced.counters {
        if let Some(number) = stream_numbers.get(stream) {
            advance_counter(transaction, *number, counter)?;
        }
    }
    let heads = sequenced.counters.iter().map(|(stream, counter)| (*stream, counter.current)).collect();
    Ok(AppendReport { outcomes: sequenced.outcomes, heads })
}

pub(crate) fn commit(transaction: Transaction<'_>) -> Result<(), Failure> {
    transaction.commit().map_err(commit_failed)
}

/// When the disk fails during a commit, the log may hold the batch all the same.
fn commit_failed(error: rusqlite::Error) -> Failure {
    match error.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure) => StoreError::OutcomeUnknown(error.to_string()).into(),
        _ => error.into(),
    }
}

/// What the store holds of the things that the batch names. A chain's events are new, as the table's index sees to.
fn known(transaction: &Transaction<'_>, batch: &[VerifiedEvent], source: Source) -> Result<Known, Failure> {
    let mut known = Known::default();
    let mut numbers = HashMap::new();
    let event_of_id =
        format!("SELECT {EVENT_COLUMNS} FROM ves_events WHERE event_id = ?1 AND stream_no = ?2");
    let mut event_of_id = transaction.prepare_cached(&event_of_id)?;
    let mut version_of_entity = transaction.prepare_cached(
        "SELECT entity_version FROM ves_events
         WHERE stream_no = ?1 AND entity_type = ?2 AND entity_id = ?3 ORDER BY position DESC LIMIT 1",
    )?;
    for event in batch {
        let envelope = &event.envelope;
        let stream = envelope.stream;
        let number = match numbers.entry(stream) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let number = stream_no(transaction, stream)?;
                if let Some(number) = number {
                    known.counters.insert(stream, counter(transaction, number)?);
                }
                *entry.insert(number)
            }
        };
        let Some(number) = number else { continue };
        let mut earlier = || {
            let id = (envelope.event_id.as_bytes(), number);
            event_of_id.query_row(id, |row| stored_event(row, stream)).optional()
        };
        if source == Source::Client
            && let Some(earlier) = earlier()?
        {
            known.events.insert((stream, envelope.event_id), known_event(earlier));
            continue;
        }
        if let Some(command) = envelope.command_id {
            let holder = transaction
                .prepare_cached("SELECT event_id FROM ves_events WHERE command_id = ?1 AND stream_no = ?2")?
                .query_row((command.as_bytes(), number), |row| fixed(row, 0))
                .optional()?;
            if let Some(holder) = holder {
                known.commands.insert((stream, command), bowline_types::EventId::from_bytes(holder));
            }
        }
        if let Entry::Vacant(entry) = known.entity_versions.entry(entity_key(event)) {
            let version = version_of_entity
                .query_row((number, &envelope.entity_type, &envelope.entity_id), |row| unsigned(row, 0))
                .optional()?;
            entry.insert(version.unwrap_or(0));
        }
    }
    Ok(known)
}

fn counter(transaction: &Transaction<'_>, stream_no: i64) -> rusqlite::Result<Counter> {
    transaction
        .prepare_cached("SELECT current_sequence, updated_at FROM sequence_counters WHERE stream_no = ?1")?
        .query_row([stream_no], |row| Ok(Counter { current: unsigned(row, 0)?, updated_at: moment(row, 1)? }))
}

fn ensure_stream(transaction: &Transaction<'_>, stream: StreamId, now: Timestamp) -> Result<i64, Failure> {
    if let Some(number) = stream_no(transaction, stream)? {
        return Ok(number);
    }
    transaction.execute(
        "INSERT INTO streams (tenant_id, store_id, created_at) VALUES (?1, ?2, ?3)",
        (stream.tenant_id.as_bytes(), stream.store_id.as_bytes(), now.micros()),
    )?;
    let number = transaction.last_insert_rowid();
    transaction.execute("INSERT INTO sequence_counters VALUES (?1, 0, ?2)", (number, now.micros()))?;
    Ok(number)
}

fn insert(
    transaction: &Transaction<'_>,
    stream_numbers: &HashMap<StreamId, i64>,
    batch: &[VerifiedEvent],
    rows: &[Row],
) -> Result<(), Failure> {
    let into_events = format!(
        "INSERT INTO ves_events ({EVENT_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, \
         ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25)"
    );
    let mut into_events = transaction.prepare_cached(&into_events)?;
    let mut into_leaves = transaction.prepare_cached("INSERT INTO ves_leaves VALUES (?1, ?2)")?;
    for row in rows {
        let receipt = &row.receipt;
        let Some(stream_no) = stream_numbers.get(&receipt.stream) else { continue };
        let position = position(*stream_no, receipt.sequence_number);
        let VerifiedEvent { envelope, signing_hash, .. } = &batch[row.index];
        let [signature, attestation] = receipt.signatures.map_or([None; 2], |both| both.map(Some));
        into_events.execute(rusqlite::params![
            position,
            envelope.event_id.as_bytes(),
            envelope.ves_version,
            envelope.source_agent_id.as_bytes(),
            envelope.agent_key_id,
            envelope.entity_type,
            envelope.entity_id,
            envelope.event_type,
            envelope.created_at,
            envelope.payload.kind(),
            envelope.payload.text(),
            envelope.payload_plain_hash.as_bytes(),
            envelope.payload_cipher_hash.as_bytes(),
            signing_hash.as_bytes(),
            envelope.agent_signature.as_bytes(),
            envelope.agent_signature_scheme,
            envelope.command_id.as_ref().map(|id| id.as_bytes()),
            envelope.base_version.map(signed),
            signed(row.entity_version),
            receipt.sequenced_at.micros(),
            receipt.sequencer_id.as_bytes(),
            receipt.key_version,
            receipt.receipt_hash.as_bytes(),
            signature.as_ref().map_or(&[][..], |signature| signature.as_bytes()),
            attestation.as_ref().map_or(&[][..], |attestation| attestation.as_bytes()),
        ])?;
        into_leaves.execute((position, row.leaf.as_bytes()))?;
    }
    Ok(())
}

fn advance_counter(transaction: &Transaction<'_>, stream_no: i64, counter: &Counter) -> Result<(), Failure> {
    transaction
        .prepare_cached(
            "UPDATE sequence_counters SET current_sequence = ?2, updated_at = ?3 WHERE stream_no = ?1",
        )?
        .execute((stream_no, signed(counter.current), counter.updated_at.micros()))?;
    Ok(())
}
