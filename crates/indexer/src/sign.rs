//! Steps become signed events with their receipts, on all cores: decoding and signing is most of an indexer's work. A chain
//! has one writer, so the numbers that its events will get are known beforehand; if they turn out to be others the store
//! makes the receipts anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use bowline_runtime::Clock;
use bowline_types::{EvmHash, Timestamp};
use bowline_ves::{Placement, Receipt, SecretKey, SequencerSigner, VerifiedEvent, sign_events};

use crate::event::{Author, Entry};
use crate::fetch::Step;
use crate::halt::Halt;

/// Events that one thread decodes and signs at a time.
const CHUNK_EVENTS: usize = 250;

/// What one thread makes of its entries.
type SignedChunk = (Vec<VerifiedEvent>, Vec<Receipt>, Counted);

/// Whose events are signed.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    pub(crate) author: Arc<Author>,
    pub(crate) key: Arc<SecretKey>,
    pub(crate) generation: u64,
    pub(crate) sequencer: Arc<SequencerSigner>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// A step that is ready to be written.
#[derive(Debug)]
pub(crate) struct SignedStep {
    pub(crate) from: u64,
    pub(crate) parent: Option<EvmHash>,
    pub(crate) marks: Vec<(u64, EvmHash, u64)>,
    /// When the last block was made, seconds since 1970.
    pub(crate) last_time: Option<u64>,
    pub(crate) events: Vec<VerifiedEvent>,
    pub(crate) receipts: Vec<Receipt>,
    pub(crate) sealed_at: Timestamp,
    pub(crate) counted: Counted,
}

/// What the metrics are told once the step is written.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) registries: BTreeMap<Arc<str>, u64>,
    pub(crate) undecoded: u64,
}

impl Signer {
    /// Decodes and signs a step whose events will have the numbers after `head`.
    pub(crate) async fn sign(self, step: Step, head: u64) -> Result<SignedStep, Halt> {
        let Step { from, parent, marks, last_time, entries } = step;
        let (expected, sealed_at) = (entries.len(), self.clock.now());
        let entries: Arc<[Entry]> = entries.into();
        let chunk = |from: usize| {
            let (entries, signer) = (Arc::clone(&entries), self.clone());
            let to = expected.min(from + CHUNK_EVENTS);
            let head = head + from as u64;
            tokio::task::spawn_blocking(move || signer.sign_chunk(&entries[from..to], head, sealed_at))
        };
        let tasks: Vec<_> = (0..expected).step_by(CHUNK_EVENTS).map(chunk).collect();
        let (mut events, mut receipts) = (Vec::with_capacity(expected), Vec::with_capacity(expected));
        let mut counted = Counted::default();
        for task in tasks {
            let (signed, sealed, of_chunk) = task.await.map_err(|e| Halt::Stuck(e.to_string()))??;
            events.extend(signed);
            receipts.extend(sealed);
            counted.undecoded += of_chunk.undecoded;
            for (registry, count) in of_chunk.registries {
                *counted.registries.entry(registry).or_default() += count;
            }
        }
        if events.len() != expected {
            return Err(Halt::Stuck(format!("{expected} logs became {} events", events.len())));
        }
        Ok(SignedStep { from, parent, marks, last_time, events, receipts, sealed_at, counted })
    }

    fn sign_chunk(&self, entries: &[Entry], head: u64, sealed_at: Timestamp) -> Result<SignedChunk, Halt> {
        let (mut drafts, mut counted) = (Vec::with_capacity(entries.len()), Counted::default());
        for drafted in entries.iter().filter_map(|entry| self.author.draft(entry, self.generation)) {
            *counted.registries.entry(drafted.registry).or_default() += 1;
            counted.undecoded += u64::from(!drafted.is_decoded);
            drafts.push(drafted.draft);
        }
        let signed = sign_events(drafts, &self.key);
        let signed = signed.map_err(|e| Halt::Stuck(format!("an event can't be signed: {e}")))?;
        let placed = (head + 1..).zip(&signed).map(|(sequence_number, event)| Placement {
            stream: event.envelope.stream,
            event_id: event.envelope.event_id,
            signing_hash: &event.signing_hash,
            sequence_number,
            sequenced_at: sealed_at,
        });
        let receipts = self.sequencer.seal_all(&placed.collect::<Vec<_>>());
        Ok((signed, receipts, counted))
    }
}
