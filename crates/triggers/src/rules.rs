//! What a trigger may be, and when it holds.
//!
//! A rule is a pure function of an event's facts and of what its conditions remember. [`index`] finds the triggers
//! that an event may match without looking at the others; it only ever finds too many, and the rule decides.

mod decimal;
mod explain;
mod facts;
mod fields;
mod index;
mod memory;
mod node;
mod parse;
mod paths;
mod shape;
mod trigger;
mod trigger_index;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod trap;

pub(crate) use explain::explain;
pub(crate) use facts::Facts;
pub(crate) use index::{Index, VisitedSlots};
pub(crate) use memory::{Fallback, State};
pub(crate) use node::MemoryName;
pub(crate) use parse::compile_conditions;
pub(crate) use trigger::{Advance, Reversal, Rule, streams_of};
pub use trigger_index::{IndexLookup, TriggerIndex};

/// The registry of triggers on an organization's own streams.
pub(crate) const LINE: &str = "line";
