//! Triggers as users write them and as they are shown.
//!
//! An unknown key is refused, so that a misspelled condition never matches everything.

use bowline_deliveries::ActionRules;
use bowline_store::{BreakerSettings, ConditionRecord, PRIORITY_MAX, PRIORITY_MIN, TriggerRecord};
use bowline_types::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// A trigger to be, as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggerInput {
    /// 1 to 255 characters.
    pub name: String,
    /// 1,000 characters at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Only events of that chain; of every chain if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain_id: Option<u64>,
    /// Only events of that registry; of every registry of the chains if absent. `line` means the organization's own
    /// streams, which nothing else matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// Whether it is matched.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// All must hold; none matches every event.
    #[serde(default)]
    pub conditions: Vec<ConditionInput>,
    /// What is done.
    #[serde(default)]
    pub actions: Vec<ActionInput>,
    /// When its circuit breaker opens and closes; the defaults if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerInput>,
}

/// A condition to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConditionInput {
    /// The condition that this one replaces: it keeps its name and what it remembers. One that is equal to a present
    /// one keeps both without this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// `agent_id_equals` and so on.
    pub condition_type: String,
    /// The field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// The value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// Everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Map<String, Value>>,
}

/// An action to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionInput {
    /// The action that this one replaces: it keeps its name and the secrets that are given back masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// `rest`, `telegram` or `mcp`.
    pub action_type: String,
    /// Among the organization's jobs higher goes first, -10 to 10.
    #[serde(default)]
    pub priority: i32,
    /// Its settings.
    #[serde(default)]
    pub config: Map<String, Value>,
}

/// When a trigger's circuit breaker opens and closes; what is absent stays, or is the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerInput {
    /// Failures in a row that open it, 1 to 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_threshold: Option<u32>,
    /// Seconds until it is half open, 60 to 604,800.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_timeout_seconds: Option<u32>,
    /// Deliveries that try out a half-open one, 1 to 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_open_max_calls: Option<u32>,
}

/// Changes of a trigger: a field that is absent stays, and `null` removes a chain, a registry or a description.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TriggerChanges {
    /// The name.
    pub name: Option<String>,
    /// The description.
    #[serde(deserialize_with = "given")]
    pub description: Option<Option<String>>,
    /// The chain.
    #[serde(deserialize_with = "given")]
    pub chain_id: Option<Option<u64>>,
    /// The registry.
    #[serde(deserialize_with = "given")]
    pub registry: Option<Option<String>>,
    /// Whether it is matched.
    pub enabled: Option<bool>,
    /// All conditions.
    pub conditions: Option<Vec<ConditionInput>>,
    /// All actions.
    pub actions: Option<Vec<ActionInput>>,
    /// The circuit breaker.
    pub breaker: Option<BreakerInput>,
}

/// A trigger as it is shown; secrets are masked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TriggerView {
    /// Its name for machines.
    pub id: Uuid,
    /// Its name for people.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Only events of that chain.
    pub chain_id: Option<u64>,
    /// Only events of that registry.
    pub registry: Option<String>,
    /// Whether it is matched.
    pub enabled: bool,
    /// Whether a condition remembers something.
    pub is_stateful: bool,
    /// All must hold.
    pub conditions: Vec<ConditionInput>,
    /// What is done.
    pub actions: Vec<ActionInput>,
    /// When its circuit breaker opens and closes.
    pub breaker: BreakerInput,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Grows with every change.
    pub revision: u64,
}

impl TriggerView {
    pub(crate) fn of(record: &TriggerRecord, actions: &dyn ActionRules) -> Self {
        let shown = record.actions.iter().map(|action| ActionInput {
            id: Some(action.action_id),
            action_type: action.action_type.clone(),
            priority: action.priority.clamp(PRIORITY_MIN, PRIORITY_MAX),
            config: object(actions.masked(action)),
        });
        Self {
            id: record.trigger_id,
            name: record.name.clone(),
            description: record.description.clone(),
            chain_id: record.chain_id,
            registry: record.registry.clone(),
            enabled: record.enabled,
            is_stateful: record.is_stateful,
            conditions: record.conditions.iter().map(ConditionInput::of).collect(),
            actions: shown.collect(),
            breaker: BreakerInput::of(record.breaker),
            created_at: record.created_at,
            updated_at: record.updated_at,
            revision: record.revision,
        }
    }

    /// The input that makes this trigger.
    pub fn into_input(self) -> TriggerInput {
        TriggerInput {
            name: self.name,
            description: self.description,
            chain_id: self.chain_id,
            registry: self.registry,
            enabled: self.enabled,
            conditions: self.conditions,
            actions: self.actions,
            breaker: Some(self.breaker),
        }
    }
}

impl ConditionInput {
    /// A condition of that type with that value.
    pub fn new(condition_type: &str, value: Value) -> Self {
        Self {
            id: None,
            condition_type: condition_type.to_owned(),
            field: None,
            operator: None,
            value: Some(value),
            config: None,
        }
    }

    /// As it was given. Text that is no JSON was never written by this crate, and is shown as text.
    pub(crate) fn of(record: &ConditionRecord) -> Self {
        let json = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()));
        Self {
            id: Some(record.condition_id),
            condition_type: record.condition_type.clone(),
            field: record.field.clone(),
            operator: record.operator.clone(),
            value: record.value.as_ref().map(json),
            config: record.config.as_ref().map(|config| object(json(config))),
        }
    }

    pub(crate) fn into_record(self, condition_id: Uuid) -> ConditionRecord {
        ConditionRecord {
            condition_id,
            condition_type: self.condition_type,
            field: self.field,
            operator: self.operator,
            value: self.value.map(|value| value.to_string()),
            config: self.config.map(|config| Value::Object(config).to_string()),
        }
    }

    /// Whether both say the same, whatever their names are.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        Self { id: None, ..self.clone() } == Self { id: None, ..other.clone() }
    }
}

impl BreakerInput {
    /// Those settings.
    pub fn of(settings: BreakerSettings) -> Self {
        Self {
            failure_threshold: Some(settings.failure_threshold),
            recovery_timeout_seconds: Some(settings.recovery_secs),
            half_open_max_calls: Some(settings.half_open_calls_max),
        }
    }

    /// Those settings where this says nothing else.
    pub(crate) fn over(self, settings: BreakerSettings) -> BreakerSettings {
        BreakerSettings {
            failure_threshold: self.failure_threshold.unwrap_or(settings.failure_threshold),
            recovery_secs: self.recovery_timeout_seconds.unwrap_or(settings.recovery_secs),
            half_open_calls_max: self.half_open_max_calls.unwrap_or(settings.half_open_calls_max),
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn yes() -> bool {
    true
}

/// A key that is there with `null` is not one that is absent.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
