//! Verification, before any lock and outside of any transaction: hashes, key, signature.
//!
//! Small batches are verified where they are, larger ones on all cores, so that the threads that serve
//! connections are never held for long.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bowline_runtime::Clock;
use bowline_store::StoreError;
use bowline_ves::{Envelope, Rejection, VerifiedEvent, verify_all};
use metrics::counter;
use rayon::prelude::*;

use crate::keys::{KeyName, KeyRing, RingKey};
use crate::metrics::{EVENTS_VERIFIED, count_rejection};

/// Up to so many events are verified on the calling thread: about 100 µs of it.
const INLINE_EVENTS_MAX: usize = 2;

/// Events whose verifications share a last step: from about eight on its price hardly matters.
const CHUNK_EVENTS_MIN: usize = 8;
const CHUNK_EVENTS_MAX: usize = 64;

/// What verification said of one envelope.
pub type Judged = Result<VerifiedEvent, Rejection>;

/// Verifies envelopes against the registered keys; cheap to clone.
#[derive(Debug, Clone)]
pub struct Verifier {
    keys: KeyRing,
    clock: Arc<dyn Clock>,
}

type Keys = HashMap<KeyName, Result<Arc<RingKey>, String>>;

impl Verifier {
    pub(crate) fn new(keys: KeyRing, clock: Arc<dyn Clock>) -> Self {
        Self { keys, clock }
    }

    /// The keys that it verifies against.
    pub fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// Judges each envelope, in order.
    ///
    /// # Errors
    /// A key could not be looked up; nothing is known about the envelopes then.
    pub async fn verify(&self, envelopes: Vec<Envelope>) -> Result<Vec<Judged>, StoreError> {
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
        judged.iter().filter_map(|j| j.as_ref().err()).for_each(count_rejection);
        Ok(judged)
    }

    async fn resolve(&self, envelopes: &[Envelope]) -> Result<Keys, StoreError> {
        let now = self.clock.now();
        let mut keys = Keys::new();
        for envelope in envelopes {
            let name = key_name(envelope);
            if keys.contains_key(&name) {
                continue;
            }
            let key = match self.keys.find(name).await? {
                Some(key) => key.objection(now).map_or(Ok(key), Err),
                None => Err(format!("key {} of agent {} is not registered", name.2, name.1)),
            };
            keys.insert(name, key);
        }
        Ok(keys)
    }
}

fn key_name(envelope: &Envelope) -> KeyName {
    (envelope.stream.tenant_id, envelope.source_agent_id, envelope.agent_key_id)
}

fn judge_on_all_cores(envelopes: Vec<Envelope>, keys: &Keys) -> Vec<Judged> {
    // A few chunks a core, so that none of them waits long for the others.
    let chunk =
        (envelopes.len() / (4 * rayon::current_num_threads())).clamp(CHUNK_EVENTS_MIN, CHUNK_EVENTS_MAX);
    envelopes.into_par_iter().chunks(chunk).flat_map_iter(|chunk| judge(chunk, keys)).collect()
}

fn judge(envelopes: Vec<Envelope>, keys: &Keys) -> Vec<Judged> {
    let key = |envelope: &Envelope| match keys.get(&key_name(envelope)) {
        Some(Ok(key)) => Ok(key.as_ref()),
        Some(Err(objection)) => Err(objection.clone()),
        None => Err("not looked up".to_owned()),
    };
    verify_all(envelopes, key).into_iter().map(|judged| judged.map_err(|r| r.rejection)).collect()
}
