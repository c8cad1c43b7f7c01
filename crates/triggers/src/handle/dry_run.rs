//! Tries a trigger on one event, without doing anything.

use bowline_types::{EventId, StreamId, TenantId};
use serde_json::Value;
use uuid::Uuid;

use super::{Explanation, Handle};
use crate::{TriggerError, TriggerInput};

/// A trigger that is there, or one that is not yet.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// It is there.
    Stored(Uuid),
    /// It is not.
    Given(Box<TriggerInput>),
}

/// An event that is there, or one that somebody made up.
#[derive(Debug, Clone, PartialEq)]
pub enum EventRef {
    /// It is on a chain's stream or on one of the organization's.
    Stored {
        /// Which stream; all of these are searched if absent.
        stream: Option<StreamId>,
        /// The event.
        event_id: EventId,
    },
    /// Its payload, as a chain's indexer writes it (or, with `registry` `line`, as the organization does).
    Given(Value),
}

impl Handle {
    /// Whether a trigger would fire on an event, and why or why not. Nothing is written.
    ///
    /// # Errors
    /// [`TriggerError::Absent`], [`TriggerError::Invalid`], or the store's.
    pub async fn dry_run(
        &self,
        _tenant_id: TenantId,
        _rule: Rule,
        _event: EventRef,
    ) -> Result<Explanation, TriggerError> {
        Err(bowline_store::StoreError::Internal("not here yet".to_owned()).into())
    }
}
