//! The line as a whole: built from a store, a key and a clock, run as three tasks, used through a handle.
//!
//! It puts the parts together and decides nothing itself.

use std::sync::Arc;
use std::time::Duration;

use bowline_runtime::{Clock, Tasks};
use bowline_store::{LineStore, StoreError, StoredEvent, sign_receipts};
use bowline_ves::SequencerSigner;

use crate::appender::{self, Appender, Sequencer};
use crate::commitments::Commitments;
use crate::committer::Committer;
use crate::config::Config;
use crate::intake::{Intake, PayloadCheck};
use crate::keys::KeyRing;
use crate::letters::{self, LetterOffice};
use crate::reader::LineReader;
use crate::retries::Letters;
use crate::verifier::Verifier;

/// What the line needs.
#[derive(Debug, Clone)]
pub struct Dependencies {
    /// Where events are kept.
    pub store: Arc<dyn LineStore>,
    /// The sequencer's identity and key.
    pub signer: Arc<SequencerSigner>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What payloads must satisfy; nothing if absent.
    pub payloads: Option<Arc<dyn PayloadCheck>>,
}

/// The line's tasks, not yet running.
#[derive(Debug)]
pub struct Service {
    sequencer: Sequencer,
    committer: Committer,
    letter_office: LetterOffice,
}

/// Everything that others may do with the line; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    /// Checks what agents sent.
    pub verifier: Verifier,
    /// Orders and persists it.
    pub appender: Appender,
    /// Both in one, for whoever takes envelopes in.
    pub intake: Intake,
    /// What was not taken and can be mended.
    pub letters: Letters,
    /// Reads and follows it.
    pub reader: LineReader,
    /// Seals and proves it.
    pub commitments: Commitments,
    /// The store, for what is not about order: keys, cursors, health.
    pub store: Arc<dyn LineStore>,
    /// The sequencer's identity and key.
    pub signer: Arc<SequencerSigner>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Handle {
    /// The events with the signatures of their receipts, made now where nobody has asked for them before: away from
    /// the threads that serve connections.
    pub async fn with_receipts(&self, mut events: Vec<StoredEvent>) -> Result<Vec<StoredEvent>, StoreError> {
        if events.iter().all(|event| event.receipt.signatures.is_some()) {
            return Ok(events);
        }
        let signer = Arc::clone(&self.signer);
        let signed = tokio::task::spawn_blocking(move || {
            sign_receipts(&mut events, &signer);
            events
        });
        signed.await.map_err(|error| StoreError::Internal(error.to_string()))
    }
}

impl Service {
    /// Puts the line together; nothing runs yet.
    pub fn build(config: &Config, dependencies: Dependencies) -> (Self, Handle) {
        crate::metrics::declare();
        let Dependencies { store, signer, clock, payloads } = dependencies;
        let limits = &config.limits;
        let poll = Duration::from_millis(config.poll_ms.max(10));
        let ttl = Duration::from_secs(config.agent_key_ttl_secs);
        let keys = KeyRing::new(Arc::clone(&store), ttl, config.agent_keys_cached_max.max(1));
        let (appender, sequencer) = appender::build(
            Arc::clone(&store),
            Arc::clone(&signer),
            Arc::clone(&clock),
            limits.pending_events_max,
            limits.group_events_max.max(1),
        );
        let commitments =
            Commitments::new(Arc::clone(&store), Arc::clone(&clock), limits.commitment_events_max.max(1));
        let committer = Committer {
            policy: config.commitments,
            store: Arc::clone(&store),
            commitments: commitments.clone(),
            clock: Arc::clone(&clock),
            poll,
        };
        let (letter_box, letter_office) =
            letters::build(&config.dead_letters, Arc::clone(&store), Arc::clone(&clock));
        let grace = Duration::from_secs(config.agent_key_grace_secs);
        let verifier = Verifier::new(keys, Arc::clone(&clock), grace);
        let intake = Intake::new(verifier.clone(), payloads, appender.clone(), letter_box);
        let handle = Handle {
            verifier,
            appender,
            letters: Letters::new(Arc::clone(&store), Arc::clone(&clock), intake.clone()),
            intake,
            reader: LineReader::new(Arc::clone(&store), poll),
            commitments,
            store,
            signer,
            clock,
        };
        (Self { sequencer, committer, letter_office }, handle)
    }

    /// Starts the line's tasks.
    pub fn spawn(self, tasks: &Tasks) {
        let shutdown = tasks.shutdown().clone();
        tasks.spawn("sequencer", self.sequencer.run(shutdown.clone()));
        tasks.spawn("dead letters", self.letter_office.run(shutdown.clone()));
        tasks.spawn("committer", self.committer.run(shutdown));
    }
}
