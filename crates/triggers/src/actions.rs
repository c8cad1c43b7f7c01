//! What triggers must know of actions without knowing any: whether one can be taken, and how its secrets are kept.

use std::fmt::Debug;

use bowline_store::ActionRecord;
use bowline_types::TenantId;
use serde_json::Value;
use uuid::Uuid;

use crate::FieldProblem;

/// An action's settings as the store keeps them.
#[derive(Debug, Clone, PartialEq)]
pub struct SealedConfig {
    /// JSON text of an object without secrets.
    pub config: String,
    /// The secrets, encrypted.
    pub sealed: Option<Vec<u8>>,
}

/// What an action belongs to.
#[derive(Debug, Clone, Copy)]
pub struct ActionOwner<'a> {
    /// The organization: it says where deliveries may go, and its secrets open for no other one.
    pub tenant_id: TenantId,
    /// The trigger's registry: it says which fields its events have.
    pub registry: Option<&'a str>,
}

/// The kinds of actions.
pub trait ActionRules: Debug + Send + Sync + 'static {
    /// What is wrong with an action's settings; fields are named below `config`, and an unknown type is the problem
    /// of the field `action_type`. `before` is the action that these settings replace: a secret that is given back
    /// masked is the one that it has.
    fn check(
        &self,
        owner: ActionOwner<'_>,
        action_type: &str,
        config: &Value,
        before: Option<&ActionRecord>,
    ) -> Vec<FieldProblem>;

    /// Parts settings that passed `check` into what anybody may read and what is encrypted, bound to the organization
    /// and the action's id.
    ///
    /// # Errors
    /// Why the secrets can't be encrypted, for people.
    fn seal(
        &self,
        owner: ActionOwner<'_>,
        action_id: Uuid,
        config: &Value,
        before: Option<&ActionRecord>,
    ) -> Result<SealedConfig, String>;

    /// The settings as they are shown: secrets are there, and masked.
    fn masked(&self, action: &ActionRecord) -> Value;
}
