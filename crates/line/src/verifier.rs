//! Verification, before any lock and outside of any transaction: hashes, key, signature.
//!
//! Small batches are verified where they are, larger ones on all cores, so that the threads that serve
//! connections are never held for long.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bowline_runtime::Clock;
use bowline_store::StoreError;
use bowline_types::Timestamp;
use bowline_ves::{Envelope, Rejected, Rejection, VerifiedEvent, verify_all};
use metrics::counter;
use rayon::prelude::*;

use crate::keys::{KeyName, KeyRing, NOT_REGISTERED, RingKey};
use crate::metrics::{EVENTS_VERIFIED, count_rejection};

/// Up to so many events are verified on the calling thread: about 100 µs of it.
const INLINE_EVENTS_MAX: usize = 2;

/// Events whose verifications share a last step: from about eight on its price hardly matters.
const CHUNK_EVENTS_MIN: usize = 8;
const CHUNK_EVENTS_MAX: usize = 64;

/// What verification said of one envelope.
pub type Judged = Result<VerifiedEvent, Rejection>;

/// What verification said of a batch.
#[derive(Debug, Clone)]
pub struct Verdicts {
    /// One an envelope, in their order.
    pub judged: Vec<Judged>,
    /// The epoch of the agent keys that was relied on. It goes with the events to the append, which refuses
    /// them if keys have changed since.
    pub keys_epoch: u64,
}

/// The same with the envelope given back.
pub(crate) type Examined = Result<VerifiedEvent, Box<Rejected>>;

/// Verifies envelopes against the registered keys; cheap to clone.
#[derive(Debug, Clone)]
pub struct Verifier {
    keys: KeyRing,
    clock: Arc<dyn Clock>,
    grace: Duration,
}

/// The keys that a batch names, and the moment at which they are judged.
struct Keys {
    found: HashMap<KeyName, Option<Arc<RingKey>>>,
    now: Timestamp,
    grace: Duration,
}

impl Verifier {
    /// `grace` is how long after a key's last moment an event may arrive that was made before it.
    pub(crate) fn new(keys: KeyRing, clock: Arc<dyn Clock>, grace: Duration) -> Self {
        Self { keys, clock, grace }
    }

    /// How long after a key's last moment an event may arrive that was made before it.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// Judges each envelope, in order.
    ///
    /// # Errors
    /// A key could not be looked up; nothing is known about the envelopes then.
    pub async fn verify(&self, envelopes: Vec<Envelope>) -> Result<Verdicts, StoreError> {
        let (examined, keys_epoch) = self.examine(envelopes).await?;
        let judged = examined.into_iter().map(|one| one.map_err(|rejected| rejected.rejection)).collect();
        Ok(Verdicts { judged, keys_epoch })
    }

    /// Judges each envelope, in order, and gives back what is rejected; with the keys' epoch as in [`Verdicts`].
    ///
    /// # Errors
    /// A key could not be looked up; nothing is known about the envelopes then.
    pub(crate) async fn examine(&self, envelopes: Vec<Envelope>) -> Result<(Vec<Examined>, u64), StoreError> {
        let keys_epoch = self.keys.epoch();
        let keys = self.resolve(&envelopes).await?;
        let judged = if envelopes.len() <= INLINE_EVENTS_MAX {
            judge(envelopes, &keys)
        } else {
            let (answer, verdict) = tokio::sync::oneshot::channel();
            rayon::spawn(move || {
                // A panic that left this closure would end the process; caught, it fails one request.
                let work = || judge_on_all_cores(envelopes, &keys);
                if let Ok(judged) = std::panic::catch_unwind(AssertUnwindSafe(work)) {
                    drop(answer.send(judged));
                }
            });
            verdict.await.map_err(|_| StoreError::Internal("a verification panicked".to_owned()))?
        };
        let verified = judged.iter().filter(|j| j.is_ok()).count();
        counter!(EVENTS_VERIFIED).increment(verified as u64);
        judged
            .iter()
            .filter_map(|j| j.as_ref().err())
            .for_each(|rejected| count_rejection(&rejected.rejection));
        Ok((judged, keys_epoch))
    }

    async fn resolve(&self, envelopes: &[Envelope]) -> Result<Keys, StoreError> {
        let mut found = HashMap::new();
        for envelope in envelopes {
            if let Entry::Vacant(entry) = found.entry(key_name(envelope)) {
                let key = self.keys.find(*entry.key()).await?;
                entry.insert(key);
            }
        }
        Ok(Keys { found, now: self.clock.now(), grace: self.grace })
    }
}

fn key_name(envelope: &Envelope) -> KeyName {
    (envelope.stream.tenant_id, envelope.source_agent_id, envelope.agent_key_id)
}

fn judge_on_all_cores(envelopes: Vec<Envelope>, keys: &Keys) -> Vec<Examined> {
    // A few chunks a core, so that none of them waits long for the others.
    let chunk =
        (envelopes.len() / (4 * rayon::current_num_threads())).clamp(CHUNK_EVENTS_MIN, CHUNK_EVENTS_MAX);
    envelopes.into_par_iter().chunks(chunk).flat_map_iter(|chunk| judge(chunk, keys)).collect()
}

fn judge(envelopes: Vec<Envelope>, keys: &Keys) -> Vec<Examined> {
    let key = |envelope: &Envelope| {
        let name = key_name(envelope);
        match keys.found.get(&name) {
            Some(Some(key)) => {
                // An event whose time can't be read is refused for that, before its key is looked at.
                let made = || envelope.created_at_timestamp().ok();
                key.objection(keys.now, keys.grace, made).map_or(Ok(key.as_ref()), Err)
            }
            Some(None) | None => Err(format!("key {} of agent {} {NOT_REGISTERED}", name.2, name.1)),
        }
    };
    verify_all(envelopes, key)
}
