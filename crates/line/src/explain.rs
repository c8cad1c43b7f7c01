//! The life of one event, told in chapters: when it was made, numbered, verified, committed and proven.
//!
//! Each subsystem that does something with events tells its own chapters through [`ChapterSource`]; the line's
//! are [`LineChapters`]. What a chapter says is checked anew from the stored bytes while it is told, so a chapter
//! that does not hold says so. It changes nothing.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bowline_store::{AgentKeyRecord, LineStore, SequencerKeyRecord, StoreError, StoredEvent};
use bowline_types::{TenantId, Timestamp};
use bowline_ves::{AgentPublicKey, check_hashes, check_signature, event_signing_hash, leaf_hash};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::commitments::{Commitments, ProveError};

/// The event that is explained.
#[derive(Debug, Clone)]
pub struct Subject {
    /// As it is stored.
    pub event: StoredEvent,
    /// Whose view it is: what belongs to other organizations is not told. None for everybody's.
    pub viewer: Option<TenantId>,
}

/// Whether what a chapter tells has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChapterStatus {
    /// It happened, and it holds.
    Done,
    /// It has not happened yet.
    Pending,
    /// It does not hold, or it failed.
    Wrong,
}

/// One thing that happened to an event, or did not yet.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Chapter {
    /// A word: `created`, `sequenced`, `verified`, `committed`, `proven`, …
    pub name: &'static str,
    /// Whether it happened.
    pub status: ChapterStatus,
    /// When, if that is known.
    pub at: Option<Timestamp>,
    /// One sentence for a person.
    pub told: String,
    /// The figures, for machines.
    pub details: Map<String, Value>,
}

impl Chapter {
    fn new(
        name: &'static str,
        status: ChapterStatus,
        at: Option<Timestamp>,
        told: impl Into<String>,
    ) -> Self {
        Self { name, status, at, told: told.into(), details: Map::new() }
    }

    /// It happened at that time, if that is known.
    pub fn done(name: &'static str, at: Option<Timestamp>, told: impl Into<String>) -> Self {
        Self::new(name, ChapterStatus::Done, at, told)
    }

    /// It has not happened yet.
    pub fn pending(name: &'static str, told: impl Into<String>) -> Self {
        Self::new(name, ChapterStatus::Pending, None, told)
    }

    /// It does not hold, or it failed.
    pub fn wrong(name: &'static str, at: impl Into<Option<Timestamp>>, told: impl Into<String>) -> Self {
        Self::new(name, ChapterStatus::Wrong, at.into(), told)
    }

    /// With a figure.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Detail>) -> Self {
        self.details.insert(name.to_owned(), value.into().0);
        self
    }
}

/// A figure of a chapter: a number as a number, everything else as its text.
#[derive(Debug, Clone, PartialEq)]
pub struct Detail(Value);

impl From<u64> for Detail {
    fn from(number: u64) -> Self {
        Self(number.into())
    }
}

impl From<u32> for Detail {
    fn from(number: u32) -> Self {
        Self(number.into())
    }
}

impl<T: std::fmt::Display + ?Sized> From<&T> for Detail {
    fn from(text: &T) -> Self {
        Self(text.to_string().into())
    }
}

/// Whoever has something to tell about events.
#[async_trait]
pub trait ChapterSource: Debug + Send + Sync + 'static {
    /// Its chapters of that event, in the order in which they happen; none if it has nothing to do with it.
    async fn tell(&self, subject: &Subject) -> Result<Vec<Chapter>, StoreError>;
}

/// What the line itself tells.
#[derive(Debug)]
pub struct LineChapters {
    store: Arc<dyn LineStore>,
    commitments: Commitments,
}

impl LineChapters {
    /// The chapters of the line that lives in `store`.
    pub fn new(store: Arc<dyn LineStore>, commitments: Commitments) -> Self {
        Self { store, commitments }
    }

    async fn sequencer_key(&self, subject: &Subject) -> Result<Option<SequencerKeyRecord>, StoreError> {
        let receipt = &subject.event.receipt;
        let keys = self.store.sequencer_keys().await?;
        let signed = |key: &SequencerKeyRecord| {
            key.key_version == receipt.key_version && key.sequencer_id == receipt.sequencer_id
        };
        Ok(keys.into_iter().find(signed))
    }
}

#[async_trait]
impl ChapterSource for LineChapters {
    async fn tell(&self, subject: &Subject) -> Result<Vec<Chapter>, StoreError> {
        let envelope = &subject.event.envelope;
        let stream = envelope.stream;
        let key =
            self.store.agent_key(stream.tenant_id, envelope.source_agent_id, envelope.agent_key_id).await?;
        let sequencer_key = self.sequencer_key(subject).await?;
        let mut chapters = vec![
            created(subject),
            sequenced(subject, sequencer_key.as_ref()),
            verified(subject, key.as_ref()),
        ];
        let number = subject.event.receipt.sequence_number;
        let Some(record) = self.store.commitment_covering(stream, number).await? else {
            chapters.push(Chapter::pending("committed", "no commitment covers it yet"));
            return Ok(chapters);
        };
        let commitment = &record.commitment;
        let (start, end) = (commitment.sequence_start, commitment.sequence_end);
        let by = record.origin.as_str();
        let told = format!("events {start} to {end} were committed, asked for by: {by}");
        chapters.push(
            Chapter::done("committed", Some(commitment.committed_at), told)
                .with("batch_id", &commitment.batch_id)
                .with("sequence_start", start)
                .with("sequence_end", end)
                .with("merkle_root", &commitment.merkle_root)
                .with("new_state_root", &commitment.new_state_root)
                .with("origin", by),
        );
        chapters.push(match self.commitments.prove(stream, number, Some(commitment.batch_id)).await {
            Ok(answer) => proven(subject, &answer),
            Err(ProveError::Store(error)) => return Err(error),
            Err(error) => Chapter::wrong("proven", None, format!("there is no proof: {error}")),
        });
        Ok(chapters)
    }
}

