//! Why a trigger could not be read or changed.

use std::fmt;

use bowline_deliveries::{DeliveryError, FieldProblem, MissingPart};
use bowline_store::StoreError;

/// What of a trigger, or beside it, does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The organization has no such trigger.
    Trigger,
    /// The trigger has no such condition.
    Condition,
    /// The trigger has no such action.
    Action,
    /// The organization's streams have no such event.
    Event,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trigger => "trigger",
            Self::Condition => "condition",
            Self::Action => "action",
            Self::Event => "event",
        })
    }
}

/// A refusal; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum TriggerError {
    /// Fields can't be taken.
    #[error("{}", FieldProblem::list(.0))]
    Invalid(Vec<FieldProblem>),
    /// The organization has no such trigger, condition, action or event.
    #[error("there is no such {0}")]
    Absent(Missing),
    /// Another call changed it since.
    #[error("somebody else changed the trigger: it has the revision {revision} now")]
    Changed {
        /// Its present revision.
        revision: u64,
    },
    /// The organization has as many triggers as it may have.
    #[error("there may be {max} triggers, and there are as many")]
    TooMany {
        /// The limit.
        max: u64,
    },
    /// As many back-tests run as may at a time, of all organizations or of one.
    #[error("{running} back-tests run, as many as may at a time; try again in {retry_after_secs} s")]
    Busy {
        /// Back-tests that run.
        running: usize,
        /// Seconds until the first of them has ended.
        retry_after_secs: u64,
    },
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TriggerError {
    /// One field's problem.
    pub fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldProblem::new(field, problem)])
    }
}

/// A test send of a trigger's action that was refused.
impl From<DeliveryError> for TriggerError {
    fn from(error: DeliveryError) -> Self {
        match error {
            DeliveryError::Invalid(problems) => Self::Invalid(problems),
            DeliveryError::Absent(MissingPart::Owner) => Self::Absent(Missing::Trigger),
            DeliveryError::Absent(MissingPart::Action) => Self::Absent(Missing::Action),
            DeliveryError::Store(error) => Self::Store(error),
        }
    }
}
