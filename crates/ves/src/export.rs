//! Writes a range of a stream as one self-contained file that anyone can verify offline.
//!
//! The file is UTF-8, one JSON object a line, each line ended by `\n`:
//!
//! 1. `{"bowline_export":1, tenant_id, store_id, sequence_start, sequence_end, event_count, exported_at,
//!    sequencer_keys:[{key_version, sequencer_id, public_key}]}`
//! 2. `{"agent_key":{agent_id, agent_key_id, public_key}}`, anywhere before the first event that names it
//! 3. `{"event":{…},"receipt":{…}}`, in the order of the sequence, no number missing
//! 4. `{"commitment":{…}}`, directly after the last event that it covers; only whole ones. A correction stands
//!    after the commitment that is before it in the chain
//! 5. `{"end":{event_count, head_sequence, content_hash}}`, the hash being SHA-256 over all bytes before
//!
//! The writer refuses lines that would make the file unverifiable: a gap, a repeated number, a commitment out
//! of place, an end before the last event.

use std::io::{self, Write};

use bowline_types::{AgentId, StoreId, StreamId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::commitment::Commitment;
use crate::envelope::Envelope;
use crate::hash::Hash;
use crate::keys::AgentPublicKey;
use crate::receipt::Receipt;

/// The version of the file format.
pub const EXPORT_VERSION: u32 = 1;

/// One of the sequencer's public keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequencerKeyRecord {
    /// Counts the sequencer's keys.
    pub key_version: u32,
    /// The sequencer that has the key.
    pub sequencer_id: Uuid,
    /// 32 bytes; on the wire `0x` and hex.
    pub public_key: AgentPublicKey,
}

/// One agent's public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentKeyRecord {
    /// The agent that has the key.
    pub agent_id: AgentId,
    /// Which of the agent's keys it is.
    pub agent_key_id: u32,
    /// 32 bytes; on the wire `0x` and hex.
    pub public_key: AgentPublicKey,
}

/// What a file says about itself in its first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportHeader {
    /// Tenant and store.
    pub stream: StreamId,
    /// First sequence number of the file, from 1.
    pub sequence_start: u64,
    /// Last sequence number; `sequence_start - 1` if the file has no events.
    pub sequence_end: u64,
    /// When the file was written.
    pub exported_at: Timestamp,
    /// Every key that signed a receipt of the file.
    pub sequencer_keys: Vec<SequencerKeyRecord>,
}

impl ExportHeader {
    /// Events of the file: `sequence_end - sequence_start + 1`, or nothing if the range is impossible.
    pub fn event_count(&self) -> Option<u64> {
        let count = self.sequence_end.checked_add(1)?.checked_sub(self.sequence_start)?;
        (self.sequence_start > 0).then_some(count)
    }
}

/// The first line.
#[derive(Serialize, Deserialize)]
pub(crate) struct WireHeader {
    pub(crate) bowline_export: u32,
    pub(crate) tenant_id: TenantId,
    pub(crate) store_id: StoreId,
    pub(crate) sequence_start: u64,
    pub(crate) sequence_end: u64,
    pub(crate) event_count: u64,
    pub(crate) exported_at: Timestamp,
    pub(crate) sequencer_keys: Vec<SequencerKeyRecord>,
}

/// The last line's object.
#[derive(Serialize, Deserialize)]
pub(crate) struct WireEnd {
    pub(crate) event_count: u64,
    pub(crate) head_sequence: u64,
    pub(crate) content_hash: Hash,
}

/// Writes an export line by line. Every error of the sink is passed on; a misuse is `InvalidInput` and writes
/// nothing.
pub struct ExportWriter<W> {
    sink: W,
    content: Sha256,
    stream: StreamId,
    sequence_start: u64,
    sequence_end: u64,
    /// The number that the next event must have.
    next: u64,
    /// The number after the last commitment; 0 while there is none.
    committed_next: u64,
    line: Vec<u8>,
}

