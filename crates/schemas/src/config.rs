//! What an operator may set about schemas.

use serde::{Deserialize, Serialize};

/// What is done with a payload that breaks its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing is validated.
    Disabled,
    /// The event is taken, counted and logged.
    Warn,
    /// The event is rejected. An event type without a schema takes any payload.
    #[default]
    Enforce,
    /// The event is rejected, also if its type has no schema.
    Required,
}

/// Settings of the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What is done with a payload that breaks its schema.
    pub mode: Mode,
    /// Bytes of one schema; a larger one is refused.
    pub schema_bytes_max: usize,
    /// Schemas of one tenant; one more is refused.
    pub schemas_per_tenant_max: usize,
    /// Event types kept in memory, with their schema or the knowledge that there is none; any other gives way.
    pub cached_max: usize,
    /// Seconds after which a cached schema is read again, whatever was heard of changes.
    pub cached_secs: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            schema_bytes_max: 100 << 10,
            schemas_per_tenant_max: 1_000,
            cached_max: 1_000,
            cached_secs: 600,
        }
    }
}
