//! A trigger's input becomes a record: checked, with ids, and with its secrets encrypted.
//!
//! It refuses to write anything: every problem is found before the first id is given.

use bowline_deliveries::{ActionRules, ActionScope};
use bowline_store::{
    ActionRecord, BreakerSettings, ConditionRecord, PRIORITY_MAX, PRIORITY_MIN, TriggerRecord,
};
use bowline_types::{TenantId, Timestamp};
use serde_json::Value;
use uuid::Uuid;

use crate::input::{ActionInput, ConditionInput, TriggerChanges, TriggerInput};
use crate::rules;
use crate::template_names::template_names;
use crate::{FieldProblem, TriggerError};

/// Actions of one trigger at most.
const ACTIONS_MAX: usize = 32;

/// Bytes of one action's settings at most.
const ACTION_BYTES_MAX: usize = 64 << 10;

/// The record of a new trigger.
pub(super) fn new_record(
    tenant_id: TenantId,
    input: TriggerInput,
    actions: &dyn ActionRules,
    now: Timestamp,
) -> Result<TriggerRecord, TriggerError> {
    let nothing = TriggerRecord {
        trigger_id: Uuid::new_v4(),
        tenant_id,
        name: String::new(),
        description: None,
        chain_id: None,
        registry: None,
        enabled: true,
        is_stateful: false,
        breaker: BreakerSettings::default(),
        conditions: Vec::new(),
        actions: Vec::new(),
        created_at: now,
        updated_at: now,
        revision: 0,
    };
    next_record(nothing, input, actions, now)
}

/// The record of a trigger that was another one before.
pub(super) fn next_record(
    before: TriggerRecord,
    input: TriggerInput,
    rules: &dyn ActionRules,
    now: Timestamp,
) -> Result<TriggerRecord, TriggerError> {
    let mut problems = problems(&input);
    let conditions = conditions(&before.conditions, &input.conditions, &mut problems);
    let kept = kept_actions(&before.actions, &input.actions, rules, &mut problems);
    let names = template_names(input.registry.as_deref());
    let scope = ActionScope { tenant_id: before.tenant_id, names };
    for (index, (action, before)) in input.actions.iter().zip(&kept).enumerate() {
        let config = Value::Object(action.config.clone());
        let found = if config.to_string().len() > ACTION_BYTES_MAX {
            vec![FieldProblem::new("config", format!("has more than {ACTION_BYTES_MAX} bytes"))]
        } else {
            rules.check(scope, &action.action_type, &config, *before)
        };
        let place = format!("actions[{index}]");
        if !(PRIORITY_MIN..=PRIORITY_MAX).contains(&action.priority) {
            let problem = format!("is {}: take {PRIORITY_MIN} to {PRIORITY_MAX}", action.priority);
            problems.push(FieldProblem::new("priority", problem).under(&place));
        }
        problems.extend(found.into_iter().map(|problem| problem.under(&place)));
    }
    let compiled = rules::compile_conditions(input.registry.as_deref(), &conditions);
    let is_stateful = match &compiled {
        Ok(node) => node.is_stateful(),
        Err(found) => {
            problems.extend(found.iter().cloned());
            false
        }
    };
    if !problems.is_empty() {
        return Err(TriggerError::Invalid(problems));
    }
    let mut actions = Vec::with_capacity(input.actions.len());
    for (index, (action, before)) in input.actions.into_iter().zip(kept).enumerate() {
        let action_id = before.map_or_else(Uuid::new_v4, |before| before.action_id);
        let config = Value::Object(action.config);
        let sealed = rules
            .seal(scope, action_id, &config, before)
            .map_err(|problem| TriggerError::field(format!("actions[{index}].config"), problem))?;
        let (config, sealed) = (sealed.config, sealed.sealed);
        let ActionInput { action_type, priority, .. } = action;
        actions.push(ActionRecord { action_id, action_type, priority, config, sealed });
    }
    Ok(TriggerRecord {
        trigger_id: before.trigger_id,
        tenant_id: before.tenant_id,
        name: input.name,
        description: input.description,
        chain_id: input.chain_id,
        registry: input.registry,
        enabled: input.enabled,
        is_stateful,
        breaker: input.breaker.unwrap_or_default().over(before.breaker),
        conditions,
        actions,
        created_at: before.created_at,
        updated_at: now,
        revision: before.revision,
    })
}

/// The trigger with what is named changed.
pub(super) fn changed(input: TriggerInput, changes: TriggerChanges) -> TriggerInput {
    TriggerInput {
        name: changes.name.unwrap_or(input.name),
        description: changes.description.unwrap_or(input.description),
        chain_id: changes.chain_id.unwrap_or(input.chain_id),
        registry: changes.registry.unwrap_or(input.registry),
        enabled: changes.enabled.unwrap_or(input.enabled),
        conditions: changes.conditions.unwrap_or(input.conditions),
        actions: changes.actions.unwrap_or(input.actions),
        breaker: changes.breaker.or(input.breaker),
    }
}

