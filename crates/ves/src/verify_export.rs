//! Verifies an export offline: every hash, signature, receipt, number, commitment and the file as a whole.
//!
//! It reads line by line and holds 32 bytes per event that no commitment has covered yet, plus the keys. The
//! first thing that is wrong is what it reports, by line and by sequence number where there is one, so that
//! the damage is named even though the content hash would also fail. It refuses to trust the file's own claim
//! of who signed: the report says which keys were pinned and which the file brought.

use std::io::{self, BufRead};

use bowline_types::{BatchId, StreamId};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::chain::{Chain, Corrected, Place, bad};
use crate::check;
use crate::commitment::Commitment;
use crate::envelope::Envelope;
use crate::export::{AgentKeyRecord, EXPORT_VERSION, ExportHeader, WireEnd, WireHeader};
use crate::fields::shown;
use crate::hash::Hash;
use crate::preimage::leaf_hash;
use crate::receipt::Receipt;
use crate::trust::{AgentKeys, SequencerKeys, TrustedKeys};

/// Bytes that one line of an export may have; a longer one is an error.
pub const EXPORT_LINE_BYTES_MAX: usize = 64 << 20;

/// What is wrong with an export. Lines count from 1.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The reader failed.
    #[error("reading the export failed at line {line}")]
    Io {
        /// The line that was being read.
        line: u64,
        /// The reader's error.
        #[source]
        source: io::Error,
    },
    /// The first line is not the header of a version that this verifier knows.
    #[error("line 1 is not an export header: {problem}")]
    BadHeader {
        /// What was expected and what was found.
        problem: String,
    },
    /// A line is none of the kinds that may stand there.
    #[error("line {line}: {problem}")]
    BadLine {
        /// The line.
        line: u64,
        /// What was expected and what was found.
        problem: String,
    },
    /// A key of the file is unusable or contradicts a pinned one.
    #[error("line {line}: {problem}")]
    BadKey {
        /// The line.
        line: u64,
        /// Which key and why.
        problem: String,
    },
    /// An event is missing, repeated, or not what was signed.
    #[error("event {sequence_number} (line {line}): {problem}")]
    BadEvent {
        /// The event's number: of a missing one the number that is missing.
        sequence_number: u64,
        /// The line.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// A commitment is inconsistent, out of place, or not over the events of the file, and no later one of the
    /// file corrects it.
    #[error("commitment over {sequence_start}..={sequence_end} (line {line}): {problem}")]
    BadCommitment {
        /// The commitment's id.
        batch_id: BatchId,
        /// First number that it claims to cover.
        sequence_start: u64,
        /// Last number that it claims to cover.
        sequence_end: u64,
        /// The line.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// The file ends before its end line; everything up to the last event was right.
    #[error(
        "the file is cut off after line {line}: {last_sequence} was the last event, {sequence_end} is due"
    )]
    Truncated {
        /// The last whole line.
        line: u64,
        /// The last event that was read; `sequence_start - 1` if there was none.
        last_sequence: u64,
        /// The last event that the header announces.
        sequence_end: u64,
    },
    /// Every part is right, and yet the bytes are not those that were written.
    #[error("the content hash is {computed}, the end line says {expected}")]
    ContentHash {
        /// Over the bytes that were read.
        computed: Hash,
        /// As the file says.
        expected: Hash,
    },
}

/// What a verified export holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportReport {
    /// Tenant and store.
    pub stream: StreamId,
    /// Events verified.
    pub event_count: u64,
    /// First sequence number.
    pub sequence_start: u64,
    /// Last sequence number; `sequence_start - 1` if there are no events.
    pub sequence_end: u64,
    /// The stream's last number when the export was made, as the file says.
    pub head_sequence: u64,
    /// Commitments verified.
    pub commitment_count: u64,
    /// Events that one of them covers.
    pub committed_event_count: u64,
    /// The state root after the last of them.
    pub last_state_root: Option<Hash>,
    /// Corrections verified; they are not among the commitments.
    pub correction_count: u64,
    /// Commitments of the file that one of them replaces: each with what is wrong with it.
    pub corrected: Vec<Corrected>,
    /// Commitments and corrections in the order of the chain. Those that a correction replaces may be wrong.
    pub commitments: Vec<Commitment>,
    /// Whether the sequencer's keys were pinned; if not, the file vouches for its own receipts.
    pub sequencer_keys_pinned: bool,
    /// Agent keys that were pinned.
    pub agent_keys_pinned: u64,
    /// Agent keys that only the file vouches for.
    pub agent_keys_from_file: u64,
    /// SHA-256 over all bytes before the end line.
    pub content_hash: Hash,
}

