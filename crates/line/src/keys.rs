//! The agents' keys, cached: a key is looked up by tenant, agent and key id, and judged at the current moment.
//!
//! A copy that is older than the last change that this process has heard of is read again. That may be late; so
//! the epoch goes with the events to the store, which refuses them if keys have changed since.
//!
//! A key that signs often is kept prepared (its table costs about 30 KiB), the busiest few with a large table
//! (640 KiB), the others bare. What is not
//! found is not cached: an agent may send its events right after its key was registered.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bowline_store::{AgentKeyRecord, AgentKeyStatus, ChangeKind, LineStore, StoreError};
use bowline_types::{AgentId, TenantId, Timestamp};
use bowline_ves::{AgentPublicKey, PreparedKey, Signature, Verification, VerifyKey};
use metrics::{counter, gauge};

use crate::metrics::{CACHE_ENTRIES, CACHE_ENTRIES_MAX, CACHE_HITS, CACHE_MISSES};

/// Verifications by one key after which it is prepared: preparing costs as much as it saves in sixty of them.
const PREPARE_AFTER_USES: u32 = 64;

/// Prepared keys at most: 512 tables are 15 MiB.
const PREPARED_MAX: u32 = 512;

/// Verifications by one key after which it gets the large table, which costs a millisecond again.
const WIDEN_AFTER_USES: u32 = 1_024;

/// Large tables at most: 16 are 10 MiB.
const WIDE_MAX: u32 = 16;

/// How the objection to a key that nobody registered ends; clients and dead letters tell it by these words.
pub(crate) const NOT_REGISTERED: &str = "is not registered";

/// How the objection to a key ends whose time has not come.
pub(crate) const NOT_VALID_YET: &str = "is not valid yet";

/// Which key: the tenant's agent's number.
pub(crate) type KeyName = (TenantId, AgentId, u32);

/// A registered key, ready to verify.
#[derive(Debug)]
pub(crate) struct RingKey {
    record: AgentKeyRecord,
    public_key: AgentPublicKey,
    prepared: OnceLock<PreparedKey>,
    wide: OnceLock<PreparedKey>,
    uses: AtomicU32,
    loaded_at: Instant,
    /// The keys' epoch that this process knew of before the key was read.
    epoch: u64,
    places: Arc<Places>,
}

/// How many keys are prepared, and how many of them have the large table.
#[derive(Debug, Default)]
struct Places {
    prepared: AtomicU32,
    wide: AtomicU32,
}

/// Takes one place of at most `max`, if one is free.
fn take_place(places: &AtomicU32, max: u32) -> bool {
    places.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < max).then_some(n + 1)).is_ok()
}

impl RingKey {
    /// Why the key must not be used at that moment for an event that was made when `created_at` says; none if
    /// it may.
    ///
    /// An event that was made while the key was valid may arrive up to `grace` later. A revoked key has no
    /// grace: whoever stole it writes any time of making into an event.
    pub(crate) fn objection(
        &self,
        now: Timestamp,
        grace: Duration,
        created_at: impl FnOnce() -> Option<Timestamp>,
    ) -> Option<String> {
        let AgentKeyRecord { agent_id: agent, key_id: id, valid_from, valid_to, .. } = &self.record;
        match self.record.status {
            AgentKeyStatus::Revoked => return Some(format!("key {id} of agent {agent} is revoked")),
            AgentKeyStatus::Expired => return Some(format!("key {id} of agent {agent} is expired")),
            AgentKeyStatus::Active => {}
        }
        if let Some(from) = valid_from.filter(|from| now < *from) {
            return Some(format!("key {id} of agent {agent} {NOT_VALID_YET}, but from {from}"));
        }
        let to = valid_to.filter(|to| now > *to)?;
        let grace_micros = i64::try_from(grace.as_micros()).unwrap_or(i64::MAX);
        if now.micros() > to.micros().saturating_add(grace_micros) {
            return Some(format!("key {id} of agent {agent} is not valid any more since {to}"));
        }
        let made_in_time =
            created_at().is_some_and(|made| made <= to && valid_from.is_none_or(|from| made >= from));
        (!made_in_time).then(|| {
            format!("key {id} of agent {agent} is not valid any more since {to}, and created_at is not before that")
        })
    }
}

impl RingKey {
    /// The best table that there is, after counting a use, which may bring a better one. Only the use that hits
    /// a count exactly makes a table, so that no two threads do.
    fn table(&self) -> Option<&PreparedKey> {
        if let Some(wide) = self.wide.get() {
            return Some(wide);
        }
        let uses = self.uses.fetch_add(1, Ordering::Relaxed);
        if uses == WIDEN_AFTER_USES && take_place(&self.places.wide, WIDE_MAX) {
            return Some(self.wide.get_or_init(|| PreparedKey::wide(self.public_key)));
        }
        if uses == PREPARE_AFTER_USES && take_place(&self.places.prepared, PREPARED_MAX) {
            return Some(self.prepared.get_or_init(|| PreparedKey::new(self.public_key)));
        }
        self.prepared.get()
    }
}

impl VerifyKey for RingKey {
    fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        match self.table() {
            Some(table) => table.verify(message, signature),
            None => self.public_key.verify(message, signature),
        }
    }

    fn begin(&self, message: &[u8], signature: &Signature) -> Verification {
        match self.table() {
            Some(table) => table.begin(message, signature),
            None => self.public_key.begin(message, signature),
        }
    }
}

