//! The decision what order events get: pure, shared by both stores.
//!
//! Given what the stream already holds, [`sequence`] says for each event of a batch whether it is accepted,
//! a replay or rejected, and makes the rows to write. It reads no database and no clock, and it guards
//! invariants 2 and 3: numbers are dense, and only this function assigns them.

use std::collections::HashMap;

use bowline_types::{CommandId, EventId, StreamId, Timestamp};
use bowline_ves::{
    Hash, Placement, Receipt, Rejection, SequencerSigner, VerifiedEvent, leaf_hash, receipt_hash,
};

use crate::events::records::{AppendOutcome, KnownEvent};
use crate::{StoreError, StoredReceipt};

/// A stream's counter, which is still so when the rows are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counter {
    pub(crate) current: u64,
    pub(crate) updated_at: Timestamp,
}

/// The entity that an event names, in its stream.
pub(crate) type EntityKey = (StreamId, String, String);

/// What the store holds of the things that a batch names, as of one moment that still holds when the rows are written.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) counters: HashMap<StreamId, Counter>,
    pub(crate) events: HashMap<(StreamId, EventId), KnownEvent>,
    pub(crate) commands: HashMap<(StreamId, CommandId), EventId>,
    pub(crate) entity_versions: HashMap<EntityKey, u64>,
}

/// What is written beside an accepted event.
#[derive(Debug)]
pub(crate) struct Row {
    /// The event's place in the batch.
    pub(crate) index: usize,
    pub(crate) entity_version: u64,
    pub(crate) leaf: Hash,
    pub(crate) receipt: StoredReceipt,
}

/// Whose events a batch has, and with that, what it may do and what it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A client's: each event is judged by itself, and gets its receipt.
    Client,
    /// A chain's, in a step that nobody took before: all are new, or nothing is written. Nobody waits for receipts.
    Chain,
}

/// The decision about a batch.
#[derive(Debug)]
pub(crate) struct Sequenced {
    /// One an event of a client's.
    pub(crate) outcomes: Vec<AppendOutcome>,
    pub(crate) rows: Vec<Row>,
    /// Of every stream that the batch names, as they stand after it.
    pub(crate) counters: HashMap<StreamId, Counter>,
}

enum Verdict {
    /// The index of its row.
    Accept(usize),
    /// It repeats the event of that row of the same batch.
    Repeat(usize),
    Done(Box<AppendOutcome>),
}

struct Assigned {
    index: usize,
    entity_version: u64,
    sequence_number: u64,
    sequenced_at: Timestamp,
}

/// Decides a batch, in its order. It fails only on a chain's.
pub(crate) fn sequence(
    batch: &[VerifiedEvent],
    mut known: Known,
    signer: &SequencerSigner,
    now: Timestamp,
    source: Source,
) -> Result<Sequenced, StoreError> {
    let mut assigned: Vec<Assigned> = Vec::with_capacity(batch.len());
    let mut in_batch: HashMap<(StreamId, EventId), usize> = HashMap::with_capacity(batch.len());
    let mut verdicts = Vec::with_capacity(batch.len());
    for (index, event) in batch.iter().enumerate() {
        known.counters.entry(event.envelope.stream).or_insert(Counter { current: 0, updated_at: now });
        let earlier = in_batch.get(&(event.envelope.stream, event.envelope.event_id));
        let earlier = earlier.map(|row: &usize| (*row, &batch[assigned[*row].index]));
        let verdict = judge(event, &known, earlier, signer).unwrap_or_else(|| {
            in_batch.insert((event.envelope.stream, event.envelope.event_id), assigned.len());
            assigned.push(assign(index, event, &mut known, now));
            Verdict::Accept(assigned.len() - 1)
        });
        verdicts.push(verdict);
    }
    let (receipts, outcomes) = match source {
        Source::Client => {
            let receipts = seal(batch, &assigned, signer);
            let outcomes = outcomes(verdicts, &receipts);
            (receipts.into_iter().map(StoredReceipt::from).collect(), outcomes)
        }
        // Whoever sends it has a defect.
        Source::Chain if assigned.len() < batch.len() => {
            return Err(StoreError::Internal("an event of a chain was not new".to_owned()));
        }
        Source::Chain => {
            (assigned.iter().map(|a| unsigned(batch, a, signer)).collect::<Vec<_>>(), Vec::new())
        }
    };
    let row = |(a, receipt): (Assigned, StoredReceipt)| {
        let event = &batch[a.index];
        let (stream, signature) = (event.envelope.stream, &event.envelope.agent_signature);
        let leaf = leaf_hash(stream, a.sequence_number, &event.signing_hash, signature);
        Row { index: a.index, entity_version: a.entity_version, leaf, receipt }
    };
    let rows = assigned.into_iter().zip(receipts).map(row).collect();
    Ok(Sequenced { outcomes, rows, counters: known.counters })
}