/// Verifies a whole export. `progress` is called after every event with its sequence number.
pub fn verify_export<R: BufRead>(
    reader: R,
    pinned: &TrustedKeys,
    mut progress: impl FnMut(u64),
) -> Result<ExportReport, ExportError> {
    let mut lines = Lines { reader, buffer: Vec::new(), number: 0, content: Sha256::new() };
    let mut verifier = Verifier::open(&mut lines, pinned)?;
    loop {
        // The end line is not part of what it hashes.
        let content = lines.content.clone();
        let Some(text) = lines.next()? else {
            // A wrong commitment tells more than that the rest is missing.
            verifier.chain.finish(false)?;
            return Err(verifier.truncated(lines.number));
        };
        match verifier.line(text)? {
            Step::Event(sequence_number) => progress(sequence_number),
            Step::Other => {}
            Step::End(end) => {
                let computed = Hash::new(content.finalize().into());
                return verifier.close(&end, computed, &mut lines);
            }
        }
    }
}

/// Reads whole lines and hashes them.
struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Whole lines read so far.
    number: u64,
    content: Sha256,
}

/// A whole line without its end, and its number.
#[derive(Clone, Copy)]
struct Line<'a> {
    text: &'a str,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// The next whole line; nothing at the end of the file or where it breaks off within a line.
    fn next(&mut self) -> Result<Option<Line<'_>>, ExportError> {
        let line = self.number + 1;
        self.buffer.clear();
        let limit = EXPORT_LINE_BYTES_MAX as u64 + 1;
        io::Read::take(&mut self.reader, limit)
            .read_until(b'\n', &mut self.buffer)
            .map_err(|source| ExportError::Io { line, source })?;
        self.content.update(&self.buffer);
        let Some(text) = self.buffer.strip_suffix(b"\n") else {
            if self.buffer.len() > EXPORT_LINE_BYTES_MAX {
                let problem = format!("the line has more than {EXPORT_LINE_BYTES_MAX} bytes");
                return Err(ExportError::BadLine { line, problem });
            }
            return Ok(None);
        };
        self.number = line;
        match std::str::from_utf8(text) {
            Ok(text) => Ok(Some(Line { text, number: line })),
            Err(e) => Err(ExportError::BadLine { line, problem: format!("not UTF-8: {e}") }),
        }
    }
}

/// What a line turned out to be.
enum Step {
    Event(u64),
    Other,
    End(WireEnd),
}

/// Every kind of line after the header.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireLine<'a> {
    #[serde(borrow)]
    agent_key: Option<&'a RawValue>,
    event: Option<&'a RawValue>,
    receipt: Option<&'a RawValue>,
    commitment: Option<&'a RawValue>,
    end: Option<&'a RawValue>,
}

/// The fields that the sequencer adds to an envelope.
#[derive(Deserialize)]
struct WireSequenced {
    sequence_number: u64,
    sequenced_at: bowline_types::Timestamp,
}

/// The state between two lines.
struct Verifier<'p> {
    header: ExportHeader,
    sequencer_keys: SequencerKeys,
    pinned: &'p TrustedKeys,
    agents: AgentKeys<'p>,
    /// The number that the next event must have.
    next: u64,
    /// Leaves of the events from `next - leaves.len()` on, which no commitment has covered.
    leaves: Vec<Hash>,
    chain: Chain,
}

impl<'p> Verifier<'p> {
    fn open<R: BufRead>(lines: &mut Lines<R>, pinned: &'p TrustedKeys) -> Result<Self, ExportError> {
        let bad = |problem: String| ExportError::BadHeader { problem };
        let line = lines.next()?.ok_or_else(|| bad("the file has no whole line".to_owned()))?;
        let header = parse_header(line.text).map_err(bad)?;
        let sequencer_keys = SequencerKeys::accept(&header.sequencer_keys, pinned)
            .map_err(|problem| ExportError::BadKey { line: line.number, problem })?;
        Ok(Self {
            sequencer_keys,
            pinned,
            agents: AgentKeys::new(pinned),
            next: header.sequence_start,
            header,
            leaves: Vec::new(),
            chain: Chain::default(),
        })
    }

