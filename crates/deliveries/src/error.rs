//! Why a test send was refused.

use bowline_store::StoreError;

use crate::FieldProblem;

/// What of an address of an action does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingPart {
    /// The organization has no such owner.
    Owner,
    /// The owner has no such action.
    Action,
}

/// A refusal; nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// Fields can't be taken.
    #[error("{}", FieldProblem::list(.0))]
    Invalid(Vec<FieldProblem>),
    /// The organization has no such owner or action.
    #[error("there is no such {}", match .0 { MissingPart::Owner => "owner", MissingPart::Action => "action" })]
    Absent(MissingPart),
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl DeliveryError {
    pub(crate) fn field(field: &str, problem: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldProblem::new(field, problem)])
    }
}
