//! The contract that every store of the line keeps: one trait a subject, and all of them together.
//!
//! Each subject's trait stands in its folder, beside its two implementations. The conformance suite in `tests/it` runs
//! each sentence of them on each implementation.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::budgets::BudgetStore;
use crate::commitments::CommitmentStore;
use crate::commitments::corrections::CorrectionStore;
use crate::cursors::CursorStore;
use crate::diagnostics::Diagnostics;
use crate::events::EventStore;
use crate::jobs::JobStore;
use crate::keys::KeyStore;
use crate::leases::LeaseStore;
use crate::letters::DeadLetterStore;
use crate::schemas::SchemaStore;
use crate::sources::SourceStore;
use crate::triggers::TriggerStore;
use crate::{Changes, Engine, StoreError, Tail, WriteGate};

/// Where the line lives.
///
/// Several processes may share one PostgreSQL store; an SQLite store belongs to one process. Dropping the
/// future of a call MUST NOT leave half of its change behind.
#[async_trait]
pub trait LineStore:
    BudgetStore
    + CommitmentStore
    + CorrectionStore
    + CursorStore
    + DeadLetterStore
    + Diagnostics
    + EventStore
    + JobStore
    + KeyStore
    + LeaseStore
    + SchemaStore
    + SourceStore
    + TriggerStore
    + Debug
    + Send
    + Sync
    + 'static
{
    /// The database under the store, for a subsystem that keeps tables of its own in it.
    fn engine(&self) -> Engine;

    /// The schema version that the store was opened with: its binary's, once the migrations are applied.
    fn schema_version(&self) -> i64;

    /// Answers if the store can be read and written.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Who is woken when the store grows, also by other processes.
    fn tail(&self) -> &Tail;

    /// What caches of this process must hear of.
    fn changes(&self) -> &Changes;

    /// What keeps the line from growing when this node's disk has no room; none if the store is elsewhere.
    fn gate(&self) -> Option<&WriteGate> {
        None
    }

    /// Finishes what is under way and closes the store.
    async fn close(&self);
}