    fn line(&mut self, line: Line<'_>) -> Result<Step, ExportError> {
        let wire: WireLine<'_> =
            serde_json::from_str(line.text).map_err(|problem| self.unreadable(line, &problem.to_string()))?;
        match (wire.agent_key, wire.event, wire.receipt, wire.commitment, wire.end) {
            (Some(key), None, None, None, None) => self.agent_key(line.number, key).map(|()| Step::Other),
            (None, Some(event), Some(receipt), None, None) => {
                self.event(line.number, event.get(), receipt.get()).map(Step::Event)
            }
            (None, None, None, Some(commitment), None) => {
                self.commitment(line.number, commitment.get()).map(|()| Step::Other)
            }
            (None, None, None, None, Some(end)) => serde_json::from_str(end.get())
                .map(Step::End)
                .map_err(|e| ExportError::BadLine { line: line.number, problem: e.to_string() }),
            _ => Err(self.unreadable(line, "expected one of agent_key, event with receipt, commitment, end")),
        }
    }

    /// A line that cannot be read at all: the due event's line if it starts like one.
    fn unreadable(&self, line: Line<'_>, problem: &str) -> ExportError {
        let problem = format!("{problem} in `{}`", shown(line.text));
        if line.text.starts_with("{\"event\"") {
            return self.bad_event(self.next, line.number, problem);
        }
        ExportError::BadLine { line: line.number, problem }
    }

    fn agent_key(&mut self, line: u64, key: &RawValue) -> Result<(), ExportError> {
        let record: AgentKeyRecord = serde_json::from_str(key.get())
            .map_err(|e| ExportError::BadLine { line, problem: e.to_string() })?;
        self.agents.accept(&record).map_err(|problem| ExportError::BadKey { line, problem })
    }

    fn event(&mut self, line: u64, event: &str, receipt: &str) -> Result<u64, ExportError> {
        let due = self.next;
        let sequenced: WireSequenced =
            serde_json::from_str(event).map_err(|e| self.bad_event(due, line, e.to_string()))?;
        let found = sequenced.sequence_number;
        if found != due || due > self.header.sequence_end {
            return Err(self.out_of_order(line, found));
        }
        let leaf = self
            .check_event(event, receipt, &sequenced)
            .map_err(|problem| self.bad_event(due, line, problem))?;
        self.leaves.push(leaf);
        self.next += 1;
        Ok(due)
    }

    fn out_of_order(&self, line: u64, found: u64) -> ExportError {
        let due = self.next;
        if found < due {
            return self.bad_event(found, line, format!("stands where {due} is due"));
        }
        if due > self.header.sequence_end {
            let end = self.header.sequence_end;
            return self.bad_event(found, line, format!("the header announces no event after {end}"));
        }
        self.bad_event(due, line, format!("is missing; {found} stands in its place"))
    }

    /// Everything about one event; returns its leaf.
    fn check_event(&mut self, event: &str, receipt: &str, sequenced: &WireSequenced) -> Result<Hash, String> {
        let envelope = Envelope::parse(event).map_err(|e| e.to_string())?;
        if envelope.stream != self.header.stream {
            return Err(format!("it is of stream {}", envelope.stream));
        }
        let key = self.agents.get(envelope.source_agent_id, envelope.agent_key_id);
        let verified = check::verify(envelope, key).map_err(|rejected| rejected.rejection.to_string())?;
        let envelope = &verified.envelope;
        let receipt = Receipt::parse(receipt).map_err(|e| e.to_string())?;
        if receipt.stream != envelope.stream
            || receipt.event_id != envelope.event_id
            || receipt.sequence_number != sequenced.sequence_number
        {
            return Err("the receipt is of another event".to_owned());
        }
        if receipt.sequenced_at != sequenced.sequenced_at {
            return Err("event and receipt differ in sequenced_at".to_owned());
        }
        let (sequencer_id, version) = (receipt.sequencer_id, receipt.key_version);
        let key = self
            .sequencer_keys
            .get(sequencer_id, version)
            .ok_or_else(|| format!("the header has no key version {version} of sequencer {sequencer_id}"))?;
        receipt.verify(Some(&verified.signing_hash), key).map_err(|e| e.to_string())?;
        let number = sequenced.sequence_number;
        Ok(leaf_hash(envelope.stream, number, &verified.signing_hash, &envelope.agent_signature))
    }

