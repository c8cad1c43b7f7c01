//! One condition or action of a trigger at a time.
//! Each is a change of the whole trigger and is judged as one, so a part can't become what a trigger may not have.

use bowline_types::TenantId;
use uuid::Uuid;

use super::Handle;
use crate::input::{ActionInput, ConditionInput, TriggerInput};
use crate::{Missing, TriggerError};

impl Handle {
    /// Adds a condition behind the others.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub async fn add_condition(
        &self,
        tenant_id: TenantId,
        trigger_id: Uuid,
        condition: ConditionInput,
    ) -> Result<ConditionInput, TriggerError> {
        let add = |mut input: TriggerInput| {
            input.conditions.push(ConditionInput { id: None, ..condition.clone() });
            Ok(input)
        };
        let view = self.rewrite(tenant_id, trigger_id, None, add).await?;
        view.conditions.into_iter().next_back().ok_or(TriggerError::Absent(Missing::Condition))
    }

    /// Writes a condition anew; it keeps its id.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub async fn update_condition(
        &self,
        tenant_id: TenantId,
        trigger_id: Uuid,
        condition_id: Uuid,
        condition: ConditionInput,
    ) -> Result<ConditionInput, TriggerError> {
        let condition = ConditionInput { id: Some(condition_id), ..condition };
        let replace = |mut input: TriggerInput| {
            let place = input.conditions.iter_mut().find(|known| known.id == Some(condition_id));
            *place.ok_or(TriggerError::Absent(Missing::Condition))? = condition.clone();
            Ok(input)
        };
        let view = self.rewrite(tenant_id, trigger_id, None, replace).await?;
        let mut conditions = view.conditions.into_iter();
        conditions
            .find(|known| known.id == Some(condition_id))
            .ok_or(TriggerError::Absent(Missing::Condition))
    }

    /// Removes a condition.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub async fn delete_condition(
        &self,
        tenant_id: TenantId,
        trigger_id: Uuid,
        condition_id: Uuid,
    ) -> Result<(), TriggerError> {
        let take = |mut input: TriggerInput| {
            let before = input.conditions.len();
            input.conditions.retain(|known| known.id != Some(condition_id));
            if input.conditions.len() == before {
                Err(TriggerError::Absent(Missing::Condition))
            } else {
                Ok(input)
            }
        };
        self.rewrite(tenant_id, trigger_id, None, take).await.map(drop)
    }

    /// Adds an action behind the others.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub async fn add_action(
        &self,
        tenant_id: TenantId,
        trigger_id: Uuid,
        action: ActionInput,
    ) -> Result<ActionInput, TriggerError> {
        let add = |mut input: TriggerInput| {
            input.actions.push(ActionInput { id: None, ..action.clone() });
            Ok(input)
        };
        let view = self.rewrite(tenant_id, trigger_id, None, add).await?;
        view.actions.into_iter().next_back().ok_or(TriggerError::Absent(Missing::Action))
    }

    /// Writes an action anew; it keeps its id, and secrets that are given back masked.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub async fn update_action(
        &self,
        tenant_id: TenantId,
        trigger_id: Uuid,
        action_id: Uuid,
        action: ActionInput,
    ) -> Result<ActionInput, TriggerError> {
        let action = ActionInput { id: Some(action_id), ..action };
        let replace = |mut input: TriggerInput| {
            let place = input.actions.iter_mut().find(|known| known.id == Some(action_id));
            *place.ok_or(TriggerError::Absent(Missing::Action))? = action.clone();
            Ok(input)
        };
        let view = self.rewrite(tenant_id, trigger_id, None, replace).await?;
        let mut actions = view.actions.into_iter();
        actions.find(|known| known.id == Some(action_id)).ok_or(TriggerError::Absent(Missing::Action))
    }

    /// Removes an action.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub async fn delete_action(
        &self,
        tenant_id: TenantId,
        trigger_id: Uuid,
        action_id: Uuid,
    ) -> Result<(), TriggerError> {
        let take = |mut input: TriggerInput| {
            let before = input.actions.len();
            input.actions.retain(|known| known.id != Some(action_id));
            if input.actions.len() == before { Err(TriggerError::Absent(Missing::Action)) } else { Ok(input) }
        };
        self.rewrite(tenant_id, trigger_id, None, take).await.map(drop)
    }
}