fn outcomes(verdicts: Vec<Verdict>, receipts: &[Receipt]) -> Vec<AppendOutcome> {
    let outcome = |verdict| match verdict {
        Verdict::Accept(row) => receipts.get(row).cloned().map(AppendOutcome::Accepted),
        Verdict::Repeat(row) => receipts.get(row).cloned().map(AppendOutcome::Replayed),
        Verdict::Done(outcome) => Some(*outcome),
    };
    verdicts.into_iter().filter_map(outcome).collect()
}

/// The verdict on an event that gets no number; none if it is to be accepted. `earlier` is the row and the
/// event of the same id in the same batch.
fn judge(
    event: &VerifiedEvent,
    known: &Known,
    earlier: Option<(usize, &VerifiedEvent)>,
    signer: &SequencerSigner,
) -> Option<Verdict> {
    let envelope = &event.envelope;
    let (stream, event_id) = (envelope.stream, envelope.event_id);
    if let Some((row, earlier)) = earlier {
        let same = earlier.signing_hash == event.signing_hash
            && earlier.envelope.agent_signature == envelope.agent_signature;
        return Some(if same { Verdict::Repeat(row) } else { reject(Rejection::DuplicateEventId) });
    }
    if let Some(earlier) = known.events.get(&(stream, event_id)) {
        let same =
            earlier.signing_hash == event.signing_hash && earlier.signature == envelope.agent_signature;
        return Some(if same {
            let receipt = earlier.receipt.signed_by(signer, &earlier.signing_hash);
            Verdict::Done(Box::new(AppendOutcome::Replayed(receipt)))
        } else {
            reject(Rejection::DuplicateEventId)
        });
    }
    if let Some(command) = envelope.command_id
        && known.commands.get(&(stream, command)).is_some_and(|holder| *holder != event_id)
    {
        return Some(reject(Rejection::DuplicateCommandId));
    }
    let actual = known.entity_versions.get(&entity_key(event)).copied().unwrap_or(0);
    match envelope.base_version {
        Some(expected) if expected != actual => Some(reject(Rejection::VersionConflict { expected, actual })),
        _ => None,
    }
}

fn assign(index: usize, event: &VerifiedEvent, known: &mut Known, now: Timestamp) -> Assigned {
    let stream = event.envelope.stream;
    let counter = known.counters.entry(stream).or_insert(Counter { current: 0, updated_at: now });
    // A counter at 0 may be left over from an append that took nothing, whose time binds nobody.
    counter.updated_at = if counter.current == 0 { now } else { counter.updated_at.max(now) };
    counter.current += 1;
    let (sequence_number, sequenced_at) = (counter.current, counter.updated_at);
    let version = known.entity_versions.entry(entity_key(event)).or_insert(0);
    *version += 1;
    let entity_version = *version;
    if let Some(command) = event.envelope.command_id {
        known.commands.insert((stream, command), event.envelope.event_id);
    }
    Assigned { index, entity_version, sequence_number, sequenced_at }
}

/// Signs on the calling thread: it is the one that writes, while the other cores verify what comes next. Handed
/// to them, this work would wait behind all of that.
fn seal(batch: &[VerifiedEvent], assigned: &[Assigned], signer: &SequencerSigner) -> Vec<Receipt> {
    let placement = |a: &Assigned| {
        let event = &batch[a.index];
        Placement {
            stream: event.envelope.stream,
            event_id: event.envelope.event_id,
            signing_hash: &event.signing_hash,
            sequence_number: a.sequence_number,
            sequenced_at: a.sequenced_at,
        }
    };
    signer.seal_all(&assigned.iter().map(placement).collect::<Vec<_>>())
}

/// What [`seal`] makes, without the signatures.
fn unsigned(batch: &[VerifiedEvent], a: &Assigned, signer: &SequencerSigner) -> StoredReceipt {
    let VerifiedEvent { envelope, signing_hash, .. } = &batch[a.index];
    StoredReceipt {
        sequencer_id: signer.sequencer_id,
        stream: envelope.stream,
        event_id: envelope.event_id,
        sequence_number: a.sequence_number,
        sequenced_at: a.sequenced_at,
        receipt_hash: receipt_hash(envelope.stream, envelope.event_id, a.sequence_number, signing_hash),
        key_version: signer.key_version,
        signatures: None,
    }
}

fn reject(rejection: Rejection) -> Verdict {
    Verdict::Done(Box::new(AppendOutcome::Rejected(rejection)))
}

pub(crate) fn entity_key(event: &VerifiedEvent) -> EntityKey {
    let envelope = &event.envelope;
    (envelope.stream, envelope.entity_type.clone(), envelope.entity_id.clone())
}