    fn commitment(&mut self, line: u64, text: &str) -> Result<(), ExportError> {
        let commitment =
            Commitment::from_json(text).map_err(|e| ExportError::BadLine { line, problem: e.to_string() })?;
        if commitment.sequence_end >= self.next && self.next <= self.header.sequence_end {
            let end = commitment.sequence_end;
            return Err(self.bad_event(
                self.next,
                line,
                format!("is missing; a commitment up to {end} follows"),
            ));
        }
        if commitment.stream != self.header.stream {
            let problem = format!("it is of stream {}", commitment.stream);
            return Err(bad(&commitment, line, problem));
        }
        let (first, next) = (self.header.sequence_start, self.next);
        let place = Place { line, first, next, all_read: next > self.header.sequence_end };
        match commitment.corrects {
            Some(corrects) => self.chain.correct(commitment, corrects, place),
            None => {
                self.chain.extend(commitment, &self.leaves, place)?;
                self.leaves.clear();
                Ok(())
            }
        }
    }

    /// Checks the end line, and that nothing follows it.
    fn close<R: BufRead>(
        mut self,
        end: &WireEnd,
        content_hash: Hash,
        lines: &mut Lines<R>,
    ) -> Result<ExportReport, ExportError> {
        let line = lines.number;
        if self.next <= self.header.sequence_end {
            return Err(self.bad_event(self.next, line, "is missing; the end line follows".to_owned()));
        }
        let event_count = self.next - self.header.sequence_start;
        if end.event_count != event_count || end.head_sequence < self.header.sequence_end {
            let problem = format!(
                "the end line has {} events and head {}, the file has {event_count} up to {}",
                end.event_count, end.head_sequence, self.header.sequence_end
            );
            return Err(ExportError::BadLine { line, problem });
        }
        self.chain.finish(end.head_sequence == self.header.sequence_end)?;
        if end.content_hash != content_hash {
            return Err(ExportError::ContentHash { computed: content_hash, expected: end.content_hash });
        }
        if lines.next()?.is_some() || !lines.buffer.is_empty() {
            let problem = "the file goes on after its end line".to_owned();
            return Err(ExportError::BadLine { line: line + 1, problem });
        }
        Ok(ExportReport {
            stream: self.header.stream,
            event_count,
            sequence_start: self.header.sequence_start,
            sequence_end: self.header.sequence_end,
            head_sequence: end.head_sequence,
            commitment_count: self.chain.commitment_count,
            committed_event_count: self.chain.committed_event_count,
            last_state_root: self.chain.state_root(),
            correction_count: self.chain.correction_count,
            corrected: self.chain.corrected,
            commitments: self.chain.all,
            sequencer_keys_pinned: !self.pinned.sequencer_keys.is_empty(),
            agent_keys_pinned: self.agents.from_pins,
            agent_keys_from_file: self.agents.from_file,
            content_hash,
        })
    }

    fn bad_event(&self, sequence_number: u64, line: u64, problem: String) -> ExportError {
        ExportError::BadEvent { sequence_number, line, problem }
    }

    fn truncated(&self, line: u64) -> ExportError {
        let last_sequence = self.next - 1;
        ExportError::Truncated { line, last_sequence, sequence_end: self.header.sequence_end }
    }
}

fn parse_header(text: &str) -> Result<ExportHeader, String> {
    /// The version alone, so that a later format is named as such whatever else it changes.
    #[derive(Deserialize)]
    struct Version {
        bowline_export: u32,
    }
    let Version { bowline_export } = serde_json::from_str(text).map_err(|e| e.to_string())?;
    if bowline_export != EXPORT_VERSION {
        return Err(format!("format version {bowline_export}; this verifier knows {EXPORT_VERSION}"));
    }
    let wire: WireHeader = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let header = ExportHeader {
        stream: StreamId::new(wire.tenant_id, wire.store_id),
        sequence_start: wire.sequence_start,
        sequence_end: wire.sequence_end,
        exported_at: wire.exported_at,
        sequencer_keys: wire.sequencer_keys,
    };
    if header.event_count() != Some(wire.event_count) {
        return Err(format!(
            "{} events do not fit the range {}..={}",
            wire.event_count, wire.sequence_start, wire.sequence_end
        ));
    }
    Ok(header)
}
