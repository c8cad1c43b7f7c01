//! Leases of the tampered store: nobody tampers with these, so they go to SQLite as they are.
//! What becomes of them is the store's own test's business.

use std::time::Duration;

use async_trait::async_trait;
use bowline_store::{Lease, LeaseStore, StoreError};
use bowline_types::Timestamp;
use uuid::Uuid;

use super::TamperedStore;

#[async_trait]
impl LeaseStore for TamperedStore {
    async fn take_lease(
        &self,
        name: &str,
        holder: Uuid,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Option<Lease>, StoreError> {
        self.store.take_lease(name, holder, ttl, now).await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        self.store.release_lease(lease).await
    }

    async fn lease(&self, name: &str) -> Result<Option<Lease>, StoreError> {
        self.store.lease(name).await
    }
}
