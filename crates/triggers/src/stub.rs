//! Stub of delivery.
use crate::{ActionRules, FieldProblem, SealedConfig, TriggerError};
use bowline_runtime::{Clock, Tasks};
use bowline_store::{ActionRecord, LineStore};
use bowline_types::TenantId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use uuid::Uuid;
/// Stub.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryConfig {
    /// Stub.
    pub telegram_bot_token: Option<bowline_types::Secret>,
}
/// Stub.
#[derive(Debug, Clone)]
pub struct Deliveries;
/// Stub.
#[derive(Debug)]
pub struct DeliveryDependencies<'a> {
    /// Stub.
    pub store: Arc<dyn LineStore>,
    /// Stub.
    pub clock: Arc<dyn Clock>,
    /// Stub.
    pub secrets_key: &'a [u8; 32],
    /// Stub.
    pub instance: String,
}
/// Stub.
#[derive(Debug)]
pub enum TestSend {
    /// Stub.
    Stored {
        /// Stub.
        trigger_id: Uuid,
        /// Stub.
        action_id: Uuid,
    },
}
/// Stub.
#[derive(Debug, Serialize)]
pub struct TestAttempt {}
impl Deliveries {
    /// Stub.
    pub fn build(_: &DeliveryConfig, _: DeliveryDependencies<'_>) -> Result<Self, String> {
        Ok(Self)
    }
    /// Stub.
    pub fn actions(&self) -> Arc<dyn ActionRules> {
        Arc::new(Stub)
    }
    /// Stub.
    pub fn spawn_workers(&self, _: &Tasks) {}
    /// Stub.
    pub async fn test_send(
        &self,
        _: TenantId,
        _: TestSend,
        _: Option<Value>,
    ) -> Result<TestAttempt, TriggerError> {
        Ok(TestAttempt {})
    }
}
#[derive(Debug)]
struct Stub;
impl ActionRules for Stub {
    fn check(&self, _: &str, _: &Value, _: Option<&ActionRecord>) -> Vec<FieldProblem> {
        Vec::new()
    }
    fn seal(
        &self,
        _: Uuid,
        _: &str,
        config: &Value,
        _: Option<&ActionRecord>,
    ) -> Result<SealedConfig, String> {
        Ok(SealedConfig { config: config.to_string(), sealed: None })
    }
    fn masked(&self, action: &ActionRecord) -> Value {
        serde_json::from_str(&action.config).unwrap_or_default()
    }
}
