//! Why a trigger could not be read or changed.

use bowline_store::StoreError;

use crate::FieldProblem;

/// A refusal; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum TriggerError {
    /// Fields can't be taken.
    #[error("{}", list(.0))]
    Invalid(Vec<FieldProblem>),
    /// The organization has no such trigger, condition, action or event.
    #[error("there is no such {0}")]
    Absent(&'static str),
    /// Somebody else changed it since.
    #[error("somebody else changed the trigger: it has the revision {revision} now")]
    Changed {
        /// Its present revision.
        revision: u64,
    },
    /// The organization has as many triggers as it may have.
    #[error("there may be {max} triggers, and there are as many")]
    TooMany {
        /// How many those are.
        max: u64,
    },
    /// As many back-tests run as may at a time, of all organizations or of one.
    #[error("{running} back-tests run, as many as may at a time; try again in {retry_after_secs} s")]
    Busy {
        /// How many those are.
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

fn list(problems: &[FieldProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
