//! What a trigger may be, and when it holds.

use bowline_store::ConditionRecord;

use crate::FieldProblem;

/// The registry of triggers on an organization's own streams.
pub(crate) const LINE: &str = "line";

pub(crate) struct Node;

impl Node {
    pub(crate) fn is_stateful(&self) -> bool {
        false
    }
}

pub(crate) fn compile_conditions(
    _registry: Option<&str>,
    _conditions: &[ConditionRecord],
) -> Result<Node, Vec<FieldProblem>> {
    Ok(Node)
}