impl<W: Write> ExportWriter<W> {
    /// Starts a file: writes the header.
    pub fn new(sink: W, header: &ExportHeader) -> io::Result<Self> {
        let event_count =
            header.event_count().ok_or_else(|| misuse("the range of the header is impossible"))?;
        let mut writer = Self {
            sink,
            content: Sha256::new(),
            stream: header.stream,
            sequence_start: header.sequence_start,
            sequence_end: header.sequence_end,
            next: header.sequence_start,
            committed_next: 0,
            line: Vec::new(),
        };
        serde_json::to_writer(
            &mut writer.line,
            &WireHeader {
                bowline_export: EXPORT_VERSION,
                tenant_id: header.stream.tenant_id,
                store_id: header.stream.store_id,
                sequence_start: header.sequence_start,
                sequence_end: header.sequence_end,
                event_count,
                exported_at: header.exported_at,
                sequencer_keys: header.sequencer_keys.clone(),
            },
        )?;
        writer.write_line()?;
        Ok(writer)
    }

    /// Writes an agent's key; must come before the first event that names it.
    pub fn agent_key(&mut self, key: &AgentKeyRecord) -> io::Result<()> {
        self.line.extend_from_slice(b"{\"agent_key\":");
        serde_json::to_writer(&mut self.line, key)?;
        self.line.push(b'}');
        self.write_line()
    }

    /// Writes the next event with its receipt.
    pub fn event(&mut self, envelope: &Envelope, receipt: &Receipt) -> io::Result<()> {
        if receipt.sequence_number != self.next || self.next > self.sequence_end {
            return Err(misuse("the event is not the next one of the range"));
        }
        if envelope.stream != self.stream || envelope.event_id != receipt.event_id {
            return Err(misuse("event and receipt do not belong together"));
        }
        self.line.extend_from_slice(b"{\"event\":");
        envelope.write_sequenced_json(&mut self.line, receipt.sequence_number, receipt.sequenced_at);
        self.line.extend_from_slice(b",\"receipt\":");
        serde_json::to_writer(&mut self.line, receipt)?;
        self.line.push(b'}');
        self.next += 1;
        self.write_line()
    }

    /// Writes a commitment whose last event was just written and whose first one is in the file, or a correction
    /// of a commitment that lies behind the last event.
    pub fn commitment(&mut self, commitment: &Commitment) -> io::Result<()> {
        let start = commitment.sequence_start;
        let in_place = match commitment.corrects {
            Some(_) => commitment.sequence_end < self.next,
            None => {
                start >= self.sequence_start
                    && commitment.sequence_end.checked_add(1) == Some(self.next)
                    && (self.committed_next == 0 || start == self.committed_next)
            }
        };
        if !in_place || commitment.stream != self.stream {
            return Err(misuse("the commitment does not end at the last event or leaves a gap"));
        }
        if commitment.corrects.is_none() {
            self.committed_next = self.next;
        }
        self.line.extend_from_slice(b"{\"commitment\":");
        serde_json::to_writer(&mut self.line, commitment)?;
        self.line.push(b'}');
        self.write_line()
    }

    /// Writes the end line and flushes. `head_sequence` is the stream's last number when the export was
    /// made. Returns the sink and the content hash.
    pub fn finish(mut self, head_sequence: u64) -> io::Result<(W, Hash)> {
        if self.next != self.sequence_end + 1 {
            return Err(misuse("events of the range are missing"));
        }
        let content_hash = Hash::new(self.content.clone().finalize().into());
        let event_count = self.next - self.sequence_start;
        self.line.extend_from_slice(b"{\"end\":");
        serde_json::to_writer(&mut self.line, &WireEnd { event_count, head_sequence, content_hash })?;
        self.line.push(b'}');
        self.write_line()?;
        self.sink.flush()?;
        Ok((self.sink, content_hash))
    }

    fn write_line(&mut self) -> io::Result<()> {
        self.line.push(b'\n');
        self.content.update(&self.line);
        self.sink.write_all(&self.line)?;
        self.line.clear();
        Ok(())
    }
}

fn misuse(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, problem)
}
