//! Steps become signed events, on all cores: decoding and signing is most of an indexer's work.

use std::collections::BTreeMap;
use std::sync::Arc;

use bowline_types::EvmHash;
use bowline_ves::{SecretKey, VerifiedEvent, sign_events};

use crate::event::{Author, Entry};
use crate::fetch::Step;
use crate::halt::Halt;

/// Events that one thread decodes and signs at a time.
const CHUNK_EVENTS: usize = 250;

/// What one thread makes of its entries.
type SignedChunk = (Vec<VerifiedEvent>, Counted);

/// Whose events are signed.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    pub(crate) author: Arc<Author>,
    pub(crate) key: Arc<SecretKey>,
    pub(crate) generation: u64,
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
    pub(crate) counted: Counted,
}

/// What the metrics are told once the step is written.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) registries: BTreeMap<Arc<str>, u64>,
    pub(crate) undecoded: u64,
}

impl Signer {
    /// Decodes and signs a step.
    pub(crate) async fn sign(self, step: Step) -> Result<SignedStep, Halt> {
        let Step { from, parent, marks, last_time, entries } = step;
        let expected = entries.len();
        let entries: Arc<[Entry]> = entries.into();
        let chunk = |from: usize| {
            let (entries, signer) = (Arc::clone(&entries), self.clone());
            let to = expected.min(from + CHUNK_EVENTS);
            tokio::task::spawn_blocking(move || signer.sign_chunk(&entries[from..to]))
        };
        let tasks: Vec<_> = (0..expected).step_by(CHUNK_EVENTS).map(chunk).collect();
        let (mut events, mut counted) = (Vec::with_capacity(expected), Counted::default());
        for task in tasks {
            let (signed, of_chunk) = task.await.map_err(|e| Halt::Stuck(e.to_string()))??;
            events.extend(signed);
            counted.undecoded += of_chunk.undecoded;
            for (registry, count) in of_chunk.registries {
                *counted.registries.entry(registry).or_default() += count;
            }
        }
        if events.len() != expected {
            return Err(Halt::Stuck(format!("{expected} logs became {} events", events.len())));
        }
        Ok(SignedStep { from, parent, marks, last_time, events, counted })
    }

    fn sign_chunk(&self, entries: &[Entry]) -> Result<SignedChunk, Halt> {
        let (mut drafts, mut counted) = (Vec::with_capacity(entries.len()), Counted::default());
        for drafted in entries.iter().filter_map(|entry| self.author.draft(entry, self.generation)) {
            *counted.registries.entry(drafted.registry).or_default() += 1;
            counted.undecoded += u64::from(!drafted.is_decoded);
            drafts.push(drafted.draft);
        }
        let signed = sign_events(drafts, &self.key);
        let signed = signed.map_err(|e| Halt::Stuck(format!("an event can't be signed: {e}")))?;
        Ok((signed, counted))
    }
}
