//! What an audit found: one fault each, with its place, what was expected and what is there.
//!
//! Findings are counted without end and kept up to a limit, so that a store full of faults can't fill memory.

use bowline_types::StreamId;
use serde::Serialize;

/// Findings that are kept; further ones are counted.
pub const FINDINGS_MAX: usize = 1_000;

/// What kind of fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// The engine's own check of its file, indexes or references.
    Engine,
    /// A stream's counter is not its last event's number.
    Counter,
    /// A number is missing, or one is there that must not be.
    Number,
    /// A row can't be read as an event or a commitment.
    Unreadable,
    /// The payload is not the one that was hashed.
    PayloadHash,
    /// What the agent signed is not what the event says.
    SigningHash,
    /// The agent's key is not registered.
    AgentKey,
    /// The agent's signature is wrong.
    AgentSignature,
    /// The receipt is not that of this event and number.
    ReceiptHash,
    /// The sequencer's key is not known.
    SequencerKey,
    /// The sequencer's signature over the receipt is wrong.
    SequencerSignature,
    /// The sequencer's signature over the receipt and its time is wrong.
    Attestation,
    /// The stored Merkle leaf is missing or not that of the event.
    Leaf,
    /// Time goes back.
    Time,
    /// An entity's versions are not 1, 2, 3, …
    EntityVersion,
    /// Several events have one id.
    RepeatedId,
    /// A commitment is not consistent in itself, or covers what is not there.
    Commitment,
    /// A commitment does not continue the one before.
    Chain,
    /// A commitment's root is not that of its events.
    MerkleRoot,
    /// The stored levels of a commitment's tree are not those of its events.
    UpperLevels,
    /// A commitment's mark and the sends of its anchors tell different things.
    Anchor,
    /// A follower is further than its stream.
    Cursor,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The stream, unless it is of the store as a whole.
    #[serde(serialize_with = "as_text")]
    pub stream: Option<StreamId>,
    /// The number in the stream, where there is one.
    pub sequence_number: Option<u64>,
    /// What kind of fault it is.
    pub kind: FindingKind,
    /// What it is of, beyond stream and number; may be empty.
    pub subject: String,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

fn as_text<S: serde::Serializer>(stream: &Option<StreamId>, serializer: S) -> Result<S::Ok, S::Error> {
    match stream {
        Some(stream) => serializer.collect_str(stream),
        None => serializer.serialize_none(),
    }
}

impl Finding {
    /// A fault whose place is not given yet.
    pub(super) fn new(kind: FindingKind, expected: impl Into<String>, found: impl Into<String>) -> Self {
        let (expected, found) = (expected.into(), found.into());
        Self { stream: None, sequence_number: None, kind, subject: String::new(), expected, found }
    }

    /// A fault in a stream.
    pub(super) fn of(
        stream: StreamId,
        kind: FindingKind,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self { stream: Some(stream), ..Self::new(kind, expected, found) }
    }

    /// The fault at that number.
    #[must_use]
    pub(super) fn at(self, sequence_number: u64) -> Self {
        Self { sequence_number: Some(sequence_number), ..self }
    }
}

/// Findings, kept up to [`FINDINGS_MAX`].
#[derive(Debug, Clone, Default)]
pub struct Findings {
    kept: Vec<Finding>,
    total: u64,
}

impl Findings {
    /// Those that were kept, by stream and number.
    pub fn kept(&self) -> &[Finding] {
        &self.kept
    }

    /// How many there are.
    pub fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn add(&mut self, finding: Finding) {
        self.total += 1;
        if self.kept.len() < FINDINGS_MAX {
            self.kept.push(finding);
        }
    }

    pub(super) fn sort(&mut self) {
        self.kept.sort();
    }
}
