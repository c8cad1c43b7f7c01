//! What is known of event types: their rule, or that there is none.
//!
//! An entry is good while nobody has heard of a change of schemas since before it was read, and for a time at most.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bowline_types::TenantId;
use metrics::{counter, gauge};

use crate::metrics::{CACHE, CACHE_ENTRIES, CACHE_HITS, CACHE_MISSES};
use crate::registry::Rule;

#[derive(Debug)]
struct Entry {
    rule: Option<Arc<Rule>>,
    epoch: u64,
    loaded_at: Instant,
}

#[derive(Debug, Default)]
struct Entries {
    /// By tenant first, so that a look-up makes no key of its own.
    tenants: HashMap<TenantId, HashMap<String, Entry>>,
    count: usize,
}

#[derive(Debug)]
pub(crate) struct Cache {
    entries: Mutex<Entries>,
    entries_max: usize,
    ttl: Duration,
}

impl Cache {
    pub(crate) fn new(entries_max: usize, ttl: Duration) -> Self {
        Self { entries: Mutex::default(), entries_max: entries_max.max(1), ttl }
    }

    /// The rule of an event type as of that epoch, or that there is none; nothing if it must be read.
    pub(crate) fn get(&self, tenant_id: TenantId, event_type: &str, epoch: u64) -> Option<Option<Arc<Rule>>> {
        let entries = self.lock();
        let entry = entries.tenants.get(&tenant_id).and_then(|types| types.get(event_type));
        let known = entry
            .filter(|entry| entry.epoch == epoch && entry.loaded_at.elapsed() < self.ttl)
            .map(|entry| entry.rule.clone());
        let name = if known.is_some() { CACHE_HITS } else { CACHE_MISSES };
        counter!(name, "cache" => CACHE).increment(1);
        known
    }

    /// Keeps what was read after `epoch` was.
    pub(crate) fn put(&self, tenant_id: TenantId, event_type: &str, epoch: u64, rule: Option<Arc<Rule>>) {
        let mut entries = self.lock();
        if entries.count >= self.entries_max {
            entries.make_room(self.ttl, epoch);
        }
        let entry = Entry { rule, epoch, loaded_at: Instant::now() };
        let types = entries.tenants.entry(tenant_id).or_default();
        if types.insert(event_type.to_owned(), entry).is_none() {
            entries.count += 1;
        }
        gauge!(CACHE_ENTRIES, "cache" => CACHE).set(entries.count as f64);
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// Lets go of what is stale; if nothing is, of any one entry. A wrong choice costs one look-up.
    fn make_room(&mut self, ttl: Duration, epoch: u64) {
        let before = self.count;
        for types in self.tenants.values_mut() {
            types.retain(|_, entry| entry.epoch >= epoch && entry.loaded_at.elapsed() < ttl);
        }
        self.tenants.retain(|_, types| !types.is_empty());
        self.count = self.tenants.values().map(HashMap::len).sum();
        if self.count < before {
            return;
        }
        let tenant = self.tenants.keys().next().copied();
        if let Some(types) = tenant.and_then(|tenant| self.tenants.get_mut(&tenant))
            && let Some(victim) = types.keys().next().cloned()
        {
            types.remove(&victim);
            self.count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_bounded_and_end_with_their_epoch() {
        let cache = Cache::new(2, Duration::from_secs(60));
        let tenant = TenantId::random();
        for name in ["a", "b", "c"] {
            cache.put(tenant, name, 1, None);
        }
        let known = |epoch| ["a", "b", "c"].iter().filter(|n| cache.get(tenant, n, epoch).is_some()).count();
        assert_eq!((known(1), known(2), cache.lock().count), (2, 0, 2));
        assert!(cache.get(tenant, "c", 1).is_some() && cache.get(TenantId::random(), "c", 1).is_none());
        cache.put(tenant, "c", 2, None);
        assert_eq!((known(2), cache.lock().count), (1, 1), "the stale ones made room");
        let expired = Cache::new(2, Duration::ZERO);
        expired.put(tenant, "a", 1, None);
        assert!(expired.get(tenant, "a", 1).is_none());
    }
}