fn created(subject: &Subject) -> Chapter {
    let envelope = &subject.event.envelope;
    let (agent, key) = (envelope.source_agent_id, envelope.agent_key_id);
    let told = format!("agent {agent} made it and signed it with its key {key}");
    // What the agent wrote is what it signed, whether it is a time that we can read or not.
    Chapter::done("created", envelope.created_at.parse().ok(), told)
        .with("created_at", &envelope.created_at)
        .with("event_type", &envelope.event_type)
        .with("entity_type", &envelope.entity_type)
        .with("entity_id", &envelope.entity_id)
        .with("agent_id", &agent)
        .with("agent_key_id", key)
}

fn sequenced(subject: &Subject, key: Option<&SequencerKeyRecord>) -> Chapter {
    let StoredEvent { receipt, signing_hash, entity_version, .. } = &subject.event;
    let number = receipt.sequence_number;
    let at = Some(receipt.sequenced_at);
    let public_key = key.and_then(|key| AgentPublicKey::from_bytes(&key.public_key).ok());
    let done = |under: &str| {
        Chapter::done("sequenced", at, format!("it became number {number} of its stream, under {under}"))
    };
    let wrong =
        |problem: &str| Chapter::wrong("sequenced", at, format!("it is number {number}, and {problem}"));
    let chapter = match (&public_key, receipt.signed()) {
        (_, None) if receipt.is_of(signing_hash) => {
            done("a receipt that is signed when somebody asks for it")
        }
        (_, None) => wrong("its receipt is of another event"),
        (None, Some(_)) => wrong("the sequencer's key is not known"),
        (Some(public_key), Some(signed)) => match signed.verify(Some(signing_hash), public_key) {
            Ok(()) => done("a signed receipt"),
            Err(error) => wrong(&format!("its receipt does not hold: {error}")),
        },
    };
    let chapter = chapter
        .with("sequence_number", number)
        .with("entity_version", *entity_version)
        .with("receipt_hash", &receipt.receipt_hash)
        .with("sequencer_id", &receipt.sequencer_id)
        .with("sequencer_key_version", receipt.key_version);
    match &public_key {
        Some(public_key) => chapter.with("sequencer_public_key", public_key),
        None => chapter,
    }
}

/// Checked now from the stored bytes; at ingest the same was checked before the number was given.
fn verified(subject: &Subject, key: Option<&AgentKeyRecord>) -> Chapter {
    let StoredEvent { envelope, signing_hash, receipt, .. } = &subject.event;
    let at = Some(receipt.sequenced_at);
    let public_key = key.and_then(|key| AgentPublicKey::from_bytes(&key.public_key).ok());
    let Some(public_key) = public_key else {
        let (agent, id) = (envelope.source_agent_id, envelope.agent_key_id);
        return Chapter::wrong(
            "verified",
            at,
            format!("key {id} of agent {agent} is not registered any more"),
        );
    };
    let checked = check_hashes(envelope)
        .and_then(|()| check_signature(envelope, &event_signing_hash(envelope), &public_key))
        .map_err(|rejection| rejection.message());
    let same_hash = event_signing_hash(envelope) == *signing_hash;
    let chapter = match checked {
        Ok(()) if same_hash => {
            Chapter::done("verified", at, "its hashes and its agent's signature are right")
        }
        Ok(()) => Chapter::wrong("verified", at, "the stored signing hash is not that of the event"),
        Err(problem) => Chapter::wrong("verified", at, format!("what is stored does not verify: {problem}")),
    };
    let chapter = chapter
        .with("algorithm", "ed25519")
        .with("public_key", &public_key)
        .with("signing_hash", signing_hash);
    match key {
        Some(key) => chapter.with("key_status", key.status.as_str()),
        None => chapter,
    }
}

fn proven(subject: &Subject, answer: &crate::ProofAnswer) -> Chapter {
    let StoredEvent { envelope, signing_hash, receipt, .. } = &subject.event;
    let leaf = leaf_hash(envelope.stream, receipt.sequence_number, signing_hash, &envelope.agent_signature);
    let at = Some(answer.commitment.committed_at);
    let holds = leaf == answer.proof.leaf_hash && answer.proof.verify(&answer.commitment.merkle_root).is_ok();
    let chapter = match holds {
        true => {
            Chapter::done("proven", at, "its leaf leads to the commitment's Merkle root, checked just now")
        }
        false => Chapter::wrong("proven", at, "the leaf under the commitment is not this event's"),
    };
    chapter
        .with("leaf_hash", &leaf)
        .with("leaf_index", answer.proof.leaf_index)
        .with("path_hashes", answer.proof.path.len() as u64)
}
