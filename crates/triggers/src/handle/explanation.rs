//! What a dry run says: whether a trigger would fire on an event, and why or why not.

use bowline_types::{EventId, Timestamp};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

/// Whether a trigger would fire on an event, and what decides that.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// Whether it would fire: everything of `scope` and of `conditions` holds.
    pub would_fire: bool,
    /// Jobs that would come of it.
    pub jobs: usize,
    /// The event.
    pub event: EventSummary,
    /// What is asked of an event before any condition.
    pub scope: Vec<ScopeCheck>,
    /// Each condition.
    pub conditions: Vec<ConditionExplanation>,
}

/// The event in a few words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventSummary {
    /// Its id, if it is on the line.
    pub event_id: Option<EventId>,
    /// Its number, if it is on the line.
    pub sequence_number: Option<u64>,
    /// Its type.
    pub event_type: String,
    /// Its chain.
    pub chain_id: Option<u64>,
    /// Its registry.
    pub registry: String,
    /// Its agent.
    pub agent_id: Option<String>,
    /// When it happened.
    pub happened_at: Timestamp,
    /// Whether it says that the chain took an event back: then nothing fires.
    pub retraction: bool,
}

/// Something that is asked of an event before any condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScopeCheck {
    /// `enabled`, `retraction`, `stream`, `chain_id`, `registry` or `created_at`.
    pub name: &'static str,
    /// Whether it is so.
    pub holds: bool,
    /// One sentence for a person.
    pub told: String,
}

/// One condition, and whether it holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConditionExplanation {
    /// Its id; none within a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// Its type.
    pub condition_type: String,
    /// Whether it holds.
    pub holds: bool,
    /// One sentence for a person.
    pub told: String,
    /// What was compared with what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
    /// What it remembers before the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_before: Option<Value>,
    /// What it would remember after the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_after: Option<Value>,
    /// The conditions of a group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<ConditionExplanation>,
}

/// A comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// The event's field, or what was computed.
    pub field: String,
    /// `eq`, `ne`, `gt`, `gte`, `lt`, `lte`, `in`, `contains` or `exists`.
    pub operator: &'static str,
    /// What the event has there; null if it has nothing.
    pub actual: Value,
    /// What the trigger asks for.
    pub expected: Value,
}
