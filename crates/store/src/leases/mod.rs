//! Leases: rights that one process at a time holds.
//!
//! A lease is a row with an epoch that grows with every change of the holder. A write that names its lease is refused
//! with [`StoreError::LeaseLost`] once another process holds it, so a process that slept does no harm when it wakes.

pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use bowline_types::Timestamp;
use uuid::Uuid;

use crate::StoreError;

/// The right to anchor, held by one process at a time.
///
/// A write that carries a lease which somebody else has taken since is refused with
/// [`crate::StoreError::LeaseLost`], so a process that slept does no harm when it wakes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What it is for.
    pub name: String,
    /// Who holds it.
    pub holder: Uuid,
    /// Grows with every change of the holder.
    pub epoch: u64,
    /// Until when; the database's clock decides.
    pub expires_at: Timestamp,
}

/// Rights that one process at a time holds.
#[async_trait]
pub trait LeaseStore: Debug + Send + Sync + 'static {
    /// Takes a lease that is free, expired or already `holder`'s, for `ttl` from now; none if somebody else holds
    /// it. The epoch grows when the holder changes. A store that belongs to one process gives it at once, since
    /// whoever held it is gone. `now` is used where the database has no clock of its own.
    async fn take_lease(
        &self,
        name: &str,
        holder: Uuid,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Option<Lease>, StoreError>;

    /// Gives a lease back, after which nothing is written under it; nothing happens if it is not that holder's any
    /// more.
    async fn release_lease(&self, lease: &Lease) -> Result<(), StoreError>;

    /// Who holds it, also if it has expired; none if it was given back.
    async fn lease(&self, name: &str) -> Result<Option<Lease>, StoreError>;
}

/// Nothing was written, for the lease is somebody else's.
pub(crate) fn lost(lease: &Lease) -> StoreError {
    StoreError::LeaseLost(lease.name.clone())
}
