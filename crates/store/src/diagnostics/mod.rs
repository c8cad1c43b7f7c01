//! The part of the contract that operators look through: facts about the store itself, and where an event is.

mod actions_records;
pub(crate) mod postgres;
pub(crate) mod records;
pub(crate) mod sqlite;

use std::fmt::Debug;

use async_trait::async_trait;
use bowline_types::{EventId, StreamId, Timestamp};

use crate::StoreError;
use crate::diagnostics::records::{DeadLetterFacts, Scope, StoreFacts};

/// What an operator asks a store about itself. No call changes anything.
#[async_trait]
pub trait Diagnostics: Debug + Send + Sync + 'static {
    /// The moment by the database's own clock.
    async fn database_time(&self) -> Result<Timestamp, StoreError>;

    /// Facts about its health.
    ///
    /// # Errors
    /// Only if the store as a whole can't be asked; what is missing alone is an error of its own in the facts.
    async fn diagnose(&self, scope: Scope) -> Result<StoreFacts, StoreError>;

    /// The streams that have an event of that id, a hundred at most.
    async fn streams_of_event(&self, event_id: EventId) -> Result<Vec<StreamId>, StoreError>;

    /// Events of that id that were refused and kept, a hundred at most.
    async fn dead_letters_of_event(&self, event_id: EventId) -> Result<Vec<DeadLetterFacts>, StoreError>;
}
