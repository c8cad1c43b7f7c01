//! What the subsystems that have actions may do with one: check it, seal its secrets, show it.
//! Sending it is not among these: workers do that.

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

/// The names that templates of an action may use.
#[derive(Debug, Clone, Copy)]
pub enum TemplateNames<'a> {
    /// Every name: events of an operator's own contract have fields of their own.
    Any,
    /// These, and those that every job has: `job_id` and `event_id`.
    These(&'a [&'a str]),
}

/// Template names that every job has.
const NAMES_OF_JOBS: [&str; 2] = ["job_id", "event_id"];

impl TemplateNames<'_> {
    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(names) => names.contains(&name) || NAMES_OF_JOBS.contains(&name),
        }
    }
}

/// What an action is checked and sealed for.
#[derive(Debug, Clone, Copy)]
pub struct ActionScope<'a> {
    /// The organization: it decides which addresses deliveries may reach, and its secrets open for no other one.
    pub tenant_id: TenantId,
    /// The fields of the events that set the action off.
    pub names: TemplateNames<'a>,
}

/// The rules of actions.
pub trait ActionRules: Debug + Send + Sync + 'static {
    /// What is wrong with an action. Each problem names its field's path: `action_type`, `config` or below `config`.
    /// `before` is the action that these settings replace: a masked secret stands for the one of `before`.
    fn check(
        &self,
        scope: ActionScope<'_>,
        action_type: &str,
        config: &Value,
        before: Option<&ActionRecord>,
    ) -> Vec<FieldProblem>;

    /// Splits settings that passed [`Self::check`] into a readable and an encrypted part, which is bound to the
    /// organization and the action's id.
    ///
    /// # Errors
    /// Why the secrets can't be encrypted, for people.
    fn seal(
        &self,
        scope: ActionScope<'_>,
        action_id: Uuid,
        config: &Value,
        before: Option<&ActionRecord>,
    ) -> Result<SealedConfig, String>;

    /// The settings as they are shown: every secret is replaced by a mask.
    fn masked(&self, action: &ActionRecord) -> Value;
}