impl Drop for RingKey {
    fn drop(&mut self) {
        if self.prepared.get().is_some() {
            self.places.prepared.fetch_sub(1, Ordering::Relaxed);
        }
        if self.wide.get().is_some() {
            self.places.wide.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The cache of agent keys; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct KeyRing {
    store: Arc<dyn LineStore>,
    keys: Arc<Mutex<std::collections::HashMap<KeyName, Arc<RingKey>>>>,
    places: Arc<Places>,
    ttl: Duration,
    entries_max: usize,
}

impl KeyRing {
    pub(crate) fn new(store: Arc<dyn LineStore>, ttl: Duration, entries_max: usize) -> Self {
        gauge!(CACHE_ENTRIES_MAX, "cache" => "agent_keys").set(entries_max as f64);
        Self { store, keys: Arc::default(), places: Arc::default(), ttl, entries_max }
    }

    /// The key of that name; none if nobody registered it.
    pub(crate) async fn find(&self, name: KeyName) -> Result<Option<Arc<RingKey>>, StoreError> {
        if let Some(key) = self.cached(name) {
            counter!(CACHE_HITS, "cache" => "agent_keys").increment(1);
            return Ok(Some(key));
        }
        counter!(CACHE_MISSES, "cache" => "agent_keys").increment(1);
        let epoch = self.epoch();
        let Some(record) = self.store.agent_key(name.0, name.1, name.2).await? else { return Ok(None) };
        let public_key = AgentPublicKey::from_bytes(&record.public_key).map_err(|e| {
            StoreError::Internal(format!("the stored key {} of agent {}: {e}", name.2, name.1))
        })?;
        let key = Arc::new(RingKey {
            record,
            public_key,
            prepared: OnceLock::new(),
            wide: OnceLock::new(),
            uses: AtomicU32::new(0),
            loaded_at: Instant::now(),
            epoch,
            places: Arc::clone(&self.places),
        });
        self.remember(name, &key);
        Ok(Some(key))
    }

    /// The epoch of the keys as far as this process has heard of it: no key that is found from now on is older.
    pub(crate) fn epoch(&self) -> u64 {
        self.store.changes().epoch(ChangeKind::AGENT_KEYS)
    }

    fn cached(&self, name: KeyName) -> Option<Arc<RingKey>> {
        self.lock().get(&name).filter(|key| self.is_fresh(key)).cloned()
    }

    fn is_fresh(&self, key: &RingKey) -> bool {
        key.loaded_at.elapsed() < self.ttl && key.epoch >= self.epoch()
    }

    fn remember(&self, name: KeyName, key: &Arc<RingKey>) {
        let mut keys = self.lock();
        if keys.len() >= self.entries_max {
            keys.retain(|_, key| self.is_fresh(key));
            // All are fresh: any one gives way. A wrong choice costs one look-up.
            if keys.len() >= self.entries_max
                && let Some(victim) = keys.keys().next().copied()
            {
                keys.remove(&victim);
            }
        }
        keys.insert(name, Arc::clone(key));
        gauge!(CACHE_ENTRIES, "cache" => "agent_keys").set(keys.len() as f64);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, std::collections::HashMap<KeyName, Arc<RingKey>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_ves::SecretKey;

    fn key(places: &Arc<Places>) -> RingKey {
        let public_key = SecretKey::from_seed([9; 32]).public();
        let record = AgentKeyRecord {
            tenant_id: TenantId::NIL,
            agent_id: AgentId::from_bytes([1; 16]),
            key_id: 1,
            public_key: public_key.to_bytes(),
            status: AgentKeyStatus::Active,
            valid_from: None,
            valid_to: None,
            revoked_at: None,
            revoked_reason: None,
            created_at: Timestamp::from_micros(0),
        };
        RingKey {
            record,
            public_key,
            prepared: OnceLock::new(),
            wide: OnceLock::new(),
            uses: AtomicU32::new(0),
            loaded_at: Instant::now(),
            epoch: 0,
            places: Arc::clone(places),
        }
    }

    fn used(key: RingKey, uses: u32) -> RingKey {
        let signature = SecretKey::from_seed([9; 32]).sign(b"m");
        assert!((0..=uses).all(|_| key.verify(b"m", &signature)));
        assert!(Verification::settle(&[key.begin(b"m", &signature)])[0]);
        assert!(!Verification::settle(&[key.begin(b"n", &signature)])[0]);
        key
    }

    #[test]
    fn a_place_for_a_table_is_given_back_and_never_lost() {
        let places = Arc::new(Places::default());
        places.prepared.store(PREPARED_MAX - 1, Ordering::Relaxed);
        let last = used(key(&places), PREPARE_AFTER_USES);
        assert!(last.prepared.get().is_some());
        // Keys for which there was no place must leave none taken, or one day nothing would be prepared.
        assert!((0..10).all(|_| used(key(&places), PREPARE_AFTER_USES).prepared.get().is_none()));
        assert_eq!(places.prepared.load(Ordering::Relaxed), PREPARED_MAX);
        drop(last);
        assert!(used(key(&places), PREPARE_AFTER_USES).prepared.get().is_some());
        assert_eq!(places.prepared.load(Ordering::Relaxed), PREPARED_MAX - 1);

        places.wide.store(WIDE_MAX - 1, Ordering::Relaxed);
        let last = used(key(&places), WIDEN_AFTER_USES);
        assert!(last.wide.get().is_some());
        assert!(used(key(&places), WIDEN_AFTER_USES).wide.get().is_none());
        drop(last);
        assert_eq!(places.wide.load(Ordering::Relaxed), WIDE_MAX - 1);
    }
}