/// What is wrong outside of conditions and actions.
fn problems(input: &TriggerInput) -> Vec<FieldProblem> {
    let mut problems = Vec::new();
    let mut length = |field: &str, text: &str, min: usize, max: usize| {
        let count = text.chars().count();
        if count < min || count > max {
            problems.push(FieldProblem::new(
                field,
                format!("has {count} characters: {min} to {max} are allowed"),
            ));
        }
        if text.contains('\0') {
            problems.push(FieldProblem::new(field, "has a NUL in it"));
        }
    };
    length("name", &input.name, 1, 255);
    length("description", input.description.as_deref().unwrap_or_default(), 0, 1_000);
    if let Some(registry) = &input.registry {
        length("registry", registry, 1, 64);
    }
    if input.chain_id.is_some_and(|id| id == 0 || i64::try_from(id).is_err()) {
        problems.push(FieldProblem::new("chain_id", "no chain has that id"));
    }
    if input.chain_id.is_some() && input.registry.as_deref() == Some(rules::LINE) {
        problems.push(FieldProblem::new("chain_id", "the organization's own streams are of no chain"));
    }
    if input.actions.len() > ACTIONS_MAX {
        problems.push(FieldProblem::new("actions", format!("are more than {ACTIONS_MAX}")));
    }
    let breaker = input.breaker.unwrap_or_default();
    for (field, value, min, max) in [
        ("failure_threshold", breaker.failure_threshold, 1, 1_000),
        ("recovery_timeout_seconds", breaker.recovery_timeout_seconds, 60, 604_800),
        ("half_open_max_calls", breaker.half_open_max_calls, 1, 10),
    ] {
        if value.is_some_and(|value| value < min || value > max) {
            problems.push(FieldProblem::new(format!("breaker.{field}"), format!("takes {min} to {max}")));
        }
    }
    problems
}

/// Conditions with their ids: those that replace a present one, or say the same, keep its id.
fn conditions(
    before: &[ConditionRecord],
    input: &[ConditionInput],
    problems: &mut Vec<FieldProblem>,
) -> Vec<ConditionRecord> {
    let mut free: Vec<ConditionInput> = before.iter().map(ConditionInput::of).collect();
    let mut ids: Vec<Option<Uuid>> = Vec::with_capacity(input.len());
    for (index, condition) in input.iter().enumerate() {
        let Some(id) = condition.id else {
            ids.push(None);
            continue;
        };
        match free.iter().position(|known| known.id == Some(id)) {
            Some(place) => drop(free.remove(place)),
            None => problems.push(FieldProblem::new(
                format!("conditions[{index}].id"),
                "the trigger has no such condition, or it is named twice",
            )),
        }
        ids.push(Some(id));
    }
    let ids = ids.into_iter().zip(input).map(|(id, condition)| {
        id.or_else(|| {
            let place = free.iter().position(|known| known.says_the_same(condition))?;
            free.remove(place).id
        })
        .unwrap_or_else(Uuid::new_v4)
    });
    let ids: Vec<Uuid> = ids.collect();
    input.iter().cloned().zip(ids).map(|(condition, id)| condition.into_record(id)).collect()
}

/// For each action the present one that it replaces: the one that it names, or else one of its kind with the same
/// settings as they are shown, or else one of its kind. Jobs that wait belong to an action, and go on with it.
fn kept_actions<'a>(
    before: &'a [ActionRecord],
    input: &[ActionInput],
    rules: &dyn ActionRules,
    problems: &mut Vec<FieldProblem>,
) -> Vec<Option<&'a ActionRecord>> {
    let mut kept = Vec::with_capacity(input.len());
    for (index, action) in input.iter().enumerate() {
        let found = action.id.map(|id| before.iter().find(|known| known.action_id == id));
        let twice = input.iter().take(index).any(|earlier| action.id.is_some() && earlier.id == action.id);
        if matches!(found, Some(None)) || twice {
            problems.push(FieldProblem::new(
                format!("actions[{index}].id"),
                "the trigger has no such action, or it is named twice",
            ));
        }
        kept.push(found.flatten());
    }
    let mut free: Vec<&ActionRecord> = before
        .iter()
        .filter(|known| {
            !kept.iter().flatten().any(|taken: &&ActionRecord| taken.action_id == known.action_id)
        })
        .collect();
    for same_settings in [true, false] {
        for (action, kept) in
            input.iter().zip(&mut kept).filter(|(action, kept)| action.id.is_none() && kept.is_none())
        {
            let place = free.iter().position(|known| {
                let is_same = || rules.masked(known) == Value::Object(action.config.clone());
                known.action_type == action.action_type && (!same_settings || is_same())
            });
            if let Some(place) = place {
                *kept = Some(free.remove(place));
            }
        }
    }
    kept
}
